//===- SelectRules.cpp - How each op becomes a launch ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/FusedLayout.h"
#include "passes/Select/Selector.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

/// A stem such as linear_384x1536.
static std::string stem(StringRef kind, ArrayRef<DimExpr> dims) {
  std::string text = kind.str();
  for (auto [i, dim] : llvm::enumerate(dims))
    text +=
        (i == 0 ? "_" : "x") + (dim.constant() ? dim.str() : std::string("n"));
  return text;
}

KernelOperand Selector::sideOf(LinearOp op, Value side) {
  // Full rank first, so that leading dims merge as the result's do.
  StridedView wide = get(side);
  Dims dims = get(op.getInput()).dims;
  dims.back() =
      DimExpr(cast<RankedTensorType>(op.getWeight().getType()).getDimSize(1));
  StridedView broadcast = wide.broadcast(dims);
  std::optional<StridedView> matrix = broadcast.asRows();
  if (!matrix)
    matrix = copied(broadcast, op.getLoc(),
                    "a side of the epilogue repeats in the middle")
                 .asRows();
  bool repeatsRows =
      matrix->strides[0].isConstant(0) || matrix->dims[0].isConstant(1);
  Dims shape = {repeatsRows ? DimExpr(1) : matrix->dims[0],
                matrix->strides[1].isConstant(0) ? DimExpr(1)
                                                 : matrix->dims[1]};
  if (repeatsRows)
    matrix->strides[0] = DimExpr(0);
  KernelOperand operand(*matrix, getTensorType(shape, matrix->element));
  operand.sized = {false, false};
  return operand;
}

void Selector::selectLinear(LinearOp op) {
  if (op.isOfBytes())
    return selectByteLinear(op);
  if (selectPackedLinear(op))
    return;
  Location loc = op.getLoc();
  StridedView input = rows(op.getInput(), loc);
  if (int64_t block = op.getInputBlock())
    input = roundedRows(input, block, 0, Float32Type::get(op.getContext()), op);
  StridedView weight = storedWeight(
      op, productFormat(getElementTypeOrSelf(op.getWeight().getType())));
  std::vector<KernelOperand> operands = {input, weight};
  for (Value side : op.getSides())
    operands.push_back(sideOf(op, side));
  StridedView result = *makeResult(op).asRows();
  plan.launch(
      loc, stem(sparseOf(op) ? "sparse_linear" : "linear", weight.dims),
      operands, KernelOperand(result),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        auto linear =
            LinearOp::create(b, loc, getTensorType(result.dims, result.element),
                             args[0], args[1]);
        linear.getSidesMutable().assign(args.drop_front(2));
        if (SparseAttr sparse = sparseOf(op))
          linear.setSparseAttr(sparse);
        linear.getEpilogue().getBlocks().clear();
        IRMapping mapping;
        op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
        return linear;
      });
}

StridedView Selector::asBatch(StridedView view, ArrayRef<DimExpr> result,
                              Location loc) {
  Dims dims(result.begin(), result.end() - 2);
  dims.append(view.dims.end() - 2, view.dims.end());
  StridedView wide = view.broadcast(dims);
  Dims four = {DimExpr(1), DimExpr(1)};
  size_t lead = dims.size() - 2;
  if (lead >= 1)
    four[1] = dims[lead - 1];
  if (lead >= 2)
    four[0] = product(ArrayRef<DimExpr>(dims).take_front(lead - 1));
  four.append(dims.end() - 2, dims.end());
  std::optional<StridedView> merged = wide.viewed(four);
  return merged ? *merged
                : *copied(wide, loc, "leading dims of a product do not merge")
                       .viewed(four);
}

void Selector::selectMatmul(MatmulOp op) {
  Location loc = op.getLoc();
  StridedView result = makeResult(op);
  auto batched = [&](StridedView view) {
    return asBatch(view, result.dims, loc);
  };
  StridedView lhs = batched(unitInner(get(op.getLhs()), loc));
  // Integers are not packed on the way: their rows must be adjacent.
  bool isInteger = isa<IntegerType>(result.element);
  StridedView rhs =
      batched(isInteger ? unitInner(get(op.getRhs()), loc) : get(op.getRhs()));
  StridedView out = batched(result);
  std::vector<KernelOperand> operands = {lhs, rhs};
  plan.launch(loc, stem("matmul", ArrayRef<DimExpr>(out.dims).take_back(2)),
              operands, KernelOperand(out), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return MatmulOp::create(b, loc,
                                        getTensorType(out.dims, out.element),
                                        args[0], args[1]);
              });
}

void Selector::selectNorm(NormOp op) {
  Location loc = op.getLoc();
  std::vector<KernelOperand> operands = {rows(op.getInput(), loc),
                                         contiguous(op.getWeight(), loc)};
  if (op.getBias())
    operands.push_back(contiguous(op.getBias(), loc));
  if (op.getResidual())
    operands.push_back(rows(op.getResidual(), loc));
  if (op.getAfter())
    operands.push_back(rows(op.getAfter(), loc));
  StridedView result = *makeResult(op).asRows();
  plan.launch(
      loc, stem("norm", result.dims.back()), operands, KernelOperand(result),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        auto next = args.begin() + 2;
        auto take = [&](Value present) { return present ? *next++ : Value(); };
        Value bias = take(op.getBias()), residual = take(op.getResidual()),
              after = take(op.getAfter());
        return NormOp::create(
            b, loc, getTensorType(result.dims, result.element), args[0],
            args[1], bias, residual, after, op.getKind(), op.getEpsilonAttr());
      });
}

void Selector::selectSoftmax(SoftmaxOp op) {
  Location loc = op.getLoc();
  KernelOperand input = rows(op.getInput(), loc);
  StridedView result = *makeResult(op).asRows();
  plan.launch(
      loc, stem("softmax", result.dims.back()), input, KernelOperand(result),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        return SoftmaxOp::create(
            b, loc, getTensorType(result.dims, result.element), args[0]);
      });
}

void Selector::selectRope(RopeOp op) {
  Location loc = op.getLoc();
  StridedView input = unitInner(get(op.getInput()), loc);
  std::vector<KernelOperand> operands = {input};
  for (Value table : {op.getCos(), op.getSin()}) {
    StridedView view = unitInner(get(table), loc);
    operands.push_back(
        view.broadcast({input.dims[0], input.dims[1], view.dims[2]}));
  }
  StridedView result = makeResult(op);
  plan.launch(loc, stem("rope", ArrayRef<DimExpr>(result.dims).take_back(2)),
              operands, KernelOperand(result),
              /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return RopeOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args[2], op.getInterleaved());
              });
}

void Selector::selectEmbedding(EmbeddingOp op) {
  Location loc = op.getLoc();
  StridedView result = makeResult(op);
  std::vector<KernelOperand> operands;
  for (auto [i, ids] : llvm::enumerate(op.getIds())) {
    operands.push_back(get(ids).broadcast({result.dims[0], result.dims[1]}));
    for (auto [table, index] : llvm::zip(op.getTables(), op.getIndex()))
      if (index == static_cast<int64_t>(i))
        limitIds(ids, cast<RankedTensorType>(table.getType()).getDimSize(0));
  }
  for (Value table : op.getTables())
    operands.push_back(contiguous(table, loc));
  if (op.getWeight()) {
    operands.push_back(contiguous(op.getWeight(), loc));
    operands.push_back(contiguous(op.getBias(), loc));
  }
  size_t ids = op.getIds().size(), tables = op.getTables().size();
  plan.launch(
      loc, stem("embedding", result.dims.back()), operands,
      KernelOperand(result),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        bool norm = static_cast<bool>(op.getWeight());
        return EmbeddingOp::create(
            b, loc, getTensorType(result.dims, result.element),
            args.take_front(ids), args.slice(ids, tables),
            norm ? args[ids + tables] : Value(), norm ? args.back() : Value(),
            op.getIndexAttr(), op.getPositionsAttr(), op.getEpsilonAttr());
      });
}

void Selector::selectGather(GatherOp op) {
  Location loc = op.getLoc();
  StridedView data = contiguous(op.getData(), loc);
  StridedView indices = contiguous(op.getIndices(), loc);
  StridedView result = makeResult(op);
  ArrayRef<DimExpr> dims = data.dims;
  Dims three = {product(dims.take_front(op.getAxis())), dims[op.getAxis()],
                product(dims.drop_front(op.getAxis() + 1))};
  if (std::optional<int64_t> limit = three[1].constant())
    limitIds(op.getIndices(), *limit);
  StridedView from = *data.viewed(three);
  StridedView chosen = *indices.viewed({product(indices.dims)});
  StridedView to = *result.viewed({three[0], chosen.dims[0], three[2]});
  std::vector<KernelOperand> operands = {from, chosen};
  plan.launch(
      loc, stem("gather", three[2]), operands, KernelOperand(to),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        return GatherOp::create(b, loc, getTensorType(to.dims, to.element),
                                args[0], args[1], 1);
      });
}

void Selector::selectGatherND(GatherNDOp op) {
  Location loc = op.getLoc();
  StridedView data = contiguous(op.getData(), loc);
  StridedView indices = contiguous(op.getIndices(), loc);
  StridedView result = makeResult(op);
  DimExpr tuple = indices.dims.back();
  DimExpr count = product(ArrayRef<DimExpr>(indices.dims).drop_back());
  Dims dims(data.dims.begin(), data.dims.begin() + *tuple.constant());
  dims.push_back(
      product(ArrayRef<DimExpr>(data.dims).drop_front(*tuple.constant())));
  StridedView from = *data.viewed(dims);
  StridedView tuples = *indices.viewed({count, tuple});
  StridedView to = *result.viewed({count, dims.back()});
  std::vector<KernelOperand> operands = {from, tuples};
  plan.launch(
      loc, stem("gather_nd", tuple), operands, KernelOperand(to),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        return GatherNDOp::create(b, loc, getTensorType(to.dims, to.element),
                                  args[0], args[1]);
      });
}

void Selector::selectCumSum(CumSumOp op) {
  Location loc = op.getLoc();
  StridedView input = contiguous(op.getInput(), loc);
  StridedView result = makeResult(op);
  ArrayRef<DimExpr> dims = input.dims;
  Dims three = {product(dims.take_front(op.getAxis())), dims[op.getAxis()],
                product(dims.drop_front(op.getAxis() + 1))};
  StridedView from = *input.viewed(three), to = *result.viewed(three);
  plan.launch(
      loc, stem("cumsum", three[2]), KernelOperand(from), KernelOperand(to),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        return CumSumOp::create(b, loc, getTensorType(to.dims, to.element),
                                args[0], 1, op.getExclusive(), op.getReverse());
      });
}

void Selector::selectConcat(ConcatOp op) {
  StridedView result = makeResult(op);
  DimExpr offset(0);
  for (Value input : op.getInputs()) {
    StridedView from = get(input);
    Dims offsets(from.dims.size(), DimExpr(0));
    offsets[op.getAxis()] = offset;
    SmallVector<int64_t> steps(from.dims.size(), 1);
    Dims dims = result.dims;
    dims[op.getAxis()] = from.dims[op.getAxis()];
    FusedLayout::copy(from, result.sliced(offsets, steps, dims))
        .launch(plan, op.getLoc(), "concat", FusedOp());
    offset = offset + from.dims[op.getAxis()];
  }
}

void Selector::selectPad(PadOp op) {
  Location loc = op.getLoc();
  StridedView from = get(op.getInput()), result = makeResult(op);
  StridedView fill = get(op.getValue());
  Dims low = *parseDims(op.getLow());
  SmallVector<int64_t> steps(low.size(), 1);
  auto copy = [&](const StridedView &part, const Dims &offsets,
                  const Dims &dims) {
    FusedLayout::copy(part, result.sliced(offsets, steps, dims))
        .launch(plan, loc, "pad", FusedOp());
  };
  copy(from, low, from.dims);
  // The borders of a dim lie between those of the dims before it.
  Dims offsets(low.size(), DimExpr(0)), dims = result.dims;
  for (size_t i = 0; i < low.size(); ++i) {
    DimExpr high = result.dims[i] - low[i] - from.dims[i];
    auto border = [&](const DimExpr &begin, const DimExpr &size) {
      if (size.isConstant(0))
        return;
      Dims at = offsets, part = dims;
      at[i] = begin;
      part[i] = size;
      copy(fill.broadcast(part), at, part);
    };
    border(DimExpr(0), low[i]);
    border(low[i] + from.dims[i], high);
    offsets[i] = low[i];
    dims[i] = from.dims[i];
  }
}

void Selector::selectFused(FusedOp op) {
  std::vector<StridedView> operands;
  for (Value input : op.getInputs())
    operands.push_back(get(input));
  FusedLayout::of(op, operands, makeResult(op))
      .launch(plan, op.getLoc(), "fused", op);
}

void Selector::selectDimValues(DimValuesOp op) {
  launchSizes(*parseDims(op.getValues()), makeResult(op), op);
}

void Selector::launchSizes(const Dims &sizes, const StridedView &result,
                           Operation *op) {
  // A size is the number of points of a loop of that size.
  Location loc = op->getLoc();
  for (auto [i, value] : llvm::enumerate(sizes)) {
    StridedView element{
        result.ref, result.element, {}, {}, result.offset + DimExpr(i)};
    OpBuilder b(op);
    MLIRContext *context = op->getContext();
    AffineMap map =
        AffineMap::get(1, 0, {getAffineConstantExpr(0, context)}, context);
    auto count =
        FusedOp::create(b, loc, RankedTensorType::get({1}, result.element),
                        ValueRange(), getDimsAttr(context, {value}),
                        b.getAffineMapArrayAttr({map}), CombineKind::Sum);
    for (Region *region : {&count.getBody(), &count.getFinish()}) {
      Block &block = region->emplaceBlock();
      OpBuilder body = OpBuilder::atBlockEnd(&block);
      Value one = region == &count.getBody()
                      ? arith::ConstantOp::create(
                            body, loc, body.getIntegerAttr(result.element, 1))
                            .getResult()
                      : block.addArgument(result.element, loc);
      YieldOp::create(body, loc, one);
    }
    element.dims = {DimExpr(1)};
    element.strides = {DimExpr(1)};
    FusedLayout::of(count, {}, element).launch(plan, loc, "size", count);
    count.erase();
  }
}
