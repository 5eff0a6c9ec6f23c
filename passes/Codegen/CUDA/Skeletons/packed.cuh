// packed.cuh - Products with weights of few bits
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The panels of lib/Support/PackedPanels.h, read as they lie. A block of 256
// threads has ROWS rows and one panel of 64 columns; 16 threads, of 4 columns
// each, make a strand: so many neighbouring pieces of k, of which every load
// brings 16 bytes of codes a thread. Each piece (a block of k, or a part of one)
// is summed before it is scaled; pieces of a strand join in order, then strands
// do. So the bits of a result depend on its row and column alone, and one row
// keeps as many loads in flight as many do.
#ifndef FERRITE_PACKED_CUH
#define FERRITE_PACKED_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// What a panel without zero points has in their place.
struct NoZero {};
template <class ZERO>
struct ZeroBytes {
  static constexpr int value = sizeof(ZERO);
};
template <>
struct ZeroBytes<NoZero> {
  static constexpr int value = 0;
};

/// BLOCK is at most DEPTH. Elements are (code - SHIFT - zero) * scale.
template <int BITS, i64 DEPTH, i64 BLOCK, int SHIFT, class SCALE, class ZERO>
struct PackedFormat {
  typedef SCALE Scale;
  typedef ZERO Zero;
  static constexpr int bits = BITS, shift = SHIFT;
  static constexpr bool hasZero = ZeroBytes<ZERO>::value != 0;
  static constexpr i64 depth = DEPTH, block = BLOCK;
  static constexpr int step = BITS == 3 ? 32 : 32 / BITS,
                       words = BITS == 3 ? 3 : 1;
  static constexpr i64 blocks = (DEPTH + BLOCK - 1) / BLOCK,
                       codes = 64 * (sizeof(SCALE) + ZeroBytes<ZERO>::value),
                       blockBytes =
                           codes + (BLOCK + step - 1) / step * words * 256,
                       last = DEPTH - (blocks - 1) * BLOCK,
                       panelBytes = (blocks - 1) * blockBytes + codes +
                                    (last + step - 1) / step * words * 256;

  /// The block of a panel that has `k`, and the words of the step that does.
  FERRITE_DEVICE static const u8 *blockOf(const u8 *panel, int k) {
    return panel + k / (int)BLOCK * blockBytes;
  }
  FERRITE_DEVICE static const u8 *stepOf(const u8 *panel, int k) {
    return blockOf(panel, k) + codes + k % (int)BLOCK / step * (words * 256);
  }
  FERRITE_DEVICE static float scaleOf(const u8 *block, int column) {
    return (float)load((const SCALE *)block + column);
  }
  /// The zero point, or 0.
  FERRITE_DEVICE static float zeroOf(const u8 *block, int column) {
    return zeroAt((const ZERO *)(block + 64 * sizeof(SCALE)) + column);
  }

  /// The code of the k-th of a step. What is left of a word above it is gone.
  FERRITE_DEVICE static u32 codeOf(const u32 (&w)[words], int k) {
    if (BITS != 3)
      return w[0] >> (k % 4 * 8 + k / 4 * BITS) & ((1u << BITS) - 1);
    return (w[k / 16] >> (k % 4 * 8 + k % 16 / 4 * 2) & 3) |
           (w[words - 1] >> (k % 4 * 8 + k / 4) & 1) << 2;
  }
  /// The codes of the i-th four k of a step, a byte each.
  FERRITE_DEVICE static u32 foursOf(const u32 (&w)[words], int i) {
    constexpr u32 mask = (BITS == 8   ? 0xffu
                          : BITS == 4 ? 0x0fu
                                      : 0x03u) *
                         0x01010101u;
    if (BITS != 3)
      return w[0] >> i * BITS & mask;
    return (w[i / 4] >> i % 4 * 2 & mask) |
           (w[words - 1] >> i & 0x01010101u) << 2;
  }

private:
  FERRITE_DEVICE static float zeroAt(const NoZero *) { return 0; }
  FERRITE_DEVICE static float zeroAt(const u8 *p) { return (float)*p; }
  FERRITE_DEVICE static float zeroAt(const float *p) { return *p; }
};

/// A code less SHIFT as a float, without a conversion.
template <int SHIFT>
FERRITE_DEVICE float smallFloat(u32 code) {
  return bitsAs<float>(code | 0x4b000000u) - (8388608.0f + SHIFT);
}

/// Four neighbours of a row, zeros from `depth` on.
template <class T>
FERRITE_DEVICE void loadFour(const T *row, int k, int depth, bool aligned,
                             float (&v)[4]) {
  if (sizeof(T) == 4 && aligned && k + 4 <= depth) {
    const Vec16 all = *(const Vec16 *)(row + k);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      v[i] = bitsAs<float>(all.w[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    v[i] = k + i < depth ? (float)load(row + k + i) : 0.0f;
}

/// The pieces of strand `s` of `count` are [firstPiece(s), firstPiece(s + 1)).
template <class F, int PIECE>
FERRITE_DEVICE int firstPiece(int s, int count) {
  constexpr i64 pieces = (F::depth + PIECE - 1) / PIECE;
  return (int)(pieces * s / count);
}

/// Adds up what 16 strands have, and stores it.
template <int ROWS, class Store>
FERRITE_DEVICE void joinStrands(const float (&sums)[ROWS][4], i64 firstRow,
                                i64 rows, i64 firstColumn, i64 columns,
                                Store store) {
  float *all = shared<float>(0); // [16][ROWS][64]
  const int strand = thread() / 16, column = thread() % 16 * 4;
  sync(); // the last unit's are read
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int c = 0; c < 4; ++c)
      all[(strand * ROWS + r) * 64 + column + c] = sums[r][c];
  sync();
  for (int i = thread(); i < ROWS * 64; i += 256) {
    float total = 0;
#pragma unroll
    for (int s = 0; s < 16; ++s)
      total += all[s * ROWS * 64 + i];
    const i64 m = firstRow + i / 64, n = firstColumn + i % 64;
    if (m < rows && n < columns)
      store(m, n, total);
  }
}

template <class F>
FERRITE_DEVICE void loadStep(const u8 *step, int column,
                             u32 (&w)[4][F::words]) {
#pragma unroll
  for (int i = 0; i < F::words; ++i) {
    const Vec16 four = loadOnce16(step + i * 256 + column * 4);
#pragma unroll
    for (int c = 0; c < 4; ++c)
      w[c][i] = four.w[c];
  }
}

/// Rows of floats: x(m, k, v) gives four of them. number(code) is what a code
/// stands for without zero point and scale.
template <class F, int PIECE, int ROWS, class X, class Number, class Store>
FERRITE_DEVICE void packedFloats(const u8 *weights, i64 panel, i64 firstRow,
                                 i64 rows, i64 columns, X x, Number number,
                                 Store store) {
  const int strand = thread() / 16, column = thread() % 16 * 4;
  const u8 *const codes = weights + panel * F::panelBytes;
  float sums[ROWS][4] = {};
  const int end = firstPiece<F, PIECE>(strand + 1, 16);
  for (int p = firstPiece<F, PIECE>(strand, 16); p < end; ++p) {
    const int first = p * PIECE,
              behind = first + PIECE < F::depth ? first + PIECE : (int)F::depth;
    const u8 *const block = F::blockOf(codes, first);
    float part[ROWS][4] = {}, zeros[4];
#pragma unroll
    for (int c = 0; c < 4; ++c)
      zeros[c] = F::zeroOf(block, column + c);
    const u8 *step = F::stepOf(codes, first);
#pragma unroll(ROWS == 1 ? 4 : 1)
    for (int k = first; k < behind; k += F::step, step += F::words * 256) {
      u32 w[4][F::words];
      loadStep<F>(step, column, w);
#pragma unroll
      for (int i = 0; i < F::step; i += 4) {
        float left[ROWS][4];
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
          x(minOf(firstRow + r, rows - 1), k + i, left[r]);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            float right = number(F::codeOf(w[c], i + j));
            if (F::hasZero)
              right -= zeros[c];
#pragma unroll
            for (int r = 0; r < ROWS; ++r)
              part[r][c] = fma(left[r][j], right, part[r][c]);
          }
      }
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const float scale = F::scaleOf(block, column + c);
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
        sums[r][c] = fma(part[r][c], scale, sums[r][c]);
    }
  }
  joinStrands(sums, firstRow, rows, panel * 64, columns, store);
}

/// Rows that ferrite.round_rows made, `rowBytes` apart: bytes, and from
/// SCALES on a scale for each X_BLOCK of them. A piece has one scale of either
/// side, and its sum is exact.
template <class F, int PIECE, i64 X_BLOCK, i64 SCALES, int ROWS, class Store>
FERRITE_DEVICE void packedBytes(const u8 *weights, i64 panel, const u8 *x,
                                i64 rowBytes, i64 firstRow, i64 rows,
                                i64 columns, Store store) {
  constexpr bool WHOLE_ZEROS = F::hasZero && ZeroBytes<typename F::Zero>::value == 1;
  const int strand = thread() / 16, column = thread() % 16 * 4;
  const u8 *const codes = weights + panel * F::panelBytes;
  float sums[ROWS][4] = {};
  const int end = firstPiece<F, PIECE>(strand + 1, 16);
  for (int p = firstPiece<F, PIECE>(strand, 16); p < end; ++p) {
    const int first = p * PIECE,
              behind = first + PIECE < F::depth ? first + PIECE : (int)F::depth;
    const u8 *const block = F::blockOf(codes, first);
    int part[ROWS][4] = {}, whole[ROWS] = {};
    const u8 *step = F::stepOf(codes, first);
    for (int k = first; k < behind; k += F::step, step += F::words * 256) {
      u32 w[4][F::words];
      loadStep<F>(step, column, w);
#pragma unroll
      for (int i = 0; i < F::step / 4; ++i)
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          // What lies behind the last column is 0, up to whole steps of a row.
          const u32 left = k + 4 * i < behind
                               ? *(const u32 *)(x +
                                                minOf(firstRow + r, rows - 1) *
                                                    rowBytes +
                                                k + 4 * i)
                               : 0;
          if (F::hasZero || F::shift != 0)
            whole[r] = dotBytes(0x01010101u, left, whole[r]);
#pragma unroll
          for (int c = 0; c < 4; ++c)
            part[r][c] = dotBytes(F::foursOf(w[c], i), left, part[r][c]);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const float left = *(const float *)(x +
                                          minOf(firstRow + r, rows - 1) *
                                              rowBytes +
                                          SCALES + 4 * (first / (int)X_BLOCK));
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float zero = F::zeroOf(block, column + c);
        int sum = part[r][c] - F::shift * whole[r];
        if (WHOLE_ZEROS)
          sum -= (int)zero * whole[r];
        float product = (float)sum;
        if (F::hasZero && !WHOLE_ZEROS)
          product -= zero * (float)whole[r];
        sums[r][c] = fma(product * F::scaleOf(block, column + c), left,
                         sums[r][c]);
      }
    }
  }
  joinStrands(sums, firstRow, rows, panel * 64, columns, store);
}

/// A row, by a warp, as ferrite.round_rows rounds it: q of each `BLOCK`
/// columns by their largest magnitude. read(k) gives the row; group(g, scale),
/// put(k, q, scale) and sum(s, of q) take what is made of it.
template <i64 COLUMNS, i64 BLOCK, i64 SUM, class Read, class Group, class Put,
          class Add>
FERRITE_DEVICE void roundRow(Read read, Group group, Put put, Add sum) {
  constexpr i64 PART = SUM < BLOCK ? SUM : BLOCK;
  int total = 0; // of a sum of several groups
  for (i64 first = 0; first < COLUMNS; first += BLOCK) {
    const i64 behind = minOf(first + BLOCK, COLUMNS);
    // Magnitudes as integers have the same order, a NaN above all.
    int most = 0;
    for (i64 k = first + lane(); k < behind; k += 32)
      most = maxInteger(most, bitsAs<int>((float)read(k)) & 0x7fffffff);
    most = combineWarp(most, LargestInteger());
    const float highest = bitsAs<float>(most), scale = highest / 127.0f,
                factor = most == 0 ? 0.0f : 127.0f / highest;
    group(first / BLOCK, scale);
    for (i64 from = first; from < behind; from += PART) {
      int part = 0;
      for (i64 k = from + lane(); k < minOf(from + PART, behind); k += 32) {
        float q = read(k) * factor;
        q = q > -127.0f ? q : -127.0f; // a NaN becomes the least
        q = roundEven(q < 127.0f ? q : 127.0f);
        put(k, q, scale);
        part += (int)q;
      }
      part = combineWarp(part, Sum());
      total = from % SUM == 0 ? part : total + part;
      sum(from / SUM, total);
    }
  }
}

} // namespace ferrite
#endif // FERRITE_PACKED_CUH
