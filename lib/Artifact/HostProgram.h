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
#include "mlir/IR/BuiltinOps.h"

#include <array>
#include <optional>

namespace ferrite {
namespace cpu {
struct CpuLevel;
}

struct HostProgramOptions {
  std::string symbol;                        ///< of the model table
  std::string kernelPrefix;                  ///< of the kernels' symbols
  std::string name;                          ///< of the model
  std::string compiler;                      ///< version and build
  std::string description;                   ///< JSON
  std::vector<const cpu::CpuLevel *> levels; ///< best first
  int64_t scratchBytes = 0;
  std::string weightsSymbol; ///< empty: the weights are in weightsFile
  int64_t weightsBytes = 0;
  std::string weightsFile;
  std::array<uint8_t, 16> weightsHash = {};
};

/// The FERRITE_ number of an element type; an error at `loc` for one that the
/// ABI has not.
mlir::FailureOr<int32_t> abiType(mlir::Type type, mlir::Location loc);

/// Object code of the tables of `plan`.
mlir::FailureOr<llvm::SmallVector<char, 0>>
makeHostProgram(mlir::ModuleOp plan, const HostProgramOptions &options);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_HOSTPROGRAM_H
