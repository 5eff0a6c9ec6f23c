//===- Compile.h - CUDA C++ to cubins ---------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The CUDA toolkit is not needed to build Ferrite, and it is looked for when
// code for a GPU is asked for: NVRTC, a library that compiles within this
// process, or nvcc.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_TARGET_CUDA_COMPILE_H
#define FERRITE_LIB_TARGET_CUDA_COMPILE_H

#include "passes/Codegen/CUDA/CudaKernel.h"

namespace ferrite::cuda {

struct CompiledCuda {
  std::string cubin;
  std::string log;  ///< of ptxas: registers and spills of each function
  std::string tool; ///< "nvrtc 13.0", "nvcc", "cache"
};

/// Whether there is a compiler.
bool hasCompiler();

/// Compiles a source of EmitCuda.h, or finds it among those compiled before:
/// in $FERRITE_CACHE, or ferrite/ of $XDG_CACHE_HOME or ~/.cache; with
/// FERRITE_CACHE=off nothing is kept. FERRITE_NVCC=PROGRAM takes that compiler
/// and no other. An error names what to install where there is no compiler.
mlir::FailureOr<CompiledCuda> compileCuda(llvm::StringRef source,
                                          const Arch &arch, bool lineTables,
                                          mlir::Location loc);

} // namespace ferrite::cuda
#endif // FERRITE_LIB_TARGET_CUDA_COMPILE_H
