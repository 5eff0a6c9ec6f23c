//===- MaskAnalysis.cpp - What an attention mask keeps --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

// The longest chain of a real export is near 40 nodes; both limits are far
// above and only keep a hostile model from using up the stack or the memory.
static constexpr unsigned kMaxDepth = 200;
static constexpr size_t kMaxNodes = 1 << 14;

ScoreCoords ScoreCoords::make(CoordSpace &space, const DimExpr &batches,
                              const DimExpr &heads, const DimExpr &queries,
                              const DimExpr &keys) {
  return {space.coordinate("b", batches),
          space.coordinate("h", heads),
          space.coordinate("q", queries),
          space.coordinate("k", keys),
          batches,
          heads,
          queries,
          keys};
}

static Type elementType(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType();
}

const MaskNode *MaskAnalysis::evaluate(Value value, ArrayRef<DimExpr> coords) {
  std::string key;
  llvm::raw_string_ostream text(key);
  text << value.getAsOpaquePointer();
  for (const DimExpr &coord : coords)
    text << ';' << coord.str();
  auto found = seen.find(key);
  if (found != seen.end())
    return found->second;
  if (depth > kMaxDepth || exprs.size() > kMaxNodes)
    return exprs.getLoad(value, coords);
  ++depth;
  const MaskNode *node = walk(value, coords);
  --depth;
  seen[key] = node;
  noteValue(node, value, coords);
  return node;
}

/// Remembers a value whose elements are `node` if each dim is one of a score,
/// in their order, and the node depends on all of them.
void MaskAnalysis::noteValue(const MaskNode *node, Value value,
                             ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = exprs.getSpace().dimsOf(value);
  if (!dims || leaves.contains(value))
    return;
  Coords all = scores.all();
  Dims extents = scores.extents();
  unsigned next = 0, bits = 0;
  for (auto [coord, size] : llvm::zip_equal(coords, *dims)) {
    if (size.isConstant(1))
      continue;
    while (next < 4 && (coord != all[next] || size != extents[next]))
      ++next;
    if (next == 4)
      return;
    bits |= 1u << next++;
  }
  if (bits == dependencies(node))
    values.try_emplace(node, value);
}

const MaskNode *MaskAnalysis::walk(Value value, ArrayRef<DimExpr> coords) {
  const MaskNode *node = nullptr;
  if (auto known = assumed.find(value); known != assumed.end()) {
    DimExpr index = known->second(coords);
    if (isa<IntegerType>(elementType(value)))
      return exprs.getInt(elementType(value), index);
    if (index.constant())
      return exprs.getNumber(elementType(value), *index.constant());
  }
  if (Operation *op = value.getDefiningOp(); op && !leaves.contains(value))
    node = walkOp(op, coords);
  return node ? node : exprs.getLoad(value, coords);
}

/// What the op computes for this element, or null where it is not understood.
const MaskNode *MaskAnalysis::walkOp(Operation *op, ArrayRef<DimExpr> coords) {
  CoordSpace &space = exprs.getSpace();
  if (isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
    std::optional<Coords> from = space.throughLayout(op, coords);
    return from ? evaluate(op->getOperand(0), *from) : nullptr;
  }
  return llvm::TypeSwitch<Operation *, const MaskNode *>(op)
      .Case([&](arith::ConstantOp) {
        return walkConstant(op->getResult(0), coords);
      })
      .Case([&](IotaOp iota) {
        DimExpr index =
            DimExpr(iota.getStart()) + coords[0] * DimExpr(iota.getStep());
        return exprs.getInt(elementType(iota.getResult()), index);
      })
      .Case([&](DimValuesOp sizes) -> const MaskNode * {
        std::optional<Dims> all = parseDims(sizes.getValues());
        int64_t i = coords.empty() ? 0 : coords[0].constant().value_or(-1);
        if (!all || i < 0 || i >= static_cast<int64_t>(all->size()))
          return nullptr;
        return exprs.getInt(elementType(sizes.getResult()), (*all)[i]);
      })
      .Case([&](ConcatOp concat) { return walkConcat(concat, coords); })
      .Case([&](CumSumOp sum) { return walkCumSum(sum, coords); })
      .Case([&](ReduceOp sum) { return walkReduce(sum, coords); })
      .Case([&](GatherOp gather) { return walkGather(gather, coords); })
      .Case([&](GatherNDOp gather) { return walkGatherND(gather, coords); })
      .Case([&](ScatterNDOp scatter) { return walkScatterND(scatter, coords); })
      .Default([&](Operation *) { return walkElementwise(op, coords); });
}

const MaskNode *MaskAnalysis::walkElementwise(Operation *op,
                                              ArrayRef<DimExpr> coords) {
  if (!isa<CastOp, NotOp, NegOp, AbsOp, AndOp, OrOp, XorOp, AddOp, SubOp, MulOp,
           DivOp, ModOp, MinOp, MaxOp, CosOp, SinOp, CompareOp, WhereOp>(op))
    return nullptr;
  SmallVector<const MaskNode *, 3> in;
  for (Value operand : op->getOperands()) {
    std::optional<Coords> from =
        exprs.getSpace().throughBroadcast(operand, coords);
    if (!from)
      return nullptr;
    in.push_back(evaluate(operand, *from));
  }
  Type type = elementType(op->getResult(0));
  using Node = const MaskNode *;
  return llvm::TypeSwitch<Operation *, Node>(op)
      .Case([&](CastOp) { return exprs.getCast(type, in[0]); })
      .Case([&](NotOp) { return exprs.getNot(in[0]); })
      .Case([&](NegOp) {
        return exprs.getBinary(Kind::Sub, exprs.getNumber(type, 0), in[0]);
      })
      .Case([&](AbsOp) -> Node { // of the least integer it is none
        if (!type.isInteger(32) && !type.isInteger(64))
          return nullptr;
        return exprs.getBinary(
            Kind::Max, in[0],
            exprs.getBinary(Kind::Sub, exprs.getNumber(type, 0), in[0]));
      })
      .Case([&](CompareOp c) {
        return exprs.getCompare(c.getPredicate(), in[0], in[1]);
      })
      .Case([&](WhereOp) { return exprs.getWhere(in[0], in[1], in[2]); })
      .Case([&](AndOp) { return exprs.getBinary(Kind::And, in[0], in[1]); })
      .Case([&](OrOp) { return exprs.getBinary(Kind::Or, in[0], in[1]); })
      .Case([&](XorOp) { return exprs.getBinary(Kind::Xor, in[0], in[1]); })
      .Case([&](AddOp) { return exprs.getBinary(Kind::Add, in[0], in[1]); })
      .Case([&](SubOp) { return exprs.getBinary(Kind::Sub, in[0], in[1]); })
      .Case([&](MulOp) { return exprs.getBinary(Kind::Mul, in[0], in[1]); })
      .Case([&](DivOp) { return exprs.getBinary(Kind::Div, in[0], in[1]); })
      .Case([&](ModOp) -> Node {
        if (in[0]->kind != Kind::Int || in[1]->kind != Kind::Int ||
            in[1]->index.constant().value_or(0) <= 0 ||
            !exprs.getSpace().isNonNegative(in[0]->index))
          return nullptr;
        auto parts = exprs.getSpace().divide(in[0]->index, in[1]->index);
        return parts ? exprs.getInt(type, parts->second) : nullptr;
      })
      .Case([&](CosOp) { return exprs.getUnary(Kind::Cos, in[0]); })
      .Case([&](SinOp) { return exprs.getUnary(Kind::Sin, in[0]); })
      .Case([&](MinOp) { return exprs.getBinary(Kind::Min, in[0], in[1]); })
      .Case([&](MaxOp) { return exprs.getBinary(Kind::Max, in[0], in[1]); });
}

const MaskNode *MaskAnalysis::walkConcat(ConcatOp op,
                                         ArrayRef<DimExpr> coords) {
  const CoordSpace &space = exprs.getSpace();
  DimExpr left = coords[op.getAxis()];
  for (auto [i, input] : llvm::enumerate(op.getInputs())) {
    std::optional<Dims> dims = space.dimsOf(input);
    if (!dims)
      return nullptr;
    const DimExpr &size = (*dims)[op.getAxis()];
    if (space.isWithin(left, size)) {
      Coords from(coords);
      from[op.getAxis()] = left;
      return evaluate(input, from);
    }
    if (!space.isNonNegative(left - size)) {
      if (const MaskNode *node = walkContinued(op, coords))
        return node;
      if (i == 0 || !repeatsFrom(op, i, coords))
        return walkEqualParts(op, coords);
      Coords from(coords);
      from[op.getAxis()] = left;
      return evaluate(op.getResult(), from);
    }
    left = left - size;
  }
  return nullptr;
}

/// Whether the inputs from `first` on hold what those from the first on do, as
/// the sections of the angles of two halves of a head.
bool MaskAnalysis::repeatsFrom(ConcatOp op, size_t first,
                               ArrayRef<DimExpr> coords) {
  const CoordSpace &space = exprs.getSpace();
  OperandRange inputs = op.getInputs();
  for (size_t i = first; i < inputs.size(); ++i) {
    std::optional<Dims> again = space.dimsOf(inputs[i]),
                        once = space.dimsOf(inputs[i - first]);
    if (!again || again != once)
      return false;
    Coords at(coords);
    at[op.getAxis()] = anywhere((*once)[op.getAxis()]);
    if (evaluate(inputs[i], at) != evaluate(inputs[i - first], at))
      return false;
  }
  return true;
}

/// One element and the numbers that go on from it, as positions and the one
/// before the first: the expression of the rest holds for it, too.
const MaskNode *MaskAnalysis::walkContinued(ConcatOp op,
                                            ArrayRef<DimExpr> coords) {
  int64_t axis = op.getAxis();
  if (op.getInputs().size() != 2 ||
      cast<RankedTensorType>(op.getInputs()[0].getType()).getDimSize(axis) != 1)
    return nullptr;
  auto at = [&](unsigned input, const DimExpr &place) {
    Coords from(coords);
    from[axis] = place;
    const MaskNode *node = evaluate(op.getInputs()[input], from);
    return node->kind == Kind::Int ? node : nullptr;
  };
  const MaskNode *first = at(0, DimExpr(0)), *before = at(1, DimExpr(-1));
  if (!first || !before || first->index != before->index)
    return nullptr;
  return at(1, coords[axis] - DimExpr(1));
}

/// The element of a concatenation wherever it is, when all are the same.
const MaskNode *MaskAnalysis::walkEqualParts(ConcatOp op,
                                             ArrayRef<DimExpr> coords) {
  CoordSpace &space = exprs.getSpace();
  const MaskNode *first = nullptr;
  for (Value input : op.getInputs()) {
    std::optional<Dims> dims = space.dimsOf(input);
    if (!dims)
      return nullptr;
    Coords from(coords);
    from[op.getAxis()] = anywhere((*dims)[op.getAxis()]);
    const MaskNode *node = evaluate(input, from);
    if (!node->asNumber() || (first && node != first))
      return nullptr;
    first = node;
  }
  return first;
}

/// A coordinate of no dim of the scores.
DimExpr MaskAnalysis::anywhere(const DimExpr &extent) {
  return exprs.getSpace().coordinate("any" + extent.str(), extent);
}

/// An index of a gather as a position in a dim of this size, if it is one for
/// certain.
std::optional<DimExpr> MaskAnalysis::position(const MaskNode *index,
                                              const DimExpr &size) {
  const CoordSpace &space = exprs.getSpace();
  if (index->kind != Kind::Int)
    return std::nullopt;
  if (space.isWithin(index->index, size))
    return index->index;
  DimExpr fromEnd = index->index + size;
  if (space.isNonNegative(DimExpr(-1) - index->index) &&
      space.isWithin(fromEnd, size))
    return fromEnd;
  return std::nullopt;
}

const MaskNode *MaskAnalysis::walkGather(GatherOp op,
                                         ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = exprs.getSpace().dimsOf(op.getData());
  if (!dims)
    return nullptr;
  size_t axis = op.getAxis();
  size_t rank = cast<RankedTensorType>(op.getIndices().getType()).getRank();
  const MaskNode *index = evaluate(op.getIndices(), coords.slice(axis, rank));
  std::optional<DimExpr> at = position(index, (*dims)[axis]);
  if (!at)
    return nullptr;
  Coords from(coords.take_front(axis));
  from.push_back(*at);
  from.append(coords.begin() + axis + rank, coords.end());
  return evaluate(op.getData(), from);
}

const MaskNode *MaskAnalysis::walkGatherND(GatherNDOp op,
                                           ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = exprs.getSpace().dimsOf(op.getData());
  if (!dims)
    return nullptr;
  auto indices = cast<RankedTensorType>(op.getIndices().getType());
  size_t lead = indices.getRank() - 1;
  Coords from;
  for (int64_t i = 0; i < indices.getShape().back(); ++i) {
    Coords element(coords.take_front(lead));
    element.push_back(DimExpr(i));
    std::optional<DimExpr> at =
        position(evaluate(op.getIndices(), element), (*dims)[i]);
    if (!at)
      return nullptr;
    from.push_back(*at);
  }
  from.append(coords.begin() + lead, coords.end());
  return evaluate(op.getData(), from);
}

/// A part of a tensor that is written as index tuples: a grid, from one place
/// on. The element comes from the updates where it is in there for certain, and
/// from the data where it is not.
const MaskNode *MaskAnalysis::walkScatterND(ScatterNDOp op,
                                            ArrayRef<DimExpr> coords) {
  CoordSpace &space = exprs.getSpace();
  std::optional<Dims> dims = space.dimsOf(op.getIndices());
  std::optional<Dims> updates = space.dimsOf(op.getUpdates());
  std::optional<Dims> data = space.dimsOf(op.getData());
  auto indices = cast<RankedTensorType>(op.getIndices().getType());
  size_t lead = indices.getRank() - 1;
  if (!dims || !updates || !data || op.getCombine() != CombineKind::None ||
      indices.getShape().back() != static_cast<int64_t>(lead))
    return nullptr;
  Coords grid;
  for (size_t i = 0; i < lead; ++i)
    grid.push_back(space.coordinate("at" + std::to_string(i) + (*dims)[i].str(),
                                    (*dims)[i]));
  Coords at(coords);
  bool within = true;
  for (size_t i = 0; i < lead; ++i) {
    Coords element(grid);
    element.push_back(DimExpr(i));
    const MaskNode *index = evaluate(op.getIndices(), element);
    if (index->kind != Kind::Int)
      return nullptr;
    DimExpr start = index->index - grid[i];
    // An index outside of the data would be clamped.
    if (!space.isNonNegative(start) ||
        !space.isNonNegative((*data)[i] - start - (*updates)[i]) ||
        llvm::any_of(grid, [&](const DimExpr &coord) {
          return space.dependsOn(start, coord);
        }))
      return nullptr;
    at[i] = coords[i] - start;
    if (space.isNonNegative(DimExpr(-1) - at[i]) ||
        space.isNonNegative(at[i] - (*updates)[i]))
      return evaluate(op.getData(), coords);
    within &= space.isWithin(at[i], (*updates)[i]);
  }
  return within ? evaluate(op.getUpdates(), at) : nullptr;
}
