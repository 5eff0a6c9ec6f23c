//===- FuseAttention.cpp - Raise scaled dot-product attention -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Attentions that were imported as one op come first: they are counted, and
// refined. Then one walk over the products, in order: each whose left factor is
// a softmax is a candidate, and becomes an attention or a remark. What an
// attention replaces stays until the end: the analyses know values by their
// address, and a mask is looked at again by the next layer.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMask.h"
#include "passes/Fusion/FuseAttentionMatch.h"
#include "passes/Fusion/FuseAttentionOperand.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/RefineAttention.h"

#include "llvm/ADT/SetVector.h"

#define DEBUG_TYPE "ferrite-fuse-attention"

namespace ferrite {
#define GEN_PASS_DEF_FUSEATTENTION
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// The transposes that bring the result back to [batch, tokens, heads, size].
static void findMerges(Value value, ArrayRef<DimExpr> heads, DimAnalysis &dims,
                       SmallVectorImpl<TransposeOp> &merges,
                       unsigned depth = 0) {
  if (depth > 8)
    return;
  bool isSplit = dims.getDims(value) == heads;
  for (Operation *user : value.getUsers()) {
    auto transpose = dyn_cast<TransposeOp>(user);
    if (isSplit && transpose &&
        transpose.getPerm() == ArrayRef<int64_t>{0, 2, 1, 3})
      merges.push_back(transpose);
    auto view = dyn_cast<ViewOp>(user);
    if (view && dims.getDims(view.getResult()) == heads)
      findMerges(view.getResult(), heads, dims, merges, depth + 1);
  }
}

/// Replaces `root` by `attention`, whose tokens are before its heads.
static void replaceRoot(RewriterBase &rewriter, MatmulOp root, Value attention,
                        ArrayRef<TransposeOp> merges, DimAnalysis &dims,
                        const Dims &heads) {
  Type element = elementTypeOf(root.getResult());
  Location loc = attention.getLoc();
  if (elementTypeOf(attention) != element)
    attention = CastOp::create(rewriter, loc, typeOf(attention).clone(element),
                               attention);
  for (TransposeOp merge : merges)
    rewriter.replaceAllUsesWith(merge.getResult(), attention);
  Value result =
      TransposeOp::create(rewriter, loc, getTensorType(heads, element),
                          attention, ArrayRef<int64_t>{0, 2, 1, 3});
  Dims flat(dims.getDims(root.getResult()));
  if (flat != heads)
    result = ViewOp::create(rewriter, loc, root.getType(), result,
                            getDimsAttr(rewriter.getContext(), flat));
  rewriter.replaceAllUsesWith(root.getResult(), result);
}

/// The three operands, of one element type: where the graph mixes them, f32.
static SmallVector<Value, 3> buildOperands(OpBuilder &builder, Location loc,
                                           DimAnalysis &dims,
                                           const AttentionMatch &match) {
  SmallVector<Value, 3> operands;
  for (const AttentionOperand *operand :
       {&match.query, &match.key, &match.value})
    operands.push_back(buildOperand(builder, loc, dims, *operand));
  if (llvm::all_equal(llvm::map_range(operands, elementTypeOf)))
    return operands;
  for (Value &operand : operands)
    if (!elementTypeOf(operand).isF32())
      operand = CastOp::create(
          builder, loc, typeOf(operand).clone(builder.getF32Type()), operand);
  return operands;
}

/// The sinks as [heads], or null.
static FailureOr<Value> buildSinks(OpBuilder &builder, DimAnalysis &dims,
                                   const AttentionMatch &match, Reject reject) {
  if (!match.sinks)
    return Value();
  const ScoreCoords &scores = match.context->scores;
  NodeBuilder nodes(builder, match.softmax.getLoc(), dims, match.context->masks,
                    {{scores.head, scores.heads}}, match.context->builtSinks);
  if (std::string reason = nodes.whyNot(match.sinks); !reason.empty())
    return reject("of the sinks, " + reason);
  Value sinks = nodes.buildRanked(match.sinks);
  if (dims.getDims(sinks)[0] == scores.heads)
    return sinks;
  Dims full = {scores.heads};
  return BroadcastOp::create(builder, sinks.getLoc(),
                             getTensorType(full, elementTypeOf(sinks)), sinks,
                             getDimsAttr(builder.getContext(), full))
      .getResult();
}

static LogicalResult fuse(MatmulOp root, SoftmaxOp softmax, ScoreSpaces &spaces,
                          RewriterBase &rewriter, Reject reject) {
  AttentionMatch match;
  match.softmax = softmax;
  if (failed(matchAttention(root, spaces, match, reject)))
    return failure();
  rewriter.setInsertionPoint(root);
  FailureOr<AttentionMask> mask =
      buildMask(rewriter, softmax.getLoc(), spaces.dims, *match.context,
                match.steps, reject);
  if (failed(mask))
    return failure();

  FailureOr<Value> sinks = buildSinks(rewriter, spaces.dims, match, reject);
  if (failed(sinks))
    return failure();

  Dims heads = match.resultDims;
  std::swap(heads[1], heads[2]);
  SmallVector<TransposeOp> merges;
  findMerges(root.getResult(), heads, spaces.dims, merges);
  for (TransposeOp merge : merges)
    match.locs.insert(match.locs.begin(), merge.getLoc());
  std::reverse(match.locs.begin(), match.locs.end()); // in the graph's order
  Location loc = rewriter.getFusedLoc(match.locs);

  SmallVector<Value, 3> operands =
      buildOperands(rewriter, loc, spaces.dims, match);
  Type computed = elementTypeOf(operands[0]);
  auto attention = AttentionOp::create(
      rewriter, loc, getTensorType(match.resultDims, computed), operands[0],
      operands[1], operands[2], static_cast<float>(match.scale));
  setAttentionMask(rewriter, attention, *mask);
  if (match.softcap != 0)
    attention.setSoftcapAttr(
        rewriter.getF32FloatAttr(static_cast<float>(match.softcap)));
  if (match.sinks)
    attention.getSinksMutable().assign(*sinks);
  attention.setGuarded(match.guarded);
  replaceRoot(rewriter, root, attention, merges, spaces.dims, heads);
  reportPassed(loc, DEBUG_TYPE, describeAttention(*mask, attention));
  return success();
}

/// Why a product that reads what `softmax` computes, at whatever remove, is not
/// of that as it is; null where there is no such product.
static const char *whyNoProduct(SoftmaxOp softmax) {
  llvm::SetVector<Operation *> reached;
  reached.insert(softmax);
  bool isQuantized = false;
  for (size_t i = 0; i < reached.size() && i < 64; ++i)
    for (Operation *user : reached[i]->getUsers()) {
      if (isa<MatmulOp>(user))
        return isQuantized ? "the probabilities are quantized before the "
                             "product, which attention would not do"
                           : "no product has the probabilities as they are as "
                             "its left factor";
      isQuantized |= isa<QuantizeOp>(user);
      if (isa<CastOp, WhereOp, IsNaNOp, ViewOp, TransposeOp, SliceOp, MulOp,
              QuantizeOp, DequantizeOp, SubOp>(user))
        reached.insert(user);
    }
  return nullptr;
}

namespace {
struct FuseAttentionPass final
    : ferrite::impl::FuseAttentionBase<FuseAttentionPass> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return signalPassFailure();
    ScoreSpaces spaces(*dims, func->getAttrOfType<ArrayAttr>(kSymbolsAttr));
    IRRewriter rewriter(&getContext());
    for (auto attention :
         llvm::to_vector(func.getBody().getOps<AttentionOp>())) {
      std::string found = refineAttention(attention, spaces, rewriter);
      reportPassed(attention.getLoc(), DEBUG_TYPE, found);
    }
    SmallVector<MatmulOp> products(func.getBody().getOps<MatmulOp>());
    llvm::SmallPtrSet<Operation *, 8> candidates;
    for (MatmulOp root : products) {
      SoftmaxOp softmax = findSoftmax(root);
      if (!softmax)
        continue;
      candidates.insert(softmax);
      (void)fuse(root, softmax, spaces, rewriter, [&](const Twine &reason) {
        reportMissed(softmax, DEBUG_TYPE, reason);
        return rewriter.notifyMatchFailure(root, reason);
      });
    }
    for (auto softmax : func.getBody().getOps<SoftmaxOp>())
      if (!candidates.contains(softmax))
        if (const char *reason = whyNoProduct(softmax))
          reportMissed(softmax, DEBUG_TYPE, reason);
    for (Operation &op :
         llvm::make_early_inc_range(llvm::reverse(func.getBody().front())))
      if (isOpTriviallyDead(&op))
        rewriter.eraseOp(&op);
  }
};
} // namespace
