//===- SelectIndexRules.cpp - Launches of ops on positions ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/FusedLayout.h"
#include "passes/Select/Selector.h"

using namespace mlir;
using namespace ferrite;

/// [dims before the axis, the axis, dims behind it].
static Dims aroundAxis(ArrayRef<DimExpr> dims, int64_t axis) {
  return {product(dims.take_front(axis)), dims[axis],
          product(dims.drop_front(axis + 1))};
}

void Selector::selectGatherElements(GatherElementsOp op) {
  Location loc = op.getLoc();
  StridedView data = get(op.getData()), indices = get(op.getIndices());
  if (std::optional<int64_t> limit = data.dims[op.getAxis()].constant())
    limitIds(op.getIndices(), *limit);
  StridedView result = makeResult(op);
  std::vector<KernelOperand> operands = {data, indices};
  plan.launch(loc, "gather_elements", operands, KernelOperand(result),
              /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return GatherElementsOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], op.getAxis());
              });
}

//===--- scatter ----------------------------------------------------------===//

/// The order in which the dims of `view` lie in memory, outermost first, when
/// it is a permuted tensor without gaps.
static std::optional<SmallVector<int64_t>>
memoryOrder(const StridedView &view) {
  size_t rank = view.dims.size();
  SmallVector<int64_t> order;
  SmallVector<bool> placed(rank);
  DimExpr stride(1);
  while (order.size() < rank) {
    size_t next = rank;
    for (size_t d = rank; d-- > 0;)
      if (!placed[d] &&
          (view.dims[d].isConstant(1) || view.strides[d] == stride)) {
        next = d;
        break;
      }
    if (next == rank)
      return std::nullopt;
    placed[next] = true;
    order.insert(order.begin(), next);
    stride = stride * view.dims[next];
  }
  return order;
}

StridedView Selector::makeScattered(Operation *op, const StridedView &data) {
  // A cache is written through a transpose and read through its inverse: the
  // result lies as its data does, so that neither moves anything.
  std::optional<SmallVector<int64_t>> order = memoryOrder(data);
  Value result = op->getResult(0);
  if (!order || outputOf.count(result))
    return makeResult(op);
  // Straight into the output that the inverse gives.
  std::optional<StridedView> memory;
  if (result.hasOneUse())
    if (auto back = dyn_cast<TransposeOp>(*result.user_begin())) {
      auto isLong = [&](int64_t d) { return !data.dims[d].isConstant(1); };
      bool inverts =
          llvm::equal(llvm::make_filter_range(*order, isLong),
                      llvm::make_filter_range(back.getPerm(), isLong));
      for (OpOperand &use : back->getUses())
        if (inverts && !memory && isa<func::ReturnOp>(use.getOwner())) {
          memory = outputs[use.getOperandNumber()];
          order = llvm::to_vector(back.getPerm());
        }
    }
  SmallVector<int64_t> inverse(order->size());
  Dims dims;
  for (auto [i, d] : llvm::enumerate(*order)) {
    dims.push_back(data.dims[d]);
    inverse[d] = i;
  }
  if (!memory)
    memory = plan.makeBuffer(op->getLoc(), data.element, dims);
  return views[result] = memory->transposed(inverse);
}

static SmallVector<int64_t> inverseOf(ArrayRef<int64_t> perm) {
  SmallVector<int64_t> inverse(perm.size());
  for (auto [i, d] : llvm::enumerate(perm))
    inverse[d] = i;
  return inverse;
}

/// The concatenation that `data`, perhaps transposed, is all of and alone
/// reads.
static ConcatOp findJoined(Value data) {
  while (auto transpose = data.getDefiningOp<TransposeOp>()) {
    if (!data.hasOneUse())
      return nullptr;
    data = transpose.getInput();
  }
  return data.hasOneUse() ? data.getDefiningOp<ConcatOp>() : nullptr;
}

void Selector::writeCacheTo(Value returned, StridedView output) {
  Value value = returned;
  auto back = [&] {
    while (auto transpose = value.getDefiningOp<TransposeOp>()) {
      output = output.transposed(inverseOf(transpose.getPerm()));
      value = transpose.getInput();
    }
  };
  back();
  auto scatter = value.getDefiningOp<ScatterNDOp>();
  if (!scatter || !outputOf.try_emplace(value, output).second)
    return;
  value = scatter.getData();
  if (!findJoined(value))
    return;
  back();
  outputOf.try_emplace(value, output);
}

StridedView Selector::startScatter(Operation *op, Value value) {
  StridedView data = get(value);
  Value result = op->getResult(0);
  // Into what nobody else reads, where it lies.
  if (!outputOf.count(result) && findJoined(value))
    return views[result] = data;
  StridedView memory = makeScattered(op, data);
  if (data.ref != memory.ref || data.offset != memory.offset ||
      data.strides != memory.strides)
    FusedLayout::copy(data, memory)
        .launch(plan, op->getLoc(), "copy", FusedOp());
  return memory;
}

void Selector::selectScatterND(ScatterNDOp op) {
  Location loc = op.getLoc();
  StridedView result = startScatter(op, op.getData());
  StridedView indices = contiguous(op.getIndices(), loc);
  StridedView updates = get(op.getUpdates());
  int64_t tuple = *indices.dims.back().constant();
  DimExpr count = product(ArrayRef<DimExpr>(indices.dims).drop_back());
  StridedView tuples = *indices.viewed({count, DimExpr(tuple)});
  // [n, slice..] of the updates; one dim for the slice where both lie so.
  Dims parts = {count};
  ArrayRef<DimExpr> slice = ArrayRef<DimExpr>(result.dims).drop_front(tuple);
  parts.append(slice.begin(), slice.end());
  if (!updates.viewed(parts))
    updates = contiguous(op.getUpdates(), loc);
  updates = *updates.viewed(parts);
  Dims flat(result.dims.begin(), result.dims.begin() + tuple);
  flat.push_back(product(slice));
  std::optional<StridedView> to = result.viewed(flat),
                             from = updates.viewed({count, product(slice)});
  if (slice.empty() || !to || !from)
    to = result, from = updates;
  KernelOperand memory = *to;
  memory.alias = true;
  std::vector<KernelOperand> operands = {memory, tuples, *from};
  plan.launch(loc, "scatter_nd", operands, memory, /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return ScatterNDOp::create(b, loc, args[0].getType(), args[0],
                                           args[1], args[2], op.getCombine());
              });
}

void Selector::selectScatterElements(ScatterElementsOp op) {
  Location loc = op.getLoc();
  StridedView result = startScatter(op, op.getData());
  KernelOperand memory = result;
  memory.alias = true;
  std::vector<KernelOperand> operands = {memory, get(op.getIndices()),
                                         get(op.getUpdates())};
  plan.launch(loc, "scatter_elements", operands, memory, /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return ScatterElementsOp::create(b, loc, args[0].getType(),
                                                 args[0], args[1], args[2],
                                                 op.getCombine(), op.getAxis());
              });
}

//===--- order, scans -----------------------------------------------------===//

void Selector::selectArgReduce(ArgReduceOp op) {
  Location loc = op.getLoc();
  StridedView input = contiguous(op.getInput(), loc);
  StridedView result = makeResult(op);
  Dims three = aroundAxis(input.dims, op.getAxis());
  StridedView from = *input.viewed(three);
  StridedView to = *result.viewed({three[0], DimExpr(1), three[2]});
  plan.launch(loc, "arg_reduce", KernelOperand(from), KernelOperand(to),
              /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return ArgReduceOp::create(
                    b, loc, getTensorType(to.dims, to.element), args[0],
                    op.getKind(), 1, /*keepDims=*/true, op.getSelectLast());
              });
}

void Selector::selectTopK(TopKOp op) {
  Location loc = op.getLoc();
  StridedView input = contiguous(op.getInput(), loc);
  StridedView result = makeResult(op);
  Dims three = aroundAxis(input.dims, op.getAxis());
  StridedView from = *input.viewed(three);
  StridedView to =
      *result.viewed({three[0], result.dims[op.getAxis()], three[2]});
  plan.launch(
      loc, "topk", KernelOperand(from), KernelOperand(to),
      /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
        // A symbol would tell equal kernels apart.
        DimExpr k = to.dims[1].constant() ? to.dims[1] : DimExpr::symbol("k");
        return TopKOp::create(b, loc, getTensorType(to.dims, to.element),
                              args[0], 1, getDimsAttr(op.getContext(), {k}),
                              op.getSmallest());
      });
}

void Selector::selectCumProd(CumProdOp op) {
  Location loc = op.getLoc();
  StridedView input = contiguous(op.getInput(), loc);
  StridedView result = makeResult(op);
  Dims three = aroundAxis(input.dims, op.getAxis());
  StridedView from = *input.viewed(three), to = *result.viewed(three);
  plan.launch(loc, "cumprod", KernelOperand(from), KernelOperand(to),
              /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return CumProdOp::create(
                    b, loc, getTensorType(to.dims, to.element), args[0], 1,
                    op.getExclusive(), op.getReverse());
              });
}
