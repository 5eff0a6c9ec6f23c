//===- MaskWindow.cpp - Conditions on the place of query and key ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A condition becomes part of the window of an attention when it is one of six
// shapes. Parts that the window's formula would join in another way than by
// `and` stay conditions: a prefix, for one, is exempt from the right limit
// alone, and a second right limit would have to hold within it.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

static constexpr unsigned kOfBatch = 1, kOfHead = 2, kOfQuery = 4, kOfKey = 8;

//===--- shapes -----------------------------------------------------------===//

/// q + e - k >= 0 or k + e - q >= 0; a coordinate of extent 1 is 0.
std::optional<MaskBound> MaskAnalysis::asBound(const MaskNode *node) {
  const CoordSpace &space = exprs.getSpace();
  std::optional<DimExpr> expr = asNonNegative(node);
  if (!expr)
    return std::nullopt;
  for (bool isRight : {true, false}) {
    DimExpr near = isRight ? scores.query : scores.key;
    DimExpr far = isRight ? scores.key : scores.query;
    DimExpr bound = *expr - near + far;
    if (llvm::none_of(scores.all(), [&](const DimExpr &coord) {
          return space.dependsOn(bound, coord);
        }))
      return MaskBound{isRight, bound};
  }
  return std::nullopt;
}

/// The n of `key < n`, which depends on nothing but the batch, or null.
const MaskNode *MaskAnalysis::asFirstKeys(const MaskNode *node) {
  const CoordSpace &space = exprs.getSpace();
  if (node->kind != Kind::Compare)
    return nullptr;
  if (std::optional<DimExpr> expr = asNonNegative(node)) {
    DimExpr count = *expr + scores.key + DimExpr(1);
    if (llvm::any_of(scores.all(), [&](const DimExpr &coord) {
          return space.dependsOn(count, coord);
        }))
      return nullptr;
    return exprs.getInt(node->operands[0]->type, count);
  }
  const MaskNode *key = node->operands[0], *count = node->operands[1];
  Predicate predicate = node->predicate;
  if (predicate == Predicate::Gt || predicate == Predicate::Ge) {
    std::swap(key, count);
    predicate = predicate == Predicate::Gt ? Predicate::Lt : Predicate::Le;
  }
  if (key->kind != Kind::Int || (dependencies(count) & ~kOfBatch) ||
      (predicate != Predicate::Lt && predicate != Predicate::Le))
    return nullptr;
  std::optional<int64_t> ahead = (key->index - scores.key).constant();
  if (!ahead)
    return nullptr;
  DimExpr more((predicate == Predicate::Le ? 1 : 0) - *ahead);
  return exprs.getBinary(Kind::Add, count, exprs.getInt(count->type, more));
}

/// The condition of a query and a key that something of the one is something
/// of the other: {of the query, of the key}.
std::optional<std::pair<const MaskNode *, const MaskNode *>>
MaskAnalysis::asSegments(const MaskNode *node) {
  if (node->kind != Kind::Compare || node->predicate != Predicate::Eq)
    return std::nullopt;
  const MaskNode *query = node->operands[0], *key = node->operands[1];
  if (dependencies(query) & kOfKey)
    std::swap(query, key);
  unsigned ofQuery = dependencies(query), ofKey = dependencies(key);
  bool isInteger = query->type.isInteger(32) || query->type.isInteger(64);
  if (!isInteger || query->type != key->type || !(ofQuery & kOfQuery) ||
      !(ofKey & kOfKey) || ((ofQuery | ofKey) & kOfHead) ||
      (ofQuery & kOfKey) || (ofKey & kOfQuery))
    return std::nullopt;
  return std::make_pair(query, key);
}

/// {c, e} of (q + e) / c == k / c.
static std::optional<std::pair<int64_t, DimExpr>>
asChunks(const MaskNode *query, const MaskNode *key, const CoordSpace &space,
         const ScoreCoords &scores) {
  if (query->kind != Kind::Div || key->kind != Kind::Div)
    return std::nullopt;
  for (const MaskNode *side : {query, key})
    if (side->operands[0]->kind != Kind::Int ||
        side->operands[1]->kind != Kind::Int)
      return std::nullopt;
  std::optional<int64_t> size = query->operands[1]->index.constant();
  // Quotients are rounded to 0, which is down for positions that are no less.
  const DimExpr &at = query->operands[0]->index;
  DimExpr offset = at - scores.query;
  if (!size || *size < 1 || size != key->operands[1]->index.constant() ||
      key->operands[0]->index != scores.key || !space.isNonNegative(at) ||
      llvm::any_of(
          scores.all(),
          [&](const DimExpr &coord) { return space.dependsOn(offset, coord); }))
    return std::nullopt;
  return std::make_pair(*size, offset);
}

//===--- joined -----------------------------------------------------------===//

/// Whether `next` is as narrow as `bound`, or wider, or neither is known.
static std::optional<bool>
isNarrower(const CoordSpace &space, const DimExpr &next, const DimExpr &bound) {
  if (space.isNonNegative(bound - next))
    return true;
  if (space.isNonNegative(next - bound))
    return false;
  return std::nullopt;
}

/// A limit of the distance, which holds for all keys.
bool MaskAnalysis::addBound(const MaskBound &next, MaskClass &mask) {
  KeyWindow &window = mask.window;
  std::optional<DimExpr> &bound = next.isRight ? window.right : window.left;
  const MaskNode *&exempt =
      next.isRight ? window.prefixNode : window.anchorNode;
  if (exempt) { // that limit has an exemption, and this one has not
    mask.keeps.push_back(exempt);
    exempt = nullptr;
    if (next.isRight)
      window.prefix = nullptr;
    else
      window.anchors = 0;
    bound = next.bound;
    return true;
  }
  std::optional<bool> narrower =
      bound ? isNarrower(exprs.getSpace(), next.bound, *bound) : true;
  if (narrower == true)
    bound = next.bound;
  return narrower.has_value();
}

/// A limit, or the first keys.
bool MaskAnalysis::addExempt(const MaskNode *node, MaskClass &mask) {
  KeyWindow &window = mask.window;
  if (node->kind != Kind::Or || window.chunk != 0)
    return false;
  for (unsigned i : {0, 1}) {
    std::optional<MaskBound> bound = asBound(node->operands[i]);
    const MaskNode *first = asFirstKeys(node->operands[1 - i]);
    if (!bound || !first || (bound->isRight ? window.right : window.left))
      continue;
    std::optional<double> count = first->asNumber();
    if (bound->isRight) {
      window.right = bound->bound;
      window.prefix = first;
      window.prefixNode = node;
      return true;
    }
    if (!count || *count < 1)
      continue;
    window.left = bound->bound;
    window.anchors = static_cast<int64_t>(*count);
    window.anchorNode = node;
    return true;
  }
  return false;
}

/// (a and b) or c is (a or c) and (b or c): the latter where both are parts of
/// a window.
bool MaskAnalysis::addDistributed(const MaskNode *node, MaskClass &mask) {
  if (node->kind != Kind::Or)
    return false;
  for (unsigned i : {0, 1}) {
    const MaskNode *both = node->operands[i], *other = node->operands[1 - i];
    if (both->kind != Kind::And || !asFirstKeys(other))
      continue;
    MaskClass next = mask;
    bool all = llvm::all_of(both->operands, [&](const MaskNode *operand) {
      const MaskNode *part = exprs.getBinary(Kind::Or, operand, other);
      std::optional<MaskBound> bound = asBound(part);
      return bound ? addBound(*bound, next) : addExempt(part, next);
    });
    if (!all)
      continue;
    mask = std::move(next);
    return true;
  }
  return false;
}

bool MaskAnalysis::addToWindow(const MaskNode *node, MaskClass &mask) {
  KeyWindow &window = mask.window;
  if (std::optional<MaskBound> bound = asBound(node))
    return addBound(*bound, mask);
  if (addExempt(node, mask) || addDistributed(node, mask))
    return true;
  auto segments = asSegments(node);
  if (!segments)
    return false;
  auto [query, key] = *segments;
  auto chunks = asChunks(query, key, exprs.getSpace(), scores);
  if (chunks && window.chunk == 0 && !window.prefix && window.anchors == 0) {
    window.chunk = chunks->first;
    window.chunkOffset = chunks->second;
    window.chunkNode = node;
    return true;
  }
  if (window.querySegments)
    return false;
  window.querySegments = query;
  window.keySegments = key;
  window.segmentNode = node;
  return true;
}

//===--- keys in it -------------------------------------------------------===//

/// Whether `key` is of the key at coordinate `k` what `query` is of the query
/// at coordinate `q`.
static bool isSameOfBoth(const MaskNode *query, const MaskNode *key,
                         const DimExpr &q, const DimExpr &k) {
  auto agree = [&](const DimExpr &a, const DimExpr &b) {
    return a == b || a - q == b - k;
  };
  if (query->kind != key->kind || query->type != key->type ||
      query->predicate != key->predicate || query->value != key->value ||
      query->number != key->number || !agree(query->index, key->index) ||
      query->coords.size() != key->coords.size() ||
      query->operands.size() != key->operands.size())
    return false;
  for (auto [a, b] : llvm::zip_equal(query->coords, key->coords))
    if (!agree(a, b))
      return false;
  for (auto [a, b] : llvm::zip_equal(query->operands, key->operands))
    if (a != b && !isSameOfBoth(a, b, q, k))
      return false;
  return true;
}

/// Whether the key is there, and in the window, for each query.
bool MaskAnalysis::isAlwaysInside(const DimExpr &key, const KeyWindow &window) {
  const CoordSpace &space = exprs.getSpace();
  if (!space.isWithin(key, scores.keys))
    return false;
  if (window.right && !space.isNonNegative(scores.query + *window.right - key))
    return false;
  if (window.left && !space.isNonNegative(key - scores.query + *window.left))
    return false;
  if (window.chunk > 0 && key != scores.query + window.chunkOffset)
    return false;
  return !window.querySegments ||
         (key == scores.query &&
          isSameOfBoth(window.querySegments, window.keySegments, scores.query,
                       scores.key));
}

/// The parts in words.
void MaskAnalysis::describeWindow(const KeyWindow &window,
                                  llvm::function_ref<void(std::string)> add) {
  // Causal to the end of the keys, whatever the offset is called.
  if (window.right && !window.left) {
    add(window.right->isConstant(0)
            ? "causal"
            : "causal with offset " + window.right->str());
  } else if (window.left) {
    DimExpr right = window.right.value_or(DimExpr(0));
    std::string left = "window of " + (*window.left + right).str() + " before";
    add(!window.right ? left
        : window.right->constant().value_or(0) <= 0
            ? "causal " + left
            : left + ", " + window.right->str() + " behind");
  }
  if (window.chunk > 0)
    add("chunks of " + std::to_string(window.chunk));
  if (window.anchors > 0)
    add("sink of " + std::to_string(window.anchors));
  if (window.prefix)
    add("prefix");
  if (window.querySegments)
    add("block diagonal");
}
