//===- EmitArgReduce.cpp - Kernels of the position of an extreme ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Lanes of a register are lines where lines lie side by side, and parts of one
// line where its elements do: then lanes meet at the end, and equal values are
// told apart by their positions.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitOrder.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

Value ferrite::cpu::lessThan(KernelBuilder &kb, Value a, Value b,
                             bool isUnsigned) {
  if (!isa<FloatType>(getElementTypeOrSelf(a)))
    return arith::CmpIOp::create(
        kb, isUnsigned ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt,
        a, b);
  Value below = arith::CmpFOp::create(kb, arith::CmpFPredicate::ULT, a, b);
  Value number = arith::CmpFOp::create(kb, arith::CmpFPredicate::ORD, a, a);
  return arith::AndIOp::create(kb, below, number);
}

namespace {
class ArgReduceEmitter {
public:
  ArgReduceEmitter(KernelBuilder &kb, const ArgReduceSpec &spec)
      : kb(kb), spec(spec), storage(kb.operand(kInput).elementType),
        compute(wideType(storage)) {}
  LogicalResult emit();

private:
  enum { kInput, kResult };
  Value size(unsigned d) { return kb.dim(kInput, d); }
  bool isUnsigned() { return spec.isUnsigned || storage.isInteger(1); }
  /// Whether `a` is more extreme than `b`.
  Value beats(Value a, Value b);
  Value load(Value outer, Value a, Value inner, unsigned lanes, Value mask);
  /// Takes the element at `a` where it beats, or equals and the last is wanted.
  SmallVector<Value> step(ValueRange best, Value element, Value position);
  /// Takes the second of two lines' bests, in any order of position.
  SmallVector<Value> join(ValueRange one, ValueRange other);
  void store(Value outer, Value inner, Value position, Value mask);
  void lines(Value outer, Value inner, unsigned lanes, Value mask);
  void wideLine(Value outer, Value inner);
  void item(Value index);

  KernelBuilder &kb;
  const ArgReduceSpec &spec;
  Type storage, compute;
  bool across = false, along = false;
};
} // namespace

Value ArgReduceEmitter::beats(Value a, Value b) {
  if (!isa<FloatType>(compute))
    return spec.minimum ? lessThan(kb, a, b, isUnsigned())
                        : lessThan(kb, b, a, isUnsigned());
  // Unordered or beyond, and b is a number.
  auto beyond =
      spec.minimum ? arith::CmpFPredicate::ULT : arith::CmpFPredicate::UGT;
  return arith::AndIOp::create(
      kb, arith::CmpFOp::create(kb, beyond, a, b),
      arith::CmpFOp::create(kb, arith::CmpFPredicate::ORD, b, b));
}

Value ArgReduceEmitter::load(Value outer, Value a, Value inner, unsigned lanes,
                             Value mask) {
  Value offset = kb.add(kb.mul(outer, kb.stride(kInput, 0)),
                        kb.add(kb.mul(a, kb.stride(kInput, 1)),
                               kb.mul(inner, kb.stride(kInput, 2))));
  return loadElements(kb, kb.gep(kb.ptr(kInput), memoryType(storage), offset),
                      storage, compute, lanes, mask);
}

SmallVector<Value> ArgReduceEmitter::step(ValueRange best, Value element,
                                          Value position) {
  Value take = beats(element, best[0]);
  if (spec.selectLast) {
    TypedAttr yes = kb.getOneAttr(take.getType());
    take = arith::XOrIOp::create(kb, beats(best[0], element),
                                 arith::ConstantOp::create(kb, yes));
  }
  return {arith::SelectOp::create(kb, take, element, best[0]),
          arith::SelectOp::create(kb, take, position, best[1])};
}

SmallVector<Value> ArgReduceEmitter::join(ValueRange one, ValueRange other) {
  Value better = beats(other[0], one[0]), worse = beats(one[0], other[0]);
  Value nearer =
      spec.selectLast ? kb.lt(one[1], other[1]) : kb.lt(other[1], one[1]);
  Value take = arith::OrIOp::create(
      kb, better, kb.select(worse, kb.lt(kb.c(1), 0), nearer));
  return {arith::SelectOp::create(kb, take, other[0], one[0]),
          arith::SelectOp::create(kb, take, other[1], one[1])};
}

void ArgReduceEmitter::store(Value outer, Value inner, Value position,
                             Value mask) {
  Value offset = kb.add(kb.mul(outer, kb.stride(kResult, 0)),
                        kb.mul(inner, kb.stride(kResult, 2)));
  Value to = kb.gep(kb.ptr(kResult), kb.i64(), offset);
  mask ? kb.storeMasked(position, to, mask) : kb.store(position, to, 8);
}

void ArgReduceEmitter::lines(Value outer, Value inner, unsigned lanes,
                             Value mask) {
  Value first = load(outer, kb.c(0), inner, lanes, mask);
  SmallVector<Value> best = kb.forLoop(
      kb.c(1), size(1), kb.c(1), {first, toLanes(kb, kb.c(0), lanes)},
      [&](Value a, ValueRange best) {
        return step(best, load(outer, a, inner, lanes, mask),
                    toLanes(kb, a, lanes));
      });
  store(outer, inner, best[1], mask);
}

/// One line of adjacent elements, at least a register long.
void ArgReduceEmitter::wideLine(Value outer, Value inner) {
  int64_t lanes = kb.lanes();
  Value numbers = laneNumbers(kb, lanes);
  Value whole = kb.sub(size(1), kb.rem(size(1), lanes));
  SmallVector<Value> best = kb.forLoop(
      kb.c(lanes), whole, kb.c(lanes),
      {load(outer, kb.c(0), inner, lanes, {}), numbers},
      [&](Value a, ValueRange best) {
        Value position =
            arith::AddIOp::create(kb, numbers, toLanes(kb, a, lanes));
        return step(best, load(outer, a, inner, lanes, {}), position);
      });
  auto lane = [&](int64_t i) {
    return SmallVector<Value>{
        vector::ExtractOp::create(kb, best[0], ArrayRef<int64_t>{i}),
        vector::ExtractOp::create(kb, best[1], ArrayRef<int64_t>{i})};
  };
  SmallVector<Value> one = lane(0);
  for (int64_t i = 1; i < lanes; ++i)
    one = join(one, lane(i));
  one = kb.forLoop(whole, size(1), kb.c(1), one, [&](Value a, ValueRange best) {
    return step(best, load(outer, a, inner, 1, {}), a);
  });
  store(outer, inner, one[1], {});
}

void ArgReduceEmitter::item(Value index) {
  int64_t lanes = across ? kb.lanes() : 1;
  Value groups = kb.ceilDiv(size(2), lanes);
  Value outer = kb.div(index, groups);
  Value inner = kb.mul(kb.rem(index, groups), lanes);
  if (across)
    return kb.ifElse(
        kb.le(kb.add(inner, lanes), size(2)),
        [&] { lines(outer, inner, lanes, {}); },
        [&] {
          lines(outer, inner, lanes, kb.tailMask(kb.sub(size(2), inner)));
        });
  if (!along)
    return lines(outer, inner, 1, {});
  kb.ifElse(
      kb.le(kb.c(kb.lanes()), size(1)), [&] { wideLine(outer, inner); },
      [&] { lines(outer, inner, 1, {}); });
}

LogicalResult ArgReduceEmitter::emit() {
  if (kb.layout().operands.size() != 2 || kb.rank(kInput) != 3 ||
      kb.rank(kResult) != 3 || !kb.operand(kResult).elementType.isInteger(64))
    return emitError(kb.getLoc(), "arg_reduce kernel: expects an input and a "
                                  "result of i64, both of rank 3");
  ArrayRef<int64_t> strides = kb.operand(kInput).strides;
  across = kb.operand(kInput).shape[2] != 1 && strides[2] == 1 &&
           kb.operand(kResult).strides[2] == 1;
  along = !across && strides[1] == 1;
  auto items = [&] {
    return kb.mul(size(0), kb.ceilDiv(size(2), across ? kb.lanes() : 1));
  };
  auto itemsPerUnit = [&] {
    return kb.max(kb.div(kb.c(8192), kb.max(size(1), 1)), 1);
  };
  kb.defineUnits([&] { return kb.ceilDiv(items(), itemsPerUnit()); });
  kb.defineBody([&] {
    Value perUnit = itemsPerUnit();
    Value last = kb.min(kb.mul(kb.end(), perUnit), items());
    // Lines of no elements have no first one to read.
    last = kb.select(kb.eq(size(1), 0), kb.c(0), last);
    kb.forLoop(kb.mul(kb.begin(), perUnit), last, kb.c(1),
               [&](Value index) { item(index); });
  });
  return success();
}

LogicalResult ferrite::cpu::emitArgReduce(KernelBuilder &kb,
                                          const ArgReduceSpec &spec) {
  return ArgReduceEmitter(kb, spec).emit();
}
