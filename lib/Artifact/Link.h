//===- Link.h - Object files to an artifact ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_LINK_H
#define FERRITE_LIB_ARTIFACT_LINK_H

#include "passes/Codegen/CPU/CpuLevel.h"

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"

#include <string>
#include <vector>

namespace ferrite {

/// Links objects to a shared library with lld, in this process: one call at a
/// time, for lld has global state. The linker's complaints become errors at
/// `loc`.
mlir::LogicalResult linkShared(llvm::ArrayRef<std::string> objects,
                               llvm::StringRef output, mlir::Location loc);
/// The object that --emit=exe adds to a model: a file beside this library.
std::string runnerPath();
/// Links a program for `machine`, which must be the one we run on: the objects,
/// the runner that is installed beside this library (tools/ferrite-runner), and
/// the C library of this machine. No compiler, startup objects or development
/// files are needed.
mlir::LogicalResult linkExecutable(llvm::ArrayRef<std::string> objects,
                                   llvm::StringRef output,
                                   const cpu::CpuMachine &machine,
                                   mlir::Location loc);
/// Joins objects to one relocatable object.
mlir::LogicalResult linkRelocatable(llvm::ArrayRef<std::string> objects,
                                    llvm::StringRef output, mlir::Location loc);
/// Writes a static library.
mlir::LogicalResult writeLibrary(llvm::ArrayRef<std::string> objects,
                                 llvm::StringRef output, mlir::Location loc);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_LINK_H
