//===- SparsifyThresholds.cpp - Thresholds of heads from data -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A head's curve says, for thresholds from none to all, how many blocks it
// keeps of the data, which share of attention they hold, and how far its result
// moves, at some queries of each row. With a mass each head takes the lowest
// threshold that holds it. With a density all heads share one price of a block,
// and each takes the threshold that costs least, blocks and error together: no
// other choice of as many blocks has less error (up to the steps of the curve).
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/SparsifySearch.h"
#include "lib/Reference/BlockEstimate.h"
#include "passes/Sparsity/Candidates.h"
#include "passes/Sparsity/DynamicLists.h"

#include "llvm/Support/FormatVariadic.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ferrite;

/// Steps of a curve: thresholds of 1 - 10^(-i / 10), then one that keeps all.
static constexpr int kSteps = 41;
static constexpr double kAll = 2;

static std::vector<double> thresholdsFor(const SparsityItem &item) {
  if (item.threshold > 0)
    return {item.threshold, kAll};
  std::vector<double> thresholds;
  for (int i = 0; i < kSteps; ++i)
    thresholds.push_back(1 - std::pow(10.0, -i / 10.0));
  thresholds.push_back(kAll);
  return thresholds;
}

namespace {
/// Of a head, by step: sums over rows, or over queries.
struct Curve {
  std::vector<double> kept, mass, error;
  double seen = 0, queries = 0, power = 0;

  double density(size_t step) const { return kept[step] / seen; }
  double massOf(size_t step) const { return mass[step] / queries; }
  double errorOf(size_t step) const {
    return power > 0 ? std::sqrt(error[step] / power) : 0;
  }
};

/// Adds a sequence to a head's curve.
class CurveBuilder {
public:
  CurveBuilder(const SparsityItem &item, ArrayRef<double> thresholds,
               AttentionOp op, const HeadOfData &data, Curve &curve)
      : item(item), thresholds(thresholds), op(op), data(data), curve(curve) {}

  void run();

private:
  void addRow(int64_t row, ArrayRef<double> shares);
  void addQuery(int64_t query, ArrayRef<double> before, double all);

  const SparsityItem &item;
  ArrayRef<double> thresholds;
  AttentionOp op;
  const HeadOfData &data;
  Curve &curve;
};
} // namespace

void CurveBuilder::run() {
  for (auto *part : {&curve.kept, &curve.mass, &curve.error})
    part->resize(thresholds.size());
  reference::BlockEstimate estimate;
  estimate.scale = op.getScale().convertToFloat() / item.norm;
  estimate.softcap = op.getSoftcap().convertToFloat();
  estimate.block = item.block;
  estimate.stride = item.stride;
  estimate.left = op.getLeft();
  estimate.causal = op.getRight() == 0;
  estimate.pooled = item.kind == SparsityItem::Kind::Pooled;
  estimate.size = data.size;
  std::vector<double> queries, keys;
  for (int64_t i = 0; i < data.tokens; ++i) {
    const float *query = data.queries + i * data.queryStride,
                *key = data.keys + i * data.keyStride;
    queries.insert(queries.end(), query, query + data.size);
    keys.insert(keys.end(), key, key + data.size);
  }
  std::vector<double> shares =
      estimate.shares(queries, 0, keys, std::vector<bool>(data.tokens, true));
  int64_t rows = llvm::divideCeil(data.tokens, item.block);
  for (int64_t row = 0; row < rows; ++row)
    addRow(row, ArrayRef(shares).slice(row * rows,
                                       estimate.causal ? row + 1 : rows));
}

void CurveBuilder::addRow(int64_t row, ArrayRef<double> shares) {
  std::vector<double> before = reference::sharesBefore(shares, row);
  double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  curve.seen += shares.size();
  for (auto [g, threshold] : llvm::enumerate(thresholds))
    for (double each : before)
      curve.kept[g] += each < threshold * all;
  int64_t first = row * item.block,
          end = std::min(first + item.block, data.tokens);
  int64_t count = std::min(kSampled, end - first);
  for (int64_t s = 0; s < count; ++s)
    addQuery(first + (end - first) * s / count, before, all);
}

void CurveBuilder::addQuery(int64_t query, ArrayRef<double> before,
                            double all) {
  QueryWeights seen = weightsOf(op, data, query);
  int64_t size = data.valueSize;
  // What each block gives the result.
  std::vector<double> sums(before.size() * size), weights(before.size());
  for (auto [i, weight] : llvm::enumerate(seen.weights)) {
    int64_t key = seen.from + i, block = key / item.block;
    const float *value = data.values + key * data.valueStride;
    weights[block] += weight;
    for (int64_t d = 0; d < size; ++d)
      sums[block * size + d] += weight * value[d];
  }
  std::vector<double> whole(size), part(size);
  for (size_t b = 0; b < before.size(); ++b)
    for (int64_t d = 0; d < size; ++d)
      whole[d] += sums[b * size + d];
  curve.power +=
      std::inner_product(whole.begin(), whole.end(), whole.begin(), 0.0);
  curve.queries += 1;
  for (auto [g, threshold] : llvm::enumerate(thresholds)) {
    std::fill(part.begin(), part.end(), 0.0);
    double mass = 0;
    for (size_t b = 0; b < before.size(); ++b) {
      if (before[b] >= threshold * all)
        continue;
      mass += weights[b];
      for (int64_t d = 0; d < size; ++d)
        part[d] += sums[b * size + d];
    }
    curve.mass[g] += mass;
    for (int64_t d = 0; d < size && mass > 0; ++d)
      curve.error[g] += std::pow(part[d] / mass - whole[d], 2);
  }
}

namespace {
struct HeadChoice {
  const Curve *curve;
  /// What errors of the layer are measured by.
  double power = 0;
  size_t step = 0;
};
} // namespace

/// The lowest threshold that keeps so much of attention.
static void chooseByMass(MutableArrayRef<HeadChoice> heads, double mass) {
  for (HeadChoice &head : heads) {
    size_t last = head.curve->mass.size() - 1;
    while (head.step < last && head.curve->massOf(head.step) < mass)
      ++head.step;
  }
}

/// What all heads together keep when a block costs `price`.
static double chooseAtPrice(MutableArrayRef<HeadChoice> heads, double price) {
  double kept = 0, seen = 0;
  for (HeadChoice &head : heads) {
    double least = INFINITY;
    for (size_t step = 0; step < head.curve->kept.size(); ++step) {
      double cost = head.curve->error[step] / head.power +
                    price * head.curve->density(step);
      if (cost >= least)
        continue;
      least = cost;
      head.step = step;
    }
    kept += head.curve->kept[head.step];
    seen += head.curve->seen;
  }
  return kept / seen;
}

static void chooseByDensity(MutableArrayRef<HeadChoice> heads, double density) {
  // Of prices from so low that all is kept to so high that nothing is.
  double low = -40, high = 40;
  for (int i = 0; i < 60; ++i) {
    double middle = (low + high) / 2;
    (chooseAtPrice(heads, std::exp(middle)) > density ? low : high) = middle;
  }
  chooseAtPrice(heads, std::exp(high));
}

/// Tells all entries of the model what was found for a layer.
static void setThresholds(ModuleOp module, int64_t layer,
                          ArrayRef<float> found) {
  auto attr = DenseF32ArrayAttr::get(module.getContext(), found);
  for (auto func : module.getOps<func::FuncOp>()) {
    auto set = [&](auto ops) {
      int64_t number = 0;
      for (auto op : ops)
        if (number++ == layer &&
            cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2) ==
                int64_t(found.size()))
          op->setAttr(kThresholdsAttr, attr);
    };
    set(func.getOps<AttentionOp>());
    set(func.getOps<PagedAttentionOp>());
  }
}

LogicalResult ferrite::searchThresholds(ModuleOp module,
                                        const SparsityItem &item,
                                        const DriverOptions &options,
                                        CompileRecord &record, Location loc) {
  std::vector<double> thresholds = thresholdsFor(item);
  std::vector<SearchedLayer> layers;
  // Heads come at the same time: each has its own curve from the beginning.
  int64_t most = 0;
  module.walk([&](AttentionOp op) {
    most = std::max(
        most, cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2));
  });
  std::vector<std::vector<Curve>> curves;
  auto whyNot = [&](AttentionOp op, DimAnalysis &dims) -> std::string {
    std::string why = whyNotMeasured(op, dims);
    why = why.empty() ? whyNotDynamic(op) : why;
    if (why.empty())
      curves.emplace_back(most);
    return why;
  };
  auto visit = [&](const SearchedLayer &layer, int64_t head,
                   const HeadOfData &data) {
    CurveBuilder(item, thresholds, layer.op, data, curves[layer.index][head])
        .run();
  };
  if (failed(visitLayers(module, item, options, loc, whyNot, visit, layers)))
    return failure();
  std::vector<HeadChoice> heads;
  for (const SearchedLayer &layer : layers) {
    double power = 0;
    for (int64_t h = 0; h < layer.heads(); ++h)
      power += curves[layer.index][h].power;
    for (int64_t h = 0; h < layer.heads(); ++h)
      if (item.heads.has(h))
        heads.push_back({&curves[layer.index][h], power > 0 ? power : 1});
  }
  if (item.threshold == 0 && item.density > 0)
    chooseByDensity(heads, item.density);
  else if (item.threshold == 0)
    chooseByMass(heads, item.mass);
  auto next = heads.begin();
  for (const SearchedLayer &layer : layers) {
    SearchRecord row;
    AttentionOp op = layer.op;
    row.entry = op->getParentOfType<func::FuncOp>().getName().str();
    row.layer = layer.number;
    std::vector<float> found;
    for (int64_t h = 0; h < layer.heads(); ++h) {
      size_t step = item.heads.has(h) ? (next++)->step : thresholds.size() - 1;
      const Curve &curve = curves[layer.index][h];
      found.push_back(float(thresholds[step]));
      row.patterns.push_back(
          thresholds[step] >= 1
              ? "all"
              : llvm::formatv("{0} {1:f4}",
                              item.kind == SparsityItem::Kind::Pooled
                                  ? "pooled"
                                  : "xattention",
                              thresholds[step])
                    .str());
      row.thresholds.push_back(thresholds[step]);
      row.density.push_back(curve.density(step));
      row.mass.push_back(curve.massOf(step));
      row.error.push_back(curve.errorOf(step));
    }
    if (item.threshold == 0)
      setThresholds(module, layer.number, found);
    reportItem(op, "search", item.text, "");
    record.searches.push_back(std::move(row));
  }
  return success();
}
