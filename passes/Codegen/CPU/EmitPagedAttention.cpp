//===- EmitPagedAttention.cpp - Attention to pages of a cache -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Units, items and their blocks of keys.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

PagedEmitter::PagedEmitter(KernelBuilder &kb, const PagedSpec &spec)
    : kb(kb), spec(spec), heads(kb.operand(PagedSpec::kQuery).shape[2]),
      keyHeads(kb.operand(PagedSpec::kKeys).shape[1]), group(heads / keyHeads),
      depth(kb.operand(PagedSpec::kQuery).shape[3]),
      keyRecord(KvRecord::of(kb.operand(PagedSpec::kKeys).elementType,
                             kb.operand(PagedSpec::kKeys).shape[2])),
      valueRecord(KvRecord::of(kb.operand(PagedSpec::kValues).elementType,
                               kb.operand(PagedSpec::kValues).shape[3])),
      valueDepth(valueRecord ? valueRecord->depth
                             : kb.operand(PagedSpec::kValues).shape[3]),
      lanes(kb.lanes()) {
  queryStride = llvm::alignTo(depth, lanes);
  valueStride = llvm::alignTo(valueDepth, lanes);
  valueRegisters = valueStride / lanes;
  partialWidth = llvm::alignTo(valueDepth + 2, 16);
  auto take = [&](int64_t &place, int64_t count) {
    place = floats;
    floats += llvm::alignTo(count, 16);
  };
  // Whole registers of rows are merged at once.
  int64_t scoreRows =
      spec.isPartials ? std::max(heads, kGroupRows) : kGroupRows;
  int64_t rows = (spec.isPartials ? scoreRows : kChunk) + lanes;
  take(queries, rows * queryStride);
  take(scores, scoreRows * kTileStride);
  take(output, (spec.isPartials ? kGroupRows + lanes : rows) * valueStride);
  for (int64_t *row :
       {&highest, &total, &decay, &gain, &blockHighest, &blockTotal})
    take(*row, rows);
  take(wideKeys, isWide(keyRecord) ? kBlock * depth : 0);
  take(wideValues, isWide(valueRecord) ? kBlock * valueStride : 0);
}

Value PagedEmitter::units() {
  Value runs = kb.dim(PagedSpec::kContexts, 0);
  Value items;
  if (spec.isPartials) {
    constexpr int64_t pages = kBlock / kPage;
    items = kb.mul(runs, kb.ceilDiv(kb.dim(PagedSpec::kTables, 1), pages));
  } else {
    Value rows = kb.mul(kb.dim(PagedSpec::kQuery, 1), group);
    items = kb.add(runs, kb.div(rows, kSmallChunk));
  }
  return kb.min(kb.mul(items, keyHeads), kMostUnits);
}

void PagedEmitter::emit() {
  kb.requireScratch(floats * 4);
  kb.defineUnits([&] { return units(); });
  kb.defineBody([&] {
    Value runs = kb.dim(PagedSpec::kContexts, 0);
    auto count = [&](function_ref<Value()> ofRun) {
      return kb.forLoop(kb.c(0), runs, kb.c(1), ValueRange{kb.c(0)},
                        [&](Value r, ValueRange carried) {
                          enterRun(r);
                          return SmallVector<Value>{
                              kb.add(carried[0], ofRun())};
                        })[0];
    };
    if (spec.isPartials)
      allBlocks = count([&] { return blocksOfRun(); });
    Value all = count([&] { return itemsOfRun(); });
    Value shares = units();
    kb.forUnits([&](Value unit) {
      Value from = kb.div(kb.mul(unit, all), shares);
      Value to = kb.div(kb.mul(kb.add(unit, 1), all), shares);
      kb.forLoop(kb.c(0), runs, kb.c(1), ValueRange{kb.c(0)},
                 [&](Value r, ValueRange carried) {
                   enterRun(r);
                   Value items = itemsOfRun();
                   Value low = clamp(kb.sub(from, carried[0]), kb.c(0), items);
                   Value high = clamp(kb.sub(to, carried[0]), kb.c(0), items);
                   kb.forLoop(low, high, kb.c(1),
                              [&](Value item) { emitItem(item); });
                   return SmallVector<Value>{kb.add(carried[0], items)};
                 });
    });
  });
}

//===----------------------------------------------------------------------===//
// Runs and items
//===----------------------------------------------------------------------===//

Value PagedEmitter::loadIndex(unsigned operand, ValueRange at) {
  Value loaded = kb.load(elementOf(operand), kb.address(operand, at));
  return elementOf(operand).isInteger(64)
             ? loaded
             : arith::ExtSIOp::create(kb, kb.i64(), loaded);
}

void PagedEmitter::enterRun(Value r) {
  run = r;
  firstToken = loadIndex(PagedSpec::kBegins, {r});
  length = kb.sub(loadIndex(PagedSpec::kBegins, {kb.add(r, 1)}), firstToken);
  context = loadIndex(PagedSpec::kContexts, {r});
  table = kb.address(PagedSpec::kTables, {r});
  if (!spec.hasSelected)
    return;
  tableStride = leftOut = kb.c(0);
  isSelecting = kb.eq(kb.c(0), int64_t(1));
  enterSelection(kb.c(0), isSingle());
}

/// The first block that the one token of the run sees, and how many.
std::pair<Value, Value> PagedEmitter::blocksOfSingle() {
  Value first = kb.div(beginOf(kb.c(0)), kBlock);
  Value end = kb.ceilDiv(endOf(kb.c(0)), kBlock);
  Value count = kb.max(kb.sub(end, first), 0);
  // A part of a sequence may hold nothing that the token sees.
  if (hasPart())
    count = kb.select(kb.lt(beginOf(kb.c(0)), endOf(kb.c(0))), count, kb.c(0));
  return {first, count};
}

/// How many, and the rows of each.
std::pair<Value, Value> PagedEmitter::chunks() {
  Value rows = kb.mul(length, group);
  Value size =
      kb.select(kb.le(rows, kFewRows), kb.c(kSmallChunk), kb.c(kChunk));
  // A token that selects its pages is a chunk by itself.
  if (spec.hasSelected)
    size = kb.select(kb.le(length, kSelecting), kb.c(group), size);
  return {kb.ceilDiv(rows, size), size};
}

/// Of a run of one token, but for those that another run computes with its own;
/// of others there are no partials.
Value PagedEmitter::blocksOfRun() {
  return kb.ifElse(
      isSingle(), TypeRange{kb.i64()},
      [&] {
        return SmallVector<Value>{
            kb.sub(blocksOfSingle().second, sharedBlocks())};
      },
      [&] { return SmallVector<Value>{kb.c(0)}; })[0];
}

/// Pages of all heads lie in one piece, which is read fastest; few blocks are
/// dealt out by heads, or they would be work for few threads.
Value PagedEmitter::headParts() {
  return kb.select(kb.lt(allBlocks, kManyBlocks), kb.c(keyHeads), kb.c(1));
}

Value PagedEmitter::itemsOfRun() {
  if (spec.isPartials)
    return kb.mul(blocksOfRun(), headParts());
  Value dense = kb.mul(chunks().first, keyHeads);
  return spec.keptPages > 0
             ? kb.select(isListed(), kb.mul(listedRows(), heads), dense)
             : dense;
}

void PagedEmitter::emitItem(Value item) {
  if (spec.isPartials)
    return emitPartial(item);
  if (spec.keptPages > 0)
    return kb.ifElse(
        isListed(), [&] { emitListedRow(item); }, [&] { emitDenseItem(item); });
  emitDenseItem(item);
}

void PagedEmitter::emitDenseItem(Value item) {
  if (!spec.hasPartials)
    return emitChunk(item);
  // A run of one token may have more heads than a chunk has rows, and so more
  // than one chunk: the first merges them all.
  kb.ifElse(
      isSingle(),
      [&] {
        Value count = chunks().first;
        keyHead = kb.div(item, count);
        kb.ifThen(kb.eq(kb.rem(item, count), int64_t(0)), [&] {
          kb.forLoop(kb.c(0), kb.c(group), kb.c(1),
                     [&](Value row) { emitMergeOfPartials(row); });
        });
      },
      [&] { emitChunk(item); });
}

Value PagedEmitter::visibleOf(Value row) {
  if (spec.cross)
    return kb.c(0);
  Value bits =
      loadIndex(PagedSpec::kVisible, {kb.add(firstToken, tokenOf(row))});
  // A bit behind the run names a key that may not be there.
  Value shift = kb.sub(kb.c(64), clamp(length, kb.c(1), kb.c(64)));
  Value ones = arith::ShRUIOp::create(kb, kb.c(-1), shift);
  return arith::AndIOp::create(kb, bits, ones);
}

Value PagedEmitter::indexOf(Value row) {
  Value token = tokenOf(row);
  if (spec.cross)
    return kb.add(context, token);
  Value bits = visibleOf(row);
  Value before =
      kb.sub(arith::ShLIOp::create(kb, kb.c(1), kb.min(token, 63)), 1);
  Value seen = LLVM::CtPopOp::create(kb, kb.i64(),
                                     arith::AndIOp::create(kb, bits, before));
  return kb.add(context, kb.select(kb.eq(bits, int64_t(0)), token, seen));
}

Value PagedEmitter::beginOf(Value row) {
  if (!hasBegin())
    return kb.c(0);
  Value begin = kb.c(spec.from);
  if (spec.left >= 0)
    begin = kb.max(kb.sub(indexOf(row), spec.left), spec.from);
  // Never behind the end: pages there may not be in the table.
  if (hasPart())
    return kb.min(begin, endOf(row));
  if (!spec.hasSelected)
    return begin;
  // The first part that is listed is the one that the window begins in.
  Value whole = kb.sub(kb.add(indexOf(row), leftOut), spec.left);
  return kb.select(isSelecting, kb.rem(kb.max(whole, 0), kPart), begin);
}

Value PagedEmitter::endOf(Value row) {
  if (spec.cross)
    return context;
  Value isCausal = kb.eq(visibleOf(row), int64_t(0));
  Value own = kb.add(context, length), causal = kb.add(indexOf(row), 1);
  if (!hasPart())
    return kb.select(isCausal, causal, own);
  // A tree's tokens count by their way, which ends no later than they lie.
  if (spec.until > 0)
    own = kb.select(kb.lt(context, kb.c(spec.until)), own, kb.c(spec.until));
  return kb.min(kb.select(isCausal, causal, own), lastEndOf(row, isCausal));
}

Value PagedEmitter::lastEndOf(Value row, Value isCausal) {
  Value end = kb.c(std::numeric_limits<int64_t>::max());
  if (spec.until > 0)
    end = kb.select(isCausal, kb.c(spec.until), end);
  // The gap holds all of a tree.
  if (spec.gap > 0)
    end = kb.min(end, kb.max(kb.sub(indexOf(row), spec.gap - 1), 0));
  return end;
}

std::pair<Value, Value> PagedEmitter::rangeOf(Value first, Value count) {
  // Bits of trees follow no order, so all rows are asked.
  auto range =
      kb.forLoop(kb.c(0), count, kb.c(1),
                 ValueRange{kb.c(std::numeric_limits<int64_t>::max()), kb.c(0)},
                 [&](Value i, ValueRange carried) {
                   Value row = kb.add(first, i);
                   return SmallVector<Value>{kb.min(carried[0], beginOf(row)),
                                             kb.max(carried[1], endOf(row))};
                 });
  return {range[0], range[1]};
}

//===----------------------------------------------------------------------===//
// Items
//===----------------------------------------------------------------------===//

void PagedEmitter::emitChunk(Value item) {
  auto [count, size] = chunks();
  keyHead = kb.div(item, count);
  // The last chunks see most keys: they are begun first.
  Value chunk = kb.sub(kb.sub(count, 1), kb.rem(item, count));
  Value first = kb.mul(chunk, size);
  Run whole = current();
  if (spec.hasSelected)
    enterSelection(chunk, arith::AndIOp::create(kb, kb.ne(length, kb.c(1)),
                                                kb.le(length, kSelecting)));
  emitChunkRows(first,
                kb.min(size, kb.sub(kb.mul(whole.length, group), first)));
  goBack(whole);
}

void PagedEmitter::emitChunkRows(Value first, Value rows) {
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    copyQuery(kb.add(first, row), place(queries, row, queryStride));
  });
  // The row that makes their number even.
  kb.forLoop(kb.c(0), kb.c(queryStride), kb.c(lanes), [&](Value i) {
    storeVec(kb.splat(0),
             kb.gep(place(queries, rows, queryStride), kb.f32(), i));
  });
  startRows(rows, first);
  Value begin, end;
  std::tie(begin, end) = rangeOf(first, rows);
  Value firstBlock = kb.mul(kb.div(begin, kBlock), kBlock);
  kb.forLoop(firstBlock, end, kb.c(kBlock), [&](Value block) {
    if (isWide(keyRecord)) {
      Value lower = kb.max(kb.sub(begin, block), 0);
      lower = kb.mul(kb.div(lower, kPage), kPage);
      unpackBlock(pagesOf(block), lower, kb.min(kb.sub(end, block), kBlock));
    }
    kb.forLoop(kb.c(0), rows, kb.c(kGroupRows), [&](Value row) {
      Value inGroup = kb.min(kb.sub(rows, row), kGroupRows);
      auto [low, high] = rangeOf(kb.add(first, row), inGroup);
      Value lower = clamp(kb.sub(low, block), kb.c(0), kb.c(kBlock));
      lower = kb.mul(kb.div(lower, kPage), kPage);
      Value upper = clamp(kb.sub(high, block), kb.c(0), kb.c(kBlock));
      kb.ifThen(kb.lt(lower, upper), [&] {
        Value pages = pagesOf(block);
        emitBlockOfRows(pages, row, inGroup, lower, upper, [&] {
          kb.forLoop(kb.c(0), inGroup, kb.c(1), [&](Value at) {
            Value inChunk = kb.add(row, at);
            emitRow(kb.add(first, inChunk), place(scores, at, kTileStride),
                    block, lower, upper, place(blockHighest, inChunk, 1),
                    place(blockTotal, inChunk, 1));
          });
          mergeRows(row, inGroup);
        });
      });
    });
  });
  finishRows(first, rows);
}

void PagedEmitter::emitBlockOfRows(Value pages, Value row, Value count,
                                   Value lower, Value upper,
                                   function_ref<void()> weigh) {
  auto forRows = [&](unsigned full, function_ref<void(Value, unsigned)> tile) {
    Value whole = kb.sub(count, kb.rem(count, full));
    kb.forLoop(kb.c(0), whole, kb.c(full), [&](Value at) { tile(at, full); });
    kb.forLoop(whole, count, kb.c(kTailRows),
               [&](Value at) { tile(at, kTailRows); });
  };
  kb.forLoop(lower, upper, kb.c(kPage), [&](Value key) {
    Value page = isWide(keyRecord)
                     ? place(wideKeys, key, depth)
                     : pageOf(PagedSpec::kKeys, pages, kb.div(key, kPage));
    forRows(kb.level().rows, [&](Value at, unsigned n) {
      emitKeys(n, place(queries, kb.add(row, at), queryStride), page,
               kb.gep(place(scores, at, kTileStride), kb.f32(), key));
    });
  });
  weigh();
  unsigned columns = streamColumns(kb.level().rows, valueRegisters, false);
  forRows(tileRows(kb.level(), cut(valueRegisters, columns)[0].count),
          [&](Value at, unsigned n) {
            emitValues(n, place(scores, at, kTileStride), pages, lower, upper,
                       kb.add(row, at));
          });
}
