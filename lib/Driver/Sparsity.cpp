//===- Sparsity.cpp - What is left out, in the report and its gate --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"
#include "lib/Driver/SparsifySearch.h"
#include "lib/Driver/Summary.h"

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/BlockLists.h"
#include "passes/Sparsity/DynamicLists.h"
#include "passes/Sparsity/MergeTokens.h"
#include "passes/Sparsity/WeightSpec.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ferrite;
using llvm::json::Array;
using llvm::json::Object;

static bool needsData(ArrayRef<SparsityItem> items) {
  return llvm::any_of(
      items, [](const SparsityItem &item) { return item.needsData(); });
}

/// Whether there are items that phases before sparsify do.
static bool hasEarlyItems(ArrayRef<SparsityItem> items) {
  return llvm::any_of(items, [](const SparsityItem &item) {
    return item.isOfDriver() || item.needsData();
  });
}

std::string ferrite::readSparsity(const FerriteCompileOptions &from,
                                  DriverOptions &to) {
  for (size_t i = 0; i < from.require_sparsity_count; ++i) {
    SparsityGate gate;
    gate.text = from.require_sparsity[i];
    StringRef wanted = gate.text;
    gate.isOfWeights = wanted.consume_front("weights:");
    if (!gate.isOfWeights)
      wanted.consume_front("attention:");
    if (wanted.getAsDouble(gate.least) || !(gate.least >= 0 && gate.least <= 1))
      return "--require-sparsity takes X, attention:X or weights:X with X from "
             "0 to 1, not '" +
             gate.text + "'";
    to.requireSparsity.push_back(std::move(gate));
  }
  if (!from.sparsify)
    return "";
  llvm::Expected<std::vector<SparsityItem>> items =
      parseSparsity(from.sparsify);
  if (!items)
    return llvm::toString(items.takeError());
  to.sparsify = std::move(*items);
  bool prunesByData =
      llvm::any_of(pruneItemsOf(to.sparsify),
                   [](const PruneItem &item) { return item.needsData(); });
  bool isNeeded = needsData(to.sparsify) || prunesByData;
  if (!isNeeded && llvm::none_of(to.sparsify, [](const SparsityItem &item) {
        return item.isDynamic() || isEstimated(item);
      }))
    return "";
  if (isNeeded && from.calib_count == 0)
    return "--sparsify: 'search', a threshold that is 'auto', or weights by "
           "wanda or sparsegpt, needs data: give batches of inputs with "
           "--calib=FILE.npz";
  to.calib.assign(from.calib, from.calib + from.calib_count);
  return "";
}

std::string ferrite::whyPastSparsity(const DriverOptions &options) {
  if (!options.compileFrom)
    return "";
  Phase from = *options.compileFrom;
  auto past = [&](StringRef option) {
    return "a dump of the phase '" + phaseName(from).str() + "' is past " +
           option.str();
  };
  if (from >= Phase::Sparsify &&
      !(options.sparsify.empty() && options.requireSparsity.empty()))
    return past("--sparsify and --require-sparsity");
  if (from >= Phase::Quantize && hasEarlyItems(options.sparsify))
    return past("--sparsify=search, weights and thresholds that are auto");
  if (from >= Phase::Quantize &&
      llvm::any_of(options.requireSparsity,
                   [](const SparsityGate &gate) { return gate.isOfWeights; }))
    return past("--require-sparsity=weights");
  return "";
}

/// In words: "causal, window of 512, 4 sinks, blocks of 64".
static std::string describe(AttentionOp op) {
  std::string text = op.getRight() == 0 ? "causal" : "all";
  auto add = [&](const Twine &part) { text += ", " + part.str(); };
  if (op.getLeft() >= 0)
    add("window of " +
        Twine(op.getLeft() + 1 + std::max<int64_t>(op.getRight(), 0)));
  if (op.getChunk() > 0)
    add("chunks of " + Twine(op.getChunk()));
  if (op.getAnchors() > 0)
    add(Twine(op.getAnchors()) + " sinks");
  if (SelectBlocksOp chosen = selectionOf(op))
    add("blocks of " + Twine(op.getBlock()) + " chosen by " +
        (chosen.getPooled() ? "means" : "antidiagonals") + " of " +
        Twine(chosen.getStride()));
  else if (op.hasBlocks())
    add((listsOf(op) ? "blocks of " : "blocks of data of ") +
        Twine(op.getBlock()));
  if (op.getQuerySegments())
    add("documents");
  if (op.getPrefix())
    add("a prefix");
  if (op.getLengths())
    add("lengths");
  if (op.getMask())
    add("a mask");
  return text;
}

/// What steps read of their pages, where they select, summaries included: these
/// have two numbers for each part of 16 tokens and number of a key, where keys
/// and values have 32.
static void recordSelections(func::FuncOp func, CompileRecord &record) {
  constexpr int64_t part = KvAppendOp::kPageTokens / SummarizePagesOp::kParts;
  for (auto [layer, op] : llvm::enumerate(func.getOps<PagedAttentionOp>())) {
    auto select = op.getSelected()
                      ? op.getSelected().getDefiningOp<SelectPagesOp>()
                      : SelectPagesOp();
    if (!select)
      continue;
    AttentionRecord row;
    row.entry = func.getName().str();
    row.node = nodeNames(op.getLoc());
    row.layer = layer;
    row.tokens = usualTokens(func, DimExpr::symbol("past"));
    if (op.getLeft() >= 0)
      row.tokens = std::min<int64_t>(row.tokens, op.getLeft() + 1);
    double share = select.getShare().convertToFloat();
    if (share == 0)
      share = std::min(1.0, double(select.getTokens()) / double(row.tokens));
    row.sees =
        llvm::formatv("of what a token sees the best {0} of tokens, by "
                      "{1}, in runs of at most {2}",
                      select.getTokens() ? std::to_string(select.getTokens())
                                         : llvm::formatv("{0:f3}", share).str(),
                      part, int64_t(PagedAttentionOp::kSelecting));
    int64_t heads =
        cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2);
    row.density.assign(heads, std::min(1.0, share + 1.0 / part));
    record.attentions.push_back(std::move(row));
  }
}

/// Of an attention over tokens that `all` merged to: what is left of the scores
/// of all.
static void recordMerged(int64_t all, AttentionRecord &row) {
  row.sees +=
      llvm::formatv(", {0} of {1} tokens, the others merged", row.tokens, all);
  double left = double(row.tokens) / double(std::max<int64_t>(all, 1));
  for (double &density : row.density)
    density *= left * left;
}

LogicalResult ferrite::recordAttentions(ModuleOp module,
                                        CompileRecord &record) {
  for (auto func : module.getOps<func::FuncOp>()) {
    recordSelections(func, record);
    SmallVector<AttentionOp> ops(func.getOps<AttentionOp>());
    if (ops.empty())
      continue;
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return failure();
    for (auto [layer, op] : llvm::enumerate(ops)) {
      AttentionRecord row;
      row.entry = func.getName().str();
      row.node = nodeNames(op.getLoc());
      row.layer = layer;
      row.sees = describe(op);
      std::optional<BlockLists> lists = listsOf(op);
      row.tokens = lists ? lists->rows() * lists->block
                         : usualTokens(func, dims->getDims(op.getKey())[1]);
      row.density = keptScores(op, row.tokens);
      if (auto before = op->getAttrOfType<StringAttr>(kMergedAttr))
        recordMerged(usualTokens(func, *DimExpr::parse(before)), row);
      if (SelectBlocksOp chosen = selectionOf(op)) {
        // Without data nothing is known to be left out.
        for (const SearchRecord &search : record.searches)
          if (search.entry == row.entry && search.layer == row.layer &&
              !search.density.empty())
            row.density = search.density;
        double stride = double(chosen.getStride());
        row.estimate = 1 / (2 * stride * (chosen.getPooled() ? stride : 1));
      }
      record.attentions.push_back(std::move(row));
    }
  }
  return success();
}

Array ferrite::describeAttentions(const CompileRecord &record) {
  Array result;
  result.reserve(record.attentions.size());
  for (const AttentionRecord &attention : record.attentions) {
    ArrayRef<double> heads = attention.density;
    double sum = 0;
    for (double density : heads)
      sum += density;
    double mean = sum / std::max<size_t>(heads.size(), 1);
    Object row{{"entry", attention.entry},   {"layer", attention.layer},
               {"node", attention.node},     {"sees", attention.sees},
               {"tokens", attention.tokens}, {"density", mean}};
    if (!llvm::all_equal(heads))
      row["heads"] = Array(heads);
    if (mean > 0 && mean < 1)
      row["predicted_gain"] = 1 / (mean + attention.estimate);
    for (const SearchRecord &search : record.searches)
      if (search.entry == attention.entry && search.layer == attention.layer) {
        if (!search.patterns.empty())
          row["patterns"] = Array(search.patterns);
        row["mass"] = Array(search.mass);
        // Of what is not retrained: the attention that is lost, where the
        // change of the result was not measured.
        std::vector<double> error = search.error;
        for (size_t h = error.size(); h < search.mass.size(); ++h)
          error.push_back(1 - search.mass[h]);
        row["estimated_error"] = Array(error);
        if (!search.thresholds.empty())
          row["thresholds"] = Array(search.thresholds);
      }
    result.push_back(std::move(row));
  }
  return result;
}

Array ferrite::describeZeros(const CompileRecord &record) {
  Array result;
  result.reserve(record.weights.size());
  for (const WeightRecord &weight : record.weights) {
    if (weight.zeros == 0)
      continue;
    Object blocks;
    for (const auto &[size, share] : weight.zeroBlocks)
      blocks[size] = share;
    Object seconds;
    for (const auto &[name, value] : weight.seconds)
      seconds[name] = value;
    result.push_back(Object{{"node", weight.node},
                            {"weight", weight.weight},
                            {"zeros", weight.zeros},
                            {"two_of_four", weight.isTwoOfFour},
                            {"zero_blocks", std::move(blocks)},
                            {"kernel", weight.kernel},
                            {"reason", weight.reason},
                            {"predicted", std::move(seconds)},
                            {"tuned", weight.isTuned}});
  }
  return result;
}

Array ferrite::describePruned(const CompileRecord &record) {
  Array result;
  result.reserve(record.pruned.size());
  for (const PruneRecord &row : record.pruned)
    result.push_back(Object{{"node", row.node},
                            {"weight", row.weight},
                            {"method", row.method},
                            {"blocks", row.blocks},
                            {"kept", row.kept},
                            {"error", row.error}});
  return result;
}

LogicalResult ferrite::checkSparsity(const DriverOptions &options,
                                     const CompileRecord &record,
                                     Location loc) {
  for (const SparsityGate &gate : options.requireSparsity) {
    if (gate.isOfWeights)
      continue; // that of checkZeros()
    double sum = 0, count = 0, densest = -1;
    const AttentionRecord *worst = nullptr;
    for (const AttentionRecord &row : record.attentions)
      for (double density : row.density) {
        sum += density;
        ++count;
        if (density > densest)
          worst = &row;
        densest = std::max(densest, density);
      }
    double leftOut = count > 0 ? 1 - sum / count : 0;
    if (leftOut >= gate.least)
      continue;
    std::string text =
        llvm::formatv("--require-sparsity={0}: attention leaves out {1:f3} of "
                      "its scores",
                      gate.text, leftOut);
    if (worst)
      text += llvm::formatv("; layer {0} keeps most, {1:f3} ({2}): {3}",
                            worst->layer, densest, worst->sees, worst->node);
    return emitError(loc) << text;
  }
  return success();
}
