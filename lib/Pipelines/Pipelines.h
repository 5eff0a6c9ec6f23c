//===- Pipelines.h - The phases of a compilation ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_PIPELINES_PIPELINES_H
#define FERRITE_LIB_PIPELINES_PIPELINES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <optional>

namespace ferrite {

/// In order. `import`, `codegen` and `link` are functions of the driver, the
/// others pipelines of passes; before that of `quantize` the driver rounds
/// weights when it is asked to (lib/Driver/Quantize.h).
enum class Phase {
  Import,    ///< ferrite ops with ONNX node names, weights by reference
  Normalize, ///< one canonical form; constants folded
  Fuse,      ///< named transformer ops; the rest in ferrite.fused
  Quantize,  ///< weights of few bits, inputs rounded
  Sparsify,  ///< attention with the windows and lists that were asked for
  Select,    ///< plan: a kernel for each op, views as strides
  Plan,      ///< buffers and weights placed
  Codegen,   ///< object code per CPU level
  Link       ///< the artifact
};

/// All phases, in order.
llvm::ArrayRef<Phase> phases();
llvm::StringRef phaseName(Phase phase);
std::optional<Phase> parsePhase(llvm::StringRef name);

void buildNormalizePipeline(mlir::OpPassManager &pm);
void buildFusePipeline(mlir::OpPassManager &pm);
void buildQuantizePipeline(mlir::OpPassManager &pm);
/// `spec`: as --sparsify takes it; may be empty.
void buildSparsifyPipeline(mlir::OpPassManager &pm, llvm::StringRef spec = "");
void buildSelectPipeline(mlir::OpPassManager &pm, bool forCpu = true);
void buildPlanPipeline(mlir::OpPassManager &pm);

/// Adds the passes of a phase; none for import, codegen and link.
void buildPipeline(Phase phase, mlir::OpPassManager &pm);

/// Whether IR that comes from elsewhere is what a phase leaves; an error if
/// not, at `loc` when it is of another phase altogether.
mlir::LogicalResult verifyContract(Phase phase, mlir::ModuleOp module,
                                   mlir::Location loc);

/// `--ferrite-<phase>-pipeline` of ferrite-opt.
void registerPipelines();

} // namespace ferrite
#endif // FERRITE_LIB_PIPELINES_PIPELINES_H
