//===- FuseNormResidual.cpp - Add a residual while its norm reads it ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "ferrite-fuse-norm-residual"

namespace ferrite {
#define GEN_PASS_DEF_FUSENORMRESIDUAL
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

static LogicalResult match(NormOp norm, AddOp add, Reject reject) {
  if (norm.getResidual())
    return reject("the norm has a residual already");
  if (!add->hasOneUse())
    return reject("the sum has other uses");
  if (add.getLhs().getType() != norm.getInput().getType() ||
      add.getRhs().getType() != norm.getInput().getType()) // C4
    return reject("a summand is broadcast");
  return success();
}

namespace {
/// Terminates: each application takes one add away.
struct AddInNorm final : OpRewritePattern<NormOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(NormOp norm,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(norm, reason);
    };
    auto add = norm.getInput().getDefiningOp<AddOp>();
    if (!add)
      return reject("the input is no sum");
    if (LogicalResult matched = match(norm, add, reject); failed(matched))
      return matched;
    Location loc = rewriter.getFusedLoc({add.getLoc(), norm.getLoc()});
    auto fused = NormOp::create(rewriter, loc, norm.getType(), add.getLhs(),
                                norm.getWeight(), norm.getBias(), add.getRhs(),
                                norm.getKind(), norm.getEpsilon());
    rewriter.replaceOp(norm, fused);
    reportPassed(loc, DEBUG_TYPE, "the norm adds its residual");
    return success();
  }
};

struct FuseNormResidualPass final
    : ferrite::impl::FuseNormResidualBase<FuseNormResidualPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<AddInNorm>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation().walk([&](NormOp norm) {
      if (auto add = norm.getInput().getDefiningOp<AddOp>())
        (void)match(norm, add, [&](const Twine &reason) -> LogicalResult {
          reportMissed(norm, DEBUG_TYPE, reason);
          return failure();
        });
    });
  }
};
} // namespace
