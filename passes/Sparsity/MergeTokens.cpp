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
#include "passes/Sparsity/MergeTokens.h"
#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "passes/Analysis/AttentionScores.h"
#include "passes/Sparsity/Candidates.h"
#include "passes/Sparsity/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

#include <map>

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

/// Why tokens may not merge by what this attention sees, or nothing.
static std::string
whyNotMerged(AttentionOp op,
             llvm::function_ref<ArrayRef<DimExpr>(Value)> dimsOf) {
  if (op.hasWindow() || op.getAnchors() > 0)
    return "what it sees goes by position, which tokens that merge lose";
  if (op->getNumOperands() != 3)
    return "it has a mask, a bias, lengths, segments, sinks or lists: tokens "
           "that merge would need theirs merged";
  if (op->hasAttr(kScoresAttr))
    return "its scores are of bytes, and sizes of tokens are added to floats";
  if (dimsOf(op.getQuery())[1] != dimsOf(op.getKey())[1])
    return "its queries and keys are not the same tokens";
  return "";
}

namespace {
/// The tokens after so many merges.
struct Generation {
  DimExpr tokens;
  DimExpr batch;
  Value sizes;   ///< [batch, tokens]; null: all 1
  Value to;      ///< [batch, tokens before]: where those went
  Value total;   ///< the same, of those that nothing merged
  Value weights; ///< log of the sizes, as attention adds it
};

class TokenMerger {
public:
  TokenMerger(func::FuncOp func, DimAnalysis &dims) : func(func), dims(dims) {}

  /// Which attentions an item is for; the first that holds.
  void plan(ArrayRef<SparsityItem> items, std::vector<bool> &taken);
  void run();

private:
  struct Merge {
    const SparsityItem *item;
    size_t index;
    AttentionOp attention;
  };

  bool isCounted(Value value);
  void findCuts();
  std::string whyNotFollowed(Operation *op, unsigned generation);
  bool isAligned(Value operand, Value result, unsigned generation);
  std::string whyNotFused(FusedOp op, unsigned generation, int64_t &loop);
  void follow(Operation *op, unsigned generation);
  void restore(Operation *op);
  std::string merge(const Merge &merge, Value stream);

  unsigned generationOf(Value value) const { return generations.lookup(value); }
  Dims dimsAt(Value value, unsigned generation);
  Value view(Value value, const Dims &to, Location loc);
  Value weightsOf(unsigned generation, Location loc);
  Value totalOf(unsigned generation, Location loc);
  /// As they were before anything merged, of values made here too.
  ArrayRef<DimExpr> dimsOf(Value value) {
    auto own = made.find(value.getAsOpaquePointer());
    return own != made.end() ? ArrayRef<DimExpr>(own->second)
                             : dims.getDims(value);
  }

  func::FuncOp func;
  DimAnalysis &dims; ///< asked about values of the graph alone
  std::map<void *, Dims> made;
  DimExpr tokens;
  std::vector<Merge> merges;
  llvm::DenseMap<Operation *, const Merge *> cuts; ///< what makes the stream
  llvm::DenseMap<Value, unsigned> generations;
  llvm::DenseMap<Value, Value> restored;
  std::vector<Generation> steps;
  OpBuilder builder{func.getContext()};
  std::vector<bool> *taken = nullptr;
};
} // namespace

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
      std::string why = whyNotMerged(op, [&](Value v) { return dimsOf(v); });
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

Dims TokenMerger::dimsAt(Value value, unsigned generation) {
  Dims sizes(dimsOf(value));
  sizes[1] = steps[generation].tokens;
  return sizes;
}

Value TokenMerger::view(Value value, const Dims &to, Location loc) {
  auto type = cast<RankedTensorType>(value.getType());
  return ViewOp::create(builder, loc, getTensorType(to, type.getElementType()),
                        value, getDimsAttr(func.getContext(), to));
}

/// Whether the tokens of an operand that broadcasts are the result's, or none.
bool TokenMerger::isAligned(Value operand, Value result, unsigned generation) {
  ArrayRef<DimExpr> from = dimsOf(operand), to = dimsOf(result);
  int64_t axis = 1 - (int64_t(to.size()) - int64_t(from.size()));
  if (generationOf(operand) == generation)
    return axis == 1;
  return generationOf(operand) == 0 && (axis < 0 || from[axis].isConstant(1));
}

std::string TokenMerger::whyNotFused(FusedOp op, unsigned generation,
                                     int64_t &loop) {
  SmallVector<AffineMap> maps(op.getMaps().getAsValueRange<AffineMapAttr>());
  loop = -1;
  if (maps.back().getNumResults() > 1)
    if (auto dim = dyn_cast<AffineDimExpr>(maps.back().getResult(1)))
      loop = dim.getPosition();
  std::optional<Dims> domain = parseDims(op.getDomain());
  if (loop < 0 || !domain || (*domain)[loop] != tokens)
    return "it does not keep tokens where they are";
  for (auto [input, map] : llvm::zip(op.getInputs(), maps)) {
    bool isOurs = generationOf(input) == generation;
    for (auto [at, result] : llvm::enumerate(map.getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(result);
      bool isLoop = dim && int64_t(dim.getPosition()) == loop;
      if (isLoop != (isOurs && at == 1))
        return "it joins tokens with what goes by their position";
    }
  }
  bool counts = false;
  op->walk(
      [&](LoopIndexOp index) { counts |= int64_t(index.getDim()) == loop; });
  return counts ? "it counts tokens" : "";
}

/// Why `op`, some operands of which are tokens of that generation, cannot take
/// them instead of the graph's.
std::string TokenMerger::whyNotFollowed(Operation *op, unsigned generation) {
  for (Value operand : op->getOperands())
    if (unsigned other = generationOf(operand); other && other != generation)
      return "it joins tokens of before and after a merge";
  auto isOurs = [&](Value value) { return generationOf(value) == generation; };
  auto slice = dyn_cast<SliceOp>(op);
  if (op->getNumResults() != 1 || (!slice && !isCounted(op->getResult(0))))
    return "its result has no dim of tokens";
  Value result = op->getResult(0);
  using Why = std::string;
  return llvm::TypeSwitch<Operation *, Why>(op)
      .Case([&](LinearOp linear) -> Why {
        bool rows = isOurs(linear.getInput()) &&
                    dimsOf(linear.getWeight()).size() == 2 &&
                    llvm::all_of(linear.getSides(), [&](Value side) {
                      return isAligned(side, result, generation);
                    });
        return rows ? "" : "it joins tokens with others";
      })
      .Case([&](NormOp norm) -> Why {
        for (Value row : {norm.getInput(), norm.getResidual(), norm.getAfter()})
          if (row && !isOurs(row))
            return "it joins tokens with others";
        return "";
      })
      .Case([&](ViewOp view) -> Why {
        return dimsOf(view.getInput())[0] == dimsOf(result)[0]
                   ? ""
                   : "it moves tokens";
      })
      .Case([&](SliceOp part) -> Why {
        std::optional<Dims> from = parseDims(part.getOffsets());
        if (!from || !(*from)[1].isConstant(0) || part.getSteps()[1] != 1)
          return "it takes tokens by their position";
        if (isCounted(result))
          return "";
        // The first token is at its place where it may not merge.
        bool isFirst = dimsOf(result)[1].isConstant(1);
        for (const Merge &merge : merges)
          isFirst &= merge.item->fixed > 0;
        return isFirst ? "" : "it takes tokens by their position";
      })
      .Case([&](FusedOp fused) -> Why {
        int64_t loop = -1;
        return whyNotFused(fused, generation, loop);
      })
      .Case([&](AttentionOp attention) -> Why {
        std::string why =
            whyNotMerged(attention, [&](Value v) { return dimsOf(v); });
        if (!why.empty())
          return why;
        return llvm::all_of(attention->getOperands(), isOurs)
                   ? ""
                   : "it joins tokens with others";
      })
      .Default([](Operation *) -> Why {
        return "it is not known to keep tokens apart";
      });
}

/// Gives `op` the tokens of a generation.
void TokenMerger::follow(Operation *op, unsigned generation) {
  Value result = op->getResult(0);
  if (!isCounted(result))
    return; // the first token, which is where it was
  Dims sizes = dimsAt(result, generation);
  MLIRContext *context = func.getContext();
  if (auto view = dyn_cast<ViewOp>(op))
    view.setDimsAttr(getDimsAttr(context, sizes));
  if (auto slice = dyn_cast<SliceOp>(op))
    slice.setDimsAttr(getDimsAttr(context, sizes));
  if (auto fused = dyn_cast<FusedOp>(op)) {
    int64_t loop = -1;
    (void)whyNotFused(fused, generation, loop);
    Dims domain = *parseDims(fused.getDomain());
    domain[loop] = steps[generation].tokens;
    fused.setDomainAttr(getDimsAttr(context, domain));
  }
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    builder.setInsertionPoint(op);
    attention.getBiasMutable().assign(weightsOf(generation, op->getLoc()));
    attention->setAttr(kMergedAttr, builder.getStringAttr(tokens.str()));
  }
  result.setType(getTensorType(sizes, getElementTypeOrSelf(result)));
  generations[result] = generation;
}

Value TokenMerger::weightsOf(unsigned generation, Location loc) {
  Generation &step = steps[generation];
  if (step.weights)
    return step.weights;
  Value log = LogOp::create(builder, loc, step.sizes.getType(), step.sizes);
  return step.weights =
             view(log, {step.batch, DimExpr(1), DimExpr(1), step.tokens}, loc);
}

Value TokenMerger::totalOf(unsigned generation, Location loc) {
  Generation &step = steps[generation];
  if (step.total)
    return step.total;
  if (generation == 1)
    return step.total = step.to;
  Value before = totalOf(generation - 1, loc);
  DimExpr batch = step.batch;
  Value numbers =
      view(step.to, {batch, steps[generation - 1].tokens, DimExpr(1)}, loc);
  Dims all = {batch, tokens, DimExpr(1)};
  Value found = UnmergeTokensOp::create(
      builder, loc, getTensorType(all, builder.getI32Type()), numbers, before);
  return step.total = view(found, {batch, tokens}, loc);
}

/// Gives `op` each token back, as what it became part of.
void TokenMerger::restore(Operation *op) {
  builder.setInsertionPoint(op);
  Location loc = op->getLoc();
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operand.get();
    unsigned generation = generationOf(value);
    if (generation == 0)
      continue;
    Value &full = restored[value];
    if (!full) {
      // dims knows the graph's own values as they were.
      Dims sizes(dimsOf(value)), now = sizes;
      now[1] = steps[generation].tokens;
      sizes[1] = tokens;
      auto inner = product(ArrayRef(sizes).drop_front(2));
      Value rows = value;
      if (sizes.size() != 3)
        rows = view(value, {now[0], now[1], inner}, loc);
      Dims all = {sizes[0], tokens, inner};
      full = UnmergeTokensOp::create(
          builder, loc, getTensorType(all, getElementTypeOrSelf(value)), rows,
          totalOf(generation, loc));
      if (sizes.size() != 3)
        full = view(full, sizes, loc);
      made[full.getAsOpaquePointer()] = sizes;
    }
    operand.set(full);
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
