//===- WeightRecipe.h - From the model's files to packed bytes --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Runs the recipes of plan.weight: reads source ranges of mapped files and
// writes the artifact's bytes in place. Weights are never held: both sides are
// mapped files, and only a panel's worth of conversion lies between them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_WEIGHTRECIPE_H
#define FERRITE_LIB_ARTIFACT_WEIGHTRECIPE_H

#include "dialects/Plan/IR/Plan.h"
#include "lib/Artifact/SourceReader.h"

namespace ferrite {

/// Bytes of all weights, each at its offset.
int64_t weightBytes(mlir::ModuleOp plan);

/// Writes every weight of `plan` to `out`, which holds weightBytes(plan) zeros,
/// with `threads` threads.
mlir::LogicalResult writeWeights(mlir::ModuleOp plan, ModelFolder &folder,
                                 char *out, unsigned threads);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_WEIGHTRECIPE_H
