// product.cuh - Matrix products by fused multiply-adds
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A block of 256 threads has a tile of M_TILE x N_TILE results, a thread
// M_TILE/16 x N_TILE/16 of them. Tiles of both operands go through shared
// memory, 16 k at a time, the next ones being read while these are multiplied.
// Each sum runs in order of k in one accumulator: its bits depend on its row
// and column alone, not on the tile.
#ifndef FERRITE_PRODUCT_CUH
#define FERRITE_PRODUCT_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// store(m, n, sum over k of a(m, k) * b(k, n)) for the tile at (firstRow,
/// firstColumn) of an m x n product. `a` and `b` are asked for places within
/// the matrices alone. A_BY_ROW: neighbours along k lie together in a.
template <class T, int M_TILE, int N_TILE, bool A_BY_ROW, class A, class B,
          class Store>
FERRITE_DEVICE void productTile(i64 rows, i64 columns, i64 depth, i64 firstRow,
                                i64 firstColumn, A a, B b, Store store) {
  constexpr int K = 16, ROWS = M_TILE / 16, COLUMNS = N_TILE / 16;
  constexpr int A_COUNT = (M_TILE * K + 255) / 256,
                B_COUNT = N_TILE * K / 256;
  constexpr int A_PITCH = M_TILE + 4, B_PITCH = N_TILE + 4;
  T *sharedA = shared<T>(0), *sharedB = sharedA + K * A_PITCH;
  const int t = thread(), row = t / 16 * ROWS, column = t % 16 * COLUMNS;
  T sums[ROWS][COLUMNS] = {}, nextA[A_COUNT], nextB[B_COUNT];

  auto placeA = [&](int i, int &m, int &k) {
    const int at = t + i * 256;
    m = A_BY_ROW ? at / K : at % M_TILE;
    k = A_BY_ROW ? at % K : at / M_TILE;
    return M_TILE * K % 256 == 0 || at < M_TILE * K;
  };
  auto fetch = [&](i64 firstK) {
#pragma unroll
    for (int i = 0; i < A_COUNT; ++i) {
      int m, k;
      nextA[i] = placeA(i, m, k) && firstRow + m < rows && firstK + k < depth
                     ? (T)a(firstRow + m, firstK + k)
                     : (T)0;
    }
#pragma unroll
    for (int i = 0; i < B_COUNT; ++i) {
      const int at = t + i * 256, n = at % N_TILE, k = at / N_TILE;
      nextB[i] = firstColumn + n < columns && firstK + k < depth
                     ? (T)b(firstK + k, firstColumn + n)
                     : (T)0;
    }
  };
  fetch(0);
  for (i64 firstK = 0; firstK < depth; firstK += K) {
    sync();
#pragma unroll
    for (int i = 0; i < A_COUNT; ++i) {
      int m, k;
      if (placeA(i, m, k))
        sharedA[k * A_PITCH + m] = nextA[i];
    }
#pragma unroll
    for (int i = 0; i < B_COUNT; ++i) {
      const int at = t + i * 256;
      sharedB[at / N_TILE * B_PITCH + at % N_TILE] = nextB[i];
    }
    sync();
    if (firstK + K < depth)
      fetch(firstK + K);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      T left[ROWS], right[COLUMNS];
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
        left[i] = sharedA[k * A_PITCH + row + i];
#pragma unroll
      for (int j = 0; j < COLUMNS; ++j)
        right[j] = sharedB[k * B_PITCH + column + j];
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
          sums[i][j] = fma(left[i], right[j], sums[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
      if (firstRow + row + i < rows && firstColumn + column + j < columns)
        store(firstRow + row + i, firstColumn + column + j, sums[i][j]);
}

/// Element (k, n) of panels (lib/Support/PanelLayout.h): 64 columns, of each
/// GROUP values of k side by side; the last panel is as wide as it must be.
template <int GROUP>
FERRITE_DEVICE i64 panelOffset(i64 k, i64 n, i64 depth, i64 columns) {
  const i64 stored = (depth + GROUP - 1) / GROUP * GROUP, panel = n / 64;
  const i64 width = minOf(64, (columns - panel * 64 + 15) / 16 * 16);
  return panel * stored * 64 + k / GROUP * GROUP * width + n % 64 * GROUP +
         k % GROUP;
}

} // namespace ferrite
#endif // FERRITE_PRODUCT_CUH
