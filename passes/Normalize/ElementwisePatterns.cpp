//===- ElementwisePatterns.cpp - Elementwise ops that change nothing ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Normalize/Patterns.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

namespace {
template <typename OpTy>
struct DimPattern : OpRewritePattern<OpTy> {
  DimPattern(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern<OpTy>(context), dims(dims) {}

protected:
  /// `op` is `value`, but maybe of more elements.
  void replaceWith(Operation *op, Value value,
                   PatternRewriter &rewriter) const {
    Value result = op->getResult(0);
    if (!dims.haveSameDims(result, value))
      value = BroadcastOp::create(
          rewriter, op->getLoc(), result.getType(), value,
          getDimsAttr(rewriter.getContext(), dims.getDims(result)));
    rewriter.replaceOp(op, value);
  }
  DimAnalysis &dims;
};
} // namespace

static Value splatOf(PatternRewriter &rewriter, Location loc, Type element,
                     double value) {
  auto type = RankedTensorType::get({}, element);
  return arith::ConstantOp::create(
      rewriter, loc,
      DenseElementsAttr::get(type,
                             Attribute(rewriter.getFloatAttr(element, value))));
}

/// The operand that `op` returns as it is, whatever it is; -1 if none is known.
static int neutralOperand(Operation *op) {
  std::optional<double> lhs = getSplat(op->getOperand(0));
  std::optional<double> rhs =
      op->getNumOperands() > 1 ? getSplat(op->getOperand(1)) : std::nullopt;
  auto commutes = [&](double neutral) {
    return rhs == neutral ? 0 : lhs == neutral ? 1 : -1;
  };
  auto right = [&](double neutral) { return rhs == neutral ? 0 : -1; };
  if (isa<AddOp, OrOp, XorOp>(op))
    return commutes(0);
  if (isa<MulOp, AndOp>(op))
    return commutes(1);
  if (isa<SubOp>(op))
    return right(0);
  if (isa<DivOp, PowOp>(op))
    return right(1);
  return -1;
}

namespace {
/// x + 0, x * 1, x and true. Terminates: takes an op away (a broadcast may
/// stay, which no pattern turns back).
template <typename OpTy>
struct DropNeutral final : DimPattern<OpTy> {
  using DimPattern<OpTy>::DimPattern;
  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    int kept = neutralOperand(op);
    if (kept < 0)
      return rewriter.notifyMatchFailure(op, "no operand is neutral");
    this->replaceWith(op, op->getOperand(kept), rewriter);
    return success();
  }
};

/// Terminates: takes a where away.
struct DecideWhere final : DimPattern<WhereOp> {
  using DimPattern::DimPattern;
  LogicalResult matchAndRewrite(WhereOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<double> condition = getSplat(op.getCondition());
    bool same = op.getLhs() == op.getRhs();
    if (!condition && !same)
      return rewriter.notifyMatchFailure(op, "the condition is not constant");
    replaceWith(op, same || *condition != 0 ? op.getLhs() : op.getRhs(),
                rewriter);
    return success();
  }
};

struct DropDoubleNot final : OpRewritePattern<NotOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(NotOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<NotOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "the input is no not");
    rewriter.replaceOp(op, inner.getInput());
    return success();
  }
};
} // namespace

/// Whether every value of `from` has an equal one in `to`.
static bool isLossless(Type from, Type to) {
  if (from == to || from.isInteger(1))
    return true;
  unsigned fromBits = from.getIntOrFloatBitWidth(),
           toBits = to.getIntOrFloatBitWidth();
  auto fromFloat = dyn_cast<FloatType>(from), toFloat = dyn_cast<FloatType>(to);
  if (fromFloat && toFloat)
    return fromBits < toBits;
  if (!fromFloat && !toFloat)
    return fromBits < toBits &&
           from.isUnsignedInteger() == to.isUnsignedInteger();
  return !fromFloat && toFloat && fromBits < toFloat.getFPMantissaWidth();
}

namespace {
/// Terminates: the inner cast loses a use.
struct ComposeCasts final : OpRewritePattern<CastOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CastOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<CastOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "the input is no cast");
    if (!isLossless(elementTypeOf(inner.getInput()), elementTypeOf(inner)))
      return rewriter.notifyMatchFailure(op, "the inner cast rounds");
    Location loc = rewriter.getFusedLoc({inner.getLoc(), op.getLoc()});
    auto cast = CastOp::create(rewriter, loc, op.getType(), inner.getInput());
    rewriter.replaceOp(op, cast);
    return success();
  }
};

/// A weight is converted when it is read. Terminates: takes a cast away.
struct CastWeight final : OpRewritePattern<CastOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CastOp op,
                                PatternRewriter &rewriter) const override {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    if (!weight || !isa<FloatType>(elementTypeOf(op)) ||
        !isa<FloatType>(elementTypeOf(weight)))
      return rewriter.notifyMatchFailure(op, "the input is no float weight");
    // A source that is converted to the weight's type first would round twice.
    for (Attribute source : weight.getSources())
      if (!isLossless(cast<SourceAttr>(source).getType(),
                      elementTypeOf(weight)))
        return rewriter.notifyMatchFailure(op, "the weight is rounded already");
    Location loc = rewriter.getFusedLoc({weight.getLoc(), op.getLoc()});
    auto converted =
        WeightOp::create(rewriter, loc, op.getType(), weight.getName(),
                         weight.getSources(), weight.getAxis());
    rewriter.replaceOp(op, converted);
    return success();
  }
};

/// x / 2^n is x * 2^-n, exactly. Terminates: no pattern makes a division.
struct DivideByPowerOfTwo final : OpRewritePattern<DivOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(DivOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<double> by = getSplat(op.getRhs());
    int exponent;
    if (!by || !isa<FloatType>(elementTypeOf(op)) ||
        std::abs(std::frexp(*by, &exponent)) != 0.5 || std::abs(exponent) > 14)
      return rewriter.notifyMatchFailure(op, "the divisor is no power of two");
    if (typeOf(op.getRhs()).getRank() > typeOf(op.getLhs()).getRank())
      return rewriter.notifyMatchFailure(
          op, "the divisor gives the result its rank");
    Value factor = splatOf(rewriter, op.getLoc(), elementTypeOf(op), 1.0 / *by);
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), op.getLhs(), factor);
    return success();
  }
};

/// x - c is x + (-c). Terminates: no pattern makes a subtraction.
struct SubtractConstant final : OpRewritePattern<SubOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(SubOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<double> constant = getSplat(op.getRhs());
    if (!constant || !isa<FloatType>(elementTypeOf(op)) ||
        typeOf(op.getRhs()).getRank() > typeOf(op.getLhs()).getRank())
      return rewriter.notifyMatchFailure(op, "no float constant is subtracted");
    Value negated =
        splatOf(rewriter, op.getLoc(), elementTypeOf(op), -*constant);
    rewriter.replaceOpWithNewOp<AddOp>(op, op.getType(), op.getLhs(), negated);
    return success();
  }
};

/// (x * a) * b is x * (a * b): one of the roundings of x goes. Terminates:
/// takes a product away.
struct MergeFactors final : DimPattern<MulOp> {
  using DimPattern::DimPattern;
  LogicalResult matchAndRewrite(MulOp op,
                                PatternRewriter &rewriter) const override {
    for (unsigned i : {0, 1}) {
      std::optional<double> outer = getSplat(op->getOperand(i));
      auto inner = op->getOperand(1 - i).getDefiningOp<MulOp>();
      if (!outer || !inner || !inner->hasOneUse() ||
          !elementTypeOf(op).isF32() || !dims.haveSameDims(op, inner))
        continue;
      for (unsigned k : {0, 1}) {
        std::optional<double> factor = getSplat(inner->getOperand(k));
        Value x = inner->getOperand(1 - k);
        if (!factor || !dims.haveSameDims(inner, x))
          continue;
        Location loc = rewriter.getFusedLoc({inner.getLoc(), op.getLoc()});
        Value both =
            splatOf(rewriter, loc, elementTypeOf(op), *outer * *factor);
        rewriter.replaceOp(op,
                           MulOp::create(rewriter, loc, op.getType(), x, both));
        return success();
      }
    }
    return rewriter.notifyMatchFailure(op, "not two constant factors");
  }
};

/// An operand that NumPy's rule broadcasts anyway. Terminates: a use of a
/// broadcast goes.
struct DropBroadcastOfOperand final : RewritePattern {
  DropBroadcastOfOperand(MLIRContext *context, DimAnalysis &dims)
      : RewritePattern(MatchTraitOpTypeTag(),
                       TypeID::get<OpTrait::ResultsBroadcastableShape>(), 1,
                       context),
        dims(dims) {}
  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    // Gelu and the other unary ops have nothing else to give the result its
    // dims.
    for (OpOperand &use : op->getOpOperands()) {
      auto broadcast = use.get().getDefiningOp<BroadcastOp>();
      if (!broadcast || op->getNumOperands() < 2)
        continue;
      Dims joined(dims.getDims(broadcast.getInput()));
      bool known = true;
      for (OpOperand &other : op->getOpOperands()) {
        if (&other == &use)
          continue;
        std::optional<Dims> both =
            broadcastDims(joined, dims.getDims(other.get()));
        known &= both.has_value();
        joined = both.value_or(joined);
      }
      if (!known || ArrayRef<DimExpr>(joined) != dims.getDims(op->getResult(0)))
        continue;
      rewriter.modifyOpInPlace(op, [&] { use.set(broadcast.getInput()); });
      return success();
    }
    return rewriter.notifyMatchFailure(op,
                                       "no operand is broadcast without need");
  }

private:
  DimAnalysis &dims;
};
} // namespace

void ferrite::populateElementwisePatterns(RewritePatternSet &patterns,
                                          DimAnalysis &dims) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DropNeutral<AddOp>, DropNeutral<SubOp>, DropNeutral<MulOp>,
               DropNeutral<DivOp>, DropNeutral<PowOp>, DropNeutral<AndOp>,
               DropNeutral<OrOp>, DropNeutral<XorOp>, DecideWhere, MergeFactors,
               DropBroadcastOfOperand>(context, dims);
  patterns.add<DropDoubleNot, ComposeCasts, CastWeight, DivideByPowerOfTwo,
               SubtractConstant>(context);
}
