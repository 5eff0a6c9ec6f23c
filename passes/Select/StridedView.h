//===- StridedView.h - A value as memory with strides -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Views, slices, transposes and broadcasts move no data: each is other strides
// over the same memory. The product of queries, keys and values is one buffer
// [tokens, 3 * heads * size]; the attention reads three views of it:
//
//   slice [.., 0:384] of [b, s, 1152]      strides (s*1152, 1152, 1), offset 0
//   view as [b, s, 12, 32]                 strides (s*1152, 1152, 32, 1)
//
// What strides cannot say (a view that would merge dims which do not lie end to
// end) is copied by whoever asked.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_STRIDEDVIEW_H
#define FERRITE_PASSES_SELECT_STRIDEDVIEW_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

struct StridedView {
  mlir::Value ref; ///< !plan.ref
  mlir::Type element;
  Dims dims;
  Dims strides;   ///< in elements
  DimExpr offset; ///< in elements

  static StridedView contiguous(mlir::Value ref, mlir::Type element, Dims dims);

  bool isContiguous() const;
  /// Elements of a row follow each other.
  bool hasUnitInnerStride() const {
    return dims.empty() || dims.back().isConstant(1) ||
           strides.back().isConstant(1);
  }
  /// As other dims, when strides can say that.
  std::optional<StridedView> viewed(llvm::ArrayRef<DimExpr> to) const;
  StridedView sliced(llvm::ArrayRef<DimExpr> offsets,
                     llvm::ArrayRef<int64_t> steps,
                     llvm::ArrayRef<DimExpr> to) const;
  StridedView transposed(llvm::ArrayRef<int64_t> perm) const;
  /// Dim `axis` as `count` windows of `size` points.
  StridedView windowed(size_t axis, const DimExpr &count, int64_t size,
                       int64_t step, int64_t dilation) const;
  /// To `to` by NumPy's rule: leading dims are added, dims of 1 repeat.
  StridedView broadcast(llvm::ArrayRef<DimExpr> to) const;
  /// All dims but the last as one: a matrix of rows. Needs rank 1 or more.
  std::optional<StridedView> asRows() const;
};

/// Row-major strides.
Dims contiguousStrides(llvm::ArrayRef<DimExpr> dims);

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_STRIDEDVIEW_H
