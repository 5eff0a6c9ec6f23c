//===- SparsePanels.h - How weights without zero blocks lie -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A K x N matrix is cut into strips of 16 or 32 columns, and a strip into
// blocks of `blockDepth` k: 4 of bytes, which one instruction takes, 1 of f32.
// Blocks of zeros alone are not stored. What is fixed comes first, so that one
// kernel reads matrices of all densities:
//
//   i32 [strips + 1]          blocks kept before each strip; then all of them
//   i32 [strips * columns]    of bytes: the sum of each column
//   u16 [kept]                k / blockDepth of each block, ascending in a
//   strip to a multiple of 64 [kept][columns][blockDepth]
//
// A last strip of fewer columns is filled up with zeros.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_SUPPORT_SPARSEPANELS_H
#define FERRITE_LIB_SUPPORT_SPARSEPANELS_H

#include <cstdint>
#include <vector>

namespace ferrite {

struct SparsePanels {
  int64_t depth = 0;        ///< K, a multiple of blockDepth
  int64_t columns = 0;      ///< N
  int64_t stripColumns = 0; ///< 16 or 32
  int64_t blockDepth = 1;   ///< 1 of f32, 4 of bytes
  int64_t kept = 0;

  /// Positions of blocks are stored in 16 bits.
  static constexpr int64_t kMostBlocks = int64_t(1) << 16;
  bool isValid() const {
    return depth > 0 && columns > 0 && depth % blockDepth == 0 &&
           blocksOfStrip() <= kMostBlocks && kept >= 0 &&
           kept <= strips() * blocksOfStrip();
  }

  int64_t strips() const { return (columns + stripColumns - 1) / stripColumns; }
  int64_t blocksOfStrip() const { return depth / blockDepth; }
  bool isBytes() const { return blockDepth == 4; }
  int64_t blockBytes() const { return stripColumns * 4; }
  int64_t sumsOffset() const { return (strips() + 1) * 4; }
  int64_t indexOffset() const {
    return sumsOffset() + (isBytes() ? strips() * stripColumns * 4 : 0);
  }
  static constexpr int64_t kAlign = 64;
  int64_t valuesOffset() const {
    return (indexOffset() + kept * 2 + kAlign - 1) / kAlign * kAlign;
  }
  int64_t bytes() const { return valuesOffset() + kept * blockBytes(); }
};

/// Writes the strips of a matrix one after the other.
class SparsePanelWriter {
public:
  /// `out`: panels.bytes() zeros.
  SparsePanelWriter(const SparsePanels &panels, void *out);

  /// The next strip, [depth][count] elements row by row; `count` is
  /// stripColumns, or fewer in the last one. False if more blocks are kept
  /// than there is room for; those are not written.
  bool add(const void *rows, int64_t count);
  /// Whether as many blocks were kept as the layout says.
  bool isComplete() const { return done == panels.kept; }

private:
  const SparsePanels panels;
  char *out;
  int64_t strip = 0, done = 0;
};

/// Whether each block of a strip is kept: [depth][count] elements of 1 or 4
/// bytes, row by row. 0.0 and -0.0 are zeros.
std::vector<bool> keptBlocks(const SparsePanels &panels, const void *rows,
                             int64_t count);

} // namespace ferrite
#endif // FERRITE_LIB_SUPPORT_SPARSEPANELS_H
