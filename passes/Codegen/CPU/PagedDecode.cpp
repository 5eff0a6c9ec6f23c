//===- PagedDecode.cpp - A block of the keys of one token -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

void PagedEmitter::emitPartial(Value item) {
  auto [firstBlock, count] = blocksOfSingle();
  Value shared = sharedBlocks();
  count = kb.sub(count, shared);
  Value inPart = kb.div(kb.c(keyHeads), headParts());
  Value firstHead = kb.mul(kb.div(item, count), inPart);
  Value headEnd = kb.add(firstHead, inPart);
  Value index = kb.add(kb.add(firstBlock, shared), kb.rem(item, count));
  if (spec.hasSelected)
    return emitOwn(index, firstHead, headEnd);
  Value sharers = sharersOf(index);
  kb.ifElse(
      kb.eq(sharers, int64_t(1)), [&] { emitOwn(index, firstHead, headEnd); },
      [&] { emitShared(index, sharers, firstHead, headEnd); });
}

/// One token, some key heads and a block: as much as memory gives. Pages of
/// keys, then of values, each with all heads, are one stream: what lies in one
/// head's page is fetched while that before it is read.
void PagedEmitter::emitOwn(Value index, Value firstHead, Value headEnd) {
  Value block = kb.mul(index, kBlock);
  Value lower = kb.max(kb.sub(beginOf(kb.c(0)), block), 0);
  lower = kb.mul(kb.div(lower, kPage), kPage);
  Value end = endOf(kb.c(0));
  Value upper = kb.min(kb.sub(end, block), kBlock);
  Value pages = pagesOf(block);
  auto forHeads = [&](function_ref<void(Value first)> body) {
    kb.forLoop(firstHead, headEnd, kb.c(1), [&](Value head) {
      keyHead = head;
      body(kb.mul(kb.sub(head, firstHead), group));
    });
  };
  auto forRows = [&](function_ref<void(Value row, Value at)> body) {
    forHeads([&](Value first) {
      kb.forLoop(kb.c(0), kb.c(group), kb.c(1),
                 [&](Value row) { body(row, kb.add(first, row)); });
    });
  };
  Value result =
      partialOf(spec.resultOperand(), kb.mul(firstHead, group), index);
  Value resultRow = kb.stride(spec.resultOperand(), 1);
  auto resultAt = [&](Value at) {
    return kb.gep(result, kb.f32(), kb.mul(at, resultRow));
  };
  forRows([&](Value row, Value at) {
    copyQuery(row, place(queries, at, queryStride));
    kb.forLoop(kb.c(0), kb.c(valueStride), kb.c(lanes), [&](Value d) {
      storeVec(kb.splat(0), kb.gep(resultAt(at), kb.f32(), d));
    });
  });
  // What is read after the last head's page is that of the first, elsewhere.
  auto forPages =
      [&](unsigned pool, Value behind,
          function_ref<void(Value key, Value first, Value page, Value ahead)>
              body) {
        Value last = kb.div(kb.sub(upper, 1), kPage);
        kb.forLoop(lower, upper, kb.c(kPage), [&](Value key) {
          Value page = kb.div(key, kPage);
          keyHead = firstHead;
          Value next = pageOf(pool, pages, kb.min(kb.add(page, 1), last));
          next = kb.select(kb.eq(page, last), behind, next);
          forHeads([&](Value first) {
            Value here = pageOf(pool, pages, page);
            Value following = kb.gep(here, elementOf(pool), kb.stride(pool, 1));
            Value isLast = kb.eq(kb.add(keyHead, 1), headEnd);
            body(key, first, here, kb.select(isLast, next, following));
          });
        });
      };
  auto storeTotals = [&] {
    forRows([&](Value, Value at) {
      kb.store(kb.load(kb.f32(), place(blockHighest, at, 1)),
               kb.gep(resultAt(at), kb.f32(), valueDepth));
      kb.store(kb.load(kb.f32(), place(blockTotal, at, 1)),
               kb.gep(resultAt(at), kb.f32(), valueDepth + 1));
    });
  };
  auto weigh = [&](Value row, Value at) {
    emitRow(row, place(scores, at, kTileStride), block, lower, upper,
            place(blockHighest, at, 1), place(blockTotal, at, 1));
  };
  if (spec.hasSelected) {
    // Each head reads parts of its own.
    forHeads([&](Value first) {
      Value last = kb.div(kb.sub(upper, 1), kPage);
      auto forPages =
          [&](function_ref<void(Value key, Value ahead, Value scores)> body) {
            kb.forLoop(lower, upper, kb.c(kPage), [&](Value key) {
              body(key, kb.min(kb.add(kb.div(key, kPage), 1), last),
                   kb.gep(place(scores, first, kTileStride), kb.f32(), key));
            });
          };
      forPages([&](Value key, Value ahead, Value to) {
        gatherKeys(pages, kb.div(key, kPage), ahead, place(wideKeys));
        emitKeyStream(place(queries, first, queryStride), place(wideKeys),
                      place(wideKeys), to);
      });
      kb.forLoop(kb.c(0), kb.c(group), kb.c(1),
                 [&](Value row) { weigh(row, kb.add(first, row)); });
      forPages([&](Value key, Value ahead, Value from) {
        gatherValues(pages, kb.div(key, kPage), ahead, place(wideValues));
        emitValueStream(from, place(wideValues), place(wideValues),
                        kb.min(kb.sub(upper, key), kPage), resultAt(first),
                        resultRow);
      });
    });
    return storeTotals();
  }
  keyHead = firstHead;
  Value firstValues = pageOf(PagedSpec::kValues, pages, kb.div(lower, kPage));
  forPages(PagedSpec::kKeys, firstValues,
           [&](Value key, Value first, Value page, Value ahead) {
             if (keyRecord)
               page = unpackKeys(page, ahead, place(wideKeys));
             emitKeyStream(
                 place(queries, first, queryStride), page, ahead,
                 kb.gep(place(scores, first, kTileStride), kb.f32(), key));
           });
  forRows([&](Value row, Value at) {
    fetchValues(pages, lower, row);
    weigh(row, at);
  });
  // What is read next, most likely: the keys of the next block.
  Value more = kb.lt(kb.add(block, kBlock), end);
  keyHead = firstHead;
  Value nextKeys =
      pageOf(PagedSpec::kKeys, pages,
             kb.select(more, kb.c(kBlock / kPage), kb.div(lower, kPage)));
  forPages(PagedSpec::kValues, nextKeys,
           [&](Value key, Value first, Value page, Value ahead) {
             Value count = kb.min(kb.sub(upper, key), kPage);
             if (valueRecord)
               page = unpackValues(page, ahead, place(wideValues), count);
             emitValueStream(
                 kb.gep(place(scores, first, kTileStride), kb.f32(), key), page,
                 ahead, count, resultAt(first), resultRow);
           });
  storeTotals();
}

/// While weights are made nothing is read: a row fetches its share of the first
/// values that are needed then.
void PagedEmitter::fetchValues(Value pages, Value lower, Value row) {
  constexpr int64_t line = 64;
  int64_t bytes = kPage * kb.operand(PagedSpec::kValues).shape[3] *
                  elementOf(PagedSpec::kValues).getIntOrFloatBitWidth() / 8;
  int64_t share = llvm::alignTo(llvm::divideCeil(bytes, group), line);
  Value from = kb.mul(row, share);
  Value count = kb.min(kb.c(share), kb.sub(kb.c(bytes), from));
  Value page = pageOf(PagedSpec::kValues, pages, kb.div(lower, kPage));
  page = kb.gep(page, kb.getI8Type(), from);
  kb.forLoop(kb.c(0), count, kb.c(line),
             [&](Value at) { kb.prefetch(kb.gep(page, kb.getI8Type(), at)); });
}
