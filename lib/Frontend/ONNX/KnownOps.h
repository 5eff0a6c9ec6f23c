//===- KnownOps.h - Computing with tensors of known dims --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a decomposition of many steps is written in: each operation takes and
// gives tensors with their dims. Operands must fit; a handler has checked that.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_KNOWNOPS_H
#define FERRITE_LIB_FRONTEND_ONNX_KNOWNOPS_H

#include "lib/Frontend/ONNX/Attention.h"

namespace ferrite::frontend {

class KnownOps {
public:
  explicit KnownOps(OpBinder &b) : b(b) {}

  /// Input `i` as data.
  mlir::FailureOr<KnownTensor> input(unsigned i);
  /// Input `i`, of this shape and element type or an error.
  mlir::FailureOr<KnownTensor> input(unsigned i, llvm::ArrayRef<DimExpr> dims,
                                     mlir::Type element);

  template <typename OpTy>
  KnownTensor binary(const KnownTensor &lhs, const KnownTensor &rhs) {
    Dims dims = joined(lhs, rhs);
    return {b.create<OpTy>(dims, lhs.element, lhs.value, rhs.value), dims,
            lhs.element};
  }
  template <typename OpTy>
  KnownTensor unary(const KnownTensor &input) {
    return {b.create<OpTy>(input.dims, input.element, input.value), input.dims,
            input.element};
  }
  KnownTensor compare(const KnownTensor &lhs, const KnownTensor &rhs,
                      Predicate predicate);
  KnownTensor where(const KnownTensor &condition, const KnownTensor &lhs,
                    const KnownTensor &rhs);
  KnownTensor reduce(const KnownTensor &input, ReduceKind kind, int64_t axis);

  /// A constant of rank 0.
  KnownTensor number(double value, mlir::Type element) {
    return {b.scalar(value, element), {}, element};
  }
  /// The same everywhere.
  KnownTensor filled(double value, mlir::Type element, const Dims &dims) {
    return broadcast(number(value, element), dims);
  }
  /// A size as data, of rank 0.
  KnownTensor size(const DimExpr &size, mlir::Type element);
  /// 0, 1, .. along dim `axis` of `rank`.
  KnownTensor iota(const DimExpr &size, size_t axis, size_t rank,
                   mlir::Type element);

  KnownTensor cast(const KnownTensor &input, mlir::Type element) {
    return {b.cast(input.value, input.dims, element), input.dims, element};
  }
  KnownTensor view(const KnownTensor &input, const Dims &dims) {
    return {b.view(input.value, input.dims, dims), dims, input.element};
  }
  KnownTensor broadcast(const KnownTensor &input, const Dims &dims);
  KnownTensor transpose(const KnownTensor &input, llvm::ArrayRef<int64_t> perm);
  KnownTensor slice(const KnownTensor &input, int64_t axis,
                    const DimExpr &offset, const DimExpr &size,
                    int64_t step = 1);
  KnownTensor concat(llvm::ArrayRef<KnownTensor> inputs, int64_t axis);
  KnownTensor gather(const KnownTensor &data, const KnownTensor &indices,
                     int64_t axis);

private:
  static Dims joined(const KnownTensor &lhs, const KnownTensor &rhs) {
    std::optional<Dims> dims = broadcastDims(lhs.dims, rhs.dims);
    assert(dims && "the handler checks that its operands fit");
    return *dims;
  }

  OpBinder &b;
};

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_KNOWNOPS_H
