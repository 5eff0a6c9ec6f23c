//===- FerriteMoEOps.cpp - Mixtures of experts ----------------------------===//
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

LogicalResult ExpertLinearOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto weight = cast<RankedTensorType>(getWeight().getType());
  auto experts = cast<RankedTensorType>(getExperts().getType());
  auto result = cast<RankedTensorType>(getType());
  if (input.getRank() != 3 || experts.getRank() != 2 || result.getRank() != 3 ||
      result.isDynamicDim(2) || input.isDynamicDim(2) ||
      input.getElementType() != result.getElementType() ||
      !hasShape(getExperts(), result.getShape().drop_back()) ||
      !hasShape(getInput(),
                {result.getDimSize(0),
                 input.getDimSize(1) == 1 ? 1 : result.getDimSize(1),
                 input.getDimSize(2)})) // C1
    return emitOpError("expects rows and an expert for each, but got ")
           << input << ", " << experts << " and " << result;
  int64_t depth = input.getDimSize(2), columns = result.getDimSize(2);
  int64_t count = weight.getRank() == 3 ? weight.getDimSize(0) : 0;
  bool isFloat = isa<FloatType>(weight.getElementType());
  int64_t bits = getBits(), block = getBlock();
  bool valid = weight.hasStaticShape() && count > 0;
  if (bits == 0)
    valid &= isFloat && hasShape(getWeight(), {count, depth, columns});
  else
    valid &= (bits == 4 || bits == 8) && weight.getElementType().isInteger(8) &&
             depth % (8 / bits) == 0 &&
             hasShape(getWeight(), {count, columns, depth * bits / 8});
  if (!valid || (getBias() && !hasShape(getBias(), {count, columns}))) // C2
    return emitOpError("expects matrices from ")
           << depth << " to " << columns << ", but got " << weight;
  if (static_cast<bool>(getScales()) != (bits != 0) ||
      (bits && (block <= 0 || depth % block != 0 ||
                !hasShape(getScales(), {count, columns, depth / block})))) // C3
    return emitOpError("expects scales with bits, one for each block that "
                       "divides ")
           << depth;
  if (getZeroPoints()) { // C4
    int64_t packed = bits ? (depth / block * bits + 7) / 8 : 0;
    if (!bits || !hasShape(getZeroPoints(), {count, columns, packed}))
      return emitOpError("expects zero points packed as its weight, but got ")
             << getZeroPoints().getType();
  }
  return success();
}

LogicalResult ExpertLinearOp::inferDims(ArrayRef<Dims> operands,
                                        SmallVectorImpl<Dims> &results) {
  Dims dims = operands[2];
  dims.push_back(DimExpr(cast<RankedTensorType>(getType()).getDimSize(2)));
  results.push_back(dims);
  return success();
}
