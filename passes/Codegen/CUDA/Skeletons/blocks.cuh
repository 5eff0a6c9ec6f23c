// blocks.cuh - Which blocks of keys a row of a list keeps
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A list may be data: in any order, with columns twice or of no block. So a
// block of threads makes a set of bits of it, which is walked in order.
#ifndef FERRITE_BLOCKS_CUH
#define FERRITE_BLOCKS_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// All tiles of keys, one after the other.
struct EveryTile {
  FERRITE_DEVICE i64 operator()(i64 first) const { return first; }
};

/// Of keys in blocks of BLOCK, in tiles of TILE.
template <int BLOCK, int TILE>
struct KeptBlocks {
  static_assert(32 * BLOCK % TILE == 0, "words of bits begin with a tile");
  static constexpr int LIMIT = 16384; ///< blocks that have a bit
  static constexpr int BYTES = LIMIT / 8;

  u32 *bits; ///< of shared memory
  const int *columns, *columnsEnd;
  i64 keyEnd;
  bool all;

  /// By all threads. `row` of `rows`, the ends of `listed` rows among
  /// `entries`; a row that is not there, is out of order or has no block of
  /// `keys` keeps all.
  FERRITE_DEVICE void read(const int *rows, i64 listed, i64 row,
                           const int *entriesBegin, i64 entries, i64 keys) {
    const i64 blocks = (keys + BLOCK - 1) / BLOCK;
    i64 from = 0, to = 0;
    if (row >= 0 && row + 1 < listed) {
      from = rows[row];
      to = rows[row + 1];
      if (from < 0 || to > entries || to < from)
        from = to = 0;
    }
    columns = entriesBegin + from;
    columnsEnd = entriesBegin + to;
    keyEnd = keys;
    sync(); // the last row's are read
    for (int i = thread(); i < LIMIT / 32; i += threads())
      bits[i] = 0;
    sync();
    bool some = false;
    for (const int *at = columns + thread(); at < columnsEnd; at += threads()) {
      const int column = *at;
      if (column < 0 || column >= blocks)
        continue;
      some = true;
      if (column < LIMIT)
        setBit(bits, column);
    }
    all = !syncAny(some);
  }

  FERRITE_DEVICE bool has(i64 block) const {
    if (all)
      return true;
    if (block < LIMIT)
      return (bits[block / 32] >> block % 32 & 1) != 0;
    for (const int *at = columns; at < columnsEnd; ++at)
      if (*at == block)
        return true;
    return false;
  }
  FERRITE_DEVICE bool hasKey(i64 key) const {
    return BLOCK % TILE == 0 || has(key / BLOCK);
  }

  /// The first tile from `first` on that has a kept key, or one behind all.
  FERRITE_DEVICE i64 operator()(i64 first) const {
    if (all)
      return first;
    while (first < keyEnd) {
      const i64 block = first / BLOCK;
      if (block < LIMIT) {
        const u32 rest = bits[block / 32] >> block % 32;
        if (rest) {
          const i64 set = block + countBits((rest & (0 - rest)) - 1),
                    at = set * BLOCK / TILE * TILE;
          return at > first ? at : first;
        }
        first = (block / 32 + 1) * 32 * BLOCK; // where a tile begins
        continue;
      }
      for (i64 b = block; b * BLOCK < first + TILE; ++b)
        if (has(b))
          return first;
      first += TILE;
    }
    return first;
  }
};

} // namespace ferrite
#endif // FERRITE_BLOCKS_CUH
