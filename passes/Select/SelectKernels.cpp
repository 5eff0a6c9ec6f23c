//===- SelectKernels.cpp - Choose a kernel for each op --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Walks an entry in order and keeps for each value where it lies. A rule per op
// brings the operands into the form that the op's emitter reads (a product takes
// rows, an attention [batch, tokens, heads, size]) and launches it.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/FusedLayout.h"
#include "passes/Select/Passes.h"
#include "passes/Select/PlanBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/TypeSwitch.h"

#define DEBUG_TYPE "ferrite-select-kernels"

namespace ferrite {
#define GEN_PASS_DEF_SELECTKERNELS
#include "passes/Select/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
class Selector {
public:
  Selector(func::FuncOp func, plan::EntryOp entry)
      : func(func), plan(func->getParentOfType<ModuleOp>(), entry) {}

  LogicalResult run();

private:
  LogicalResult selectInputs();
  LogicalResult selectOp(Operation *op);
  LogicalResult selectReturn(func::ReturnOp op);

  void selectLinear(LinearOp op);
  void selectMatmul(MatmulOp op);
  void selectAttention(AttentionOp op);
  void selectNorm(NormOp op);
  void selectSoftmax(SoftmaxOp op);
  void selectEmbedding(EmbeddingOp op);
  void selectGather(GatherOp op);
  void selectGatherND(GatherNDOp op);
  void selectCumSum(CumSumOp op);
  void selectConcat(ConcatOp op);
  void selectFused(FusedOp op);
  void selectDimValues(DimValuesOp op);

  /// Where a value lies; weights and constants as rows.
  StridedView get(Value value);
  /// A weight or constant in a format.
  StridedView stored(Value value, plan::WeightFormat format);
  /// Where the result of `op` is written: an output of the entry, or a buffer.
  StridedView makeResult(Operation *op);
  StridedView copied(const StridedView &view, Location loc, StringRef reason);
  /// As a matrix of rows with adjacent elements, copied if need be.
  StridedView rows(Value value, Location loc);
  StridedView contiguous(Value value, Location loc);
  StridedView unitInner(StridedView view, Location loc);
  /// Says that elements of `ids` index a table of `limit` rows.
  void limitIds(Value ids, int64_t limit);

  func::FuncOp func;
  PlanBuilder plan;
  llvm::DenseMap<Value, StridedView> views;
  llvm::DenseMap<Value, StridedView> outputOf; ///< computed value -> its output
  std::vector<StridedView> outputs;
  SmallVector<plan::InputOp> inputs;
};
} // namespace

//===--- memory -----------------------------------------------------------===//

StridedView Selector::get(Value value) {
  auto known = views.find(value);
  if (known != views.end())
    return known->second;
  return views[value] = stored(value, plan::WeightFormat::Rows);
}

StridedView Selector::stored(Value value, plan::WeightFormat format) {
  if (auto weight = value.getDefiningOp<WeightOp>())
    return plan.useWeight(weight, format);
  return plan.useConstant(cast<arith::ConstantOp>(value.getDefiningOp()), format);
}

StridedView Selector::makeResult(Operation *op) {
  Value result = op->getResult(0);
  SmallVector<Dims> operands, results;
  for (Value operand : op->getOperands()) {
    // Not get() of a weight: that would ask for it as rows.
    auto known = views.find(operand);
    operands.push_back(known != views.end() ? known->second.dims
                                            : ferrite::detail::dimsOfType(operand.getType()));
  }
  // Ops were verified to infer before selection began.
  (void)cast<SymbolicShapeOpInterface>(op).inferDims(operands, results);
  auto output = outputOf.find(result);
  StridedView view = output != outputOf.end()
                         ? output->second
                         : plan.makeBuffer(op->getLoc(), getElementTypeOrSelf(result),
                                           results[0]);
  views[result] = view;
  return view;
}

StridedView Selector::copied(const StridedView &view, Location loc, StringRef reason) {
  remark::missed(loc, remark::RemarkOpts::name("copy").category(DEBUG_TYPE))
      << remark::reason("{0}", reason);
  StridedView to = plan.makeBuffer(loc, view.element, view.dims);
  FusedLayout::copy(view, to).launch(plan, loc, "copy", FusedOp());
  return to;
}

StridedView Selector::unitInner(StridedView view, Location loc) {
  if (view.hasUnitInnerStride())
    return view;
  return copied(view, loc, "the innermost dim of an operand is strided");
}

StridedView Selector::rows(Value value, Location loc) {
  StridedView view = get(value);
  std::optional<StridedView> result = view.asRows();
  if (result && result->hasUnitInnerStride())
    return *result;
  return *copied(view, loc, "the rows of an operand do not lie evenly").asRows();
}

StridedView Selector::contiguous(Value value, Location loc) {
  StridedView view = get(value);
  if (view.isContiguous())
    return StridedView{view.ref, view.element, view.dims, contiguousStrides(view.dims),
                       view.offset};
  return copied(view, loc, "an operand is not contiguous");
}

void Selector::limitIds(Value ids, int64_t limit) {
  while (Operation *op = ids.getDefiningOp()) {
    if (!isa<ViewOp, SliceOp, BroadcastOp, TransposeOp>(op))
      return;
    ids = op->getOperand(0);
  }
  plan::InputOp input = inputs[cast<BlockArgument>(ids).getArgNumber()];
  if (input.getIdLimit() == 0 || limit < input.getIdLimit())
    input.setIdLimit(limit);
}

//===--- rules ------------------------------------------------------------===//

/// A stem such as linear_384x1536.
static std::string stem(StringRef kind, ArrayRef<DimExpr> dims) {
  std::string text = kind.str();
  for (auto [i, dim] : llvm::enumerate(dims))
    text += (i == 0 ? "_" : "x") + (dim.constant() ? dim.str() : std::string("n"));
  return text;
}

void Selector::selectLinear(LinearOp op) {
  Location loc = op.getLoc();
  StridedView input = rows(op.getInput(), loc);
  StridedView weight = stored(op.getWeight(), plan::WeightFormat::Panels);
  std::vector<KernelOperand> operands = {input, weight};
  for (Value side : op.getSides()) {
    // Full rank first, so that leading dims merge as the result's do.
    StridedView wide = get(side);
    Dims dims = get(op.getInput()).dims;
    dims.back() = weight.dims[1];
    StridedView broadcast = wide.broadcast(dims);
    std::optional<StridedView> matrix = broadcast.asRows();
    if (!matrix)
      matrix = copied(broadcast, loc, "a side of the epilogue repeats in the middle").asRows();
    bool repeatsRows = matrix->strides[0].isConstant(0) || matrix->dims[0].isConstant(1);
    Dims shape = {repeatsRows ? DimExpr(1) : matrix->dims[0],
                  matrix->strides[1].isConstant(0) ? DimExpr(1) : matrix->dims[1]};
    if (repeatsRows)
      matrix->strides[0] = DimExpr(0);
    KernelOperand &operand =
        operands.emplace_back(*matrix, getTensorType(shape, matrix->element));
    operand.sized = {false, false};
  }
  StridedView result = *makeResult(op).asRows();
  plan.launch(loc, stem("linear", weight.dims), operands, KernelOperand(result),
              /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto linear = LinearOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0], args[1]);
                linear.getSidesMutable().assign(args.drop_front(2));
                linear.getEpilogue().getBlocks().clear();
                IRMapping mapping;
                op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
                return linear;
              });
}

void Selector::selectMatmul(MatmulOp op) {
  Location loc = op.getLoc();
  StridedView result = makeResult(op);
  // Two leading dims: what is more of them is merged, what is less is 1.
  auto batched = [&](StridedView view) {
    Dims dims(result.dims.begin(), result.dims.end() - 2);
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
                  : *copied(wide, loc, "leading dims of a product do not merge").viewed(four);
  };
  StridedView lhs = batched(unitInner(get(op.getLhs()), loc));
  StridedView rhs = batched(get(op.getRhs()));
  StridedView out = batched(result);
  std::vector<KernelOperand> operands = {lhs, rhs};
  plan.launch(loc, stem("matmul", ArrayRef<DimExpr>(out.dims).take_back(2)), operands,
              KernelOperand(out), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return MatmulOp::create(b, loc, getTensorType(out.dims, out.element), args[0],
                                        args[1]);
              });
}

void Selector::selectAttention(AttentionOp op) {
  Location loc = op.getLoc();
  std::vector<KernelOperand> operands;
  for (Value value : {op.getQuery(), op.getKey(), op.getValue()})
    operands.push_back(unitInner(get(value), loc));
  StridedView q = operands[0].view, k = operands[1].view;
  if (op.getMaskKind() == MaskKind::Keep)
    operands.push_back(get(op.getMask()).broadcast({q.dims[0], k.dims[1]}));
  else if (op.getMaskKind() == MaskKind::Bias)
    operands.push_back(
        get(op.getMask()).broadcast({q.dims[0], q.dims[2], q.dims[1], k.dims[1]}));
  StridedView result = makeResult(op);
  plan.launch(loc, stem("attention", ArrayRef<DimExpr>(q.dims).take_back(2)), operands,
              KernelOperand(result), /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return AttentionOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0], args[1],
                    args[2], args.size() > 3 ? args[3] : Value(), op.getMaskKind(),
                    op.getScaleAttr(), op.getFillAttr(), op.getGuarded());
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
  StridedView result = *makeResult(op).asRows();
  plan.launch(loc, stem("norm", result.dims.back()), operands, KernelOperand(result),
              /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
                return NormOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0], args[1],
                    op.getBias() ? args[2] : Value(),
                    op.getResidual() ? args.back() : Value(), op.getKind(),
                    op.getEpsilonAttr());
              });
}

void Selector::selectSoftmax(SoftmaxOp op) {
  Location loc = op.getLoc();
  KernelOperand input = rows(op.getInput(), loc);
  StridedView result = *makeResult(op).asRows();
  plan.launch(loc, stem("softmax", result.dims.back()), input, KernelOperand(result),
              /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
                return SoftmaxOp::create(b, loc, getTensorType(result.dims, result.element),
                                         args[0]);
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
  plan.launch(loc, stem("embedding", result.dims.back()), operands, KernelOperand(result),
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
  plan.launch(loc, stem("gather", three[2]), operands, KernelOperand(to), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return GatherOp::create(b, loc, getTensorType(to.dims, to.element), args[0],
                                        args[1], 1);
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
  dims.push_back(product(ArrayRef<DimExpr>(data.dims).drop_front(*tuple.constant())));
  StridedView from = *data.viewed(dims);
  StridedView tuples = *indices.viewed({count, tuple});
  StridedView to = *result.viewed({count, dims.back()});
  std::vector<KernelOperand> operands = {from, tuples};
  plan.launch(loc, stem("gather_nd", tuple), operands, KernelOperand(to), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return GatherNDOp::create(b, loc, getTensorType(to.dims, to.element), args[0],
                                          args[1]);
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
  plan.launch(loc, stem("cumsum", three[2]), KernelOperand(from), KernelOperand(to),
              /*claimed=*/false, [&](OpBuilder &b, ValueRange args) -> Operation * {
                return CumSumOp::create(b, loc, getTensorType(to.dims, to.element), args[0],
                                        1, op.getExclusive(), op.getReverse());
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

void Selector::selectFused(FusedOp op) {
  std::vector<StridedView> operands;
  for (Value input : op.getInputs())
    operands.push_back(get(input));
  FusedLayout::of(op, operands, makeResult(op)).launch(plan, op.getLoc(), "fused", op);
}

void Selector::selectDimValues(DimValuesOp op) {
  // A size is the number of points of a loop of that size.
  StridedView result = makeResult(op);
  Dims sizes = *parseDims(op.getValues());
  for (auto [i, value] : llvm::enumerate(sizes)) {
    StridedView element{result.ref, result.element, {}, {}, result.offset + DimExpr(i)};
    OpBuilder b(op);
    MLIRContext *context = op.getContext();
    AffineMap map = AffineMap::get(1, 0, {getAffineConstantExpr(0, context)}, context);
    auto count = FusedOp::create(
        b, op.getLoc(), RankedTensorType::get({1}, result.element), ValueRange(),
        getDimsAttr(context, {value}), b.getAffineMapArrayAttr({map}), CombineKind::Sum);
    for (Region *region : {&count.getBody(), &count.getFinish()}) {
      Block &block = region->emplaceBlock();
      OpBuilder body = OpBuilder::atBlockEnd(&block);
      Value one = region == &count.getBody()
                      ? arith::ConstantOp::create(body, op.getLoc(),
                                                  body.getIntegerAttr(result.element, 1))
                            .getResult()
                      : block.addArgument(result.element, op.getLoc());
      YieldOp::create(body, op.getLoc(), one);
    }
    element.dims = {DimExpr(1)};
    element.strides = {DimExpr(1)};
    FusedLayout::of(count, {}, element).launch(plan, op.getLoc(), "size", count);
    count.erase();
  }
}

//===--- the walk ---------------------------------------------------------===//

LogicalResult Selector::selectOp(Operation *op) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case<WeightOp, arith::ConstantOp>([](auto) { return success(); })
      .Case<ViewOp>([&](ViewOp view) {
        Dims dims = *parseDims(view.getDims());
        StridedView from = get(view.getInput());
        std::optional<StridedView> to = from.viewed(dims);
        views[view] = to ? *to
                         : *copied(from, op->getLoc(), "a view merges dims that do not lie "
                                                       "end to end")
                                .viewed(dims);
        return success();
      })
      .Case<SliceOp>([&](SliceOp slice) {
        views[slice] =
            get(slice.getInput())
                .sliced(*parseDims(slice.getOffsets()), slice.getSteps(),
                        *parseDims(slice.getDims()));
        return success();
      })
      .Case<TransposeOp>([&](TransposeOp transpose) {
        views[transpose] = get(transpose.getInput()).transposed(transpose.getPerm());
        return success();
      })
      .Case<BroadcastOp>([&](BroadcastOp broadcast) {
        views[broadcast] =
            get(broadcast.getInput()).broadcast(*parseDims(broadcast.getDims()));
        return success();
      })
      .Case<LinearOp>([&](LinearOp linear) -> LogicalResult {
        if (!isa_and_nonnull<WeightOp, arith::ConstantOp>(linear.getWeight().getDefiningOp()))
          return op->emitError("linear takes a weight of the model, but got ")
                 << linear.getWeight().getType() << " that is computed";
        selectLinear(linear);
        return success();
      })
      .Case([&](MatmulOp o) { return selectMatmul(o), success(); })
      .Case([&](AttentionOp o) { return selectAttention(o), success(); })
      .Case([&](NormOp o) { return selectNorm(o), success(); })
      .Case([&](SoftmaxOp o) { return selectSoftmax(o), success(); })
      .Case([&](EmbeddingOp o) { return selectEmbedding(o), success(); })
      .Case([&](GatherOp o) { return selectGather(o), success(); })
      .Case([&](GatherNDOp o) { return selectGatherND(o), success(); })
      .Case([&](CumSumOp o) { return selectCumSum(o), success(); })
      .Case([&](ConcatOp o) { return selectConcat(o), success(); })
      .Case([&](FusedOp o) { return selectFused(o), success(); })
      .Case([&](DimValuesOp o) { return selectDimValues(o), success(); })
      .Case([&](func::ReturnOp o) { return selectReturn(o); })
      .Default([](Operation *other) {
        return other->emitError("no kernel computes ") << other->getName();
      });
}

LogicalResult Selector::selectInputs() {
  for (BlockArgument arg : func.getArguments()) {
    auto name = func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), kNameAttr);
    auto type = dyn_cast<RankedTensorType>(arg.getType());
    auto attr = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), kDimsAttr);
    if (!name || !type)
      return func.emitError("argument ") << arg.getArgNumber() << " is no named tensor";
    // Unnamed sizes would all be one: nothing tells them apart at run time.
    std::optional<Dims> dims;
    if (attr || type.hasStaticShape())
      dims = attr ? parseDims(attr) : ferrite::detail::dimsOfType(type);
    if (!dims || getTensorType(*dims, type.getElementType()) != type)
      return func.emitError("dims of argument '") << name.getValue() << "' do not give " << type;
    inputs.push_back(plan::InputOp::create(
        plan.entryBuilder(), arg.getLoc(), name, getDimsAttr(func.getContext(), *dims), 0,
        TypeAttr::get(type)));
    views[arg] = StridedView::contiguous(inputs.back().getRef(), type.getElementType(), *dims);
  }
  return success();
}

LogicalResult Selector::run() {
  if (failed(selectInputs()))
    return failure();
  // Dims of all values: outputs are declared before what computes them.
  llvm::DenseMap<Value, Dims> dims;
  for (BlockArgument arg : func.getArguments())
    dims[arg] = views[arg].dims;
  for (Operation &op : func.getBody().front().without_terminator()) {
    SmallVector<Dims> operands, results;
    for (Value operand : op.getOperands())
      operands.push_back(dims[operand]);
    if (auto shaped = dyn_cast<SymbolicShapeOpInterface>(op)) {
      if (failed(shaped.inferDims(operands, results)))
        return failure();
      dims[op.getResult(0)] = results[0];
    } else if (isa<arith::ConstantOp>(op) && isa<RankedTensorType>(op.getResult(0).getType())) {
      dims[op.getResult(0)] = ferrite::detail::dimsOfType(op.getResult(0).getType());
    } else {
      return op.emitError("no kernel computes ") << op.getName();
    }
  }
  Operation *end = func.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(end->getOperands())) {
    auto name = func.getResultAttrOfType<StringAttr>(i, kNameAttr);
    if (!name)
      return func.emitError("result ") << i << " has no name";
    auto type = cast<RankedTensorType>(value.getType());
    auto output =
        plan::OutputOp::create(plan.entryBuilder(), value.getLoc(), name,
                               getDimsAttr(func.getContext(), dims[value]), TypeAttr::get(type));
    outputs.push_back(
        StridedView::contiguous(output.getRef(), type.getElementType(), dims[value]));
    // What a kernel computes is written in place, once; the rest is copied.
    Operation *op = value.getDefiningOp();
    if (op && !isa<WeightOp, arith::ConstantOp, ViewOp, SliceOp, TransposeOp, BroadcastOp>(op))
      outputOf.try_emplace(value, outputs.back());
  }
  for (Operation &op : func.getBody().front())
    if (failed(selectOp(&op)))
      return failure();
  return success();
}

LogicalResult Selector::selectReturn(func::ReturnOp op) {
  for (auto [value, output] : llvm::zip(op.getOperands(), outputs)) {
    StridedView view = get(value);
    if (view.ref != output.ref)
      FusedLayout::copy(view, output).launch(plan, op.getLoc(), "copy", FusedOp());
  }
  return success();
}

namespace {
struct SelectKernelsPass final : ferrite::impl::SelectKernelsBase<SelectKernelsPass> {
  void runOnOperation() override {
    for (auto func : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      OpBuilder builder(func);
      auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
      auto entry = plan::EntryOp::create(builder, func.getLoc(), func.getSymName(),
                                         symbols ? symbols : builder.getArrayAttr({}),
                                         StringAttr());
      entry.getBody().emplaceBlock();
      if (failed(Selector(func, entry).run()))
        return signalPassFailure();
      func.erase();
    }
  }
};
} // namespace
