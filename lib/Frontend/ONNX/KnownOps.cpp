//===- KnownOps.cpp - Computing with tensors of known dims ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/KnownOps.h"
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {

FailureOr<KnownTensor> KnownOps::input(unsigned i) {
  TensorValue &value = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  return KnownTensor{*data, value.dims, value.element};
}

FailureOr<KnownTensor> KnownOps::input(unsigned i, ArrayRef<DimExpr> dims,
                                       Type element) {
  TensorValue &value = b.input(i);
  std::string message =
      "its input " + std::to_string(i) + " has the shape " +
      printDims(value.dims) + ", expected " + printDims(dims) +
      (value.element == element ? "" : " and another element type");
  if (value.rank() != dims.size() || value.element != element)
    return b.error(message);
  for (size_t d = 0; d < dims.size(); ++d) {
    const DimExpr &from = value.dims[d], &to = dims[d];
    if (from != to &&
        !(to.constant() && b.symbols().requireEqual(from, *to.constant())) &&
        !(from.constant() && b.symbols().requireEqual(to, *from.constant())))
      return b.errorUnlessEqual(from, to, message);
  }
  // A number beside a symbol that has to be it: from here on as `dims` say.
  FailureOr<KnownTensor> data = input(i);
  return failed(data) ? data : view(*data, Dims(dims));
}

KnownTensor KnownOps::compare(const KnownTensor &lhs, const KnownTensor &rhs,
                              Predicate predicate) {
  Dims dims = joined(lhs, rhs);
  Type i1 = b.builder().getI1Type();
  return {b.create<CompareOp>(dims, i1, lhs.value, rhs.value, predicate), dims,
          i1};
}

KnownTensor KnownOps::where(const KnownTensor &condition,
                            const KnownTensor &lhs, const KnownTensor &rhs) {
  Dims dims = joined(condition, {lhs.value, joined(lhs, rhs), lhs.element});
  return {b.create<WhereOp>(dims, lhs.element, condition.value, lhs.value,
                            rhs.value),
          dims, lhs.element};
}

KnownTensor KnownOps::reduce(const KnownTensor &input, ReduceKind kind,
                             int64_t axis) {
  Dims dims = input.dims;
  dims[axis] = DimExpr(1);
  return {b.create<ReduceOp>(dims, input.element, input.value, kind,
                             ArrayRef<int64_t>(axis), /*keepDims=*/true),
          dims, input.element};
}

KnownTensor KnownOps::size(const DimExpr &size, Type element) {
  return {sizeScalar(b, size, element), {}, element};
}

KnownTensor KnownOps::iota(const DimExpr &size, size_t axis, size_t rank,
                           Type element) {
  Dims dims(rank, DimExpr(1));
  dims[axis] = size;
  return {iotaAlong(b, size, axis, rank, element), dims, element};
}

KnownTensor KnownOps::broadcast(const KnownTensor &input, const Dims &dims) {
  if (input.dims == dims)
    return input;
  return {
      b.create<BroadcastOp>(dims, input.element, input.value, b.dimsAttr(dims)),
      dims, input.element};
}

KnownTensor KnownOps::transpose(const KnownTensor &input,
                                ArrayRef<int64_t> perm) {
  Dims dims;
  for (int64_t d : perm)
    dims.push_back(input.dims[d]);
  return {b.transpose(input.value, input.dims, perm), dims, input.element};
}

KnownTensor KnownOps::slice(const KnownTensor &input, int64_t axis,
                            const DimExpr &offset, const DimExpr &size,
                            int64_t step) {
  if (offset.isConstant(0) && step == 1 && size == input.dims[axis])
    return input;
  Dims offsets(input.dims.size()), dims = input.dims;
  SmallVector<int64_t> steps(dims.size(), 1);
  offsets[axis] = offset;
  dims[axis] = size;
  steps[axis] = step;
  return {b.create<SliceOp>(dims, input.element, input.value,
                            b.dimsAttr(offsets), steps, b.dimsAttr(dims)),
          dims, input.element};
}

KnownTensor KnownOps::concat(ArrayRef<KnownTensor> inputs, int64_t axis) {
  Dims dims = inputs[0].dims;
  dims[axis] = DimExpr(0);
  SmallVector<Value> values;
  for (const KnownTensor &input : inputs) {
    dims[axis] = dims[axis] + input.dims[axis];
    values.push_back(input.value);
  }
  return {b.create<ConcatOp>(dims, inputs[0].element, ValueRange(values), axis),
          dims, inputs[0].element};
}

KnownTensor KnownOps::gather(const KnownTensor &data,
                             const KnownTensor &indices, int64_t axis) {
  Dims dims(data.dims.begin(), data.dims.begin() + axis);
  dims.append(indices.dims.begin(), indices.dims.end());
  dims.append(data.dims.begin() + axis + 1, data.dims.end());
  return {
      b.create<GatherOp>(dims, data.element, data.value, indices.value, axis),
      dims, data.element};
}

} // namespace ferrite::frontend
