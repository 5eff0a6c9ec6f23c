//===- PagedMerge.cpp - Blocks of keys added up ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// highest' = max(highest, block's), decay = e^(highest - highest'), gain =
// e^(block's - highest'), and sums and totals are old * decay + block's * gain.
// A block without a key that the row sees has the maximum -inf and changes
// nothing. A sink is what a row has before its first block.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"
#include "passes/Codegen/CPU/VectorMath.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kLog2e = 1.4426950408889634;

/// e^(score - maximum).
Value PagedEmitter::weight(Value score, Value maximum) {
  // Subtracted before it is scaled: the lowest float would overflow.
  Value t = kb.mulF(kb.subF(score, maximum), kb.splat(kLog2e));
  return emitSoftmaxExp2(kb, kb.getLoc(), t, kb.level().isAvx512());
}

PagedEmitter::Merged PagedEmitter::merge(Value highest, Value total,
                                         Value blockHighest, Value blockTotal) {
  Merged merged;
  merged.highest = kb.maxF(blockHighest, highest);
  Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ,
                                     merged.highest, negative());
  Value subtracted = kb.select(none, kb.splat(0), merged.highest);
  merged.decay = weight(highest, subtracted);
  merged.gain = weight(blockHighest, subtracted);
  merged.total = kb.fma(blockTotal, merged.gain, kb.mulF(total, merged.decay));
  return merged;
}

Value PagedEmitter::inverseOf(Value total) {
  Value none =
      arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, total, kb.splat(0));
  return kb.select(none, kb.splat(0), kb.divF(kb.splat(1), total));
}

std::pair<Value, Value> PagedEmitter::startOf(Value row) {
  if (!spec.hasSinks)
    return {number(-std::numeric_limits<float>::infinity()), number(0)};
  Value sink = kb.loadScalarF32(kb.address(PagedSpec::kSinks, {headOf(row)}),
                                elementOf(PagedSpec::kSinks));
  return {sink, number(1)};
}

//===----------------------------------------------------------------------===//
// Rows of a chunk
//===----------------------------------------------------------------------===//

void PagedEmitter::startRows(Value count, Value first) {
  kb.forLoop(kb.c(0), count, kb.c(1), [&](Value row) {
    auto [high, sum] = startOf(kb.add(first, row));
    kb.store(high, place(highest, row, 1));
    kb.store(sum, place(total, row, 1));
  });
  // With the row that makes their number even.
  kb.forLoop(kb.c(0), kb.mul(kb.add(count, 1), valueStride), kb.c(lanes),
             [&](Value at) { storeVec(kb.splat(0), place(output, at, 1)); });
}

void PagedEmitter::mergeRows(Value first, Value count) {
  // Lanes behind the last row hold garbage that nobody reads.
  kb.forLoop(kb.c(0), count, kb.c(lanes), [&](Value row) {
    Value at = kb.add(first, row);
    auto load = [&](int64_t from) { return loadVec(place(from, at, 1)); };
    Merged merged =
        merge(load(highest), load(total), load(blockHighest), load(blockTotal));
    Value mask = kb.tailMask(kb.sub(count, row));
    auto store = [&](Value v, int64_t to) {
      kb.storeMasked(v, place(to, at, 1), mask, 4);
    };
    store(merged.highest, highest);
    store(merged.total, total);
    store(merged.decay, decay);
    store(merged.gain, gain);
  });
}

void PagedEmitter::storeResult(Value row, Value sums, Value highest,
                               Value total) {
  Value inverse = inverseOf(total);
  unsigned result = spec.resultOperand();
  Type storage = elementOf(result);
  Value to = kb.address(
      result, {kb.c(0), kb.add(firstToken, tokenOf(row)), headOf(row)});
  kb.forVectors(kb.c(valueDepth), [&](Value at, Value mask) {
    Value sum = loadVec(kb.gep(sums, kb.f32(), at));
    // Plus 0, for a sum of -0 and zeros may be either.
    kb.storeF32(kb.fma(sum, inverse, kb.splat(0)), kb.gep(to, storage, at),
                storage, mask);
  });
  if (!spec.hasLse)
    return;
  Value sum = kb.addF(highest, emitLog(kb, kb.getLoc(), total));
  Value none =
      arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, total, kb.splat(0));
  kb.storeF32(kb.select(none, negative(), sum), kb.gep(to, storage, valueDepth),
              storage, kb.tailMask(kb.c(1)));
}

void PagedEmitter::finishRows(Value first, Value count) {
  kb.forLoop(kb.c(0), count, kb.c(1), [&](Value row) {
    auto ofRow = [&](int64_t from) {
      return kb.broadcast(kb.load(kb.f32(), place(from, row, 1)));
    };
    storeResult(kb.add(first, row), place(output, row, valueStride),
                ofRow(highest), ofRow(total));
  });
}

//===----------------------------------------------------------------------===//
// A row whose blocks are partials
//===----------------------------------------------------------------------===//

Value PagedEmitter::partialOf(unsigned operand, Value head, Value block) {
  return kb.gep(kb.address(operand, {run, head}), kb.f32(),
                kb.mul(block, partialWidth));
}

void PagedEmitter::emitMergeOfPartials(Value row) {
  auto [firstBlock, count] = blocksOfSingle();
  auto [high, sum] = startOf(row);
  Value sums = place(output);
  auto forColumns = [&](function_ref<void(Value)> body) {
    kb.forLoop(kb.c(0), kb.c(valueStride), kb.c(lanes), body);
  };
  forColumns(
      [&](Value at) { storeVec(kb.splat(0), kb.gep(sums, kb.f32(), at)); });
  Value end = kb.add(firstBlock, count);
  SmallVector<Value> start = {kb.broadcast(high), kb.broadcast(sum)};
  auto state = kb.forLoop(
      firstBlock, end, kb.c(1), start, [&](Value block, ValueRange carried) {
        Value from = partialOf(spec.partialsOperand(), headOf(row), block);
        auto factor = [&](int64_t at) {
          return kb.broadcast(
              kb.load(kb.f32(), kb.gep(from, kb.f32(), valueDepth + at)));
        };
        Merged merged = merge(carried[0], carried[1], factor(0), factor(1));
        forColumns([&](Value at) {
          Value to = kb.gep(sums, kb.f32(), at);
          Value added = loadVec(kb.gep(from, kb.f32(), at));
          storeVec(addBlock(loadVec(to), added, merged), to);
        });
        return SmallVector<Value>{merged.highest, merged.total};
      });
  storeResult(row, sums, state[0], state[1]);
}
