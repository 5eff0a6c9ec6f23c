//===- PagedParts.cpp - Pages made up of selected parts -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A token that selects what it reads has lists of parts of 16 tokens. Four of
// them, copied side by side into scratch as f32, are a page like any other. So
// are those of a run that reads all, whose parts are those of its pages in
// order: one code for both. While a part is copied the next one in its place is
// fetched: they lie anywhere.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

void PagedEmitter::enterSelection(Value token, Value selects) {
  unsigned lists = spec.selectedOperand();
  Value row = kb.add(kb.mul(run, kSelecting),
                     clamp(token, kb.c(0), kb.c(kSelecting - 1)));
  Value list = kb.gep(kb.address(lists, {row}), elementOf(lists), kHeader);
  Value tokens = kb.mul(loadIndex(lists, {row}), kPart);
  leftOut = kb.select(selects, tokens, leftOut);
  context = kb.sub(context, kb.select(selects, tokens, kb.c(0)));
  table = kb.select(selects, list, table);
  tableStride = kb.select(selects, kb.stride(lists, 1), tableStride);
  isSelecting = arith::OrIOp::create(kb, isSelecting, selects);
}

Value PagedEmitter::pagesOf(Value block) {
  Value at = kb.div(block, kPage);
  if (spec.hasSelected)
    at = kb.select(isSelecting, kb.div(block, kPart), at);
  return kb.gep(table, elementOf(PagedSpec::kTables), at);
}

/// Part `index` behind `pages`: four times its page, and the part of that.
Value PagedEmitter::partOf(Value pages, Value index) {
  Type i32 = elementOf(PagedSpec::kTables);
  auto load = [&](Value at) -> Value {
    return arith::ExtSIOp::create(kb, kb.i64(),
                                  kb.load(i32, kb.gep(pages, i32, at)));
  };
  Value listed = kb.add(kb.mul(keyHead, tableStride), index);
  Value entry = load(kb.select(isSelecting, listed, kb.div(index, kParts)));
  Value ofPage = kb.add(kb.mul(entry, kParts), kb.rem(index, kParts));
  return kb.select(isSelecting, entry, ofPage);
}

void PagedEmitter::gatherKeys(Value pages, Value page, Value ahead, Value to) {
  Type storage = elementOf(PagedSpec::kKeys);
  auto pageOfPart = [&](Value part) {
    return kb.address(PagedSpec::kKeys, {kb.div(part, kParts), keyHead});
  };
  auto begin = [&](Value part) {
    return kb.gep(pageOfPart(part), storage,
                  kb.mul(kb.rem(part, kParts), kPart));
  };
  kb.forLoop(kb.c(0), kb.c(kParts), kb.c(1), [&](Value i) {
    Value part = partOf(pages, kb.add(kb.mul(page, kParts), i));
    Value next = partOf(pages, kb.add(kb.mul(ahead, kParts), i));
    Value target = kb.gep(to, kb.f32(), kb.mul(i, kPart));
    // A line of bytes is a row of all parts.
    if (keyRecord)
      return emitUnpackKeys(kb, *keyRecord, begin(part), pageOfPart(next),
                            target, kPart);
    kb.callPart(
        "gather.keys", {begin(part), begin(next), target}, [&](ValueRange p) {
          kb.forLoop(kb.c(0), kb.c(depth), kb.c(1), [&](Value d) {
            Value row = kb.mul(d, kPage);
            kb.prefetch(kb.gep(p[1], storage, row));
            for (int64_t at = 0; at < kPart; at += lanes)
              storeVec(
                  kb.loadF32(kb.gep(kb.gep(p[0], storage, row), storage, at),
                             storage),
                  kb.gep(kb.gep(p[2], kb.f32(), row), kb.f32(), at));
          });
        });
  });
}

void PagedEmitter::gatherValues(Value pages, Value page, Value ahead,
                                Value to) {
  Type storage = elementOf(PagedSpec::kValues);
  int64_t width = kb.operand(PagedSpec::kValues).shape[3];
  auto begin = [&](Value part) {
    return kb.gep(
        kb.address(PagedSpec::kValues, {kb.div(part, kParts), keyHead}),
        storage, kb.mul(kb.rem(part, kParts), kPart * width));
  };
  kb.forLoop(kb.c(0), kb.c(kParts), kb.c(1), [&](Value i) {
    Value from = begin(partOf(pages, kb.add(kb.mul(page, kParts), i)));
    Value next = begin(partOf(pages, kb.add(kb.mul(ahead, kParts), i)));
    Value target = kb.gep(to, kb.f32(), kb.mul(i, kPart * valueStride));
    fetchPart(next, kPart * width * storage.getIntOrFloatBitWidth() / 8);
    if (valueRecord)
      return emitUnpackValues(kb, *valueRecord, from, Value(), target,
                              kb.c(kPart), valueStride);
    kb.callPart("gather.values", {from, target}, [&](ValueRange p) {
      kb.forLoop(kb.c(0), kb.c(kPart), kb.c(1), [&](Value row) {
        Value source = kb.gep(p[0], storage, kb.mul(row, valueDepth));
        Value copy = kb.gep(p[1], kb.f32(), kb.mul(row, valueStride));
        // Padded with zeros to whole registers.
        kb.forVectors(kb.c(valueDepth), [&](Value at, Value mask) {
          storeVec(kb.loadF32(kb.gep(source, storage, at), storage, mask),
                   kb.gep(copy, kb.f32(), at));
        });
      });
    });
  });
}

void PagedEmitter::fetchPart(Value from, int64_t bytes) {
  constexpr int64_t line = 64;
  kb.forLoop(kb.c(0), kb.c(bytes), kb.c(line),
             [&](Value at) { kb.prefetch(kb.gep(from, kb.getI8Type(), at)); });
}
