//===- FerriteShapeOps.cpp - Views, movement and constants ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace ferrite;

/// C1 of the ops with a `dims` attribute: it parses and gives the result type.
static LogicalResult verifyDims(Operation *op, ArrayAttr dims, Type result) {
  std::optional<Dims> parsed = parseDims(dims);
  if (!parsed)
    return op->emitOpError("expects dims that are sizes, but got ") << dims;
  auto type = cast<RankedTensorType>(result);
  auto expected = getTensorType(*parsed, type.getElementType());
  if (expected != type)
    return op->emitOpError("expects a result of ")
           << expected << ", but got " << type;
  return success();
}

static LogicalResult inferFromAttr(ArrayAttr dims,
                                   SmallVectorImpl<Dims> &results) {
  results.push_back(*parseDims(dims));
  return success();
}

//===--- weight -----------------------------------------------------------===//

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  int64_t axis = getAxis();
  if (getSources().empty() || axis < 0 ||
      axis >= std::max<int64_t>(type.getRank(), 1)) // C1
    return emitOpError(
               "expects a source and an axis of the result, but got axis ")
           << axis;
  if (!type.hasStaticShape()) // C3
    return emitOpError("expects a static result, but got ") << type;
  int64_t total = 0;
  bool isOne = getSources().size() == 1;
  for (Attribute attr : getSources()) { // C2
    auto source = cast<SourceAttr>(attr);
    if (isOne && static_cast<int64_t>(source.getShape().size()) !=
                     type.getRank()) { // viewed
      if (product(Dims(source.getShape())).isConstant(type.getNumElements()))
        return success();
      return emitOpError("expects a source of ")
             << type.getNumElements() << " elements, but got " << source;
    }
    SmallVector<int64_t> shape(source.getShape());
    for (auto [i, from] : llvm::enumerate(source.getPerm()))
      shape[i] = source.getShape()[from];
    bool agrees = static_cast<int64_t>(shape.size()) == type.getRank();
    for (int64_t i = 0; agrees && i < type.getRank(); ++i)
      if (i == axis)
        total += shape[i];
      else
        agrees = shape[i] == type.getDimSize(i);
    if (!agrees)
      return emitOpError(
                 "expects sources that agree with the result but on axis ")
             << axis << ", but got " << source;
  }
  if (type.getRank() > 0 && total != type.getDimSize(axis))
    return emitOpError("expects sources that sum to ")
           << type.getDimSize(axis) << " on axis " << axis << ", but got "
           << total;
  return success();
}

LogicalResult WeightOp::inferDims(ArrayRef<Dims>,
                                  SmallVectorImpl<Dims> &results) {
  results.push_back(detail::dimsOfType(getType()));
  return success();
}

//===--- view -------------------------------------------------------------===//

LogicalResult ViewOp::verify() {
  if (failed(verifyDims(*this, getDims(), getType()))) // C1
    return failure();
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  if (from.getElementType() != to.getElementType() ||
      (from.hasStaticShape() && to.hasStaticShape() &&
       from.getNumElements() != to.getNumElements())) // C2
    return emitOpError("expects as many elements as its input, but got ")
           << from << " and " << to;
  return success();
}

LogicalResult ViewOp::inferDims(ArrayRef<Dims>,
                                SmallVectorImpl<Dims> &results) {
  return inferFromAttr(getDims(), results);
}

OpFoldResult ViewOp::fold(FoldAdaptor) {
  // A type with at most one `?` fixes the dims: the input's are the same.
  auto type = cast<RankedTensorType>(getType());
  if (getInput().getType() == type && type.getNumDynamicDims() <= 1)
    return getInput();
  return {};
}

//===--- transpose --------------------------------------------------------===//

LogicalResult TransposeOp::verify() {
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  SmallVector<bool> seen(from.getRank());
  bool valid = static_cast<int64_t>(getPerm().size()) == from.getRank() &&
               to.getRank() == from.getRank() &&
               to.getElementType() == from.getElementType();
  for (size_t i = 0; valid && i < getPerm().size(); ++i) {
    int64_t dim = getPerm()[i];
    valid = dim >= 0 && dim < from.getRank() && !seen[dim] &&
            to.getDimSize(i) == from.getDimSize(dim);
    if (valid)
      seen[dim] = true;
  }
  if (!valid) // C1
    return emitOpError("expects a permutation of ")
           << from << " that gives the result, but got [" << getPerm()
           << "] and " << to;
  return success();
}

LogicalResult TransposeOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  Dims dims;
  for (int64_t dim : getPerm())
    dims.push_back(operands[0][dim]);
  results.push_back(dims);
  return success();
}

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (llvm::equal(getPerm(), llvm::seq<int64_t>(0, getPerm().size())))
    return getInput();
  return {};
}

//===--- broadcast --------------------------------------------------------===//

LogicalResult BroadcastOp::verify() {
  if (failed(verifyDims(*this, getDims(), getType()))) // C1
    return failure();
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  bool valid = from.getRank() <= to.getRank() &&
               from.getElementType() == to.getElementType();
  for (int64_t i = 0; valid && i < from.getRank(); ++i) {
    int64_t a = from.getDimSize(i),
            b = to.getDimSize(to.getRank() - from.getRank() + i);
    valid = a == b || a == 1 || ShapedType::isDynamic(a) ||
            ShapedType::isDynamic(b);
  }
  if (!valid) // C2
    return emitOpError("expects an input that broadcasts to ")
           << to << ", but got " << from;
  return success();
}

LogicalResult BroadcastOp::inferDims(ArrayRef<Dims>,
                                     SmallVectorImpl<Dims> &results) {
  return inferFromAttr(getDims(), results);
}

OpFoldResult BroadcastOp::fold(FoldAdaptor) {
  // Static alone: a `?` of the input may be 1 where the result's is not.
  auto type = cast<RankedTensorType>(getType());
  if (getInput().getType() == type && type.hasStaticShape())
    return getInput();
  return {};
}

//===--- slice ------------------------------------------------------------===//

LogicalResult SliceOp::verify() {
  auto from = cast<RankedTensorType>(getInput().getType());
  size_t rank = from.getRank();
  std::optional<Dims> offsets = parseDims(getOffsets());
  if (!offsets || offsets->size() != rank || getSteps().size() != rank ||
      getDims().size() != rank) // C1
    return emitOpError("expects an offset, step and dim for each of the ")
           << rank << " dims of its input";
  if (failed(verifyDims(*this, getDims(), getType()))) // C1
    return failure();
  auto to = cast<RankedTensorType>(getType());
  for (size_t i = 0; i < rank; ++i) {
    int64_t step = getSteps()[i];
    if (step == 0) // C2
      return emitOpError("expects steps other than 0");
    std::optional<int64_t> offset = (*offsets)[i].constant();
    if (!offset || to.isDynamicDim(i) || from.isDynamicDim(i) ||
        to.getDimSize(i) == 0)
      continue;
    int64_t last = *offset + (to.getDimSize(i) - 1) * step;
    if (std::min(*offset, last) < 0 ||
        std::max(*offset, last) >= from.getDimSize(i)) // C3
      return emitOpError("expects a part of ")
             << from << ", but dim " << i << " reaches from " << *offset
             << " to " << last;
  }
  return success();
}

LogicalResult SliceOp::inferDims(ArrayRef<Dims>,
                                 SmallVectorImpl<Dims> &results) {
  return inferFromAttr(getDims(), results);
}

OpFoldResult SliceOp::fold(FoldAdaptor) {
  auto type = cast<RankedTensorType>(getType());
  bool whole = getInput().getType() == type && type.hasStaticShape() &&
               llvm::all_of(getSteps(), [](int64_t step) { return step == 1; });
  return whole ? getInput() : OpFoldResult();
}

//===--- concat -----------------------------------------------------------===//

LogicalResult ConcatOp::verify() {
  auto to = cast<RankedTensorType>(getType());
  bool valid =
      !getInputs().empty() && getAxis() >= 0 && getAxis() < to.getRank();
  for (Value input : getInputs()) {
    auto from = cast<RankedTensorType>(input.getType());
    valid &= from.getRank() == to.getRank() &&
             from.getElementType() == to.getElementType();
  }
  if (!valid) // C1
    return emitOpError(
               "expects inputs of the result's rank and element type, and an "
               "axis of it, but got axis ")
           << getAxis();
  int64_t total = 0;
  for (Value input : getInputs()) {
    auto from = cast<RankedTensorType>(input.getType());
    for (int64_t i = 0; i < to.getRank(); ++i) {
      int64_t a = from.getDimSize(i), b = to.getDimSize(i);
      if (i == getAxis())
        total = ShapedType::isDynamic(a) || total < 0 ? -1 : total + a;
      else if (a != b && !ShapedType::isDynamic(a) &&
               !ShapedType::isDynamic(b)) // C2
        return emitOpError("expects sizes that agree but on the axis, but got ")
               << from << " and " << to;
    }
  }
  if (total >= 0 && !to.isDynamicDim(getAxis()) &&
      total != to.getDimSize(getAxis())) // C2
    return emitOpError("expects inputs that sum to ")
           << to.getDimSize(getAxis()) << " on the axis, but got " << total;
  return success();
}

LogicalResult ConcatOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  for (const Dims &other : operands.drop_front())
    for (size_t i = 0; i < dims.size(); ++i)
      if (static_cast<int64_t>(i) == getAxis())
        dims[i] = dims[i] + other[i];
      else if (!dims[i].constant())
        dims[i] = other[i];
  results.push_back(dims);
  return success();
}

OpFoldResult ConcatOp::fold(FoldAdaptor) {
  return getInputs().size() == 1 ? OpFoldResult(getInputs()[0])
                                 : OpFoldResult();
}

//===--- iota, dim_values -------------------------------------------------===//

LogicalResult IotaOp::verify() {
  if (getDims().size() != 1)
    return emitOpError("expects one dim, but got ") << getDims();
  return verifyDims(*this, getDims(), getType()); // C1
}

LogicalResult IotaOp::inferDims(ArrayRef<Dims>,
                                SmallVectorImpl<Dims> &results) {
  return inferFromAttr(getDims(), results);
}

LogicalResult DimValuesOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!parseDims(getValues()) || type.getRank() > 1 || !type.hasStaticShape() ||
      type.getNumElements() != static_cast<int64_t>(getValues().size())) // C1
    return emitOpError("expects sizes and a result of rank 0 or 1 with as many "
                       "elements, but got ")
           << getValues() << " and " << type;
  return success();
}

LogicalResult DimValuesOp::inferDims(ArrayRef<Dims>,
                                     SmallVectorImpl<Dims> &results) {
  results.push_back(detail::dimsOfType(getType()));
  return success();
}

//===--- gather, gather_nd, cumsum ----------------------------------------===//

LogicalResult GatherOp::verify() {
  int64_t rank = cast<RankedTensorType>(getData().getType()).getRank();
  if (getAxis() < 0 || getAxis() >= rank) // C1
    return emitOpError("expects an axis below ")
           << rank << ", but got " << getAxis();
  return success();
}

LogicalResult GatherOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  Dims dims(operands[0].begin(), operands[0].begin() + getAxis());
  dims.append(operands[1].begin(), operands[1].end());
  dims.append(operands[0].begin() + getAxis() + 1, operands[0].end());
  results.push_back(dims);
  return success();
}

LogicalResult GatherNDOp::verify() {
  auto data = cast<RankedTensorType>(getData().getType());
  auto indices = cast<RankedTensorType>(getIndices().getType());
  if (indices.getRank() == 0 || indices.isDynamicDim(indices.getRank() - 1) ||
      indices.getShape().back() > data.getRank()) // C1
    return emitOpError("expects index tuples of a static size up to ")
           << data.getRank() << ", but got " << indices;
  return success();
}

LogicalResult GatherNDOp::inferDims(ArrayRef<Dims> operands,
                                    SmallVectorImpl<Dims> &results) {
  Dims dims(operands[1].begin(), operands[1].end() - 1);
  int64_t tuple =
      cast<RankedTensorType>(getIndices().getType()).getShape().back();
  dims.append(operands[0].begin() + tuple, operands[0].end());
  results.push_back(dims);
  return success();
}

LogicalResult CumSumOp::verify() {
  int64_t rank = cast<RankedTensorType>(getType()).getRank();
  if (getAxis() < 0 || getAxis() >= rank) // C1
    return emitOpError("expects an axis below ")
           << rank << ", but got " << getAxis();
  return success();
}

LogicalResult CumSumOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}
