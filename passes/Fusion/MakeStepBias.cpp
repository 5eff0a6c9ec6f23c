//===- MakeStepBias.cpp - A bias that is a table of distances -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// T5 adds to a score what a table has for its distance, through a dozen nodes
// that make a row of the distance: logarithms, limits, a choice. They are asked
// element by element: where every integer below them comes to an expression
// that stays the same when query and key move on by one, the row is a function
// of the distance, and 4096 values of it are computed here.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"
#include "passes/Normalize/ConstantEvaluator.h"

using namespace mlir;
using namespace ferrite;

/// The most tokens that such a table tells apart. Its integers are 32 KiB,
/// which the evaluator of constants takes; T5 and its kin need 128.
static constexpr int64_t kMostDistances = 4096;

namespace {
class DistanceReader {
public:
  DistanceReader(MaskAnalysis &masks, CoordSpace &space, bool hasPast,
                 MLIRContext *context)
      : masks(masks), space(space), hasPast(hasPast), builder(context) {
    builder.setInsertionPointToStart(&scratch);
  }
  /// A constant: the element at `coords` of `value` for each distance. Null:
  /// it depends on something else.
  Value read(Value value, ArrayRef<DimExpr> coords, unsigned depth = 0);

private:
  Value indices(const MaskNode *node, Location loc);
  Value compute(Operation *op, ArrayRef<DimExpr> coords, unsigned depth);

  MaskAnalysis &masks;
  CoordSpace &space;
  bool hasPast;
  Block scratch;
  OpBuilder builder;
  llvm::DenseMap<Value, Value> known;
};
} // namespace

/// An integer that the analysis understands, at the distances 0, 1, ..: the
/// query moves on and the key stays.
Value DistanceReader::indices(const MaskNode *node, Location loc) {
  const ScoreCoords &at = masks.getScores();
  std::string query = at.query.symbols().front(),
              key = at.key.symbols().front();
  for (const std::string &name : node->index.symbols())
    if (name != query && name != key && name != kPast)
      return {};
  auto moved = [&](const DimExpr &toQuery, const DimExpr &toKey,
                   const DimExpr &toPast) {
    return node->index.replaced([&](StringRef name) -> std::optional<DimExpr> {
      return name == query ? toQuery : name == key ? toKey : toPast;
    });
  };
  DimExpr past = DimExpr::symbol(kPast);
  if (moved(at.query + DimExpr(1), at.key + DimExpr(1), past) != node->index ||
      (hasPast && moved(at.query + DimExpr(1), at.key, past) !=
                      moved(at.query, at.key, past + DimExpr(1))))
    return {};
  SmallVector<APInt> values;
  unsigned bits = node->type.getIntOrFloatBitWidth();
  for (int64_t d = 0; d < kMostDistances; ++d) {
    std::optional<int64_t> value =
        moved(DimExpr(d), DimExpr(0), DimExpr(0)).constant();
    if (!value)
      return {};
    values.push_back(APInt(64, *value, /*isSigned=*/true).trunc(bits));
  }
  auto type = RankedTensorType::get({kMostDistances}, node->type);
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(type, values));
}

Value DistanceReader::compute(Operation *op, ArrayRef<DimExpr> coords,
                              unsigned depth) {
  if (isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
    std::optional<Coords> from = space.throughLayout(op, coords);
    return from ? read(op->getOperand(0), *from, depth + 1) : Value();
  }
  if (!op->hasTrait<OpTrait::ResultsBroadcastableShape>() &&
      !op->hasTrait<OpTrait::Elementwise>() && !isa<CastOp>(op))
    return {};
  IRMapping mapping;
  for (Value operand : op->getOperands()) {
    std::optional<Coords> from = space.throughBroadcast(operand, coords);
    Value values = from ? read(operand, *from, depth + 1) : Value();
    if (!values)
      return {};
    mapping.map(operand, values);
  }
  Operation *copy = builder.clone(*op, mapping);
  copy->getResult(0).setType(
      RankedTensorType::get({kMostDistances}, elementTypeOf(op->getResult(0))));
  const char *reason = nullptr;
  std::optional<ConstantTensor> result = evaluate(copy, reason);
  if (!result)
    return {};
  return arith::ConstantOp::create(builder, op->getLoc(), result->attr());
}

Value DistanceReader::read(Value value, ArrayRef<DimExpr> coords,
                           unsigned depth) {
  if (depth > 100) // exports have 20; no hostile model uses up the stack
    return {};
  Value &found = known[value];
  if (found)
    return found;
  const MaskNode *node = masks.evaluate(value, coords);
  Value result;
  if (node->kind == MaskNodeKind::Int)
    result = indices(node, value.getLoc());
  else if (node->kind == MaskNodeKind::Float)
    result = arith::ConstantOp::create(
        builder, value.getLoc(),
        DenseElementsAttr::get(
            RankedTensorType::get({kMostDistances}, node->type),
            FloatAttr::get(node->type, node->number).getValue()));
  else if (Operation *op = value.getDefiningOp())
    result = compute(op, coords, depth);
  return known[value] = result;
}

std::optional<DistanceBias> ferrite::readDistances(Value bias,
                                                   MaskAnalysis &masks,
                                                   CoordSpace &space,
                                                   bool hasPast) {
  const ScoreCoords &at = masks.getScores();
  std::optional<Coords> coords = space.throughBroadcast(bias, at.all());
  while (coords && bias.getDefiningOp() &&
         isa<ViewOp, TransposeOp, BroadcastOp>(bias.getDefiningOp())) {
    coords = space.throughLayout(bias.getDefiningOp(), *coords);
    bias = bias.getDefiningOp()->getOperand(0);
  }
  auto gather = bias.getDefiningOp<GatherOp>();
  if (!coords || !gather || gather.getAxis() != 0 ||
      !isWeightOrConstant(gather.getData()))
    return std::nullopt;
  auto type = typeOf(gather.getData());
  if (type.getRank() != 2 || !type.hasStaticShape() ||
      coords->back() != at.head || DimExpr(type.getDimSize(1)) != at.heads)
    return std::nullopt;
  DistanceReader reader(masks, space, hasPast, bias.getContext());
  Value rows =
      reader.read(gather.getIndices(), ArrayRef<DimExpr>(*coords).drop_back());
  std::optional<ConstantTensor> known =
      rows ? ConstantTensor::read(rows) : std::nullopt;
  if (!known || known->isFloat())
    return std::nullopt;
  // A row that grows to the last of the table stays there: it is a limit.
  ArrayRef<int64_t> values = known->integers;
  if (!llvm::is_sorted(values) || values.front() < 0 ||
      values.back() != type.getDimSize(0) - 1)
    return std::nullopt;
  size_t count = llvm::find(values, values.back()) - values.begin() + 1;
  return DistanceBias{gather.getData(),
                      SmallVector<int64_t>(values.take_front(count))};
}
