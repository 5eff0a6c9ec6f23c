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

//===--- what select makes of it ------------------------------------------===//

LogicalResult RouteOp::verify() {
  auto experts = cast<RankedTensorType>(getExperts().getType());
  auto result = cast<RankedTensorType>(getType());
  if (experts.getRank() != 1 || result.getRank() != 1 ||
      (experts.hasStaticShape() && result.hasStaticShape() &&
       result.getDimSize(0) != 4 * experts.getDimSize(0))) // C1
    return emitOpError("expects a group for each slot, and 4 results for "
                       "each, but got ")
           << experts << " and " << result;
  if (static_cast<int64_t>(getGroups()) < 1 ||
      static_cast<int64_t>(getChunk()) < 1) // C2
    return emitOpError("expects groups and chunks of at least 1, but got ")
           << getGroups() << " and " << getChunk();
  return success();
}

LogicalResult RouteOp::inferDims(ArrayRef<Dims> operands,
                                 SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0] * DimExpr(4)});
  return success();
}

LogicalResult GroupedLinearOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto weight = cast<RankedTensorType>(getWeight().getType());
  auto route = cast<RankedTensorType>(getRoute().getType());
  auto result = cast<RankedTensorType>(getType());
  int64_t share = getShare(), bits = getBits(), block = getBlock();
  if (share < 1 || static_cast<int64_t>(getChunk()) < 1) // C5
    return emitOpError("expects a share and chunks of at least 1, but got ")
           << share << " and " << getChunk();
  auto isMultiple = [](int64_t size, int64_t of, int64_t factor) {
    return ShapedType::isDynamic(size) || ShapedType::isDynamic(of) ||
           size == of * factor;
  };
  if (input.getRank() != 2 || result.getRank() != 2 || route.getRank() != 1 ||
      input.isDynamicDim(1) || result.isDynamicDim(1) ||
      input.getElementType() != result.getElementType() ||
      !isMultiple(result.getDimSize(0), input.getDimSize(0), share) ||
      !isMultiple(route.getDimSize(0), result.getDimSize(0), 4)) // C1
    return emitOpError("expects rows and their route, but got ")
           << input << ", " << route << " and " << result;
  int64_t depth = input.getDimSize(1), columns = result.getDimSize(1);
  int64_t count = weight.getRank() == 3 ? weight.getDimSize(0) : 0;
  bool valid = weight.hasStaticShape() && count > 0;
  if (bits == 0)
    valid &= isa<FloatType>(weight.getElementType()) &&
             hasShape(getWeight(), {count, depth, columns});
  else
    valid &= (bits == 4 || bits == 8) && weight.getElementType().isInteger(8) &&
             depth % (8 / bits) == 0 &&
             hasShape(getWeight(), {count, depth * bits / 8, columns});
  if (!valid || (getBias() && !hasShape(getBias(), {count, columns}))) // C2
    return emitOpError("expects matrices from ")
           << depth << " to " << columns << ", but got " << weight;
  if (static_cast<bool>(getScales()) != (bits != 0) ||
      (bits && (block <= 0 || depth % block != 0 ||
                !hasShape(getScales(), {count, depth / block, columns})))) // C3
    return emitOpError("expects scales with bits, one for each block that "
                       "divides ")
           << depth;
  if (getZeroPoints()) { // C4
    int64_t packed = bits ? (depth / block * bits + 7) / 8 : 0;
    if (!bits || !hasShape(getZeroPoints(), {count, packed, columns}))
      return emitOpError("expects zero points packed as its weight, but got ")
             << getZeroPoints().getType();
  }
  return success();
}

LogicalResult GroupedLinearOp::inferDims(ArrayRef<Dims> operands,
                                         SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0] * DimExpr(static_cast<int64_t>(getShare())),
                     DimExpr(cast<RankedTensorType>(getType()).getDimSize(1))});
  return success();
}
