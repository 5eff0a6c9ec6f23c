//===- PackedCodes.cpp - Panels of codes from a scaled source -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Codes are unsigned: those of signed elements have half of their range added,
// and so have integer zero points beside them.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/PackedCodes.h"

#include <algorithm>

using namespace ferrite;

PackedCodes::PackedCodes(PackedAttr packed)
    : panels(packed.getPanels()), scaleKind(*kindOf(packed.getScale())),
      shift(packed.getShift()) {}

void PackedCodes::write(const SourceReader &source, int64_t depthStride,
                        int64_t columnStride, int64_t column, int64_t count,
                        char *out) const {
  bool isSigned = !isUnsignedKind(source.kind());
  int64_t half = isSigned ? int64_t(1) << (panels.bits - 1) : 0;
  int64_t mask = (int64_t(1) << panels.bits) - 1;
  auto *data = reinterpret_cast<unsigned char *>(out);
  for (int64_t n = 0; n < count; ++n)
    for (int64_t block = 0; block < panels.blocks(); ++block) {
      int64_t first = block * panels.blockDepth(), to = column + n;
      int64_t at = first * depthStride + n * columnStride;
      char *begin = out + panels.blockOffset(first, to);
      int64_t place = to % PackedPanels::kWidth;
      writeFloat(scaleKind, begin, place, source.scaleAt(at));
      char *zeros = begin + panels.zerosOffset();
      // Where some sources have none, theirs are what the codes are less.
      if (panels.zeroBytes == 1)
        zeros[place] = static_cast<char>(
            source.hasZero() ? source.zeroAt(at).i + half : half);
      else if (panels.zeroBytes == 4)
        writeFloat(Kind::F32, zeros, place,
                   source.hasZero()
                       ? toDouble(source.zeroKind(), source.zeroAt(at))
                       : 0.0);
      for (int64_t k = first, end = first + panels.depthOf(block); k < end;
           ++k, at += depthStride)
        panels.write(
            data, k, to,
            static_cast<unsigned>((source.element(at).i + half) & mask));
    }
}
