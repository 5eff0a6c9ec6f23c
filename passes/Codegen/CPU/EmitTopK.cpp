//===- EmitTopK.cpp - Kernels of the largest elements ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The result itself is a heap of the positions taken so far, the worst of them
// at its root: most elements of a long line cost one comparison with the root.
// Taking the roots off, from the worst on, leaves the heap sorted. Time is
// A log k, memory is none, and a whole line can be sorted this way.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitOrder.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
class TopKEmitter {
public:
  TopKEmitter(KernelBuilder &kb, const TopKSpec &spec)
      : kb(kb), spec(spec), storage(kb.operand(kInput).elementType),
        compute(wideType(storage)) {}
  LogicalResult emit();

private:
  enum { kInput, kResult };

  /// A line: pointers to its first element and its first position.
  struct Line {
    Value elements, positions, elementStride, positionStride;
  };
  Value element(const Line &line, Value position);
  Value place(const Line &line, Value i);
  Value position(const Line &line, Value i) {
    return kb.load(kb.i64(), place(line, i));
  }
  /// Whether the element at a comes after the one at b in the result.
  Value isWorse(const Line &line, Value a, Value b);
  /// Moves the position at `hole` of a heap of `count` to where it belongs.
  void sift(const Line &line, Value hole, Value count);
  void siftBody(const Line &line, Value hole, Value count);
  void emitLine(Value index);

  KernelBuilder &kb;
  const TopKSpec &spec;
  Type storage, compute;
};
} // namespace

Value TopKEmitter::element(const Line &line, Value position) {
  return loadElements(kb,
                      kb.gep(line.elements, memoryType(storage),
                             kb.mul(position, line.elementStride)),
                      storage, compute, 1);
}

Value TopKEmitter::place(const Line &line, Value i) {
  return kb.gep(line.positions, kb.i64(), kb.mul(i, line.positionStride));
}

Value TopKEmitter::isWorse(const Line &line, Value a, Value b) {
  bool isUnsigned = spec.isUnsigned || storage.isInteger(1);
  Value x = element(line, spec.smallest ? b : a);
  Value y = element(line, spec.smallest ? a : b);
  Value worse = lessThan(kb, x, y, isUnsigned);
  Value better = lessThan(kb, y, x, isUnsigned);
  return arith::OrIOp::create(
      kb, worse, kb.select(better, kb.lt(kb.c(1), 0), kb.lt(b, a)));
}

void TopKEmitter::sift(const Line &line, Value hole, Value count) {
  kb.callPart(
      "sift",
      {line.elements, line.positions, line.elementStride, line.positionStride,
       hole, count},
      [&](ValueRange p) { siftBody({p[0], p[1], p[2], p[3]}, p[4], p[5]); });
}

void TopKEmitter::siftBody(const Line &line, Value hole, Value count) {
  Value moving = position(line, hole);
  auto loop = scf::WhileOp::create(
      kb, TypeRange{kb.i64()}, ValueRange{hole},
      [&](OpBuilder &, Location, ValueRange at) {
        // The worse child, and whether it is worse than what moves.
        OpBuilder::InsertionGuard guard(kb);
        kb.setInsertionPointToEnd(at[0].getParentBlock());
        Value left = kb.add(kb.mul(at[0], 2), 1), right = kb.add(left, 1);
        SmallVector<Value> next = kb.ifElse(
            kb.lt(left, count), {kb.getI1Type(), kb.i64()},
            [&]() -> SmallVector<Value> {
              Value child = kb.ifElse(
                  kb.lt(right, count), {kb.i64()},
                  [&]() -> SmallVector<Value> {
                    return {kb.select(isWorse(line, position(line, right),
                                              position(line, left)),
                                      right, left)};
                  },
                  [&]() -> SmallVector<Value> { return {left}; })[0];
              return {isWorse(line, position(line, child), moving), child};
            },
            [&]() -> SmallVector<Value> { return {kb.lt(kb.c(1), 0), left}; });
        Value go = next[0];
        kb.ifThen(go, [&] {
          kb.store(position(line, next[1]), place(line, at[0]), 8);
        });
        scf::ConditionOp::create(kb, go, kb.select(go, next[1], at[0]));
      },
      [&](OpBuilder &, Location, ValueRange at) {
        OpBuilder::InsertionGuard guard(kb);
        kb.setInsertionPointToEnd(at[0].getParentBlock());
        scf::YieldOp::create(kb, at);
      });
  kb.store(moving, place(line, loop.getResult(0)), 8);
}

void TopKEmitter::emitLine(Value index) {
  Value inner = kb.dim(kInput, 2), length = kb.dim(kInput, 1),
        k = kb.dim(kResult, 1);
  Value outer = kb.div(index, inner), column = kb.rem(index, inner);
  auto start = [&](unsigned operand, Type type) {
    return kb.gep(kb.ptr(operand), type,
                  kb.add(kb.mul(outer, kb.stride(operand, 0)),
                         kb.mul(column, kb.stride(operand, 2))));
  };
  Line line{start(kInput, memoryType(storage)), start(kResult, kb.i64()),
            kb.stride(kInput, 1), kb.stride(kResult, 1)};
  kb.forLoop(kb.c(0), k, kb.c(1),
             [&](Value i) { kb.store(i, place(line, i), 8); });
  Value parents = kb.div(k, 2);
  kb.forLoop(kb.c(0), parents, kb.c(1),
             [&](Value i) { sift(line, kb.sub(kb.sub(parents, 1), i), k); });
  kb.forLoop(k, length, kb.c(1), [&](Value a) {
    kb.ifThen(isWorse(line, position(line, kb.c(0)), a), [&] {
      kb.store(a, place(line, kb.c(0)), 8);
      sift(line, kb.c(0), k);
    });
  });
  kb.forLoop(kb.c(1), k, kb.c(1), [&](Value i) {
    Value last = kb.sub(k, i);
    Value worst = position(line, kb.c(0)), moved = position(line, last);
    kb.store(worst, place(line, last), 8);
    kb.store(moved, place(line, kb.c(0)), 8);
    sift(line, kb.c(0), last);
  });
}

LogicalResult TopKEmitter::emit() {
  if (kb.layout().operands.size() != 2 || kb.rank(kInput) != 3 ||
      kb.rank(kResult) != 3 || !kb.operand(kResult).elementType.isInteger(64))
    return emitError(kb.getLoc(), "topk kernel: expects an input and a result "
                                  "of i64, both of rank 3");
  auto items = [&] {
    Value count = kb.mul(kb.dim(kInput, 0), kb.dim(kInput, 2));
    // Without a place there is no root.
    return kb.select(kb.eq(kb.dim(kResult, 1), 0), kb.c(0), count);
  };
  auto itemsPerUnit = [&] {
    return kb.max(kb.div(kb.c(4096), kb.max(kb.dim(kInput, 1), 1)), 1);
  };
  kb.defineUnits([&] { return kb.ceilDiv(items(), itemsPerUnit()); });
  kb.defineBody([&] {
    Value perUnit = itemsPerUnit();
    Value last = kb.min(kb.mul(kb.end(), perUnit), items());
    kb.forLoop(kb.mul(kb.begin(), perUnit), last, kb.c(1),
               [&](Value index) { emitLine(index); });
  });
  return success();
}

LogicalResult ferrite::cpu::emitTopK(KernelBuilder &kb, const TopKSpec &spec) {
  return TopKEmitter(kb, spec).emit();
}
