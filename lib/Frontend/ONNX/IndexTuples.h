//===- IndexTuples.h - Tensors of positions ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What ONNX says with a batch dim or an axis, gather_nd and scatter_nd say with
// one more column of their index tuples: the own position on that dim.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_INDEXTUPLES_H
#define FERRITE_LIB_FRONTEND_ONNX_INDEXTUPLES_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Input `i` as indices: of i32 or i64, or an error.
mlir::FailureOr<mlir::Value> getIndices(OpBinder &b, unsigned i);

/// result[p.., 0] = p[d], for each position p of `dims`.
mlir::Value ownPositions(OpBinder &b, llvm::ArrayRef<DimExpr> dims, size_t d,
                         mlir::Type element);
/// [dims.., c1], [dims.., c2], .. as [dims.., c1 + c2 + ..].
mlir::Value joinTuples(OpBinder &b, llvm::ArrayRef<DimExpr> dims,
                       llvm::ArrayRef<mlir::Value> columns);

/// A constant of an integer type, or a size as data: of rank 0.
mlir::Value sizeScalar(OpBinder &b, const DimExpr &size, mlir::Type element);
/// `indices` with `size` added where they are negative.
mlir::Value wrapNegative(OpBinder &b, mlir::Value indices,
                         llvm::ArrayRef<DimExpr> dims, const DimExpr &size);
/// 0, 1, .. along dim `d` of `rank`, all other dims 1.
mlir::Value iotaAlong(OpBinder &b, const DimExpr &size, size_t d, size_t rank,
                      mlir::Type element);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_INDEXTUPLES_H
