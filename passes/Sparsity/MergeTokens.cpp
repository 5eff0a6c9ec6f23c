//===- MergeTokens.cpp - Tokens that are alike become one -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Behind each attention that an item names there is, in an encoder, a place
// where one value alone carries the tokens on: the residual stream. There
// tokens merge, as ToMe has it. What comes behind is followed op by op: where
// one computes each token by itself its dims change, where one does not it gets
// each token back as what the token became part of. So a graph's results keep
// their dims, and no op has to be known.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/Candidates.h"
#include "passes/Sparsity/Passes.h"
#include "passes/Sparsity/TokenMerger.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace ferrite {
#define GEN_PASS_DEF_MERGETOKENS
#include "passes/Sparsity/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// The least value of a sum of symbols with positive factors; else nothing.
static std::optional<int64_t> leastOf(func::FuncOp func, const DimExpr &dim) {
  for (const auto &[monomial, factor] : dim.terms())
    if (!monomial.empty() && factor < 0)
      return std::nullopt;
  auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
  return dim.evaluate([&](StringRef name) -> std::optional<int64_t> {
    for (Attribute attr : symbols ? symbols.getValue() : ArrayRef<Attribute>())
      if (auto symbol = cast<SymbolAttr>(attr); symbol.getName() == name)
        return symbol.getMin();
    return std::nullopt;
  });
}

/// Whether dim 1 is the tokens.
bool TokenMerger::isCounted(Value value) {
  if (!isa<RankedTensorType>(value.getType()) ||
      isa_and_nonnull<WeightOp, arith::ConstantOp>(value.getDefiningOp()))
    return false;
  ArrayRef<DimExpr> sizes = dimsOf(value);
  return sizes.size() >= 3 && sizes[1] == tokens;
}

void TokenMerger::plan(ArrayRef<SparsityItem> items, std::vector<bool> &hits) {
  taken = &hits;
  bool isFirst = true;
  for (auto [layer, op] : llvm::enumerate(func.getOps<AttentionOp>())) {
    // The last item that names it.
    for (size_t i = items.size(); i-- > 0;) {
      if (items[i].kind != SparsityItem::Kind::Merge ||
          !items[i].layers.has(layer))
        continue;
      std::string why = whyNotMerged(op);
      DimExpr mine = dimsOf(op.getQuery())[1];
      if (why.empty() && !isFirst && mine != tokens)
        why = "its tokens are not those of the first that merges";
      if (why.empty()) {
        tokens = mine;
        isFirst = false;
        merges.push_back({&items[i], i, op});
      } else {
        reportItem(op, "merge", items[i].text, why);
      }
      break;
    }
  }
  findCuts();
}

/// Finds where one value alone carries the tokens from an attention on.
void TokenMerger::findCuts() {
  Block &block = func.getBody().front();
  llvm::DenseMap<Operation *, int64_t> place;
  int64_t count = 0;
  for (Operation &op : block)
    place[&op] = count++;
  // How many are alive behind each op.
  std::vector<int64_t> change(count + 1, 0);
  auto lastUse = [&](Value value) {
    int64_t last = -1;
    for (Operation *user : value.getUsers())
      last = std::max(last, place.lookup(user));
    return last;
  };
  auto live = [&](Value value, int64_t from) {
    int64_t last = isCounted(value) ? lastUse(value) : -1;
    if (last > from) {
      ++change[std::max<int64_t>(from, 0)];
      --change[last];
    }
  };
  for (BlockArgument arg : block.getArguments())
    live(arg, -1);
  for (Operation &op : block)
    for (Value result : op.getResults())
      live(result, place[&op]);
  std::vector<int64_t> alive(count, 0);
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i)
    alive[i] = sum += change[i];
  for (const Merge &merge : merges) {
    Operation *op = merge.attention->getNextNode();
    for (; op && !isa<AttentionOp>(op); op = op->getNextNode())
      if (op->getNumResults() == 1 && alive[place[op]] == 1 &&
          isCounted(op->getResult(0)) &&
          lastUse(op->getResult(0)) > place[op] &&
          dimsOf(op->getResult(0)).size() == 3 &&
          dimsOf(op->getResult(0))[2].constant() &&
          isa<Float16Type, BFloat16Type, Float32Type>(
              getElementTypeOrSelf(op->getResult(0))))
        break;
    if (op && !isa<AttentionOp>(op))
      cuts.try_emplace(op, &merge);
    else
      reportItem(merge.attention, "merge", merge.item->text,
                 "before the next attention no value alone carries the tokens");
  }
}

/// Merges tokens of `stream` by the keys of an attention; or says why not.
std::string TokenMerger::merge(const Merge &merge, Value stream) {
  unsigned before = generationOf(stream);
  const SparsityItem &item = *merge.item;
  Value key = AttentionOp(merge.attention).getKey();
  if (generationOf(key) != before)
    return "its keys are not the tokens that its result is for";
  DimExpr count = steps[before].tokens;
  std::optional<int64_t> known = count.constant();
  std::optional<int64_t> least = leastOf(func, count);
  if (item.share > 0 && !known)
    return "a share is of a number of tokens that is known: " + count.str();
  int64_t removed =
      item.share > 0 ? int64_t(item.share * double(*known)) : item.window;
  int64_t most = least ? (*least - item.fixed) / 2 : 0;
  if (known)
    removed = std::min(removed, most); // as ToMe does
  if (removed < 1 || removed > most)
    return "it has " + (known ? std::string() : "at least ") +
           std::to_string(least.value_or(0)) +
           " tokens, too few for so many to merge: at most half of those that "
           "are not fixed (--dim says how many there are)";
  builder.setInsertionPointAfterValue(stream);
  Location loc = AttentionOp(merge.attention).getLoc();
  Type f32 = builder.getF32Type();
  DimExpr batch = dimsOf(stream)[0], left = count - DimExpr(removed);
  Value metric = TokenMetricOp::create(
      builder, loc, getTensorType({batch, count, dimsOf(key)[3]}, f32), key);
  Generation step;
  step.tokens = left;
  step.batch = batch;
  step.to = MatchTokensOp::create(
      builder, loc, getTensorType({batch, count}, builder.getI32Type()), metric,
      removed, item.fixed);
  Value sizes = steps[before].sizes;
  Dims column = {batch, count, DimExpr(1)};
  Value ones;
  if (sizes) {
    ones = view(sizes, column, loc);
  } else {
    auto type = RankedTensorType::get({1, 1, 1}, f32);
    Value one = arith::ConstantOp::create(builder, loc,
                                          DenseElementsAttr::get(type, 1.0f));
    ones = BroadcastOp::create(builder, loc, getTensorType(column, f32), one,
                               getDimsAttr(func.getContext(), column));
  }
  Value grown = MergeTokensOp::create(
      builder, loc, getTensorType({batch, left, DimExpr(1)}, f32), ones,
      step.to, Value(), removed, /*sum=*/true);
  step.sizes = view(grown, {batch, left}, loc);
  Dims merged(dimsOf(stream));
  merged[1] = left;
  auto means = MergeTokensOp::create(
      builder, loc, getTensorType(merged, getElementTypeOrSelf(stream)), stream,
      step.to, sizes, removed, /*sum=*/false);
  stream.replaceAllUsesExcept(means, means);
  steps.push_back(step);
  generations[means] = steps.size() - 1;
  made[means.getResult().getAsOpaquePointer()] = Dims(dimsOf(stream));
  return "";
}

void TokenMerger::run() {
  if (cuts.empty())
    return;
  steps.emplace_back();
  steps.back().tokens = tokens;
  for (Operation &op :
       llvm::make_early_inc_range(func.getBody().front().getOperations())) {
    unsigned generation = 0;
    for (Value operand : op.getOperands())
      generation = std::max(generation, generationOf(operand));
    if (generation > 0) {
      std::string why = whyNotFollowed(&op, generation);
      if (why.empty()) {
        follow(&op, generation);
      } else {
        reportItem(&op, "unmerge", "tokens", why);
        restore(&op);
      }
    }
    auto cut = cuts.find(&op);
    if (cut == cuts.end())
      continue;
    const Merge &what = *cut->second;
    std::string why = merge(what, op.getResult(0));
    (*taken)[what.index] = (*taken)[what.index] || why.empty();
    reportItem(what.attention, "merge", what.item->text, why);
  }
}

namespace {
struct MergeTokensPass final : ferrite::impl::MergeTokensBase<MergeTokensPass> {
  using MergeTokensBase::MergeTokensBase;

  void runOnOperation() override {
    llvm::Expected<std::vector<SparsityItem>> items = parseSparsity(spec);
    if (!items) {
      emitError(getOperation().getLoc()) << llvm::toString(items.takeError());
      return signalPassFailure();
    }
    std::vector<bool> taken(items->size(), false);
    int64_t most = 0;
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      int64_t count = llvm::range_size(func.getOps<AttentionOp>());
      most = std::max(most, count);
      if (count == 0)
        continue;
      FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
      if (failed(dims))
        return signalPassFailure();
      TokenMerger merger(func, *dims);
      merger.plan(*items, taken);
      merger.run();
    }
    for (auto [item, isTaken] : llvm::zip(*items, taken))
      if (item.kind == SparsityItem::Kind::Merge &&
          failed(checkItem(getOperation().getLoc(), item, most, isTaken)))
        return signalPassFailure();
  }
};
} // namespace
