//===- EmitKernels.h - Code for the kernels of a plan -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_EMITKERNELS_H
#define FERRITE_PASSES_CODEGEN_EMITKERNELS_H

#include "dialects/Plan/IR/Plan.h"
#include "passes/Codegen/CPU/KernelBuilder.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace ferrite {
/// Kernels of a plan for one CPU level.
struct EmittedKernels {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// What a worker needs at most, in bytes.
  int64_t scratchBytes = 0;
  /// What any of them uses, bits of cpu::Instruction.
  unsigned instructions = 0;
};

/// The symbol of a kernel's code; `.units` after it is that of its count.
using KernelSymbol = llvm::function_ref<std::string(plan::KernelOp)>;

/// Where the code of a kernel says it comes from.
using KernelLocation = llvm::function_ref<mlir::Location(plan::KernelOp)>;

/// Emits `kernels` of `plan` into one module. Fails with an error at the kernel
/// that its emitter refuses.
mlir::FailureOr<EmittedKernels>
emitKernels(mlir::ModuleOp plan, llvm::ArrayRef<plan::KernelOp> kernels,
            const cpu::CpuLevel &level, KernelSymbol symbolOf,
            KernelLocation locationOf);

/// How the operands and results of a kernel lie in memory.
cpu::KernelLayout layoutOf(plan::KernelOp kernel);

/// Whether the kernel has products whose code differs between a level and the
/// one that it refines (CpuLevel.h).
bool hasLowBitProducts(plan::KernelOp kernel);

} // namespace ferrite
#endif // FERRITE_PASSES_CODEGEN_EMITKERNELS_H
