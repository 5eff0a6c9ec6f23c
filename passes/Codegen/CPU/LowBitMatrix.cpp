//===- LowBitMatrix.cpp - An expert's matrix of few bits ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/LowBitMatrix.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static Value splatOf(KernelBuilder &kb, Value i) {
  return kb.broadcast(
      arith::TruncIOp::create(kb, kb.getI32Type(), i).getResult());
}

Value LowBitMatrix::bytes(KernelBuilder &kb, Value base, Value row,
                          Value column) const {
  Type byte = kb.getI8Type();
  Value at = kb.gep(base, byte, kb.add(kb.mul(row, width), column));
  return arith::ExtUIOp::create(kb, kb.vec(kb.getI32Type()),
                                kb.load(kb.vec(byte), at, 1));
}

Value LowBitMatrix::field(KernelBuilder &kb, Value packed, Value i) const {
  if (perByte() == 1)
    return packed;
  Value shifted =
      arith::ShRUIOp::create(kb, packed, splatOf(kb, kb.mul(i, bits)));
  return arith::AndIOp::create(kb, shifted, splatOf(kb, kb.c((1 << bits) - 1)));
}

LowBitMatrix::Block LowBitMatrix::blockOf(KernelBuilder &kb, Value index,
                                          Value column) const {
  Block result;
  result.zero = splatOf(kb, kb.c(int64_t(1) << (bits - 1)));
  if (zeros)
    result.zero = field(kb, bytes(kb, zeros, kb.div(index, perByte()), column),
                        kb.rem(index, perByte()));
  result.scale = kb.loadF32(
      kb.gep(scales, scaleType, kb.add(kb.mul(index, width), column)),
      scaleType);
  return result;
}

Value LowBitMatrix::number(KernelBuilder &kb, Value packed, int64_t i,
                           const Block &block) const {
  Value centred =
      arith::SubIOp::create(kb, field(kb, packed, kb.c(i)), block.zero);
  return kb.mulF(arith::SIToFPOp::create(kb, kb.vec(), centred), block.scale);
}

void LowBitMatrix::expand(KernelBuilder &kb, Value to) const {
  int64_t rows = block / perByte();
  kb.forLoop(kb.c(0), kb.c(depth / block), kb.c(1), [&](Value index) {
    kb.forLoop(kb.c(0), kb.c(width), kb.c(kb.lanes()), [&](Value column) {
      Block own = blockOf(kb, index, column);
      kb.forLoop(kb.c(0), kb.c(rows), kb.c(1), [&](Value row) {
        Value at = kb.add(kb.mul(index, rows), row);
        Value packed = bytes(kb, weights, at, column);
        for (int64_t i = 0; i < perByte(); ++i) {
          Value k = kb.add(kb.mul(at, perByte()), i);
          kb.store(number(kb, packed, i, own),
                   kb.gep(to, kb.f32(), kb.add(kb.mul(k, width), column)), 4);
        }
      });
    });
  });
}

SmallVector<Value> LowBitMatrix::multiply(KernelBuilder &kb,
                                          ArrayRef<Value> rows, Value column,
                                          unsigned registers) const {
  int64_t rowsOfBytes = block / perByte();
  auto columnOf = [&](unsigned c) {
    return kb.add(column, int64_t(c) * kb.lanes());
  };
  SmallVector<Value> sums(rows.size() * registers, kb.splat(0));
  return kb.forLoop(
      kb.c(0), kb.c(depth / block), kb.c(1), sums,
      [&](Value index, ValueRange carried) {
        SmallVector<Block> blocks;
        for (unsigned c = 0; c < registers; ++c)
          blocks.push_back(blockOf(kb, index, columnOf(c)));
        return kb.forLoop(
            kb.c(0), kb.c(rowsOfBytes), kb.c(1), carried,
            [&](Value row, ValueRange inner) {
              SmallVector<Value> next(inner.begin(), inner.end()), packed;
              Value at = kb.add(kb.mul(index, rowsOfBytes), row);
              // Its own stream, as EmitLinear's few rows.
              kb.prefetch(
                  kb.gep(weights, kb.getI8Type(),
                         kb.add(kb.mul(at, width), kb.level().prefetchBytes)));
              for (unsigned c = 0; c < registers; ++c)
                packed.push_back(bytes(kb, weights, at, columnOf(c)));
              for (int64_t i = 0; i < perByte(); ++i) {
                Value k = kb.add(kb.mul(at, perByte()), i);
                SmallVector<Value> x;
                for (Value from : rows)
                  x.push_back(kb.broadcast(
                      kb.load(kb.f32(), kb.gep(from, kb.f32(), k))));
                for (unsigned c = 0; c < registers; ++c) {
                  Value weight = number(kb, packed[c], i, blocks[c]);
                  for (size_t r = 0; r < x.size(); ++r) {
                    Value &sum = next[r * registers + c];
                    sum = kb.fma(x[r], weight, sum);
                  }
                }
              }
              return next;
            });
      });
}
