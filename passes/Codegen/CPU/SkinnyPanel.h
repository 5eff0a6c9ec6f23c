//===- SkinnyPanel.h - Few rows times a panel of weights --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// With 16 rows or fewer a product is as fast as its weights come from memory.
// A panel then is not read tile by tile from its begin to its end, but in
// blocks of k that stay in the first or second level of caches:
//
//   panel   [ block 0 ][ block 1 ][ block 2 ] next panel [ block 0 ] ...
//               ^ slices of columns and rows that share the block: one or more
//                 register tiles, whose sums wait in scratch
//                          ^ meanwhile each of them fetches its part of this
//
// So there is one stream of weights, read at an even pace, whatever the number
// of tiles is. Sums go on where they stopped: each element adds its products in
// the order of k, as everywhere (MicroKernel.h).
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_SKINNYPANEL_H
#define FERRITE_PASSES_CODEGEN_CPU_SKINNYPANEL_H

#include "passes/Codegen/CPU/MicroKernel.h"

namespace ferrite::cpu {

/// Products of so many rows or fewer are bound by memory.
inline constexpr int64_t kSkinnyRows = 16;

/// Scratch for a panel: its sums [kSkinnyRows][64].
inline constexpr int64_t kSkinnyScratch = kSkinnyRows * 64 * 4;

/// Rows [0, rows) of `panel`, 1 to kSkinnyRows, times 64 columns. Of `panel`
/// all is used but `rows`, `columns` and what is prefetched; the depth is a
/// constant, and rows are of f32, or of bf16 for dots. The sums come to lie at
/// `scratch`, 64 floats a row.
void emitSkinnyPanel(KernelBuilder &kb, const ProductTile &panel,
                     mlir::Value rows, mlir::Value scratch);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_SKINNYPANEL_H
