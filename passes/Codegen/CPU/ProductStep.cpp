//===- ProductStep.cpp - How one step of a product multiplies -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ProductStep.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
class FloatStep final : public ProductStep {
public:
  FloatStep(KernelBuilder &kb, Type aType, Type bType)
      : kb(kb), aType(aType), bType(bType) {}

  Type sumType() const override { return kb.f32(); }
  Registers loadColumns(Value pointer, Value mask) override {
    return {kb.loadF32(pointer, bType, mask)};
  }
  Registers loadRow(Value pointer, int64_t, int64_t) override {
    return {kb.broadcast(kb.loadScalarF32(pointer, aType))};
  }
  Value multiplyAdd(const Registers &row, const Registers &columns,
                    Value sum) override {
    return kb.fma(row[0], columns[0], sum);
  }

private:
  KernelBuilder &kb;
  Type aType, bType;
};

/// What both ways of bytes share: groups of four, in lanes of 32 bits.
class ByteStep : public ProductStep {
public:
  /// `isSigned`: bytes of rows are signed and those of columns unsigned.
  explicit ByteStep(KernelBuilder &kb, bool isSigned = false)
      : kb(kb), isSigned(isSigned) {}

  Registers loadColumns(Value pointer, Value mask) override {
    return columnsOf(loadBits(pointer, mask));
  }

  int64_t group() const override { return 4; }
  Type sumType() const override { return kb.getI32Type(); }

protected:
  Value loadBits(Value pointer, Value mask) {
    return kb.loadMasked(kb.vec(kb.getI32Type()), pointer, mask);
  }
  /// One group of a row in all lanes.
  Value broadcastBits(Value pointer, int64_t count, int64_t depth);
  Value cast(Value bits, unsigned width) {
    auto type = VectorType::get({int64_t(kb.lanes()) * 32 / width},
                                kb.getIntegerType(width));
    return vector::BitCastOp::create(kb, type, bits);
  }
  Value call(StringRef name, ArrayRef<Value> operands) {
    return LLVM::CallIntrinsicOp::create(kb, kb.vec(kb.getI32Type()),
                                         kb.getStringAttr(name), operands)
        .getResult(0);
  }

  KernelBuilder &kb;
  bool isSigned;
};

class FoursStep final : public ByteStep {
public:
  using ByteStep::ByteStep;

  Registers columnsOf(Value bits) override { return {cast(bits, 8)}; }
  Registers loadRow(Value pointer, int64_t count, int64_t depth) override {
    return {cast(broadcastBits(pointer, count, depth), 8)};
  }
  Value multiplyAdd(const Registers &row, const Registers &columns,
                    Value sum) override {
    if (kb.level().byteDot() == ByteDot::Signed)
      return call("llvm.aarch64.neon.sdot.v4i32.v16i8",
                  {sum, columns[0], row[0]});
    // AVX-VNNI's encoding has the name of AVX-512's.
    Value first = row[0], second = columns[0];
    if (isSigned)
      std::swap(first, second);
    return call(kb.level().isAvx512() ? "llvm.x86.avx512.vpdpbusd.512"
                                      : "llvm.x86.avx512.vpdpbusd.256",
                {sum, first, second});
  }
};

/// Bytes 0 and 2 of each group in one register of 16-bit lanes, 1 and 3 in
/// another: two shifts make them, where vpmovsxbw would need the halves of the
/// register in order. No vpmaddubsw: its sums of two saturate.
class PairsStep final : public ByteStep {
public:
  using ByteStep::ByteStep;

  // LLVM orders a chain of integer sums anew: over several steps it makes all
  // products first, and spills them.
  int64_t unroll() const override { return 1; }
  Registers columnsOf(Value bits) override { return widened(bits, !isSigned); }
  Registers loadRow(Value pointer, int64_t count, int64_t depth) override {
    return widened(broadcastBits(pointer, count, depth), isSigned);
  }
  Value multiplyAdd(const Registers &row, const Registers &columns,
                    Value sum) override {
    for (auto [a, b] : llvm::zip_equal(row, columns)) {
      Value pairs = call(kb.level().isAvx512() ? "llvm.x86.avx512.pmaddw.d.512"
                                               : "llvm.x86.avx2.pmadd.wd",
                         {a, b});
      sum = arith::AddIOp::create(kb, sum, pairs);
    }
    return sum;
  }

private:
  Registers widened(Value bytes, bool withSigns) {
    Value bits = cast(bytes, 16), eight = constant(8);
    if (!withSigns)
      return {arith::AndIOp::create(kb, bits, constant(0xff)),
              arith::ShRUIOp::create(kb, bits, eight)};
    Value even = arith::ShLIOp::create(kb, bits, eight);
    return {arith::ShRSIOp::create(kb, even, eight),
            arith::ShRSIOp::create(kb, bits, eight)};
  }
  Value constant(int64_t value) {
    auto type =
        VectorType::get({int64_t(kb.lanes()) * 2}, kb.getIntegerType(16));
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(type, llvm::APInt(16, value)));
  }
};

/// Of bytes that were widened before (WordProduct.h).
class WordStep final : public ByteStep {
public:
  using ByteStep::ByteStep;

  int64_t group() const override { return 2; }
  int64_t unroll() const override { return 1; } // as of pairs
  Registers loadColumns(Value pointer, Value mask) override {
    return {cast(loadBits(pointer, mask), 16)};
  }
  Registers loadRow(Value pointer, int64_t, int64_t) override {
    return {cast(kb.broadcast(kb.load(kb.getI32Type(), pointer)), 16)};
  }
  Value multiplyAdd(const Registers &row, const Registers &columns,
                    Value sum) override {
    Value pairs = call(kb.level().isAvx512() ? "llvm.x86.avx512.pmaddw.d.512"
                                             : "llvm.x86.avx2.pmadd.wd",
                       {row[0], columns[0]});
    return arith::AddIOp::create(kb, sum, pairs);
  }
};

/// No instruction of one machine: bytes as 32 bits, by shifts.
class OnesStep final : public ByteStep {
public:
  using ByteStep::ByteStep;

  int64_t unroll() const override { return 1; }
  Registers loadRow(Value pointer, int64_t count, int64_t depth) override {
    return {broadcastBits(pointer, count, depth)};
  }
  Value multiplyAdd(const Registers &row, const Registers &columns,
                    Value sum) override {
    for (int64_t i = 0; i < group(); ++i) {
      auto without = [&](Value bits) -> Value {
        return arith::AndIOp::create(
            kb, arith::ShRUIOp::create(kb, bits, constant(8 * i)),
            constant(0xff));
      };
      auto with = [&](Value bits) -> Value {
        return arith::ShRSIOp::create(
            kb, arith::ShLIOp::create(kb, bits, constant(24 - 8 * i)),
            constant(24));
      };
      Value a = isSigned ? with(row[0]) : without(row[0]);
      Value b = isSigned ? without(columns[0]) : with(columns[0]);
      sum = arith::AddIOp::create(kb, sum, arith::MulIOp::create(kb, a, b));
    }
    return sum;
  }

private:
  Value constant(int64_t value) {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(kb.vec(kb.getI32Type()),
                                   llvm::APInt(32, value)));
  }
};
} // namespace

Value ByteStep::broadcastBits(Value pointer, int64_t count, int64_t depth) {
  Type i32 = kb.getI32Type(), i8 = kb.getI8Type();
  if (count == group())
    return kb.broadcast(kb.load(i32, pointer, 1));
  auto shift = [&](int64_t bytes) {
    return arith::ConstantOp::create(kb, kb.getI32IntegerAttr(8 * bytes));
  };
  Value bits;
  if (depth >= group()) {
    // The last four bytes of the row, without those of the group before.
    bits = kb.load(i32, kb.gep(pointer, i8, count - group()), 1);
    bits = arith::ShRUIOp::create(kb, bits, shift(group() - count));
    return kb.broadcast(bits);
  }
  for (int64_t i = 0; i < count; ++i) {
    Value byte =
        arith::ExtUIOp::create(kb, i32, kb.load(i8, kb.gep(pointer, i8, i)));
    byte = arith::ShLIOp::create(kb, byte, shift(i));
    bits = bits ? Value(arith::OrIOp::create(kb, bits, byte)) : byte;
  }
  return kb.broadcast(bits);
}

template <typename... Args>
static std::unique_ptr<ProductStep> makeBytes(ByteDot dot, KernelBuilder &kb,
                                              Args... args) {
  if (dot == ByteDot::Fours || dot == ByteDot::Signed)
    return std::make_unique<FoursStep>(kb, args...);
  if (dot == ByteDot::Ones)
    return std::make_unique<OnesStep>(kb, args...);
  return std::make_unique<PairsStep>(kb, args...);
}

std::unique_ptr<ProductStep> ProductStep::make(KernelBuilder &kb, Type aType,
                                               Type bType) {
  if (!isByteProduct(aType, bType))
    return std::make_unique<FloatStep>(kb, aType, bType);
  if (aType.isInteger(16))
    return std::make_unique<WordStep>(kb);
  kb.use(Instruction::DotI8);
  return makeBytes(kb.level().byteDot(), kb);
}

std::unique_ptr<ProductStep> ProductStep::makeSigned(KernelBuilder &kb) {
  ByteDot dot = kb.level().mixedDot();
  if (dot == ByteDot::Fours)
    kb.use(Instruction::DotI8);
  return makeBytes(dot, kb, /*isSigned=*/true);
}
