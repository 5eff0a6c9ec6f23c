//===- FerriteRecurrentOps.cpp - Recurrences over tokens ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

/// Whether a value has these sizes, where both are static.
static bool hasShape(Value value, ArrayRef<int64_t> shape) {
  return succeeded(verifyCompatibleShape(
      cast<RankedTensorType>(value.getType()).getShape(), shape));
}

LogicalResult LinearAttentionOp::verify() {
  auto query = cast<RankedTensorType>(getQuery().getType());
  auto key = cast<RankedTensorType>(getKey().getType());
  auto value = cast<RankedTensorType>(getValue().getType());
  auto result = cast<RankedTensorType>(getType());
  auto isStatic = [](RankedTensorType type) {
    return type.getRank() == 4 && !type.isDynamicDim(2) &&
           !type.isDynamicDim(3) && type.getDimSize(2) > 0 &&
           type.getDimSize(3) > 0;
  };
  if (!isStatic(query) || !isStatic(key) || !isStatic(value) || // C1
      query.getDimSize(3) != key.getDimSize(3) ||
      query.getDimSize(2) % key.getDimSize(2) != 0 ||
      value.getDimSize(2) != key.getDimSize(2) ||
      !hasShape(getKey(), {query.getDimSize(0), query.getDimSize(1),
                           key.getDimSize(2), key.getDimSize(3)}) ||
      !hasShape(getValue(), {query.getDimSize(0), query.getDimSize(1),
                             key.getDimSize(2), value.getDimSize(3)}))
    return emitOpError("expects queries, keys and values of [batch, tokens, "
                       "heads, size], but got ")
           << query << ", " << key << " and " << value;
  int64_t batch = query.getDimSize(0), tokens = query.getDimSize(1);
  int64_t heads = key.getDimSize(2), depth = key.getDimSize(3);
  if (getDecay() &&
      !hasShape(getDecay(), {batch, tokens, heads, depth}) && // C2
      !hasShape(getDecay(), {batch, tokens, heads, 1}))
    return emitOpError("expects a decay for each element or head of ")
           << key << ", but got " << getDecay().getType();
  if (getBeta() && !hasShape(getBeta(), {batch, tokens, heads}) &&
      !hasShape(getBeta(), {batch, tokens, 1}))
    return emitOpError("expects a beta for each head of ")
           << key << ", but got " << getBeta().getType();
  if (getState() &&
      !hasShape(getState(), {batch, heads, depth, value.getDimSize(3)}))
    return emitOpError("expects a state of [batch, heads, ")
           << depth << ", " << value.getDimSize(3) << "], but got "
           << getState().getType();
  int64_t rows = ShapedType::isDynamic(tokens)
                     ? ShapedType::kDynamic
                     : tokens * (query.getDimSize(2) / heads) + depth;
  if (!result.getElementType().isF32() || // C3
      !hasShape(getResult(), {batch, heads, rows, value.getDimSize(3)}) ||
      result.isDynamicDim(1) || result.isDynamicDim(3))
    return emitOpError("expects a result of f32 with a row for each token and "
                       "query head, and those of the state, but got ")
           << result;
  return success();
}

LogicalResult LinearAttentionOp::inferDims(ArrayRef<Dims> operands,
                                           SmallVectorImpl<Dims> &results) {
  const Dims &query = operands[0], &key = operands[1], &value = operands[2];
  int64_t group = *query[2].constant() / *key[2].constant();
  results.push_back(
      {query[0], key[2], query[1] * DimExpr(group) + key[3], value[3]});
  return success();
}
