//===- ConvFilter.h - Filters of convolutions -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_CONVFILTER_H
#define FERRITE_LIB_FRONTEND_ONNX_CONVFILTER_H

#include "lib/Frontend/ONNX/Spatial.h"

namespace ferrite::frontend {

/// A filter as [groups, kernel.., channels of a group, results of a group].
struct Filter {
  Shaped data;
  int64_t groups, channels, results;
  std::vector<int64_t> kernel;

  Dims kernelDims() const { return Dims(kernel.begin(), kernel.end()); }
  DimExpr points() const { return product(kernelDims()); }
};

/// What Conv and its relatives check alike. The dims of the weight are
/// [M, C / groups, kernel..], or transposed [C, M / groups, kernel..].
mlir::FailureOr<Filter> bindFilter(OpBinder &b, TensorValue &input,
                                   TensorValue &weight, bool transposed);
/// Arranges `weight`, of dims as bindFilter wants them.
void arrangeFilter(OpBinder &b, Filter &filter, mlir::Value weight,
                   bool transposed);
/// Types that products of matrices take.
bool isMatrixType(mlir::Type element);
/// [N, windows.., points.., C] and a filter to [N, windows, M].
Shaped multiplyWindows(OpBinder &b, const Shaped &windows,
                       const Filter &filter);
/// Adds input `i`, one number for each of the last dim of `x`, if it is there.
mlir::LogicalResult addChannelBias(OpBinder &b, unsigned i, Shaped &x);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_CONVFILTER_H
