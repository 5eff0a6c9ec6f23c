//===- RefineAttention.cpp - Attention that came as one op ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ONNX has had an Attention since opset 23, and exporters use it as they used
// the ops it stands for: keys and values are repeated for all heads, and the
// causal mask is written out and passed in.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/RefineAttention.h"

#include "passes/Fusion/FuseAttentionMask.h"
#include "passes/Fusion/FuseAttentionOperand.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

namespace {
class Refiner {
public:
  Refiner(AttentionOp op, ScoreSpaces &spaces, OpBuilder &builder)
      : op(op), spaces(spaces), dims(spaces.dims), builder(builder) {}

  void foldHeads();
  /// The mask that the op now has.
  AttentionMask foldMask();

private:
  std::optional<AttentionOperand> traceRepeated(Value value);
  MaskTerm termOf(const MaskNode *keep, double fill);
  const MaskNode *windowNode(const ScoreCoords &scores);
  AttentionMask asItIs(const std::string &reason);

  AttentionOp op;
  ScoreSpaces &spaces;
  DimAnalysis &dims;
  OpBuilder &builder;
  MaskExprs *exprs = nullptr;
};
} // namespace

//===--- heads ------------------------------------------------------------===//

std::optional<AttentionOperand> Refiner::traceRepeated(Value value) {
  Dims extents(dims.getDims(value));
  ScoreSpace &context = spaces.get(extents);
  OperandRoles roles;
  roles.coords = context.scores.all();
  roles.extents = extents;
  roles.grouped = true;
  roles.scalable = false;
  roles.element = elementTypeOf(value);
  // In the order of the roles: batch, token, head, size.
  SmallVector<Location> locs;
  return traceOperand(context.space, value, roles.coords, roles, locs);
}

void Refiner::foldHeads() {
  Value key = op.getKey(), value = op.getValue();
  auto keys = traceRepeated(key), values = traceRepeated(value);
  if (!keys || !values)
    return;
  auto headsOf = [&](const AttentionOperand &operand) {
    Dims sizes = operand.view.empty() ? Dims(dims.getDims(operand.source))
                                      : operand.view;
    return sizes[operand.perm.empty() ? 2 : operand.perm[2]].constant();
  };
  std::optional<int64_t> heads = headsOf(*keys);
  if (!heads || heads != headsOf(*values) ||
      *heads >= op.getKey().getType().getDimSize(2) ||
      elementTypeOf(keys->source) != elementTypeOf(key) ||
      elementTypeOf(values->source) != elementTypeOf(value))
    return;
  op.getKeyMutable().assign(buildOperand(builder, op.getLoc(), dims, *keys));
  op.getValueMutable().assign(
      buildOperand(builder, op.getLoc(), dims, *values));
}

//===--- mask -------------------------------------------------------------===//

MaskTerm Refiner::termOf(const MaskNode *keep, double fill) {
  Type f32 = builder.getF32Type();
  return {MaskTerm::Sum, exprs->getWhere(keep, exprs->getNumber(f32, 0),
                                         exprs->getNumber(f32, fill))};
}

/// Whether a key is in the op's window.
const MaskNode *Refiner::windowNode(const ScoreCoords &scores) {
  Type i64 = builder.getI64Type();
  DimExpr at = scores.query + op.getOffsetExpr();
  const MaskNode *inside = exprs->getBool(builder.getContext(), true);
  auto limit = [&](Predicate predicate, const DimExpr &bound) {
    inside = exprs->getBinary(Kind::And, inside,
                              exprs->getCompare(predicate,
                                                exprs->getInt(i64, scores.key),
                                                exprs->getInt(i64, bound)));
  };
  if (op.getLeft() >= 0)
    limit(Predicate::Ge, at - DimExpr(op.getLeft()));
  if (op.getRight() >= 0)
    limit(Predicate::Le, at + DimExpr(op.getRight()));
  return inside;
}

AttentionMask Refiner::asItIs(const std::string &reason) {
  AttentionMask mask;
  mask.keep = op.getMask();
  mask.fill = op.getFill().convertToFloat();
  if (!op.getMask() && !op.getBias() && !op.hasWindow())
    return mask;
  mask.name = op.hasWindow() ? "window" : "";
  for (auto [operand, name] :
       {std::pair(op.getMask(), "mask"), std::pair(op.getBias(), "bias")})
    if (operand)
      mask.name += (mask.name.empty() ? "" : " + ") + std::string(name);
  if (!reason.empty())
    mask.name += " as given (" + reason + ")";
  return mask;
}

AttentionMask Refiner::foldMask() {
  if (!op.getMask() && !op.getBias())
    return asItIs("");
  if (op.getChunk() > 0 || op.getAnchors() > 0 || op.getPrefix() ||
      op.getQuerySegments())
    return asItIs("its window is of more than distances");
  if (op.hasWindow() && op.getOffsets())
    return asItIs("its window begins where data says");
  Dims query(dims.getDims(op.getQuery())), key(dims.getDims(op.getKey()));
  ScoreSpace &context = spaces.get({query[0], query[2], query[1], key[1]});
  const ScoreCoords &scores = context.scores;
  MaskAnalysis &masks = context.masks;
  exprs = &masks.getExprs();
  SmallVector<MaskTerm> terms;
  auto evaluate = [&](Value value) -> const MaskNode * {
    Coords all = typeOf(value).getRank() == 2 ? Coords{scores.batch, scores.key}
                                              : scores.all();
    std::optional<Coords> at = context.space.throughBroadcast(value, all);
    return at ? masks.evaluate(value, *at) : nullptr;
  };
  if (op.getBias()) {
    const MaskNode *bias = evaluate(op.getBias());
    if (!bias)
      return asItIs("the bias does not broadcast to the scores");
    terms.push_back(
        {MaskTerm::Sum, exprs->getCast(builder.getF32Type(), bias)});
  }
  const MaskNode *window = windowNode(scores), *keep = nullptr;
  if (op.getMask()) {
    keep = evaluate(op.getMask());
    if (!keep)
      return asItIs("the mask does not broadcast to the scores");
    if (op.getJoined())
      keep = exprs->getBinary(Kind::And, keep, window);
    terms.push_back(termOf(keep, op.getFill().convertToDouble()));
  }
  if (op.hasWindow() && !op.getJoined())
    terms.push_back(termOf(window, op.getWindowFill().convertToDouble()));
  std::string reason;
  FailureOr<AttentionMask> mask =
      buildMask(builder, op.getLoc(), dims, context, terms,
                isShortFloat(elementTypeOf(op.getQuery())), reason);
  if (failed(mask))
    return asItIs(reason);
  op.getMaskMutable().clear();
  op.getBiasMutable().clear();
  op.removeOffsetAttr();
  float none = -std::numeric_limits<float>::infinity();
  op.setFillAttr(builder.getF32FloatAttr(none));
  op.setWindowFillAttr(builder.getF32FloatAttr(none));
  op.setJoined(false);
  setAttentionMask(builder, op, *mask);
  return *mask;
}

std::string ferrite::refineAttention(AttentionOp attention, ScoreSpaces &spaces,
                                     OpBuilder &builder) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(attention);
  Refiner refiner(attention, spaces, builder);
  refiner.foldHeads();
  AttentionMask mask = refiner.foldMask();
  return describeAttention(mask, attention) + ", imported as one op";
}
