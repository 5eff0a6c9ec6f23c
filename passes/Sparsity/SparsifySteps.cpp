//===- SparsifySteps.cpp - Steps that read a part of their pages ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A layer that selects has one state more, a summary of its keys. It lies
// behind the states of its group, which stay side by side.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/SparsifySteps.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "dialects/Ferrite/IR/KvPool.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace ferrite;

static constexpr StringLiteral kPass = "ferrite-sparsify-attention";
/// Of a window at least so wide the page before a step's own is never given
/// back, which summaries need; and a narrower one is no more than is kept.
static constexpr int64_t kLeastWindow = 256;

/// The state that the keys of an attention are: an argument of the function.
static BlockArgument stateOf(Value pool) {
  while (auto append = pool.getDefiningOp<KvAppendOp>())
    pool = append.getPool();
  return dyn_cast<BlockArgument>(pool);
}

static StateAttr attrOf(func::FuncOp func, BlockArgument arg) {
  return func.getArgAttrOfType<StateAttr>(arg.getArgNumber(), kStateAttr);
}

static std::string whyNot(func::FuncOp func, PagedAttentionOp op) {
  if (op.getCross())
    return "it reads an encoder's keys";
  if (op.getSlopes() || op.getBias())
    return "its scores depend on distances, which summaries do not know";
  if (op.getKept())
    return "it has lists of blocks";
  if (op.getFrom() || op.getUntil() || op.getGap())
    return "its tokens are of two types (--kv=..,f16-recent=)";
  if (op.getSelected())
    return "it selects pages already";
  if (op.getLeft() >= 0 && op.getLeft() < kLeastWindow)
    return "its window is as narrow as what would be kept";
  BlockArgument state = stateOf(op.getKeys());
  if (!state || !attrOf(func, state))
    return "its keys are no state";
  return "";
}

/// A new argument behind the last state of the group of `keys`.
static BlockArgument addSummary(func::FuncOp func, BlockArgument keys,
                                int64_t depth) {
  StateAttr of = attrOf(func, keys);
  unsigned index = 0;
  for (BlockArgument arg : func.getArguments())
    if (StateAttr state = attrOf(func, arg);
        state && state.getGroup() == of.getGroup())
      index = arg.getArgNumber() + 1;
  MLIRContext *context = func.getContext();
  Builder builder(context);
  auto name = func.getArgAttrOfType<StringAttr>(keys.getArgNumber(), kNameAttr);
  std::optional<Dims> dims = parseDims(
      func.getArgAttrOfType<ArrayAttr>(keys.getArgNumber(), kDimsAttr));
  Dims part = {(*dims)[0], (*dims)[1], DimExpr(KvAppendOp::kPageTokens),
               DimExpr(SummarizePagesOp::widthFor(depth))};
  NamedAttribute attrs[] = {
      builder.getNamedAttr(kNameAttr,
                           builder.getStringAttr(name.getValue() + ".summary")),
      builder.getNamedAttr(kDimsAttr, getDimsAttr(context, part)),
      builder.getNamedAttr(kStateAttr,
                           StateAttr::get(context, StateKind::Summary,
                                          of.getLayer(), of.getWindow(),
                                          of.getGroup(), of.getSinks()))};
  (void)func.insertArgument(index, getTensorType(part, builder.getF32Type()),
                            DictionaryAttr::get(context, attrs), func.getLoc());
  return func.getArgument(index);
}

namespace {
class Step {
public:
  Step(func::FuncOp func, const SparsityItem &item) : func(func), item(item) {}

  void select(PagedAttentionOp op) {
    OpBuilder builder(op);
    Location loc = op.getLoc();
    int64_t depth =
        cast<RankedTensorType>(op.getQuery().getType()).getDimSize(3);
    Value &pool = summaries[op.getKeys()];
    if (!pool) {
      BlockArgument state = addSummary(func, stateOf(op.getKeys()), depth);
      pool = SummarizePagesOp::create(
          builder, loc, state.getType(), op.getKeys(), op.getRunBegins(),
          op.getContexts(), op.getPageTables(), state);
    }
    int64_t keyHeads =
        cast<RankedTensorType>(op.getKeys().getType()).getDimSize(1);
    int64_t runs =
        cast<RankedTensorType>(op.getContexts().getType()).getDimSize(0);
    constexpr int64_t most = PagedAttentionOp::kSelecting,
                      any = ShapedType::kDynamic;
    auto type = RankedTensorType::get(
        {runs == any ? any : runs * most, keyHeads, any}, builder.getI32Type());
    Value lists = SelectPagesOp::create(
        builder, loc, type, op.getQuery(), pool, op.getRunBegins(),
        op.getContexts(), op.getVisible(), op.getPageTables(),
        op.getScaleAttr(), builder.getF32FloatAttr(float(item.share)),
        item.share > 0 ? 0 : item.window, op.getLeft());
    op.getSelectedMutable().assign(lists);
  }

private:
  func::FuncOp func;
  const SparsityItem &item;
  /// Of pools that several attentions read, once.
  llvm::DenseMap<Value, Value> summaries;
};
} // namespace

LogicalResult ferrite::selectPages(ModuleOp module, const SparsityItem &item) {
  int64_t taken = 0, most = 0;
  bool hasSteps = false;
  auto opts = remark::RemarkOpts::name("sparsify").category(kPass);
  for (auto func : module.getOps<func::FuncOp>()) {
    if (!func->hasAttr(kStepAttr))
      continue;
    hasSteps = true;
    SmallVector<PagedAttentionOp> ops(func.getOps<PagedAttentionOp>());
    most = std::max<int64_t>(most, ops.size());
    Step step(func, item);
    for (auto [number, op] : llvm::enumerate(ops)) {
      if (item.layers.isAll() ? int64_t(number) < kDenseLayers
                              : !item.layers.has(number))
        continue;
      if (std::string why = whyNot(func, op); !why.empty()) {
        remark::missed(op.getLoc(), opts)
            << remark::reason("{0}: {1}", item.text, why);
        continue;
      }
      step.select(op);
      remark::passed(op.getLoc(), opts) << item.text;
      ++taken;
    }
  }
  auto fail = [&](const Twine &why) {
    return emitError(module.getLoc()) << "--sparsify: '" << item.text << why;
  };
  if (!hasSteps)
    return fail("' is for the steps of a decoder, and the model has no step "
                "entry");
  if (item.layers.largest() >= most)
    return fail("' is for layer " + Twine(item.layers.largest()) +
                ", but the steps have " + Twine(most) + " attentions");
  if (taken == 0)
    return fail("' finds no attention of a step that can select pages; the "
                "report says why");
  return success();
}
