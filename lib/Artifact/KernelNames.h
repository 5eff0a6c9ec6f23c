//===- KernelNames.h - What profilers call a kernel -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A kernel's symbol is its name in the plan (a stem such as linear_384x1536)
// and its level; of a kernel that one launch uses, the ONNX nodes follow:
//
//   linear_384x1536.avx512                       launched by every layer
//   norm_384.avx2:embeddings.LayerNorm           launched once
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_KERNELNAMES_H
#define FERRITE_LIB_ARTIFACT_KERNELNAMES_H

#include "dialects/Plan/IR/Plan.h"
#include "mlir/IR/BuiltinOps.h"

namespace ferrite {
namespace cpu {
struct CpuLevel;
}

/// The ONNX nodes of a location as part of a symbol that debuggers take
/// without quotes but for ':' and '+': names joined by '+', of letters, digits,
/// '_' and '.'; cut at a name where it grows long. Empty when none is named.
std::string nodeSymbol(mlir::Location loc);

class KernelNames {
public:
  /// Models that are linked statically meet in one program, hence the prefix.
  KernelNames(mlir::ModuleOp plan, llvm::StringRef prefix);

  /// The code of `kernel` at `level`, which may be another level's.
  std::string code(plan::KernelOp kernel, const cpu::CpuLevel &level) const;
  /// From now on `level` has the code of `other` for this kernel.
  void share(plan::KernelOp kernel, const cpu::CpuLevel &level,
             const cpu::CpuLevel &other);
  /// Counts a launch's work; equal at all levels, so one is taken.
  std::string units(plan::KernelOp kernel, const cpu::CpuLevel &level) const {
    return code(kernel, level) + ".units";
  }

private:
  std::string prefix;
  llvm::StringMap<std::string> nodes; ///< of kernels that one launch uses
  llvm::DenseMap<std::pair<mlir::Operation *, const cpu::CpuLevel *>,
                 const cpu::CpuLevel *>
      shared;
};

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_KERNELNAMES_H
