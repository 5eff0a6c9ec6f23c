//===- MicrosoftOps.h - What importers of com.microsoft share ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_MICROSOFTOPS_H
#define FERRITE_LIB_FRONTEND_ONNX_MICROSOFTOPS_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Reports the first of these inputs that is missing: behind an optional one
/// the table cannot require any.
mlir::LogicalResult requireInputs(OpBinder &b, llvm::ArrayRef<unsigned> inputs);

/// That of the standard.
mlir::LogicalResult importGemm(OpBinder &b);

void registerMicrosoftNormOps(OpTable &table);
void registerMicrosoftProductOps(OpTable &table);
void registerMicrosoftAttentionOps(OpTable &table);
void registerMicrosoftCacheOps(OpTable &table);
void registerMicrosoftPackedOps(OpTable &table);
void registerMicrosoftPositionOps(OpTable &table);
void registerMicrosoftSparseOps(OpTable &table);
void registerMicrosoftMoEOps(OpTable &table);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_MICROSOFTOPS_H
