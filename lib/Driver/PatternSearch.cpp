//===- PatternSearch.cpp - Which blocks each head needs -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The families of MInference (Jiang et al., arXiv 2407.02490) and Sparse-vDiT
// (Chen et al., arXiv 2506.03065), at the granularity of blocks.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/PatternSearch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ferrite;

QueryWeights ferrite::weightsOf(AttentionOp op, const HeadOfData &data,
                                int64_t i) {
  double scale = op.getScale().convertToFloat(),
         softcap = op.getSoftcap().convertToFloat();
  int64_t left = op.getLeft(), right = op.getRight();
  QueryWeights result;
  result.from = left < 0 ? 0 : std::max<int64_t>(0, i - left);
  int64_t to = right < 0 ? data.tokens : std::min(data.tokens, i + right + 1);
  double most = -INFINITY, sum = 0;
  const float *query = data.queries + i * data.queryStride;
  for (int64_t j = result.from; j < to; ++j) {
    const float *key = data.keys + j * data.keyStride;
    double dot = 0;
    for (int64_t d = 0; d < data.size; ++d)
      dot += double(query[d]) * key[d];
    dot *= scale;
    if (softcap > 0)
      dot = softcap * std::tanh(dot / softcap);
    if (data.bias)
      dot += data.bias[i * data.biasQueryStride + j * data.biasKeyStride];
    result.weights.push_back(dot);
    most = std::max(most, dot);
  }
  if (most == -INFINITY) { // a bias that drops all
    result.weights.clear();
    return result;
  }
  for (double &weight : result.weights)
    sum += weight = std::exp(weight - most);
  for (double &weight : result.weights)
    weight /= sum;
  return result;
}

BlockMass ferrite::measureMass(AttentionOp op, const HeadOfData &data,
                               int64_t block, int64_t sampled) {
  BlockMass result;
  result.rows = llvm::divideCeil(data.tokens, block);
  result.mass.assign(result.rows * result.rows, 0);
  for (int64_t r = 0; r < result.rows; ++r) {
    int64_t first = r * block, end = std::min(first + block, data.tokens);
    int64_t count = std::min(sampled, end - first);
    for (int64_t s = 0; s < count; ++s) {
      QueryWeights seen =
          weightsOf(op, data, first + (end - first) * s / count);
      for (auto [j, weight] : llvm::enumerate(seen.weights))
        result.mass[r * result.rows + (seen.from + j) / block] +=
            weight / count;
    }
  }
  return result;
}

namespace {
/// Tries patterns against one head's data.
class PatternTrial {
public:
  PatternTrial(ArrayRef<BlockMass> data, bool isCausal, double least)
      : data(data), isCausal(isCausal), least(least) {
    for (const BlockMass &each : data)
      rows = std::max(rows, each.rows);
  }

  FoundPattern run() {
    offer(make("all", [](int64_t, int64_t) { return true; }));
    tryCorners();
    tryLines();
    tryBlocks();
    return std::move(best);
  }

private:
  bool isSeen(int64_t r, int64_t c) const { return !isCausal || c <= r; }

  template <typename Keeps>
  FoundPattern make(std::string name, Keeps keeps) const {
    FoundPattern pattern;
    pattern.name = std::move(name);
    pattern.rows.resize(rows);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < rows; ++c)
        // The diagonal always: a row without a block is none.
        if (isSeen(r, c) && (c == r || keeps(r, c)))
          pattern.rows[r].push_back(c);
    for (const auto &row : pattern.rows)
      pattern.kept += row.size();
    pattern.mass = 1;
    for (const BlockMass &each : data) {
      double sum = 0;
      for (int64_t r = 0; r < each.rows; ++r)
        for (int32_t c : pattern.rows[r])
          if (c < each.rows)
            sum += each.at(r, c);
      pattern.mass = std::min(pattern.mass, sum / each.rows);
    }
    return pattern;
  }

  /// Keeps the smaller one, if it keeps enough.
  bool offer(FoundPattern pattern, double handicap = 1) {
    bool isEnough = pattern.mass >= least || best.rows.empty();
    if (isEnough && (best.rows.empty() || pattern.kept * handicap < best.kept))
      best = std::move(pattern);
    return isEnough;
  }

  /// The first of [low, high] whose pattern keeps enough, as larger ones keep
  /// more; `high` if none does.
  template <typename Of>
  FoundPattern smallest(int64_t low, int64_t high, Of of) {
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (of(middle).mass >= least)
        high = middle;
      else
        low = middle + 1;
    }
    return of(low);
  }

  void tryCorners() {
    for (int64_t global : {0, 1, 2, 4, 8}) {
      auto corners = [&](int64_t local) {
        return make("a-shape " + std::to_string(global) + "+" +
                        std::to_string(local),
                    [&](int64_t r, int64_t c) {
                      return c < global || std::abs(r - c) < local;
                    });
      };
      offer(smallest(1, rows, corners));
    }
  }

  /// Columns and diagonals by the mass that each of their blocks has.
  void tryLines() {
    struct Line {
      bool isColumn;
      int64_t at;
      double mass = 0;
      int64_t blocks = 0;
    };
    std::vector<Line> lines;
    for (int64_t c = 0; c < rows; ++c)
      lines.push_back({true, c});
    int64_t columns = rows;
    for (int64_t away = isCausal ? 0 : 1 - rows; away < rows; ++away)
      lines.push_back({false, away});
    for (const BlockMass &each : data)
      for (int64_t r = 0; r < each.rows; ++r)
        for (int64_t c = 0; c < each.rows; ++c) {
          if (!isSeen(r, c))
            continue;
          Line &diagonal = lines[columns + r - c + (isCausal ? 0 : rows - 1)];
          for (Line *line : {&lines[c], &diagonal}) {
            line->mass += each.at(r, c);
            ++line->blocks;
          }
        }
    llvm::stable_sort(lines, [](const Line &a, const Line &b) {
      return a.mass * std::max<int64_t>(b.blocks, 1) >
             b.mass * std::max<int64_t>(a.blocks, 1);
    });
    auto first = [&](int64_t count) {
      std::vector<bool> column(rows), diagonal(2 * rows);
      int64_t ofColumns = 0;
      for (int64_t i = 0; i < count; ++i) {
        ofColumns += lines[i].isColumn;
        (lines[i].isColumn ? column[lines[i].at]
                           : diagonal[lines[i].at + rows]) = true;
      }
      return make("vertical-slash " + std::to_string(ofColumns) + "+" +
                      std::to_string(count - ofColumns),
                  [&](int64_t r, int64_t c) {
                    return column[c] || diagonal[r - c + rows];
                  });
    };
    offer(smallest(0, lines.size(), first));
  }

  /// The heaviest of each row, until each row has its share.
  void tryBlocks() {
    BlockMass mean;
    mean.rows = rows;
    mean.mass.assign(rows * rows, 0);
    for (const BlockMass &each : data)
      for (int64_t r = 0; r < each.rows; ++r)
        for (int64_t c = 0; c < each.rows; ++c)
          mean.mass[r * rows + c] += each.at(r, c);
    std::vector<bool> kept(rows * rows);
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<int32_t> order(rows);
      std::iota(order.begin(), order.end(), 0);
      llvm::stable_sort(order, [&](int32_t a, int32_t b) {
        return mean.at(r, a) > mean.at(r, b);
      });
      double sum = 0, all = 0;
      for (int64_t c = 0; c < rows; ++c)
        all += mean.at(r, c);
      for (int32_t c : order) {
        if (sum >= least * all)
          break;
        kept[r * rows + c] = true;
        sum += mean.at(r, c);
      }
    }
    offer(make("blocks",
               [&](int64_t r, int64_t c) { return kept[r * rows + c]; }),
          /*handicap=*/1.1);
  }

  ArrayRef<BlockMass> data;
  bool isCausal;
  double least;
  int64_t rows = 0;
  FoundPattern best;
};
} // namespace

FoundPattern ferrite::searchPattern(ArrayRef<BlockMass> data, bool isCausal,
                                    double least) {
  return PatternTrial(data, isCausal, least).run();
}
