//===- FuseAttentionMatch.cpp - Find attention in its spellings -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMatcher.h"
#include "passes/Fusion/FuseAttentionOperand.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

ScoreSpace &ScoreSpaces::get(const Dims &extents) {
  std::string key;
  for (const DimExpr &extent : extents)
    key += extent.str() + ";";
  std::unique_ptr<ScoreSpace> &space = spaces[key];
  if (!space)
    space = std::make_unique<ScoreSpace>(
        [this](Value value) { return Dims(dims.getDims(value)); }, symbols,
        extents);
  return *space;
}

/// The value that `op` guards, if it is where(isnan(p), 0, p).
static Value guardedValue(Operation *op) {
  auto where = dyn_cast<WhereOp>(op);
  if (!where)
    return {};
  auto isNaN = where.getCondition().getDefiningOp<IsNaNOp>();
  bool zero = isNaN && isNaN.getInput() == where.getRhs() &&
              getSplat(where.getLhs()) == 0.0;
  return zero ? where.getRhs() : Value();
}

/// One step from the probabilities towards the softmax, or null.
static Value stepToSoftmax(Operation *op) {
  if (Value guarded = guardedValue(op))
    return guarded;
  if (auto cast = dyn_cast<CastOp>(op))
    return isa<FloatType>(elementTypeOf(cast.getInput())) ? cast.getInput()
                                                          : Value();
  return isa<ViewOp, TransposeOp, SliceOp>(op) ? op->getOperand(0) : Value();
}

SoftmaxOp ferrite::findSoftmax(MatmulOp product) {
  Value value = product.getLhs();
  for (unsigned i = 0; value && i < kMaxAttentionChain; ++i) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return {};
    if (auto softmax = dyn_cast<SoftmaxOp>(op))
      return softmax;
    value = stepToSoftmax(op);
  }
  return {};
}

LogicalResult AttentionMatcher::go(Value next, std::optional<Coords> at,
                                   const char *reason) {
  if (!at)
    return reject(reason);
  value = next;
  coords = *at;
  return success();
}

/// Coordinates of a factor of a product whose leading coordinates are `lead`.
Coords AttentionMatcher::operandCoords(Value operand, ArrayRef<DimExpr> lead,
                                       const DimExpr &row,
                                       const DimExpr &column) {
  ArrayRef<DimExpr> dims = spaces.dims.getDims(operand);
  Coords result(lead.take_back(dims.size() - 2));
  for (size_t i = 0; i < result.size(); ++i)
    if (dims[i].isConstant(1))
      result[i] = DimExpr(0);
  result.push_back(row);
  result.push_back(column);
  return result;
}

/// How many heads the leading dim of a rank 3 product holds: what some view
/// above splits it by.
int64_t AttentionMatcher::findHeads(int64_t rank) {
  for (Value start : {root.getRhs(), root.getLhs()}) {
    ArrayRef<DimExpr> dims = spaces.dims.getDims(start);
    if (static_cast<int64_t>(dims.size()) != rank)
      continue;
    CoordSpace space([&](Value v) { return Dims(spaces.dims.getDims(v)); },
                     ArrayAttr());
    DimExpr n = space.coordinate("n", dims[0]);
    Coords at = {n, space.coordinate("i", dims[1]),
                 space.coordinate("j", dims[2])};
    for (unsigned i = 0; i < kMaxAttentionChain; ++i) {
      for (const CoordSpace::Split &split : space.splits())
        if (split.of == n && split.divisor.constant())
          return *split.divisor.constant();
      Operation *op = start.getDefiningOp();
      if (!op)
        break;
      Value next = stepToSoftmax(op);
      if (auto softmax = dyn_cast<SoftmaxOp>(op))
        next = softmax.getInput();
      std::optional<Coords> from = at;
      if (isa<ViewOp, TransposeOp>(op))
        from = space.throughLayout(op, at);
      if (!next || !from)
        break;
      start = next;
      at = *from;
    }
  }
  return 1;
}

LogicalResult AttentionMatcher::setExtents() {
  Dims dims(spaces.dims.getDims(root.getResult()));
  int64_t rank = dims.size();
  if (rank > 4)
    return reject("the products have rank " + Twine(rank) +
                  ", where 4 is the most");
  if (getTensorType(dims, elementTypeOf(root.getResult())) != root.getType())
    return reject("the type of the result knows less than its operands'");
  DimExpr batches(1), heads(1);
  if (rank == 4) {
    batches = dims[0];
    heads = dims[1];
  } else if (rank == 3) {
    DimExpr found(findHeads(rank));
    std::optional<DimExpr> quotient = dims[0].dividedBy(found);
    heads = quotient ? found : DimExpr(1);
    batches = quotient.value_or(dims[0]);
  }
  if (!heads.constant() || heads.isConstant(0))
    return reject("the number of heads is not a constant");
  if (!dims.back().constant())
    return reject("the size of a head is not a constant");
  if (elementTypeOf(root.getResult()).isF64())
    return reject("the attention is in f64, and the op computes in f32");
  ArrayRef<DimExpr> values = spaces.dims.getDims(root.getRhs());
  const DimExpr &queries = dims[rank - 2], &keys = values[values.size() - 2];
  match.context = &spaces.get({batches, heads, queries, keys});
  match.resultDims = {batches, queries, heads, dims[rank - 1]};
  const ScoreCoords &scores = match.context->scores;
  if (rank == 4)
    lead = {scores.batch, scores.head};
  else if (rank == 3)
    lead = {scores.batch * heads + scores.head};
  return success();
}

LogicalResult AttentionMatcher::walkProbabilities() {
  CoordSpace &space = match.context->space;
  value = root.getLhs();
  coords = operandCoords(value, lead, match.context->scores.query,
                         match.context->scores.key);
  while (value != match.softmax.getResult()) {
    Operation *op = value.getDefiningOp();
    match.guarded |= static_cast<bool>(guardedValue(op));
    match.locs.push_back(op->getLoc());
    if (auto where = dyn_cast<WhereOp>(op))
      match.locs.push_back(where.getCondition().getLoc());
    std::optional<Coords> next = coords;
    if (isa<ViewOp, TransposeOp, SliceOp>(op))
      next = space.throughLayout(op, coords);
    if (isa<SliceOp>(op)) {
      if (dropsSink || next != coords)
        return reject("a part of the probabilities is taken");
      dropsSink = true;
    }
    if (failed(go(stepToSoftmax(op), next,
                  "a view after the softmax mixes its dims")))
      return failure();
  }
  match.locs.push_back(match.softmax.getLoc());
  bool rows =
      coords.back() == match.context->scores.key &&
      llvm::none_of(ArrayRef(coords).drop_back(), [&](const DimExpr &coord) {
        return space.dependsOn(coord, match.context->scores.key);
      });
  if (!rows)
    return reject("the softmax is not over the keys");
  value = match.softmax.getInput();
  return success();
}

std::optional<AttentionOperand>
AttentionMatcher::trace(Value value, ArrayRef<DimExpr> lead, bool grouped,
                        bool scalable, bool isTransposed, const DimExpr &token,
                        const DimExpr &tokens, const DimExpr &size,
                        const DimExpr &extent) {
  const ScoreCoords &scores = match.context->scores;
  OperandRoles roles;
  roles.coords = {scores.batch, token, scores.head, size};
  roles.extents = {scores.batches, tokens, scores.heads, extent};
  roles.grouped = grouped;
  roles.scalable = scalable;
  roles.element = elementTypeOf(root.getResult());
  Coords at = isTransposed ? operandCoords(value, lead, size, token)
                           : operandCoords(value, lead, token, size);
  return traceOperand(match.context->space, value, at, roles, match.locs);
}

LogicalResult AttentionMatcher::walkOperands() {
  const ScoreCoords &scores = match.context->scores;
  CoordSpace &space = match.context->space;
  if (coords.size() < 2 || coords.back() != scores.key ||
      coords[coords.size() - 2] != scores.query)
    return reject("the first product is not of queries by keys");
  Coords above(ArrayRef<DimExpr>(coords).drop_back(2));
  DimExpr size = spaces.dims.getDims(product.getLhs()).back();
  DimExpr valueSize = match.resultDims.back();
  if (!size.constant())
    return reject("the size of a head is not a constant");
  DimExpr inner = space.coordinate("d" + size.str(), size);
  DimExpr outer = space.coordinate("e" + valueSize.str(), valueSize);
  auto query = trace(product.getLhs(), above, false, true, false, scores.query,
                     scores.queries, inner, size);
  if (!query)
    return reject(
        "the left factor of the scores has no batch, heads, tokens and size");
  auto key = trace(product.getRhs(), above, true, true, true, scores.key,
                   scores.keys, inner, size);
  if (!key)
    return reject(
        "the right factor of the scores has no batch, heads, size and tokens");
  auto value = trace(root.getRhs(), lead, true, false, false, scores.key,
                     scores.keys, outer, valueSize);
  if (!value)
    return reject("the values have no batch, heads, tokens and size");
  match.query = *query;
  match.key = *key;
  match.value = *value;
  match.scale = outerScale * query->scale * key->scale;
  if (!std::isfinite(static_cast<float>(match.scale)))
    return reject("the scale is not finite");
  return success();
}

LogicalResult AttentionMatcher::run() {
  match.locs.push_back(root.getLoc());
  if (failed(setExtents()) || failed(walkProbabilities()) ||
      failed(walkLogits()) || failed(walkScores()) || failed(walkOperands()))
    return failure();
  return success();
}

LogicalResult ferrite::matchAttention(MatmulOp root, ScoreSpaces &spaces,
                                      AttentionMatch &match, Reject reject) {
  return AttentionMatcher(root, spaces, match, reject).run();
}
