//===- LinkArtifact.h - Objects and weights to an artifact ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_LINKARTIFACT_H
#define FERRITE_LIB_DRIVER_LINKARTIFACT_H

#include "lib/Driver/Codegen.h"

namespace ferrite {

/// Writes the weights, makes the host program, links all to options.output.
mlir::LogicalResult linkArtifact(mlir::ModuleOp plan,
                                 const DriverOptions &options,
                                 const WorkFolder &work, mlir::Location loc,
                                 GeneratedCode &code, CompileRecord &record);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_LINKARTIFACT_H
