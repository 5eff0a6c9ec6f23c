//===- TileProduct.cpp - bf16 products in AMX tiles -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// LLVM allocates the tile registers and configures their shapes, which are
// constants here: 16 rows, and as many columns as there are.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/TileProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Rows of a tile, bytes of its rows, and bf16 of those.
static constexpr int64_t kRows = 16, kRowBytes = 64, kDepth = 32;

namespace {
/// The instructions, or what they do.
class Tiles {
public:
  Tiles(KernelBuilder &kb, Value memory) : kb(kb), memory(memory) {}

  bool areLoops() { return kb.level().tilesAsLoops; }
  Value zero(unsigned tile);
  /// 16 rows of `bytes`, `stride` bytes apart; or `rows` of them.
  Value load(unsigned tile, Value from, int64_t stride, int64_t rows,
             int64_t bytes);
  /// sums + a * b over `pairs` of k.
  Value dot(Value sums, Value a, Value b, int64_t pairs);
  void store(Value tile, Value to, int64_t stride);

private:
  Value call(StringRef name, ValueRange arguments) {
    return LLVM::CallIntrinsicOp::create(
               kb, LLVM::LLVMX86AMXType::get(kb.getContext()),
               kb.getStringAttr(name), arguments)
        .getResult(0);
  }
  Value i16(int64_t value) {
    return arith::ConstantOp::create(kb, kb.getI16IntegerAttr(value));
  }
  Value place(unsigned tile) {
    return kb.gep(memory, kb.getI8Type(), int64_t(tile) * kRows * kRowBytes);
  }
  Value row(Value tile, Value r) {
    return kb.gep(tile, kb.getI8Type(), kb.mul(r, kRowBytes));
  }

  KernelBuilder &kb;
  Value memory;
};
} // namespace

Value Tiles::zero(unsigned tile) {
  if (!areLoops())
    return call("llvm.x86.tilezero.internal", {i16(kRows), i16(kRowBytes)});
  kb.forLoop(kb.c(0), kb.c(kRows), kb.c(1),
             [&](Value r) { kb.store(kb.splat(0), row(place(tile), r)); });
  return place(tile);
}

Value Tiles::load(unsigned tile, Value from, int64_t stride, int64_t rows,
                  int64_t bytes) {
  if (!areLoops())
    return call("llvm.x86.tileloadd64.internal",
                {i16(rows), i16(bytes), from, kb.c(stride)});
  kb.forLoop(kb.c(0), kb.c(rows), kb.c(1), [&](Value r) {
    Value source = kb.gep(from, kb.getI8Type(), kb.mul(r, stride));
    kb.forLoop(kb.c(0), kb.c(bytes / 4), kb.c(1), [&](Value i) {
      Type i32 = kb.getI32Type();
      kb.store(kb.load(i32, kb.gep(source, i32, i), 2),
               kb.gep(row(place(tile), r), i32, i));
    });
  });
  return place(tile);
}

Value Tiles::dot(Value sums, Value a, Value b, int64_t pairs) {
  if (!areLoops())
    return call("llvm.x86.tdpbf16ps.internal",
                {i16(kRows), i16(kRowBytes), i16(4 * pairs), sums, a, b});
  Type i32 = kb.getI32Type();
  auto constant = [&](uint32_t bits) {
    return kb.broadcast(
        arith::ConstantOp::create(kb, kb.getIntegerAttr(i32, APInt(32, bits))));
  };
  auto even = [&](Value v) {
    return kb.bitcast(arith::ShLIOp::create(kb, v, constant(16)), kb.vec());
  };
  auto odd = [&](Value v) {
    return kb.bitcast(arith::AndIOp::create(kb, v, constant(0xffff0000)),
                      kb.vec());
  };
  kb.forLoop(kb.c(0), kb.c(kRows), kb.c(1), [&](Value m) {
    SmallVector<Value> products = kb.forLoop(
        kb.c(0), kb.c(pairs), kb.c(1), ValueRange{kb.splat(0), kb.splat(0)},
        [&](Value k, ValueRange carried) {
          Value left = kb.broadcast(kb.load(i32, kb.gep(row(a, m), i32, k)));
          Value right = kb.load(kb.vec(i32), row(b, k));
          return SmallVector<Value>{kb.fma(even(left), even(right), carried[0]),
                                    kb.fma(odd(left), odd(right), carried[1])};
        });
    Value sum = row(sums, m);
    kb.store(kb.addF(kb.load(kb.vec(), sum), kb.addF(products[0], products[1])),
             sum);
  });
  return sums;
}

void Tiles::store(Value tile, Value to, int64_t stride) {
  if (!areLoops()) {
    LLVM::CallIntrinsicOp::create(
        kb, kb.getStringAttr("llvm.x86.tilestored64.internal"),
        ValueRange{i16(kRows), i16(kRowBytes), to, kb.c(stride), tile});
    return;
  }
  kb.forLoop(kb.c(0), kb.c(kRows), kb.c(1), [&](Value r) {
    kb.store(kb.load(kb.vec(), row(tile, r)),
             kb.gep(to, kb.getI8Type(), kb.mul(r, stride)));
  });
}

/// rowTiles x columnTiles tiles of sums, 1 or 2 of each.
static void emitBlock(KernelBuilder &kb, const TileProduct &product,
                      unsigned rowTiles, unsigned columnTiles, Value a, Value b,
                      Value out, int64_t outRow, Value memory) {
  Tiles tiles(kb, memory);
  unsigned count = rowTiles * columnTiles;
  auto step = [&](Value k, int64_t pairs, ValueRange sums) {
    SmallVector<Value> next(sums.begin(), sums.end()), columns;
    for (unsigned c = 0; c < columnTiles; ++c) {
      // Row p of a panel of pairs: 4 bytes for each of its columns.
      Value from = kb.gep(b, kb.getI8Type(),
                          kb.add(kb.mul(k, 2 * product.width), c * kRowBytes));
      columns.push_back(
          tiles.load(6 + c, from, 4 * product.width, pairs, kRowBytes));
    }
    for (unsigned r = 0; r < rowTiles; ++r) {
      Value from = kb.gep(a, kb.getBF16Type(),
                          kb.add(k, int64_t(r) * kRows * product.aRow));
      Value rows = tiles.load(4 + r, from, 2 * product.aRow, kRows, 4 * pairs);
      for (unsigned c = 0; c < columnTiles; ++c) {
        Value &sum = next[r * columnTiles + c];
        sum = tiles.dot(sum, rows, columns[c], pairs);
      }
    }
    return next;
  };
  SmallVector<Value> sums;
  for (unsigned i = 0; i < count; ++i)
    sums.push_back(tiles.zero(i));
  int64_t whole = product.depth / kDepth * kDepth;
  sums = kb.forLoop(kb.c(0), kb.c(whole), kb.c(kDepth), sums,
                    [&](Value k, ValueRange carried) {
                      return step(k, kDepth / 2, carried);
                    });
  if (whole < product.depth)
    sums = step(kb.c(whole), (product.depth - whole + 1) / 2, sums);
  for (unsigned r = 0; r < rowTiles; ++r)
    for (unsigned c = 0; c < columnTiles; ++c)
      tiles.store(sums[r * columnTiles + c],
                  kb.gep(out, kb.f32(), r * kRows * outRow + c * kRows),
                  4 * outRow);
}

void ferrite::cpu::emitTileProduct(KernelBuilder &kb,
                                   const TileProduct &product,
                                   unsigned rowTiles, Value out, int64_t outRow,
                                   Value tiles) {
  for (int64_t at = 0; at < product.width; at += 2 * kRows) {
    unsigned columnTiles = product.width - at > kRows ? 2 : 1;
    std::string name = "amx" + std::to_string(rowTiles * kRows) + "x" +
                       std::to_string(columnTiles * kRows) + "of" +
                       std::to_string(product.width);
    Value b = kb.gep(product.b, kb.getBF16Type(), 2 * at);
    kb.callPart(name,
                ValueRange{product.a, b, kb.gep(out, kb.f32(), at), tiles},
                [&](ValueRange given) {
                  emitBlock(kb, product, rowTiles, columnTiles, given[0],
                            given[1], given[2], outRow, given[3]);
                });
  }
}
