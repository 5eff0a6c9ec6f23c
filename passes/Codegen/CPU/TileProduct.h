//===- TileProduct.h - bf16 products in AMX tiles ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Up to 32 rows of x times up to 32 columns of a panel of pairs at a time: two
// tiles of A, two of B and four of sums, of the eight that there are.
//
//            B0 [16 pairs of k][16 columns]   B1
//   A0 [16 rows][32 k]   C00                  C01
//   A1                   C10                  C11
//
// One instruction adds 16 pairs of k to a tile of sums: even and odd products
// apart, then both to the sum. That order goes by absolute k, whatever the rows
// of a tile are.
//
// Where the level says so, tiles are memory and each operation a loop: for
// machines without AMX to test what is computed.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_TILEPRODUCT_H
#define FERRITE_PASSES_CODEGEN_CPU_TILEPRODUCT_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Rows of x that one step takes.
inline constexpr int64_t kTileRows = 32;
/// Scratch for tiles that are memory.
inline constexpr int64_t kTileScratch = 8 * 1024;

/// Of bf16 in pairs along k, or of unsigned and signed bytes in groups of four:
/// 32 bits of either.
struct TileProduct {
  /// kTileRows rows can be read, of `depth` rounded up to groups, with a
  /// partner of 0 for a last odd bf16.
  mlir::Value a;
  int64_t aRow; ///< in elements
  int64_t depth;
  /// A panel of groups (lib/Support/PanelLayout.h).
  mlir::Value b;
  int64_t width;
  bool isBytes = false;
  /// Of bytes: what the sums of each row begin with; null: zero.
  mlir::Value start;

  int64_t elementBytes() const { return isBytes ? 1 : 2; }
  int64_t group() const { return 4 / elementBytes(); } ///< along k
};

/// Sums of rows [0, rowTiles * 16) and the `width` columns, f32 or i32,
/// `outRow` of them a row. Calls with equal row tiles and widths share code.
/// `tiles`: memory of kTileScratch.
void emitTileProduct(KernelBuilder &kb, const TileProduct &product,
                     unsigned rowTiles, mlir::Value out, int64_t outRow,
                     mlir::Value tiles);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_TILEPRODUCT_H
