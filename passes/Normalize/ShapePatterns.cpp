//===- ShapePatterns.cpp - Views, transposes, broadcasts, slices ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What needs DimAnalysis; what types alone prove is in the dialect's folders.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Normalize/Patterns.h"

using namespace mlir;
using namespace ferrite;

/// The dims of `from` in groups, in order, whose products are the dims of `to`.
static std::optional<SmallVector<SmallVector<int64_t>>>
groupDims(ArrayRef<DimExpr> from, ArrayRef<DimExpr> to) {
  SmallVector<SmallVector<int64_t>> groups;
  size_t next = 0;
  for (const DimExpr &dim : to) {
    SmallVector<int64_t> group;
    DimExpr size(1);
    while (size != dim) {
      if (next == from.size())
        return std::nullopt;
      size = size * from[next];
      group.push_back(next++);
    }
    groups.push_back(group);
  }
  for (; next < from.size(); ++next) {
    if (!from[next].isConstant(1) || groups.empty())
      return std::nullopt;
    groups.back().push_back(next);
  }
  return groups;
}

static Dims withoutOnes(ArrayRef<DimExpr> dims) {
  Dims result;
  for (const DimExpr &dim : dims)
    if (!dim.isConstant(1))
      result.push_back(dim);
  return result;
}

namespace {
template <typename OpTy>
struct ShapePattern : OpRewritePattern<OpTy> {
  ShapePattern(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern<OpTy>(context), dims(dims) {}

protected:
  DimAnalysis &dims;
};

/// Terminates: takes an op away.
template <typename OpTy>
struct DropIdentity final : ShapePattern<OpTy> {
  using ShapePattern<OpTy>::ShapePattern;
  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    if (op.getType() != op.getInput().getType() ||
        !this->dims.haveSameDims(op, op.getInput()))
      return rewriter.notifyMatchFailure(op, "dims change");
    if constexpr (std::is_same_v<OpTy, SliceOp>)
      if (!llvm::all_of(op.getSteps(), [](int64_t step) { return step == 1; }))
        return rewriter.notifyMatchFailure(op, "the order changes");
    rewriter.replaceOp(op, op.getInput());
    return success();
  }
};

/// view(transpose(view(x))), with which exporters transpose a matrix of a batch
/// of several dims, is a transpose of x. Terminates: takes a view away.
struct TransposeThroughViews final : ShapePattern<ViewOp> {
  using ShapePattern::ShapePattern;
  LogicalResult matchAndRewrite(ViewOp op,
                                PatternRewriter &rewriter) const override {
    auto transpose = op.getInput().getDefiningOp<TransposeOp>();
    auto inner =
        transpose ? transpose.getInput().getDefiningOp<ViewOp>() : ViewOp();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "input is no transpose of a view");
    Dims from(dims.getDims(inner.getInput())), to(dims.getDims(op));
    auto groups = groupDims(from, dims.getDims(inner));
    if (!groups)
      return rewriter.notifyMatchFailure(
          op, "the inner view does not join whole dims");
    SmallVector<int64_t> perm;
    for (int64_t dim : transpose.getPerm())
      llvm::append_range(perm, (*groups)[dim]);
    Dims permuted;
    for (int64_t dim : perm)
      permuted.push_back(from[dim]);
    if (withoutOnes(permuted) != withoutOnes(to))
      return rewriter.notifyMatchFailure(op,
                                         "the outer view splits other dims");
    Location loc =
        rewriter.getFusedLoc({inner.getLoc(), transpose.getLoc(), op.getLoc()});
    Value result = TransposeOp::create(
        rewriter, loc, getTensorType(permuted, elementTypeOf(op)),
        inner.getInput(), perm);
    if (permuted != to)
      result =
          ViewOp::create(rewriter, loc, op.getType(), result, op.getDims());
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// A transpose that moves only dims of size 1. Terminates: takes one away.
struct UnitTransposeToView final : ShapePattern<TransposeOp> {
  using ShapePattern::ShapePattern;
  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    ArrayRef<DimExpr> from = dims.getDims(op.getInput());
    int64_t last = -1;
    for (int64_t dim : op.getPerm()) {
      if (from[dim].isConstant(1))
        continue;
      if (dim < last)
        return rewriter.notifyMatchFailure(op, "a dim of more than 1 moves");
      last = dim;
    }
    rewriter.replaceOpWithNewOp<ViewOp>(
        op, op.getType(), op.getInput(),
        getDimsAttr(op.getContext(), dims.getDims(op)));
    return success();
  }
};

/// Terminates: takes a slice away.
struct SliceOfIota final : OpRewritePattern<SliceOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(SliceOp op,
                                PatternRewriter &rewriter) const override {
    auto iota = op.getInput().getDefiningOp<IotaOp>();
    std::optional<int64_t> offset =
        iota ? (*parseDims(op.getOffsets()))[0].constant() : std::nullopt;
    if (!offset)
      return rewriter.notifyMatchFailure(
          op, "input is no sequence, or the offset varies");
    Location loc = rewriter.getFusedLoc({iota.getLoc(), op.getLoc()});
    auto part = IotaOp::create(rewriter, loc, op.getType(),
                               iota.getStart() + *offset * iota.getStep(),
                               iota.getStep() * op.getSteps()[0], op.getDims());
    rewriter.replaceOp(op, part);
    return success();
  }
};
} // namespace

void ferrite::populateShapePatterns(RewritePatternSet &patterns,
                                    DimAnalysis &dims) {
  patterns
      .add<DropIdentity<ViewOp>, DropIdentity<BroadcastOp>,
           DropIdentity<SliceOp>, TransposeThroughViews, UnitTransposeToView>(
          patterns.getContext(), dims);
  patterns.add<SliceOfIota>(patterns.getContext());
}
