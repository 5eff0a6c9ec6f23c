//===- BlockEstimate.cpp - What blocks of keys seem to get ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/BlockEstimate.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace ferrite::reference;

/// Group `group` of tokens from position `begin` on: one behind the other, the
/// last first with `reversed`, or their mean.
static std::vector<double> groupOf(llvm::ArrayRef<double> tokens, int64_t begin,
                                   int64_t group, const BlockEstimate &e,
                                   bool reversed) {
  std::vector<double> result(e.pooled ? e.size : e.stride * e.size);
  int64_t count = tokens.size() / e.size;
  for (int64_t t = 0; t < e.stride; ++t) {
    int64_t i = group * e.stride + t - begin;
    if (i < 0 || i >= count)
      continue;
    int64_t place = e.pooled ? 0 : reversed ? e.stride - 1 - t : t;
    for (int64_t d = 0; d < e.size; ++d)
      result[place * e.size + d] +=
          tokens[i * e.size + d] / (e.pooled ? double(e.stride) : 1);
  }
  return result;
}

std::vector<double>
BlockEstimate::shares(llvm::ArrayRef<double> queries, int64_t begin,
                      llvm::ArrayRef<double> keys,
                      const std::vector<bool> &counts) const {
  int64_t end = begin + queries.size() / size;
  int64_t keyCount = counts.size(), blocks = (keyCount + block - 1) / block;
  int64_t firstRow = begin / block, rows = (end + block - 1) / block - firstRow;
  int64_t keyGroups = (keyCount + stride - 1) / stride;
  std::vector<std::vector<double>> sides(keyGroups);
  std::vector<bool> isThere(keyGroups);
  for (int64_t c = 0; c < keyGroups; ++c) {
    sides[c] = groupOf(keys, 0, c, *this, /*reversed=*/false);
    for (int64_t j = c * stride; j < std::min(keyCount, (c + 1) * stride); ++j)
      isThere[c] = isThere[c] || counts[j];
  }
  std::vector<double> result(rows * blocks), scores(keyGroups);
  for (int64_t a = begin / stride; a * stride < end; ++a) {
    std::vector<double> group =
        groupOf(queries, begin, a, *this, /*reversed=*/true);
    double most = -INFINITY, sum = 0;
    for (int64_t c = 0; c < keyGroups; ++c) {
      bool isSeen = isThere[c] && (!causal || c <= a) &&
                    (left < 0 || (c + 1) * stride - 1 >= a * stride - left);
      double dot =
          std::inner_product(group.begin(), group.end(), sides[c].begin(), 0.0);
      double score = dot * scale / (pooled ? 1 : stride);
      if (softcap > 0)
        score = softcap * std::tanh(score / softcap);
      scores[c] = isSeen ? score : -INFINITY;
      most = std::max(most, scores[c]);
    }
    if (most == -INFINITY)
      continue;
    for (double &score : scores)
      sum += score = std::exp(score - most);
    double *row = &result[(a * stride / block - firstRow) * blocks];
    for (int64_t c = 0; c < keyGroups; ++c)
      row[c * stride / block] += scores[c] / sum;
  }
  return result;
}

std::vector<double>
ferrite::reference::sharesBefore(llvm::ArrayRef<double> shares, int64_t own) {
  std::vector<int64_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0);
  auto isForced = [&](int64_t j) { return j == 0 || j == own; };
  auto rank = [&](int64_t j) { return isForced(j) ? INFINITY : shares[j]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  std::vector<double> result(shares.size());
  double before = 0;
  for (int64_t j : order) {
    result[j] = isForced(j) ? -1 : before;
    before += shares[j];
  }
  return result;
}

std::vector<bool> ferrite::reference::keepBlocks(llvm::ArrayRef<double> shares,
                                                 int64_t own,
                                                 double threshold) {
  std::vector<bool> kept(shares.size(), true);
  if (threshold >= 1)
    return kept;
  double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (auto [j, before] : llvm::enumerate(sharesBefore(shares, own)))
    kept[j] = before < 0 || before < threshold * all;
  return kept;
}
