//===- FerriteMergeOps.cpp - Tokens that become one -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteMerge.h"

using namespace mlir;
using namespace ferrite;

#define GET_OP_CLASSES
#include "dialects/Ferrite/IR/FerriteMergeOps.cpp.inc"

static constexpr int64_t kAny = ShapedType::kDynamic;

static bool hasShape(Value value, ArrayRef<int64_t> shape) {
  return succeeded(verifyCompatibleShape(
      cast<RankedTensorType>(value.getType()).getShape(), shape));
}

/// Whether the dims from the second on that no symbol may give are numbers.
static bool isSized(Value value, ArrayRef<int64_t> dims) {
  auto type = cast<RankedTensorType>(value.getType());
  return llvm::all_of(dims, [&](int64_t dim) {
    return dim < type.getRank() && type.getDimSize(dim) > 0;
  });
}

static int64_t sizeOf(Value value, int64_t dim) {
  return cast<RankedTensorType>(value.getType()).getDimSize(dim);
}

LogicalResult TokenMetricOp::verify() {
  if (!hasShape(getKey(), {kAny, kAny, kAny, kAny}) ||
      !isSized(getKey(), {2, 3})) // C1
    return emitOpError("expects keys of [batch, tokens, heads, size], but got ")
           << getKey().getType();
  if (!hasShape(getResult(), {sizeOf(getKey(), 0), sizeOf(getKey(), 1),
                              sizeOf(getKey(), 3)})) // C2
    return emitOpError("expects a row for each token of ")
           << getKey().getType() << ", but got " << getType();
  return success();
}

LogicalResult TokenMetricOp::inferDims(ArrayRef<Dims> operands,
                                       SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0], operands[0][1], operands[0][3]});
  return success();
}

LogicalResult MatchTokensOp::verify() {
  if (!hasShape(getMetric(), {kAny, kAny, kAny}) ||
      !isSized(getMetric(), {2})) // C1
    return emitOpError("expects [batch, tokens, size], but got ")
           << getMetric().getType();
  int64_t removed = getRemoved(), fixed = getFixed();
  int64_t tokens = sizeOf(getMetric(), 1);
  constexpr int64_t most = int64_t(1) << 31;
  if (removed < 1 || fixed < 0 || removed > most || fixed > most ||
      (tokens != kAny && tokens < leastTokens(removed, fixed))) // C2
    return emitOpError("expects to remove 1 or more, at most half of the "
                       "tokens that are not fixed, but got ")
           << removed << " with " << fixed << " fixed of "
           << getMetric().getType();
  if (!hasShape(getResult(), {sizeOf(getMetric(), 0), tokens})) // C3
    return emitOpError("expects a number for each token of ")
           << getMetric().getType() << ", but got " << getType();
  return success();
}

LogicalResult MatchTokensOp::inferDims(ArrayRef<Dims> operands,
                                       SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0], operands[0][1]});
  return success();
}

LogicalResult MergeTokensOp::verify() {
  if (!hasShape(getInput(), {kAny, kAny, kAny}) || !isSized(getInput(), {2}))
    return emitOpError("expects [batch, tokens, size], but got ")
           << getInput().getType();
  int64_t batch = sizeOf(getInput(), 0), tokens = sizeOf(getInput(), 1);
  if (!hasShape(getTo(), {batch, tokens}) ||
      (getSizes() && !hasShape(getSizes(), {batch, tokens}))) // C1
    return emitOpError("expects a number and a size for each token of ")
           << getInput().getType() << ", but got " << getTo().getType();
  int64_t removed = getRemoved();
  if (removed < 1 ||
      getElementTypeOrSelf(getInput()) != getElementTypeOrSelf(getResult()) ||
      (tokens != kAny && tokens <= removed) ||
      !hasShape(getResult(), {batch, tokens == kAny ? kAny : tokens - removed,
                              sizeOf(getInput(), 2)})) // C2
    return emitOpError("expects ")
           << removed << " tokens fewer than " << getInput().getType()
           << ", but got " << getType();
  return success();
}

LogicalResult MergeTokensOp::inferDims(ArrayRef<Dims> operands,
                                       SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0],
                     operands[0][1] - DimExpr(int64_t(getRemoved())),
                     operands[0][2]});
  return success();
}

LogicalResult UnmergeTokensOp::verify() {
  if (!hasShape(getInput(), {kAny, kAny, kAny}) || !isSized(getInput(), {2}) ||
      sizeOf(getInput(), 1) == 0 ||
      !hasShape(getTo(), {sizeOf(getInput(), 0), kAny}) ||
      getElementTypeOrSelf(getInput()) != getElementTypeOrSelf(getResult()) ||
      !hasShape(getResult(), {sizeOf(getInput(), 0), sizeOf(getTo(), 1),
                              sizeOf(getInput(), 2)})) // C1
    return emitOpError("expects rows of [batch, tokens, size] and a number for "
                       "each row of the result, but got ")
           << getInput().getType() << " and " << getTo().getType() << " for "
           << getType();
  return success();
}

LogicalResult UnmergeTokensOp::inferDims(ArrayRef<Dims> operands,
                                         SmallVectorImpl<Dims> &results) {
  results.push_back({operands[1][0], operands[1][1], operands[0][2]});
  return success();
}
