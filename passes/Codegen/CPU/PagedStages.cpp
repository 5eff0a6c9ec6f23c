//===- PagedStages.cpp - From queries and keys to sums of values ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each score is one chain of FMAs over D, each sum of values one over the keys
// of a block, whatever tile computes it: one row of a decode or six of a chunk
// have the same bits.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"
#include "passes/Codegen/CPU/VectorMath.h"

using namespace mlir;
using namespace ferrite::cpu;

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

SmallVector<PagedEmitter::Tile> PagedEmitter::cut(int64_t count, int64_t most) {
  SmallVector<Tile> tiles;
  int64_t parts = llvm::divideCeil(count, most), at = 0;
  for (int64_t p = 0; p < parts; ++p) {
    int64_t size = llvm::divideCeil(count - at, parts - p);
    tiles.push_back({at, static_cast<unsigned>(size)});
    at += size;
  }
  return tiles;
}

unsigned PagedEmitter::streamRows(unsigned columns) const {
  return std::max((kb.level().registers - columns - 1) / columns, 1u);
}

unsigned PagedEmitter::streamColumns(unsigned rows, unsigned most,
                                     bool divides) const {
  const CpuLevel &level = kb.level();
  // x86 multiplies the columns of one row straight from memory.
  unsigned single =
      lanes >= 8 ? level.registers / 2 : (level.registers - 2) / 2;
  unsigned columns =
      rows == 1 ? std::min(most, single)
                : std::min(most, std::max(level.columns,
                                          level.registers / (rows + 2)));
  // More rows than two registers of columns leave room for are cut instead.
  while (columns > 2 && streamRows(columns) < rows && rows > 1)
    --columns;
  while (divides && most % columns != 0)
    --columns;
  return columns;
}

Value PagedEmitter::pageOf(unsigned pool, Value pages, Value page) {
  Value number = arith::ExtSIOp::create(
      kb, kb.i64(),
      kb.load(elementOf(PagedSpec::kTables),
              kb.gep(pages, elementOf(PagedSpec::kTables), page)));
  return kb.address(pool, {number, keyHead});
}

//===----------------------------------------------------------------------===//
// Pages of bytes
//===----------------------------------------------------------------------===//

Value PagedEmitter::unpackKeys(Value page, Value ahead, Value to) {
  emitUnpackKeys(kb, *keyRecord, page, ahead, to);
  return to;
}

Value PagedEmitter::unpackValues(Value page, Value ahead, Value to,
                                 Value count) {
  emitUnpackValues(kb, *valueRecord, page, ahead, to, count, valueStride);
  return to;
}

/// Pages of keys [lower, upper) of a block, once for all rows of a chunk.
void PagedEmitter::unpackBlock(Value pages, Value lower, Value upper) {
  kb.forLoop(lower, upper, kb.c(kPage), [&](Value key) {
    Value page = kb.div(key, kPage);
    if (spec.hasSelected) {
      Value last = kb.div(kb.sub(upper, 1), kPage);
      Value ahead = kb.min(kb.add(page, 1), last);
      gatherKeys(pages, page, ahead, place(wideKeys, key, depth));
      gatherValues(pages, page, ahead, place(wideValues, key, valueStride));
      return;
    }
    unpackKeys(pageOf(PagedSpec::kKeys, pages, page), Value(),
               place(wideKeys, key, depth));
    unpackValues(pageOf(PagedSpec::kValues, pages, page), Value(),
                 place(wideValues, key, valueStride),
                 kb.min(kb.sub(upper, key), kPage));
  });
}

void PagedEmitter::copyQuery(Value row, Value to) {
  Type storage = elementOf(PagedSpec::kQuery);
  Value from =
      kb.address(PagedSpec::kQuery,
                 {kb.c(0), kb.add(firstToken, tokenOf(row)), headOf(row)});
  kb.forVectors(kb.c(depth), [&](Value at, Value mask) {
    kb.store(kb.loadF32(kb.gep(from, storage, at), storage, mask),
             kb.gep(to, kb.f32(), at), 4);
  });
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

void PagedEmitter::emitKeyTile(const ProductTile &tile, Value out) {
  Value scale =
      kb.splat(spec.softcap == 0 ? spec.scale : spec.scale / spec.softcap);
  for (auto [i, sum] : llvm::enumerate(emitProduct(kb, tile))) {
    Value score = kb.mulF(sum, scale);
    if (spec.softcap != 0)
      score = kb.mulF(emitTanh(kb, kb.getLoc(), score, kb.level().isAvx512()),
                      kb.splat(spec.softcap));
    storeVec(score, kb.gep(out, kb.f32(),
                           int64_t(i / tile.columns) * kTileStride +
                               int64_t(i % tile.columns) * int64_t(lanes)));
  }
}

void PagedEmitter::emitKeys(unsigned rows, Value queries, Value page,
                            Value scores) {
  std::string name = "keys." + std::to_string(rows);
  kb.callPart(name, {queries, page, scores}, [&](ValueRange p) {
    ProductTile tile;
    tile.rows = rows;
    tile.columns = std::min<unsigned>(kb.level().columns, kPage / lanes);
    tile.depth = kb.c(depth);
    tile.a = p[0];
    tile.aType = kb.f32();
    tile.aRow = kb.c(queryStride);
    tile.aDepth = kb.c(1);
    tile.bType = keyType();
    tile.bDepth = kb.c(kPage);
    kb.forLoop(kb.c(0), kb.c(kPage), kb.c(tile.columns * lanes),
               [&](Value key) {
                 tile.b = kb.gep(p[1], tile.bType, key);
                 emitKeyTile(tile, kb.gep(p[2], kb.f32(), key));
               });
  });
}

/// All rows of one token. While it reads a page it fetches another.
void PagedEmitter::emitKeyStream(Value queries, Value page, Value ahead,
                                 Value scores) {
  unsigned registers = kPage / lanes;
  unsigned columns = streamColumns(group, registers, /*divides=*/true);
  kb.callPart("keys", {queries, page, ahead, scores}, [&](ValueRange p) {
    ProductTile tile;
    tile.columns = columns;
    tile.depth = kb.c(depth);
    tile.aType = kb.f32();
    tile.aRow = kb.c(queryStride);
    tile.aDepth = kb.c(1);
    tile.bType = keyType();
    tile.bDepth = kb.c(kPage);
    int64_t width = columns * lanes;
    tile.nextBytes = width * tile.bType.getIntOrFloatBitWidth() / 8;
    kb.forLoop(kb.c(0), kb.c(kPage), kb.c(width), [&](Value key) {
      tile.b = kb.gep(p[1], tile.bType, key);
      for (auto [first, count] : cut(group, streamRows(columns))) {
        tile.rows = count;
        tile.a = kb.gep(p[0], kb.f32(), first * queryStride);
        tile.next = first == 0 && !isWide(keyRecord)
                        ? kb.gep(p[2], tile.bType, kb.mul(key, depth))
                        : Value();
        emitKeyTile(tile, kb.gep(kb.gep(p[3], kb.f32(), key), kb.f32(),
                                 first * kTileStride));
      }
    });
  });
}

//===----------------------------------------------------------------------===//
// Sums of values
//===----------------------------------------------------------------------===//

ProductTile PagedEmitter::valueTile(unsigned rows, const Tile &columns) {
  ProductTile tile;
  tile.rows = rows;
  tile.columns = columns.count;
  tile.aType = kb.f32();
  tile.aRow = kb.c(kTileStride);
  tile.aDepth = kb.c(1);
  tile.bType = valueType();
  tile.bDepth = kb.c(valueRow());
  return tile;
}

/// Lanes of the last register where columns end before it does; or null.
static Value lastMask(KernelBuilder &kb, int64_t columns, int64_t end) {
  int64_t lanes = kb.lanes();
  return end > columns ? kb.tailMask(kb.c(columns % lanes)) : Value();
}

/// Rows of a chunk: merged into what the blocks before gave.
void PagedEmitter::emitValues(unsigned rows, Value weights, Value pages,
                              Value lower, Value upper, Value row) {
  Value pool = isWide(valueRecord)
                   ? place(wideValues)
                   : kb.address(PagedSpec::kValues, {kb.c(0), keyHead});
  std::string name = "values." + std::to_string(rows);
  auto body = [&](ValueRange p, const Tile &columns) {
    const OperandLayout &values = kb.operand(PagedSpec::kValues);
    Type storage = valueType(), i32 = elementOf(PagedSpec::kTables);
    ProductTile tile = valueTile(rows, columns);
    SmallVector<Value> masks(columns.count);
    masks.back() =
        lastMask(kb, valueDepth, (columns.first + columns.count) * lanes);
    if (masks.back())
      tile.bMasks = masks;
    SmallVector<Value> sums(rows * columns.count, kb.splat(0));
    sums = kb.forLoop(
        p[3], p[4], kb.c(kPage), sums, [&](Value key, ValueRange carried) {
          auto inPool = [&] {
            Value number = arith::ExtSIOp::create(
                kb, kb.i64(),
                kb.load(i32, kb.gep(p[2], i32, kb.div(key, kPage))));
            return kb.gep(p[1], storage, kb.mul(number, values.strides[0]));
          };
          Value page = isWide(valueRecord)
                           ? kb.gep(p[1], storage, kb.mul(key, valueStride))
                           : inPool();
          tile.a = kb.gep(p[0], kb.f32(), key);
          tile.b = kb.gep(page, storage, columns.first * lanes);
          tile.depth = kb.min(kb.sub(p[4], key), kPage);
          return emitProduct(kb, tile, SmallVector<Value>(carried));
        });
    for (unsigned r = 0; r < rows; ++r) {
      auto factor = [&](Value from) {
        return kb.broadcast(
            kb.load(kb.f32(), kb.gep(from, kb.f32(), int64_t(r))));
      };
      Merged merged{Value(), Value(), factor(p[6]), factor(p[7])};
      for (unsigned c = 0; c < columns.count; ++c) {
        Value at =
            kb.gep(p[5], kb.f32(),
                   int64_t(r) * valueStride + (columns.first + c) * lanes);
        storeVec(addBlock(loadVec(at), sums[r * columns.count + c], merged),
                 at);
      }
    }
  };
  kb.callPart(
      name,
      {weights, pool, pages, lower, upper, place(output, row, valueStride),
       place(decay, row, 1), place(gain, row, 1)},
      [&](ValueRange p) {
        unsigned most = streamColumns(kb.level().rows, valueRegisters, false);
        for (const Tile &columns : cut(valueRegisters, most))
          body(p, columns);
      });
}

/// All rows of one token and some keys of a page, added to what pages before
/// gave.
void PagedEmitter::emitValueStream(Value weights, Value page, Value ahead,
                                   Value keys, Value out, Value outRow) {
  kb.callPart(
      "values", {weights, page, ahead, keys, out, outRow}, [&](ValueRange p) {
        Type storage = valueType();
        unsigned most = streamColumns(group, valueRegisters, false);
        bool isFirst = true;
        for (const Tile &columns : cut(valueRegisters, most))
          for (const Tile &rows : cut(group, streamRows(columns.count))) {
            int64_t row = rows.first;
            unsigned count = rows.count;
            ProductTile tile = valueTile(count, columns);
            SmallVector<Value> masks(columns.count);
            masks.back() = lastMask(kb, valueDepth,
                                    (columns.first + columns.count) * lanes);
            if (masks.back())
              tile.bMasks = masks;
            tile.a = kb.gep(p[0], kb.f32(), row * kTileStride);
            tile.b = kb.gep(p[1], storage, columns.first * lanes);
            tile.depth = p[3];
            // A whole page for each page, by whichever tile is the first.
            if (isFirst && !isWide(valueRecord)) {
              tile.nextBytes = llvm::alignTo(
                  valueDepth * storage.getIntOrFloatBitWidth() / 8, 16);
              tile.next = p[2];
            }
            isFirst = false;
            auto at = [&](unsigned i) {
              Value to =
                  kb.gep(p[4], kb.f32(), kb.mul(p[5], row + i / columns.count));
              return kb.gep(to, kb.f32(),
                            (columns.first + i % columns.count) * lanes);
            };
            SmallVector<Value> sums;
            for (unsigned i = 0; i < count * columns.count; ++i)
              sums.push_back(loadVec(at(i)));
            for (auto [i, sum] : llvm::enumerate(emitProduct(kb, tile, sums)))
              storeVec(sum, at(i));
          }
      });
}
