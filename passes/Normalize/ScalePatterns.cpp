//===- ScalePatterns.cpp - Constant factors around products ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters scale the scores of attention before the product, after it, or half
// before each side. Here the factors gather behind the product, where an
// attention takes them. Products with a weight are left as they are.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Normalize/Patterns.h"

using namespace mlir;
using namespace ferrite;

namespace {
/// The views and transposes between a product and a scaled value.
struct ScaledSide {
  SmallVector<Operation *> moves; // from the product downwards
  Operation *scale = nullptr;     // mul or div by a constant
  Value unscaled, constant;
};

/// Terminates: a factor moves behind a product, of which there are finitely
/// many.
struct MoveFactorBehindProduct final : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(MatmulOp op,
                                PatternRewriter &rewriter) const override;
};
} // namespace

static std::optional<ScaledSide> findScale(Value side) {
  ScaledSide result;
  while (side.hasOneUse()) {
    Operation *op = side.getDefiningOp();
    if (!op)
      return std::nullopt;
    if (isa<ViewOp, TransposeOp>(op)) {
      result.moves.push_back(op);
      side = op->getOperand(0);
      continue;
    }
    if (!isa<MulOp, DivOp>(op))
      return std::nullopt;
    for (unsigned i : {1, 0}) {
      Value constant = op->getOperand(i), other = op->getOperand(1 - i);
      if (!getSplat(constant) || other.getType() != side.getType() ||
          (isa<DivOp>(op) && i == 0))
        continue;
      result.scale = op;
      result.constant = constant;
      result.unscaled = other;
      return result;
    }
    return std::nullopt;
  }
  return std::nullopt;
}

/// Whether `value` is a weight, or one still to be: transposed, or dequantized.
static bool isOfWeight(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ViewOp, TransposeOp, CastOp, QuantizeOp, DequantizeOp>(op))
      break;
    value = op->getOperand(0);
  }
  return isWeightOrConstant(value);
}

LogicalResult
MoveFactorBehindProduct::matchAndRewrite(MatmulOp op,
                                         PatternRewriter &rewriter) const {
  if (!elementTypeOf(op).isF32())
    return rewriter.notifyMatchFailure(op,
                                       "an unscaled product could overflow");
  // The factor belongs to what is before it there: to a gelu, as its half.
  if (isOfWeight(op.getLhs()) || isOfWeight(op.getRhs()))
    return rewriter.notifyMatchFailure(
        op, "a product with a weight has an epilogue");
  for (unsigned i : {0, 1}) {
    std::optional<ScaledSide> side = findScale(op->getOperand(i));
    if (!side)
      continue;
    Value value = side->unscaled;
    for (Operation *move : llvm::reverse(side->moves)) {
      Operation *copy = rewriter.clone(*move);
      copy->setOperand(0, value);
      value = copy->getResult(0);
    }
    SmallVector<Value> sides(op->getOperands());
    sides[i] = value;
    auto product = MatmulOp::create(rewriter, op.getLoc(), op.getType(),
                                    sides[0], sides[1]);
    // Of rank 0, so that it broadcasts to whatever the product is.
    Value constant = arith::ConstantOp::create(
        rewriter, side->scale->getLoc(),
        DenseElementsAttr::get(
            RankedTensorType::get({}, rewriter.getF32Type()),
            Attribute(rewriter.getF32FloatAttr(*getSplat(side->constant)))));
    Location loc = side->scale->getLoc();
    Value scaled =
        isa<MulOp>(side->scale)
            ? MulOp::create(rewriter, loc, op.getType(), product, constant)
                  .getResult()
            : DivOp::create(rewriter, loc, op.getType(), product, constant)
                  .getResult();
    rewriter.replaceOp(op, scaled);
    return success();
  }
  return rewriter.notifyMatchFailure(op, "no side is scaled by a constant");
}

void ferrite::populateScalePatterns(RewritePatternSet &patterns) {
  patterns.add<MoveFactorBehindProduct>(patterns.getContext());
}
