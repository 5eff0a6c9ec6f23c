//===- PagedListed.cpp - Runs whose rows keep some pages ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A row of 64 positions of one head is a run of its own, over a sequence of the
// pages of its list: the last page is the one that its tokens are in, so what
// they see of it is what they see of any last page.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

Value PagedEmitter::listedRows() {
  return kb.sub(kb.ceilDiv(kb.add(context, length), kPage),
                kb.div(context, kPage));
}

void PagedEmitter::emitListedRow(Value item) {
  Value count = listedRows();
  rowHead = kb.div(item, count);
  keyHead = kb.div(rowHead, group);
  // The last rows see most keys.
  Value row = kb.sub(kb.sub(count, 1), kb.rem(item, count));
  Type i32 = elementOf(PagedSpec::kTables);
  Value index = kb.add(kb.div(firstToken, kPage), kb.mul(run, 2));
  Value list =
      kb.address(spec.keptOperand(),
                 {rowHead, kb.mul(kb.add(index, row), spec.keptPages + 1)});
  Value kept = arith::ExtSIOp::create(kb, kb.i64(), kb.load(i32, list));
  Value base = kb.mul(kb.add(kb.div(context, kPage), row), kPage);
  Value begin = kb.max(base, context);
  Value end = kb.min(kb.add(base, kPage), kb.add(context, length));
  // A sequence of the kept pages alone, the last of which is the row's own.
  Run whole = current();
  Value all = kb.eq(kept, int64_t(0));
  firstToken = kb.add(firstToken, kb.sub(begin, context));
  length = kb.sub(end, begin);
  context = kb.select(
      all, begin, kb.add(kb.mul(kb.sub(kept, 1), kPage), kb.sub(begin, base)));
  table = kb.select(all, table, kb.gep(list, i32, 1));
  emitChunkRows(kb.c(0), length);
  goBack(whole);
  rowHead = {};
}
