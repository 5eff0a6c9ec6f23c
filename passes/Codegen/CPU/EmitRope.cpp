//===- EmitRope.cpp - Rotary position embedding ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is a token: a register of cos and sin is read once and turns that
// part of every head.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitRope.h"

#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/RowKernel.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
/// Operands by position.
enum : unsigned { X, Cos, Sin, Result };

class RopeEmitter {
public:
  RopeEmitter(KernelBuilder &kb, bool interleaved)
      : kb(kb), interleaved(interleaved) {}
  void emitToken(Value b, Value s);

private:
  Value load(unsigned i, Value row, Value at, Value mask) {
    Type type = kb.operand(i).elementType;
    return kb.loadF32(kb.gep(row, type, at), type, mask);
  }
  void store(Value value, Value row, Value at, Value mask) {
    Type type = kb.operand(Result).elementType;
    kb.storeF32(value, kb.gep(row, type, at), type, mask);
  }
  void turnHalves(Value from, Value to, Value at, Value mask, Value cos,
                  Value sin);
  void turnPairs(Value from, Value to, Value at, Value mask, Value cos,
                 Value sin);

  KernelBuilder &kb;
  bool interleaved;
};
} // namespace

void RopeEmitter::turnHalves(Value from, Value to, Value at, Value mask,
                             Value cos, Value sin) {
  Value second = kb.add(at, kb.dim(Cos, 2));
  Value x1 = load(X, from, at, mask), x2 = load(X, from, second, mask);
  Value y1 = kb.fma(kb.negF(x2), sin, kb.mulF(x1, cos));
  Value y2 = kb.fma(x1, sin, kb.mulF(x2, cos));
  store(y1, to, at, mask);
  store(y2, to, second, mask);
}

/// A register of cos turns two registers of x: their even lanes are the first
/// elements of pairs.
void RopeEmitter::turnPairs(Value from, Value to, Value at, Value mask,
                            Value cos, Value sin) {
  int64_t lanes = kb.lanes();
  Value first = kb.mul(at, 2), second = kb.add(first, lanes);
  Value maskLow, maskHigh;
  if (mask) {
    Value left = kb.mul(kb.sub(kb.dim(Cos, 2), at), 2);
    maskLow = kb.tailMask(left);
    maskHigh = kb.tailMask(kb.max(kb.sub(left, lanes), int64_t(0)));
  }
  Value low = load(X, from, first, maskLow);
  Value high = load(X, from, second, maskHigh);
  SmallVector<int64_t> even, odd, lower, upper;
  for (int64_t i = 0; i < lanes; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
    lower.push_back(i / 2 + i % 2 * lanes);
    upper.push_back(lanes / 2 + i / 2 + i % 2 * lanes);
  }
  Value x1 = shuffle(kb, low, high, even), x2 = shuffle(kb, low, high, odd);
  Value y1 = kb.fma(kb.negF(x2), sin, kb.mulF(x1, cos));
  Value y2 = kb.fma(x1, sin, kb.mulF(x2, cos));
  store(shuffle(kb, y1, y2, lower), to, first, maskLow);
  store(shuffle(kb, y1, y2, upper), to, second, maskHigh);
}

void RopeEmitter::emitToken(Value b, Value s) {
  Value cosRow = kb.address(Cos, {b, s}), sinRow = kb.address(Sin, {b, s});
  Value heads = kb.dim(Result, 2), half = kb.dim(Cos, 2);
  auto forHeads = [&](function_ref<void(Value from, Value to)> body) {
    kb.forLoop(kb.c(0), heads, kb.c(1), [&](Value h) {
      body(kb.address(X, {b, s, h}), kb.address(Result, {b, s, h}));
    });
  };
  kb.forVectors(half, [&](Value at, Value mask) {
    Value cos = load(Cos, cosRow, at, mask), sin = load(Sin, sinRow, at, mask);
    forHeads([&](Value from, Value to) {
      if (interleaved)
        turnPairs(from, to, at, mask, cos, sin);
      else
        turnHalves(from, to, at, mask, cos, sin);
    });
  });
  Value turned = kb.mul(half, 2);
  Value rest = kb.sub(kb.dim(Result, 3), turned);
  if (KernelBuilder::constantOf(rest) == 0)
    return;
  forHeads([&](Value from, Value to) {
    kb.forVectors(rest, [&](Value at, Value mask) {
      Value place = kb.add(at, turned);
      store(load(X, from, place, mask), to, place, mask);
    });
  });
}

LogicalResult ferrite::cpu::emitRope(KernelBuilder &kb, const RopeSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "rope kernel: " << why;
  };
  if (kb.layout().operands.size() != 4)
    return fail("expects x, cos, sin, result");
  for (unsigned i : {X, Cos, Sin, Result}) {
    const OperandLayout &operand = kb.operand(i);
    size_t rank = i == X || i == Result ? 4 : 3;
    if (operand.shape.size() != rank || operand.strides.back() != 1 ||
        !isFloatStorage(operand.elementType))
      return fail("expects floats of rank 4, tables of rank 3, and innermost "
                  "strides of 1");
  }
  auto tokens = [&] { return kb.mul(kb.dim(Result, 0), kb.dim(Result, 1)); };
  kb.defineUnits(tokens);
  kb.defineBody([&] {
    RopeEmitter emitter(kb, spec.interleaved);
    kb.forUnits([&](Value unit) {
      SmallVector<Value> at =
          kb.delinearize(unit, {kb.dim(Result, 0), kb.dim(Result, 1)});
      emitter.emitToken(at[0], at[1]);
    });
  });
  return success();
}
