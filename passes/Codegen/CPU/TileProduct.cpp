//===- TileProduct.cpp - Products in AMX tiles ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// LLVM allocates the tile registers and configures their shapes, which are
// constants here: 16 rows, and as many columns as there are.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/TileProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Rows of a tile, bytes of its rows, and groups of k in those.
static constexpr int64_t kRows = 16, kRowBytes = 64, kGroups = 16;

namespace {
/// The instructions, or what they do.
class Tiles {
public:
  Tiles(KernelBuilder &kb, Value memory, bool isBytes)
      : kb(kb), memory(memory), isBytes(isBytes) {}

  bool areLoops() { return kb.level().imitates; }
  Value zero(unsigned tile);
  /// 16 rows of `bytes`, `stride` bytes apart; or `rows` of them.
  Value load(unsigned tile, Value from, int64_t stride, int64_t rows,
             int64_t bytes);
  /// sums + a * b over `groups` of k.
  Value dot(Value sums, Value a, Value b, int64_t groups);
  void store(Value tile, Value to, int64_t stride);

private:
  /// The sums of a row after one group of k: all rows of b of it.
  Value addBytes(Value left, Value right, Value sum);
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
  bool isBytes;
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

Value Tiles::addBytes(Value left, Value right, Value sum) {
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(kb.vec(kb.getI32Type()), APInt(32, value)));
  };
  for (int64_t i = 0; i < 4; ++i) {
    Value x = arith::AndIOp::create(
        kb, arith::ShRUIOp::create(kb, left, constant(8 * i)), constant(0xff));
    Value w = arith::ShRSIOp::create(
        kb, arith::ShLIOp::create(kb, right, constant(24 - 8 * i)),
        constant(24));
    sum = arith::AddIOp::create(kb, sum, arith::MulIOp::create(kb, x, w));
  }
  return sum;
}

Value Tiles::dot(Value sums, Value a, Value b, int64_t groups) {
  if (!areLoops())
    return call(isBytes ? "llvm.x86.tdpbusd.internal"
                        : "llvm.x86.tdpbf16ps.internal",
                {i16(kRows), i16(kRowBytes), i16(4 * groups), sums, a, b});
  Type i32 = kb.getI32Type();
  if (isBytes) {
    kb.forLoop(kb.c(0), kb.c(kRows), kb.c(1), [&](Value m) {
      Value sum = row(sums, m);
      SmallVector<Value> added = kb.forLoop(
          kb.c(0), kb.c(groups), kb.c(1), ValueRange{kb.load(kb.vec(i32), sum)},
          [&](Value k, ValueRange carried) {
            Value left = kb.broadcast(kb.load(i32, kb.gep(row(a, m), i32, k)));
            Value right = kb.load(kb.vec(i32), row(b, k));
            return SmallVector<Value>{addBytes(left, right, carried[0])};
          });
      kb.store(added[0], sum);
    });
    return sums;
  }
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
        kb.c(0), kb.c(groups), kb.c(1), ValueRange{kb.splat(0), kb.splat(0)},
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
                      Value start, Value out, int64_t outRow, Value memory) {
  Tiles tiles(kb, memory, product.isBytes);
  unsigned count = rowTiles * columnTiles;
  int64_t aBytes = product.aRow * product.elementBytes();
  // g: a number of groups of k.
  auto step = [&](Value g, int64_t groups, ValueRange sums) {
    SmallVector<Value> next(sums.begin(), sums.end()), columns;
    for (unsigned c = 0; c < columnTiles; ++c) {
      // Row g of a panel: 4 bytes for each of its columns.
      Value from = kb.gep(b, kb.getI8Type(),
                          kb.add(kb.mul(g, 4 * product.width), c * kRowBytes));
      columns.push_back(
          tiles.load(6 + c, from, 4 * product.width, groups, kRowBytes));
    }
    for (unsigned r = 0; r < rowTiles; ++r) {
      Value from = kb.gep(a, kb.getI8Type(),
                          kb.add(kb.mul(g, 4), int64_t(r) * kRows * aBytes));
      Value rows = tiles.load(4 + r, from, aBytes, kRows, 4 * groups);
      for (unsigned c = 0; c < columnTiles; ++c) {
        Value &sum = next[r * columnTiles + c];
        sum = tiles.dot(sum, rows, columns[c], groups);
      }
    }
    return next;
  };
  SmallVector<Value> sums;
  for (unsigned i = 0; i < count; ++i)
    // The same for all rows: they are 0 bytes apart.
    sums.push_back(start ? tiles.load(i,
                                      kb.gep(start, kb.getI32Type(),
                                             (i % columnTiles) * kRows),
                                      0, kRows, kRowBytes)
                         : tiles.zero(i));
  int64_t groups = llvm::divideCeil(product.depth, product.group());
  int64_t whole = groups / kGroups * kGroups;
  sums = kb.forLoop(
      kb.c(0), kb.c(whole), kb.c(kGroups), sums,
      [&](Value g, ValueRange carried) { return step(g, kGroups, carried); });
  if (whole < groups)
    sums = step(kb.c(whole), groups - whole, sums);
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
    SmallVector<Value> arguments{product.a,
                                 kb.gep(product.b, kb.getI32Type(), at),
                                 kb.gep(out, kb.f32(), at), tiles};
    if (product.start)
      arguments.push_back(kb.gep(product.start, kb.getI32Type(), at));
    kb.callPart(name, arguments, [&](ValueRange given) {
      emitBlock(kb, product, rowTiles, columnTiles, given[0], given[1],
                product.start ? given[4] : Value(), given[2], outRow, given[3]);
    });
  }
}
