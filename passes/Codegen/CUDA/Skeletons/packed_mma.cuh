// packed_mma.cuh - Weights of few bits times f16 and bf16 by mma.sync
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// After Marlin (Frantar et al., arXiv 2408.11743), but of the panels that the
// CPU streams too: their words go to shared memory as they are, 32 k at a time,
// and become the operand of mma.sync in registers. The two codes that a lane
// multiplies are neighbours along k, so both lie in one word:
//
//   word >> (k % 4 * 8 + k / 4 * BITS)   codes of k and k + 1 in the low bytes
//   | exponents                          1024 + code (f16), 128 + code (bf16)
//   - (1024 + zero)                      exact, as whole numbers of 8 bits are
//
// Pieces and strands are those of packed.cuh, here 8: a piece is scaled when it
// is summed. Few rows give each warp a strand and copies of its own, so that a
// block of 32 columns keeps 32 KB in flight; many rows take strand after strand.
// The bits are the same.
#ifndef FERRITE_PACKED_MMA_CUH
#define FERRITE_PACKED_MMA_CUH

#include "ferrite/packed.cuh"
#include "ferrite/product_mma.cuh"

namespace ferrite {

/// What fragments are made of, of a tile of words [rows of words][PITCH].
template <class T, class F, int PITCH>
struct PackedFragments {
  static_assert(PITCH >= 32, "a tile of 32 columns or more");
  static constexpr bool isHalf = FloatOf<T>::isHalf;
  static constexpr bool isMagic = isHalf || F::bits < 8;
  static constexpr float magic = isHalf ? 1024.0f : 128.0f;
  static constexpr u32 exponents = isHalf ? 0x64006400u : 0x43004300u;

  /// What is subtracted from the codes of a column.
  FERRITE_DEVICE static u32 zeroPair(float zero) {
    const float whole = zero + (float)F::shift + (isMagic ? magic : 0.0f);
    return isMagic ? packPair<T>(whole, whole) : bitsAs<u32>(whole);
  }
  /// Codes of k = 16 * STEP + 8 * half + 2 * (lane % 4) and k + 1 of a column.
  template <int STEP>
  FERRITE_DEVICE static u32 pair(const u32 *tile, int column, int half,
                                 u32 zero) {
    const int t = lane() % 4, byte = t % 2 * 16;
    const u32 *at = tile + column;
    u32 codes;
    if (F::bits == 8)
      codes = at[(STEP * 4 + half * 2 + t / 2) * PITCH] >> byte & 0xffffu;
    else if (F::bits == 4)
      codes = at[(STEP * 2 + half) * PITCH] >> (byte + t / 2 * 4) & 0x0f0fu;
    else
      codes = at[STEP * PITCH] >> (byte + half * 4 + t / 2 * 2) & 0x0303u;
    if (F::bits == 3)
      codes |= (at[2 * PITCH] >> (byte + STEP * 4 + half * 2 + t / 2) &
                0x0101u)
               << 2;
    if (isMagic)
      return subtractPair<T>(((codes | codes << 8) & 0x00ff00ffu) | exponents,
                             zero);
    const float less = bitsAs<float>(zero);
    return packPair<T>(smallFloat<0>(codes & 0xff) - less,
                       smallFloat<0>(codes >> 8) - less);
  }
};

/// The words of 32 k from `firstK` on of 32 * HALVES columns: chunk `i` of 16
/// bytes. There are F::bits * 8 * HALVES.
template <class F, int HALVES>
FERRITE_DEVICE void copyWords(u32 *to, const u8 *panel, int firstColumn,
                              int firstK, int i) {
  constexpr int ROW = 8 * HALVES; // chunks of a row of words
  const int row = i / ROW, four = i % ROW * 4;
  const int k = firstK + row / F::words * F::step;
  const bool inside = k < F::depth;
  const u8 *from = F::stepOf(panel, inside ? k : 0) + row % F::words * 256 +
                   (firstColumn + four) * 4;
  copyAsync16(to + row * (32 * HALVES) + four, from, inside ? 16 : 0);
}

/// Sums of a warp: pieces, a strand, and all strands so far.
template <class F, int PIECE, int ROWS, int COLUMNS>
struct PackedSums {
  float part[ROWS][COLUMNS][4], strand[ROWS][COLUMNS][4];

  FERRITE_DEVICE void begin() {
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          part[i][j][e] = strand[i][j][e] = 0;
  }
  /// Ends the piece that `block` scales; `column` is the lane's first.
  FERRITE_DEVICE void endPiece(const u8 *block, int column) {
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float scale = F::scaleOf(block, column + j * 8 + e);
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
          for (int h = 0; h < 4; h += 2) {
            strand[i][j][h + e] =
                fma(part[i][j][h + e], scale, strand[i][j][h + e]);
            part[i][j][h + e] = 0;
          }
      }
  }
};

/// Strands are made of lots: a piece, or as many as 32 k have.
template <class F, int PIECE>
struct PackedLots {
  static constexpr int LOT = PIECE < 32 ? 32 : PIECE;
  static_assert(LOT % 32 == 0 && 32 % PIECE * (PIECE < 32) == 0, "pieces");
  /// Where strand 8, the end of all, begins at the depth.
  FERRITE_DEVICE static int firstOf(int strand) {
    constexpr int depth = F::depth, lots = (depth + LOT - 1) / LOT;
    const int first = lots * strand / 8 * LOT;
    return first < depth ? first : depth;
  }
  FERRITE_DEVICE static bool endsPiece(int behind) {
    return behind % PIECE == 0 || behind >= F::depth;
  }
};

/// The lane's zeros of the block that has `k`, where `zerosOf` is another one.
template <class Fragments, class F, int COLUMNS>
FERRITE_DEVICE void loadZeros(u32 (&zeros)[COLUMNS], int &zerosOf, int k,
                              const u8 *block, int firstColumn) {
  if (zerosOf == k / (int)F::block)
    return;
  zerosOf = k / (int)F::block;
#pragma unroll
  for (int j = 0; j < COLUMNS; ++j)
    zeros[j] = Fragments::zeroPair(
        F::zeroOf(block, firstColumn + j * 8 + lane() / 4));
}

/// Up to 16 rows from `firstRow` on times 32 columns of a panel.
template <class T, class F, int PIECE, int STAGES>
struct PackedFew {
  typedef PackedFragments<T, F, 32> Fragments;
  typedef PackedLots<F, PIECE> Lots;
  static constexpr int COLUMNS = 4, STAGE = F::bits * 32, // words
      CHUNKS = F::bits * 8;
  static constexpr int SHARED = 8 * STAGES * STAGE * 4;

  const T *x;
  i64 rows, rowStride;
  const u8 *panel;
  int firstColumn; ///< of the panel
  i64 firstRow;
  bool aligned; ///< two neighbours at an even k are one word

  FERRITE_DEVICE u32 leftPair(int row, int k) const {
    const i64 m = firstRow + row;
    if (m >= rows || k >= F::depth)
      return 0;
    const T *at = x + m * rowStride + k;
    if (aligned && k + 1 < F::depth)
      return *(const u32 *)at;
    return (u32)at[0].bits |
           (k + 1 < F::depth ? (u32)at[1].bits << 16 : 0u);
  }
  FERRITE_DEVICE void copy(u32 *ring, int k, int behind, int stage) const {
    if (k < behind)
#pragma unroll
      for (int i = 0; i < (CHUNKS + 31) / 32; ++i)
        if (CHUNKS % 32 == 0 || lane() + i * 32 < CHUNKS)
          copyWords<F, 1>(ring + stage * STAGE, panel, firstColumn, k,
                          lane() + i * 32);
    commitAsync();
  }
  template <int STEP>
  FERRITE_DEVICE void multiply(const u32 *tile, const u32 (&left)[4],
                               const u32 (&zeros)[COLUMNS],
                               PackedSums<F, PIECE, 1, COLUMNS> &sums) const {
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
      mmaStep<T>(sums.part[0][j], left,
                 Fragments::template pair<STEP>(tile, j * 8 + lane() / 4, 0,
                                                zeros[j]),
                 Fragments::template pair<STEP>(tile, j * 8 + lane() / 4, 1,
                                                zeros[j]));
  }

  template <class Store>
  FERRITE_DEVICE void run(i64 columns, i64 panelColumn, Store store) const {
    PackedSums<F, PIECE, 1, COLUMNS> sums;
    sums.begin();
    sync(); // the last unit's are read
    u32 *const ring = shared<u32>(warp() * STAGES * STAGE * 4);
    const int first = Lots::firstOf(warp()),
              behind = Lots::firstOf(warp() + 1);
    const int row = lane() / 4, column = firstColumn + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i)
      copy(ring, first + i * 32, behind, i);
    int stage = 0;
    int zerosOf = -1;
    u32 zeros[COLUMNS];
    for (int k = first; k < behind; k += 32) {
      u32 left[2][4];
#pragma unroll
      for (int s = 0; s < 2; ++s)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          left[s][i] = leftPair(row + i % 2 * 8,
                                k + s * 16 + i / 2 * 8 + lane() % 4 * 2);
      waitAsync<STAGES - 2>();
      syncWarp();
      copy(ring, k + (STAGES - 1) * 32, behind,
           stage == 0 ? STAGES - 1 : stage - 1);
      const u32 *const tile = ring + stage * STAGE;
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int at = k + s * 16;
        if (at >= behind)
          break;
        const u8 *const block = F::blockOf(panel, at);
        loadZeros<Fragments, F>(zeros, zerosOf, at, block, firstColumn);
        s == 0 ? multiply<0>(tile, left[0], zeros, sums)
               : multiply<1>(tile, left[1], zeros, sums);
        if (Lots::endsPiece(at + 16))
          sums.endPiece(block, column);
      }
      stage = stage + 1 == STAGES ? 0 : stage + 1;
      syncWarp(); // the stage is copied to again
    }
    waitAsync<0>();
    sync();
    float *const all = shared<float>(0); // [8][16][32]
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        all[(warp() * 16 + row + e / 2 * 8) * 32 + j * 8 + lane() % 4 * 2 +
            e % 2] = sums.strand[0][j][e];
    sync();
    for (int i = thread(); i < 512; i += 256) {
      float total = 0;
#pragma unroll
      for (int s = 0; s < 8; ++s)
        total += all[s * 512 + i];
      const i64 m = firstRow + i / 32, n = panelColumn + firstColumn + i % 32;
      if (m < rows && n < columns)
        store(m, n, total);
    }
  }
};

/// 128 rows times a panel: a warp has 32 x 32 results.
template <class T, class F, int PIECE, int STAGES>
struct PackedMany {
  typedef PackedFragments<T, F, 64> Fragments;
  typedef PackedLots<F, PIECE> Lots;
  static constexpr int M_TILE = 128, ROWS = 2, COLUMNS = 4;
  static constexpr int A_BYTES = M_TILE * 64, STAGE = A_BYTES + F::bits * 256;
  static constexpr int SHARED = STAGES * STAGE;

  const T *x;
  i64 rows, rowStride;
  const u8 *panel;
  i64 firstRow;
  bool aligned; ///< rows of x begin at multiples of 16 bytes

  FERRITE_DEVICE void copy(int stage, int k) const {
    if (k < F::depth) {
      unsigned char *to = shared<unsigned char>(stage * STAGE);
      copyLeft<M_TILE>(to, x, rows, rowStride, F::depth, aligned, firstRow, k);
      if (thread() < F::bits * 16)
        copyWords<F, 2>((u32 *)(to + A_BYTES), panel, 0, k, thread());
    }
    commitAsync();
  }
  template <int STEP>
  FERRITE_DEVICE void multiply(const unsigned char *tile, int firstColumn,
                               const u32 (&zeros)[COLUMNS],
                               PackedSums<F, PIECE, ROWS, COLUMNS> &sums) const {
    u32 left[ROWS][4];
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
      loadLeft(left[i], tile, (warp() % 4 * ROWS + i) * 16, STEP);
    const u32 *const words = (const u32 *)(tile + A_BYTES);
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) {
      const int column = firstColumn + j * 8 + lane() / 4;
      const u32 low = Fragments::template pair<STEP>(words, column, 0, zeros[j]),
                high =
                    Fragments::template pair<STEP>(words, column, 1, zeros[j]);
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
        mmaStep<T>(sums.part[i][j], left[i], low, high);
    }
  }

  template <class Store>
  FERRITE_DEVICE void run(i64 columns, i64 panelColumn, Store store) const {
    PackedSums<F, PIECE, ROWS, COLUMNS> sums;
    float total[ROWS][COLUMNS][4] = {};
    sums.begin();
    sync(); // the last tile is read
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i)
      copy(i, i * 32);
    const int firstColumn = warp() / 4 * 32;
    int stage = 0, strand = 1;
    int zerosOf = -1;
    u32 zeros[COLUMNS];
    for (int k = 0; k < F::depth; k += 32) {
      waitAsync<STAGES - 2>();
      sync();
      copy(stage == 0 ? STAGES - 1 : stage - 1, k + (STAGES - 1) * 32);
      while (k == Lots::firstOf(strand)) {
        join(total, sums);
        ++strand;
      }
      const unsigned char *const tile =
          shared<unsigned char>(stage * STAGE);
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int at = k + s * 16;
        if (at >= F::depth)
          break;
        const u8 *const block = F::blockOf(panel, at);
        loadZeros<Fragments, F>(zeros, zerosOf, at, block, firstColumn);
        s == 0 ? multiply<0>(tile, firstColumn, zeros, sums)
               : multiply<1>(tile, firstColumn, zeros, sums);
        if (Lots::endsPiece(at + 16))
          sums.endPiece(block, firstColumn + lane() % 4 * 2);
      }
      stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    waitAsync<0>();
    for (; strand <= 8; ++strand)
      join(total, sums);
    storeSums(total, firstRow + warp() % 4 * ROWS * 16,
              panelColumn + firstColumn, rows, columns, store);
  }

private:
  /// Ends a strand.
  FERRITE_DEVICE static void
  join(float (&total)[ROWS][COLUMNS][4],
       PackedSums<F, PIECE, ROWS, COLUMNS> &sums) {
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          total[i][j][e] += sums.strand[i][j][e];
          sums.strand[i][j][e] = 0;
        }
  }
};

} // namespace ferrite
#endif // FERRITE_PACKED_MMA_CUH
