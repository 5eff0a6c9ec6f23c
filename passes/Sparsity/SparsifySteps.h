//===- SparsifySteps.h - Steps that read a part of their pages --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_SPARSIFYSTEPS_H
#define FERRITE_PASSES_SPARSITY_SPARSIFYSTEPS_H

#include "passes/Sparsity/Spec.h"

#include "mlir/IR/BuiltinOps.h"

namespace ferrite {

/// Gives attentions of the module's steps summaries of their pages and the
/// selection that `item`, of Quest, asks for. Failure, with a diagnostic, when
/// none can take it; remarks name those that cannot.
llvm::LogicalResult selectPages(mlir::ModuleOp module,
                                const SparsityItem &item);

/// Makes the module's steps tell what keys get of attention, for those who
/// evict by it: inputs `weigh_runs` and `weigh_tokens`, outputs `key_weights.N`
/// of layer N. Failure, with a diagnostic, when an attention cannot.
llvm::LogicalResult weighPages(mlir::ModuleOp module, const SparsityItem &item);

/// The layers of steps that stay as they are unless they are named: as in
/// Quest, whose authors found them dense.
inline constexpr int64_t kDenseLayers = 2;

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_SPARSIFYSTEPS_H
