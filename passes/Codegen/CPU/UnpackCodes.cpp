//===- UnpackCodes.cpp - Codes of few bits in registers -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/UnpackCodes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

Value UnpackCodes::ints(int64_t value) {
  return arith::ConstantOp::create(
      kb, DenseElementsAttr::get(kb.vec(kb.getI32Type()),
                                 llvm::APInt(32, value, /*isSigned=*/true)));
}

/// By a negative number: to the left.
Value UnpackCodes::shifted(Value word, int64_t by) {
  if (by == 0)
    return word;
  if (by < 0)
    return arith::ShLIOp::create(kb, word, ints(-by));
  return arith::ShRUIOp::create(kb, word, ints(by));
}

Value UnpackCodes::masked(Value word, int64_t mask) {
  return arith::AndIOp::create(kb, word, ints(static_cast<int32_t>(mask)));
}

UnpackCodes::Words UnpackCodes::load(Value pointer) {
  Words words;
  Type i32 = kb.getI32Type();
  for (int64_t i = 0; i < spec.panels.wordsPerStep(); ++i)
    words.push_back(kb.load(kb.vec(i32),
                            kb.gep(pointer, i32, i * PackedPanels::kWidth), 4));
  return words;
}

Value UnpackCodes::lowCode(const Words &words, int64_t i) {
  int64_t width = bits == 3 ? 2 : bits, inWord = 32 / width;
  int64_t within = i % inWord, by = within % 4 * 8 + within / 4 * width;
  Value low = shifted(words[bits == 3 ? i / inWord : 0], by);
  if (bits != 3)
    return low;
  // The third bit's plane has k = 4 * t + byte at bit t of a byte.
  Value third = shifted(words[2], i % 4 * 8 + i / 4 - 2);
  return arith::OrIOp::create(kb, masked(low, 3), masked(third, ~int64_t(3)));
}

/// The number of each lane's low bits, which may have anything above them.
Value UnpackCodes::lookUp(Value index) {
  auto numberOf = [&](int64_t code) {
    return spec.codes.empty() ? static_cast<float>(code - spec.shift)
                              : spec.codes[code];
  };
  int64_t count = int64_t(1) << bits, mask = count - 1;
  auto table = [&](int64_t first, int64_t size) {
    SmallVector<float> numbers;
    for (int64_t i = 0; i < size; ++i)
      numbers.push_back(numberOf((first + i) & mask));
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(VectorType::get({size}, kb.f32()),
                                   ArrayRef<float>(numbers)));
  };
  auto permute = [&](StringRef name, Value numbers) {
    return LLVM::CallIntrinsicOp::create(kb, kb.vec(), kb.getStringAttr(name),
                                         ValueRange{numbers, index})
        .getResult(0);
  };
  bool isX86 = kb.level().isFor(*findCpuLevel("avx2")->machine);
  // Four bits of the lane choose among 16 numbers, so that no mask is needed.
  if (bits <= 4 && kb.lanes() == 16)
    return permute("llvm.x86.avx512.permvar.sf.512", table(0, 16));
  // Three among 8.
  if (bits <= 3 && isX86)
    return permute("llvm.x86.avx2.permps", table(0, 8));
  if (spec.codes.empty()) {
    Value code = arith::SIToFPOp::create(kb, kb.vec(), masked(index, mask));
    return spec.shift ? kb.subF(code, kb.splat(double(spec.shift))) : code;
  }
  if (isX86) {
    Value high = arith::CmpIOp::create(kb, arith::CmpIPredicate::ne,
                                       masked(index, 8), ints(0));
    return arith::SelectOp::create(
        kb, high, permute("llvm.x86.avx2.permps", table(8, 8)),
        permute("llvm.x86.avx2.permps", table(0, 8)));
  }
  Value code = masked(index, mask), number = kb.splat(numberOf(0));
  for (int64_t i = 1; i < count; ++i)
    number = arith::SelectOp::create(
        kb, arith::CmpIOp::create(kb, arith::CmpIPredicate::eq, code, ints(i)),
        kb.splat(numberOf(i)), number);
  return number;
}

/// A code as low bits of a mantissa: with the exponent of 2^(23 - by) beside
/// them, bits from `by` on add their value to that power, and a subtraction
/// takes it away, exactly. Masks and subtractions have pipes of their own
/// (Zen 5), where shifts and permutations of a table share theirs.
Value UnpackCodes::fromMantissa(const Words &words, int64_t i) {
  int64_t inWord = 32 / bits, within = i % inWord;
  int64_t by = within % 4 * 8 + within / 4 * bits;
  // Half a word each, so that few constants are needed.
  Value word = shifted(words[0], by < 16 ? 0 : 16);
  by %= 16;
  Value code = masked(word, ((int64_t(1) << bits) - 1) << by);
  Value number =
      arith::OrIOp::create(kb, code, ints((int64_t(127 + 23 - by)) << 23));
  double base = double(int64_t(1) << (23 - by));
  return kb.subF(kb.bitcast(number, kb.vec()),
                 kb.splat(base + double(spec.shift)));
}

Value UnpackCodes::number(const Words &words, int64_t i) {
  // Three constants for each position must fit registers beside the sums.
  if ((bits == 4 || bits == 8) && kb.level().registers >= 32 &&
      spec.codes.empty() && spec.panels.zeroBytes == 0)
    return fromMantissa(words, i);
  return lookUp(lowCode(words, i));
}

Value UnpackCodes::number(const Words &words, int64_t i, Value zero) {
  Value result = number(words, i);
  return zero ? kb.subF(result, zero) : result;
}

Value UnpackCodes::fours(const Words &words, int64_t i) {
  if (bits == 8)
    return words[0];
  int64_t width = bits == 3 ? 2 : bits, inWord = 8 / width;
  int64_t mask = ((int64_t(1) << width) - 1) * 0x01010101;
  Value low = masked(
      shifted(words[bits == 3 ? i / inWord : 0], i % inWord * width), mask);
  if (bits != 3)
    return low;
  Value third = masked(shifted(words[2], i - 2), 0x04040404);
  return arith::OrIOp::create(kb, low, third);
}

Value UnpackCodes::scales(Value block, Value column) {
  return kb.loadF32(kb.gep(block, spec.scaleType, column), spec.scaleType);
}

Value UnpackCodes::zerosI32(Value block, Value column) {
  if (spec.panels.zeroBytes != 1)
    return {};
  Type i8 = kb.getI8Type();
  Value zeros = kb.gep(block, i8, spec.panels.zerosOffset());
  Value bytes = kb.load(kb.vec(i8), kb.gep(zeros, i8, column), 1);
  return arith::ExtUIOp::create(kb, kb.vec(kb.getI32Type()), bytes);
}

Value UnpackCodes::zerosF32(Value block, Value column) {
  if (spec.panels.zeroBytes == 1)
    return arith::SIToFPOp::create(kb, kb.vec(), zerosI32(block, column));
  if (spec.panels.zeroBytes != 4)
    return {};
  Value zeros = kb.gep(block, kb.getI8Type(), spec.panels.zerosOffset());
  return kb.load(kb.vec(), kb.gep(zeros, kb.f32(), column), 4);
}
