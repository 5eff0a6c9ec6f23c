//===- BlockProduct.cpp - Bytes, two rows times two columns ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// usmmla multiplies two rows of eight unsigned bytes by two columns of eight
// signed ones and adds to four sums: twice the products of a dot instruction.
// A step takes eight k. Two groups of four of a panel, zipped, are two columns
// of it; two rows of A are two loads. Sums of a pair of rows and a register of
// columns are two registers,
//
//   r0c0 r0c1 r1c0 r1c1     r0c2 r0c3 r1c2 r1c3
//
// and become rows at the end. An odd last row is multiplied twice.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Of k in a step, and in a group of a panel.
static constexpr int64_t kStep = 8, kGroup = 4;
static constexpr int64_t kCacheLine = 64;

namespace {
class BlockProduct {
public:
  BlockProduct(KernelBuilder &kb, const ProductTile &tile)
      : kb(kb), tile(tile),
        depth(KernelBuilder::constantOf(tile.depth).value_or(0)),
        pairs((tile.rows + 1) / 2) {
    for (unsigned r = 0; r < tile.rows; ++r)
      rows.push_back(tile.aRows.empty()
                         ? kb.gep(tile.a, tile.aType, kb.mul(tile.aRow, r))
                         : tile.aRows[r]);
  }

  SmallVector<Value> emit(ArrayRef<Value> from);

private:
  /// Rows of sums to blocks of them, and back: each is its own inverse.
  SmallVector<Value> exchange(ArrayRef<Value> sums);
  void step(Value k, int64_t count, SmallVector<Value> &sums);
  /// `count` bytes of row r from k, and zeros.
  Value loadRow(unsigned r, Value k, int64_t count);
  Value loadPair(unsigned pair, Value k, int64_t count);
  Value bytes(Value bits) {
    return vector::BitCastOp::create(kb, VectorType::get({16}, kb.getI8Type()),
                                     bits);
  }

  KernelBuilder &kb;
  const ProductTile &tile;
  int64_t depth; ///< 0: not known, but whole steps
  unsigned pairs;
  SmallVector<Value> rows;
};
} // namespace

SmallVector<Value> BlockProduct::exchange(ArrayRef<Value> sums) {
  SmallVector<Value> result(sums.size());
  for (unsigned p = 0; p < pairs; ++p)
    for (unsigned c = 0; c < tile.columns; ++c) {
      unsigned first = 2 * p * tile.columns + c, second = first + tile.columns;
      result[first] = shuffle(kb, sums[first], sums[second], {0, 1, 4, 5});
      result[second] = shuffle(kb, sums[first], sums[second], {2, 3, 6, 7});
    }
  return result;
}

Value BlockProduct::loadRow(unsigned r, Value k, int64_t count) {
  Type i64 = kb.i64(), i8 = kb.getI8Type();
  Value pointer = kb.gep(rows[r], i8, kb.mul(k, tile.aDepth));
  auto shift = [&](int64_t bytes) { return kb.c(8 * bytes); };
  if (count == kStep)
    return kb.load(i64, pointer, 1);
  if (depth >= kStep) {
    // The last eight bytes of the row, without those of the step before.
    Value bits = kb.load(i64, kb.gep(pointer, i8, count - kStep), 1);
    return arith::ShRUIOp::create(kb, bits, shift(kStep - count));
  }
  Value bits = kb.c(0);
  for (int64_t i = 0; i < count; ++i) {
    Value byte =
        arith::ExtUIOp::create(kb, i64, kb.load(i8, kb.gep(pointer, i8, i)));
    bits = arith::OrIOp::create(kb, bits,
                                arith::ShLIOp::create(kb, byte, shift(i)));
  }
  return bits;
}

Value BlockProduct::loadPair(unsigned pair, Value k, int64_t count) {
  unsigned first = 2 * pair, second = std::min(first + 1, tile.rows - 1);
  Value a = loadRow(first, k, count);
  Value b = second == first ? a : loadRow(second, k, count);
  auto type = VectorType::get({2}, kb.i64());
  return bytes(vector::FromElementsOp::create(kb, type, ValueRange{a, b}));
}

void BlockProduct::step(Value k, int64_t count, SmallVector<Value> &sums) {
  auto i32s = kb.vec(kb.getI32Type());
  Value b = kb.gep(tile.b, tile.bType, kb.mul(k, tile.bDepth));
  int64_t stepBytes = tile.columns * kb.lanes() * kStep;
  if (tile.prefetchBytes)
    for (int64_t line = 0; line < stepBytes; line += kCacheLine)
      kb.prefetch(kb.gep(b, kb.getI8Type(), tile.prefetchBytes + line));
  SmallVector<Value> left;
  for (unsigned p = 0; p < pairs; ++p)
    left.push_back(loadPair(p, k, count));
  Value second = kb.gep(b, tile.bType, kb.mul(tile.bDepth, kGroup));
  for (unsigned c = 0; c < tile.columns; ++c) {
    int64_t offset = int64_t(c) * kb.lanes() * kGroup;
    Value low = kb.load(i32s, kb.gep(b, tile.bType, offset));
    // A panel ends with whole groups, which may be one.
    Value high =
        count > kGroup
            ? kb.load(i32s, kb.gep(second, tile.bType, offset))
            : Value(arith::ConstantOp::create(kb, kb.getZeroAttr(i32s)));
    Value right[] = {bytes(shuffle(kb, low, high, {0, 4, 1, 5})),
                     bytes(shuffle(kb, low, high, {2, 6, 3, 7}))};
    for (unsigned p = 0; p < pairs; ++p)
      for (unsigned half = 0; half < 2; ++half) {
        Value &sum = sums[(2 * p + half) * tile.columns + c];
        sum = LLVM::CallIntrinsicOp::create(
                  kb, i32s,
                  kb.getStringAttr("llvm.aarch64.neon.usmmla.v4i32.v16i8"),
                  ValueRange{sum, left[p], right[half]})
                  .getResult(0);
      }
  }
}

SmallVector<Value> BlockProduct::emit(ArrayRef<Value> from) {
  assert(tile.bMasks.empty() && "blocks take no masks");
  auto i32s = kb.vec(kb.getI32Type());
  unsigned count = 2 * pairs * tile.columns;
  SmallVector<Value> sums(from.begin(), from.end());
  for (unsigned c = 0; tile.start && c < tile.columns; ++c)
    sums.push_back(kb.load(
        i32s, kb.gep(tile.start, i32s.getElementType(), c * kb.lanes())));
  if (sums.empty())
    sums.assign(tile.columns,
                arith::ConstantOp::create(kb, kb.getZeroAttr(i32s)));
  while (sums.size() < count)
    sums.push_back(sums[sums.size() - tile.columns]);
  sums = exchange(sums);
  Value whole = kb.sub(tile.depth, kb.rem(tile.depth, kStep));
  sums = kb.forLoop(
      kb.c(0), whole, kb.c(kStep), sums, [&](Value k, ValueRange carried) {
        SmallVector<Value> next(carried.begin(), carried.end());
        if (tile.next)
          for (int64_t line = 0; line < kStep * tile.nextBytes;
               line += kCacheLine)
            kb.prefetch(kb.gep(tile.next, kb.getI8Type(),
                               kb.add(kb.mul(k, tile.nextBytes), line)));
        step(k, kStep, next);
        return next;
      });
  if (int64_t rest = depth % kStep)
    step(whole, rest, sums);
  sums = exchange(sums);
  sums.resize(tile.rows * tile.columns);
  return sums;
}

SmallVector<Value> ferrite::cpu::emitBlockProduct(KernelBuilder &kb,
                                                  const ProductTile &tile,
                                                  ArrayRef<Value> from) {
  kb.use(Instruction::MatrixI8);
  return BlockProduct(kb, tile).emit(from);
}
