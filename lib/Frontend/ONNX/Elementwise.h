//===- Elementwise.h - What elementwise handlers share ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_ELEMENTWISE_H
#define FERRITE_LIB_FRONTEND_ONNX_ELEMENTWISE_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Fails unless inputs [first, last) have one element type. ONNX's checker
/// leaves that to shape inference.
mlir::LogicalResult expectOneType(OpBinder &binder, unsigned first,
                                  unsigned last);

/// The result of `op` at every point of `dims`, when all of it is known.
std::optional<std::vector<DimExpr>>
evaluateElementwise(const TensorValue &a, const TensorValue &b,
                    llvm::ArrayRef<DimExpr> dims, IntOp op,
                    const SymbolBounds &symbols);

/// The flat index into a tensor of static dims `from` that element `flat` of
/// its broadcast to static dims `to` reads.
int64_t broadcastIndex(int64_t flat, llvm::ArrayRef<DimExpr> to,
                       llvm::ArrayRef<DimExpr> from);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_ELEMENTWISE_H
