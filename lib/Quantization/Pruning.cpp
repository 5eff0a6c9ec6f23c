//===- Pruning.cpp - Weights that become zero -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Pruning.h"

#include "lib/Quantization/Gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace ferrite;

/// The k whose zeros are chosen at once where the numbers behind them change
/// with each: as many as the paper has.
static constexpr int64_t kRange = 128;

namespace {
/// A strip, k by k: panels of 16 columns.
class Strip {
public:
  Strip(const float *columns, int64_t count, int64_t depth)
      : count(count), depth(depth),
        panels((count + kErrorPanel - 1) / kErrorPanel),
        numbers(panels * depth * kErrorPanel, 0.0f) {
    for (int64_t n = 0; n < count; ++n)
      for (int64_t k = 0; k < depth; ++k)
        at(k, n) = columns[n * depth + k];
  }
  float &at(int64_t k, int64_t n) {
    return numbers[(n / kErrorPanel * depth + k) * kErrorPanel +
                   n % kErrorPanel];
  }
  float *panel(int64_t p) { return &numbers[p * depth * kErrorPanel]; }

  const int64_t count, depth, panels;

private:
  std::vector<float> numbers;
};
} // namespace

void ferrite::pruneStrip(float *columns, int64_t count, int64_t depth,
                         const PruneItem &item, const float *importance,
                         const double *factor) {
  Strip strip(columns, count, depth);
  const ZeroShape &shape = item.shape;
  bool isAlone = shape.isTwoOfFour || shape.columns == 1;
  // Columns that have zeros of their own, the k of a block, and those that
  // zeros are chosen from.
  int64_t width = isAlone ? 1 : count,
          block = shape.isTwoOfFour ? 1 : shape.depth,
          range = shape.isTwoOfFour ? 4
                  : factor          ? kRange
                                    : depth;
  std::vector<bool> isZero(depth * count, false);
  std::vector<int64_t> zeros(count, 0); ///< blocks of each group of columns
  std::vector<double> weight(depth, 1.0);
  for (int64_t k = 0; k < depth; ++k) {
    if (factor)
      weight[k] = 1 / (factor[k * depth + k] * factor[k * depth + k]);
    else if (importance)
      weight[k] = importance[k];
  }
  auto choose = [&](int64_t begin, int64_t end, int64_t column) {
    int64_t blocks = (end - begin + block - 1) / block;
    std::vector<double> scores(blocks, 0.0);
    for (int64_t k = begin; k < end; ++k)
      for (int64_t n = column; n < column + width; ++n)
        scores[(k - begin) / block] +=
            double(strip.at(k, n)) * strip.at(k, n) * weight[k];
    std::vector<int64_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return std::pair(scores[a], a) < std::pair(scores[b], b);
    });
    // As many as make the share of all blocks up to here, or one more.
    double wanted = item.share * double((end + block - 1) / block);
    int64_t more = int64_t(std::ceil(wanted - 1e-9)) - zeros[column];
    more = std::clamp<int64_t>(more, 0, blocks);
    zeros[column] += more;
    for (int64_t i = 0; i < more; ++i)
      for (int64_t k = begin + order[i] * block;
           k < std::min(end, begin + (order[i] + 1) * block); ++k)
        for (int64_t n = column; n < column + width; ++n)
          isZero[k * count + n] = true;
  };
  for (int64_t begin = 0; begin < depth; begin += range) {
    int64_t end = std::min(depth, begin + range);
    for (int64_t column = 0; column < count; column += width)
      choose(begin, end, column);
    for (int64_t k = begin; k < end; ++k)
      for (int64_t p = 0; p < strip.panels; ++p) {
        float off[kErrorPanel] = {};
        for (int64_t c = 0; c < kErrorPanel; ++c) {
          int64_t n = p * kErrorPanel + c;
          if (n >= count || !isZero[k * count + n])
            continue;
          float &number = strip.at(k, n);
          if (factor)
            off[c] = number / float(factor[k * depth + k]);
          number = 0;
        }
        if (factor)
          spreadError(strip.panel(p), factor + k * depth, off, k, depth);
      }
  }
  for (int64_t n = 0; n < count; ++n)
    for (int64_t k = 0; k < depth; ++k)
      columns[n * depth + k] = strip.at(k, n);
}
