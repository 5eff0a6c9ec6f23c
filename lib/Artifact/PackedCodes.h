//===- PackedCodes.h - Panels of codes from a scaled source -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_PACKEDCODES_H
#define FERRITE_LIB_ARTIFACT_PACKEDCODES_H

#include "lib/Artifact/SourceReader.h"

namespace ferrite {

/// Writes a matrix of few bits as kernels read it. Plain data: threads write
/// without a context.
class PackedCodes {
public:
  explicit PackedCodes(PackedAttr packed);

  /// Columns [0, count) of `source`, as columns from `column` on, into bytes
  /// that were zeros. Element (k, n) of the source has index k * depthStride +
  /// n * columnStride.
  void write(const SourceReader &source, int64_t depthStride,
             int64_t columnStride, int64_t column, int64_t count,
             char *out) const;

private:
  PackedPanels panels;
  Kind scaleKind;
  int64_t shift;
};

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_PACKEDCODES_H
