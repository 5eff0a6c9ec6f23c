//===- ElementAccess.cpp - Elements of any type in and out of memory ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The conversions are the only place that knows that a bool is a byte, so that
// no emitter writes a 0xff or reads a 2 as true by accident. The transpose is
// the classic one of unpacks within 128 bits followed by shuffles of 128-bit
// blocks: LLVM selects one instruction for each vector.shuffle below.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;
using llvm::ArrayRef;
using llvm::SmallVector;

Type ferrite::cpu::memoryType(Type storage) {
  if (storage.isInteger(1))
    return IntegerType::get(storage.getContext(), 8);
  // As integers: masked accesses of bf16 are not everywhere legal.
  if (storage.isF16() || storage.isBF16())
    return IntegerType::get(storage.getContext(), 16);
  return valueType(storage);
}

/// Lanes of a register, 1 for a scalar.
static unsigned lanesOf(Value v) {
  auto vector = dyn_cast<VectorType>(v.getType());
  return vector ? vector.getNumElements() : 1;
}

Type ferrite::cpu::valueType(Type storage) {
  if (storage.isIndex())
    return IntegerType::get(storage.getContext(), 64);
  // Tiny types have a byte each; bodies know floats of 8 bits by their bits.
  if (!storage.isInteger(1) && storage.getIntOrFloatBitWidth() <= 8)
    return IntegerType::get(storage.getContext(), 8);
  if (auto integer = dyn_cast<IntegerType>(storage))
    return IntegerType::get(storage.getContext(), integer.getWidth());
  return storage;
}

Type ferrite::cpu::wideType(Type storage) {
  return storage.isF16() || storage.isBF16()
             ? Float32Type::get(storage.getContext())
             : valueType(storage);
}

bool ferrite::cpu::canAccessAs(Type storage, Type value) {
  if (isa<FloatType>(valueType(storage)) && isa<FloatType>(value))
    return true;
  return valueType(storage) == value;
}

Type ferrite::cpu::withLanes(Type type, unsigned lanes) {
  return lanes == 1 ? type : VectorType::get({int64_t(lanes)}, type);
}

Value ferrite::cpu::toLanes(KernelBuilder &kb, Value v, unsigned lanes) {
  if (lanes == 1 || KernelBuilder::isVector(v))
    return v;
  return vector::BroadcastOp::create(kb, withLanes(v.getType(), lanes), v);
}

Value ferrite::cpu::laneNumbers(KernelBuilder &kb, unsigned lanes) {
  SmallVector<int64_t> numbers(lanes);
  for (unsigned i = 0; i < lanes; ++i)
    numbers[i] = i;
  auto type = VectorType::get({int64_t(lanes)}, kb.i64());
  return arith::ConstantOp::create(
      kb, DenseElementsAttr::get(type, ArrayRef(numbers)));
}

Value ferrite::cpu::shuffle(KernelBuilder &kb, Value a, Value b,
                            ArrayRef<int64_t> order) {
  return vector::ShuffleOp::create(kb, a, b, order);
}

Value ferrite::cpu::convertFloat(KernelBuilder &kb, Value v, Type to) {
  auto from = cast<FloatType>(getElementTypeOrSelf(v));
  auto target = cast<FloatType>(getElementTypeOrSelf(to));
  if (from == target)
    return v;
  unsigned lanes = lanesOf(v);
  if (from.getWidth() == 16)
    return convertFloat(kb, kb.extendToF32(v), target);
  if (target.getWidth() == 16) {
    if (from.getWidth() == 64)
      v = arith::TruncFOp::create(kb, withLanes(kb.f32(), lanes), v);
    return kb.truncateFromF32(v, target);
  }
  Type type = withLanes(target, lanes);
  if (from.getWidth() < target.getWidth())
    return arith::ExtFOp::create(kb, type, v);
  return arith::TruncFOp::create(kb, type, v);
}

Value ferrite::cpu::fromMemory(KernelBuilder &kb, Value v, Type storage,
                               Type value) {
  if (storage.isInteger(1)) {
    auto zero = arith::ConstantOp::create(kb, kb.getZeroAttr(v.getType()));
    return arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, v, zero);
  }
  if (!isa<FloatType>(valueType(storage)))
    return v;
  if (v.getType() != withLanes(storage, lanesOf(v)))
    v = arith::BitcastOp::create(kb, withLanes(storage, lanesOf(v)), v);
  return convertFloat(kb, v, value);
}

Value ferrite::cpu::toMemory(KernelBuilder &kb, Value v, Type storage) {
  Type memory = withLanes(memoryType(storage), lanesOf(v));
  if (storage.isInteger(1))
    return arith::ExtUIOp::create(kb, memory, v);
  if (!isa<FloatType>(valueType(storage)))
    return v;
  v = convertFloat(kb, v, storage);
  return v.getType() == memory ? v : arith::BitcastOp::create(kb, memory, v);
}

Value ferrite::cpu::loadElements(KernelBuilder &kb, Value pointer, Type storage,
                                 Type value, unsigned lanes, Value mask) {
  Type type = withLanes(memoryType(storage), lanes);
  Value raw = mask ? kb.loadMasked(cast<VectorType>(type), pointer, mask)
                   : kb.load(type, pointer);
  return fromMemory(kb, raw, storage, value);
}

void ferrite::cpu::storeElements(KernelBuilder &kb, Value elements,
                                 Value pointer, Type storage, Value mask) {
  Value raw = toMemory(kb, elements, storage);
  if (mask)
    kb.storeMasked(raw, pointer, mask);
  else
    kb.store(raw, pointer);
}

SmallVector<Value> ferrite::cpu::transposeRegisters(KernelBuilder &kb,
                                                    ArrayRef<Value> rows) {
  int64_t n = rows.size();
  assert((n == 4 || n == 8 || n == 16) && "a register has 4, 8 or 16 lanes");
  // In each block of four lanes: low or high pairs of `unit` lanes of a and b.
  auto unpack = [&](Value a, Value b, int64_t unit, bool high) {
    SmallVector<int64_t> order;
    for (int64_t block = 0; block < n; block += 4)
      for (int64_t part = 0; part < 4 / (2 * unit); ++part)
        for (int64_t source : {int64_t(0), n})
          for (int64_t lane = 0; lane < unit; ++lane)
            order.push_back(source + block + (high ? 2 : 0) + part * unit +
                            lane);
    return shuffle(kb, a, b, order);
  };
  SmallVector<Value> pairs(n), quads(n), result(n);
  for (int64_t i = 0; i < n; i += 2) {
    pairs[i] = unpack(rows[i], rows[i + 1], 1, false);
    pairs[i + 1] = unpack(rows[i], rows[i + 1], 1, true);
  }
  for (int64_t i = 0; i < n; i += 4)
    for (int64_t high = 0; high < 2; ++high) {
      quads[i + 2 * high] =
          unpack(pairs[i + high], pairs[i + high + 2], 2, false);
      quads[i + 2 * high + 1] =
          unpack(pairs[i + high], pairs[i + high + 2], 2, true);
    }
  // quads[4g + c] holds in its block q the column 4q + c of rows 4g..4g+3.
  if (n == 4)
    return quads;
  // Even or odd blocks of a, then of b.
  auto blocks = [&](Value a, Value b, int64_t odd) {
    SmallVector<int64_t> order;
    for (int64_t source : {int64_t(0), n})
      for (int64_t block = odd; block < n / 4; block += 2)
        for (int64_t lane = 0; lane < 4; ++lane)
          order.push_back(source + block * 4 + lane);
    return shuffle(kb, a, b, order);
  };
  for (int64_t c = 0; c < 4; ++c)
    for (int64_t odd = 0; odd < 2; ++odd) {
      Value low = blocks(quads[c], quads[4 + c], odd);
      if (n == 8) {
        result[4 * odd + c] = low;
        continue;
      }
      Value high = blocks(quads[8 + c], quads[12 + c], odd);
      result[4 * odd + c] = blocks(low, high, 0);
      result[4 * (odd + 2) + c] = blocks(low, high, 1);
    }
  return result;
}
