//===- PanelLayout.h - How packed weights lie -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The one weight layout, read by the kernels of every level: a K x N matrix is
// cut into panels of 64 columns, and in each panel the 64 values of one k are
// adjacent, K after K:
//
//   [ceil(N/64)][K][64]        element (k, n) at (n/64)*K*64 + k*64 + n%64
//
// Instructions that multiply and add `group` neighbours along k want those
// adjacent (g = 4 of bytes; K is then filled up with zeros to whole groups):
//
//   [ceil(N/64)][ceil(K/g)][64][g]
//
// The last panel is only as wide as it must be: N%64 rounded up to 16, with
// zeros in the columns past N. So a panel begins at panel*K*64 always, and
// small matrices carry at most 15 columns of padding.
//
// Dot instructions take 2 or 4 values of k from one 32-bit lane. For those, k
// goes in groups of g = 2 (bf16) or 4 (int8), with zeros behind an odd K:
//
//   [ceil(N/64)][ceil(K/g)][64][g]
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_SUPPORT_PANELLAYOUT_H
#define FERRITE_LIB_SUPPORT_PANELLAYOUT_H

#include <algorithm>
#include <cstdint>

namespace ferrite {

struct PanelLayout {
  static constexpr int64_t kWidth = 64; ///< columns of a full panel
  static constexpr int64_t kStep = 16;  ///< widths are multiples of this

  int64_t depth = 0;   ///< K
  int64_t columns = 0; ///< N
  int64_t group = 1;   ///< neighbours along k that lie together

  /// K, filled up to whole groups.
  int64_t storedDepth() const { return (depth + group - 1) / group * group; }
  int64_t panels() const { return (columns + kWidth - 1) / kWidth; }
  /// Columns of a panel in memory, padding included.
  int64_t width(int64_t panel) const {
    int64_t left = columns - panel * kWidth;
    return std::min(kWidth, (left + kStep - 1) / kStep * kStep);
  }
  /// Elements before a panel.
  int64_t offset(int64_t panel) const { return panel * storedDepth() * kWidth; }
  /// Elements before (k, n).
  int64_t offset(int64_t k, int64_t n) const {
    int64_t panel = n / kWidth;
    return offset(panel) + k / group * group * width(panel) +
           n % kWidth * group + k % group;
  }
  /// Elements of the whole matrix.
  int64_t elements() const {
    return columns == 0
               ? 0
               : offset(panels() - 1) + storedDepth() * width(panels() - 1);
  }
};

/// A K x N matrix as it comes: element (k, n) is `elementBytes` bytes at
/// data + (k * depthStride + n * columnStride) * elementBytes.
struct MatrixView {
  const void *data = nullptr;
  int64_t depthStride = 0;
  int64_t columnStride = 0;
  unsigned elementBytes = 4; ///< 1, 2, 4 or 8
  uint8_t flip = 0;          ///< bits that change in each byte of a group
};

/// Signed bytes as products with unsigned ones read them: panels of groups of
/// 4, then the sum of each column, as i32, for as many columns as the panels
/// have with their padding. A zero point z of the other side is then
/// sum((a - z) * w) = sum(a * w) - z * sum(w).
struct BytePanels {
  PanelLayout layout;

  BytePanels(int64_t depth, int64_t columns) : layout{depth, columns, 4} {}
  int64_t sumsOffset() const { return layout.elements(); } ///< in bytes
  int64_t storedColumns() const {
    return layout.columns == 0 ? 0
                               : (layout.panels() - 1) * PanelLayout::kWidth +
                                     layout.width(layout.panels() - 1);
  }
  int64_t bytes() const { return sumsOffset() + storedColumns() * 4; }
};

/// Packs panels [firstPanel, lastPanel) to `out`, where the first of them
/// begins. Calls for different ranges may run in parallel.
void packPanels(const MatrixView &source, const PanelLayout &layout,
                int64_t firstPanel, int64_t lastPanel, void *out);

inline void packPanels(const MatrixView &source, const PanelLayout &layout,
                       void *out) {
  packPanels(source, layout, 0, layout.panels(), out);
}

/// Writes the column sums of panels that lie at `panels` behind them.
void writeColumnSums(const BytePanels &layout, void *panels);

} // namespace ferrite
#endif // FERRITE_LIB_SUPPORT_PANELLAYOUT_H
