//===- FerriteIndexOps.cpp - Positions: chosen, found, written ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

static LogicalResult verifyAxis(Operation *op, int64_t axis, int64_t rank) {
  if (axis < 0 || axis >= rank)
    return op->emitOpError("expects an axis below ")
           << rank << ", but got " << axis;
  return success();
}

/// Whether two static sizes differ.
static bool differ(int64_t a, int64_t b) {
  return a != b && !ShapedType::isDynamic(a) && !ShapedType::isDynamic(b);
}

//===--- gather_elements --------------------------------------------------===//

LogicalResult GatherElementsOp::verify() {
  int64_t rank = typeOf(getData()).getRank();
  if (typeOf(getIndices()).getRank() != rank) // C1
    return emitOpError("expects indices of rank ")
           << rank << ", but got " << getIndices().getType();
  return verifyAxis(*this, getAxis(), rank); // C1
}

LogicalResult GatherElementsOp::inferDims(ArrayRef<Dims> operands,
                                          SmallVectorImpl<Dims> &results) {
  results.push_back(operands[1]);
  return success();
}

//===--- scatter_nd, scatter_elements -------------------------------------===//

LogicalResult ScatterNDOp::verify() {
  RankedTensorType data = typeOf(getData()), indices = typeOf(getIndices()),
                   updates = typeOf(getUpdates());
  if (indices.getRank() == 0 || indices.isDynamicDim(indices.getRank() - 1) ||
      indices.getShape().back() > data.getRank()) // C1
    return emitOpError("expects index tuples of a static size up to ")
           << data.getRank() << ", but got " << indices;
  int64_t tuple = indices.getShape().back();
  SmallVector<int64_t> expected(indices.getShape().drop_back());
  llvm::append_range(expected, data.getShape().drop_front(tuple));
  if (updates.getElementType() != data.getElementType() ||
      updates.getRank() != static_cast<int64_t>(expected.size()) ||
      llvm::any_of(llvm::zip(expected, updates.getShape()), [](auto pair) {
        return differ(std::get<0>(pair), std::get<1>(pair));
      })) // C2
    return emitOpError("expects updates as its indices and data say, but got ")
           << updates;
  return success();
}

LogicalResult ScatterNDOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}

LogicalResult ScatterElementsOp::verify() {
  RankedTensorType data = typeOf(getData()), indices = typeOf(getIndices()),
                   updates = typeOf(getUpdates());
  if (indices.getRank() != data.getRank() ||
      updates.getRank() != data.getRank()) // C1
    return emitOpError("expects operands of rank ")
           << data.getRank() << ", but got " << indices << " and " << updates;
  if (failed(verifyAxis(*this, getAxis(), data.getRank()))) // C1
    return failure();
  if (updates.getElementType() != data.getElementType() ||
      failed(
          verifyCompatibleShape(updates.getShape(), indices.getShape()))) // C2
    return emitOpError("expects updates as its indices and data say, but got ")
           << updates;
  return success();
}

LogicalResult ScatterElementsOp::inferDims(ArrayRef<Dims> operands,
                                           SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}

//===--- arg_reduce, topk -------------------------------------------------===//

LogicalResult ArgReduceOp::verify() {
  if (failed(verifyAxis(*this, getAxis(), typeOf(getInput()).getRank()))) // C1
    return failure();
  if (getKind() != CombineKind::Max && getKind() != CombineKind::Min) // C2
    return emitOpError("expects max or min, but got ")
           << stringifyCombineKind(getKind());
  return success();
}

LogicalResult ArgReduceOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  if (getKeepDims())
    dims[getAxis()] = DimExpr(1);
  else
    dims.erase(dims.begin() + getAxis());
  results.push_back(dims);
  return success();
}

LogicalResult TopKOp::verify() {
  RankedTensorType input = typeOf(getInput()), result = typeOf(getResult());
  if (failed(verifyAxis(*this, getAxis(), input.getRank()))) // C1
    return failure();
  std::optional<Dims> k = parseDims(getK());
  bool valid = k && k->size() == 1 && result.getRank() == input.getRank();
  for (int64_t i = 0; valid && i < input.getRank(); ++i)
    valid = i == getAxis()
                ? result.getDimSize(i) ==
                      (*k)[0].constant().value_or(ShapedType::kDynamic)
                : !differ(result.getDimSize(i), input.getDimSize(i));
  if (!valid) // C2
    return emitOpError("expects a size k that gives the result, but got ")
           << getK() << " and " << result;
  return success();
}

LogicalResult TopKOp::inferDims(ArrayRef<Dims> operands,
                                SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  dims[getAxis()] = (*parseDims(getK()))[0];
  results.push_back(dims);
  return success();
}

//===--- cumprod, nonzero -------------------------------------------------===//

LogicalResult CumProdOp::verify() {
  return verifyAxis(*this, getAxis(), typeOf(getInput()).getRank()); // C1
}

LogicalResult CumProdOp::inferDims(ArrayRef<Dims> operands,
                                   SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}

LogicalResult NonZeroOp::verify() {
  std::optional<DimExpr> count = DimExpr::parse(getCount());
  RankedTensorType result = typeOf(getResult());
  if (!count || *count != DimExpr::symbol(getCount()) ||
      result.getRank() != 2 || !result.isDynamicDim(0) ||
      result.getDimSize(1) != typeOf(getInput()).getRank()) // C1
    return emitOpError("expects a symbol and a tuple for each, but got ")
           << getCountAttr() << " and " << result;
  return success();
}

LogicalResult NonZeroOp::inferDims(ArrayRef<Dims> operands,
                                   SmallVectorImpl<Dims> &results) {
  results.push_back({DimExpr::symbol(getCount()), DimExpr(operands[0].size())});
  return success();
}
