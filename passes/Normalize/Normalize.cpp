//===- Normalize.cpp - Bring what exporters write to one form -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One greedy set over five groups of patterns. It terminates: each pattern
// takes an op away, or moves a factor behind a product, or a view towards the
// entry, and none undoes that.
//
//===----------------------------------------------------------------------===//
#include "passes/Normalize/Passes.h"
#include "passes/Normalize/Patterns.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace ferrite {
#define GEN_PASS_DEF_NORMALIZE
#include "passes/Normalize/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct NormalizePass final : ferrite::impl::NormalizeBase<NormalizePass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    DimListener listener(*dims);
    RewritePatternSet patterns(&getContext());
    populateConstantPatterns(patterns);
    populateElementwisePatterns(patterns, *dims);
    populateShapePatterns(patterns, *dims);
    populateQuantizePatterns(patterns);
    populateScalePatterns(patterns);
    ViewOp::getCanonicalizationPatterns(patterns, &getContext());
    TransposeOp::getCanonicalizationPatterns(patterns, &getContext());
    GreedyRewriteConfig config;
    config.setListener(&listener);
    config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
    // A graph that needs more rounds than the driver's limit is still right,
    // and verify-normalize says what it lacks.
    (void)applyPatternsGreedily(getOperation(), std::move(patterns), config);
  }
};
} // namespace
