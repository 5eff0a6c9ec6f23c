//===- IndexTuples.cpp - Tensors of positions -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {

FailureOr<Value> getIndices(OpBinder &b, unsigned i) {
  Type element = b.input(i).element;
  if (!element.isSignlessInteger(32) && !element.isSignlessInteger(64))
    return b.error("its indices are not int32 or int64");
  return b.data(i);
}

Value iotaAlong(OpBinder &b, const DimExpr &size, size_t d, size_t rank,
                Type element) {
  Dims flat = {size}, shaped(rank, DimExpr(1));
  shaped[d] = size;
  Value own =
      b.create<IotaOp>(flat, element, int64_t(0), int64_t(1), b.dimsAttr(flat));
  return b.view(own, flat, shaped);
}

Value ownPositions(OpBinder &b, ArrayRef<DimExpr> dims, size_t d,
                   Type element) {
  Dims column(dims);
  column.push_back(DimExpr(1));
  Value own = iotaAlong(b, dims[d], d, column.size(), element);
  return b.create<BroadcastOp>(column, element, own, b.dimsAttr(column));
}

Value joinTuples(OpBinder &b, ArrayRef<DimExpr> dims, ArrayRef<Value> columns) {
  if (columns.size() == 1)
    return columns[0];
  Type element = OpBinder::elementOf(columns[0]);
  int64_t width = 0;
  for (Value column : columns)
    width += cast<RankedTensorType>(column.getType()).getShape().back();
  Dims tuples(dims);
  tuples.push_back(DimExpr(width));
  return b.create<ConcatOp>(tuples, element, ValueRange(columns),
                            static_cast<int64_t>(dims.size()));
}

Value sizeScalar(OpBinder &b, const DimExpr &size, Type element) {
  if (std::optional<int64_t> number = size.constant())
    return arith::ConstantOp::create(
        b.builder(), b.loc,
        DenseElementsAttr::get(RankedTensorType::get({}, element),
                               b.builder().getIntegerAttr(element, *number)));
  return b.create<DimValuesOp>({}, element, b.dimsAttr({size}));
}

Value wrapNegative(OpBinder &b, Value indices, ArrayRef<DimExpr> dims,
                   const DimExpr &size) {
  Type element = OpBinder::elementOf(indices);
  Value isNegative =
      b.create<CompareOp>(dims, b.builder().getI1Type(), indices,
                          sizeScalar(b, DimExpr(0), element), Predicate::Lt);
  Value wrapped =
      b.create<AddOp>(dims, element, indices, sizeScalar(b, size, element));
  return b.create<WhereOp>(dims, element, isNegative, wrapped, indices);
}

} // namespace ferrite::frontend
