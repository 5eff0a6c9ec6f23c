//===- WordProduct.cpp - Bytes prepared for a product ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/WordProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ferrite::cpu;

static int64_t blockDepth(const CpuLevel &level) { return 4 * level.lanes; }

int64_t ferrite::cpu::wordDepth(const CpuLevel &level, int64_t depth) {
  return llvm::alignTo(depth, blockDepth(level));
}

namespace {
/// Registers of 16 bits.
class Words {
public:
  explicit Words(KernelBuilder &kb)
      : kb(kb), type(VectorType::get({int64_t(kb.lanes()) * 2},
                                     kb.getIntegerType(16))) {}
  Value constant(int64_t value) {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(type, llvm::APInt(16, value)));
  }
  /// A register of bytes, by its bits.
  Value load(Value from) { return kb.load(type, from, 1); }

  KernelBuilder &kb;
  VectorType type;
};
} // namespace

void ferrite::cpu::emitWordRows(KernelBuilder &kb, Value from, Value rowStride,
                                Value rows, int64_t depth, Value to,
                                int64_t toStride) {
  Words words(kb);
  Type i8 = kb.getI8Type(), i16 = kb.getI16Type();
  int64_t block = blockDepth(kb.level()), whole = depth / block * block;
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value source = kb.gep(from, i8, kb.mul(row, rowStride));
    Value target = kb.gep(to, i16, kb.mul(row, toStride));
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(block), [&](Value k) {
      Value bits = words.load(kb.gep(source, i8, k));
      kb.store(arith::AndIOp::create(kb, bits, words.constant(0xff)),
               kb.gep(target, i16, k));
      kb.store(arith::ShRUIOp::create(kb, bits, words.constant(8)),
               kb.gep(target, i16, kb.add(k, block / 2)));
    });
    if (whole == depth)
      return;
    for (int64_t half = 0; half < 2; ++half)
      kb.store(words.constant(0),
               kb.gep(target, i16, whole + half * block / 2));
    kb.forLoop(kb.c(0), kb.c(depth - whole), kb.c(1), [&](Value k) {
      Value byte = kb.load(i8, kb.gep(source, i8, kb.add(k, whole)));
      // Bytes 0, 2 | 1, 3 of group k / 4.
      Value half = kb.mul(kb.rem(k, 2), block / 2);
      Value place =
          kb.add(kb.mul(kb.div(k, 4), 2), kb.div(kb.rem(k, 4), kb.c(2)));
      kb.store(arith::ExtUIOp::create(kb, i16, byte),
               kb.gep(target, i16, kb.add(kb.add(place, half), whole)));
    });
  });
}

void ferrite::cpu::emitByteRows(KernelBuilder &kb, Value from, Value rowStride,
                                Value rows, int64_t depth, Value to,
                                int64_t toStride, bool flips) {
  Words words(kb);
  Type i8 = kb.getI8Type();
  int64_t block = blockDepth(kb.level()), whole = depth / block * block;
  auto flip = [&](Value bits, Value mask) -> Value {
    return flips ? Value(arith::XOrIOp::create(kb, bits, mask)) : bits;
  };
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value source = kb.gep(from, i8, kb.mul(row, rowStride));
    Value target = kb.gep(to, i8, kb.mul(row, toStride));
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(block), [&](Value k) {
      kb.store(flip(words.load(kb.gep(source, i8, k)), words.constant(0x8080)),
               kb.gep(target, i8, k), 1);
    });
    kb.forLoop(kb.c(whole), kb.c(depth), kb.c(1), [&](Value k) {
      Value mask = arith::ConstantOp::create(kb, kb.getI8IntegerAttr(-128));
      kb.store(flip(kb.load(i8, kb.gep(source, i8, k)), mask),
               kb.gep(target, i8, k));
    });
  });
}

void ferrite::cpu::emitWordColumns(KernelBuilder &kb, Value from, int64_t width,
                                   unsigned columns, int64_t depth, Value to) {
  Words words(kb);
  Type i8 = kb.getI8Type(), i16 = kb.getI16Type();
  int64_t lanes = kb.lanes(), groups = llvm::divideCeil(depth, 4);
  int64_t row = 2 * int64_t(columns) * lanes; // in words
  kb.forLoop(kb.c(0), kb.c(groups), kb.c(lanes), [&](Value first) {
    Value count = kb.min(kb.c(lanes), kb.sub(kb.c(groups), first));
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value group) {
      Value source = kb.gep(from, i8, kb.mul(kb.add(first, group), 4 * width));
      Value target =
          kb.gep(to, i16, kb.mul(kb.add(kb.mul(first, 2), group), row));
      for (unsigned c = 0; c < columns; ++c) {
        Value bits = words.load(kb.gep(source, i8, int64_t(c) * lanes * 4));
        Value eight = words.constant(8);
        Value even = arith::ShRSIOp::create(
            kb, arith::ShLIOp::create(kb, bits, eight), eight);
        Value odd = arith::ShRSIOp::create(kb, bits, eight);
        kb.store(even, kb.gep(target, i16, int64_t(c) * lanes * 2));
        kb.store(odd,
                 kb.gep(target, i16, lanes * row + int64_t(c) * lanes * 2));
      }
    });
  });
}
