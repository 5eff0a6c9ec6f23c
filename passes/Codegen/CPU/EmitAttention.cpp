//===- EmitAttention.cpp - Attention without a score matrix ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Units, blocks of keys and addends; the header of AttentionEmitter.h has the
// whole picture.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitAttention.h"

#include "passes/Codegen/CPU/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include <numeric>

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kInf = std::numeric_limits<double>::infinity();

int64_t AttentionEmitter::rowHeadsOf(const KernelLayout &layout) {
  int64_t heads = layout.operands[0].shape[2],
          keyHeads = layout.operands[1].shape[2];
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(keyHeads))
    return 1;
  int64_t group = heads / keyHeads, most = 64;
  while (group % most != 0)
    --most;
  return most;
}

/// As even as may be. Each chunk packs all keys once more, which long sequences
/// would do too often; short ones give more units of half the size.
std::pair<Value, Value> AttentionEmitter::chunks() {
  // Queries are dealt out so many at a time, that rows fill tiles.
  int64_t unit = 8 / std::gcd<int64_t>(8, rowHeads);
  auto queries = [&](int64_t rows) {
    return std::max<int64_t>(rows / rowHeads / unit * unit, 1);
  };
  if (queries(kFewChunk) % unit != 0)
    unit = 1;
  Value all = kb.dim(0, 1);
  Value most =
      kb.select(kb.le(all, kFewQueries / rowHeads), kb.c(queries(kFewChunk)),
                kb.c(queries(chunkRows(depth, valueDepth))));
  Value count = kb.max(kb.ceilDiv(all, most), 1);
  Value size = kb.mul(kb.ceilDiv(kb.ceilDiv(all, count), unit), unit);
  return {count, size};
}

void AttentionEmitter::emit() {
  kb.requireScratch(plan.floats * 4);
  if (spec.block > 0) {
    int64_t rows = std::min(spec.block, kListedRows);
    kb.defineUnits([&] {
      return kb.mul(kb.mul(kb.dim(0, 0), kb.dim(0, 2)),
                    kb.ceilDiv(kb.dim(0, 1), rows));
    });
    kb.defineBody(
        [&] { kb.forUnits([&](Value unit) { emitListedUnit(unit); }); });
    return;
  }
  kb.defineUnits([&] {
    Value heads = kb.div(kb.dim(0, 2), rowHeads);
    return kb.mul(kb.mul(kb.dim(0, 0), heads), chunks().first);
  });
  kb.defineBody([&] { kb.forUnits([&](Value unit) { emitUnit(unit); }); });
}

//===----------------------------------------------------------------------===//
// Units and blocks
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitUnit(Value unit) {
  auto [count, size] = chunks();
  Value heads = kb.div(kb.dim(0, 2), rowHeads);
  SmallVector<Value> at = kb.delinearize(unit, {kb.dim(0, 0), heads, count});
  batch = at[0];
  firstHead = kb.mul(at[1], rowHeads);
  keyHead = kb.div(firstHead, kb.div(kb.dim(0, 2), kb.dim(1, 2)));
  firstQuery = kb.mul(at[2], size);
  // Rounding of the chunks may leave none for the last.
  Value queryCount = kb.max(kb.min(size, kb.sub(kb.dim(0, 1), firstQuery)), 0);
  rowCount = kb.mul(queryCount, rowHeads);

  keyBegin = kb.c(0);
  keyEnd = kb.dim(1, 1);
  if (spec.hasLengths)
    keyEnd = clamp(loadPosition(spec.lengthsOperand()), kb.c(0), keyEnd);
  Value allKeys = keyEnd;
  emitAllDropped();
  if (hasDistance()) {
    locateQueries();
    Value lastQuery = kb.add(firstQuery, kb.sub(queryCount, 1));
    if (cutsRight())
      keyEnd = clamp(windowEnd(lastQuery, kb.c(0)), kb.c(0), keyEnd);
    if (cutsLeft() && spec.anchors == 0)
      keyBegin = clamp(windowBegin(firstQuery, kb.c(0)), kb.c(0), keyEnd);
  }
  kb.ifElse(
      kb.lt(keyBegin, keyEnd), [&] { emitBlocks(); }, [&] { emitEmptyRows(); });
  if (isSoft())
    emitOpened(allKeys);
}

void AttentionEmitter::locateQueries() {
  start = kb.c(std::max(std::min(spec.offset.constant, kFar), -kFar));
  start = kb.add(start, kb.mul(kb.dim(0, 1), spec.offset.queries));
  start = kb.add(start, kb.mul(kb.dim(1, 1), spec.offset.keys));
  if (spec.hasOffsets)
    start = kb.add(start, loadPosition(spec.offsetsOperand()));
  if (spec.hasPrefix)
    prefixEnd = loadPosition(spec.prefixOperand());
}

void AttentionEmitter::emitBlocks() {
  firstBlock = kb.mul(kb.div(keyBegin, kBlock), kBlock);
  emitRows();
  kb.forLoop(firstBlock, keyEnd, kb.c(kBlock),
             [&](Value key) { emitBlock(key); });
}

/// Rows of which no key is seen, over all keys before `end`: those outside of
/// the window too, if its fill is finite.
void AttentionEmitter::emitOpened(Value end) {
  // Scores within the window that are far above the fill of those outside leave
  // them weights of 0; between is nothing that a graph computes.
  Value limit = number(*redoneBelow());
  Value count = kb.forLoop(
      kb.c(0), rowCount, kb.c(1), ValueRange{kb.c(0)},
      [&](Value row, ValueRange carried) {
        Value highest = kb.load(kb.f32(), place(plan.highest, row, 1));
        Value low = arith::CmpFOp::create(kb, arith::CmpFPredicate::OLT,
                                          highest, limit);
        Value redone = arith::ExtUIOp::create(kb, kb.getI32Type(), low);
        kb.store(redone, place(plan.redone, row, 1));
        Value wide = arith::ExtUIOp::create(kb, kb.i64(), low);
        return SmallVector<Value>{kb.add(carried[0], wide)};
      })[0];
  opened = redoing = true;
  if (!cutsWindow()) {
    keyBegin = kb.c(0);
    keyEnd = end;
  }
  Value needed =
      arith::AndIOp::create(kb, kb.lt(kb.c(0), count), kb.lt(keyBegin, keyEnd));
  kb.ifThen(needed, [&] { emitBlocks(); });
  opened = redoing = false;
}

Value AttentionEmitter::isRedone(Value row) {
  return kb.ne(
      arith::ExtUIOp::create(
          kb, kb.i64(), kb.load(kb.getI32Type(), place(plan.redone, row, 1))),
      kb.c(0));
}

/// Copies the queries and begins their maxima.
void AttentionEmitter::emitRows() {
  Type storage = kb.operand(0).elementType;
  kb.forLoop(kb.c(0), rowCount, kb.c(1), [&](Value row) {
    Value head = headOf(row);
    Value from = kb.address(0, {batch, queryOf(row), head});
    Value to = place(plan.queries, row, plan.queryStride);
    if (spec.byteScores)
      emitQueryBytes(row, from);
    else if (dots)
      emitCopyShortRow(kb, to, from, depth);
    else
      emitCopyRow(kb, to, from, storage, depth);
    Value least = leastScore(row);
    if (spec.hasSinks)
      kb.store(least, place(plan.sinks, row, 1));
    storeVec(kb.broadcast(least), place(plan.maxima, row, lanes));
  });
  // The row that makes their number even.
  kb.forLoop(kb.c(0), kb.c(plan.queryStride), kb.c(lanes), [&](Value i) {
    storeVec(
        kb.splat(0),
        kb.gep(place(plan.queries, rowCount, plan.queryStride), kb.f32(), i));
  });
}

/// The logit that a row has besides its scores, or -inf.
Value AttentionEmitter::leastScore(Value row) {
  if (!spec.hasSinks)
    return number(-kInf);
  unsigned i = spec.sinksOperand();
  return kb.loadScalarF32(kb.address(i, {headOf(row)}),
                          kb.operand(i).elementType);
}

/// The result of rows that see no key at all.
void AttentionEmitter::emitEmptyRows() {
  Type storage = kb.operand(result).elementType;
  double nothing = spec.zeroFullyMasked || spec.hasSinks
                       ? 0
                       : std::numeric_limits<double>::quiet_NaN();
  kb.forLoop(kb.c(0), rowCount, kb.c(1), [&](Value row) {
    if (isSoft())
      kb.store(leastScore(row), place(plan.highest, row, 1));
    Value to = kb.address(result, {batch, queryOf(row), headOf(row)});
    kb.forVectors(kb.c(valueDepth), [&](Value at, Value mask) {
      kb.storeF32(kb.splat(nothing), kb.gep(to, storage, at), storage, mask);
    });
  });
}

void AttentionEmitter::emitBlock(Value first) {
  firstKey = first;
  blockKeys = kb.min(kb.sub(keyEnd, first), kBlock);
  isFirst = kb.eq(first, firstBlock);
  isLast = kb.le(keyEnd, kb.add(first, kBlock));

  if (!cutsAny() && !opened) {
    emitPack(kb.c(0), blockKeys);
    kb.forLoop(kb.c(0), rowCount, kb.c(kGroup), [&](Value row) {
      emitStages(
          {row, kb.min(kb.sub(rowCount, row), kGroup), kb.c(0), blockKeys});
    });
    return;
  }
  emitGroups();
}

/// First what each group sees, then the keys that one of them does.
void AttentionEmitter::emitGroups() {
  auto slot = [&](Value row) {
    return place(plan.ranges, kb.div(row, kGroup), ScratchPlan::kRangeFloats);
  };
  auto field = [&](Value slot, int64_t i) { return kb.gep(slot, kb.i64(), i); };
  auto asInteger = [&](Value condition) {
    return kb.select(condition, kb.c(1), kb.c(0));
  };
  SmallVector<Value> seen = kb.forLoop(
      kb.c(0), rowCount, kb.c(kGroup), ValueRange{blockKeys, kb.c(0), kb.c(0)},
      [&](Value row, ValueRange carried) {
        Group group{row, kb.min(kb.sub(rowCount, row), kGroup), {}, {}};
        cutGroup(group, panelWidth());
        Value some = kb.lt(group.lower, group.upper);
        group.lower = kb.select(some, group.lower, kb.c(0));
        group.upper = kb.select(some, group.upper, kb.c(0));
        // The first block begins the sums, and the last writes the result, even
        // of rows that see none of its keys.
        Value needed = some;
        for (Value always : {isFirst, isLast})
          needed = arith::OrIOp::create(kb, needed, always);
        if (opened)
          needed = arith::AndIOp::create(kb, needed,
                                         kb.lt(kb.c(0), countRedone(group)));
        Value to = slot(row);
        kb.store(group.lower, field(to, 0));
        kb.store(group.upper, field(to, 1));
        kb.store(asInteger(needed), field(to, 2));
        Value packed = arith::AndIOp::create(kb, some, needed);
        return SmallVector<Value>{
            kb.select(packed, kb.min(carried[0], group.lower), carried[0]),
            kb.select(packed, kb.max(carried[1], group.upper), carried[1]),
            kb.max(carried[2], asInteger(needed))};
      });
  kb.ifThen(kb.lt(kb.c(0), seen[2]), [&] {
    emitPack(kb.min(seen[0], seen[1]), seen[1]);
    kb.forLoop(kb.c(0), rowCount, kb.c(kGroup), [&](Value row) {
      Value from = slot(row);
      Group group{row, kb.min(kb.sub(rowCount, row), kGroup),
                  kb.load(kb.i64(), field(from, 0)),
                  kb.load(kb.i64(), field(from, 1))};
      kb.ifThen(kb.ne(kb.load(kb.i64(), field(from, 2)), kb.c(0)),
                [&] { emitStages(group); });
    });
  });
}

void AttentionEmitter::emitStages(const Group &group) {
  emitScores(group);
  emitWeights(group);
  emitOutput(group);
}

Value AttentionEmitter::countRedone(const Group &group) {
  return kb.forLoop(kb.c(0), group.count, kb.c(1), ValueRange{kb.c(0)},
                    [&](Value i, ValueRange carried) {
                      Value is = arith::ExtUIOp::create(
                          kb, kb.i64(), isRedone(kb.add(group.first, i)));
                      return SmallVector<Value>{kb.add(carried[0], is)};
                    })[0];
}

/// Keys [lower, upper) of the block, whose panels begin at `lower`.
//
// Values too, even rows that could be read in place: a row of a packed
// projection is a page of its own, and few of them fit the sets of L1.
void AttentionEmitter::emitPack(Value lower, Value upper) {
  emitKeyAddends(kb.c(0), kb.c(kBlock));
  if (spec.byteScores) {
    emitKeyBytes(lower, upper);
  } else {
    KeyPanels panels{place(plan.keys), panelWidth(), depthSteps(), dots};
    panels.base =
        kb.gep(panels.base, kb.f32(), kb.mul(lower, panels.paddedDepth()));
    emitPackKeys(kb, panels,
                 kb.address(1, {batch, kb.add(firstKey, lower), keyHead}),
                 kb.operand(1).elementType, kb.stride(1, 1), depth,
                 kb.sub(upper, lower));
  }
  Value source = kb.address(2, {batch, firstKey, keyHead});
  Type storage = kb.operand(2).elementType;
  auto row = [&](Value key) {
    return kb.gep(source, storage, kb.mul(key, kb.stride(2, 1)));
  };
  auto prefetch = [&](Value key) {
    emitPrefetchRow(kb, row(kb.add(key, kRowsAhead)), storage, valueDepth);
  };
  if (dots)
    // `lower` begins a panel, so it is even.
    kb.forLoop(lower, upper, kb.c(2), [&](Value key) {
      Value next = kb.add(key, 1);
      prefetch(key);
      prefetch(next);
      emitPairRows(kb, place(plan.values, kb.div(key, 2), plan.valueStride),
                   row(key), row(kb.min(next, kb.sub(upper, 1))),
                   kb.lt(next, upper), valueDepth);
    });
  else
    kb.forLoop(lower, upper, kb.c(1), [&](Value key) {
      prefetch(key);
      emitCopyRow(kb, place(plan.values, key, plan.valueStride), row(key),
                  storage, valueDepth);
    });
}

void AttentionEmitter::forRows(Value rows, unsigned full,
                               function_ref<void(Value, unsigned)> tile) {
  Value whole = kb.sub(rows, kb.rem(rows, full));
  kb.forLoop(kb.c(0), whole, kb.c(full), [&](Value row) { tile(row, full); });
  kb.forLoop(whole, rows, kb.c(kTailRows),
             [&](Value row) { tile(row, kTailRows); });
}
