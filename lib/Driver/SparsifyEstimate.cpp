//===- SparsifyEstimate.cpp - What given patterns keep of data ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A window or a pattern by name is asked for, whatever a model's attention
// gives the keys outside. With data the report says how much that is.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/SparsifySearch.h"
#include "passes/Sparsity/Candidates.h"

#include <map>
#include <mutex>

using namespace mlir;
using namespace ferrite;

bool ferrite::isEstimated(const SparsityItem &item) {
  switch (item.kind) {
  case SparsityItem::Kind::Window:
  case SparsityItem::Kind::BigBird:
  case SparsityItem::Kind::Longformer:
  case SparsityItem::Kind::Dilated:
  case SparsityItem::Kind::Strided:
    return true;
  default:
    return false;
  }
}

/// What a head keeps of the probabilities of its queries, some of each row of
/// blocks.
static double keptMass(const SparsityItem &item, const SearchedLayer &layer,
                       int64_t head, const HeadOfData &data) {
  AttentionOp op = layer.op;
  bool isCausal = op.getRight() == 0;
  bool isWindow = item.kind == SparsityItem::Kind::Window;
  int64_t rows = llvm::divideCeil(data.tokens, item.block);
  BlockLists lists;
  if (!isWindow)
    lists = makeLists(item, rows, layer.heads(), isCausal);
  int64_t reach = isCausal ? item.window - 1 : item.window / 2;
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t first = r * item.block,
            end = std::min(first + item.block, data.tokens);
    int64_t count = std::min(kSampled, end - first);
    // Those looked at stand for all of their row.
    double each = double(end - first) / double(count);
    for (int64_t s = 0; s < count; ++s) {
      int64_t i = first + (end - first) * s / count;
      QueryWeights seen = weightsOf(op, data, i);
      for (auto [at, weight] : llvm::enumerate(seen.weights)) {
        int64_t j = seen.from + at;
        bool isKept =
            isWindow ? std::abs(i - j) <= reach || j < item.sinks
                     : (item.tokens > 0 && first >= item.tokens) ||
                           llvm::is_contained(
                               lists.layouts[head % lists.layouts.size()][r],
                               j / item.block);
        sum += isKept ? each * weight : 0;
      }
    }
  }
  return data.tokens > 0 ? sum / double(data.tokens) : 1;
}

LogicalResult ferrite::estimateKept(ModuleOp module, const SparsityItem &item,
                                    const DriverOptions &options,
                                    CompileRecord &record, Location loc) {
  // By layer and head, of the sequence of which least is kept.
  std::map<size_t, std::vector<double>> least;
  std::mutex mutex;
  std::vector<SearchedLayer> layers;
  auto visit = [&](const SearchedLayer &layer, int64_t head,
                   const HeadOfData &data) {
    double mass = keptMass(item, layer, head, data);
    std::lock_guard<std::mutex> lock(mutex);
    auto &heads = least[layer.index];
    heads.resize(layer.heads(), 1);
    heads[head] = std::min(heads[head], mass);
  };
  if (failed(visitLayers(module, item, options, loc, whyNotMeasured, visit,
                         layers)))
    return failure();
  for (const SearchedLayer &layer : layers) {
    AttentionOp op = layer.op;
    SearchRecord row;
    row.entry = op->getParentOfType<func::FuncOp>().getName().str();
    row.layer = layer.number;
    row.mass = least[layer.index];
    record.searches.push_back(std::move(row));
  }
  return success();
}
