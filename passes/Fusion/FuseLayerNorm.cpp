//===- FuseLayerNorm.cpp - Raise decomposed normalization -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Matches from the square root: downwards to the input, then upwards to where
// the norm ends, which is the last of cast, weight, bias and cast that is
// there. The greatest norm wins; a chain without a weight has a weight of ones.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "ferrite-fuse-layer-norm"

namespace ferrite {
#define GEN_PASS_DEF_FUSELAYERNORM
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct Chain {
  Value input;        // what the norm reads
  Value weight, bias; // null: ones, none
  Operation *root = nullptr;
  NormKind kind = NormKind::RMS;
  double epsilon = 0;
};

/// mean over the innermost dim alone, kept; or null.
ReduceOp meanOfRows(Value value) {
  auto mean = value.getDefiningOp<ReduceOp>();
  if (!mean || mean.getKind() != ReduceKind::Mean || !mean.getKeepDims() ||
      mean.getAxes() !=
          ArrayRef<int64_t>{typeOf(mean.getInput()).getRank() - 1})
    return {};
  return mean;
}

/// What is squared in `value`, or null.
Value rootOfSquare(Value value) {
  if (auto mul = value.getDefiningOp<MulOp>();
      mul && mul.getLhs() == mul.getRhs())
    return mul.getLhs();
  if (auto pow = value.getDefiningOp<PowOp>();
      pow && getSplat(pow.getRhs()) == 2.0)
    return pow.getLhs();
  return {};
}

/// x where `value` is x - mean(x), or null.
Value centeredInput(Value value) {
  auto sub = value.getDefiningOp<SubOp>();
  ReduceOp mean = sub ? meanOfRows(sub.getRhs()) : ReduceOp();
  return mean && mean.getInput() == sub.getLhs() ? sub.getLhs() : Value();
}

Operation *onlyUser(Value value) {
  return value.hasOneUse() ? *value.user_begin() : nullptr;
}

/// The rows divided by `sqrt`, and by which op, or a reason.
LogicalResult findUnit(SqrtOp sqrt, Operation *&unit, Value &numerator,
                       Reject reject) {
  Operation *user = onlyUser(sqrt.getResult());
  if (!user)
    return reject("the square root has several uses");
  Value factor = sqrt.getResult();
  bool inverted = isa<ReciprocalOp>(user) ||
                  (isa<DivOp>(user) && user->getOperand(1) == factor &&
                   getSplat(user->getOperand(0)) == 1.0);
  if (!inverted) {
    if (!isa<DivOp>(user) || user->getOperand(1) != factor)
      return reject("nothing is divided by the square root" + whichNode(user));
    unit = user;
    numerator = user->getOperand(0);
    return success();
  }
  factor = user->getResult(0);
  unit = onlyUser(factor);
  if (!unit || !isa<MulOp>(unit))
    return reject("nothing is multiplied by the reciprocal square root" +
                  whichNode(factor));
  numerator = otherOperand(unit, factor);
  return success();
}

/// A row of `size` elements, as the weight and the bias are.
bool isRow(Value value, int64_t size) {
  RankedTensorType type = typeOf(value);
  return type.getRank() == 1 && type.getDimSize(0) == size;
}

/// From the unit rows to the end of the norm.
void extendUpwards(Chain &c, Value narrow) {
  int64_t size = typeOf(c.root->getResult(0)).getShape().back();
  auto isCastTo = [](Operation *user, Value like) {
    return user && like && isa<CastOp>(user) &&
           elementTypeOf(user->getResult(0)) == elementTypeOf(like);
  };
  bool isNarrow = false;
  if (Operation *user = onlyUser(c.root->getResult(0));
      isCastTo(user, narrow)) {
    c.root = user;
    isNarrow = true;
  }
  for (auto [isOp, row] :
       {std::pair<bool (*)(Operation *), Value *>(
            [](Operation *op) { return isa<MulOp>(op); }, &c.weight),
        std::pair<bool (*)(Operation *), Value *>(
            [](Operation *op) { return isa<AddOp>(op); }, &c.bias)}) {
    Operation *user = onlyUser(c.root->getResult(0));
    if (!user || !isOp(user))
      continue;
    Value other = otherOperand(user, c.root->getResult(0));
    if (!isRow(other, size))
      continue;
    *row = other;
    c.root = user;
  }
  if (Operation *user = onlyUser(c.root->getResult(0));
      !isNarrow && isCastTo(user, narrow)) {
    c.root = user;
    isNarrow = true;
  }
  if (isNarrow)
    c.input = narrow;
}

/// The mean or sum of something that is under a root, a few ops below: what
/// may have been meant as a norm. Null: none.
Operation *reductionUnder(Operation *root) {
  Value value = root->getOperand(0);
  for (int depth = 0; depth < 5; ++depth) {
    Operation *op = value.getDefiningOp();
    if (auto reduce = dyn_cast_if_present<ReduceOp>(op)) {
      bool isSum = reduce.getKind() == ReduceKind::Sum;
      bool isMean = reduce.getKind() == ReduceKind::Mean;
      return isMean || (isSum && rootOfSquare(reduce.getInput())) ? op
                                                                  : nullptr;
    }
    if (!isa_and_present<AddOp, MulOp, DivOp, MaxOp, CastOp, ViewOp>(op))
      return nullptr;
    value = op->getOperand(0);
    if (op->getNumOperands() > 1 &&
        (getSplat(value) || op->getOperand(1).getDefiningOp<ReduceOp>()))
      value = op->getOperand(1);
  }
  return nullptr;
}

LogicalResult matchChain(SqrtOp sqrt, Chain &c, Reject reject) {
  auto add = sqrt.getInput().getDefiningOp<AddOp>();
  if (!add)
    return reject("no epsilon is added under the square root" +
                  whichNode(sqrt.getInput()));
  ReduceOp mean = meanOfRows(add.getLhs());
  Value other = add.getRhs();
  if (!mean) {
    mean = meanOfRows(add.getRhs());
    other = add.getLhs();
  }
  std::optional<double> epsilon = getSplat(other);
  if (!mean)
    return reject("the mean is not over the innermost dim alone" +
                  whichNode(reductionUnder(sqrt)));
  if (!epsilon)
    return reject("no constant epsilon is added under the square root" +
                  whichNode(add.getResult()));
  if (!(*epsilon >= 0)) // C3
    return reject("epsilon is not 0 or more" + whichNode(add.getResult()));
  c.epsilon = *epsilon;
  Value squared = rootOfSquare(mean.getInput());
  if (!squared)
    return reject("the mean is not of squares" + whichNode(mean.getInput()));
  Operation *unit = nullptr;
  Value numerator;
  if (LogicalResult found = findUnit(sqrt, unit, numerator, reject);
      failed(found))
    return found;
  Value centered = centeredInput(squared);
  // Twin subtractions, one for each use, are one value.
  bool same = numerator == squared ||
              (centered && centeredInput(numerator) == centered);
  if (!same)
    return reject("what is divided is not what was squared" +
                  whichNode(numerator));
  c.kind = centered ? NormKind::Layer : NormKind::RMS;
  c.input = centered ? centered : squared;
  c.root = unit;
  if (unit->getResult(0).getType() != c.input.getType())
    return reject("the result has another type than the input" +
                  whichNode(c.input));
  auto widened = c.input.getDefiningOp<CastOp>();
  bool isWidened = widened && isShortFloat(elementTypeOf(widened.getInput()));
  extendUpwards(c, isWidened ? widened.getInput() : Value());
  return success();
}

/// Terminates: each application takes one square root away.
struct RaiseNorm final : OpRewritePattern<SqrtOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(SqrtOp sqrt,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(sqrt, reason);
    };
    Chain c;
    if (LogicalResult matched = matchChain(sqrt, c, reject); failed(matched))
      return matched;
    SmallVector<Value> leaves = {c.input};
    for (Value row : {c.weight, c.bias})
      if (row)
        leaves.push_back(row);
    Location loc = locOf(c.root, leaves);
    rewriter.setInsertionPoint(c.root);
    if (!c.weight) {
      auto type = RankedTensorType::get({typeOf(c.input).getShape().back()},
                                        elementTypeOf(c.input));
      if (!type.hasStaticShape())
        return reject("rows have a symbolic size");
      Attribute one = rewriter.getFloatAttr(type.getElementType(), 1.0);
      c.weight = arith::ConstantOp::create(rewriter, loc,
                                           DenseElementsAttr::get(type, one));
    }
    auto norm = NormOp::create(
        rewriter, loc, c.input.getType(), c.input, c.weight, c.bias,
        /*residual=*/Value(), c.kind,
        rewriter.getF32FloatAttr(static_cast<float>(c.epsilon)));
    rewriter.replaceOp(c.root, norm);
    reportPassed(loc, DEBUG_TYPE, "raised to ferrite.norm");
    return success();
  }
};

/// Says of each root of a mean or sum that is left why it is no norm.
void reportRoot(Operation *op) {
  auto report = [&](const Twine &reason) -> LogicalResult {
    reportMissed(op, DEBUG_TYPE, reason);
    return failure();
  };
  auto pow = dyn_cast<PowOp>(op);
  std::optional<double> power = pow ? getSplat(pow.getRhs()) : std::nullopt;
  bool isPower = power && (*power == 0.5 || *power == -0.5);
  auto sqrt = dyn_cast<SqrtOp>(op);
  auto reduce = dyn_cast_if_present<ReduceOp>(
      sqrt || isPower ? reductionUnder(op) : nullptr);
  if (!reduce)
    return;
  Chain unused;
  if (reduce.getKind() == ReduceKind::Sum)
    (void)report("the squares are summed, not averaged" +
                 whichNode(reduce.getResult()));
  else
    (void)(sqrt ? matchChain(sqrt, unused, report)
                : report("its square root is written as a power"));
}

struct FuseLayerNormPass final
    : ferrite::impl::FuseLayerNormBase<FuseLayerNormPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<RaiseNorm>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation().walk(reportRoot);
  }
};
} // namespace
