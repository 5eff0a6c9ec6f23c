//===- LinearDeep.cpp - Panels that crowd the second-level cache ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Blocks of k one after the other, while the sums of a chunk wait in scratch.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/LinearEmitter.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// The k of a block: with chunks of kDeepRows the best of 256, 512 and 1024
/// (README.md).
static constexpr int64_t kDeepBlock = 512;

/// One block of k, all rows of the chunk, some registers of columns.
void LinearEmitter::emitDeepSlice(const ProductTile &block, int64_t most,
                                  Value rows, Value slice, unsigned columns,
                                  int64_t width) {
  unsigned maxRows = rowsOfTile(columns);
  int64_t lineBytes = width * bytesOf(spec.weightType);
  bool isWhole = int64_t(columns) * kb.lanes() == width;
  Value next = kb.gep(block.b, kb.getI8Type(), most * lineBytes);
  forRowTiles(kb, rows, maxRows, [&](Value row, unsigned count) {
    ProductTile tile = block;
    tile.rows = count;
    tile.columns = columns;
    tile.b = kb.gep(block.b, block.bType, kb.mul(slice, packed.group));
    tile.a = kb.gep(block.a, tile.aType, kb.mul(row, tile.aRow));
    // The next block lies right behind this one. Slices of it are fetched as
    // they are read, because they do not follow each other.
    if (isWhole) {
      Value part =
          kb.min(kb.div(row, maxRows),
                 std::max<int64_t>(lineBytes / ProductTile::kNextBytes, 1) - 1);
      tile.next = kb.gep(next, kb.getI8Type(),
                         kb.mul(part, most * ProductTile::kNextBytes));
    } else {
      tile.prefetchBytes = kb.level().prefetchBytes;
    }
    Value out =
        kb.gep(kb.scratch(), kb.f32(), kb.add(kb.mul(row, width), slice));
    emitProductPart(kb, "deep" + tagOf(width), tile, out, width, /*goOn=*/true);
  });
}

/// Sums of all rows of the chunk, one block of k after the other: a block is in
/// the second level while the tiles pass. A sum that waits in memory is the
/// same number.
LogicalResult LinearEmitter::emitDeep(Value panel, Value firstRow, Value rows,
                                      int64_t width, int64_t used) {
  int64_t blocks = llvm::divideCeil(spec.depth, kDeepBlock);
  int64_t most = llvm::alignTo(llvm::divideCeil(spec.depth, blocks), 8);
  kb.requireScratch((kDeepRows * 3 / 2 + kb.level().rows) *
                    PanelLayout::kWidth * 4);
  kb.forLoop(kb.c(0), kb.mul(rows, width), kb.c(kb.lanes()), [&](Value i) {
    kb.store(kb.splat(0), kb.gep(kb.scratch(), kb.f32(), i));
  });
  ProductTile whole = columnTile(panel, firstRow, width);
  kb.forLoop(kb.c(0), kb.c(spec.depth), kb.c(most), [&](Value k) {
    ProductTile block = whole;
    block.depth = spec.depth % most == 0
                      ? kb.c(most)
                      : kb.min(kb.c(most), kb.sub(kb.c(spec.depth), k));
    block.a = kb.gep(whole.a, whole.aType, kb.mul(k, whole.aDepth));
    block.b = kb.gep(whole.b, whole.bType, kb.mul(k, whole.bDepth));
    forSlices(used, [&](Value slice, unsigned columns, int64_t) {
      emitDeepSlice(block, most, rows, slice, columns, width);
    });
  });
  LogicalResult status = success();
  forSlices(used, [&](Value slice, unsigned columns, int64_t left) {
    Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), slice);
    if (failed(emitEpilogue(
            kb, epilogue(), kb.gep(kb.scratch(), kb.f32(), slice), kb.c(width),
            firstRow, rows, column, columns, masksOf(columns, left))))
      status = failure();
  });
  return status;
}
