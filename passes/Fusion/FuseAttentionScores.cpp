//===- FuseAttentionScores.cpp - What is done to attention scores ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From the softmax up to the product of queries and keys: scales, masks, a cap,
// sinks.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMatcher.h"
#include "passes/Fusion/FuseAttentionOperand.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Whether scores may come from here: a product above what is done to scores.
static bool leadsToProduct(Value value) {
  SmallVector<Value> work = {value};
  llvm::SmallPtrSet<Operation *, 16> visited;
  while (!work.empty() && visited.size() < kMaxAttentionChain) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || !visited.insert(op).second)
      continue;
    if (isa<MatmulOp>(op))
      return true;
    if (std::optional<Scaling> scaling = getScaling(op))
      work.push_back(scaling->scaled);
    else if (isa<CastOp, ViewOp, TransposeOp, AddOp, SubOp, WhereOp, TanhOp,
                 MaxOp>(op))
      work.append(op->operand_begin(), op->operand_end());
  }
  return false;
}

/// x where `value` is x - max(x) over the innermost dim, which a softmax does
/// by itself, or null.
static Value withoutMaximum(Value value) {
  auto sub = value.getDefiningOp<SubOp>();
  auto max = sub ? sub.getRhs().getDefiningOp<ReduceOp>() : ReduceOp();
  if (!max || max.getKind() != ReduceKind::Max || !max.getKeepDims() ||
      max.getInput() != sub.getLhs() ||
      max.getAxes() != ArrayRef<int64_t>{typeOf(sub.getLhs()).getRank() - 1})
    return {};
  return sub.getLhs();
}

/// From the softmax to the scores: a maximum that is subtracted, and a column
/// of sinks whose probability nobody reads.
LogicalResult AttentionMatcher::walkLogits() {
  if (Value logits = withoutMaximum(value)) {
    match.locs.push_back(value.getLoc());
    value = logits;
  }
  if (!dropsSink)
    return success();
  auto concat = value.getDefiningOp<ConcatOp>();
  if (!concat || concat.getInputs().size() != 2 ||
      static_cast<size_t>(concat.getAxis()) + 1 != coords.size())
    return reject("probabilities are dropped, and are no column of sinks");
  Value scores = concat.getInputs()[0], sinks = concat.getInputs()[1];
  if (spaces.dims.getDims(scores).back() != match.context->scores.keys ||
      !spaces.dims.getDims(sinks).back().isConstant(1))
    return reject("the sinks are not one column behind the keys");
  MaskAnalysis &masks = match.context->masks;
  Coords at(coords);
  at.back() = DimExpr(0);
  const MaskNode *node = masks.evaluate(sinks, at);
  constexpr unsigned head = 2;
  if ((masks.dependencies(node) & ~head) != 0)
    return reject("the sinks are not one number per head");
  match.sinks = node;
  match.locs.push_back(concat.getLoc());
  value = scores;
  return success();
}

LogicalResult AttentionMatcher::walkSum(Operation *op) {
  Value lhs = op->getOperand(0), rhs = op->getOperand(1);
  bool left = leadsToProduct(lhs), right = leadsToProduct(rhs);
  if (left && right)
    return reject("the scores are a sum of two products");
  if (isa<SubOp>(op) && right)
    return reject("the scores are subtracted");
  if (match.softcap != 0)
    return reject("a mask is added before the cap of the scores");
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

LogicalResult AttentionMatcher::walkChoice(WhereOp where) {
  if (match.softcap != 0)
    return reject("scores are dropped before their cap");
  ScoreStep step;
  step.op = where;
  step.mask = where.getCondition();
  step.kind = MaskTerm::Choice;
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
  step.fill = *fill * outerScale;
  CoordSpace &space = match.context->space;
  std::optional<Coords> mask = space.throughBroadcast(step.mask, coords);
  if (!mask)
    return reject("the mask does not broadcast to the scores");
  step.coords = *mask;
  match.steps.push_back(step);
  return go(scores, space.throughBroadcast(scores, coords),
            "the scores broadcast to the mask");
}

/// What `op` keeps from falling below a low number, and that, or null: behind
/// masks of -inf, such a bound gives a row without keys the mean of the values.
static Value boundedScores(Operation *op, double &bound) {
  if (!isa<MaxOp>(op))
    return {};
  for (unsigned i : {0, 1})
    if (std::optional<double> number = getSplat(op->getOperand(i));
        number && *number < -6e4) {
      bound = *number;
      return op->getOperand(1 - i);
    }
  return {};
}

/// cap * tanh(x / cap): what follows the tanh is the cap, and the scores' scale
/// is counted from there on.
LogicalResult AttentionMatcher::walkSoftcap(Operation *op) {
  if (match.softcap != 0)
    return reject("the scores are capped twice");
  if (!(outerScale > 0))
    return reject("the cap of the scores is not above 0");
  match.softcap = outerScale;
  value = op->getOperand(0);
  return success();
}

LogicalResult AttentionMatcher::walkScores() {
  CoordSpace &space = match.context->space;
  for (unsigned i = 0; i < kMaxAttentionChain; ++i) {
    Operation *op = value.getDefiningOp();
    double bound = 0;
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
    } else if (isa<TanhOp>(op)) {
      walked = walkSoftcap(op);
    } else if (Value scores = boundedScores(op, bound)) {
      ScoreStep step;
      step.op = op;
      step.kind = MaskTerm::Bound;
      step.fill = bound * outerScale;
      match.steps.push_back(step);
      if (match.softcap != 0 || !(outerScale > 0))
        return reject("the scores are bounded before their cap");
      walked = go(scores, space.throughBroadcast(scores, coords),
                  "the scores broadcast to their bound");
    } else {
      return reject("the scores pass through " + op->getName().getStringRef());
    }
    if (failed(walked))
      return walked;
  }
  return reject("more nodes than " + Twine(kMaxAttentionChain) +
                " lie before the softmax");
}
