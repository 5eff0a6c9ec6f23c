//===- FuseMoE.h - What matchers of mixtures share --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEMOE_H
#define FERRITE_PASSES_FUSION_FUSEMOE_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"

namespace ferrite {

/// A weight or constant seen through views and transposes, as a recipe of its
/// own; null where there is none.
mlir::Value storedValue(mlir::OpBuilder &builder, mlir::Value value);

/// What `value` is a view of.
mlir::Value skipViews(mlir::Value value);

/// What computes each element of its result from one of each operand, and is
/// known to occur in an expert.
bool isElementwise(mlir::Operation *op);

/// Loops over experts become sums over the choices of each token
/// (FuseMoELoops.cpp), or stay with a remark that says why.
void computeLoopsBySlot(mlir::func::FuncOp func, DimAnalysis &dims,
                        mlir::RewriterBase &rewriter);

/// A sum over all experts, weighted with a scatter of what was chosen, becomes
/// one over the chosen (FuseMoEDense.cpp).
void populateDenseMixturePatterns(mlir::RewritePatternSet &patterns,
                                  DimAnalysis &dims);
/// Says why a sum that has such weights was left.
void reportDenseMixture(ReduceOp root, DimAnalysis &dims);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_FUSEMOE_H
