//===- ConvOps.h - The convolution of any type ------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_CONVOPS_H
#define FERRITE_LIB_FRONTEND_ONNX_CONVOPS_H

#include "lib/Frontend/ONNX/Spatial.h"

namespace ferrite::frontend {

/// The convolution that the attributes of the node mean, of `x` and `weight`,
/// which have the dims of `input` and `filter` and one element type; as
/// [N, windows, M], and the windows along each dim.
mlir::FailureOr<Shaped> convolve(OpBinder &b, mlir::Value x, TensorValue &input,
                                 mlir::Value weight, TensorValue &filter,
                                 Dims &counts);
/// The result of the node, from what convolve gave.
mlir::LogicalResult setConvolution(OpBinder &b, const Shaped &rows,
                                   llvm::ArrayRef<DimExpr> counts);
/// Imports ConvTranspose.
mlir::LogicalResult importConvTranspose(OpBinder &b);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_CONVOPS_H
