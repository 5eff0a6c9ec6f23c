//===- FuseNormResidual.cpp - Add a residual while its norm reads it ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

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
  for (Operation *user : add->getUsers())
    if (user != norm)
      return reject("the sum has other uses" + whichNode(user));
  if (add.getLhs().getType() != norm.getInput().getType() ||
      add.getRhs().getType() != norm.getInput().getType()) // C4
    return reject("a summand is broadcast" + whichNode(add.getResult()));
  return success();
}

/// Whether the last thing that the epilogue does is to add a tensor of the
/// result's rank, a residual: the norm and the next block read the sum that it
/// wrote.
static bool addsResidual(LinearOp linear) {
  Block &block = linear.getEpilogue().front();
  Value last = cast<YieldOp>(block.getTerminator()).getValue();
  auto through = [](Value value) {
    while (
        isa_and_present<arith::TruncFOp, arith::ExtFOp>(value.getDefiningOp()))
      value = value.getDefiningOp()->getOperand(0);
    return value;
  };
  auto add = through(last).getDefiningOp<arith::AddFOp>();
  return add && llvm::any_of(add->getOperands(), [&](Value operand) {
           auto side = dyn_cast<BlockArgument>(through(operand));
           return side && side.getArgNumber() > 0 &&
                  typeOf(linear.getSides()[side.getArgNumber() - 1])
                          .getRank() == typeOf(linear.getResult()).getRank();
         });
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
    auto fused =
        NormOp::create(rewriter, loc, norm.getType(), add.getLhs(),
                       norm.getWeight(), norm.getBias(), add.getRhs(),
                       norm.getAfter(), norm.getKind(), norm.getEpsilonAttr());
    rewriter.replaceOp(norm, fused);
    reportPassed(loc, DEBUG_TYPE, "the norm adds its residual");
    return success();
  }
};

/// Terminates: each application takes one add away.
struct AddAfterNorm final : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AddOp add,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(add, reason);
    };
    auto norm = add.getLhs().getDefiningOp<NormOp>();
    Value other = add.getRhs();
    if (!norm || !norm->hasOneUse()) {
      norm = add.getRhs().getDefiningOp<NormOp>();
      other = add.getLhs();
    }
    if (!norm || !norm->hasOneUse() || norm->getBlock() != add->getBlock())
      return reject("no summand is a norm of one use");
    if (norm.getAfter())
      return reject("something is added to the norm already");
    if (other.getType() != norm.getInput().getType() ||
        add.getType() != norm.getInput().getType()) // C4
      return reject("a summand is broadcast" + whichNode(add.getResult()));
    Location loc = rewriter.getFusedLoc({norm.getLoc(), add.getLoc()});
    auto fused =
        NormOp::create(rewriter, loc, norm.getType(), norm.getInput(),
                       norm.getWeight(), norm.getBias(), norm.getResidual(),
                       other, norm.getKind(), norm.getEpsilonAttr());
    rewriter.replaceOp(add, fused);
    rewriter.eraseOp(norm);
    reportPassed(loc, DEBUG_TYPE, "the norm is added to its residual");
    return success();
  }
};

struct FuseNormResidualPass final
    : ferrite::impl::FuseNormResidualBase<FuseNormResidualPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    // A sum that nothing but a norm reads is not written at all.
    patterns.add<AddInNorm>(&getContext(), /*benefit=*/2);
    patterns.add<AddAfterNorm>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation().walk([&](NormOp norm) {
      auto linear = norm.getInput().getDefiningOp<LinearOp>();
      if (linear && !norm.getResidual() && addsResidual(linear))
        reportPassed(norm.getLoc(), DEBUG_TYPE,
                     "the sum is written by the epilogue of a linear" +
                         whichNode(linear.getOperation()));
      auto before = norm.getInput().getDefiningOp<NormOp>();
      if (before && before.getAfter() && !norm.getResidual())
        reportPassed(norm.getLoc(), DEBUG_TYPE,
                     "the sum is written by the norm before it" +
                         whichNode(before.getOperation()));
      // One that adds a residual has matched: what else it reads is no miss.
      auto add = norm.getInput().getDefiningOp<AddOp>();
      if (add && !norm.getResidual())
        (void)match(norm, add, [&](const Twine &reason) -> LogicalResult {
          reportMissed(norm, DEBUG_TYPE, reason);
          return failure();
        });
    });
  }
};
} // namespace
