//===- SelectKernels.cpp - Choose a kernel for each op --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Memory and the walk; Selector.h has the idea.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "passes/Select/FusedLayout.h"
#include "passes/Select/Passes.h"
#include "passes/Select/Selector.h"

#include "mlir/IR/Remarks.h"
#include "llvm/ADT/TypeSwitch.h"

#define DEBUG_TYPE "ferrite-select-kernels"

namespace ferrite {
#define GEN_PASS_DEF_SELECTKERNELS
#include "passes/Select/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

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
  return plan.useConstant(cast<arith::ConstantOp>(value.getDefiningOp()),
                          format);
}

StridedView Selector::storedWeight(LinearOp op, plan::WeightFormat format) {
  if (sparseOf(op))
    return plan.useSparse(op.getWeight().getDefiningOp<WeightOp>(),
                          *op.getSparse());
  return stored(op.getWeight(), format);
}

/// Null where blocks were not counted, or of no weight of the model: dense is
/// the same.
SparseAttr Selector::sparseOf(LinearOp op) {
  std::optional<SparseAttr> sparse = op.getSparse();
  if (!sparse || sparse->getKept() < 0 ||
      !op.getWeight().getDefiningOp<WeightOp>())
    return {};
  return SparseAttr::get(op.getContext(), sparse->getColumns(),
                         sparse->getDepth(), -1);
}

StridedView Selector::makeResult(Operation *op) {
  Value result = op->getResult(0);
  SmallVector<Dims> operands, results;
  for (Value operand : op->getOperands()) {
    // Not get() of a weight: that would ask for it as rows.
    auto known = views.find(operand);
    operands.push_back(known != views.end()
                           ? known->second.dims
                           : ferrite::detail::dimsOfType(operand.getType()));
  }
  // Ops were verified to infer before selection began.
  (void)cast<SymbolicShapeOpInterface>(op).inferDims(operands, results);
  auto output = outputOf.find(result);
  StridedView view =
      output != outputOf.end()
          ? output->second
          : plan.makeBuffer(op->getLoc(), getElementTypeOrSelf(result),
                            results[0]);
  views[result] = view;
  return view;
}

StridedView Selector::copied(const StridedView &view, Location loc,
                             StringRef reason) {
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

StridedView Selector::addend(Value value, const Dims &scores, Location loc) {
  StridedView view = get(value);
  // Copied before it repeats: the copy has no more elements than the operand.
  return (view.dims.back().isConstant(1) ? view : unitInner(view, loc))
      .broadcast(scores);
}

StridedView Selector::rows(Value value, Location loc) {
  StridedView view = get(value);
  std::optional<StridedView> result = view.asRows();
  if (result && result->hasUnitInnerStride())
    return *result;
  return *copied(view, loc, "the rows of an operand do not lie evenly")
              .asRows();
}

StridedView Selector::contiguous(Value value, Location loc) {
  StridedView view = get(value);
  if (view.isContiguous())
    return StridedView{view.ref, view.element, view.dims,
                       contiguousStrides(view.dims), view.offset};
  return copied(view, loc, "an operand is not contiguous");
}

void Selector::limitIds(Value ids, int64_t limit) {
  while (Operation *op = ids.getDefiningOp()) {
    // The limit holds for every element of the input: not through a slice,
    // whose rest may be no ids. The kernel looks at each that it uses.
    if (!isa<ViewOp, BroadcastOp, TransposeOp>(op))
      return;
    ids = op->getOperand(0);
  }
  plan::InputOp input = inputs[cast<BlockArgument>(ids).getArgNumber()];
  if (input.getIdLimit() == 0 || limit < input.getIdLimit())
    input.setIdLimit(limit);
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
                         : *copied(from, op->getLoc(),
                                   "a view merges dims that do not lie "
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
        views[transpose] =
            get(transpose.getInput()).transposed(transpose.getPerm());
        return success();
      })
      .Case<BroadcastOp>([&](BroadcastOp broadcast) {
        views[broadcast] = get(broadcast.getInput())
                               .broadcast(*parseDims(broadcast.getDims()));
        return success();
      })
      .Case<WindowsOp>([&](WindowsOp windows) {
        views[windows] = get(windows.getInput())
                             .windowed(windows.getAxis(),
                                       *DimExpr::parse(windows.getCount()),
                                       windows.getSize(), windows.getStep(),
                                       windows.getDilation());
        return success();
      })
      .Case<LinearOp>([&](LinearOp linear) -> LogicalResult {
        if (cast<RankedTensorType>(linear.getWeight().getType()).getRank() > 2)
          return selectByteMatmul(linear), success();
        if (!isa_and_nonnull<WeightOp, arith::ConstantOp>(
                linear.getWeight().getDefiningOp()))
          return op->emitError("linear takes a weight of the model, but got ")
                 << linear.getWeight().getType() << " that is computed";
        selectLinear(linear);
        return success();
      })
      .Case([&](MatmulOp o) { return selectMatmul(o), success(); })
      .Case([&](AttentionOp o) { return selectAttention(o); })
      .Case([&](SelectBlocksOp o) { return selectSelectBlocks(o); })
      .Case([&](WeighPagesOp o) { return selectWeighPages(o), success(); })
      .Case([&](SelectRunPagesOp o) {
        return selectSelectRunPages(o), success();
      })
      .Case<TokenMetricOp, MatchTokensOp, MergeTokensOp, UnmergeTokensOp>(
          [&](auto) { return selectMerging(op), success(); })
      .Case([&](ExpertLinearOp o) { return selectExpertLinear(o); })
      .Case([&](NormOp o) { return selectNorm(o), success(); })
      .Case([&](SoftmaxOp o) { return selectSoftmax(o), success(); })
      .Case([&](RopeOp o) { return selectRope(o), success(); })
      .Case([&](EmbeddingOp o) { return selectEmbedding(o), success(); })
      .Case([&](GatherOp o) { return selectGather(o), success(); })
      .Case([&](GatherNDOp o) { return selectGatherND(o), success(); })
      .Case([&](CumSumOp o) { return selectCumSum(o), success(); })
      .Case([&](GatherElementsOp o) {
        return selectGatherElements(o), success();
      })
      .Case([&](ScatterNDOp o) { return selectScatterND(o), success(); })
      .Case([&](ScatterElementsOp o) {
        return selectScatterElements(o), success();
      })
      .Case([&](ArgReduceOp o) { return selectArgReduce(o), success(); })
      .Case([&](TopKOp o) { return selectTopK(o), success(); })
      .Case([&](LinearAttentionOp o) {
        return selectLinearAttention(o), success();
      })
      .Case([&](CumProdOp o) { return selectCumProd(o), success(); })
      .Case([&](ConcatOp o) { return selectConcat(o), success(); })
      .Case([&](PadOp o) { return selectPad(o), success(); })
      .Case([&](FusedOp o) { return selectFused(o), success(); })
      .Case([&](DimValuesOp o) { return selectDimValues(o), success(); })
      .Case([&](KvAppendOp o) { return selectKvAppend(o), success(); })
      .Case([&](PagedAttentionOp o) {
        return selectPagedAttention(o), success();
      })
      .Case([&](SummarizePagesOp o) {
        return selectSummarizePages(o), success();
      })
      .Case([&](SelectPagesOp o) { return selectSelectPages(o), success(); })
      .Case([&](func::ReturnOp o) { return selectReturn(o); })
      .Default([](Operation *other) {
        return other->emitError("no kernel computes ") << other->getName();
      });
}

LogicalResult Selector::selectInputs() {
  for (BlockArgument arg : func.getArguments()) {
    auto name =
        func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), kNameAttr);
    auto type = dyn_cast<RankedTensorType>(arg.getType());
    auto attr = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), kDimsAttr);
    if (!name || !type)
      return func.emitError("argument ")
             << arg.getArgNumber() << " is no named tensor";
    // Unnamed sizes would all be one: nothing tells them apart at run time.
    std::optional<Dims> dims;
    if (attr || type.hasStaticShape())
      dims = attr ? parseDims(attr) : ferrite::detail::dimsOfType(type);
    if (!dims || getTensorType(*dims, type.getElementType()) != type)
      return func.emitError("dims of argument '")
             << name.getValue() << "' do not give " << type;
    Value memory;
    if (auto state =
            func.getArgAttrOfType<StateAttr>(arg.getArgNumber(), kStateAttr)) {
      memory = plan::StateOp::create(plan.entryBuilder(), arg.getLoc(), name,
                                     state, TypeAttr::get(type));
      inputs.push_back({});
    } else {
      inputs.push_back(plan::InputOp::create(
          plan.entryBuilder(), arg.getLoc(), name,
          getDimsAttr(func.getContext(), *dims), 0, TypeAttr::get(type)));
      memory = inputs.back().getRef();
    }
    views[arg] = StridedView::contiguous(memory, type.getElementType(), *dims);
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
    } else if (isa<arith::ConstantOp>(op) &&
               isa<RankedTensorType>(op.getResult(0).getType())) {
      dims[op.getResult(0)] =
          ferrite::detail::dimsOfType(op.getResult(0).getType());
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
    auto output = plan::OutputOp::create(
        plan.entryBuilder(), value.getLoc(), name,
        getDimsAttr(func.getContext(), dims[value]), TypeAttr::get(type));
    outputs.push_back(StridedView::contiguous(
        output.getRef(), type.getElementType(), dims[value]));
    // What a kernel computes is written in place, once; the rest is copied.
    Operation *op = value.getDefiningOp();
    if (op && !isa<WeightOp, arith::ConstantOp, ViewOp, SliceOp, TransposeOp,
                   BroadcastOp, WindowsOp>(op))
      outputOf.try_emplace(value, outputs.back());
  }
  for (auto [value, output] : llvm::zip(end->getOperands(), outputs))
    writeCacheTo(value, output);
  for (Operation &op : func.getBody().front())
    if (failed(selectOp(&op)))
      return failure();
  return success();
}

LogicalResult Selector::selectReturn(func::ReturnOp op) {
  for (auto [value, output] : llvm::zip(op.getOperands(), outputs)) {
    StridedView view = get(value);
    if (view.ref != output.ref)
      FusedLayout::copy(view, output)
          .launch(plan, op.getLoc(), "copy", FusedOp());
  }
  return success();
}

namespace {
struct SelectKernelsPass final
    : ferrite::impl::SelectKernelsBase<SelectKernelsPass> {
  using SelectKernelsBase::SelectKernelsBase;

  void runOnOperation() override {
    PlanSymbols symbolsOfAll(getOperation());
    for (auto func :
         llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      OpBuilder builder(func);
      auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
      auto entry = plan::EntryOp::create(
          builder, func.getLoc(), func.getSymName(),
          symbols ? symbols : builder.getArrayAttr({}), StringAttr(),
          func->hasAttr(kStepAttr), func->hasAttr(kEncodeAttr));
      entry.getBody().emplaceBlock();
      if (failed(Selector(func, entry, symbolsOfAll, forCpu).run()))
        return signalPassFailure();
      func.erase();
    }
  }
};
} // namespace
