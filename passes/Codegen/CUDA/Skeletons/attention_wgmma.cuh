// attention_wgmma.cuh - Attention of f16 and bf16 by warpgroups (sm_90a)
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The structure of FlashAttention-3 (Shah et al., arXiv 2407.08608): a block has
// 128 rows (a row is a query of one head), each of two warpgroups 64 of them; a
// third one copies keys and values, 128 at a time, to two places for each. Rows
// are asked for as pointers, so these are copies by threads: a row may lie
// anywhere. The scores of the next keys are computed while the weights of the
// last ones meet their values, and the two warpgroups take turns, so that one
// multiplies while the other computes exponentials.
//
//   queries  [128][64] a tile of 64 d: a row is along d
//   keys     [128][64] alike
//   values   [128][64] a tile of 64 d: a row is one key
//
// Blocks of keys begin at multiples of 128: the bits of a row depend on it
// alone.
#ifndef FERRITE_ATTENTION_WGMMA_CUH
#define FERRITE_ATTENTION_WGMMA_CUH

#include "ferrite/attention_mma.cuh"
#include "ferrite/ring.cuh"

namespace ferrite {

template <class T, int D, int DV>
struct WarpgroupAttention {
  static_assert(D % 64 == 0 && DV % 64 == 0, "whole tiles");
  static constexpr int ROWS = 128, KEYS = 128, STAGES = 2,
                       TILE = 128 * 128; ///< bytes of 128 rows of 64
  static constexpr int QUERIES = D / 64 * TILE, KEY_STAGE = D / 64 * TILE,
                       VALUE_STAGE = DV / 64 * TILE;
  static constexpr int KEYS_AT = QUERIES,
                       VALUES_AT = KEYS_AT + STAGES * KEY_STAGE,
                       BARRIERS_AT = VALUES_AT + STAGES * VALUE_STAGE;
  static constexpr int SHARED =
      BARRIERS_AT + 4 * STAGES * (int)sizeof(Barrier);

  FERRITE_DEVICE static Barrier *barrier(int kind, int stage) {
    return shared<Barrier>(BARRIERS_AT) + kind * STAGES + stage;
  }
  FERRITE_DEVICE static Barrier *fullKeys(int i) { return barrier(0, i); }
  FERRITE_DEVICE static Barrier *fullValues(int i) { return barrier(1, i); }
  FERRITE_DEVICE static Barrier *emptyKeys(int i) { return barrier(2, i); }
  FERRITE_DEVICE static Barrier *emptyValues(int i) { return barrier(3, i); }

  /// By all threads, once.
  FERRITE_DEVICE static void begin() {
    if (thread() == 0) {
      for (int i = 0; i < STAGES; ++i) {
        initBarrier(fullKeys(i), 128);
        initBarrier(fullValues(i), 128);
        initBarrier(emptyKeys(i), 8); // a thread of each warp
        initBarrier(emptyValues(i), 8);
      }
      publishBarriers();
    }
    sync();
  }

  /// `rows` rows of SIZE elements to swizzled tiles of TILE bytes, by 128
  /// threads; rows from `count` on are zeros.
  template <int SIZE, class Row>
  FERRITE_DEVICE static void copySwizzled(unsigned char *to, int firstRow,
                                          int rows, i64 count, bool aligned,
                                          Row row) {
    constexpr int CHUNKS = SIZE / 8;
    for (int at = thread() % 128; at < rows * CHUNKS; at += 128) {
      const int r = firstRow + at / CHUNKS, chunk = at % CHUNKS;
      unsigned char *place =
          to + chunk / 8 * TILE + r * 128 + (chunk % 8 ^ r % 8) * 16;
      const bool inside = r < count;
      const T *from = row(inside ? r : 0) + chunk * 8;
      if (aligned) {
        copyAsync16(place, from, inside ? 16 : 0);
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
          ((T *)place)[i] = inside ? from[i] : T();
      }
    }
  }

  /// What the first warpgroup does with the arguments of attentionMma().
  struct Producer {
    RingPlace<STAGES> at;

    FERRITE_DEVICE static void tell(Barrier *full, bool aligned) {
      if (aligned) {
        arriveWhenCopied(full);
      } else {
        publishShared();
        arrive(full);
      }
    }
    template <class Q, class K, class V, class Score, class Least, class Store,
              class Next>
    FERRITE_DEVICE bool operator()(int, i64 begin, i64 end, float, float,
                                   bool aligned, Q, K kRow, V vRow, Score,
                                   Least, Store, const Next &next) {
      for (i64 first = next(begin / KEYS * KEYS); first < end;
           first = next(first + KEYS), at.advance()) {
        waitFor(emptyKeys(at.stage), at.parity ^ 1);
        copySwizzled<D>(
            shared<unsigned char>(KEYS_AT + at.stage * KEY_STAGE), 0, KEYS,
            end - first, aligned, [&](int r) { return kRow(first + r); });
        tell(fullKeys(at.stage), aligned);
        waitFor(emptyValues(at.stage), at.parity ^ 1);
        copySwizzled<DV>(
            shared<unsigned char>(VALUES_AT + at.stage * VALUE_STAGE), 0, KEYS,
            end - first, aligned, [&](int r) { return vRow(first + r); });
        tell(fullValues(at.stage), aligned);
      }
      return false;
    }
  };

  /// What the others do. Barriers 1 and 2 say whose turn it is to multiply, 3
  /// and 4 are a warpgroup's own.
  struct Consumer {
    RingPlace<STAGES> keysAt, valuesAt;
    const int mine = warp() / 4 - 1;
    float highest[2], total[2], seen[2];
    float out[DV / 2];

    FERRITE_DEVICE Consumer() {
      if (mine == 1)
        arriveSome(1, 256); // the first one begins
    }
    FERRITE_DEVICE void end() {
      if (mine == 0)
        syncSome(1, 256);
    }

    FERRITE_DEVICE void multiplyKeys(float (&scores)[KEYS / 2]) {
      waitFor(fullKeys(keysAt.stage), keysAt.parity);
      publishShared();
      const u64 q = tileAt(shared<unsigned char>(mine * 64 * 128), 1024, 0),
                k = tileAt(shared<unsigned char>(KEYS_AT +
                                                 keysAt.stage * KEY_STAGE),
                           1024, 0);
      beginProducts();
#pragma unroll
      for (int i = 0; i < D / 16; ++i) {
        const int step = (i / 4 * TILE + i % 4 * 32) >> 4;
        multiplyTiles<T, 0>(scores, q + step, k + step, i > 0);
      }
      commitProducts();
    }
    FERRITE_DEVICE void multiplyValues(const u32 (&weights)[KEYS / 16][4]) {
      waitFor(fullValues(valuesAt.stage), valuesAt.parity);
      publishShared();
      const u64 v = tileAt(
          shared<unsigned char>(VALUES_AT + valuesAt.stage * VALUE_STAGE), 1024,
          TILE);
      beginProducts();
#pragma unroll
      for (int i = 0; i < KEYS / 16; ++i)
        multiplyTiles<T, 1>(out, weights[i], v + i * (16 * 128 >> 4), true);
      commitProducts();
    }
    FERRITE_DEVICE void releaseKeys() {
      if (lane() == 0)
        arrive(emptyKeys(keysAt.stage));
      keysAt.advance();
    }
    FERRITE_DEVICE void releaseValues() {
      if (lane() == 0)
        arrive(emptyValues(valuesAt.stage));
      valuesAt.advance();
    }

    /// Scores become weights; what was summed before is to be multiplied by
    /// `shrink`.
    template <class Score>
    FERRITE_DEVICE void weigh(float (&scores)[KEYS / 2], float (&shrink)[2],
                              int firstRow, int count, i64 first, i64 begin,
                              i64 end, Score score) {
      constexpr float log2e = 1.44269504f;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int r = firstRow + 8 * h;
        float most = -FERRITE_INFINITY;
#pragma unroll
        for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const i64 key = first + j * 8 + lane() % 4 * 2 + e;
            float &s = scores[4 * j + 2 * h + e];
            s = r < count && key >= begin && key < end ? score(r, key, s)
                                                       : -FERRITE_INFINITY;
            most = maximum(most, s);
          }
        most = combineFour(most, true);
        seen[h] = maximum(seen[h], most);
        const float now = maximum(highest[h], most);
        const float zero = now == -FERRITE_INFINITY ? 0.0f : now;
        shrink[h] = exp2Fast((highest[h] - zero) * log2e);
        highest[h] = now;
        total[h] *= shrink[h];
#pragma unroll
        for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float &s = scores[4 * j + 2 * h + e];
            s = exp2Fast((s - zero) * log2e);
            total[h] += s;
          }
      }
    }
    FERRITE_DEVICE static void round(u32 (&weights)[KEYS / 16][4],
                                     const float (&scores)[KEYS / 2]) {
#pragma unroll
      for (int i = 0; i < KEYS / 16; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          weights[i][e] =
              packPair<T>(scores[8 * i + 2 * e], scores[8 * i + 2 * e + 1]);
    }

    template <class Q, class K, class V, class Score, class Least, class Store,
              class Next>
    FERRITE_DEVICE bool operator()(int count, i64 begin, i64 end, float nothing,
                                   float enough, bool aligned, Q qRow, K, V,
                                   Score score, Least least, Store store,
                                   const Next &next) {
      const int row = mine * 64 + warp() % 4 * 16 + lane() / 4;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int r = row + 8 * h;
        highest[h] = r < count ? least(r) : -FERRITE_INFINITY;
        // One of the four lanes of a row counts its sink.
        total[h] =
            highest[h] == -FERRITE_INFINITY || lane() % 4 != 0 ? 0.0f : 1.0f;
        seen[h] = -FERRITE_INFINITY;
      }
#pragma unroll
      for (int i = 0; i < DV / 2; ++i)
        out[i] = 0;
      syncSome(3 + mine, 128); // the last tile's queries are read
      copySwizzled<D>(shared<unsigned char>(0), mine * 64, 64, count, aligned,
                      qRow);
      commitAsync();
      waitAsync<0>();
      publishShared();
      syncSome(3 + mine, 128);
      i64 first = next(begin / KEYS * KEYS);
      if (first < end) {
        float scores[KEYS / 2], shrink[2];
        u32 weights[KEYS / 16][4];
        multiplyKeys(scores);
        waitProducts<0>();
        settle(scores);
        releaseKeys();
        weigh(scores, shrink, row, count, first, begin, end, score);
        round(weights, scores);
        for (first = next(first + KEYS); first < end;
             first = next(first + KEYS)) {
          syncSome(1 + mine, 256);
          multiplyKeys(scores);
          multiplyValues(weights);
          arriveSome(1 + (mine ^ 1), 256);
          waitProducts<1>();
          settle(scores);
          releaseKeys();
          weigh(scores, shrink, row, count, first, begin, end, score);
          waitProducts<0>();
          settle(out);
          releaseValues();
#pragma unroll
          for (int i = 0; i < DV / 2; ++i)
            out[i] *= shrink[i / 2 % 2];
          round(weights, scores);
        }
        syncSome(1 + mine, 256);
        multiplyValues(weights);
        arriveSome(1 + (mine ^ 1), 256);
        waitProducts<0>();
        settle(out);
        releaseValues();
      }
      bool low = false;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int r = row + 8 * h;
        const float sum = combineFour(total[h], false);
        if (r >= count)
          continue;
        low = low || !(seen[h] >= enough);
#pragma unroll
        for (int j = 0; j < DV / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            store(r, j * 8 + lane() % 4 * 2 + e,
                  sum == 0 ? nothing : out[4 * j + 2 * h + e] / sum);
      }
      return low;
    }
  };

  /// body(attention) in each role: all of them ask for the same tiles.
  template <class Body>
  FERRITE_DEVICE static void run(Body body) {
    // Of 64 K registers; copies of listed blocks take more than 40.
    if (warp() < 4) {
      giveRegisters<56>();
      Producer producer;
      body(producer);
    } else {
      takeRegisters<224>();
      Consumer consumer;
      body(consumer);
      consumer.end();
    }
  }
};

} // namespace ferrite
#endif // FERRITE_ATTENTION_WGMMA_CUH
