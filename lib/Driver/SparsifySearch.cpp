//===- SparsifySearch.cpp - Patterns of heads from data -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Queries and keys come from float code of the model on --calib, some layers at
// a time; what they give each block decides the pattern of a head. Masks that
// are data (padding) are taken to keep all.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/SparsifySearch.h"
#include "lib/Driver/Calibration.h"
#include "lib/Reference/Parallel.h"
#include "lib/Reference/Tensor.h"
#include "passes/Sparsity/Candidates.h"

#include <mutex>

using namespace mlir;
using namespace ferrite;

/// Layers whose queries and keys are outputs of one compilation.
static constexpr size_t kLayersAtOnce = 8;
/// Tokens of a batch: a mass has as many numbers as its blocks squared.
static constexpr int64_t kMostTokens = 1 << 15;

std::string ferrite::whyNotMeasured(AttentionOp op, DimAnalysis &dims) {
  if (op.getChunk() > 0 || op.getAnchors() > 0 || op.getPrefix())
    return "the search knows no chunks, sinks and prefixes";
  return whyNotSparse(op, dims);
}

/// What is looked at of an attention.
static SmallVector<Value> tapsOf(AttentionOp op) {
  SmallVector<Value> taps{op.getQuery(), op.getKey(), op.getValue()};
  if (op.getBias())
    taps.push_back(op.getBias());
  return taps;
}

namespace {
/// An output as floats, whatever it is stored as.
struct Floats {
  Floats(Type element, const FerriteTensor &tensor) : tensor(tensor) {
    if (element.isF32()) {
      data = static_cast<const float *>(tensor.data);
      return;
    }
    ArrayRef<int64_t> shape(tensor.shape, tensor.rank);
    auto from = reference::Tensor::borrow(*kindOf(element), shape, tensor.data);
    for (int64_t i = 0; i < from.count(); ++i)
      own.push_back(float(from.number(i)));
    data = own.data();
  }

  const FerriteTensor &tensor;
  std::vector<float> own;
  const float *data;
};
} // namespace

/// The heads of a batch of a layer.
static LogicalResult visitHeads(const SearchedLayer &layer,
                                ArrayRef<FerriteTensor> taps, unsigned threads,
                                Location loc, LayerVisitor visit) {
  const FerriteTensor &query = taps[0], &key = taps[1], &value = taps[2];
  int64_t tokens = query.shape[1], heads = query.shape[2],
          keyHeads = key.shape[2];
  if (query.rank != 4 || key.rank != 4 || key.shape[1] != tokens)
    return emitError(loc) << "--sparsify: the search takes data without a past";
  if (tokens > kMostTokens)
    return emitError(loc) << "--sparsify: the search takes " << kMostTokens
                          << " tokens a batch at most, not " << tokens;
  std::vector<Floats> floats;
  floats.reserve(taps.size());
  for (auto [tap, value] : llvm::zip(taps, tapsOf(layer.op)))
    floats.emplace_back(getElementTypeOrSelf(value), tap);
  auto at = [&](size_t tap, int64_t b, int64_t h) {
    const FerriteTensor &tensor = taps[tap];
    return floats[tap].data +
           (b * tokens * tensor.shape[2] + h) * tensor.shape[3];
  };
  // A dim of 1 repeats.
  auto setBias = [&](HeadOfData &data, int64_t b, int64_t h) {
    const int64_t *shape = taps[3].shape;
    int64_t strides[4] = {shape[1] * shape[2] * shape[3], shape[2] * shape[3],
                          shape[3], 1};
    for (int d = 0; d < 4; ++d)
      if (shape[d] == 1)
        strides[d] = 0;
    data.bias = floats[3].data + b * strides[0] + h * strides[1];
    data.biasQueryStride = strides[2];
    data.biasKeyStride = strides[3];
  };
  for (int64_t b = 0; b < query.shape[0]; ++b)
    reference::parallelFor(heads, threads, [&](int64_t h) {
      int64_t kh = h / (heads / keyHeads);
      HeadOfData data;
      data.queries = at(0, b, h);
      data.keys = at(1, b, kh);
      data.values = at(2, b, kh);
      if (taps.size() > 3)
        setBias(data, b, h);
      data.tokens = tokens;
      data.size = query.shape[3];
      data.queryStride = heads * data.size;
      data.keyStride = keyHeads * data.size;
      data.valueSize = value.shape[3];
      data.valueStride = keyHeads * data.valueSize;
      visit(layer, h, data);
    });
  return success();
}

static LogicalResult measure(ArrayRef<SearchedLayer> layers,
                             ArrayRef<Batch> batches,
                             const DriverOptions &options, Location loc,
                             LayerVisitor visit) {
  SmallVector<Value> taps;
  for (const SearchedLayer &layer : layers)
    llvm::append_range(taps, tapsOf(layer.op));
  auto func = layers[0].op->getParentOfType<func::FuncOp>();
  OwningOpRef<ModuleOp> copy = copyWithResults(func, taps, batches);
  auto artifact = FloatArtifact::make(*copy, options, loc);
  if (failed(artifact))
    return failure();
  for (const Batch &batch : batches) {
    if (failed((*artifact)->run(batch)))
      return failure();
    size_t next = 0;
    for (const SearchedLayer &layer : layers) {
      SmallVector<FerriteTensor> outputs;
      for (size_t end = next + tapsOf(layer.op).size(); next < end; ++next) {
        FailureOr<FerriteTensor> output = (*artifact)->output(next);
        if (failed(output))
          return failure();
        outputs.push_back(*output);
      }
      if (failed(visitHeads(layer, outputs, options.threads, loc, visit)))
        return failure();
    }
  }
  return success();
}

LogicalResult ferrite::visitLayers(ModuleOp module, const SparsityItem &item,
                                   const DriverOptions &options, Location loc,
                                   WhyNot whyNot, LayerVisitor visit,
                                   std::vector<SearchedLayer> &layers) {
  func::FuncOp func = findEntry(module, options.calib);
  if (!func)
    return emitError(loc) << "--sparsify: no entry takes what --calib has";
  FailureOr<std::vector<Batch>> batches =
      makeBatches(func, options.calib, "--calib", loc);
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(batches) || failed(dims))
    return failure();
  int64_t number = 0;
  for (auto op : func.getOps<AttentionOp>()) {
    if (!item.layers.has(number++))
      continue;
    std::string why = whyNot(op, *dims);
    if (why.empty())
      layers.push_back({op, number - 1, layers.size()});
    else
      reportItem(op, "search", item.text, why);
  }
  if (failed(checkItem(loc, item, number, !layers.empty())))
    return failure();
  for (size_t begin = 0; begin < layers.size(); begin += kLayersAtOnce)
    if (failed(
            measure(ArrayRef(layers).slice(
                        begin, std::min(kLayersAtOnce, layers.size() - begin)),
                    *batches, options, loc, visit)))
      return failure();
  return success();
}

/// Gives the heads of `layer` the patterns that their masses ask for.
static SearchRecord choose(const SparsityItem &item, SearchedLayer layer,
                           ArrayRef<std::vector<BlockMass>> heads) {
  bool isCausal = layer.op.getRight() == 0;
  BlockLists lists;
  lists.block = item.block;
  SearchRecord row;
  row.entry = layer.op->getParentOfType<func::FuncOp>().getName().str();
  row.layer = layer.number;
  for (auto [h, masses] : llvm::enumerate(heads)) {
    // One for which nothing is asked, keeps all that there is.
    double least = item.heads.has(h) ? item.mass : 2;
    FoundPattern found = searchPattern(masses, isCausal, least);
    lists.layouts.push_back(std::move(found.rows));
    row.patterns.push_back(found.name);
    row.mass.push_back(found.mass);
  }
  setLists(layer.op, lists);
  reportItem(layer.op, "search", item.text, "");
  return row;
}

static LogicalResult search(ModuleOp module, const SparsityItem &item,
                            const DriverOptions &options, CompileRecord &record,
                            Location loc) {
  // By layer and head, in order of batches.
  std::map<size_t, std::vector<std::vector<BlockMass>>> found;
  std::mutex mutex;
  std::vector<SearchedLayer> layers;
  auto visit = [&](const SearchedLayer &layer, int64_t head,
                   const HeadOfData &data) {
    BlockMass mass = measureMass(layer.op, data, item.block, kSampled);
    std::lock_guard<std::mutex> lock(mutex);
    auto &heads = found[layer.index];
    if (heads.empty())
      heads.resize(layer.heads());
    heads[head].push_back(std::move(mass));
  };
  if (failed(visitLayers(module, item, options, loc, whyNotMeasured, visit,
                         layers)))
    return failure();
  for (const SearchedLayer &layer : layers)
    record.searches.push_back(choose(item, layer, found[layer.index]));
  return success();
}

LogicalResult ferrite::searchPatterns(ModuleOp module,
                                      const DriverOptions &options,
                                      CompileRecord &record, Location loc) {
  for (const SparsityItem &item : options.sparsify) {
    if (item.kind == SparsityItem::Kind::Search &&
        failed(search(module, item, options, record, loc)))
      return failure();
    if (item.isDynamic() && !options.calib.empty() &&
        failed(searchThresholds(module, item, options, record, loc)))
      return failure();
    // Data of --quantize may be of another entry, or have a past.
    if (isEstimated(item) && !options.calib.empty() &&
        options.quantize.empty() &&
        failed(estimateKept(module, item, options, record, loc)))
      return failure();
  }
  return success();
}
