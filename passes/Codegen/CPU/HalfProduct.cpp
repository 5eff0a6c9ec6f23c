//===- HalfProduct.cpp - Products of f16 in f16 ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/HalfProduct.h"
#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kUnroll = 4, kCacheLine = 64;

void ferrite::cpu::emitTwinRows(KernelBuilder &kb, Value from, Value rowStride,
                                Value rows, int64_t depth, Value to,
                                int64_t toStride) {
  Type i16 = kb.getI16Type(), i32 = kb.getI32Type();
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value source = kb.gep(from, i16, kb.mul(row, rowStride));
    Value target = kb.gep(to, i32, kb.mul(row, toStride));
    kb.forVectors(kb.c(depth), [&](Value k, Value mask) {
      Value value = kb.loadMasked(kb.vec(i16), kb.gep(source, i16, k), mask);
      value = arith::ExtUIOp::create(kb, kb.vec(i32), value);
      Value sixteen =
          toLanes(kb, arith::ConstantOp::create(kb, kb.getI32IntegerAttr(16)),
                  kb.lanes());
      Value high = arith::ShLIOp::create(kb, value, sixteen);
      kb.store(arith::OrIOp::create(kb, value, high), kb.gep(target, i32, k));
    });
  });
}

namespace {
class HalfProduct {
public:
  HalfProduct(KernelBuilder &kb, const ProductTile &tile)
      : kb(kb), tile(tile), registers((tile.columns + 1) / 2),
        type(VectorType::get({int64_t(kb.lanes()) * 2}, kb.getF16Type())) {
    for (unsigned r = 0; r < tile.rows; ++r)
      rows.push_back(kb.gep(tile.a, kb.getI32Type(), kb.mul(tile.aRow, r)));
  }

  SmallVector<Value> emit();

private:
  Value loadColumns(Value b, unsigned c);
  Value multiplyAdd(Value a, Value b, Value sum);
  void step(Value k, SmallVector<Value> &sums);
  /// sums + what `depth` values of k from `first` on add to them.
  SmallVector<Value> addBlock(Value first, int64_t depth, ValueRange sums);

  KernelBuilder &kb;
  const ProductTile &tile;
  unsigned registers; ///< of f16, for the columns
  VectorType type;
  SmallVector<Value> rows;
};
} // namespace

Value HalfProduct::loadColumns(Value b, unsigned c) {
  Value pointer =
      kb.gep(b, kb.getF16Type(), int64_t(c) * type.getNumElements());
  if (2 * c + 1 < tile.columns)
    return kb.load(type, pointer);
  // The last columns of a narrow panel are half a register.
  auto half = VectorType::get({int64_t(kb.lanes())}, kb.getF16Type());
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(half));
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    order.push_back(i);
  return shuffle(kb, kb.load(half, pointer), zero, order);
}

Value HalfProduct::multiplyAdd(Value a, Value b, Value sum) {
  if (!kb.level().imitates)
    return math::FmaOp::create(kb, a, b, sum);
  // f32 has every product; the sum is rounded twice, which the tests tolerate.
  auto wide = VectorType::get(type.getShape(), kb.f32());
  auto extend = [&](Value v) -> Value {
    return arith::ExtFOp::create(kb, wide, v);
  };
  Value added = math::FmaOp::create(kb, extend(a), extend(b), extend(sum));
  return arith::TruncFOp::create(kb, type, added);
}

void HalfProduct::step(Value k, SmallVector<Value> &sums) {
  Value b = kb.gep(tile.b, tile.bType, kb.mul(k, tile.bDepth));
  if (tile.prefetchBytes)
    for (int64_t line = 0; line < int64_t(tile.columns) * kb.lanes() * 2;
         line += kCacheLine)
      kb.prefetch(kb.gep(b, kb.getI8Type(), tile.prefetchBytes + line));
  SmallVector<Value> columns;
  for (unsigned c = 0; c < registers; ++c)
    columns.push_back(loadColumns(b, c));
  for (unsigned r = 0; r < tile.rows; ++r) {
    Type i32 = kb.getI32Type();
    Value twins = kb.broadcast(kb.load(i32, kb.gep(rows[r], i32, k)));
    Value row = vector::BitCastOp::create(kb, type, twins);
    for (unsigned c = 0; c < registers; ++c) {
      Value &sum = sums[r * registers + c];
      sum = multiplyAdd(row, columns[c], sum);
    }
  }
}

SmallVector<Value> HalfProduct::addBlock(Value first, int64_t depth,
                                         ValueRange sums) {
  SmallVector<Value> halves(
      tile.rows * registers,
      arith::ConstantOp::create(kb, kb.getZeroAttr(type)));
  auto run = [&](int64_t from, int64_t to, int64_t unroll) {
    if (from == to)
      return;
    halves = kb.forLoop(
        kb.c(from), kb.c(to), kb.c(unroll), halves,
        [&](Value k, ValueRange carried) {
          SmallVector<Value> next(carried.begin(), carried.end());
          if (tile.next && unroll == kUnroll)
            for (int64_t line = 0; line < unroll * tile.nextBytes;
                 line += kCacheLine)
              kb.prefetch(kb.gep(
                  tile.next, kb.getI8Type(),
                  kb.add(kb.mul(kb.add(first, k), tile.nextBytes), line)));
          for (int64_t ahead = 0; ahead < unroll; ++ahead)
            step(kb.add(kb.add(first, k), ahead), next);
          return next;
        });
  };
  int64_t whole = depth / kUnroll * kUnroll;
  run(0, whole, kUnroll);
  run(whole, depth, 1);
  SmallVector<Value> result;
  for (unsigned r = 0; r < tile.rows; ++r)
    for (unsigned c = 0; c < tile.columns; ++c) {
      SmallVector<int64_t> order;
      for (int64_t i = 0; i < int64_t(kb.lanes()); ++i)
        order.push_back(int64_t(c % 2) * kb.lanes() + i);
      Value both = halves[r * registers + c / 2];
      Value half = shuffle(kb, both, both, order);
      Value wide = arith::ExtFOp::create(kb, kb.vec(), half);
      result.push_back(kb.addF(sums[r * tile.columns + c], wide));
    }
  return result;
}

SmallVector<Value> HalfProduct::emit() {
  int64_t depth = *KernelBuilder::constantOf(tile.depth);
  int64_t whole = depth / kHalfBlock * kHalfBlock;
  SmallVector<Value> sums(tile.rows * tile.columns, kb.splat(0));
  sums = kb.forLoop(kb.c(0), kb.c(whole), kb.c(kHalfBlock), sums,
                    [&](Value k, ValueRange carried) {
                      return addBlock(k, kHalfBlock, carried);
                    });
  if (whole < depth)
    sums = addBlock(kb.c(whole), depth - whole, sums);
  return sums;
}

SmallVector<Value> ferrite::cpu::emitHalfProduct(KernelBuilder &kb,
                                                 const ProductTile &tile) {
  return HalfProduct(kb, tile).emit();
}
