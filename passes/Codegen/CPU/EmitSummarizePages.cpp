//===- EmitSummarizePages.cpp - What keys of full pages are like ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A page of keys is [D][64]: as many of its rows as a register has lanes are
// turned around, so that each register is one token's and what comes of all
// tokens is one elementwise operation a token. A token after the other, in
// order: at each level the same bits.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitPages.h"
#include "passes/Codegen/CPU/KvRecord.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
constexpr int64_t kPage = 64, kPart = kPage / kPageParts;
constexpr unsigned kKeys = 0, kBegins = 1, kContexts = 2, kTables = 3,
                   kResult = 5; // the pool is the result's memory

class SummaryEmitter {
public:
  explicit SummaryEmitter(KernelBuilder &kb)
      : kb(kb), record(KvRecord::of(kb.operand(kKeys).elementType,
                                    kb.operand(kKeys).shape[2])),
        depth(record ? record->depth : kb.operand(kKeys).shape[2]),
        lanes(kb.lanes()) {}

  void emit() {
    if (record)
      kb.requireScratch(depth * kPage * 4);
    kb.defineUnits(
        [&] { return kb.mul(kb.dim(kContexts, 0), kb.dim(kKeys, 1)); });
    kb.defineBody([&] {
      kb.forUnits([&](Value unit) {
        Value heads = kb.dim(kKeys, 1);
        emitRun(kb.div(unit, heads), kb.rem(unit, heads));
      });
    });
  }

private:
  Value loadInt(unsigned operand, ValueRange at) {
    return arith::ExtSIOp::create(
        kb, kb.i64(), kb.load(kb.getI32Type(), kb.address(operand, at)));
  }

  void emitRun(Value run, Value head) {
    Value length =
        kb.sub(loadInt(kBegins, {kb.add(run, 1)}), loadInt(kBegins, {run}));
    Value context = loadInt(kContexts, {run});
    Value first = kb.max(kb.sub(kb.div(context, kPage), 1), 0);
    // A run without tokens has no pages that were asked for.
    Value end = kb.select(kb.lt(kb.c(0), length),
                          kb.div(kb.add(context, length), kPage), kb.c(0));
    kb.forLoop(first, end, kb.c(1), [&](Value index) {
      Value page = loadInt(kTables, {run, index});
      Value from = kb.address(kKeys, {page, head});
      if (record) {
        emitUnpackKeys(kb, *record, from, Value(), kb.scratch());
        from = kb.scratch();
      }
      kb.callPart("page", {from, kb.address(kResult, {page, head})},
                  [&](ValueRange p) { emitPage(p[0], p[1]); });
    });
  }

  void emitPage(Value keys, Value to) {
    for (int64_t part = 0; part < kPageParts; ++part) {
      auto columns = [&](Value d, int64_t count) {
        emitColumns(keys, to, part, d, count);
      };
      int64_t whole = depth / lanes * lanes;
      kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes),
                 [&](Value d) { columns(d, lanes); });
      if (whole < depth)
        columns(kb.c(whole), depth - whole);
    }
  }

  /// Numbers [d, d + count) of a part's tokens.
  void emitColumns(Value keys, Value to, int64_t part, Value d, int64_t count) {
    Type storage = record ? kb.f32() : kb.operand(kKeys).elementType;
    SmallVector<Value> tokens;
    for (int64_t first = 0; first < kPart; first += lanes) {
      SmallVector<Value> rows;
      for (int64_t i = 0; i < lanes; ++i)
        rows.push_back(
            i < count ? kb.loadF32(kb.gep(keys, storage,
                                          kb.add(kb.mul(kb.add(d, i), kPage),
                                                 part * kPart + first)),
                                   storage)
                      : kb.splat(0));
      llvm::append_range(tokens, transposeRegisters(kb, rows));
    }
    Value sum = tokens[0], low = tokens[0], high = tokens[0];
    for (Value token : llvm::drop_begin(tokens)) {
      sum = kb.addF(sum, token);
      low = kb.minF(low, token);
      high = kb.maxF(high, token);
    }
    Value mean = kb.mulF(sum, kb.splat(1.0 / kPart));
    Value half = kb.mulF(kb.subF(high, low), kb.splat(0.5));
    Value mask = count < lanes ? kb.tailMask(kb.c(count)) : Value();
    auto store = [&](Value value, int64_t kind) {
      Value at = kb.gep(to, kb.f32(), kb.add(d, (2 * part + kind) * depth));
      kb.storeF32(value, at, kb.f32(), mask);
    };
    store(mean, 0);
    store(half, 1);
  }

  KernelBuilder &kb;
  std::optional<KvRecord> record;
  int64_t depth, lanes;
};
} // namespace

LogicalResult ferrite::cpu::emitSummarizePages(KernelBuilder &kb) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "page summary kernel: " << why;
  };
  if (kb.layout().operands.size() != 6)
    return fail("expects keys, begins, contexts, page tables, summaries and "
                "these as result");
  const OperandLayout &keys = kb.operand(kKeys), &to = kb.operand(kResult);
  if (keys.shape.size() != 4 || keys.shape[3] != kPage ||
      keys.strides[3] != 1 || keys.strides[2] != kPage)
    return fail("expects pages of keys [heads, size, 64]");
  std::optional<KvRecord> record =
      KvRecord::of(keys.elementType, keys.shape[2]);
  int64_t depth = record ? record->depth : keys.shape[2];
  if (depth <= 0 || to.shape.size() != 4 || !to.elementType.isF32() ||
      to.strides[3] != 1 || to.strides[2] != to.shape[3] ||
      to.shape[3] * kPage < 2 * kPageParts * depth)
    return fail("expects summaries of f32 that fit the keys");
  for (unsigned i : {kBegins, kContexts, kTables})
    if (!kb.operand(i).elementType.isInteger(32) ||
        kb.operand(i).strides.back() != 1)
      return fail("expects begins, contexts and page tables as adjacent i32");
  SummaryEmitter(kb).emit();
  return success();
}
