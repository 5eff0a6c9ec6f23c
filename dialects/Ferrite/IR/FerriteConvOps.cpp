//===- FerriteConvOps.cpp - Windows and borders ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

//===--- windows ----------------------------------------------------------===//

LogicalResult WindowsOp::verify() {
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  int64_t axis = getAxis(), size = getSize();
  if (axis < 0 || axis >= from.getRank() || size < 1 || getStep() < 1 ||
      getDilation() < 1) // C1
    return emitOpError("expects an axis of ")
           << from << " and a size, step and dilation of 1 or more, but got "
           << axis << ", " << size << ", " << getStep() << " and "
           << getDilation();
  std::optional<DimExpr> count = DimExpr::parse(getCount());
  if (!count) // C1
    return emitOpError("expects a count that is a size, but got '")
           << getCount() << "'";
  Dims dims = ferrite::detail::dimsOfType(from);
  dims[axis] = *count;
  dims.insert(dims.begin() + axis + 1, DimExpr(size));
  auto expected = getTensorType(dims, from.getElementType());
  if (expected != to) // C1
    return emitOpError("expects a result of ")
           << expected << ", but got " << to;
  std::optional<int64_t> known = count->constant();
  if (!known || from.isDynamicDim(axis) || *known == 0)
    return success();
  int64_t last, reach, end;
  if (*known < 0 || llvm::MulOverflow(*known - 1, getStep(), last) ||
      llvm::MulOverflow(size - 1, getDilation(), reach) ||
      llvm::AddOverflow(last, reach, end) || end >= from.getDimSize(axis)) // C2
    return emitOpError("expects ")
           << *known << " windows inside of " << from << " on axis " << axis;
  return success();
}

LogicalResult WindowsOp::inferDims(ArrayRef<Dims> operands,
                                   SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  dims[getAxis()] = *DimExpr::parse(getCount());
  dims.insert(dims.begin() + getAxis() + 1, DimExpr(getSize()));
  results.push_back(dims);
  return success();
}

//===--- pad --------------------------------------------------------------===//

LogicalResult PadOp::verify() {
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  auto rank = static_cast<size_t>(from.getRank());
  std::optional<Dims> low = parseDims(getLow()), dims = parseDims(getDims());
  if (!low || !dims || low->size() != rank || dims->size() != rank) // C1
    return emitOpError("expects a size before and a size for each of the ")
           << rank << " dims of its input";
  auto expected = getTensorType(*dims, from.getElementType());
  if (expected != to) // C1
    return emitOpError("expects a result of ")
           << expected << ", but got " << to;
  auto value = cast<RankedTensorType>(getValue().getType());
  if (value.getRank() != 0 ||
      value.getElementType() != from.getElementType()) // C2
    return emitOpError("expects one ")
           << from.getElementType() << " around its input, but got " << value;
  for (size_t i = 0; i < rank; ++i) { // C3
    int64_t begin = (*low)[i].constant().value_or(0), end;
    int64_t size = from.isDynamicDim(i) ? 0 : from.getDimSize(i);
    if (begin < 0 || llvm::AddOverflow(begin, size, end) ||
        (!to.isDynamicDim(i) && end > to.getDimSize(i)))
      return emitOpError("expects room for ")
             << from << " in " << to << ", but dim " << i << " begins at "
             << begin;
  }
  return success();
}

LogicalResult PadOp::inferDims(ArrayRef<Dims>, SmallVectorImpl<Dims> &results) {
  results.push_back(*parseDims(getDims()));
  return success();
}
