//===- EmitRoute.cpp - Slots sorted by expert -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A counting sort in one unit: 8192 slots take some 20 us, beside products of
// milliseconds. Chunks are written between its two passes, when the counts are
// known; the kernel of the products then needs no search.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitExperts.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
class RouteEmitter {
public:
  RouteEmitter(KernelBuilder &kb, const RouteSpec &spec) : kb(kb), spec(spec) {}
  LogicalResult check();
  void emit();

private:
  enum { kExperts, kResult };

  Value groupOf(Value slot);
  Value counter(Value group) { return kb.gep(kb.scratch(), kb.i64(), group); }
  Value result(Value i) { return kb.gep(kb.ptr(kResult), kb.i64(), i); }
  /// Loads the counter of a group, stores it plus one, returns what it was.
  Value count(Value group);
  Value writeChunks(Value group, Value begin, Value rows, Value firstChunk);

  KernelBuilder &kb;
  const RouteSpec &spec;
};
} // namespace

LogicalResult RouteEmitter::check() {
  Type type = valueType(kb.operand(kExperts).elementType);
  if (kb.layout().operands.size() != 2 || spec.groups < 1 || spec.chunk < 1 ||
      (!type.isInteger(32) && !type.isInteger(64)) ||
      !kb.operand(kResult).elementType.isInteger(64))
    return emitError(kb.getLoc(), "route kernel: expects experts of i32 or i64 "
                                  "and a result of i64");
  return success();
}

Value RouteEmitter::groupOf(Value slot) {
  Type type = valueType(kb.operand(kExperts).elementType);
  Value group = kb.load(type, kb.gep(kb.ptr(kExperts), type, slot));
  if (type != kb.i64())
    group = arith::ExtSIOp::create(kb, kb.i64(), group);
  group = kb.select(kb.lt(group, 0), kb.add(group, spec.groups), group);
  return kb.max(kb.min(group, spec.groups - 1), 0);
}

Value RouteEmitter::count(Value group) {
  Value at = counter(group), before = kb.load(kb.i64(), at, 8);
  kb.store(kb.add(before, 1), at, 8);
  return before;
}

Value RouteEmitter::writeChunks(Value group, Value begin, Value rows,
                                Value firstChunk) {
  kb.forLoop(kb.c(0), rows, kb.c(spec.chunk), [&](Value row) {
    Value at = kb.mul(kb.add(firstChunk, kb.div(row, spec.chunk)), 3);
    kb.store(group, result(at), 8);
    kb.store(kb.add(begin, row), result(kb.add(at, 1)), 8);
    kb.store(kb.min(kb.sub(rows, row), spec.chunk), result(kb.add(at, 2)), 8);
  });
  return kb.add(firstChunk, kb.ceilDiv(rows, spec.chunk));
}

void RouteEmitter::emit() {
  kb.requireScratch(spec.groups * 8);
  kb.defineUnits([&] { return kb.min(kb.dim(kExperts, 0), 1); });
  kb.defineBody([&] {
    kb.forUnits([&](Value) {
      Value slots = kb.dim(kExperts, 0);
      kb.forLoop(kb.c(0), kb.c(spec.groups), kb.c(1),
                 [&](Value group) { kb.store(kb.c(0), counter(group), 8); });
      kb.forLoop(kb.c(0), slots, kb.c(1),
                 [&](Value slot) { count(groupOf(slot)); });
      // Counters become the places where groups begin.
      Value chunks = kb.forLoop(
          kb.c(0), kb.c(spec.groups), kb.c(1), ValueRange{kb.c(0), kb.c(0)},
          [&](Value group, ValueRange carried) {
            Value begin = carried[0], at = counter(group);
            Value rows = kb.load(kb.i64(), at, 8);
            kb.store(begin, at, 8);
            return SmallVector<Value>{
                kb.add(begin, rows),
                writeChunks(group, begin, rows, carried[1])};
          })[1];
      kb.forLoop(kb.mul(chunks, 3), kb.mul(slots, 3), kb.c(1),
                 [&](Value i) { kb.store(kb.c(0), result(i), 8); });
      Value places = kb.mul(slots, 3);
      kb.forLoop(kb.c(0), slots, kb.c(1), [&](Value slot) {
        kb.store(slot, result(kb.add(places, count(groupOf(slot)))), 8);
      });
    });
  });
}

LogicalResult ferrite::cpu::emitRoute(KernelBuilder &kb,
                                      const RouteSpec &spec) {
  RouteEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  emitter.emit();
  return success();
}
