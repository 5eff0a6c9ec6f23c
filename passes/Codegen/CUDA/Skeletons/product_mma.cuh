// product_mma.cuh - Matrix products of f16, bf16 and bytes by mma.sync
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// For every GPU from sm_80 on. A block of 8 warps has a tile of M_TILE x N_TILE
// results; copies that do not wait bring 32 k of both operands (64 of bytes) to
// each of STAGES places in shared memory. Rows of shared memory are 16-byte chunks that are
// exchanged so that no two of the 8 rows of a matrix lie in the same banks:
//
//   x        [M_TILE][64 bytes]: chunk c of row r at c ^ (r / 2 % 4)
//   weights  GROUP 1: of each panel [32][64], read transposed by ldmatrix; chunk
//            c of row k at c ^ k % 8
//            GROUP 2: of each panel [16][64][2]: a word holds what a lane
//            multiplies, no matrix load; chunk c of row k at c ^ k % 4 * 2.
//            GROUP 4, of bytes, alike: [16][64][4]
//
// Sums run in order of k, 16 at a time: the bits of a result do not depend on
// the tile.
#ifndef FERRITE_PRODUCT_MMA_CUH
#define FERRITE_PRODUCT_MMA_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// M_TILE rows of 64 bytes from `firstK` on, to `to`; zeros where there are none.
/// `aligned`: rows begin at multiples of 16 bytes. By 256 threads.
template <int M_TILE, class T>
FERRITE_DEVICE void copyLeft(unsigned char *to, const T *x, i64 rows,
                             i64 rowStride, i64 depth, bool aligned,
                             i64 firstRow, i64 firstK) {
  constexpr int CHUNKS = M_TILE * 4, EACH = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < (CHUNKS + 255) / 256; ++i) {
    const int at = thread() + i * 256, row = at / 4, chunk = at % 4;
    if (CHUNKS % 256 != 0 && at >= CHUNKS)
      break;
    const i64 m = firstRow + row, k = firstK + chunk * EACH;
    unsigned char *place = to + row * 64 + (chunk ^ (row / 2 % 4)) * 16;
    const T *from = x + (m < rows ? m : 0) * rowStride + (k < depth ? k : 0);
    const bool inside = m < rows && k < depth;
    if (aligned && (depth % EACH == 0 || k + EACH <= depth || !inside)) {
      copyAsync16(place, from, inside ? 16 : 0);
    } else {
      T *single = (T *)place;
#pragma unroll
      for (int j = 0; j < EACH; ++j)
        single[j] = inside && k + j < depth ? from[j] : T();
    }
  }
}

/// The fragment of 16 rows from `firstRow` on, of the `step`-th half of them.
FERRITE_DEVICE void loadLeft(u32 (&fragment)[4], const unsigned char *tile,
                             int firstRow, int step) {
  const int row = firstRow + lane() % 16, chunk = step * 2 + lane() / 16;
  loadMatrices(fragment, tile + row * 64 + (chunk ^ (row / 2 % 4)) * 16);
}

/// store(m, n, sum) for the fragments of a warp whose first result is at
/// (firstRow, firstColumn) of a rows x columns matrix.
template <class C, int ROWS, int COLUMNS, class Store>
FERRITE_DEVICE void storeSums(const C (&sums)[ROWS][COLUMNS][4], i64 firstRow,
                              i64 firstColumn, i64 rows, i64 columns,
                              Store store) {
  const i64 row = firstRow + lane() / 4, column = firstColumn + lane() % 4 * 2;
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const i64 m = row + i * 16 + e / 2 * 8, n = column + j * 8 + e % 2;
        if (m < rows && n < columns)
          store(m, n, sums[i][j][e]);
      }
}

/// W: of the weights, that of x but for its sign; C: of the sums.
template <class T, class W, class C, int GROUP, int M_TILE, int N_TILE,
          int WARPS_M, int STAGES>
struct MmaProduct {
  static constexpr int EACH = 16 / sizeof(T), ///< elements of a chunk
      K = 4 * EACH, WARPS_N = 8 / WARPS_M;
  static constexpr int ROWS = M_TILE / WARPS_M / 16,
                       COLUMNS = N_TILE / WARPS_N / 8, PANELS = N_TILE / 64;
  static constexpr int A_BYTES = M_TILE * 64, B_BYTES = N_TILE * 64,
                       STAGE = A_BYTES + B_BYTES;
  static_assert(ROWS >= 1 && COLUMNS >= 1 && N_TILE % 64 == 0, "tile of warps");

  const T *x;
  i64 rows, rowStride;
  const W *weights;
  i64 depth, columns;
  i64 firstRow, firstColumn;
  bool aligned; ///< rows of x begin at multiples of 16 bytes

  FERRITE_DEVICE static unsigned char *stage(int i) {
    return shared<unsigned char>(i * STAGE);
  }

  FERRITE_DEVICE void copyB(unsigned char *to, i64 firstK) const {
    constexpr int ROW = 64 * GROUP / EACH;        // chunks of a row
    constexpr int CHUNKS = K / GROUP * ROW;       // of a panel
    const i64 stored = (depth + GROUP - 1) / GROUP * GROUP;
#pragma unroll
    for (int i = 0; i < PANELS * CHUNKS / 256; ++i) {
      const int at = thread() + i * 256, part = at / CHUNKS,
                row = at % CHUNKS / ROW, chunk = at % ROW;
      const i64 panel = firstColumn / 64 + part, k = firstK + row * GROUP;
      const i64 width = minOf(64, (columns - panel * 64 + 15) / 16 * 16);
      const bool inside = k < stored && chunk * EACH < width * GROUP;
      const int swizzled =
          GROUP == 1 ? chunk ^ row % 8 : chunk ^ row % 4 * 2;
      const W *from = weights + panel * stored * 64 + k / GROUP * GROUP * width +
                      chunk * EACH;
      copyAsync16(to + part * CHUNKS * 16 + row * ROW * 16 + swizzled * 16,
                  inside ? from : weights, inside ? 16 : 0);
    }
  }

  FERRITE_DEVICE void multiply(const unsigned char *a, const unsigned char *b,
                               C (&sums)[ROWS][COLUMNS][4]) const {
    const int rowBase = warp() % WARPS_M * ROWS * 16,
              columnBase = warp() / WARPS_M * COLUMNS * 8;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      u32 left[ROWS][4], right[COLUMNS][2];
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
        loadLeft(left[i], a, rowBase + i * 16, step);
      if (GROUP == 1) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j += 2) {
          // Lanes 0-15 give the 16 k of one chunk of 8 columns, 16-31 those of
          // the next; a single chunk is loaded twice.
          const int k = step * 16 + lane() % 16,
                    n = columnBase + (COLUMNS > 1 ? j + lane() / 16 : j) * 8;
          u32 r[4];
          loadMatricesTransposed(r, b + n / 64 * 4096 + k * 128 +
                                        ((n % 64 / 8) ^ k % 8) * 16);
          right[j][0] = r[0];
          right[j][1] = r[1];
          if (j + 1 < COLUMNS) {
            right[j + 1 < COLUMNS ? j + 1 : j][0] = r[2];
            right[j + 1 < COLUMNS ? j + 1 : j][1] = r[3];
          }
        }
      } else {
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int k = step * 8 + h * 4 + lane() % 4,
                      n = columnBase + j * 8 + lane() / 4;
            right[j][h] =
                *(const u32 *)(b + n / 64 * 4096 + k * 256 +
                               ((n % 64 / 4) ^ k % 4 * 2) * 16 + n % 4 * 4);
          }
      }
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
          mmaStep<T>(sums[i][j], left[i], right[j][0], right[j][1]);
    }
  }

  template <class Store>
  FERRITE_DEVICE void run(Store store) const {
    C sums[ROWS][COLUMNS][4] = {};
    const int steps = (int)((depth + K - 1) / K);
    sync(); // the last tile is read
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i) {
      if (i < steps) {
        copyLeft<M_TILE>(stage(i), x, rows, rowStride, depth, aligned,
                         firstRow, (i64)i * K);
        copyB(stage(i) + A_BYTES, (i64)i * K);
      }
      commitAsync();
    }
    for (int i = 0; i < steps; ++i) {
      waitAsync<STAGES - 2>();
      sync();
      const int next = i + STAGES - 1;
      if (next < steps) {
        copyLeft<M_TILE>(stage(next % STAGES), x, rows, rowStride, depth,
                         aligned, firstRow, (i64)next * K);
        copyB(stage(next % STAGES) + A_BYTES, (i64)next * K);
      }
      commitAsync();
      multiply(stage(i % STAGES), stage(i % STAGES) + A_BYTES, sums);
    }
    waitAsync<0>();
    storeSums(sums, firstRow + warp() % WARPS_M * ROWS * 16,
              firstColumn + warp() / WARPS_M * COLUMNS * 8, rows, columns,
              store);
  }
};

} // namespace ferrite
#endif // FERRITE_PRODUCT_MMA_CUH
