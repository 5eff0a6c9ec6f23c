//===- FuseAttentionMatch.cpp - Find attention in its spellings -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMatch.h"

#include "passes/Fusion/FuseAttentionOperand.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

// Between product and softmax real exports have six nodes, between softmax and
// product four.
static constexpr unsigned kMaxChain = 64;

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
  return isa<ViewOp, TransposeOp>(op) ? op->getOperand(0) : Value();
}

SoftmaxOp ferrite::findSoftmax(MatmulOp product) {
  Value value = product.getLhs();
  for (unsigned i = 0; value && i < kMaxChain; ++i) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return {};
    if (auto softmax = dyn_cast<SoftmaxOp>(op))
      return softmax;
    value = stepToSoftmax(op);
  }
  return {};
}

/// Whether scores may come from here: a product above what is done to scores.
static bool leadsToProduct(Value value) {
  SmallVector<Value> work = {value};
  llvm::SmallPtrSet<Operation *, 16> visited;
  while (!work.empty() && visited.size() < kMaxChain) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || !visited.insert(op).second)
      continue;
    if (isa<MatmulOp>(op))
      return true;
    if (std::optional<Scaling> scaling = getScaling(op))
      work.push_back(scaling->scaled);
    else if (isa<CastOp, ViewOp, TransposeOp, AddOp, SubOp, WhereOp>(op))
      work.append(op->operand_begin(), op->operand_end());
  }
  return false;
}

namespace {
class Matcher {
public:
  Matcher(MatmulOp root, ScoreSpaces &spaces, AttentionMatch &match,
          Reject reject)
      : root(root), spaces(spaces), match(match), reject(reject) {}

  LogicalResult run();

private:
  LogicalResult setExtents();
  int64_t findHeads(int64_t rank);
  LogicalResult walkProbabilities();
  LogicalResult walkScores();
  LogicalResult walkChoice(WhereOp where);
  LogicalResult walkSum(Operation *op);
  LogicalResult walkOperands();
  Coords operandCoords(Value operand, ArrayRef<DimExpr> lead,
                       const DimExpr &row, const DimExpr &column);
  std::optional<AttentionOperand>
  trace(Value value, ArrayRef<DimExpr> lead, bool grouped, bool scalable,
        bool isTransposed, const DimExpr &token, const DimExpr &tokens,
        const DimExpr &size, const DimExpr &extent);
  LogicalResult go(Value next, std::optional<Coords> at, const char *reason);

  MatmulOp root, product;
  ScoreSpaces &spaces;
  AttentionMatch &match;
  Reject reject;
  Coords lead;
  // Where the walk is, and the scale between there and the softmax.
  Value value;
  Coords coords;
  double outerScale = 1;
};
} // namespace

LogicalResult Matcher::go(Value next, std::optional<Coords> at,
                          const char *reason) {
  if (!at)
    return reject(reason);
  value = next;
  coords = *at;
  return success();
}

/// Coordinates of a factor of a product whose leading coordinates are `lead`.
Coords Matcher::operandCoords(Value operand, ArrayRef<DimExpr> lead,
                              const DimExpr &row, const DimExpr &column) {
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
int64_t Matcher::findHeads(int64_t rank) {
  for (Value start : {root.getRhs(), root.getLhs()}) {
    ArrayRef<DimExpr> dims = spaces.dims.getDims(start);
    if (static_cast<int64_t>(dims.size()) != rank)
      continue;
    CoordSpace space([&](Value v) { return Dims(spaces.dims.getDims(v)); },
                     ArrayAttr());
    DimExpr n = space.coordinate("n", dims[0]);
    Coords at = {n, space.coordinate("i", dims[1]),
                 space.coordinate("j", dims[2])};
    for (unsigned i = 0; i < kMaxChain; ++i) {
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

LogicalResult Matcher::setExtents() {
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

LogicalResult Matcher::walkProbabilities() {
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
    if (isa<ViewOp, TransposeOp>(op))
      next = space.throughLayout(op, coords);
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

LogicalResult Matcher::walkSum(Operation *op) {
  Value lhs = op->getOperand(0), rhs = op->getOperand(1);
  bool left = leadsToProduct(lhs), right = leadsToProduct(rhs);
  if (left && right)
    return reject("the scores are a sum of two products");
  if (isa<SubOp>(op) && right)
    return reject("the scores are subtracted");
  ScoreStep step;
  step.op = op;
  step.mask = right ? lhs : rhs;
  step.scale = isa<SubOp>(op) ? -outerScale : outerScale;
  CoordSpace &space = match.context->space;
  std::optional<Coords> mask = space.throughBroadcast(step.mask, coords);
  if (!mask)
    return reject("the mask does not broadcast to the scores");
  step.coords = *mask;
  match.steps.push_back(step);
  Value scores = right ? rhs : lhs;
  return go(scores, space.throughBroadcast(scores, coords),
            "the scores broadcast to the mask");
}

LogicalResult Matcher::walkChoice(WhereOp where) {
  ScoreStep step;
  step.op = where;
  step.mask = where.getCondition();
  step.isChoice = true;
  step.keepsWhenTrue = leadsToProduct(where.getLhs());
  Value scores = step.keepsWhenTrue ? where.getLhs() : where.getRhs();
  std::optional<double> fill =
      getSplat(step.keepsWhenTrue ? where.getRhs() : where.getLhs());
  if (!fill || std::isnan(*fill) || outerScale < 0)
    return reject(
        "dropped scores are replaced by something that is not a constant");
  // The op adds its fill, where this replaces: the same when the fill is so low
  // that no score is seen beside it. exp() of -1e4 is 0 already, so any such
  // fill may be taken as the lowest.
  if (*fill * outerScale > -1e4)
    return reject("dropped scores are replaced by " +
                  Twine(std::to_string(*fill)) + ", which does not drop them");
  step.fill = std::isinf(*fill) ? *fill : -std::numeric_limits<float>::max();
  CoordSpace &space = match.context->space;
  std::optional<Coords> mask = space.throughBroadcast(step.mask, coords);
  if (!mask)
    return reject("the mask does not broadcast to the scores");
  step.coords = *mask;
  match.steps.push_back(step);
  return go(scores, space.throughBroadcast(scores, coords),
            "the scores broadcast to the mask");
}

LogicalResult Matcher::walkScores() {
  CoordSpace &space = match.context->space;
  for (unsigned i = 0; i < kMaxChain; ++i) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return reject("no product of queries and keys is above the softmax");
    match.locs.push_back(op->getLoc());
    if ((product = dyn_cast<MatmulOp>(op)))
      return success();
    LogicalResult walked = success();
    if (isa<ViewOp, TransposeOp>(op)) {
      walked = go(op->getOperand(0), space.throughLayout(op, coords),
                  "a view before the softmax mixes its dims");
    } else if (auto cast = dyn_cast<CastOp>(op)) {
      if (!isa<FloatType>(elementTypeOf(cast.getInput())))
        return reject("the scores are integers");
      value = cast.getInput();
    } else if (std::optional<Scaling> scaling = getScaling(op)) {
      outerScale *= scaling->factor;
      walked =
          go(scaling->scaled, space.throughBroadcast(scaling->scaled, coords),
             "the scores broadcast to their scale");
    } else if (isa<AddOp, SubOp>(op)) {
      walked = walkSum(op);
    } else if (auto where = dyn_cast<WhereOp>(op)) {
      walked = walkChoice(where);
    } else {
      return reject("the scores pass through " + op->getName().getStringRef());
    }
    if (failed(walked))
      return walked;
  }
  return reject("more nodes than " + Twine(kMaxChain) +
                " lie before the softmax");
}

std::optional<AttentionOperand>
Matcher::trace(Value value, ArrayRef<DimExpr> lead, bool grouped, bool scalable,
               bool isTransposed, const DimExpr &token, const DimExpr &tokens,
               const DimExpr &size, const DimExpr &extent) {
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

LogicalResult Matcher::walkOperands() {
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

LogicalResult Matcher::run() {
  match.locs.push_back(root.getLoc());
  if (failed(setExtents()) || failed(walkProbabilities()) ||
      failed(walkScores()) || failed(walkOperands()))
    return failure();
  return success();
}

LogicalResult ferrite::matchAttention(MatmulOp root, ScoreSpaces &spaces,
                                      AttentionMatch &match, Reject reject) {
  return Matcher(root, spaces, match, reject).run();
}
