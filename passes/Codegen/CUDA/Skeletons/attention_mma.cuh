// attention_mma.cuh - Attention of f16 and bf16 by mma.sync
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The structure of FlashAttention-2 (Dao, arXiv 2307.08691): a block of 4 warps
// has 64 rows (a row is a query of one head), a warp 16 of them, and walks the
// keys 64 at a time. Scores and the result stay in registers; the next keys and
// values are copied while these are multiplied. Rows of shared memory have 16
// bytes more than they need, so that no two of the 8 rows of a matrix lie in
// the same banks. Blocks of keys begin at multiples of 64: the bits of a row
// depend on it alone.
#ifndef FERRITE_ATTENTION_MMA_CUH
#define FERRITE_ATTENTION_MMA_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// 64 rows of SIZE elements; rows from `count` on are zeros.
template <class T, int SIZE, class Row>
FERRITE_DEVICE void copyRows(T *to, i64 count, bool aligned, Row row) {
  constexpr int CHUNKS = SIZE / 8;
  for (int at = thread(); at < 64 * CHUNKS; at += 128) {
    const int r = at / CHUNKS, chunk = at % CHUNKS;
    T *place = to + r * (SIZE + 8) + chunk * 8;
    const bool inside = r < count;
    const T *from = row(inside ? r : 0) + chunk * 8;
    if (aligned) {
      copyAsync16(place, from, inside ? 16 : 0);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        place[i] = inside ? from[i] : T();
    }
  }
}

FERRITE_DEVICE float combineFour(float v, bool largest) {
  for (int mask = 2; mask > 0; mask >>= 1) {
    const float other = shuffleXor(v, mask);
    v = largest ? maximum(v, other) : v + other;
  }
  return v;
}


/// As attentionTile() of attention.cuh, but rows are asked for as pointers:
/// qRow(row), kRow(key), vRow(key). `aligned`: they begin at 16 bytes.
template <class T, int D, int DV, class Q, class K, class V, class Score,
          class Least, class Store, class Next>
FERRITE_DEVICE bool attentionMma(int count, i64 begin, i64 end, float nothing,
                                 float enough, bool aligned, Q qRow, K kRow,
                                 V vRow, Score score, Least least, Store store,
                                 const Next &next) {
  constexpr int PITCH = D + 8, V_PITCH = DV + 8;
  T *queries = shared<T>(0), *keys = queries + 64 * PITCH,
    *values = keys + 2 * 64 * PITCH;
  const int base = warp() * 16, row = lane() / 4;
  float out[DV / 8][4] = {}, highest[2], total[2], seen[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = base + row + 8 * h;
    highest[h] = r < count ? least(r) : -FERRITE_INFINITY;
    // One of the four lanes of a row counts its sink.
    total[h] = highest[h] == -FERRITE_INFINITY || lane() % 4 != 0 ? 0.0f : 1.0f;
    seen[h] = -FERRITE_INFINITY;
  }
  auto copyKeys = [&](i64 first, int place) {
    copyRows<T, D>(keys + place * 64 * PITCH, end - first, aligned,
                   [&](int r) { return kRow(first + r); });
    copyRows<T, DV>(values + place * 64 * V_PITCH, end - first, aligned,
                    [&](int r) { return vRow(first + r); });
  };
  const i64 start = next(begin / 64 * 64);
  sync(); // the last tile is read
  copyRows<T, D>(queries, count, aligned, qRow);
  if (start < end)
    copyKeys(start, 0);
  commitAsync();
  int place = 0;
  for (i64 first = start, following; first < end;
       first = following, place ^= 1) {
    following = next(first + 64);
    if (following < end)
      copyKeys(following, place ^ 1);
    commitAsync();
    waitAsync<1>();
    sync();
    const T *k = keys + place * 64 * PITCH, *v = values + place * 64 * V_PITCH;
    float scores[8][4] = {};
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      u32 left[4];
      loadMatrices(left, queries + (base + lane() % 16) * PITCH + d +
                             lane() / 16 * 8);
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        u32 right[4];
        loadMatrices(right, k + (j * 8 + lane() / 16 * 8 + lane() % 8) * PITCH +
                                d + lane() / 8 % 2 * 8);
        mmaStep<T>(scores[j], left, right[0], right[1]);
        mmaStep<T>(scores[j + 1], left, right[2], right[3]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = base + row + 8 * h;
      float most = -FERRITE_INFINITY;
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const i64 key = first + j * 8 + lane() % 4 * 2 + e;
          float &s = scores[j][2 * h + e];
          s = r < count && key >= begin && key < end ? score(r, key, s)
                                                     : -FERRITE_INFINITY;
          most = maximum(most, s);
        }
      most = combineFour(most, true);
      seen[h] = maximum(seen[h], most);
      const float now = maximum(highest[h], most);
      const float zero = now == -FERRITE_INFINITY ? 0.0f : now;
      const float shrink = exp(highest[h] - zero);
      highest[h] = now;
      total[h] *= shrink;
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float &s = scores[j][2 * h + e];
          s = exp(s - zero);
          total[h] += s;
        }
#pragma unroll
      for (int j = 0; j < DV / 8; ++j) {
        out[j][2 * h] *= shrink;
        out[j][2 * h + 1] *= shrink;
      }
    }
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const u32 left[4] = {packPair<T>(scores[2 * t][0], scores[2 * t][1]),
                           packPair<T>(scores[2 * t][2], scores[2 * t][3]),
                           packPair<T>(scores[2 * t + 1][0],
                                       scores[2 * t + 1][1]),
                           packPair<T>(scores[2 * t + 1][2],
                                       scores[2 * t + 1][3])};
#pragma unroll
      for (int j = 0; j < DV / 8; j += 2) {
        u32 right[4];
        loadMatricesTransposed(right, v + (t * 16 + lane() % 16) * V_PITCH +
                                          j * 8 + lane() / 16 * 8);
        mmaStep<T>(out[j], left, right[0], right[1]);
        mmaStep<T>(out[j + 1], left, right[2], right[3]);
      }
    }
    sync(); // the place is copied to again
  }
  waitAsync<0>();
  bool low = false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = base + row + 8 * h;
    const float sum = combineFour(total[h], false);
    if (r >= count)
      continue;
    low = low || !(seen[h] >= enough);
#pragma unroll
    for (int j = 0; j < DV / 8; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        store(r, j * 8 + lane() % 4 * 2 + e,
              sum == 0 ? nothing : out[j][2 * h + e] / sum);
  }
  return low;
}

} // namespace ferrite
#endif // FERRITE_ATTENTION_MMA_CUH
