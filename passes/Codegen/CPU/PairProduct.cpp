//===- PairProduct.cpp - Register tiles over pairs of bf16 ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What emitProduct() does when B has pairs of k side by side: dots, or an FMA
// for each k after a shift or a mask.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/OuterProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// k steps, or pairs of them, in one iteration of the loop.
static constexpr int64_t kUnroll = 4;
static constexpr int64_t kCacheLine = 64;

/// The even or odd bf16 of each pair as f32: the upper 16 bits are all it is.
static Value widenHalf(KernelBuilder &kb, Value pairs, bool odd) {
  auto constant = [&](uint32_t bits) {
    return kb.broadcast(arith::ConstantOp::create(
        kb, kb.getIntegerAttr(kb.getI32Type(), APInt(32, bits))));
  };
  Value bits =
      odd ? arith::AndIOp::create(kb, pairs, constant(0xffff0000)).getResult()
          : arith::ShLIOp::create(kb, pairs, constant(16)).getResult();
  return arith::BitcastOp::create(kb, kb.vec(), bits);
}

SmallVector<Value> ferrite::cpu::emitPairProduct(KernelBuilder &kb,
                                                 const ProductTile &tile,
                                                 ArrayRef<Value> from) {
  // Pointers to the rows of A, so that the loop has one index.
  SmallVector<Value> rows;
  for (unsigned r = 0; r < tile.rows; ++r)
    rows.push_back(tile.aRows.empty()
                       ? kb.gep(tile.a, tile.aType, kb.mul(tile.aRow, r))
                       : tile.aRows[r]);

  // `b`: where the columns of this k are, `lineBytes` of them.
  auto prefetchOwn = [&](Value b, int64_t lineBytes) {
    if (tile.prefetchBytes)
      for (int64_t line = 0; line < lineBytes; line += kCacheLine)
        kb.prefetch(kb.gep(b, kb.getI8Type(), tile.prefetchBytes + line));
  };
  int64_t bytes =
      tile.columns * kb.lanes() * tile.bType.getIntOrFloatBitWidth() / 8;
  // Register c of the pair (k, k + 1), as integers of 32 bits.
  // Loaded anew for the odd half, since registers are few: `volatile` keeps
  // LLVM from having the pair in one of its own meanwhile, and where there are
  // but 16, from loading early.
  auto loadPair = [&](Value b, unsigned c, bool odd = false) -> Value {
    return LLVM::LoadOp::create(
        kb, kb.vec(kb.getI32Type()),
        kb.gep(b, tile.bType, int64_t(c) * kb.lanes() * 2), /*alignment=*/4,
        /*isVolatile=*/odd || kb.level().registers < 32);
  };
  auto pairAt = [&](Value k) {
    return kb.gep(tile.b, tile.bType, kb.mul(k, tile.bDepth));
  };
  // One k of a pair at a time, because both would not fit the registers.
  auto half = [&](Value b, Value k, bool odd, SmallVector<Value> &sums) {
    auto loadB = [&](unsigned c) {
      return widenHalf(kb, loadPair(b, c, odd), odd);
    };
    Value aOffset = kb.mul(kb.add(k, odd), tile.aDepth);
    auto broadcastA = [&](unsigned r) {
      return kb.broadcast(
          kb.loadScalarF32(kb.gep(rows[r], tile.aType, aOffset), tile.aType));
    };
    auto multiplyAdd = [&](Value a, Value b, Value sum) {
      return kb.fma(a, b, sum);
    };
    emitOuterProduct(tile, loadB, broadcastA, multiplyAdd, sums);
  };
  auto dot = [&](Value k, bool whole, SmallVector<Value> &sums) {
    Value b = pairAt(k);
    prefetchOwn(b, 2 * bytes);
    auto pairs = VectorType::get({2 * int64_t(kb.lanes())}, tile.bType);
    SmallVector<Value> loaded;
    for (unsigned c = 0; c < tile.columns; ++c)
      loaded.push_back(kb.bitcast(loadPair(b, c), pairs));
    for (unsigned r = 0; r < tile.rows; ++r) {
      Value from = kb.gep(rows[r], tile.aType, k);
      // Behind a last odd k is another row, or nothing.
      Value a = whole
                    ? kb.load(kb.getI32Type(), from, 2)
                    : arith::ExtUIOp::create(kb, kb.getI32Type(),
                                             kb.load(kb.getI16Type(), from, 2));
      Value wide = kb.bitcast(kb.broadcast(a), pairs);
      for (unsigned c = 0; c < tile.columns; ++c) {
        Value &sum = sums[r * tile.columns + c];
        sum = kb.dotBF16(sum, wide, loaded[c]);
      }
    }
  };

  // The k of one iteration: as many multiplications in any way.
  int64_t unroll = tile.dots ? 2 * kUnroll : kUnroll;
  auto prefetchNext = [&](Value k) {
    Value place = kb.gep(tile.next, kb.getI8Type(), kb.mul(k, tile.nextBytes));
    for (int64_t line = 0; line < unroll * tile.nextBytes; line += kCacheLine)
      kb.prefetch(kb.gep(place, kb.getI8Type(), line));
  };
  auto steps = [&](Value k, SmallVector<Value> &sums) {
    for (int64_t ahead = 0; ahead < unroll; ahead += tile.bGroup) {
      Value at = kb.add(k, ahead);
      if (tile.dots) {
        dot(at, /*whole=*/true, sums);
      } else {
        Value b = pairAt(at);
        prefetchOwn(b, 2 * bytes);
        half(b, at, /*odd=*/false, sums);
        half(b, at, /*odd=*/true, sums);
      }
    }
  };

  SmallVector<Value> sums(from.begin(), from.end());
  if (sums.empty())
    sums.assign(tile.rows * tile.columns, kb.splat(0));
  auto loop = [&](Value begin, Value end, int64_t by,
                  function_ref<void(Value, SmallVector<Value> &)> body) {
    sums = kb.forLoop(begin, end, kb.c(by), sums,
                      [&](Value k, ValueRange carried) {
                        SmallVector<Value> next(carried.begin(), carried.end());
                        body(k, next);
                        return next;
                      });
  };
  Value unrolled = kb.sub(tile.depth, kb.rem(tile.depth, unroll));
  loop(kb.c(0), unrolled, unroll, [&](Value k, SmallVector<Value> &next) {
    if (tile.next)
      prefetchNext(k);
    steps(k, next);
  });
  Value even = kb.sub(tile.depth, kb.rem(tile.depth, 2));
  loop(unrolled, even, 2, [&](Value k, SmallVector<Value> &next) {
    if (tile.dots)
      return dot(k, /*whole=*/true, next);
    half(pairAt(k), k, /*odd=*/false, next);
    half(pairAt(k), k, /*odd=*/true, next);
  });
  loop(even, tile.depth, 1, [&](Value k, SmallVector<Value> &next) {
    if (tile.dots)
      return dot(k, /*whole=*/false, next);
    half(pairAt(k), k, /*odd=*/false, next);
  });
  return sums;
}
