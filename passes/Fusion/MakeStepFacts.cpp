//===- MakeStepFacts.cpp - Positions and masks of one sequence ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A step has no padding, and one sequence in it has all its tokens, past first.
// So a mask is all ones, and what thirty nodes make of it can be asked: an
// integer that comes to `past + i` for token i is its position, and the mask of
// an attention that comes to true for every key is none.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

static const DimExpr kOne(1);

SequenceFacts::SequenceFacts(func::FuncOp func, DimAnalysis &dims,
                             ArrayRef<CachedAttention> attentions)
    : func(func), dims(dims), attentions(attentions),
      sizes(SequenceSizes::of(func, attentions)), past(sizes.past),
      before(past), begin(past),
      space(
          [&dims](Value value) -> std::optional<Dims> {
            return Dims(dims.getDims(value));
          },
          func->getAttrOfType<ArrayAttr>(kSymbolsAttr)),
      scores(ScoreCoords::make(space, sizes.batch, kOne, sizes.fresh,
                               sizes.all())),
      indices(space, scores) {
  assumeFacts(indices);
}

void SequenceFacts::assumeFacts(MaskAnalysis &masks) {
  for (BlockArgument arg : func.getArguments())
    switch (classifyInput(func, arg, attentions)) {
    case StepInput::Mask:
    case StepInput::SourceMask:
      masks.assume(arg, [](ArrayRef<DimExpr>) { return kOne; });
      break;
    case StepInput::Begins:
      masks.assume(arg, [this](ArrayRef<DimExpr>) { return begin; });
      break;
    case StepInput::Positions:
    case StepInput::CachePositions:
      masks.assume(arg,
                   [this](ArrayRef<DimExpr> at) { return before + at.back(); });
      break;
    default:
      break;
    }
}

std::optional<int64_t> SequenceFacts::asPosition(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || !(type.getElementType().isInteger(64) ||
                 type.getElementType().isInteger(32)))
    return std::nullopt;
  Coords coords;
  bool hasToken = false;
  for (const DimExpr &dim : dims.getDims(value)) {
    bool isTokens = dim == DimExpr::symbol(kTokens);
    if ((!isTokens && !dim.isConstant(1)) || (isTokens && hasToken))
      return std::nullopt;
    hasToken |= isTokens;
    coords.push_back(!isTokens                ? DimExpr(0)
                     : sizes.fresh.constant() ? scores.batch
                                              : scores.query);
  }
  if (!hasToken)
    return std::nullopt;
  const MaskNode *node = indices.evaluate(value, coords);
  if (node->kind != Kind::Int)
    return std::nullopt;
  return (node->index - past - scores.query).constant();
}

std::optional<std::pair<int64_t, int64_t>>
SequenceFacts::asRowsByPosition(SliceOp op) {
  ArrayRef<DimExpr> from = dims.getDims(op.getInput()),
                    to = dims.getDims(op.getResult());
  std::optional<Dims> offsets = parseDims(op.getOffsets());
  std::optional<std::pair<int64_t, int64_t>> found;
  if (sizes.fresh.constant())
    return std::nullopt; // each token has a past of its own
  for (auto [i, dim] : llvm::enumerate(to)) {
    if (!offsets || op.getSteps()[i] != 1)
      return std::nullopt;
    if (dim == from[i] && (*offsets)[i].isConstant(0))
      continue;
    std::optional<int64_t> shift = ((*offsets)[i] - past).constant();
    if (found || dim != scores.queries || !from[i].constant() || !shift ||
        *shift < 0)
      return std::nullopt;
    found = {static_cast<int64_t>(i), *shift};
  }
  return found;
}

std::string SequenceFacts::whyNotBehind(Operation *whole, MaskAnalysis &masks,
                                        const DimExpr &place) {
  auto scatter = dyn_cast<ScatterNDOp>(whole);
  if (!scatter)
    return "";
  ArrayRef<DimExpr> at = dims.getDims(scatter.getIndices());
  ArrayRef<DimExpr> data = dims.getDims(scatter.getData());
  // An index for each element of a grid, tokens last: its own place in the dims
  // before, and behind the past in that of tokens.
  size_t last = at.size() - 2;
  Coords grid;
  bool isKnown = at.size() >= 2 &&
                 at.back() == DimExpr(static_cast<int64_t>(last + 1)) &&
                 at[last] == scores.queries && last < data.size() &&
                 data[last] == scores.keys;
  for (size_t i = 0; isKnown && i < last; ++i) {
    isKnown = at[i] == data[i];
    grid.push_back(space.coordinate("grid" + std::to_string(i), at[i]));
  }
  if (!isKnown)
    return "writes its cache in a way that is not known";
  grid.push_back(scores.query);
  for (size_t i = 0; i <= last; ++i) {
    Coords element(grid);
    element.push_back(DimExpr(static_cast<int64_t>(i)));
    const MaskNode *node = masks.evaluate(scatter.getIndices(), element);
    if (node->kind != Kind::Int ||
        node->index != (i == last ? place + scores.query : grid[i]))
      return "writes its cache elsewhere than behind the past (a buffer that "
             "begins again when it is full takes one token a call: --dim)";
  }
  return "";
}

/// The bias of a distance: slope of the head times the index of the key. What
/// else is in the index is the same for all keys of a query, and softmax does
/// not see it.
std::string SequenceFacts::whyNotBias(CachedAttention &attention,
                                      MaskAnalysis &masks) {
  Value bias = attention.op.getBias();
  const ScoreCoords &at = masks.getScores();
  std::optional<Coords> coords = space.throughBroadcast(bias, at.all());
  if (!coords)
    return "its bias does not broadcast to the scores";
  const MaskNode *node = masks.evaluate(bias, *coords);
  if (node->asNumber())
    return ""; // the same for all
  attention.distances = readDistances(bias, masks, space, !past.isConstant(0));
  if (attention.distances)
    return attention.op.getSinks() ? "it has a bias and a sink" : "";
  if (node->kind != Kind::Mul || attention.op.getSinks())
    return "its bias is no slope times the distance of a key, and no table "
           "of distances";
  for (int order : {0, 1}) {
    const MaskNode *key = node->operands[order],
                   *slope = node->operands[1 - order];
    if (key->kind == Kind::Cast)
      key = key->operands[0];
    if (key->kind != Kind::Int || slope->kind != Kind::Load)
      continue;
    DimExpr rest = key->index - at.key;
    if (space.dependsOn(rest, at.key) || space.dependsOn(rest, at.head) ||
        masks.dependencies(slope) & ~2u)
      continue;
    auto isHead = [&](const DimExpr &coord) { return coord == at.head; };
    if (!isWeightOrConstant(slope->value) ||
        product(dims.getDims(slope->value)) != at.heads ||
        llvm::count_if(slope->coords, isHead) != 1)
      continue;
    attention.slopes = slope->value;
    return "";
  }
  return "its bias is no slope times the distance of a key";
}

/// A value for each sequence, of which there is one.
static std::optional<DimExpr> sizeOf(Value value, MaskAnalysis &masks) {
  const MaskNode *node = masks.evaluate(value, masks.getScores().batch);
  if (node->kind != Kind::Int)
    return std::nullopt;
  return node->index;
}

/// Packed documents are told apart by where positions begin anew: in one
/// sequence nowhere.
bool SequenceFacts::isOneSegment(AttentionOp op, MaskAnalysis &masks) {
  if (!op.getQuerySegments())
    return true;
  const ScoreCoords &at = masks.getScores();
  auto segment = [&](Value value, const DimExpr &token) {
    std::optional<Coords> coords =
        space.throughBroadcast(value, {at.batch, token});
    return coords ? masks.evaluate(value, *coords)->asNumber() : std::nullopt;
  };
  std::optional<double> query = segment(op.getQuerySegments(), at.query);
  return query && query == segment(op.getKeySegments(), at.key);
}

void SequenceFacts::adoptWindow(AttentionOp op) {
  ArrayRef<DimExpr> query = dims.getDims(op.getQuery());
  if (op.getRight() >= 0 || !op.getMask() || query[0] != sizes.batch ||
      query[1] != scores.queries || dims.getDims(op.getKey())[1] != scores.keys)
    return;
  MaskAnalysis masks(space, ScoreCoords::make(space, sizes.batch,
                                              dims.getDims(op.getQuery())[2],
                                              scores.queries, scores.keys));
  assumeFacts(masks);
  const ScoreCoords &at = masks.getScores();
  std::optional<Coords> coords = space.throughBroadcast(op.getMask(), at.all());
  if (!coords || coords->size() != 4 ||
      op.getFill().convertToDouble() > kMaskDrops)
    return;
  MaskTerm term;
  term.kind = MaskTerm::Choice;
  term.node = masks.evaluate(op.getMask(), *coords);
  term.number = -std::numeric_limits<double>::infinity();
  FailureOr<MaskClass> found = masks.classify(term);
  if (failed(found) || !found->keeps.empty() || !found->biases.empty() ||
      !found->unfit.empty())
    return;
  const KeyWindow &window = found->window;
  if (window.right != past || window.chunk || window.anchors || window.prefix ||
      window.querySegments)
    return;
  std::optional<int64_t> left = -1;
  if (window.left)
    left = (*window.left + past).constant();
  if (!left || (window.left && *left < 0))
    return;
  op.setLeft(*left);
  op.setRight(0);
  op.setOffset(past.str());
  op.getMaskMutable().clear();
}

std::string SequenceFacts::whyNotCausal(CachedAttention &attention) {
  AttentionOp op = attention.op;
  for (const CacheRows &rows : {attention.keys, attention.values})
    if (rows.whole && !attention.isCircular)
      if (std::string why = whyNotBehind(rows.whole, indices, past);
          !why.empty())
        return why;
  ArrayRef<DimExpr> query = dims.getDims(op.getQuery());
  ArrayRef<DimExpr> key = dims.getDims(op.getKey());
  if (query[0] != sizes.batch || query[1] != scores.queries ||
      key[1] != scores.keys)
    return "its queries and keys are not the new and all tokens";
  if (op.getRight() < 0 && op.getLeft() < 0 && sizes.fresh.constant()) {
    op.setRight(0); // the one query is the last token
    op.setOffset(past.str());
    op.getOffsetsMutable().clear();
  }
  if (op.getRight() != 0)
    return "it is not causal";
  if (op.hasBlocks())
    return "it keeps blocks of its keys by a list";
  MaskAnalysis masks(space, ScoreCoords::make(space, sizes.batch, query[2],
                                              scores.queries, scores.keys));
  assumeFacts(masks);
  if (op.getChunk() > 0 || op.getAnchors() > 0 || op.getPrefix() ||
      !isOneSegment(op, masks))
    return "its window is of more than distances";
  std::optional<DimExpr> offset(DimExpr(0));
  if (op.getOffsets())
    offset = sizeOf(op.getOffsets(), masks);
  if (!offset || *offset + op.getOffsetExpr() != past)
    return "its window does not begin behind the past";
  if (std::string why = whyNotMasked(op, masks, scores.keys); !why.empty())
    return why;
  return op.getBias() ? whyNotBias(attention, masks) : "";
}

/// Neither length nor mask keeps anything from a sequence without padding.
std::string SequenceFacts::whyNotMasked(AttentionOp op, MaskAnalysis &masks,
                                        const DimExpr &keys) {
  const ScoreCoords &at = masks.getScores();
  if (op.getLengths() && sizeOf(op.getLengths(), masks) != keys)
    return "its length is not that of all tokens";
  Value mask = op.getMask();
  if (!mask)
    return "";
  std::optional<Coords> coords;
  if (dims.getDims(mask).size() == 2)
    coords = space.throughBroadcast(mask, {at.batch, at.key});
  else
    coords = space.throughBroadcast(mask, at.all());
  if (!coords || masks.evaluate(mask, *coords)->asBool() != true)
    return "its mask is not of padding alone";
  return "";
}

std::string SequenceFacts::whyNotWhole(CachedAttention &attention) {
  AttentionOp op = attention.op;
  if (op.hasWindow() || op.getAnchors() > 0 || op.getPrefix() || op.hasBlocks())
    return "it does not see all of its source";
  ArrayRef<DimExpr> query = dims.getDims(op.getQuery());
  DimExpr keys = dims.getDims(op.getKey())[1];
  if (query[0] != sizes.batch || query[1] != scores.queries)
    return "its queries are not of the new tokens";
  MaskAnalysis masks(space, ScoreCoords::make(space, sizes.batch, query[2],
                                              scores.queries, keys));
  assumeFacts(masks);
  if (std::string why = whyNotMasked(op, masks, keys); !why.empty())
    return why;
  if (Value bias = op.getBias()) {
    std::optional<Coords> coords =
        space.throughBroadcast(bias, masks.getScores().all());
    if (!coords || !masks.evaluate(bias, *coords)->asNumber())
      return "it has a bias to the tokens of its source";
  }
  return "";
}
