// attention.cuh - Attention by fused multiply-adds
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// For f32, and for sizes of heads that tensor cores do not take. A block of 256
// threads has ROWS rows (a row is a query of one head) and walks the keys KEYS
// at a time, with the online softmax of Dao (arXiv 2307.08691). 8 lanes share a
// row: each has KEYS / 8 scores and every 8th element of the result. Blocks of
// keys begin at multiples of KEYS, so the bits of a row depend on it alone.
#ifndef FERRITE_ATTENTION_CUH
#define FERRITE_ATTENTION_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

template <class T>
FERRITE_DEVICE T combineEight(T v, bool largest) {
  for (int mask = 4; mask > 0; mask >>= 1) {
    T other = shuffleXor(v, mask);
    v = largest ? (v > other || v != v ? v : other) : v + other;
  }
  return v;
}

/// What `first` to `count` of the rows give, over keys [begin, end):
///   score(row, key, q . k)   with whatever is added or masked
///   least(row)               the logit of its sink, or -inf
///   store(row, d, value)
///   next(key)                the first tile of KEYS keys from there on
/// A row without a weight is `nothing`. Returns whether some row of this thread
/// has no score of `enough` or more.
template <int D, int DV, int KEYS, class Q, class K, class V, class Score,
          class Least, class Store, class Next>
FERRITE_DEVICE bool attentionTile(int count, i64 begin, i64 end, float nothing,
                                  float enough, Q q, K k, V v, Score score,
                                  Least least, Store store, const Next &next) {
  constexpr int ROWS = 32, PITCH = D + 1, S_PITCH = KEYS + 1;
  constexpr int OUT = (DV + 7) / 8;
  float *queries = shared<float>(0), *keys = queries + ROWS * PITCH,
        *values = keys + KEYS * PITCH, *scores = values + KEYS * DV;
  const int t = thread(), row = t / 8, part = t % 8;
  const bool has = row < count;

  sync();
  for (int i = t; i < ROWS * D; i += 256)
    queries[i / D * PITCH + i % D] = i / D < count ? q(i / D, i % D) : 0.0f;
  float highest = has ? least(row) : -FERRITE_INFINITY;
  float total = highest == -FERRITE_INFINITY || part != 0 ? 0.0f : 1.0f;
  float seen = -FERRITE_INFINITY;
  float out[OUT] = {};

  for (i64 first = next(begin / KEYS * KEYS); first < end;
       first = next(first + KEYS)) {
    sync();
    for (int i = t; i < KEYS * D; i += 256) {
      const i64 key = first + i / D;
      keys[i / D * PITCH + i % D] = key < end ? k(key, i % D) : 0.0f;
    }
    for (int i = t; i < KEYS * DV; i += 256) {
      const i64 key = first + i / DV;
      values[i] = key < end ? v(key, i % DV) : 0.0f;
    }
    sync();
    float mine[KEYS / 8], most = -FERRITE_INFINITY;
#pragma unroll
    for (int i = 0; i < KEYS / 8; ++i)
      mine[i] = 0;
    for (int d = 0; d < D; ++d) {
      const float x = queries[row * PITCH + d];
#pragma unroll
      for (int i = 0; i < KEYS / 8; ++i)
        mine[i] = fma(x, keys[(part + 8 * i) * PITCH + d], mine[i]);
    }
#pragma unroll
    for (int i = 0; i < KEYS / 8; ++i) {
      const i64 key = first + part + 8 * i;
      mine[i] = has && key >= begin && key < end ? score(row, key, mine[i])
                                                 : -FERRITE_INFINITY;
      most = maximum(most, mine[i]);
    }
    most = combineEight(most, true);
    seen = maximum(seen, most);
    const float now = maximum(highest, most);
    const float base = now == -FERRITE_INFINITY ? 0.0f : now;
    const float shrink = exp(highest - base);
    highest = now;
    total *= shrink;
#pragma unroll
    for (int i = 0; i < KEYS / 8; ++i) {
      const float weight = exp(mine[i] - base);
      total += weight;
      scores[row * S_PITCH + part + 8 * i] = weight;
    }
    syncWarp();
#pragma unroll
    for (int i = 0; i < OUT; ++i)
      out[i] *= shrink;
    for (int key = 0; key < KEYS; ++key) {
      const float weight = scores[row * S_PITCH + key];
#pragma unroll
      for (int i = 0; i < OUT; ++i)
        if (DV % 8 == 0 || part + 8 * i < DV)
          out[i] = fma(weight, values[key * DV + part + 8 * i], out[i]);
    }
  }
  total = combineEight(total, false);
  if (has)
#pragma unroll
    for (int i = 0; i < OUT; ++i)
      if (DV % 8 == 0 || part + 8 * i < DV)
        store(row, part + 8 * i, total == 0 ? nothing : out[i] / total);
  return has && !(seen >= enough);
}

} // namespace ferrite
#endif // FERRITE_ATTENTION_CUH
