//===- EmitCuda.h - CUDA C++ of a plan --------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CUDA_EMITCUDA_H
#define FERRITE_PASSES_CODEGEN_CUDA_EMITCUDA_H

#include "dialects/Plan/IR/Plan.h"
#include "passes/Codegen/CUDA/CudaKernel.h"

namespace ferrite::cuda {

/// The kernels of a plan for one architecture.
struct EmittedCuda {
  std::string source;              ///< includes, then the kernels
  std::vector<CudaKernel> kernels; ///< in the order they were given
};

/// The architectures that code can be made for; null for another name.
const Arch *findArch(llvm::StringRef name);
llvm::ArrayRef<Arch> knownArchs();

/// Fails with an error at the kernel that no emitter takes.
mlir::FailureOr<EmittedCuda> emitCuda(mlir::ModuleOp plan, const Arch &arch,
                                      llvm::StringRef prefix);

/// The headers that the source includes: "ferrite/scalar.cuh" and its text.
llvm::ArrayRef<std::pair<llvm::StringRef, llvm::StringRef>> skeletonHeaders();

/// `source` with the headers in the place of their includes, each once: one
/// file for nvcc.
std::string expandHeaders(llvm::StringRef source);

} // namespace ferrite::cuda
#endif // FERRITE_PASSES_CODEGEN_CUDA_EMITCUDA_H
