//===- CudaTables.h - GPU code in the tables of an artifact -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_CUDATABLES_H
#define FERRITE_LIB_ARTIFACT_CUDATABLES_H

#include "lib/Artifact/AbiTables.h"
#include "passes/Codegen/CUDA/CudaKernel.h"

namespace ferrite {

/// The kernels of a plan for one GPU architecture.
struct CudaImage {
  const cuda::Arch *arch;
  std::string cubin;
  std::vector<cuda::CudaKernel> kernels; ///< in the order of the plan
};

/// The FerriteAbiCudaCode of an image. `kernelOfThunk`: the kernels that the
/// model's table has once more behind the plan's.
llvm::Constant *makeCudaCode(AbiTables &tables, const CudaImage &image,
                             llvm::ArrayRef<unsigned> kernelOfThunk);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_CUDATABLES_H
