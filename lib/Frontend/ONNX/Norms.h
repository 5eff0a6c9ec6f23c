//===- Norms.h - What importers of norms share ------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_NORMS_H
#define FERRITE_LIB_FRONTEND_ONNX_NORMS_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// The mean (of `layer`, result 1) and the inverse of the deviation (result
/// `inverseOutput`) of each row of `x`, where the node has these results: in
/// f32 at least, and of dims `lead` and then `rest` times 1.
mlir::LogicalResult setMoments(OpBinder &b, mlir::Value x,
                               llvm::ArrayRef<DimExpr> rows,
                               llvm::ArrayRef<DimExpr> lead, size_t rest,
                               float epsilon, NormKind kind,
                               unsigned inverseOutput);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_NORMS_H
