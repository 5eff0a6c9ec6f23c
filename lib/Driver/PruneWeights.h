//===- PruneWeights.h - The items weights:.. of --sparsify ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_PRUNEWEIGHTS_H
#define FERRITE_LIB_DRIVER_PRUNEWEIGHTS_H

#include "lib/Driver/Compile.h"
#include "lib/Quantization/SideFile.h"

namespace ferrite {

/// Makes weights of `module`, which phase fuse has left, zero as options say.
/// What is left of them goes to `file`, whose name in sources is `fileName`.
mlir::LogicalResult pruneWeights(mlir::ModuleOp module,
                                 const DriverOptions &options,
                                 CompileRecord &record, SideFile &file,
                                 llvm::StringRef fileName, mlir::Location loc);

/// Whether there are such items.
bool prunesWeights(const DriverOptions &options);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_PRUNEWEIGHTS_H
