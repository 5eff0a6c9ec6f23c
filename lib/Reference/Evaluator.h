//===- Evaluator.h - What a module computes, slowly -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Evaluates an entry of `ferrite` ops, in any phase before select, as the ops'
// documentation says, one op at a time. It shares no code with the emitters:
// `ferrite verify` compares the two.
//
// An op's result is computed in double and rounded once to its element type, so
// f32 sums, norms and softmaxes are better than a kernel's. Only products are
// blocked and threaded; weights are read where the model's files are mapped,
// copied only when transposed or converted, and freed after their last use, as
// every value is.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_EVALUATOR_H
#define FERRITE_LIB_REFERENCE_EVALUATOR_H

#include "lib/Artifact/WeightRecipe.h"
#include "lib/Reference/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ferrite::reference {

/// Told of each value when it has been computed, in the order of the function
/// (not of weights and constants). A failure ends the evaluation.
using Observer =
    llvm::function_ref<llvm::LogicalResult(mlir::Value, const Tensor &)>;

/// Evaluates `func` on its arguments; `outputs` are its results in order. What
/// is wrong with inputs, files and sizes is a diagnostic. `threads`: 0 for as
/// many as there are CPUs.
llvm::LogicalResult evaluate(mlir::func::FuncOp func,
                             llvm::ArrayRef<Tensor> inputs, ModelFolder &folder,
                             Observer observe,
                             llvm::SmallVectorImpl<Tensor> &outputs,
                             unsigned threads = 0);

} // namespace ferrite::reference

#endif // FERRITE_LIB_REFERENCE_EVALUATOR_H
