//===- FerriteNormOps.cpp - Norms, softmax, embedding, reductions ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

static LogicalResult inferFirst(ArrayRef<Dims> operands,
                                SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}

//===--- norm, softmax ----------------------------------------------------===//

LogicalResult NormOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  if (input.getRank() == 0) // C1
    return emitOpError("expects an input of rank 1 or more, but got ") << input;
  for (Value row : {getWeight(), getBias()}) // C2
    if (row && failed(verifyCompatibleShape(
                   cast<RankedTensorType>(row.getType()).getShape(),
                   input.getShape().take_back())))
      return emitOpError("expects weight and bias of shape [")
             << input.getShape().back() << "], but got " << row.getType();
  if (getEpsilon().isNegative() || getEpsilon().isNaN()) // C3
    return emitOpError("expects an epsilon of 0 or more, but got ")
           << getEpsilonAttr();
  for (Value added : {getResidual(), getAfter()}) // C4
    if (added && added.getType() != input)
      return emitOpError("expects a residual of ")
             << input << ", but got " << added.getType();
  return success();
}

LogicalResult NormOp::inferDims(ArrayRef<Dims> operands,
                                SmallVectorImpl<Dims> &results) {
  return inferFirst(operands, results);
}

LogicalResult SoftmaxOp::verify() {
  if (cast<RankedTensorType>(getType()).getRank() == 0) // C1
    return emitOpError("expects an input of rank 1 or more, but got ")
           << getType();
  return success();
}

LogicalResult SoftmaxOp::inferDims(ArrayRef<Dims> operands,
                                   SmallVectorImpl<Dims> &results) {
  return inferFirst(operands, results);
}

//===--- embedding --------------------------------------------------------===//

LogicalResult EmbeddingOp::verify() {
  size_t tables = getTables().size();
  bool fits = tables > 0 && getIndex().size() == tables &&
              getPositions().size() == tables;
  for (int64_t index : getIndex())
    fits &= index >= -1 && index < static_cast<int64_t>(getIds().size());
  if (!fits) // C1
    return emitOpError("expects an index and a position per table, but got ")
           << getIndex().size() << " and " << getPositions().size() << " for "
           << tables;
  auto first = cast<RankedTensorType>(getTables()[0].getType());
  for (Value table : getTables()) { // C2
    auto type = cast<RankedTensorType>(table.getType());
    if (type.getRank() != 2 || first.getRank() != 2 ||
        type.getDimSize(1) != first.getDimSize(1) ||
        type.getElementType() != first.getElementType())
      return emitOpError(
                 "expects tables of one width and element type, but got ")
             << first << " and " << type;
  }
  for (Value ids : getIds()) // C3
    if (cast<RankedTensorType>(ids.getType()).getRank() != 2)
      return emitOpError("expects ids of rank 2, but got ") << ids.getType();
  for (Value row : {getWeight(), getBias()}) // C4
    if (!getWeight() != !getBias() ||
        (row && cast<RankedTensorType>(row.getType()).getShape() !=
                    first.getShape().take_back()))
      return emitOpError("expects weight and bias of shape [")
             << first.getDimSize(1) << "], both or neither";
  return success();
}

LogicalResult EmbeddingOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  Dims tokens = {DimExpr(1), DimExpr(1)};
  for (const Dims &ids : operands.take_front(getIds().size())) {
    std::optional<Dims> both = broadcastDims(tokens, ids);
    if (!both)
      return emitError("dims of the ids neither agree nor broadcast");
    tokens = *both;
  }
  tokens.push_back(operands[getIds().size()][1]);
  results.push_back(tokens);
  return success();
}

//===--- reduce -----------------------------------------------------------===//

LogicalResult ReduceOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  int64_t last = -1;
  for (int64_t axis : getAxes()) { // C1
    if (axis <= last || axis >= input.getRank())
      return emitOpError("expects distinct, ascending axes of ")
             << input << ", but got [" << getAxes() << "]";
    last = axis;
  }
  return success();
}

LogicalResult ReduceOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  Dims dims;
  for (auto [i, dim] : llvm::enumerate(operands[0])) {
    bool reduced = llvm::is_contained(getAxes(), static_cast<int64_t>(i));
    if (!reduced)
      dims.push_back(dim);
    else if (getKeepDims())
      dims.push_back(DimExpr(1));
  }
  results.push_back(dims);
  return success();
}
