//===- VerifyImport.h - A model as an artifact took it ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFYIMPORT_H
#define FERRITE_LIB_DRIVER_VERIFYIMPORT_H

#include "ferrite/abi.h"
#include "lib/Frontend/ONNX/Import.h"

namespace ferrite {

/// Imports the model at `path` with the limits of dims that the artifact of
/// `entry` was compiled for, which steer the passes. An error when inputs are
/// not those of the entry.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importForArtifact(mlir::MLIRContext *context, const std::string &path,
                  const FerriteAbiEntry &entry,
                  const std::vector<InputBinding> &bindings,
                  ImportSummary &summary, ImportOptions &importOptions);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_VERIFYIMPORT_H
