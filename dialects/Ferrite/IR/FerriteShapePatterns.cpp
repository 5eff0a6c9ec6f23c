//===- FerriteShapePatterns.cpp - Canonical views and transposes ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/PatternMatch.h"
#include <numeric>

using namespace mlir;
using namespace ferrite;

namespace {
/// Terminates: takes one view away.
struct ComposeViews final : OpRewritePattern<ViewOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ViewOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<ViewOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "input is no view");
    Location loc = rewriter.getFusedLoc({inner.getLoc(), op.getLoc()});
    auto view = ViewOp::create(rewriter, loc, op.getType(), inner.getInput(),
                               op.getDims());
    rewriter.replaceOp(op, view);
    return success();
  }
};

/// Terminates: takes one transpose away.
struct ComposeTransposes final : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<TransposeOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "input is no transpose");
    SmallVector<int64_t> perm;
    for (int64_t dim : op.getPerm())
      perm.push_back(inner.getPerm()[dim]);
    Location loc = rewriter.getFusedLoc({inner.getLoc(), op.getLoc()});
    auto transpose = TransposeOp::create(rewriter, loc, op.getType(),
                                         inner.getInput(), perm);
    rewriter.replaceOp(op, transpose);
    return success();
  }
};

/// A transposed weight is a weight read otherwise. Terminates: takes one
/// transpose away.
struct FoldTransposeIntoWeight final : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    if (!weight)
      return rewriter.notifyMatchFailure(op, "input is no weight");
    SmallVector<Attribute> sources;
    for (Attribute attr : weight.getSources()) {
      auto source = cast<SourceAttr>(attr);
      if (source.getShape().size() != op.getPerm().size())
        return rewriter.notifyMatchFailure(op, "weight is viewed");
      SmallVector<int64_t> perm;
      for (int64_t dim : op.getPerm())
        perm.push_back(source.getPerm().empty() ? dim : source.getPerm()[dim]);
      if (llvm::equal(perm, llvm::seq<int64_t>(0, perm.size())))
        perm.clear();
      sources.push_back(
          SourceAttr::get(op.getContext(), source.getFile(), source.getOffset(),
                          source.getShape(), source.getType(), perm,
                          source.getDequant(), source.getPitch()));
    }
    // One source has no axis: one spelling of it, so that equal weights merge.
    int64_t axis =
        sources.size() == 1
            ? 0
            : llvm::find(op.getPerm(), weight.getAxis()) - op.getPerm().begin();
    Location loc = rewriter.getFusedLoc({weight.getLoc(), op.getLoc()});
    auto folded =
        WeightOp::create(rewriter, loc, op.getType(), weight.getName(),
                         rewriter.getArrayAttr(sources), axis);
    rewriter.replaceOp(op, folded);
    return success();
  }
};

/// A scale or zero point under another shape of as many elements.
Attribute reshaped(Attribute side, ArrayRef<int64_t> shape) {
  if (auto source = dyn_cast_if_present<SourceAttr>(side))
    return SourceAttr::get(side.getContext(), source.getFile(),
                           source.getOffset(), shape, source.getType(), {});
  if (auto dense = dyn_cast_if_present<DenseElementsAttr>(side))
    return dense.reshape(RankedTensorType::get(shape, dense.getElementType()));
  return side;
}

ArrayRef<int64_t> shapeOf(Attribute side) {
  if (auto source = dyn_cast<SourceAttr>(side))
    return source.getShape();
  return cast<DenseElementsAttr>(side).getType().getShape();
}

int64_t countOf(ArrayRef<int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t(1),
                         std::multiplies<>());
}

/// `source`, scaled and in the order of its file, under the dims `to`; null
/// where its scales are then none of a dim or of blocks of the innermost one.
SourceAttr viewScaled(SourceAttr source, ArrayRef<int64_t> to) {
  DequantAttr dequant = source.getDequant();
  ArrayRef<int64_t> from = source.getShape();
  int64_t scales = countOf(shapeOf(dequant.getScale()));
  if (!source.getPerm().empty() || to.empty() || countOf(to) == 0 ||
      (dequant.getZero() && countOf(shapeOf(dequant.getZero())) != scales))
    return {};
  // Elements in a row that share a scale, if scales follow one another so.
  int64_t axis = dequant.getAxis(), block = dequant.getBlock(), run = 0;
  if (scales == 1)
    run = countOf(to);
  else if (block == 0 && countOf(from.take_front(axis)) == 1)
    run = countOf(from.drop_front(axis + 1));
  else if (block != 0 && countOf(from.drop_front(axis + 1)) == 1)
    run = block >= from[axis]       ? from[axis]
          : from[axis] % block == 0 ? block
                                    : 0;
  if (run == 0 || run * scales != countOf(to))
    return {};
  SmallVector<int64_t> shape(to);
  if (scales == 1) {
    axis = block = 0;
    shape.clear();
  } else if (to.back() % run == 0) {
    axis = static_cast<int64_t>(to.size()) - 1;
    block = run;
    shape.back() /= run;
  } else if (countOf(to.drop_front()) == run) {
    axis = block = 0;
    shape = {to.front()};
  } else {
    return {};
  }
  MLIRContext *context = source.getContext();
  auto viewed = DequantAttr::get(context, reshaped(dequant.getScale(), shape),
                                 reshaped(dequant.getZero(), shape), axis,
                                 block, dequant.getCodes(), dequant.getBits());
  return SourceAttr::get(context, source.getFile(), source.getOffset(), to,
                         source.getType(), {}, viewed);
}

/// Reshapes a weight whose bytes are in one piece; dense ones are a tensor of
/// the new shape, transposed ones are viewed after that. Terminates: takes one
/// view away.
struct FoldViewIntoWeight final : OpRewritePattern<ViewOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ViewOp op,
                                PatternRewriter &rewriter) const override {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    if (!weight)
      return rewriter.notifyMatchFailure(op, "input is no weight");
    auto source = cast<SourceAttr>(weight.getSources()[0]);
    auto type = cast<RankedTensorType>(op.getType());
    // Scales are indexed by the dims that the bytes have.
    bool isDense = source.getPerm().empty() && !source.getDequant() &&
                   source.getPitch() == 0;
    // Of one rank, the shapes would have to agree.
    bool isOther =
        static_cast<int64_t>(source.getShape().size()) != type.getRank();
    SourceAttr viewed;
    if (source.getDequant() && type.hasStaticShape())
      viewed = viewScaled(source, type.getShape());
    if (weight.getSources().size() != 1 || !(isDense || isOther || viewed) ||
        !type.hasStaticShape())
      return rewriter.notifyMatchFailure(op, "weight is not in one piece");
    if (!viewed)
      viewed = source;
    if (isDense)
      viewed =
          SourceAttr::get(op.getContext(), source.getFile(), source.getOffset(),
                          type.getShape(), source.getType(), {});
    Location loc = rewriter.getFusedLoc({weight.getLoc(), op.getLoc()});
    auto folded = WeightOp::create(rewriter, loc, type, weight.getName(),
                                   rewriter.getArrayAttr(viewed), 0);
    rewriter.replaceOp(op, folded);
    return success();
  }
};
} // namespace

void ViewOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                         MLIRContext *context) {
  patterns.add<ComposeViews, FoldViewIntoWeight>(context);
}

void TransposeOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                              MLIRContext *context) {
  patterns.add<ComposeTransposes, FoldTransposeIntoWeight>(context);
}
