//===- EmitLinearAttention.cpp - Attention through a state ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Columns of a state do not depend on each other: a unit is one head's state
// less all but some registers of columns. That part lies in scratch (32 KiB for
// a key of 128 with AVX-512: L1) while the unit walks the tokens. A token reads
// it twice with the delta rule, once without: what is retrieved must be known
// before anything is written.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinearAttention.h"

#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/RowKernel.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
enum : unsigned { Query, Key, Values };

class LinearAttentionEmitter {
public:
  LinearAttentionEmitter(KernelBuilder &kb, const LinearAttentionSpec &spec)
      : kb(kb), spec(spec) {
    unsigned next = Values + 1;
    decay = spec.hasDecay ? next++ : 0;
    beta = spec.hasBeta ? next++ : 0;
    state = spec.hasState ? next++ : 0;
    result = next;
  }
  LogicalResult emit();

private:
  using Registers = SmallVector<Value>;
  LogicalResult check();
  Value units();
  void emitUnit(Value unit);
  void emitToken(Value t);
  /// Queries of one group `g` times the state that is in scratch.
  void read(Value t, Value g);
  /// Calls `body` for each element of the key, carrying `sums`.
  Registers forKey(Registers sums,
                   function_ref<Registers(Value i, ValueRange sums)> body);

  Value scalar(unsigned operand, ValueRange at) {
    return kb.loadScalarF32(kb.address(operand, at),
                            kb.operand(operand).elementType);
  }
  Value place(Value i, unsigned r) {
    return kb.gep(kb.scratch(), kb.f32(),
                  kb.add(kb.mul(i, width()), int64_t(r) * kb.lanes()));
  }
  /// The row of `operand` at these indices, and a row of the state.
  Registers load(unsigned operand, ArrayRef<Value> at);
  void store(ArrayRef<Value> row, ArrayRef<Value> at);
  Registers stateRow(Value i) {
    Registers row;
    for (unsigned r = 0; r < registers; ++r)
      row.push_back(kb.load(kb.vec(), place(i, r), 4));
    return row;
  }
  /// A row of the state as the token finds it.
  Registers decayedRow(Value t, Value i) {
    Registers row = stateRow(i);
    if (!spec.hasDecay)
      return row;
    Value factor = tokenDecay ? tokenDecay : scalar(decay, {b, t, h, i});
    for (Value &each : row)
      each = kb.mulF(each, factor);
    return row;
  }
  int64_t width() const { return int64_t(registers) * kb.lanes(); }
  int64_t depth() const { return kb.operand(Key).shape[3]; }
  int64_t heads() const { return kb.operand(Key).shape[2]; }
  int64_t columns() const { return kb.operand(Values).shape[3]; }
  int64_t group() const { return kb.operand(Query).shape[2] / heads(); }
  int64_t blocks() const { return llvm::divideCeil(columns(), width()); }

  KernelBuilder &kb;
  const LinearAttentionSpec &spec;
  unsigned decay, beta, state, result;
  unsigned registers = 4;
  Value b, h, column, tokenDecay;
  Registers masks; // empty when all registers are full
};
} // namespace

LinearAttentionEmitter::Registers
LinearAttentionEmitter::load(unsigned operand, ArrayRef<Value> at) {
  Registers row;
  Type type = kb.operand(operand).elementType;
  Value pointer = kb.gep(kb.address(operand, at), type, column);
  for (unsigned r = 0; r < registers; ++r)
    row.push_back(kb.loadF32(kb.gep(pointer, type, int64_t(r) * kb.lanes()),
                             type, masks.empty() ? Value() : masks[r]));
  return row;
}

void LinearAttentionEmitter::store(ArrayRef<Value> row, ArrayRef<Value> at) {
  Value pointer = kb.gep(kb.address(result, at), kb.f32(), column);
  for (unsigned r = 0; r < registers; ++r)
    kb.storeF32(row[r], kb.gep(pointer, kb.f32(), int64_t(r) * kb.lanes()),
                kb.f32(), masks.empty() ? Value() : masks[r]);
}

LinearAttentionEmitter::Registers LinearAttentionEmitter::forKey(
    Registers sums, function_ref<Registers(Value i, ValueRange sums)> body) {
  return kb.forLoop(kb.c(0), kb.c(depth()), kb.c(1), sums, body);
}

void LinearAttentionEmitter::read(Value t, Value g) {
  Value head = kb.add(kb.mul(h, group()), g);
  Registers sums =
      forKey(Registers(registers, kb.splat(0)), [&](Value i, ValueRange sums) {
        Value q = kb.broadcast(scalar(Query, {b, t, head, i}));
        Registers row = stateRow(i), next;
        for (unsigned r = 0; r < registers; ++r)
          next.push_back(kb.fma(q, row[r], sums[r]));
        return next;
      });
  for (Value &sum : sums)
    sum = kb.mulF(sum, kb.cf(spec.scale));
  store(sums, {b, h, kb.add(kb.mul(t, group()), g)});
}

void LinearAttentionEmitter::emitToken(Value t) {
  tokenDecay = nullptr;
  if (spec.hasDecay && kb.operand(decay).shape[3] == 1)
    tokenDecay = kb.broadcast(scalar(decay, {b, t, h, kb.c(0)}));
  Registers write = load(Values, {b, t, h});
  if (spec.hasBeta) {
    Registers retrieved = forKey(
        Registers(registers, kb.splat(0)), [&](Value i, ValueRange sums) {
          Value k = kb.broadcast(scalar(Key, {b, t, h, i}));
          Registers row = decayedRow(t, i), next;
          for (unsigned r = 0; r < registers; ++r)
            next.push_back(kb.fma(k, row[r], sums[r]));
          return next;
        });
    Value rate = kb.broadcast(scalar(beta, {b, t, h}));
    for (unsigned r = 0; r < registers; ++r)
      write[r] = kb.mulF(rate, kb.subF(write[r], retrieved[r]));
  }
  Value first = kb.mul(h, group());
  Registers sums =
      forKey(Registers(registers, kb.splat(0)), [&](Value i, ValueRange sums) {
        Value k = kb.broadcast(scalar(Key, {b, t, h, i}));
        Value q = kb.broadcast(scalar(Query, {b, t, first, i}));
        Registers row = decayedRow(t, i), next;
        for (unsigned r = 0; r < registers; ++r) {
          row[r] = kb.fma(k, write[r], row[r]);
          kb.store(row[r], place(i, r), 4);
          next.push_back(kb.fma(q, row[r], sums[r]));
        }
        return next;
      });
  for (Value &sum : sums)
    sum = kb.mulF(sum, kb.cf(spec.scale));
  store(sums, {b, h, kb.mul(t, group())});
  if (group() > 1)
    kb.forLoop(kb.c(1), kb.c(group()), kb.c(1), [&](Value g) { read(t, g); });
}

void LinearAttentionEmitter::emitUnit(Value unit) {
  SmallVector<Value> at =
      kb.delinearize(unit, {kb.dim(Query, 0), kb.c(heads()), kb.c(blocks())});
  b = at[0], h = at[1];
  column = kb.mul(at[2], width());
  masks.clear();
  if (columns() % width() != 0)
    for (unsigned r = 0; r < registers; ++r) {
      Value left =
          kb.sub(kb.c(columns()), kb.add(column, int64_t(r) * kb.lanes()));
      masks.push_back(
          kb.tailMask(kb.max(kb.min(left, int64_t(kb.lanes())), int64_t(0))));
    }
  kb.forLoop(kb.c(0), kb.c(depth()), kb.c(1), [&](Value i) {
    Registers row(registers, kb.splat(0));
    if (spec.hasState)
      row = load(state, {b, h, i});
    for (unsigned r = 0; r < registers; ++r)
      kb.store(row[r], place(i, r), 4);
  });
  kb.forLoop(kb.c(0), kb.dim(Query, 1), kb.c(1),
             [&](Value t) { emitToken(t); });
  Value last = kb.mul(kb.dim(Query, 1), group());
  kb.forLoop(kb.c(0), kb.c(depth()), kb.c(1),
             [&](Value i) { store(stateRow(i), {b, h, kb.add(last, i)}); });
}

LogicalResult LinearAttentionEmitter::check() {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "linear_attention kernel: " << why;
  };
  if (kb.layout().operands.size() != result + 1)
    return fail("expects its operands and one result");
  for (const OperandLayout &operand : kb.layout().operands)
    if (!isFloatStorage(operand.elementType))
      return fail("expects f32, f16 or bf16 throughout");
  auto isAdjacent = [&](unsigned i) {
    return kb.operand(i).strides.back() == 1 || kb.operand(i).shape.back() == 1;
  };
  if (!isAdjacent(Values) || !isAdjacent(result) ||
      (spec.hasState && !isAdjacent(state)))
    return fail("expects rows of adjacent elements");
  for (int64_t size : {depth(), heads(), columns(), kb.operand(Query).shape[2]})
    if (ShapedType::isDynamic(size) || size <= 0 || size > (1 << 16))
      return fail("expects known heads and sizes");
  return success();
}

LogicalResult LinearAttentionEmitter::emit() {
  if (failed(check()))
    return failure();
  while (registers > 1 && columns() <= width() / 2)
    registers /= 2;
  kb.requireScratch(depth() * width() * 4);
  kb.defineUnits([&] { return kb.mul(kb.dim(Query, 0), heads() * blocks()); });
  kb.defineBody([&] { kb.forUnits([&](Value unit) { emitUnit(unit); }); });
  return success();
}

LogicalResult
ferrite::cpu::emitLinearAttention(KernelBuilder &kb,
                                  const LinearAttentionSpec &spec) {
  return LinearAttentionEmitter(kb, spec).emit();
}
