//===- LinearTiles.cpp - Panels times the rows of a chunk -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Tiles of registers over the whole of K, the tiles of AMX, and few rows.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/LinearEmitter.h"
#include "passes/Codegen/CPU/WordProduct.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// Whether the full tiles of a panel fetch the next panel meanwhile: it does
/// not lie in the second-level cache already, and fits there beside this one.
/// Worth 3 to 10 points of the peak at K = 768, N = 3072 (README.md). Bytes
/// are used four times as fast, and of a model of 85 MB they come from DRAM.
bool LinearEmitter::prefetchesNextPanel(int64_t width, unsigned columns) {
  int64_t bytes = bytesOf(spec.weightType);
  return width == int64_t(columns) * kb.lanes() &&
         (isBytes || packed.elements() * bytes > 2 * kb.level().l2Bytes) &&
         2 * panelBytes() + kMostRows * spec.depth * (isBytes ? 1 : 4) <=
             kb.level().l2Bytes;
}

/// What the tile-th tile of a chunk fetches of the panel after `panel`. The
/// first tiles of a chunk of kMostRows share it; those after them find it.
Value LinearEmitter::nextPart(Value panel, Value tile) {
  int64_t rowBytes = PanelLayout::kWidth * bytesOf(spec.weightType);
  int64_t parts = rowBytes / ProductTile::kNextBytes;
  Value next = kb.min(kb.add(panel, 1), packed.panels() - 1);
  Value offset = kb.add(
      kb.mul(next, panelBytes()),
      kb.mul(kb.min(tile, parts - 1), spec.depth * ProductTile::kNextBytes));
  return kb.gep(kb.ptr(1), kb.getI8Type(), offset);
}

LogicalResult LinearEmitter::emitTiles(Value panel, Value firstRow, Value rows,
                                       int64_t width, int64_t used) {
  int64_t columns = width / kb.lanes();
  SmallVector<Value> masks = masksOf(columns, used);
  ProductTile whole = columnTile(panel, firstRow, width);
  LogicalResult status = success();
  kb.forLoop(kb.c(0), rows, kb.c(kTileRows), [&](Value row) {
    Value count = kb.min(kb.c(kTileRows), kb.sub(rows, row));
    TileProduct product{kb.gep(whole.a, whole.aType, kb.mul(row, whole.aRow)),
                        copyRow,
                        spec.depth,
                        whole.b,
                        width,
                        isBytes,
                        start};
    auto tiles = [&](unsigned rowTiles) {
      emitTileProduct(kb, product, rowTiles, kb.scratch(), width,
                      kb.gep(kb.scratch(), kb.getI8Type(), kTilesAt));
    };
    kb.ifElse(
        kb.le(count, kTileRows / 2), [&] { tiles(1); }, [&] { tiles(2); });
    status = emitEpilogue(kb, epilogue(), kb.scratch(), kb.c(width),
                          kb.add(firstRow, row), count,
                          kb.mul(panel, PanelLayout::kWidth), columns, masks);
  });
  return status;
}

LogicalResult LinearEmitter::emitSkinny(Value panel, Value firstRow,
                                        Value rows) {
  kb.requireScratch(kSkinnyScratch);
  emitSkinnyPanel(kb, columnTile(panel, firstRow, PanelLayout::kWidth), rows,
                  kb.scratch());
  LogicalResult status = success();
  int64_t slice = int64_t(kb.level().columns) * kb.lanes();
  kb.forLoop(kb.c(0), kb.c(PanelLayout::kWidth), kb.c(slice), [&](Value at) {
    Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), at);
    status = emitEpilogue(kb, epilogue(), kb.gep(kb.scratch(), kb.f32(), at),
                          kb.c(PanelLayout::kWidth), firstRow, rows, column,
                          kb.level().columns, {});
  });
  return status;
}

/// Where fewer columns are used than the registers hold; else none.
SmallVector<Value> LinearEmitter::masksOf(unsigned columns, int64_t used) {
  int64_t lanes = kb.lanes();
  SmallVector<Value> masks;
  for (unsigned c = 0; used < columns * lanes && c < columns; ++c)
    masks.push_back(used - c * lanes >= lanes
                        ? Value()
                        : kb.tailMask(kb.c(used - c * lanes)));
  return masks;
}

LogicalResult LinearEmitter::emitSlice(Value panel, Value firstRow, Value rows,
                                       int64_t width, Value slice,
                                       unsigned columns, int64_t used) {
  int64_t lanes = kb.lanes();
  SmallVector<Value> masks = masksOf(columns, used);
  ProductTile columnTile = this->columnTile(panel, firstRow, width);
  columnTile.columns = columns;
  columnTile.b =
      kb.gep(columnTile.b, columnTile.bType, kb.mul(slice, packed.group));
  if (isWide) {
    Value words = kb.gep(kb.scratch(), kb.getI8Type(), wordsAt);
    emitWordColumns(kb, columnTile.b, width, columns, spec.depth, words);
    columnTile.b = words;
    columnTile.bType = copyType;
    columnTile.bDepth = kb.c(columns * lanes);
    columnTile.depth = kb.c(wordDepth(kb.level(), spec.depth));
    width = columns * lanes;
  }
  if (start)
    columnTile.start = kb.gep(start, kb.f32(), slice);
  Value x = columnTile.a;
  Epilogue epilogue = this->epilogue();

  unsigned maxRows = rowsOfTile(columns);
  // Behind the sums that a row begins with.
  int64_t startBytes = start ? PanelLayout::kWidth * 4 : 0;
  int64_t sumBytes = startBytes + maxRows * columns * lanes * 4;
  Value sums = kb.gep(kb.scratch(), kb.getI8Type(), startBytes);
  assert(sumBytes <= kCopyAt && "the copy would be overwritten");
  kb.requireScratch(sumBytes);
  LogicalResult status = success();
  forRowTiles(
      kb, rows, maxRows,
      [&](Value row, unsigned count) {
        ProductTile tile = columnTile;
        tile.rows = count;
        // Few rows wait for B. So do slices of a panel, because the machine's
        // own prefetcher does not follow their stride. Elsewhere it costs a
        // little (Zen 5, README.md).
        bool waits = count < maxRows || columns * lanes < width;
        tile.prefetchBytes = waits ? kb.level().prefetchBytes : 0;
        if (isWide)
          tile.prefetchBytes = 0; // widening fetched it all
        else if (count == maxRows && prefetchesNextPanel(width, columns))
          tile.next = nextPart(panel, kb.div(row, maxRows));
        tile.a = kb.gep(x, tile.aType, kb.mul(row, tile.aRow));
        emitProductPart(kb, isWide ? "words" : tagOf(width), tile, sums,
                        columns * lanes,
                        /*goOn=*/false);
      },
      [&](Value row, Value count) {
        Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), slice);
        if (failed(emitEpilogue(kb, epilogue, sums, kb.c(columns * lanes),
                                kb.add(firstRow, row), count, column, columns,
                                masks)))
          status = failure();
      });
  return status;
}
