//===- WeighSteps.cpp - Steps that tell what their keys get ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Who evicts keys by what they got of attention (runtime/generate, SnapKV and
// H2O) asks a step for it, of some runs of a call. All layers of a cache share
// one page table, so all must tell: a step with a layer that cannot is refused.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/SparsifySteps.h"

#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace ferrite;

static constexpr StringLiteral kWeighed = "weighed";

static std::optional<StateAttr> stateOf(func::FuncOp func, Value pool) {
  while (auto append = pool.getDefiningOp<KvAppendOp>())
    pool = append.getPool();
  auto arg = dyn_cast<BlockArgument>(pool);
  auto state =
      arg ? func.getArgAttrOfType<StateAttr>(arg.getArgNumber(), kStateAttr)
          : StateAttr();
  return state ? std::optional(state) : std::nullopt;
}

static std::string whyNot(func::FuncOp func, PagedAttentionOp op) {
  if (op.getLeft() >= 0)
    return "it has a window, whose keys go by their distance";
  if (op.getSlopes() || op.getBias())
    return "its scores depend on distances, which evicted tokens would change";
  if (op.getSinks())
    return "it has sinks, whose share no key gets";
  if (!isa<BlockArgument>(op.getContexts()))
    return "runs may leave it out";
  if (!stateOf(func, op.getKeys()))
    return "its keys are no state";
  return "";
}

static BlockArgument addInput(func::FuncOp func, StringRef name, Type element) {
  MLIRContext *context = func.getContext();
  Builder builder(context);
  Dims dims = {DimExpr::symbol(kWeighed)};
  NamedAttribute attrs[] = {
      builder.getNamedAttr(kNameAttr, builder.getStringAttr(name)),
      builder.getNamedAttr(kDimsAttr, getDimsAttr(context, dims))};
  unsigned index = func.getNumArguments();
  (void)func.insertArgument(index, getTensorType(dims, element),
                            DictionaryAttr::get(context, attrs), func.getLoc());
  return func.getArgument(index);
}

static void addSymbol(func::FuncOp func) {
  SmallVector<Attribute> symbols(
      func->getAttrOfType<ArrayAttr>(kSymbolsAttr).getValue());
  symbols.push_back(SymbolAttr::get(func.getContext(), kWeighed, 0, INT32_MAX));
  func->setAttr(kSymbolsAttr, ArrayAttr::get(func.getContext(), symbols));
}

static void addOutput(func::FuncOp func, Value value, const Twine &name) {
  auto end = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  SmallVector<DictionaryAttr> attrs;
  for (unsigned i = 0; i < end.getNumOperands(); ++i)
    attrs.push_back(func.getResultAttrDict(i));
  end.getOperandsMutable().append(value);
  Builder builder(func.getContext());
  attrs.push_back(builder.getDictionaryAttr(
      builder.getNamedAttr(kNameAttr, builder.getStringAttr(name))));
  func.setFunctionType(FunctionType::get(func.getContext(),
                                         func.getBody().getArgumentTypes(),
                                         end.getOperandTypes()));
  func.setAllResultAttrs(attrs);
}

static LogicalResult weigh(func::FuncOp func, const SparsityItem &item) {
  auto opts = remark::RemarkOpts::name("sparsify")
                  .category("ferrite-sparsify-attention");
  SmallVector<PagedAttentionOp> ops;
  for (auto op : func.getOps<PagedAttentionOp>())
    if (!op.getCross())
      ops.push_back(op);
  for (PagedAttentionOp op : ops)
    if (std::string why = whyNot(func, op); !why.empty())
      return op.emitError("--sparsify: '")
             << item.text
             << "' cannot weigh the keys of this attention: " << why;
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
        name && name.getValue() == "weigh_runs")
      return emitError(func.getLoc())
             << "--sparsify: '" << item.text << "' is there twice";
  if (ops.empty())
    return emitError(func.getLoc())
           << "--sparsify: '" << item.text << "' finds no attention to pages";
  addSymbol(func);
  OpBuilder builder(func);
  BlockArgument runs = addInput(func, "weigh_runs", builder.getI64Type()),
                tokens = addInput(func, "weigh_tokens", builder.getI32Type());
  llvm::DenseMap<int64_t, int64_t> readers;
  for (PagedAttentionOp op : ops) {
    builder.setInsertionPoint(op);
    int64_t heads =
        cast<RankedTensorType>(op.getKeys().getType()).getDimSize(1);
    constexpr int64_t any = ShapedType::kDynamic;
    Value weights = WeighPagesOp::create(
        builder, op.getLoc(),
        RankedTensorType::get({any, heads, any}, builder.getI64Type()),
        op.getQuery(), op.getKeys(), op.getRunBegins(), op.getContexts(),
        op.getPageTables(), runs, tokens, op.getScaleAttr(),
        op.getSoftcapAttr());
    // Several attentions may read the keys of one layer.
    int64_t layer = stateOf(func, op.getKeys())->getLayer();
    int64_t reader = readers[layer]++;
    std::string name = "key_weights." + std::to_string(layer);
    addOutput(func, weights,
              reader ? name + "." + std::to_string(reader) : name);
    remark::passed(op.getLoc(), opts) << item.text;
  }
  return success();
}

LogicalResult ferrite::weighPages(ModuleOp module, const SparsityItem &item) {
  bool hasSteps = false;
  for (auto func : module.getOps<func::FuncOp>()) {
    if (!func->hasAttr(kStepAttr))
      continue;
    hasSteps = true;
    if (failed(weigh(func, item)))
      return failure();
  }
  if (!hasSteps)
    return emitError(module.getLoc())
           << "--sparsify: '" << item.text
           << "' is for the steps of a decoder, and the model has no step "
              "entry";
  return success();
}
