//===- SparsePanels.cpp - How weights without zero blocks lie -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/SparsePanels.h"

#include <algorithm>
#include <cstring>

using namespace ferrite;

std::vector<bool> ferrite::keptBlocks(const SparsePanels &panels,
                                      const void *rows, int64_t count) {
  std::vector<bool> kept(panels.blocksOfStrip());
  int64_t elements = panels.blockDepth * count;
  for (size_t i = 0; i < kept.size(); ++i)
    if (panels.isBytes()) {
      auto *block = static_cast<const int8_t *>(rows) + i * elements;
      kept[i] = std::any_of(block, block + elements,
                            [](int8_t value) { return value != 0; });
    } else {
      auto *block = static_cast<const float *>(rows) + i * elements;
      kept[i] = std::any_of(block, block + elements,
                            [](float value) { return value != 0; });
    }
  return kept;
}

SparsePanelWriter::SparsePanelWriter(const SparsePanels &panels, void *out)
    : panels(panels), out(static_cast<char *>(out)) {}

bool SparsePanelWriter::add(const void *rows, int64_t count) {
  int64_t element = panels.isBytes() ? 1 : 4, depth = panels.blockDepth,
          width = panels.stripColumns;
  auto *source = static_cast<const char *>(rows);
  auto *starts = reinterpret_cast<int32_t *>(out);
  auto *sums =
      reinterpret_cast<int32_t *>(out + panels.sumsOffset()) + strip * width;
  auto *index = reinterpret_cast<uint16_t *>(out + panels.indexOffset());
  std::vector<bool> kept = keptBlocks(panels, rows, count);
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i])
      continue;
    if (done == panels.kept)
      return false;
    index[done] = static_cast<uint16_t>(i);
    char *to = out + panels.valuesOffset() + done * panels.blockBytes();
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t n = 0; n < count; ++n) {
        const char *from = source + ((i * depth + k) * count + n) * element;
        std::memcpy(to + (n * depth + k) * element, from, element);
        if (panels.isBytes())
          sums[n] += static_cast<int8_t>(*from);
      }
    ++done;
  }
  starts[++strip] = static_cast<int32_t>(done);
  return true;
}
