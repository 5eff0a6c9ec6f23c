//===- ExpertParts.cpp - What one turn of a loop over experts does --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ExpertParts.h"
#include "passes/Fusion/FuseMoE.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite;

/// Ops between an index and what it is computed from: exporters write five or
/// six. The bound is what a hostile model may cost.
static constexpr unsigned kDeepest = 64;
/// Tables of what experts have a turn are this long; models have some hundreds.
static constexpr int64_t kMostExperts = 65536;

PartReader::PartReader(DimAnalysis &dims)
    : dims(dims), space(
                      [&dims](Value value) -> std::optional<Dims> {
                        return Dims(dims.getDims(value));
                      },
                      nullptr) {}

//===--- choices ----------------------------------------------------------===//

std::optional<ExpertChoices> ferrite::choicesOf(Value experts,
                                                DimAnalysis &dims) {
  Value input;
  int64_t axis, choices = 1;
  ArrayRef<DimExpr> shape = dims.getDims(experts);
  if (auto topk = experts.getDefiningOp<TopKOp>()) {
    input = topk.getInput();
    axis = topk.getAxis();
    std::optional<int64_t> k =
        shape.empty() ? std::nullopt : shape.back().constant();
    if (!k || *k < 1)
      return std::nullopt;
    choices = *k;
    shape = shape.drop_back();
  } else if (auto arg = experts.getDefiningOp<ArgReduceOp>()) {
    input = arg.getInput();
    axis = arg.getAxis();
  } else {
    return std::nullopt;
  }
  ArrayRef<DimExpr> scores = dims.getDims(input);
  std::optional<int64_t> count = scores.back().constant();
  if (axis + 1 != static_cast<int64_t>(scores.size()) || !count ||
      *count > kMostExperts)
    return std::nullopt;
  return ExpertChoices{product(shape), choices, *count};
}

//===--- masks ------------------------------------------------------------===//

/// The number that a constant has at `at`.
static std::optional<int64_t> numberAt(Value value, ArrayRef<DimExpr> at) {
  if (std::optional<double> splat = getSplat(value))
    return *splat == static_cast<int64_t>(*splat)
               ? std::optional(static_cast<int64_t>(*splat))
               : std::nullopt;
  DenseIntElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)))
    return std::nullopt;
  int64_t place = 0;
  for (auto [index, size] : llvm::zip(at, elements.getType().getShape())) {
    std::optional<int64_t> number = index.constant();
    if (!number || *number < 0 || *number >= size)
      return std::nullopt;
    place = place * size + *number;
  }
  return elements.getValues<APInt>()[place].getSExtValue();
}

std::optional<PartReader::Compared> PartReader::readMask(Value mask,
                                                         Coords at) {
  // The element of a constant or sequence behind layout ops.
  auto known = [&](Value value, Coords at) -> std::optional<int64_t> {
    for (unsigned step = 0; step < kDeepest; ++step) {
      if (std::optional<int64_t> number = numberAt(value, at))
        return number;
      Operation *op = value.getDefiningOp();
      if (auto iota = dyn_cast_or_null<IotaOp>(op)) {
        std::optional<int64_t> place = at[0].constant();
        return place ? std::optional(iota.getStart() + iota.getStep() * *place)
                     : std::nullopt;
      }
      if (!isa_and_nonnull<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op))
        return std::nullopt;
      std::optional<Coords> inner = space.throughLayout(op, at);
      if (!inner)
        return std::nullopt;
      value = op->getOperand(0);
      at = *inner;
    }
    return std::nullopt;
  };
  std::optional<Compared> compared;
  for (unsigned step = 0; step < kDeepest; ++step) {
    Operation *op = mask.getDefiningOp();
    if (!op)
      return std::nullopt;
    std::optional<Coords> inner = at;
    Value next = op->getNumOperands() ? op->getOperand(0) : Value();
    if (isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
      inner = space.throughLayout(op, at);
    } else if (auto where = dyn_cast<WhereOp>(op)) {
      // one_hot's on and off values
      if (getSplat(where.getLhs()).value_or(0) == 0 ||
          getSplat(where.getRhs()) != 0.0)
        return std::nullopt;
      inner = space.throughBroadcast(next, at);
    } else if (auto compare = dyn_cast<CompareOp>(op);
               compare && compare.getPredicate() == Predicate::Ne) {
      if (getSplat(compare.getRhs()) != 0.0)
        return std::nullopt;
      inner = space.throughBroadcast(next, at);
    } else if (compare && compare.getPredicate() == Predicate::Eq) {
      for (Value side : compare->getOperands()) {
        Value other = otherOperand(compare, side);
        std::optional<Coords> own = space.throughBroadcast(side, at),
                              others = space.throughBroadcast(other, at);
        std::optional<int64_t> expert =
            others ? known(other, *others) : std::nullopt;
        if (own && expert) {
          compared = Compared{side, *own, *expert};
          break;
        }
      }
      break;
    } else if (!isa<CastOp>(op) || isa<FloatType>(elementTypeOf(next))) {
      return std::nullopt;
    }
    if (!inner)
      return std::nullopt;
    mask = next;
    at = *inner;
  }
  // Up to what chose the experts.
  for (unsigned step = 0; compared && step < kDeepest; ++step) {
    Operation *op = compared->ids.getDefiningOp();
    if (isa_and_nonnull<TopKOp, ArgReduceOp>(op))
      return compared;
    std::optional<Coords> inner = compared->at;
    Value next = op && op->getNumOperands() ? op->getOperand(0) : Value();
    if (isa_and_nonnull<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
      inner = space.throughLayout(op, compared->at);
    } else if (auto where = dyn_cast_or_null<WhereOp>(op)) {
      // x < 0 ? x + size : x, as one_hot has it: no position is negative.
      auto below = where.getCondition().getDefiningOp<CompareOp>();
      next = where.getRhs();
      if (!below || below.getPredicate() != Predicate::Lt ||
          below.getLhs() != next || getSplat(below.getRhs()) != 0.0)
        return std::nullopt;
      inner = space.throughBroadcast(next, compared->at);
    } else if (!isa_and_nonnull<CastOp>(op) ||
               isa<FloatType>(elementTypeOf(next))) {
      return std::nullopt;
    }
    if (!inner)
      return std::nullopt;
    compared->ids = next;
    compared->at = *inner;
  }
  return std::nullopt;
}

/// Named after the turn, as turns may have masks of other dims.
Coords PartReader::maskCoords(NonZeroOp found) {
  Coords at;
  for (auto [i, size] : llvm::enumerate(dims.getDims(found.getInput())))
    at.push_back(
        space.coordinate((found.getCount() + "," + Twine(i)).str(), size));
  return at;
}

Value PartReader::findExperts(NonZeroOp found) {
  auto compared = readMask(found.getInput(), maskCoords(found));
  return compared ? compared->ids : Value();
}

//===--- positions --------------------------------------------------------===//

NonZeroOp PartReader::findNonZero(Value index) {
  for (unsigned step = 0; step < kDeepest; ++step) {
    Operation *op = index.getDefiningOp();
    if (!op)
      return {};
    if (auto found = dyn_cast<NonZeroOp>(op))
      return found;
    if (!isa<ViewOp, TransposeOp, BroadcastOp, SliceOp, CastOp, AddOp, MulOp,
             ConcatOp>(op) ||
        op->getNumOperands() == 0)
      return {};
    // A multiple of a column, plus another: constants are second.
    index = op->getOperand(0);
    if (isWeightOrConstant(index) && op->getNumOperands() > 1)
      index = op->getOperand(1);
  }
  return {};
}

std::optional<DimExpr> PartReader::elementAt(NonZeroOp found, Value value,
                                             Coords at, unsigned depth) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == kDeepest)
    return std::nullopt;
  if (op == found) {
    // Of its own row: a reversed or shifted one is another slot.
    DimExpr row =
        space.coordinate(found.getCount(), DimExpr::symbol(found.getCount()));
    std::optional<int64_t> column = at[1].constant();
    if (at[0] != row || !column)
      return std::nullopt;
    return maskCoords(found)[*column];
  }
  if (std::optional<int64_t> number = numberAt(value, at))
    return DimExpr(*number);
  if (auto sizes = dyn_cast<DimValuesOp>(op)) {
    std::optional<Dims> values = parseDims(sizes.getValues());
    return values->size() == 1 ? std::optional(values->front()) : std::nullopt;
  }
  if (isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
    std::optional<Coords> inner = space.throughLayout(op, at);
    return inner ? elementAt(found, op->getOperand(0), *inner, depth + 1)
                 : std::nullopt;
  }
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    std::optional<int64_t> place = at[concat.getAxis()].constant();
    for (Value input : concat.getInputs()) {
      std::optional<int64_t> size =
          dims.getDims(input)[concat.getAxis()].constant();
      if (!place || !size)
        return std::nullopt;
      if (*place < *size) {
        at[concat.getAxis()] = DimExpr(*place);
        return elementAt(found, input, at, depth + 1);
      }
      *place -= *size;
    }
    return std::nullopt;
  }
  if (isa<CastOp>(op) && !isa<FloatType>(elementTypeOf(op->getOperand(0))))
    return elementAt(found, op->getOperand(0), at, depth + 1);
  if (!isa<AddOp, MulOp>(op))
    return std::nullopt;
  std::optional<DimExpr> parts[2];
  for (auto [part, side] : llvm::zip(parts, op->getOperands())) {
    std::optional<Coords> inner = space.throughBroadcast(side, at);
    part = inner ? elementAt(found, side, *inner, depth + 1) : std::nullopt;
    if (!part)
      return std::nullopt;
  }
  return isa<AddOp>(op) ? *parts[0] + *parts[1] : *parts[0] * *parts[1];
}

std::optional<DimExpr> PartReader::rowIndex(NonZeroOp found, Value indices,
                                            ArrayRef<DimExpr> data,
                                            bool areTuples,
                                            std::optional<DimExpr> column) {
  DimExpr count = DimExpr::symbol(found.getCount());
  DimExpr row = space.coordinate(found.getCount(), count);
  ArrayRef<DimExpr> shape = dims.getDims(indices);
  if (areTuples || column)
    shape = shape.drop_back();
  Coords at;
  bool hasRow = false;
  for (const DimExpr &size : shape) {
    if (size == count && !hasRow) {
      at.push_back(row);
      hasRow = true;
    } else if (size.isConstant(1)) {
      at.push_back(DimExpr(0));
    } else {
      return std::nullopt;
    }
  }
  if (!hasRow)
    return std::nullopt;
  if (column)
    at.push_back(space.coordinate("column", *column));
  if (!areTuples)
    return elementAt(found, indices, at);
  DimExpr place;
  at.push_back(DimExpr(0));
  for (auto [i, size] : llvm::enumerate(data)) {
    at.back() = DimExpr(static_cast<int64_t>(i));
    std::optional<DimExpr> index = elementAt(found, indices, at);
    if (!index)
      return std::nullopt;
    place = place * size + *index;
  }
  return place;
}

//===--- parts ------------------------------------------------------------===//

/// Rows joined to what the same indices read from the same tensor.
static Value withoutBefore(ScatterNDOp scatter) {
  auto add = scatter.getUpdates().getDefiningOp<AddOp>();
  if (!add)
    return {};
  for (Value side : add->getOperands()) {
    Value read = skipViews(side), data;
    Value at;
    if (auto gather = read.getDefiningOp<GatherOp>();
        gather && gather.getAxis() == 0) {
      data = gather.getData();
      at = gather.getIndices();
    } else if (auto tuples = read.getDefiningOp<GatherNDOp>()) {
      data = tuples.getData();
      at = tuples.getIndices();
    }
    if (data && data == scatter.getData() &&
        skipViews(at) == skipViews(scatter.getIndices()))
      return otherOperand(add, side);
  }
  return {};
}

std::optional<ExpertPart> PartReader::findPart(Operation *op) {
  ExpertPart part;
  part.root = op;
  if (auto scatter = dyn_cast<ScatterNDOp>(op)) {
    part.before = scatter.getData();
    part.indices = scatter.getIndices();
    part.rows = scatter.getUpdates();
    part.depth = typeOf(part.indices).getShape().back();
    if (scatter.getCombine() == CombineKind::None) {
      Value rows = withoutBefore(scatter);
      part.replaces = !rows;
      part.rows = rows ? rows : part.rows;
    } else if (scatter.getCombine() != CombineKind::Sum) {
      return std::nullopt;
    }
  } else {
    // index_add: scattered over zeros, which are added; or scattered at once.
    auto elements = dyn_cast<ScatterElementsOp>(op);
    if (elements) {
      part.before = elements.getData();
    } else if (isa<AddOp>(op)) {
      for (Value side : op->getOperands()) {
        elements = side.getDefiningOp<ScatterElementsOp>();
        part.before = otherOperand(op, side);
        if (elements && getSplat(elements.getData()) == 0.0 &&
            findNonZero(elements.getIndices()))
          break;
        elements = nullptr;
      }
    }
    if (!elements || elements.getAxis() != 0 ||
        typeOf(elements).getRank() != 2 ||
        (elements.getCombine() != CombineKind::None &&
         elements.getCombine() != CombineKind::Sum))
      return std::nullopt;
    part.replaces = isa<ScatterElementsOp>(op) &&
                    elements.getCombine() == CombineKind::None;
    part.indices = elements.getIndices();
    part.rows = elements.getUpdates();
    part.depth = 0;
  }
  part.found = findNonZero(part.indices);
  return part.found ? std::optional(part) : std::nullopt;
}

LogicalResult PartReader::read(ExpertPart &part, const ExpertChoices &choices,
                               Reject reject) {
  auto compared = readMask(part.found.getInput(), maskCoords(part.found));
  if (!compared)
    return reject("a mask does not compare the chosen experts with a number");
  part.experts = compared->ids;
  part.expert = compared->expert;
  slot = DimExpr(0);
  for (auto [index, size] : llvm::zip(compared->at, dims.getDims(part.experts)))
    slot = slot * size + index;
  auto split = space.divide(slot, DimExpr(choices.choices));
  if (!split)
    return reject("a mask is not of each token's choices");
  token = split->first;
  // Every dim of the mask is one of the choices: a slot is found once.
  if (product(dims.getDims(part.found.getInput())) !=
      choices.tokens * DimExpr(choices.choices))
    return reject("a mask has other elements than the choices");
  ArrayRef<DimExpr> shape = dims.getDims(part.before);
  bool areTuples = part.depth > 0;
  ArrayRef<DimExpr> outer = shape.take_front(areTuples ? part.depth : 1);
  std::optional<DimExpr> at =
      areTuples ? rowIndex(part.found, part.indices, outer, true)
                : rowIndex(part.found, part.indices, outer, false, shape[1]);
  if (!at || *at != token || product(outer) != choices.tokens)
    return reject("the rows of an expert are not added to their tokens");
  return success();
}
