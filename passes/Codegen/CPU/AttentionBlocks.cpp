//===- AttentionBlocks.cpp - Attention over lists of blocks ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A visit is a tile of scores of up to 512 columns, as in the dense kernel, but
// its columns are the next blocks of the list instead of neighbours. Scores go
// through them one by one, the softmax sees one tile, and the sums over values
// stay in registers from block to block: what a visit costs besides its scores
// is paid as often as in a dense attention over as many keys. Keys and values
// come from ferrite.pack_keys: packing a block here would cost as much as using
// it once, and a chunk of queries long enough to use it ten times has rows that
// no cache holds.
//
// Visits are steps of the list's row, whatever windows and lengths leave of it,
// and the row is one of absolute positions: a query's result has the same bits
// in any batch and chunk. A list that is data is read with suspicion: columns
// in disorder are taken in order, and what its op calls no row keeps all
// blocks.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

void AttentionEmitter::emitListedUnit(Value unit) {
  int64_t rows = std::min(spec.block, kListedRows);
  Value slices = kb.ceilDiv(kb.dim(0, 1), rows);
  SmallVector<Value> at =
      kb.delinearize(unit, {kb.dim(0, 0), kb.dim(0, 2), slices});
  batch = at[0];
  firstHead = at[1];
  keyHead = kb.div(firstHead, kb.div(kb.dim(0, 2), kb.dim(1, 2)));
  locateQueries();
  panels = kb.address(spec.panelsOperand(), {batch, keyHead});
  panelValues = kb.gep(panels, kb.f32(),
                       kb.mul(kb.add(kb.dim(1, 1), kPackedRows),
                              int64_t(llvm::alignTo(depth, 16))));
  // A slice is no longer than a row of the list: it begins in one and may end
  // in the next.
  Value first = kb.mul(at[2], rows);
  Value end = kb.min(kb.add(first, rows), kb.dim(0, 1));
  Value position = kb.add(start, first);
  Value next =
      kb.mul(kb.add(kb.div(kb.max(position, 0), spec.block), 1), spec.block);
  next = kb.select(kb.lt(position, 0), kb.c(0), next);
  Value split = clamp(kb.sub(next, start), first, end);
  kb.forLoop(kb.c(0), kb.c(2), kb.c(1), [&](Value part) {
    Value isSecond = kb.eq(part, 1);
    Value from = kb.select(isSecond, split, first);
    Value to = kb.select(isSecond, end, split);
    kb.ifThen(kb.lt(from, to), [&] { emitListedPart(from, to); });
  });
}

/// Queries that one row of the list is for.
void AttentionEmitter::emitListedPart(Value first, Value end) {
  firstQuery = first;
  rowCount = kb.sub(end, first);
  // With a finite fill a row that sees no key of its blocks weighs those
  // outside of the window; then all of them are computed, and once.
  opened = hasWindow() && std::isfinite(spec.windowFill);
  keyBegin = kb.c(0);
  keyEnd = kb.dim(1, 1);
  if (spec.hasLengths)
    keyEnd = clamp(loadPosition(spec.lengthsOperand()), kb.c(0), keyEnd);
  if (cutsRight())
    keyEnd = clamp(windowEnd(kb.sub(end, 1), kb.c(0)), kb.c(0), keyEnd);
  if (cutsLeft() && spec.anchors == 0)
    keyBegin = clamp(windowBegin(first, kb.c(0)), kb.c(0), keyEnd);
  Value position = kb.add(start, first);
  readList(kb.select(kb.lt(position, 0), kb.c(-1),
                     kb.div(kb.max(position, 0), spec.block)));
  kb.ifElse(
      kb.lt(entryBegin, entryEnd), [&] { emitVisits(); },
      [&] { emitEmptyRows(); });
  opened = false;
}

/// What the row of the list keeps of keys [keyBegin, keyEnd).
void AttentionEmitter::readList(Value listRow) {
  unsigned rows = spec.blockRowsOperand(), entries = spec.blockColumnsOperand();
  auto batchOf = [&](unsigned i) {
    return isBroadcast(kb.operand(i), 0) ? kb.c(0) : batch;
  };
  Value layout = kb.rem(firstHead, kb.dim(rows, 1));
  columns = kb.address(entries, {batchOf(entries), layout});
  auto isTrue = [&](Value a, Value b) -> Value {
    return arith::AndIOp::create(kb, a, b);
  };
  Value isListed = isTrue(kb.le(kb.c(0), listRow),
                          kb.lt(kb.add(listRow, 1), kb.dim(rows, 2)));
  SmallVector<Value> ends = kb.ifElse(
      isListed, TypeRange{kb.i64(), kb.i64()},
      [&] {
        Value at = kb.address(rows, {batchOf(rows), layout, listRow});
        SmallVector<Value> both;
        for (int64_t i : {0, 1})
          both.push_back(arith::ExtSIOp::create(
              kb, kb.i64(),
              kb.load(kb.getI32Type(), kb.gep(at, kb.getI32Type(), i))));
        return both;
      },
      [&] { return SmallVector<Value>{kb.c(0), kb.c(0)}; });
  Value isRow =
      isTrue(kb.le(kb.c(0), ends[0]), kb.le(ends[1], kb.dim(entries, 2)));
  Value lower = kb.select(isRow, ends[0], kb.c(0));
  Value upper = kb.select(isRow, ends[1], kb.c(0));
  Value blocks = kb.ceilDiv(kb.dim(1, 1), spec.block);
  // The last column, whether one did not ascend, how many are there at all, and
  // which entries are of keys that count.
  SmallVector<Value> found = kb.forLoop(
      lower, upper, kb.c(1),
      ValueRange{kb.c(-1), kb.c(0), kb.c(0), lower, lower},
      [&](Value entry, ValueRange carried) {
        Value at = columnOf(entry), next = kb.add(entry, 1);
        Value key = kb.mul(at, spec.block);
        Value wrong = kb.select(kb.le(at, carried[0]), kb.c(1), carried[1]);
        Value kept =
            kb.add(carried[2], kb.select(kb.lt(at, blocks), kb.c(1), kb.c(0)));
        Value begin = kb.select(kb.le(kb.add(key, spec.block), keyBegin), next,
                                carried[3]);
        Value end = kb.select(kb.lt(key, keyEnd), next, carried[4]);
        return SmallVector<Value>{at, wrong, kept, begin, end};
      });
  Value yes = kb.eq(kb.c(0), kb.c(0)), no = kb.eq(kb.c(0), kb.c(1));
  Value isGood = kb.lt(kb.c(0), found[2]);
  keepsAll = kb.select(isGood, no, yes);
  ascends = kb.eq(found[1], 0);
  rowBegin = lower;
  rowEnd = upper;
  Value step = kb.c(kBlock / spec.block);
  SmallVector<Value> range = kb.ifElse(
      isTrue(isGood, kb.ne(found[1], kb.c(0))),
      TypeRange{kb.i64(), kb.i64(), kb.i64()},
      [&] {
        // How many columns there are, each once.
        SmallVector<Value> counted = kb.forLoop(
            lower, upper, kb.c(1), ValueRange{kb.c(-1), kb.c(0)},
            [&](Value, ValueRange carried) {
              Value next = nextColumn(carried[0]);
              Value isAny = kb.lt(next, kb.ceilDiv(keyEnd, spec.block));
              return SmallVector<Value>{
                  kb.select(isAny, next, carried[0]),
                  kb.add(carried[1], kb.select(isAny, kb.c(1), kb.c(0)))};
            });
        return SmallVector<Value>{kb.c(0), kb.c(0), counted[1]};
      },
      [&] {
        Value first = kb.select(isGood, lower, kb.c(0));
        Value begin = kb.select(isGood, found[3], kb.div(keyBegin, spec.block));
        Value end = kb.select(isGood, found[4], kb.ceilDiv(keyEnd, spec.block));
        // Where the visit begins that the first of them is in.
        Value ahead = kb.max(kb.sub(begin, first), 0);
        first = kb.add(first, kb.mul(kb.div(ahead, step), step));
        return SmallVector<Value>{first, begin, end};
      });
  firstEntry = range[0];
  entryBegin = range[1];
  entryEnd = range[2];
}

Value AttentionEmitter::columnOf(Value entry) {
  Type i32 = kb.getI32Type();
  return arith::ExtSIOp::create(kb, kb.i64(),
                                kb.load(i32, kb.gep(columns, i32, entry)));
}

Value AttentionEmitter::nextColumn(Value last) {
  return kb.forLoop(rowBegin, rowEnd, kb.c(1), ValueRange{kb.c(kFar)},
                    [&](Value entry, ValueRange carried) {
                      Value at = columnOf(entry);
                      Value lower = kb.min(at, carried[0]);
                      return SmallVector<Value>{
                          kb.select(kb.lt(last, at), lower, carried[0])};
                    })[0];
}

void AttentionEmitter::emitVisits() {
  emitRows();
  kb.forLoop(firstEntry, entryEnd, kb.c(kBlock / spec.block),
             ValueRange{kb.c(-1)}, [&](Value entry, ValueRange last) {
               return SmallVector<Value>{emitVisit(entry, last[0])};
             });
}

Value AttentionEmitter::emitVisit(Value entry, Value last) {
  int64_t step = kBlock / spec.block;
  isFirst = kb.eq(entry, firstEntry);
  isLast = kb.le(entryEnd, kb.add(entry, step));
  visitBegin = kb.max(kb.sub(entryBegin, entry), 0);
  visitEnd = kb.min(kb.sub(entryEnd, entry), step);
  auto visited = [&](Value i) {
    return kb.gep(place(plan.visited), kb.i64(), i);
  };
  last = kb.forLoop(
      visitBegin, visitEnd, kb.c(1), ValueRange{last},
      [&](Value i, ValueRange carried) {
        Value at = kb.add(entry, i);
        auto listed = [&] {
          return kb.ifElse(
              ascends, TypeRange{kb.i64()},
              [&] { return SmallVector<Value>{columnOf(at)}; },
              [&] { return SmallVector<Value>{nextColumn(carried[0])}; });
        };
        Value block = kb.ifElse(
            keepsAll, TypeRange{kb.i64()},
            [&] { return SmallVector<Value>{at}; }, listed)[0];
        kb.store(kb.mul(block, spec.block), visited(i));
        return SmallVector<Value>{block};
      })[0];
  Value lastKey = kb.mul(last, spec.block);
  // Only the last block of all keys may end early.
  Value width = kb.min(kb.sub(keyEnd, lastKey), spec.block);
  Group group{kb.c(0), rowCount, kb.mul(visitBegin, spec.block),
              kb.add(kb.mul(kb.sub(visitEnd, 1), spec.block), width)};
  kb.forLoop(visitBegin, visitEnd, kb.c(1), [&](Value i) {
    Value key = kb.load(kb.i64(), visited(i));
    Value column = kb.mul(i, spec.block);
    firstKey = kb.sub(key, column);
    blockKeys = kb.add(column, kb.min(kb.sub(keyEnd, key), spec.block));
    emitKeyAddends(column, kb.add(column, spec.block));
    // The blocks of a visit are anywhere: no prefetcher of a machine finds
    // them.
    Value isLastBlock = kb.eq(kb.add(i, 1), visitEnd);
    Value next = kb.load(
        kb.i64(), visited(kb.select(isLastBlock, visitBegin, kb.add(i, 1))));
    int64_t padded = llvm::alignTo(depthSteps(), KeyPanels::kDepthUnit);
    nextPacked = kb.select(isLastBlock, packedValue(next),
                           kb.gep(panels, kb.f32(), kb.mul(next, padded)));
    emitListedScores({kb.c(0), rowCount, column, blockKeys});
  });
  nextPacked = {};
  emitWeights(group);
  emitOutput(group);
  return last;
}

Value AttentionEmitter::packedValue(Value key) {
  return kb.gep(panelValues, kb.f32(),
                kb.mul(dots ? kb.div(key, 2) : key, plan.valueStride));
}

/// Of one block of the visit.
void AttentionEmitter::emitListedScores(const Group &group) {
  if (spec.block % panelWidth() == 0)
    return emitScores(group);
  // Blocks share panels.
  kb.forLoop(group.lower, group.upper, kb.c(lanes), [&](Value key) {
    forRows(group.count, 8, [&](Value row, unsigned n) {
      emitScoreTile(group, row, n, key, 1);
    });
  });
}

/// Rows of weights times the values of a visit's blocks.
SmallVector<Value> AttentionEmitter::emitListedProduct(ProductTile tile,
                                                       Value weights, Value row,
                                                       int64_t column,
                                                       ArrayRef<Value> start) {
  auto visited = [&](Value i) {
    return kb.load(kb.i64(), kb.gep(place(plan.visited), kb.i64(), i));
  };
  return kb.forLoop(
      visitBegin, visitEnd, kb.c(1), start, [&](Value i, ValueRange sums) {
        Value key = visited(i);
        tile.depth = kb.min(kb.sub(keyEnd, key), spec.block);
        tile.a = kb.gep(weights, tile.aType, kb.mul(i, spec.block));
        tile.b = kb.gep(packedValue(key), kb.f32(), column);
        Value next = visited(kb.min(kb.add(i, 1), kb.sub(visitEnd, 1)));
        tile.next =
            kb.gep(packedValue(next), kb.getI8Type(),
                   kb.mul(kb.div(row, tile.rows), spec.block * tile.nextBytes));
        return emitProduct(kb, tile, SmallVector<Value>(sums));
      });
}
