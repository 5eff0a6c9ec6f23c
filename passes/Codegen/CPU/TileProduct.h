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

struct TileProduct {
  /// kTileRows rows can be read, of `depth` rounded up to pairs, with a partner
  /// of 0 for a last odd k.
  mlir::Value a;
  int64_t aRow; ///< in elements
  int64_t depth;
  /// A panel of pairs (lib/Support/PanelLayout.h).
  mlir::Value b;
  int64_t width;
};

/// Sums of rows [0, rowTiles * 16) and the `width` columns, `outRow` floats a
/// row. Calls with equal row tiles and widths share code. `tiles`: memory of
/// kTileScratch.
void emitTileProduct(KernelBuilder &kb, const TileProduct &product,
                     unsigned rowTiles, mlir::Value out, int64_t outRow,
                     mlir::Value tiles);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_TILEPRODUCT_H
