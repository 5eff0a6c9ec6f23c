//===- Compile.h - From kernel modules to object code -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_TARGET_CPU_COMPILE_H
#define FERRITE_LIB_TARGET_CPU_COMPILE_H

#include "passes/Codegen/CPU/CpuLevel.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"

#include <string>

namespace mlir {
class DialectRegistry;
}

namespace ferrite::cpu {

struct CompileOptions {
  /// What to make of the module.
  bool object = true;
  bool assembly = false;
  bool llvmIR = false;
  /// Line tables from the functions' file locations.
  bool lineTables = false;
  /// LLVM's level, 0 to 3.
  unsigned optLevel = 3;
};

struct CompiledObject {
  llvm::SmallVector<char, 0> object; ///< a relocatable ELF file, PIC
  std::string assembly;
  std::string llvmIR; ///< after optimization
};

/// The translations that compile() needs. Append them to a context's registry
/// before the first compile(); several compile() calls may then run at once in
/// that context, on different modules.
void registerTranslations(mlir::DialectRegistry &registry);

/// Registers LLVM's code generators for the machines of CpuLevel.h, once.
void registerTargets();

/// Lowers a copy of `module` (dialects of KernelBuilder, and llvm) to machine
/// code of the level. Failures are diagnostics at the module.
mlir::FailureOr<CompiledObject> compile(mlir::ModuleOp module,
                                        const CpuLevel &level,
                                        const CompileOptions &options = {});

} // namespace ferrite::cpu
#endif // FERRITE_LIB_TARGET_CPU_COMPILE_H
