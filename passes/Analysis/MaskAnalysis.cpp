//===- MaskAnalysis.cpp - What an attention mask keeps --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

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
  if (coords == ArrayRef<DimExpr>{scores.batch, scores.key}) {
    std::optional<Dims> dims = exprs.getSpace().dimsOf(value);
    if (dims && *dims == Dims{scores.batches, scores.keys})
      values.try_emplace(node, value);
  }
  return node;
}

const MaskNode *MaskAnalysis::walk(Value value, ArrayRef<DimExpr> coords) {
  const MaskNode *node = nullptr;
  if (Operation *op = value.getDefiningOp())
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
      .Case([&](GatherOp gather) { return walkGather(gather, coords); })
      .Case([&](GatherNDOp gather) { return walkGatherND(gather, coords); })
      .Default([&](Operation *) { return walkElementwise(op, coords); });
}

const MaskNode *MaskAnalysis::walkConstant(Value value,
                                           ArrayRef<DimExpr> coords) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)))
    return nullptr;
  Attribute element;
  if (elements.isSplat()) {
    element = elements.getSplatValue<Attribute>();
  } else {
    int64_t linear = 0;
    for (auto [coord, size] :
         llvm::zip_equal(coords, elements.getType().getShape())) {
      std::optional<int64_t> at = coord.constant();
      if (!at || *at < 0 || *at >= size)
        return nullptr;
      linear = linear * size + *at;
    }
    element = elements.getValues<Attribute>()[linear];
  }
  Type type = elements.getElementType();
  if (auto real = dyn_cast<FloatAttr>(element))
    return exprs.getNumber(type, real.getValueAsDouble());
  auto integer = dyn_cast<IntegerAttr>(element);
  if (!integer || !type.isSignlessInteger())
    return nullptr;
  return exprs.getInt(type, type.isInteger(1)
                                ? integer.getValue().getZExtValue()
                                : integer.getValue().getSExtValue());
}

const MaskNode *MaskAnalysis::walkElementwise(Operation *op,
                                              ArrayRef<DimExpr> coords) {
  if (!isa<CastOp, NotOp, NegOp, AndOp, OrOp, XorOp, AddOp, SubOp, MulOp, MinOp,
           MaxOp, CompareOp, WhereOp>(op))
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
      .Case([&](MinOp) { return exprs.getBinary(Kind::Min, in[0], in[1]); })
      .Case([&](MaxOp) { return exprs.getBinary(Kind::Max, in[0], in[1]); });
}

const MaskNode *MaskAnalysis::walkConcat(ConcatOp op,
                                         ArrayRef<DimExpr> coords) {
  const CoordSpace &space = exprs.getSpace();
  DimExpr left = coords[op.getAxis()];
  for (Value input : op.getInputs()) {
    std::optional<Dims> dims = space.dimsOf(input);
    if (!dims)
      return nullptr;
    const DimExpr &size = (*dims)[op.getAxis()];
    if (space.isWithin(left, size)) {
      Coords from(coords);
      from[op.getAxis()] = left;
      return evaluate(input, from);
    }
    if (!space.isNonNegative(left - size))
      return nullptr;
    left = left - size;
  }
  return nullptr;
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

//===--- classification ---------------------------------------------------===//

/// Empty when `node` is the element (b, k) of a tensor that can be built.
std::string MaskAnalysis::whyNotPerKey(const MaskNode *root) {
  const CoordSpace &space = exprs.getSpace();
  llvm::SmallPtrSet<const MaskNode *, 16> visited;
  SmallVector<const MaskNode *> work = {root};
  auto varies = [&](const DimExpr &index) -> const char * {
    if (space.dependsOn(index, scores.query))
      return "which keys are kept depends on the query";
    if (space.dependsOn(index, scores.head))
      return "which keys are kept depends on the head";
    return nullptr;
  };
  while (!work.empty()) {
    const MaskNode *node = work.pop_back_val();
    if (!visited.insert(node).second)
      continue;
    work.append(node->operands.begin(), node->operands.end());
    if (const char *reason = varies(node->index))
      return reason;
    if (node->kind == Kind::Int && !node->index.constant() &&
        node->index != scores.key && node->index != scores.batch)
      return "which keys are kept depends on computed positions";
    if (node->kind != Kind::Load)
      continue;
    std::optional<Dims> dims = space.dimsOf(node->value);
    bool batchSeen = false, keySeen = false;
    for (size_t i = 0; i < node->coords.size(); ++i) {
      const DimExpr &coord = node->coords[i];
      if (const char *reason = varies(coord))
        return reason;
      if (dims && coord == scores.batch && (*dims)[i] == scores.batches &&
          !batchSeen && !keySeen)
        batchSeen = true;
      else if (dims && coord == scores.key && (*dims)[i] == scores.keys &&
               !keySeen)
        keySeen = true;
      else if (!dims || !coord.isConstant(0) || !(*dims)[i].isConstant(1))
        return "the mask is read otherwise than at [batch, key]";
    }
  }
  return {};
}

MaskClass MaskAnalysis::classify(const MaskNode *additive) {
  MaskClass result;
  std::optional<double> number = additive->asNumber();
  // The same constant on every score leaves the softmax as it is.
  if (number && std::isfinite(*number)) {
    result.kind = MaskKind::None;
    return result;
  }
  if (additive->kind != Kind::Where || !additive->operands[1]->asNumber() ||
      !additive->operands[2]->asNumber()) {
    result.reason = "the mask is not a choice between 0 and a constant";
    return result;
  }
  const MaskNode *keep = additive->operands[0];
  double kept = *additive->operands[1]->asNumber();
  double dropped = *additive->operands[2]->asNumber();
  if (kept != 0) {
    keep = exprs.getNot(keep);
    std::swap(kept, dropped);
  }
  if (kept != 0 || std::isnan(dropped)) {
    result.reason = "the mask is not a choice between 0 and a constant";
    return result;
  }
  result.reason = whyNotPerKey(keep);
  if (!result.reason.empty())
    return result;
  result.kind = MaskKind::Keep;
  result.keep = keep;
  result.fill = dropped;
  return result;
}
