//===- Patterns.h - The patterns of normalization ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_NORMALIZE_PATTERNS_H
#define FERRITE_PASSES_NORMALIZE_PATTERNS_H

#include "mlir/IR/PatternMatch.h"
#include "passes/Analysis/DimAnalysis.h"

namespace ferrite {

/// Ops of constants, by evaluation (ConstantEvaluator.h).
void populateConstantPatterns(mlir::RewritePatternSet &patterns);
/// Elementwise ops that change nothing, and their simplest spellings.
void populateElementwisePatterns(mlir::RewritePatternSet &patterns,
                                 DimAnalysis &dims);
/// Views, transposes, broadcasts, slices.
void populateShapePatterns(mlir::RewritePatternSet &patterns,
                           DimAnalysis &dims);
/// Constants and weights of few bits.
void populateQuantizePatterns(mlir::RewritePatternSet &patterns);
/// Constant factors around products.
void populateScalePatterns(mlir::RewritePatternSet &patterns);

} // namespace ferrite

#endif // FERRITE_PASSES_NORMALIZE_PATTERNS_H
