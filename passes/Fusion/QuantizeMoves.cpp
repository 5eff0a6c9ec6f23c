//===- QuantizeMoves.cpp - Quantization before moves ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseByteLinear.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

Value ferrite::moveAgain(PatternRewriter &b, Operation *move, Value input) {
  IRMapping mapping;
  mapping.map(move->getOperand(0), input);
  Operation *made = b.clone(*move, mapping);
  made->getResult(0).setType(RankedTensorType::get(
      typeOf(move->getResult(0)).getShape(), elementTypeOf(input)));
  return made->getResult(0);
}

namespace {
/// quantize(view(x)) to view(quantize(x)), of transposes too, and so a product
/// with one number before a quantize: then they meet the linear that makes x,
/// and what moves has a quarter of the bytes. Terminates: what moves is nearer
/// to the results.
template <typename OpTy>
struct QuantizeBeforeMove final : OpRewritePattern<OpTy> {
  using OpRewritePattern<OpTy>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(op, reason);
    };
    unsigned place = 0;
    if constexpr (std::is_same_v<OpTy, MulOp>) {
      if (!llvm::all_of(op->getUsers(), llvm::IsaPred<QuantizeOp>))
        return reject("no quantize follows");
      place = getSplat(op.getLhs()).has_value();
      if (!getSplat(op->getOperand(1 - place)) ||
          typeOf(op->getOperand(1 - place)).getRank() != 0)
        return reject("it is no product with one number");
    } else if (!isOne(op.getScale()) || op.getBlock() != 0 ||
               typeOf(op.getScale()).getRank() != 0) {
      return reject("it has more than one scale");
    }
    Operation *move = op->getOperand(place).getDefiningOp();
    if (!move || !isa<ViewOp, TransposeOp>(move) || !move->hasOneUse() ||
        isWeightOrConstant(move->getOperand(0)))
      return reject("what it is of does not move alone");
    Value from = move->getOperand(0);
    IRMapping mapping;
    mapping.map(op->getOperand(place), from);
    Operation *before = rewriter.clone(*op, mapping);
    Type element = elementTypeOf(op->getResult(0));
    before->getResult(0).setType(
        RankedTensorType::get(typeOf(from).getShape(), element));
    rewriter.replaceOp(op, moveAgain(rewriter, move, before->getResult(0)));
    return success();
  }
};
} // namespace

void ferrite::populateQuantizeMovePatterns(RewritePatternSet &patterns) {
  patterns.add<QuantizeBeforeMove<QuantizeOp>, QuantizeBeforeMove<MulOp>>(
      patterns.getContext());
}
