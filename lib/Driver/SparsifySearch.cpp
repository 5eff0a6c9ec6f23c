//===- SparsifySearch.cpp - Patterns of heads from data -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Queries and keys come from float code of the model on --calib, some layers at
// a time; what they give each block decides the pattern of a head. Masks that
// are data (padding) are taken to keep all.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Calibration.h"
#include "lib/Driver/PatternSearch.h"
#include "lib/Reference/Parallel.h"
#include "passes/Sparsity/Candidates.h"

using namespace mlir;
using namespace ferrite;

/// Layers whose queries and keys are outputs of one compilation.
static constexpr size_t kLayersAtOnce = 8;
/// Queries of a row of blocks that are looked at.
static constexpr int64_t kSampled = 8;
/// Tokens of a batch: a mass has as many numbers as its blocks squared.
static constexpr int64_t kMostTokens = 1 << 15;

static std::string whyNot(AttentionOp op, DimAnalysis &dims) {
  if (!getElementTypeOrSelf(op.getQuery()).isF32() ||
      !getElementTypeOrSelf(op.getKey()).isF32() ||
      !getElementTypeOrSelf(op.getValue()).isF32())
    return "the search reads f32 alone";
  if (op.getBias() || op.getChunk() > 0 || op.getAnchors() > 0 ||
      op.getPrefix())
    return "the search knows no bias, chunks, sinks and prefixes";
  return whyNotSparse(op, dims);
}

namespace {
class SparsifySearch {
public:
  SparsifySearch(const SparsityItem &item, const DriverOptions &options,
                 CompileRecord &record, Location loc)
      : item(item), options(options), record(record), loc(loc) {}

  LogicalResult run(ModuleOp module);

private:
  struct Layer {
    AttentionOp op;
    int64_t number;
    std::vector<std::vector<BlockMass>> heads; ///< by head, then batch
  };
  LogicalResult measure(func::FuncOp func, MutableArrayRef<Layer> layers,
                        ArrayRef<Batch> batches);
  LogicalResult add(Layer &layer, const FerriteTensor &query,
                    const FerriteTensor &key);
  void choose(func::FuncOp func, Layer &layer);

  const SparsityItem &item;
  const DriverOptions &options;
  CompileRecord &record;
  Location loc;
};
} // namespace

LogicalResult SparsifySearch::add(Layer &layer, const FerriteTensor &query,
                                  const FerriteTensor &key) {
  int64_t tokens = query.shape[1], heads = query.shape[2],
          keyHeads = key.shape[2], size = query.shape[3];
  if (query.rank != 4 || key.rank != 4 || key.shape[1] != tokens)
    return emitError(layer.op.getLoc())
           << "--sparsify: the search takes data without a past";
  if (tokens > kMostTokens)
    return emitError(loc) << "--sparsify: the search takes " << kMostTokens
                          << " tokens a batch at most, not " << tokens;
  layer.heads.resize(heads);
  for (int64_t b = 0; b < query.shape[0]; ++b) {
    std::vector<BlockMass> found(heads);
    reference::parallelFor(heads, options.threads, [&](int64_t h) {
      HeadOfData data;
      data.queries = static_cast<const float *>(query.data) +
                     (b * tokens * heads + h) * size;
      data.keys = static_cast<const float *>(key.data) +
                  (b * tokens * keyHeads + h / (heads / keyHeads)) * size;
      data.tokens = tokens;
      data.size = size;
      data.queryStride = heads * size;
      data.keyStride = keyHeads * size;
      found[h] = measureMass(layer.op, data, item.block, kSampled);
    });
    for (int64_t h = 0; h < heads; ++h)
      layer.heads[h].push_back(std::move(found[h]));
  }
  return success();
}

LogicalResult SparsifySearch::measure(func::FuncOp func,
                                      MutableArrayRef<Layer> layers,
                                      ArrayRef<Batch> batches) {
  SmallVector<Value> taps;
  for (Layer &layer : layers)
    for (Value value : {layer.op.getQuery(), layer.op.getKey()})
      taps.push_back(value);
  OwningOpRef<ModuleOp> copy = copyWithResults(func, taps, batches);
  auto artifact = FloatArtifact::make(*copy, options, loc);
  if (failed(artifact))
    return failure();
  for (const Batch &batch : batches) {
    if (failed((*artifact)->run(batch)))
      return failure();
    for (auto [i, layer] : llvm::enumerate(layers)) {
      FailureOr<FerriteTensor> query = (*artifact)->output(2 * i),
                               key = (*artifact)->output(2 * i + 1);
      if (failed(query) || failed(key) || failed(add(layer, *query, *key)))
        return failure();
    }
  }
  return success();
}

void SparsifySearch::choose(func::FuncOp func, Layer &layer) {
  bool isCausal = layer.op.getRight() == 0;
  BlockLists lists;
  lists.block = item.block;
  SearchRecord row;
  row.entry = func.getName().str();
  row.layer = layer.number;
  for (auto [h, masses] : llvm::enumerate(layer.heads)) {
    // One for which nothing is asked, keeps all that there is.
    double least = item.heads.has(h) ? item.mass : 2;
    FoundPattern found = searchPattern(masses, isCausal, least);
    lists.layouts.push_back(std::move(found.rows));
    row.patterns.push_back(found.name);
    row.mass.push_back(found.mass);
  }
  setLists(layer.op, lists);
  reportItem(layer.op, "search", item.text, "");
  record.searches.push_back(std::move(row));
}

LogicalResult SparsifySearch::run(ModuleOp module) {
  func::FuncOp func = findEntry(module, options.calib);
  if (!func)
    return emitError(loc) << "--sparsify: no entry takes what --calib has";
  FailureOr<std::vector<Batch>> batches =
      makeBatches(func, options.calib, "--calib", loc);
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(batches) || failed(dims))
    return failure();
  std::vector<Layer> layers;
  int64_t number = 0;
  for (auto op : func.getOps<AttentionOp>()) {
    if (!item.layers.has(number++))
      continue;
    std::string why = whyNot(op, *dims);
    if (why.empty())
      layers.push_back({op, number - 1, {}});
    else
      reportItem(op, "search", item.text, why);
  }
  if (failed(checkItem(loc, item, number, !layers.empty())))
    return failure();
  for (size_t begin = 0; begin < layers.size(); begin += kLayersAtOnce) {
    MutableArrayRef<Layer> some = MutableArrayRef(layers).slice(
        begin, std::min(kLayersAtOnce, layers.size() - begin));
    if (failed(measure(func, some, *batches)))
      return failure();
    for (Layer &layer : some)
      choose(func, layer);
  }
  return success();
}

LogicalResult ferrite::searchPatterns(ModuleOp module,
                                      const DriverOptions &options,
                                      CompileRecord &record, Location loc) {
  for (const SparsityItem &item : options.sparsify)
    if (item.kind == SparsityItem::Kind::Search &&
        failed(SparsifySearch(item, options, record, loc).run(module)))
      return failure();
  return success();
}
