//===- Codegen.h - Object code of a plan ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_CODEGEN_H
#define FERRITE_LIB_DRIVER_CODEGEN_H

#include "lib/Artifact/HostProgram.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/OutputFile.h"

namespace ferrite {

/// What codegen leaves for the linker.
struct GeneratedCode {
  std::vector<const cpu::CpuLevel *> levels; ///< best first
  const cpu::CpuMachine *machine = nullptr;  ///< of the levels
  std::vector<const cuda::Arch *> archs;     ///< best first
  std::vector<CudaImage> cuda;               ///< one for each of `archs`
  std::string cudaText;                      ///< with --emit=cuda
  /// As CompileRecord::ownKernels.
  std::vector<std::pair<std::string, std::vector<std::string>>> ownKernels;
  std::vector<std::string> objects; ///< files in the work folder
  std::string llvmText;             ///< with --emit=llvm
  int64_t scratchBytes = 0;
  std::optional<KernelNames> names;
  PlanListing listing; ///< with --debug
};

/// A model's name as a C identifier.
std::string identifier(llvm::StringRef name);

/// The levels that the options name, best first; an error for an unknown one.
mlir::FailureOr<std::vector<const cpu::CpuLevel *>>
chooseLevels(const DriverOptions &options, mlir::Location loc);

/// Of all levels, when nobody named some: drops those that would have the code
/// of the level that they refine.
void dropEqualLevels(mlir::ModuleOp plan, const DriverOptions &options,
                     std::vector<const cpu::CpuLevel *> &levels);

/// Compiles the kernels of `plan` for `code.levels`.
mlir::LogicalResult generateCode(mlir::ModuleOp plan,
                                 const DriverOptions &options,
                                 const WorkFolder &work, mlir::Location loc,
                                 GeneratedCode &code);

/// The GPU architectures that the options name, best first; an error for an
/// unknown one.
mlir::FailureOr<std::vector<const cuda::Arch *>>
chooseArchs(const DriverOptions &options, mlir::Location loc);

/// Compiles the kernels of `plan` for `code.archs`, or, with --emit=cuda,
/// writes the text for the first.
mlir::LogicalResult generateCuda(mlir::ModuleOp plan,
                                 const DriverOptions &options,
                                 mlir::Location loc, GeneratedCode &code,
                                 CompileRecord &record);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_CODEGEN_H
