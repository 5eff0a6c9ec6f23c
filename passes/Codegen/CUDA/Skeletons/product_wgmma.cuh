// product_wgmma.cuh - Matrix products of f16 and bf16 by warpgroups (sm_90a)
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A block has a tile of 64 * CONSUMERS x N_TILE results at a time, and goes on
// with another one: it stays. One thread of its first warpgroup lets the copy
// engine bring 64 k of both operands to each of STAGES places in shared memory;
// each other warpgroup multiplies 64 rows. A place is full when its bytes came,
// and free when all warps of the consumers have read it; copies for the next
// tile begin while the results of this one are stored.
//
//   x        [64 * CONSUMERS][64 k]: a row is along k
//   weights  panels of [64 k][64 n] as they are stored: a row is one k
//
// Sums run in order of k, 16 at a time: the bits of a result do not depend on
// the tile.
#ifndef FERRITE_PRODUCT_WGMMA_CUH
#define FERRITE_PRODUCT_WGMMA_CUH

#include "ferrite/ring.cuh"

namespace ferrite {

template <class T, int CONSUMERS, int N_TILE, int STAGES>
struct WarpgroupProduct {
  static constexpr int M_TILE = 64 * CONSUMERS, PANEL = 64 * 128, ///< bytes
      A_BYTES = M_TILE * 128, STAGE = A_BYTES + N_TILE / 64 * PANEL;
  /// Behind the places are the barriers.
  static constexpr int SHARED = STAGES * (STAGE + 2 * (int)sizeof(Barrier));
  static constexpr int THREADS = 128 * (1 + CONSUMERS);
  typedef RingPlace<STAGES> Place;

  const TensorMap &x, &weights;
  int steps, panels; ///< of 64 k and 64 columns
  i64 rows;
  u32 down, across; ///< tiles

  FERRITE_DEVICE static unsigned char *stage(int i) {
    return shared<unsigned char>(i * STAGE);
  }
  FERRITE_DEVICE static Barrier *full(int i) {
    return shared<Barrier>(STAGES * STAGE) + i;
  }
  FERRITE_DEVICE static Barrier *empty(int i) { return full(STAGES) + i; }

  /// Tiles go 8 rows of them at a time, so that those at work share operands.
  FERRITE_DEVICE void place(u32 unit, u32 &tileM, u32 &tileN) const {
    const u32 group = unit / (8 * across), first = group * 8,
              height = down - first < 8 ? down - first : 8,
              in = unit - group * 8 * across;
    tileM = first + in % height;
    tileN = in / height;
  }

  FERRITE_DEVICE void produce(i64 units) const {
    Place at;
    for (u32 unit = (u32)block(); unit < units; unit += (u32)blocks()) {
      u32 tileM, tileN;
      place(unit, tileM, tileN);
      for (int step = 0; step < steps; ++step, at.advance()) {
        waitFor(empty(at.stage), at.parity ^ 1);
        arriveExpecting(full(at.stage), STAGE);
        unsigned char *const to = stage(at.stage);
        copyBox(to, x, (int)tileM * M_TILE, step * 64, full(at.stage));
#pragma unroll
        for (int i = 0; i < N_TILE / 64; ++i)
          copyBox(to + A_BYTES + i * PANEL, weights,
                  (((int)tileN * (N_TILE / 64) + i) * steps + step) * 64, 0,
                  full(at.stage));
      }
    }
  }

  /// store(m, n, sum, sum of n + 1), where n is even.
  template <class Store>
  FERRITE_DEVICE void consume(i64 units, int consumer, Store store) const {
    Place at;
    for (u32 unit = (u32)block(); unit < units; unit += (u32)blocks()) {
      u32 tileM, tileN;
      place(unit, tileM, tileN);
      float sums[N_TILE / 2];
      int last = 0;
      for (int step = 0; step < steps; ++step, at.advance()) {
        waitFor(full(at.stage), at.parity);
        const unsigned char *const from = stage(at.stage);
        const u64 a = tileAt(from + consumer * 64 * 128, 8 * 128, 0),
                  b = tileAt(from + A_BYTES, 8 * 128, PANEL);
        beginProducts();
#pragma unroll
        for (int k = 0; k < 4; ++k) // 16 k are 32 bytes of a row, or 16 rows
          multiplyTiles<T, 1>(sums, a + k * (32 >> 4), b + k * (16 * 128 >> 4),
                              step > 0 || k > 0);
        commitProducts();
        waitProducts<1>();
        if (step > 0 && lane() == 0)
          arrive(empty(last));
        last = at.stage;
      }
      waitProducts<0>();
      settle(sums);
      if (lane() == 0)
        arrive(empty(last));
      const i64 row = (i64)tileM * M_TILE + consumer * 64 + warp() % 4 * 16 +
                      lane() / 4;
      const int column = (int)tileN * N_TILE + lane() % 4 * 2;
#pragma unroll
      for (int j = 0; j < N_TILE / 8; ++j)
        if (column / 64 + j / 8 < panels)
#pragma unroll
          for (int h = 0; h < 2; ++h)
            if (row + 8 * h < rows)
              store(row + 8 * h, column + j * 8, sums[4 * j + 2 * h],
                    sums[4 * j + 2 * h + 1]);
    }
  }

  template <class Store>
  FERRITE_DEVICE void run(i64 units, Store store) const {
    if (thread() == 0) {
      fetchMap(x);
      fetchMap(weights);
      for (int i = 0; i < STAGES; ++i) {
        initBarrier(full(i), 1);
        initBarrier(empty(i), 4 * CONSUMERS);
      }
      publishBarriers();
    }
    sync();
    // Of 64 K registers; 3 warpgroups begin with 168 for each thread, 2 with
    // what they like.
    if (warp() < 4) {
      if (CONSUMERS == 2)
        giveRegisters<40>();
      if (thread() == 0)
        produce(units);
    } else {
      if (CONSUMERS == 2)
        takeRegisters<232>();
      consume(units, warp() / 4 - 1, store);
    }
  }
};

} // namespace ferrite
#endif // FERRITE_PRODUCT_WGMMA_CUH
