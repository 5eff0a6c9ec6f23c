//===- FuseMoELoops.cpp - Loops over experts, computed by slot ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters unroll a loop over experts: turn e gathers the rows of the tokens
// that chose it, computes f(row, e), weights that and adds it to the tokens
// (ExpertParts.h). How many rows a turn has, only a run knows. Taken together
// the turns are
//
//   result[t] = before[t] + sum over k of f(x[t], experts[t, k]) * w[t, k]
//
// which has no such size (ExpertRows.h).
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ExpertRows.h"
#include "passes/Fusion/FuseMoE.h"

#define DEBUG_TYPE "ferrite-fuse-moe"

using namespace mlir;
using namespace ferrite;

namespace {
/// One attempt at a loop that ends at a part.
class ExpertLoop {
public:
  ExpertLoop(DimAnalysis &dims, RewriterBase &rewriter)
      : dims(dims), rewriter(rewriter), reader(dims) {}

  /// The turns up to `last`, from the first; false: `last` is no turn.
  bool collect(Operation *last);
  ArrayRef<ExpertPart> all() const { return parts; }
  /// What replaces the result of the last turn.
  FailureOr<Value> build(Reject reject);

private:
  LogicalResult readTurns(Reject reject);
  Value view(Value value, const Dims &to) {
    return ViewOp::create(rewriter, loc(),
                          getTensorType(to, elementTypeOf(value)), value,
                          getDimsAttr(rewriter.getContext(), to));
  }
  /// `numbers`, one an expert, of the experts that were chosen.
  Value ofChosen(ArrayRef<int64_t> numbers, IntegerType element);
  Location loc() { return parts.back().root->getLoc(); }

  DimAnalysis &dims;
  RewriterBase &rewriter;
  PartReader reader;
  SmallVector<ExpertPart> parts; ///< in order of the chain
  SmallVector<ExpertTurn> turns; ///< in order of experts
  ExpertSlots slots;
};
} // namespace

bool ExpertLoop::collect(Operation *last) {
  for (Operation *op = last; op; op = parts.back().before.getDefiningOp()) {
    std::optional<ExpertPart> part = PartReader::findPart(op);
    if (!part)
      break;
    parts.push_back(*part);
  }
  std::reverse(parts.begin(), parts.end());
  return !parts.empty();
}

LogicalResult ExpertLoop::readTurns(Reject reject) {
  slots.experts = reader.findExperts(parts.back().found);
  if (!slots.experts)
    return reject("a mask does not compare the chosen experts with a number");
  std::optional<ExpertChoices> choices = choicesOf(slots.experts, dims);
  if (!choices)
    return reject("the experts of a token are not the best of a known number");
  slots.choices = *choices;
  bool isZero = getSplat(parts.front().before) == 0.0;
  std::map<int64_t, ExpertTurn> sorted;
  for (auto [i, part] : llvm::enumerate(parts)) {
    if (LogicalResult read = reader.read(part, *choices, reject); failed(read))
      return read;
    if (part.experts != slots.experts)
      return reject("masks compare the choices of different routers");
    // Before the first turn nothing can be lost but zeros.
    if (part.replaces && !(isZero && (i == 0 || choices->choices == 1)))
      return reject("a turn replaces what was added to a token before");
    if (part.expert < 0 || part.expert >= choices->count)
      continue; // no token takes it
    ExpertTurn turn = {part.found, part.rows, part.expert, reader.slot,
                       reader.token};
    if (!sorted.try_emplace(part.expert, turn).second)
      return reject("two turns are of one expert");
  }
  if (sorted.empty())
    return reject("no turn is of an expert");
  for (auto &[expert, turn] : sorted)
    turns.push_back(turn);
  return success();
}

Value ExpertLoop::ofChosen(ArrayRef<int64_t> numbers, IntegerType element) {
  SmallVector<APInt> values;
  for (int64_t number : numbers)
    values.emplace_back(element.getWidth(), number);
  auto type = RankedTensorType::get({slots.choices.count}, element);
  Value table = arith::ConstantOp::create(rewriter, loc(),
                                          DenseElementsAttr::get(type, values));
  return GatherOp::create(rewriter, loc(),
                          getTensorType(dims.getDims(slots.experts), element),
                          table, slots.experts, 0);
}

FailureOr<Value> ExpertLoop::build(Reject reject) {
  if (LogicalResult read = readTurns(reject); failed(read))
    return failure();
  rewriter.setInsertionPoint(parts.back().root);
  const ExpertChoices &choices = slots.choices;
  Dims each = {choices.tokens, DimExpr(choices.choices)};
  if (dims.getDims(slots.experts) != ArrayRef<DimExpr>(each))
    slots.experts = view(slots.experts, each);
  // A loop may leave experts out: their slots add nothing.
  slots.places = slots.experts;
  Value hasTurn;
  if (static_cast<int64_t>(turns.size()) != choices.count) {
    SmallVector<int64_t> places(choices.count, 0), flags(choices.count, 0);
    for (auto [i, turn] : llvm::enumerate(turns)) {
      places[turn.expert] = i;
      flags[turn.expert] = 1;
    }
    slots.places = ofChosen(places, rewriter.getI64Type());
    hasTurn = view(ofChosen(flags, rewriter.getI1Type()),
                   {each[0], each[1], DimExpr(1)});
  }
  ExpertRows builder(dims, rewriter, reader, turns, slots, loc());
  Value rows = builder.build();
  if (!rows)
    return reject(builder.reason());
  Type element = elementTypeOf(rows);
  Dims shape = {each[0], each[1], dims.getDims(rows).back()};
  Type type = getTensorType(shape, element);
  if (dims.getDims(rows) != ArrayRef<DimExpr>(shape))
    rows = BroadcastOp::create(rewriter, loc(), type, rows,
                               getDimsAttr(rewriter.getContext(), shape));
  if (hasTurn) {
    Value zero = arith::ConstantOp::create(
        rewriter, loc(),
        DenseElementsAttr::get(RankedTensorType::get({}, element),
                               rewriter.getZeroAttr(element)));
    rows = WhereOp::create(rewriter, loc(), type, hasTurn, rows, zero);
  }
  Value sum = ReduceOp::create(
      rewriter, loc(), getTensorType({shape[0], shape[2]}, element), rows,
      ReduceKind::Sum, ArrayRef<int64_t>{1}, false);
  Value before = parts.front().before;
  sum = view(sum, Dims(dims.getDims(before)));
  if (getSplat(before) == 0.0)
    return sum;
  return Value(AddOp::create(rewriter, loc(), before.getType(), before, sum));
}

void ferrite::computeLoopsBySlot(func::FuncOp func, DimAnalysis &dims,
                                 RewriterBase &rewriter) {
  // Backwards: the last turn of a loop is met first.
  SmallVector<Operation *> ops;
  for (Operation &op : llvm::reverse(func.getBody().front()))
    if (isa<ScatterNDOp, ScatterElementsOp, AddOp>(op))
      ops.push_back(&op);
  llvm::DenseSet<Operation *> seen;
  for (Operation *op : ops) {
    if (seen.count(op))
      continue;
    ExpertLoop loop(dims, rewriter);
    if (!loop.collect(op))
      continue;
    for (const ExpertPart &part : loop.all()) {
      seen.insert(part.root);
      for (Value operand : part.root->getOperands())
        if (auto scatter = operand.getDefiningOp<ScatterElementsOp>())
          seen.insert(scatter);
    }
    FailureOr<Value> result =
        loop.build([&](const Twine &reason) -> LogicalResult {
          reportMissed(op, DEBUG_TYPE, reason);
          return failure();
        });
    if (failed(result))
      continue;
    reportPassed(op->getLoc(), DEBUG_TYPE,
                 "computes a loop over experts by slot");
    rewriter.replaceAllUsesWith(op->getResult(0), *result);
  }
}
