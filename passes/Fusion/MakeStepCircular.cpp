//===- MakeStepCircular.cpp - Buffers that begin again --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A cache of W places in which token p is written at p % W (TensorScatter with
// mode = "circular") holds the last W tokens: it is a window. Attention adds up
// keys in any order, and their positions are in them, so a step may keep them
// in order in its pages, and give pages back behind the window.
//
// That a graph is such a one is shown for every token at once. Token p is the
// one that comes to place r in [0, W) in round n = p / W. In round 0, p = r: it
// has to be written at r, and the places 0 to r are seen. In a later round, p =
// W n + r with a symbol n of 1 or more: it has to be written at r, and all W
// places are seen. r is a coordinate of that extent, so that `mod`, `min` and
// comparisons come out as the same expression for all r and n, or it is not
// shown, and the graph keeps its ONNX-shaped entry alone.
//
// Graphs of one token a call: of several, those that are written first would
// not see what the others have taken the place of, and what they see would
// depend on how a text was cut into calls.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"

using namespace mlir;
using namespace ferrite;

/// All that `arg` leads to is where scatters write.
static bool isPlaceAlone(BlockArgument arg) {
  SmallVector<Value> pending = {arg};
  llvm::SmallPtrSet<Operation *, 16> seen;
  while (!pending.empty())
    for (OpOperand &use : pending.pop_back_val().getUses()) {
      Operation *user = use.getOwner();
      auto scatter = dyn_cast<ScatterNDOp>(user);
      if (scatter && use.get() == scatter.getIndices())
        continue;
      if (user->getNumResults() != 1 || scatter)
        return false;
      if (seen.insert(user).second)
        pending.push_back(user->getResult(0));
    }
  return true;
}

/// The places that were written, and no others, are seen.
bool SequenceFacts::seesWritten(AttentionOp op, MaskAnalysis &masks,
                                const DimExpr &written, bool all) {
  auto sizeOf = [&](Value value) -> std::optional<DimExpr> {
    const MaskNode *node = masks.evaluate(value, masks.getScores().batch);
    return node->kind == MaskNodeKind::Int ? std::optional(node->index)
                                           : std::nullopt;
  };
  bool limited = all;
  if (op.getLengths()) {
    if (sizeOf(op.getLengths()) != written)
      return false;
    limited = true;
  }
  if (op.getRight() >= 0) {
    std::optional<DimExpr> offset(DimExpr(0));
    if (op.getOffsets())
      offset = sizeOf(op.getOffsets());
    if (!offset ||
        *offset + op.getOffsetExpr() + op.getRight() + DimExpr(1) != written)
      return false;
    limited = true;
  }
  if (Value mask = op.getMask()) {
    const ScoreCoords &at = masks.getScores();
    std::optional<Coords> coords = space.throughBroadcast(mask, at.all());
    if (!coords || coords->size() != 4 ||
        op.getFill().convertToDouble() > kMaskDrops)
      return false;
    MaskTerm term;
    term.kind = MaskTerm::Choice;
    term.node = masks.evaluate(mask, *coords);
    term.number = -std::numeric_limits<double>::infinity();
    if (term.node->asBool() == true)
      return limited;
    FailureOr<MaskClass> found = masks.classify(term);
    if (failed(found) || !found->keeps.empty() || !found->biases.empty() ||
        !found->unfit.empty())
      return false;
    const KeyWindow &window = found->window;
    return window.right && *window.right + DimExpr(1) == written &&
           !window.left && !window.chunk && !window.anchors && !window.prefix &&
           !window.querySegments;
  }
  return limited;
}

bool SequenceFacts::isCircular(CachedAttention &attention, int64_t places,
                               int64_t round, bool givesPlace) {
  AttentionOp op = attention.op;
  ArrayRef<DimExpr> query = dims.getDims(op.getQuery());
  if (op.getBias() || op.getChunk() > 0 || op.getAnchors() > 0 ||
      op.getPrefix() || op.getQuerySegments() || query[0] != sizes.batch ||
      query[1] != sizes.fresh ||
      (op.getLeft() >= 0 && op.getLeft() + 1 < places))
    return false;
  DimExpr size(places), place = space.coordinate("place", size);
  before = round ? size * DimExpr::symbol("rounds") + place : place;
  begin = givesPlace ? place : before;
  MaskAnalysis masks(space, ScoreCoords::make(space, sizes.batch, query[2],
                                              sizes.fresh, size));
  assumeFacts(masks);
  for (const CacheRows &rows : {attention.keys, attention.values})
    if (!whyNotBehind(rows.whole, masks, place).empty())
      return false;
  return seesWritten(op, masks, round ? size : place + DimExpr(1), round > 0);
}

void ferrite::adoptWindows(func::FuncOp func,
                           MutableArrayRef<CachedAttention> attentions) {
  ScopedDiagnosticHandler handler(func.getContext(),
                                  [](Diagnostic &) { return success(); });
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims))
    return; // whoever needs it says why
  SequenceFacts plain(func, *dims, attentions);
  for (CachedAttention &each : attentions)
    if (!each.isSource)
      plain.adoptWindow(each.op);
  if (!takesOneToken(func))
    return;
  bool mayGivePlace = true;
  for (BlockArgument arg : func.getArguments())
    if (classifyInput(func, arg, attentions) == StepInput::Begins)
      mayGivePlace &= isPlaceAlone(arg);
  for (CachedAttention &each : attentions) {
    int64_t places = each.keys.places;
    if (each.isSource || places < 1 || places != each.values.places)
      continue;
    for (bool givesPlace : {false, true}) {
      if (givesPlace && !mayGivePlace)
        continue;
      bool holds = true;
      for (int64_t round : {0, 1}) {
        SequenceFacts facts(func, *dims, attentions);
        holds = holds && facts.isCircular(each, places, round, givesPlace);
      }
      if (!holds)
        continue;
      each.isCircular = true;
      each.op.setLeft(places - 1);
      each.op.setRight(0);
      each.op.setOffset(kPast);
      each.op.getOffsetsMutable().clear();
      each.op.getLengthsMutable().clear();
      each.op.getMaskMutable().clear();
      break;
    }
  }
}
