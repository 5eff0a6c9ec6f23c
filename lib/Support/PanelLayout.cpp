//===- PanelLayout.cpp - How packed weights lie ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Packing reads every weight of a model once, so it goes along the lines of the
// source: rows of 64 when columns are adjacent, tiles of 16 k when k is.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/PanelLayout.h"

#include <cstring>

using namespace ferrite;

template <typename T>
static void packPanel(const T *source, int64_t depthStride,
                      int64_t columnStride, int64_t depth, int64_t columns,
                      int64_t width, T *out) {
  // One cache line of the source holds 16 f32 along k.
  constexpr int64_t tile = 16;
  for (int64_t begin = 0; begin < depth; begin += tile) {
    int64_t end = std::min(depth, begin + tile);
    if (columnStride == 1) {
      for (int64_t k = begin; k < end; ++k)
        std::memcpy(out + k * width, source + k * depthStride,
                    columns * sizeof(T));
    } else {
      for (int64_t n = 0; n < columns; ++n) {
        const T *column = source + n * columnStride;
        for (int64_t k = begin; k < end; ++k)
          out[k * width + n] = column[k * depthStride];
      }
    }
    for (int64_t k = begin; k < end && columns < width; ++k)
      std::memset(out + k * width + columns, 0, (width - columns) * sizeof(T));
  }
}

/// The same with `group` neighbours along k together.
template <typename T>
static void packGroups(const T *source, int64_t depthStride,
                       int64_t columnStride, const PanelLayout &layout,
                       int64_t columns, int64_t width, T flip, T *out) {
  int64_t group = layout.group;
  for (int64_t begin = 0; begin < layout.depth; begin += group) {
    int64_t count = std::min(group, layout.depth - begin);
    T *to = out + begin * width;
    std::memset(to, 0, group * width * sizeof(T));
    for (int64_t n = 0; n < columns; ++n)
      for (int64_t k = 0; k < count; ++k)
        to[n * group + k] =
            source[(begin + k) * depthStride + n * columnStride] ^ flip;
  }
}

template <typename T>
static void packRange(const MatrixView &source, const PanelLayout &layout,
                      int64_t firstPanel, int64_t lastPanel, void *out) {
  for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
    int64_t column = panel * PanelLayout::kWidth;
    const T *from =
        static_cast<const T *>(source.data) + column * source.columnStride;
    int64_t columns = std::min(PanelLayout::kWidth, layout.columns - column);
    T *to = static_cast<T *>(out) + layout.offset(panel) -
            layout.offset(firstPanel);
    if (layout.group == 1)
      packPanel(from, source.depthStride, source.columnStride, layout.depth,
                columns, layout.width(panel), to);
    else
      packGroups(from, source.depthStride, source.columnStride, layout, columns,
                 layout.width(panel), static_cast<T>(source.flip), to);
  }
}

void ferrite::packPanels(const MatrixView &source, const PanelLayout &layout,
                         int64_t firstPanel, int64_t lastPanel, void *out) {
  switch (source.elementBytes) {
  case 1:
    return packRange<uint8_t>(source, layout, firstPanel, lastPanel, out);
  case 2:
    return packRange<uint16_t>(source, layout, firstPanel, lastPanel, out);
  case 4:
    return packRange<uint32_t>(source, layout, firstPanel, lastPanel, out);
  default:
    return packRange<uint64_t>(source, layout, firstPanel, lastPanel, out);
  }
}

void ferrite::writeColumnSums(const BytePanels &bytes, void *panels) {
  const PanelLayout &layout = bytes.layout;
  const auto *elements = static_cast<const int8_t *>(panels);
  char *out = static_cast<char *>(panels) + bytes.sumsOffset();
  for (int64_t panel = 0; panel < layout.panels(); ++panel) {
    int64_t width = layout.width(panel);
    int32_t sums[PanelLayout::kWidth] = {};
    const int8_t *at = elements + layout.offset(panel);
    for (int64_t k = 0; k < layout.storedDepth(); k += layout.group)
      for (int64_t n = 0; n < width; ++n)
        for (int64_t i = 0; i < layout.group; ++i)
          sums[n] += *at++;
    std::memcpy(out + panel * PanelLayout::kWidth * 4, sums, width * 4);
  }
}
