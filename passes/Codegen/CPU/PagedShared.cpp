//===- PagedShared.cpp - Pages of keys that several tokens see ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Sequences that began alike have the same pages, and so have equal numbers at
// the beginning of their page tables. A block of keys that runs of one token,
// one behind the other, share is read once: the heads of all of them are the
// rows of the tiles. Each writes the partials that it would have written alone,
// with the same bits, since a row's scores, weights and sums do not depend on
// the rows beside it.
//
// Only whole blocks, which every run sees all of (but for the tokens at the
// beginning that no run sees), and not under a window, whose end differs from
// run to run, or where each token selects its pages.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kPagesOfBlock =
    PagedEmitter::kBlock / PagedEmitter::kPage;

/// Shared blocks are counted from the first of the sequence.
bool PagedEmitter::mayShare() const {
  return spec.left < 0 && spec.from < kBlock && !spec.hasSelected;
}

Value PagedEmitter::sharedBlocks() {
  if (!mayShare())
    return kb.c(0);
  Value before = kb.max(kb.sub(run, 1), 0);
  Value lengthBefore =
      kb.sub(firstToken, loadIndex(PagedSpec::kBegins, {before}));
  Value end = loadIndex(PagedSpec::kContexts, {before});
  if (!spec.cross)
    end = kb.add(end, 1);
  if (spec.until > 0)
    end = kb.min(end, spec.until);
  if (spec.gap > 0)
    end = kb.max(kb.sub(end, spec.gap), 0);
  Value most = kb.div(kb.min(end, endOf(kb.c(0))), kBlock);
  auto pageIn = [&](Value pages, Value i) {
    Type element = elementOf(PagedSpec::kTables);
    return kb.load(element, kb.gep(pages, element, i));
  };
  Value tableBefore = kb.address(PagedSpec::kTables, {before});
  auto isEqual = [&](Value i) -> Value {
    return arith::CmpIOp::create(kb, arith::CmpIPredicate::eq, pageIn(table, i),
                                 pageIn(tableBefore, i));
  };
  auto both = [&](Value a, Value b) -> Value {
    return arith::AndIOp::create(kb, a, b);
  };
  Value mayBe = both(both(kb.ne(run, kb.c(0)), kb.eq(lengthBefore, int64_t(1))),
                     both(isSingle(), isEqual(kb.c(0))));
  Value pages = kb.select(mayBe, kb.mul(most, kPagesOfBlock), kb.c(0));
  Value equal = kb.forLoop(
      kb.c(0), pages, kb.c(1), ValueRange{kb.c(0)},
      [&](Value i, ValueRange carried) {
        Value isNext = both(kb.eq(carried[0], i), isEqual(i));
        return SmallVector<Value>{kb.select(isNext, kb.add(i, 1), carried[0])};
      })[0];
  return kb.div(equal, kPagesOfBlock);
}

Value PagedEmitter::sharersOf(Value index) {
  if (!mayShare())
    return kb.c(1);
  Run leader = current();
  Value runs = kb.dim(PagedSpec::kContexts, 0);
  // The first that does not share it ends them.
  Value sharers = kb.forLoop(
      kb.add(run, 1), runs, kb.c(1), ValueRange{kb.c(1)},
      [&](Value r, ValueRange carried) {
        Value isNext = kb.eq(kb.sub(r, leader.run), carried[0]);
        Value more = kb.ifElse(
            isNext, TypeRange{kb.i64()},
            [&] {
              enterRun(r);
              Value shares = kb.lt(index, sharedBlocks());
              return SmallVector<Value>{kb.select(shares, kb.c(1), kb.c(0))};
            },
            [&] { return SmallVector<Value>{kb.c(0)}; })[0];
        return SmallVector<Value>{kb.add(carried[0], more)};
      })[0];
  goBack(leader);
  return sharers;
}

void PagedEmitter::emitShared(Value index, Value sharers, Value firstHead,
                              Value headEnd) {
  Run leader = current();
  Value block = kb.mul(index, kBlock), lower = kb.c(0), upper = kb.c(kBlock);
  Value pages = kb.gep(table, elementOf(PagedSpec::kTables),
                       kb.mul(index, kPagesOfBlock));
  Value rows = kb.mul(sharers, group);
  auto forRows = [&](Value first, Value count,
                     function_ref<void(Value row, Value at)> body) {
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value at) {
      Value row = kb.add(first, at);
      enterRun(kb.add(leader.run, kb.div(row, group)));
      body(kb.rem(row, group), at);
    });
    goBack(leader);
  };
  auto fill = [&](int64_t from, Value count, double value) {
    kb.forLoop(kb.c(0), count, kb.c(lanes),
               [&](Value i) { storeVec(kb.splat(value), place(from, i, 1)); });
  };
  kb.forLoop(firstHead, headEnd, kb.c(1), [&](Value head) {
    keyHead = head;
    if (keyRecord)
      unpackBlock(pages, lower, upper);
    kb.forLoop(kb.c(0), rows, kb.c(kGroupRows), [&](Value first) {
      Value count = kb.min(kb.sub(rows, first), kGroupRows);
      forRows(first, count, [&](Value row, Value at) {
        copyQuery(row, place(queries, at, queryStride));
      });
      // With the row that makes their number even. What is merged into zeros
      // is the sums themselves.
      Value even = kb.add(count, 1);
      kb.forLoop(kb.c(0), kb.c(queryStride), kb.c(lanes), [&](Value i) {
        storeVec(kb.splat(0),
                 kb.gep(place(queries, count, queryStride), kb.f32(), i));
      });
      fill(output, kb.mul(even, valueStride), 0);
      fill(decay, even, 0);
      fill(gain, even, 1);
      emitBlockOfRows(pages, kb.c(0), count, lower, upper, [&] {
        forRows(first, count, [&](Value row, Value at) {
          emitRow(row, place(scores, at, kTileStride), block, lower, upper,
                  place(blockHighest, at, 1), place(blockTotal, at, 1));
        });
      });
      forRows(first, count, [&](Value row, Value at) {
        Value to = partialOf(spec.resultOperand(), headOf(row), index);
        Value from = place(output, at, valueStride);
        kb.forLoop(kb.c(0), kb.c(valueStride), kb.c(lanes), [&](Value d) {
          storeVec(loadVec(kb.gep(from, kb.f32(), d)), kb.gep(to, kb.f32(), d));
        });
        kb.store(kb.load(kb.f32(), place(blockHighest, at, 1)),
                 kb.gep(to, kb.f32(), valueDepth));
        kb.store(kb.load(kb.f32(), place(blockTotal, at, 1)),
                 kb.gep(to, kb.f32(), valueDepth + 1));
      });
    });
  });
}
