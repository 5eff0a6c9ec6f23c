//===- LinearSparse.cpp - Strips of kept blocks times rows ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The tiles of the dense kernel, as wide as a strip, over the blocks that it
// keeps: columns are one stream, and rows are read where the index of a block
// says. A row's sum adds what the dense one adds in the same order, but for
// products of zeros, so its bits are the same.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// Rows of a tile: more than in the dense kernel, because a strip has one or
/// two registers of columns to a row's broadcast. More rows than these make
/// more tails than they save loads (Zen 5, README.md).
unsigned LinearEmitter::rowsOfStrip(unsigned columns) {
  unsigned fit = tileRows(kb.level(), columns, isBytes);
  if (kb.level().registers < 32 || fit * columns >= 24 ||
      (isBytes && kb.level().byteDot() != ByteDot::Fours))
    return fit;
  return columns == 1 ? 16 : 12;
}

/// Tiles that fetch the next strip.
static constexpr int64_t kNextParts = 4;

/// Some registers of columns, from `at` of the panel and `inStrip` of the strip
/// on, times all rows.
LogicalResult LinearEmitter::emitStripSlice(const Strip &strip, Value panel,
                                            Value firstRow, Value rows,
                                            Value at, int64_t inStrip,
                                            unsigned columns, int64_t used) {
  int64_t lanes = kb.lanes();
  SmallVector<Value> masks = masksOf(columns, used);
  ProductTile strips = columnTile(panel, firstRow, sparse.stripColumns);
  strips.columns = columns;
  strips.depth = strip.depth;
  strips.aIndex = strip.index;
  strips.b = kb.gep(strip.values, kb.getI8Type(),
                    inStrip * sparse.blockBytes() / sparse.stripColumns);
  if (start)
    strips.start = kb.gep(start, kb.f32(), at);
  Value x = strips.a;
  unsigned maxRows = rowsOfStrip(columns);
  int64_t startBytes = start ? PanelLayout::kWidth * 4 : 0;
  int64_t sumBytes = startBytes + maxRows * columns * lanes * 4;
  Value sums = kb.gep(kb.scratch(), kb.getI8Type(), startBytes);
  assert(sumBytes <= kCopyAt && "the copy would be overwritten");
  kb.requireScratch(sumBytes);
  Epilogue epilogue = this->epilogue();
  LogicalResult status = success();
  forRowTiles(
      kb, rows, maxRows,
      [&](Value row, unsigned count) {
        ProductTile tile = strips;
        tile.rows = count;
        tile.a = kb.gep(x, tile.aType, kb.mul(row, tile.aRow));
        // The next strip lies right behind; the first tiles share it.
        if (count == maxRows) {
          Value part = kb.min(kb.div(row, maxRows), kNextParts - 1);
          tile.nextBytes = sparse.blockBytes() / sparse.blockDepth / kNextParts;
          tile.next =
              kb.gep(strip.values, kb.getI8Type(),
                     kb.mul(strip.depth,
                            kb.add(kb.mul(part, tile.nextBytes),
                                   sparse.blockBytes() / sparse.blockDepth)));
        }
        emitProductPart(kb, "strip", tile, sums, columns * lanes,
                        /*goOn=*/false);
      },
      [&](Value row, Value count) {
        Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), at);
        if (failed(emitEpilogue(kb, epilogue, sums, kb.c(columns * lanes),
                                kb.add(firstRow, row), count, column, columns,
                                masks)))
          status = failure();
      });
  return status;
}

LogicalResult LinearEmitter::emitStrips(Value panel, Value firstRow, Value rows,
                                        int64_t used) {
  Type i32 = kb.getI32Type(), i8 = kb.getI8Type();
  int64_t width = sparse.stripColumns,
          slice = std::min<int64_t>(width, kb.level().columns * kb.lanes());
  LogicalResult status = success();
  auto emitStrip = [&](Value at, int64_t left) {
    auto startAt = [&](Value strip) {
      Value count = kb.load(i32, kb.gep(kb.ptr(1), i32, strip));
      return arith::ExtUIOp::create(kb, kb.getI64Type(), count).getResult();
    };
    Value number =
        kb.add(kb.mul(panel, PanelLayout::kWidth / width), kb.div(at, width));
    Value begin = startAt(number), kept = startAt(kb.c(sparse.strips()));
    Strip strip;
    strip.depth =
        kb.mul(kb.sub(startAt(kb.add(number, 1)), begin), sparse.blockDepth);
    strip.index =
        kb.gep(kb.ptr(1), i8, kb.add(kb.mul(begin, 2), sparse.indexOffset()));
    constexpr int64_t align = SparsePanels::kAlign;
    Value values =
        kb.ceilDiv(kb.add(kb.mul(kept, 2), sparse.indexOffset()), align);
    strip.values = kb.gep(
        kb.ptr(1), i8,
        kb.add(kb.mul(values, align), kb.mul(begin, sparse.blockBytes())));
    for (int64_t in = 0; in < left; in += slice) {
      int64_t columns = std::min(slice, left - in);
      if (failed(emitStripSlice(strip, panel, firstRow, rows, kb.add(at, in),
                                in, llvm::divideCeil(columns, kb.lanes()),
                                columns)))
        status = failure();
    }
  };
  int64_t full = used / width * width;
  if (full > 0)
    kb.forLoop(kb.c(0), kb.c(full), kb.c(width),
               [&](Value at) { emitStrip(at, width); });
  if (full < used)
    emitStrip(kb.c(full), used - full);
  return status;
}
