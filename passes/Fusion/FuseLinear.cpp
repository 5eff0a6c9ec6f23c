//===- FuseLinear.cpp - Turn products with a weight into linears ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A Gemm of an exporter stands between two reshapes, [b, s, k] to [b*s, k] and
// back. The reshape of the result moves to the input, where both compose to
// nothing; bias and residual then meet the linear itself.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/FuseByteLinear.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "ferrite-fuse-linear"

namespace ferrite {
#define GEN_PASS_DEF_FUSELINEAR
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
LogicalResult matchProduct(MatmulOp matmul, Reject reject) {
  if (!isWeightOrConstant(matmul.getRhs()))
    return reject("the right side is no weight" + whichNode(matmul.getRhs()));
  Type element = elementTypeOf(matmul.getResult());
  if (element.isF64() || !isa<FloatType>(element))
    return reject("linears accumulate in f32, which this product does not");
  RankedTensorType rhs = typeOf(matmul.getRhs());
  for (int64_t size : rhs.getShape().drop_back(2))
    if (size != 1)
      return reject("the weight is a batch of matrices");
  if (rhs.getRank() > typeOf(matmul.getLhs()).getRank())
    return reject("the weight has more dims than the input");
  return success();
}

/// Terminates: each application takes one matmul away.
struct ProductToLinear final : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(MatmulOp matmul,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(matmul, reason);
    };
    if (LogicalResult matched = matchProduct(matmul, reject); failed(matched))
      return matched;
    if (isOfQuantizedWeight(matmul.getRhs()))
      (void)matchQuantizedProduct(
          matmul, [&](const Twine &reason) -> LogicalResult {
            reportMissed(matmul, DEBUG_TYPE, "stays f32: " + reason);
            return reject(reason);
          });
    Value weight = asMatrix(rewriter, matmul.getLoc(), matmul.getRhs());
    auto linear =
        LinearOp::create(rewriter, matmul.getLoc(), Type(matmul.getType()),
                         matmul.getLhs(), weight);
    rewriter.replaceOp(matmul, linear);
    reportPassed(linear.getLoc(), DEBUG_TYPE, "turned into ferrite.linear");
    return success();
  }
};

/// view(linear(x)) to linear(view(x)), when rows stay rows. Terminates: the
/// view moves towards the entry.
struct HoistViewOverLinear final : OpRewritePattern<ViewOp> {
  HoistViewOverLinear(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}
  LogicalResult matchAndRewrite(ViewOp view,
                                PatternRewriter &rewriter) const override {
    auto linear = view.getInput().getDefiningOp<LinearOp>();
    if (!linear || !linear->hasOneUse())
      return rewriter.notifyMatchFailure(view, "input is no linear of one use");
    if (typeOf(linear.getWeight()).getRank() > 2)
      return rewriter.notifyMatchFailure(view, "the linear is a batch");
    Dims to(dims.getDims(view)), from(dims.getDims(linear));
    if (to.empty() || to.back() != from.back())
      return rewriter.notifyMatchFailure(view, "rows do not stay rows");
    for (Value side : linear.getSides())
      if (typeOf(side).getRank() > 1)
        return rewriter.notifyMatchFailure(view, "a side has leading dims");
    Dims inputDims = to;
    inputDims.back() = dims.getDims(linear.getInput()).back();
    Value input = ViewOp::create(
        rewriter, view.getLoc(),
        getTensorType(inputDims, elementTypeOf(linear.getInput())),
        linear.getInput(), getDimsAttr(rewriter.getContext(), inputDims));
    Location loc = rewriter.getFusedLoc({linear.getLoc(), view.getLoc()});
    auto hoisted =
        LinearOp::create(rewriter, loc, Type(view.getType()), linear, input,
                         linear.getWeight(), linear.getSides());
    rewriter.inlineRegionBefore(linear.getEpilogue(), hoisted.getEpilogue(),
                                hoisted.getEpilogue().begin());
    rewriter.replaceOp(view, hoisted);
    rewriter.eraseOp(linear);
    return success();
  }

private:
  DimAnalysis &dims;
};

/// view(linear + bias) to view(linear) + bias, of a Gemm with a bias: then the
/// view is the linear's. Terminates: the view moves towards the entry.
struct HoistViewOverBias final : OpRewritePattern<ViewOp> {
  HoistViewOverBias(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}
  LogicalResult matchAndRewrite(ViewOp view,
                                PatternRewriter &rewriter) const override {
    auto add = view.getInput().getDefiningOp<AddOp>();
    if (!add || !add->hasOneUse())
      return rewriter.notifyMatchFailure(view, "input is no sum of one use");
    bool isLeft = !!add.getLhs().getDefiningOp<LinearOp>();
    Value product = isLeft ? add.getLhs() : add.getRhs();
    Value bias = isLeft ? add.getRhs() : add.getLhs();
    if (!product.getDefiningOp<LinearOp>() || !product.hasOneUse() ||
        !isWeightOrConstant(bias) || typeOf(bias).getRank() > 1)
      return rewriter.notifyMatchFailure(view, "no linear with a bias");
    Dims to(dims.getDims(view)), from(dims.getDims(add));
    if (to.empty() || to.back() != from.back() ||
        !dims.haveSameDims(product, add))
      return rewriter.notifyMatchFailure(view, "rows do not stay rows");
    Value viewed = ViewOp::create(rewriter, view.getLoc(), view.getType(),
                                  product, view.getDims());
    Location loc = rewriter.getFusedLoc({add.getLoc(), view.getLoc()});
    auto sum = AddOp::create(rewriter, loc, Type(view.getType()),
                             isLeft ? viewed : bias, isLeft ? bias : viewed);
    rewriter.replaceOp(view, sum);
    return success();
  }

private:
  DimAnalysis &dims;
};

/// Terminates: takes one view away.
struct DropIdentityView final : OpRewritePattern<ViewOp> {
  DropIdentityView(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}
  LogicalResult matchAndRewrite(ViewOp view,
                                PatternRewriter &rewriter) const override {
    if (view.getType() != view.getInput().getType() ||
        !dims.haveSameDims(view, view.getInput()))
      return rewriter.notifyMatchFailure(view, "dims change");
    rewriter.replaceOp(view, view.getInput());
    return success();
  }

private:
  DimAnalysis &dims;
};

struct FuseLinearPass final : ferrite::impl::FuseLinearBase<FuseLinearPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    DimListener listener(*dims);
    RewritePatternSet patterns(&getContext());
    patterns.add<ProductToLinear>(&getContext());
    patterns.add<HoistViewOverLinear, HoistViewOverBias, DropIdentityView>(
        &getContext(), *dims);
    populateByteLinearPatterns(patterns, *dims);
    populateQuantizeMovePatterns(patterns);
    ViewOp::getCanonicalizationPatterns(patterns, &getContext());
    GreedyRewriteConfig config;
    config.setListener(&listener);
    if (failed(
            applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      return signalPassFailure();
    getOperation().walk([&](MatmulOp matmul) {
      auto report = [&](const Twine &reason) -> LogicalResult {
        reportMissed(matmul, DEBUG_TYPE, reason);
        return failure();
      };
      if (isa<IntegerType>(elementTypeOf(matmul)) &&
          isWeightOrConstant(matmul.getRhs())) {
        (void)matchByteProduct(matmul, report);
        return;
      }
      if (isWeightOrConstant(matmul.getRhs()))
        (void)matchProduct(matmul, report);
      else if (matmul.getLhs().getDefiningOp<DequantizeOp>() &&
               matmul.getRhs().getDefiningOp<DequantizeOp>())
        (void)matchQuantizedBatch(matmul, *dims, report);
      else if (isWeightOrConstant(matmul.getLhs()))
        reportMissed(matmul, DEBUG_TYPE,
                     "the weight is on the left side, the right one is "
                     "computed" +
                         whichNode(matmul.getRhs()));
    });
  }
};
} // namespace
