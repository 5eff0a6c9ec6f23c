//===- EmitKvAppend.cpp - Rows of new tokens into their pages -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is a head and as many tokens as a register has lanes. Values are rows
// copied. Keys are columns of their pages: of tokens whose slots follow each
// other, as a prefill's do, blocks of as many keys by as much depth are turned
// around in registers; each other token has its elements stored one by one. So
// are the bytes of keys of a pool of records.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/KvRecord.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
constexpr int64_t kPage = 64;
// The pool and the result are the same memory: only the result is named.
constexpr unsigned kRows = 0, kSlots = 1, kPool = 3;

class AppendEmitter {
public:
  AppendEmitter(KernelBuilder &kb, bool keys)
      : kb(kb), keys(keys), depth(kb.operand(kRows).shape[3]),
        lanes(kb.lanes()), from(kb.operand(kRows).elementType),
        to(kb.operand(kPool).elementType),
        record(KvRecord::of(to, kb.operand(kPool).shape[keys ? 2 : 3])) {}

  void emit() {
    if (record)
      kb.requireScratch(record->width);
    kb.defineUnits([&] {
      return kb.mul(kb.ceilDiv(kb.dim(kRows, 1), lanes), kb.dim(kRows, 2));
    });
    kb.defineBody([&] {
      kb.forUnits([&](Value unit) {
        // Units are counted by the level of fewest lanes: some have no token.
        Value first = kb.mul(kb.div(unit, kb.dim(kRows, 2)), lanes);
        kb.ifThen(kb.lt(first, kb.dim(kRows, 1)), [&] { emitUnit(unit); });
      });
    });
  }

private:
  void emitUnit(Value unit) {
    head = kb.rem(unit, kb.dim(kRows, 2));
    Value first = kb.mul(kb.div(unit, kb.dim(kRows, 2)), lanes);
    Value count = kb.min(kb.sub(kb.dim(kRows, 1), first), lanes);
    auto eachToken = [&] {
      kb.forLoop(kb.c(0), count, kb.c(1), [&](Value i) {
        keys ? emitColumn(kb.add(first, i)) : emitRow(kb.add(first, i));
      });
    };
    if (!keys || record)
      return eachToken();
    // All lanes, in one page and in order.
    Value slot = slotOf(first);
    Value apart =
        kb.forLoop(kb.c(0), count, kb.c(1), ValueRange{kb.c(0)},
                   [&](Value i, ValueRange carried) {
                     Value off =
                         kb.ne(slotOf(kb.add(first, i)), kb.add(slot, i));
                     Value one = arith::ExtUIOp::create(kb, kb.i64(), off);
                     return SmallVector<Value>{kb.add(carried[0], one)};
                   })[0];
    Value inOrder = arith::AndIOp::create(
        kb, kb.eq(apart, int64_t(0)),
        arith::AndIOp::create(kb, kb.eq(count, lanes),
                              kb.le(kb.rem(slot, kPage), kPage - lanes)));
    kb.ifElse(inOrder, [&] { emitBlock(first, slot); }, eachToken);
  }

  Value slotOf(Value token) {
    return kb.load(kb.i64(), kb.address(kSlots, {token}));
  }
  Value rowOf(Value token) { return kb.address(kRows, {kb.c(0), token, head}); }
  /// Element 0 of the slot: of a column, or of a row.
  Value placeOf(Value slot) {
    Value page = kb.div(slot, kPage), place = kb.rem(slot, kPage);
    return keys ? kb.address(kPool, {page, head, kb.c(0), place})
                : kb.address(kPool, {page, head, place});
  }

  void emitRow(Value token) {
    Value row = rowOf(token), target = placeOf(slotOf(token));
    if (record)
      return emitPackRecord(kb, *record, row, from, target);
    kb.forVectors(kb.c(depth), [&](Value at, Value mask) {
      kb.storeF32(kb.loadF32(kb.gep(row, from, at), from, mask),
                  kb.gep(target, to, at), to, mask);
    });
  }

  void emitColumn(Value token) {
    Value row = rowOf(token), target = placeOf(slotOf(token));
    if (record) {
      emitPackRecord(kb, *record, row, from, kb.scratch());
      Type i8 = kb.getI8Type();
      kb.forLoop(kb.c(0), kb.c(record->width), kb.c(1), [&](Value w) {
        kb.store(kb.load(i8, kb.gep(kb.scratch(), i8, w)),
                 kb.gep(target, i8, kb.mul(w, kPage)));
      });
      return;
    }
    kb.forLoop(kb.c(0), kb.c(depth), kb.c(1), [&](Value d) {
      kb.storeScalarF32(kb.loadScalarF32(kb.gep(row, from, d), from),
                        kb.gep(target, to, kb.mul(d, kPage)), to);
    });
  }

  void emitBlock(Value first, Value slot) {
    SmallVector<Value> rows;
    for (int64_t i = 0; i < lanes; ++i)
      rows.push_back(rowOf(kb.add(first, i)));
    Value target = placeOf(slot);
    auto block = [&](Value d, int64_t count) {
      Value mask = count < lanes ? kb.tailMask(kb.c(count)) : Value();
      SmallVector<Value> loaded;
      for (Value row : rows)
        loaded.push_back(kb.loadF32(kb.gep(row, from, d), from, mask));
      SmallVector<Value> columns = transposeRegisters(kb, loaded);
      for (int64_t i = 0; i < count; ++i)
        kb.storeF32(columns[i], kb.gep(target, to, kb.mul(kb.add(d, i), kPage)),
                    to);
    };
    int64_t whole = depth / lanes * lanes;
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes),
               [&](Value d) { block(d, lanes); });
    if (whole < depth)
      block(kb.c(whole), depth - whole);
  }

  KernelBuilder &kb;
  bool keys;
  int64_t depth, lanes;
  Type from, to;
  std::optional<KvRecord> record;
  Value head;
};
} // namespace

LogicalResult ferrite::cpu::emitKvAppend(KernelBuilder &kb, bool keys) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "kv append kernel: " << why;
  };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  if (kb.layout().operands.size() != 4)
    return fail("expects rows, slots, a pool and the pool as result");
  const OperandLayout &rows = kb.operand(kRows), &pool = kb.operand(kPool);
  if (rows.shape.size() != 4 || !isFloat(rows.elementType) ||
      ShapedType::isDynamic(rows.shape[3]) || rows.strides[3] != 1)
    return fail("expects rows of floats of [1, tokens, heads, size] with a "
                "static size of stride 1");
  if (!kb.operand(kSlots).elementType.isInteger(64))
    return fail("expects slots of i64");
  if (pool.shape.size() != 4 ||
      (!isFloat(pool.elementType) && !pool.elementType.isInteger(8)))
    return fail("expects a pool of floats or bytes of rank 4");
  int64_t width = pool.shape[keys ? 2 : 3];
  std::optional<KvRecord> record = KvRecord::of(pool.elementType, width);
  if ((record ? record->depth : width) != rows.shape[3] ||
      pool.shape[keys ? 3 : 2] != kPage || pool.strides[3] != 1 ||
      pool.strides[2] != pool.shape[3])
    return fail("expects a pool of adjacent pages of 64 tokens that rows fit");
  AppendEmitter(kb, keys).emit();
  return success();
}
