//===- ExpertRows.cpp - The rows of all turns of a loop -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ExpertRows.h"
#include "passes/Analysis/StoredWeights.h"
#include "passes/Fusion/FuseMoE.h"

using namespace mlir;
using namespace ferrite;

/// Ops between the gather and the sum: experts have about ten. The bound is
/// what a hostile model may cost.
static constexpr unsigned kDeepest = 200;

Value ExpertRows::refuse(const Twine &reason) {
  if (why.empty())
    why = reason.str();
  return {};
}

Value ExpertRows::view(Value value, const Dims &to) {
  if (ArrayRef<DimExpr>(to) == dims.getDims(value))
    return value;
  return ViewOp::create(rewriter, loc, getTensorType(to, elementTypeOf(value)),
                        value, getDimsAttr(rewriter.getContext(), to));
}

Value ExpertRows::build() {
  Lanes lanes;
  for (const ExpertTurn &turn : turns)
    lanes.push_back(turn.rows);
  return buildRows(lanes, 0);
}

std::optional<DimExpr> ExpertRows::columnsOf(Value value, NonZeroOp found) {
  ArrayRef<DimExpr> shape = dims.getDims(value);
  DimExpr count = DimExpr::symbol(found.getCount());
  if (shape.size() == 1)
    return shape[0] == count ? std::optional(DimExpr(1)) : std::nullopt;
  if (shape.empty() || product(shape.drop_back()) != count ||
      !shape.back().constant())
    return std::nullopt;
  return shape.back();
}

bool ExpertRows::isOfRows(Value value, NonZeroOp found) {
  std::string count = found.getCount().str();
  return llvm::any_of(dims.getDims(value), [&](const DimExpr &size) {
    return llvm::is_contained(size.symbols(), count);
  });
}

ExpertRows::Lanes ExpertRows::operandOf(const Lanes &lanes, unsigned i) {
  Lanes values;
  for (Value lane : lanes)
    values.push_back(lane.getDefiningOp()->getOperand(i));
  return values;
}

Value ExpertRows::stack(Lanes lanes) {
  // Matrices of a stack that exporters transpose one by one.
  bool isFlipped = llvm::all_of(lanes, [](Value lane) {
    auto transpose = lane.getDefiningOp<TransposeOp>();
    return transpose && transpose.getPerm() == ArrayRef<int64_t>{1, 0};
  });
  if (isFlipped)
    for (Value &lane : lanes)
      lane = lane.getDefiningOp<TransposeOp>().getInput();
  Value whole = wholeOf(lanes), table;
  if (whole) {
    SmallVector<int64_t> shape(typeOf(lanes[0]).getShape());
    shape.insert(shape.begin(), lanes.size());
    table = storedValue(rewriter, whole);
    table = table ? viewStored(rewriter, loc, table, shape) : Value();
  } else {
    for (Value &lane : lanes)
      if (lane = storedValue(rewriter, lane); !lane)
        return {};
    table = stackStored(rewriter, loc, lanes);
  }
  return table && isFlipped ? transposeStored(rewriter, loc, table, {0, 2, 1})
                            : table;
}

Value ExpertRows::wholeOf(const Lanes &lanes) {
  Value whole;
  for (auto [i, lane] : llvm::enumerate(lanes)) {
    auto slice = skipViews(lane).getDefiningOp<SliceOp>();
    if (!slice || !typeOf(lane).hasStaticShape() ||
        (whole && slice.getInput() != whole))
      return {};
    whole = slice.getInput();
    ArrayRef<DimExpr> all = dims.getDims(whole), own = dims.getDims(slice);
    if (all.empty() || !all[0].isConstant(static_cast<int64_t>(lanes.size())) ||
        !own[0].isConstant(1) || own.drop_front() != all.drop_front() ||
        !parseDims(slice.getOffsets())->front().isConstant(turns[i].expert))
      return {};
  }
  return whole;
}

Value ExpertRows::buildOperand(const Lanes &lanes, bool isColumn,
                               unsigned depth) {
  if (isOfRows(lanes[0], turns[0].found)) {
    if (!isColumn && dims.getDims(lanes[0]).size() == 1)
      return refuse("rows are used as columns");
    return buildRows(lanes, depth);
  }
  ArrayRef<DimExpr> shape = dims.getDims(lanes[0]);
  DimExpr columns = shape.empty() ? DimExpr(1) : shape.back();
  if (product(shape) != columns || !columns.constant() ||
      (isColumn && !columns.isConstant(1)))
    return refuse("an operand is neither of rows nor one row");
  if (llvm::all_equal(lanes)) {
    if (!isWeightOrConstant(skipViews(lanes[0])))
      return refuse("an operand is no weight");
    return view(lanes[0], shape.empty() ? Dims() : Dims{columns});
  }
  Value table = stack(lanes);
  if (!table)
    return refuse("the weights of the experts are computed or do not stack");
  int64_t width = *columns.constant();
  table = viewStored(rewriter, loc, table,
                     {static_cast<int64_t>(lanes.size()), width});
  if (!table)
    return refuse("the weights of the experts do not stack");
  Dims result = {choices.tokens, DimExpr(choices.choices), columns};
  return GatherOp::create(rewriter, loc,
                          getTensorType(result, elementTypeOf(table)), table,
                          slots.places, 0);
}

bool ExpertRows::isColumn(SliceOp slice) {
  ArrayRef<DimExpr> from = dims.getDims(slice.getInput()),
                    to = dims.getDims(slice);
  return from.size() == 2 && from[0] == to[0] && to[1].isConstant(1) &&
         slice.getSteps()[0] == 1;
}

Value ExpertRows::buildGather(const Lanes &lanes) {
  Value data;
  std::optional<bool> byToken, bySlot, byExpert;
  DimExpr size, columns;
  for (auto [i, lane] : llvm::enumerate(lanes)) {
    NonZeroOp found = turns[i].found;
    Value from, at;
    int64_t outer = 0, inner = 0;
    bool areTuples = false;
    if (auto gather = lane.getDefiningOp<GatherOp>()) {
      from = gather.getData();
      at = gather.getIndices();
      outer = gather.getAxis();
      inner = outer + 1;
    } else {
      auto tuples = lane.getDefiningOp<GatherNDOp>();
      from = tuples.getData();
      at = tuples.getIndices();
      inner = typeOf(at).getShape().back();
      areTuples = true;
    }
    // One column of a table that has one for each expert.
    DimExpr width(1), column(0);
    if (auto slice = from.getDefiningOp<SliceOp>(); slice && isColumn(slice)) {
      from = slice.getInput();
      width = dims.getDims(from).back();
      column = parseDims(slice.getOffsets())->back();
    }
    ArrayRef<DimExpr> shape = dims.getDims(from);
    if ((data && from != data) || isOfRows(from, found) ||
        !product(shape.take_front(outer)).isConstant(1))
      return refuse("the turns gather from different tensors");
    data = from;
    ArrayRef<DimExpr> chosen = shape.slice(outer, inner - outer);
    std::optional<DimExpr> row = reader.rowIndex(found, at, chosen, areTuples);
    std::optional<DimExpr> rest =
        product(shape.drop_front(inner)).dividedBy(width);
    if (!row || !rest || !rest->constant())
      return refuse("a gather is not at the slots of an expert");
    size = product(chosen) * width;
    columns = *rest;
    row = *row * width + column;
    const DimExpr &slot = turns[i].slot, &token = turns[i].token;
    auto keep = [](std::optional<bool> &flag, bool is) {
      flag = flag.value_or(true) && is;
    };
    keep(byToken, *row == token && size == choices.tokens);
    keep(bySlot,
         *row == slot && size == choices.tokens * DimExpr(choices.choices));
    keep(byExpert,
         *row == token * DimExpr(choices.count) + DimExpr(turns[i].expert) &&
             size == choices.tokens * DimExpr(choices.count));
  }
  DimExpr many(choices.choices);
  if (*byToken)
    return view(data, {choices.tokens, DimExpr(1), columns});
  if (*bySlot)
    return view(data, {choices.tokens, many, columns});
  if (!*byExpert || !columns.isConstant(1))
    return refuse("rows are gathered by neither token, slot nor expert");
  Value table = view(data, {choices.tokens, DimExpr(choices.count)});
  Value own = GatherElementsOp::create(
      rewriter, loc,
      getTensorType({choices.tokens, many}, elementTypeOf(table)), table,
      slots.experts, 1);
  return view(own, {choices.tokens, many, DimExpr(1)});
}

Value ExpertRows::buildMatmul(const Lanes &lanes, unsigned depth) {
  Lanes rows, matrices;
  for (Value lane : lanes) {
    auto matmul = lane.getDefiningOp<MatmulOp>();
    rows.push_back(matmul.getLhs());
    matrices.push_back(matmul.getRhs());
  }
  Type element = elementTypeOf(lanes[0]);
  if (!isOfRows(rows[0], turns[0].found) ||
      isOfRows(matrices[0], turns[0].found) || typeOf(rows[0]).getRank() < 2 ||
      llvm::any_of(matrices, [](Value matrix) {
        return typeOf(matrix).getRank() != 2 ||
               !typeOf(matrix).hasStaticShape();
      }))
    return refuse("a product is not of rows with one matrix each expert");
  if (element.isF64() || !isa<FloatType>(element))
    return refuse("experts accumulate in f32, which this product does not");
  Value input = buildRows(rows, depth + 1);
  if (!input)
    return {};
  Value table = stack(matrices);
  if (!table)
    return refuse("the matrices of the experts are computed or do not stack");
  Dims result = {choices.tokens, DimExpr(choices.choices),
                 DimExpr(typeOf(matrices[0]).getDimSize(1))};
  return ExpertLinearOp::create(rewriter,
                                rewriter.getFusedLoc({lanes[0].getLoc(), loc}),
                                getTensorType(result, element), input, table,
                                slots.places, Value(), Value(), Value(), 0, 0);
}

Value ExpertRows::buildOperation(const Lanes &lanes, unsigned depth) {
  Operation *first = lanes[0].getDefiningOp();
  for (auto [i, lane] : llvm::enumerate(lanes)) {
    Operation *op = lane.getDefiningOp();
    if (!op || op->getName() != first->getName() ||
        op->getNumOperands() != first->getNumOperands() ||
        elementTypeOf(lane) != elementTypeOf(lanes[0]))
      return refuse("two experts compute different ops");
    if (columnsOf(lane, turns[i].found) != columnsOf(lanes[0], turns[0].found))
      return refuse("two experts compute different sizes");
  }
  if (isa<GatherOp, GatherNDOp>(first))
    return buildGather(lanes);
  if (isa<MatmulOp>(first))
    return buildMatmul(lanes, depth);
  if (isa<SliceOp>(first))
    return buildSlice(lanes, depth);
  if (isElementwise(first))
    return buildElementwise(lanes, depth);
  if (!isa<ViewOp>(first))
    return refuse("an op of an expert is no elementwise op, slice or product");
  Lanes inputs = operandOf(lanes, 0);
  for (auto [input, turn] : llvm::zip(inputs, turns))
    if (columnsOf(input, turn.found) != columnsOf(lanes[0], turns[0].found))
      return refuse("a view moves columns between rows");
  return buildRows(inputs, depth + 1);
}

Value ExpertRows::buildSlice(const Lanes &lanes, unsigned depth) {
  auto first = lanes[0].getDefiningOp<SliceOp>();
  DimExpr offset = parseDims(first.getOffsets())->back();
  for (auto [lane, turn] : llvm::zip(lanes, turns)) {
    auto own = lane.getDefiningOp<SliceOp>();
    ArrayRef<DimExpr> from = dims.getDims(own.getInput()),
                      to = dims.getDims(own);
    if (to.size() < 2 || to.drop_back() != from.drop_back() ||
        !columnsOf(own.getInput(), turn.found) ||
        llvm::any_of(own.getSteps().drop_back(),
                     [](int64_t step) { return step != 1; }) ||
        parseDims(own.getOffsets())->back() != offset ||
        own.getSteps().back() != first.getSteps().back())
      return refuse("a slice chooses rows, or not the columns that another "
                    "expert's does");
  }
  Value input = buildRows(operandOf(lanes, 0), depth + 1);
  if (!input)
    return {};
  Dims shape(dims.getDims(input)), offsets = {DimExpr(0), DimExpr(0), offset};
  shape[2] = dims.getDims(first).back();
  SmallVector<int64_t> steps = {1, 1, first.getSteps().back()};
  MLIRContext *context = rewriter.getContext();
  return SliceOp::create(
      rewriter, loc, getTensorType(shape, elementTypeOf(lanes[0])), input,
      getDimsAttr(context, offsets), steps, getDimsAttr(context, shape));
}

Value ExpertRows::buildElementwise(const Lanes &lanes, unsigned depth) {
  Operation *first = lanes[0].getDefiningOp();
  for (Value lane : lanes)
    if (lane.getDefiningOp()->getPropertiesAsAttribute() !=
        first->getPropertiesAsAttribute())
      return refuse("two experts compute different ops");
  bool isColumn = typeOf(lanes[0]).getRank() == 1;
  Dims shape = {choices.tokens, DimExpr(1),
                *columnsOf(lanes[0], turns[0].found)};
  SmallVector<Value> operands;
  for (unsigned i = 0; i < first->getNumOperands(); ++i) {
    Value value = buildOperand(operandOf(lanes, i), isColumn, depth + 1);
    if (!value)
      return {};
    operands.push_back(value);
    ArrayRef<DimExpr> own = dims.getDims(value);
    if (own.size() == 3 && !own[1].isConstant(1))
      shape[1] = own[1];
  }
  Operation *clone = rewriter.clone(*first);
  clone->setOperands(operands);
  clone->getResult(0).setType(getTensorType(shape, elementTypeOf(lanes[0])));
  return clone->getResult(0);
}

Value ExpertRows::buildRows(const Lanes &lanes, unsigned depth) {
  auto known = built.find(lanes[0]);
  if (known != built.end()) {
    if (known->second.first == lanes)
      return known->second.second;
    return refuse("two experts compute different ops");
  }
  if (depth > kDeepest)
    return refuse("an expert is a longer chain of ops than any known");
  for (auto [i, lane] : llvm::enumerate(lanes))
    if (!lane.getDefiningOp() || !columnsOf(lane, turns[i].found))
      return refuse("an operand is not of the rows of its expert");
  Value value = buildOperation(lanes, depth);
  if (value)
    built[lanes[0]] = {lanes, value};
  return value;
}
