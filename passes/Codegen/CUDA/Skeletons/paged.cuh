// paged.cuh - Attention of one token and head to pages
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A page of keys is [heads][D][64] and one of values [heads][64][Dv]. A warp
// has a token and a head: 32 keys at a time, a lane has a key's score, so that
// lanes read neighbours; then a lane has every 32nd element of the values.
// Blocks of 512 keys, at absolute positions, have sums of their own, which are
// added up in order: so it makes no difference who computed them.
#ifndef FERRITE_PAGED_CUH
#define FERRITE_PAGED_CUH

#include "ferrite/records.cuh"

namespace ferrite {

/// Sums over keys: each weight is e^(score - highest).
template <int DV>
struct PagedBlock {
  static constexpr int COUNT = (DV + 31) / 32;
  float highest, total, out[COUNT];

  FERRITE_DEVICE void begin(float least) {
    highest = least;
    total = least == -FERRITE_INFINITY ? 0.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      out[i] = 0;
  }
  FERRITE_DEVICE void add(const PagedBlock &next) {
    const float most = maximum(highest, next.highest);
    if (most == -FERRITE_INFINITY)
      return;
    const float mine = exp(highest - most), other = exp(next.highest - most);
    highest = most;
    total = fma(total, mine, next.total * other);
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      out[i] = fma(out[i], mine, next.out[i] * other);
  }
  /// A row that sees nothing is 0.
  template <class Store>
  FERRITE_DEVICE void finish(Store store) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      if (DV % 32 == 0 || lane() + 32 * i < DV)
        store(lane() + 32 * i, total == 0 ? 0.0f : out[i] / total);
  }
  /// The logarithm of the sum of all e^score.
  FERRITE_DEVICE float logSum() const {
    return total == 0 ? -FERRITE_INFINITY : highest + log(total);
  }
};

/// Where the token `own` of a run lies among those that a token with these
/// bits sees; without bits it sees all up to itself.
FERRITE_DEVICE i64 placeAmong(i64 mask, i64 context, i64 own) {
  if (mask == 0 || own <= 0)
    return context + own;
  const u64 below = own >= 64 ? ~0ull : (1ull << own) - 1;
  return context + countBits((u64)mask & below);
}

/// The run of `token`: the last that begins at it or before, and is not empty.
FERRITE_DEVICE i64 runOf(const int *begins, i64 runs, i64 token) {
  i64 low = 0, high = runs;
  while (high - low > 1) {
    const i64 middle = (low + high) / 2;
    if (begins[middle] <= token)
      low = middle;
    else
      high = middle;
  }
  return low;
}

template <int D, int DV, class K, class V, class Query, class Score, class Seen>
FERRITE_DEVICE void pagedBlock(PagedBlock<DV> &block, i64 begin, i64 end,
                               const int *table, const K *keys,
                               const V *values, int keyHeads, i64 keyHead,
                               Query query, Score score, Seen seen) {
  block.begin(-FERRITE_INFINITY);
  for (i64 first = begin; first < end; first += 32) {
    const i64 key = first + lane();
    const bool sees = key < end && seen(key);
    if (!anyOfWarp(sees))
      continue;
    const i64 page = table[first / 64];
    float z = -FERRITE_INFINITY;
    if (sees) {
      typedef PoolRow<K, D, 64> Row;
      const Row row(keys + (page * keyHeads + keyHead) * Row::WIDTH * 64 +
                    key % 64);
      float product = 0;
      for (int d = 0; d < D; ++d)
        product = fma(query(d), row(d), product);
      z = score(key, product);
    }
    const float most = maximum(block.highest, combineWarp(z, Largest()));
    if (most == -FERRITE_INFINITY)
      continue;
    const float shrink = exp(block.highest - most);
    const float weight = sees ? exp(z - most) : 0.0f;
    block.highest = most;
    block.total = fma(block.total, shrink, combineWarp(weight, Sum()));
#pragma unroll
    for (int i = 0; i < PagedBlock<DV>::COUNT; ++i)
      block.out[i] *= shrink;
    typedef PoolRow<V, DV, 1> Row;
    const V *rows = values + ((page * keyHeads + keyHead) * 64 + first % 64) *
                                 Row::WIDTH;
    for (int k = 0; k < 32 && first + k < end; ++k) {
      const float w = shuffle(weight, k);
      if (w == 0)
        continue;
      const Row row(rows + k * Row::WIDTH);
#pragma unroll
      for (int i = 0; i < PagedBlock<DV>::COUNT; ++i)
        if (DV % 32 == 0 || lane() + 32 * i < DV)
          block.out[i] = fma(w, row(lane() + 32 * i), block.out[i]);
    }
  }
}

/// Sums, maximum and total, as ferrite.paged_partials has them.
template <int DV>
FERRITE_DEVICE void writePartial(const PagedBlock<DV> &block, float *to) {
#pragma unroll
  for (int i = 0; i < PagedBlock<DV>::COUNT; ++i)
    if (DV % 32 == 0 || lane() + 32 * i < DV)
      to[lane() + 32 * i] = block.out[i];
  if (lane() == 0) {
    to[DV] = block.highest;
    to[DV + 1] = block.total;
  }
}
template <int DV>
FERRITE_DEVICE void readPartial(PagedBlock<DV> &block, const float *from) {
#pragma unroll
  for (int i = 0; i < PagedBlock<DV>::COUNT; ++i)
    block.out[i] =
        DV % 32 == 0 || lane() + 32 * i < DV ? from[lane() + 32 * i] : 0.0f;
  block.highest = from[DV];
  block.total = from[DV + 1];
}

} // namespace ferrite
#endif // FERRITE_PAGED_CUH
