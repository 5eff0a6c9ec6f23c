//===- HostProgram.h - The tables of an artifact ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From a plan to the `FerriteAbiModel` of abi.h, as an object file: constant
// tables, and for each entry one function that computes sizes and offsets from
// the symbols.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_HOSTPROGRAM_H
#define FERRITE_LIB_ARTIFACT_HOSTPROGRAM_H

#include "dialects/Plan/IR/Plan.h"
#include "lib/Artifact/AbiType.h"
#include "lib/Artifact/CudaTables.h"
#include "lib/Artifact/KernelNames.h"
#include "mlir/IR/BuiltinOps.h"

#include <array>
#include <optional>

namespace ferrite {
/// The text that line tables lead to: the plan, printed.
struct PlanListing {
  std::string path;
  /// The line of each launch, in the order of a walk; empty: no line tables.
  std::vector<unsigned> launchLines;
};

struct HostProgramOptions {
  std::string symbol;                       ///< of the model table
  const KernelNames *kernelNames = nullptr; ///< symbols of the kernels
  std::string name;                         ///< of the model
  std::string compiler;                     ///< version and build
  std::string description;                  ///< JSON
  /// Best first, all of one machine; none when the kernels are CUDA's alone.
  std::vector<const cpu::CpuLevel *> levels;
  const cpu::CpuMachine *machine = nullptr; ///< of the tables' own code
  std::vector<CudaImage> cuda;              ///< best first
  int64_t scratchBytes = 0;
  std::string weightsSymbol; ///< empty: the weights are in weightsFile
  int64_t weightsBytes = 0;
  std::string weightsFile;
  std::array<uint8_t, 16> weightsHash = {};
  /// With lines, every launch gets a function of its own around its kernel.
  PlanListing listing;
};

/// Object code of the tables of `plan`.
mlir::FailureOr<llvm::SmallVector<char, 0>>
makeHostProgram(mlir::ModuleOp plan, const HostProgramOptions &options);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_HOSTPROGRAM_H
