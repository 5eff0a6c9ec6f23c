//===- SelectLists.cpp - The blocks that rows of queries keep -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/BlockSelector.h"

using namespace mlir;
using namespace ferrite::cpu;

void BlockSelector::emitRow(Value row) {
  Value at = kb.add(kb.div(firstGroup, groups), row);
  kb.ifThen(
      kb.lt(at, spec.isPaged ? kb.c(kMostPosition) : kb.c(spec.blocks)), [&] {
        Value count = spec.causal ? kb.min(kb.add(at, 1), blocks) : blocks;
        kb.ifElse(
            keepsAll,
            [&] {
              kb.forLoop(kb.c(0), count, kb.c(1), [&](Value block) {
                kb.store(arith::ConstantOp::create(kb, kb.getI32IntegerAttr(1)),
                         place(flags, block, 1));
              });
            },
            [&] { emitChoice(row, count); });
        spec.isPaged ? emitPageList(at, count) : emitList(at, count);
      });
}

/// Which of the blocks [0, count) the row keeps: those before which the ones of
/// more get less than the threshold says.
void BlockSelector::emitChoice(Value row, Value count) {
  Value share = place(shares, row, columns);
  Value own = kb.sub(count, 1);
  if (!spec.causal)
    own = kb.min(kb.add(kb.div(firstGroup, groups), row), own);
  Value all =
      kb.forLoop(kb.c(0), count, kb.c(1), ValueRange{number(0)},
                 [&](Value block, ValueRange carried) {
                   Value at = kb.gep(share, kb.f32(), block);
                   Value value = kb.load(kb.f32(), at);
                   kb.store(value, place(ranks, block, 1));
                   return SmallVector<Value>{kb.addF(carried[0], value)};
                 })[0];
  Value limit = kb.broadcast(kb.mulF(all, threshold));
  // Before all others.
  for (Value first : {kb.c(0), own})
    kb.store(number(std::numeric_limits<float>::max()), place(ranks, first, 1));
  Type i32 = kb.getI32Type();
  auto narrow = [&](Value v) -> Value {
    return kb.broadcast(arith::TruncIOp::create(kb, i32, v), lanes);
  };
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  auto ints = VectorType::get({lanes}, i32);
  Value numbersOf = arith::ConstantOp::create(
      kb, DenseElementsAttr::get(ints, ArrayRef<int32_t>(numbers)));
  kb.forLoop(kb.c(0), count, kb.c(lanes), [&](Value block) {
    Value rank = loadVec(place(ranks, block, 1));
    Value lane = arith::AddIOp::create(kb, numbersOf, narrow(block));
    Value before = kb.forLoop(
        kb.c(0), count, kb.c(1), ValueRange{kb.splat(0)},
        [&](Value other, ValueRange carried) {
          Value otherRank =
              kb.broadcast(kb.load(kb.f32(), place(ranks, other, 1)));
          Value value =
              kb.broadcast(kb.load(kb.f32(), kb.gep(share, kb.f32(), other)));
          Value isMore = arith::CmpFOp::create(kb, arith::CmpFPredicate::OGT,
                                               otherRank, rank);
          Value isEqual = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ,
                                                otherRank, rank);
          Value isLower = arith::CmpIOp::create(kb, arith::CmpIPredicate::slt,
                                                narrow(other), lane);
          Value is = arith::OrIOp::create(kb, isMore, isBoth(isEqual, isLower));
          return SmallVector<Value>{
              kb.select(is, kb.addF(carried[0], value), carried[0])};
        })[0];
    Value kept =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OLT, before, limit);
    kb.store(arith::ExtUIOp::create(kb, ints, kept), place(flags, block, 1), 4);
  });
  for (Value first : {kb.c(0), own})
    kb.store(arith::ConstantOp::create(kb, kb.getI32IntegerAttr(1)),
             place(flags, first, 1));
}

static Value narrow(KernelBuilder &kb, Value v) {
  return arith::TruncIOp::create(kb, kb.getI32Type(), v);
}

void BlockSelector::emitList(Value row, Value count) {
  Type i32 = kb.getI32Type();
  Value rows = kb.address(spec.resultOperand(), {batch, head});
  Value first = kb.mul(row, blocks);
  // The row behind writes its own begin, the same number.
  Value isNone = kb.lt(blocks, allBlocks);
  if (spec.causal)
    isNone = kb.lt(kb.c(1), int64_t(0));
  for (int64_t i : {0, 1}) {
    Value begins = kb.mul(kb.add(row, i), blocks);
    kb.store(narrow(kb, kb.select(isNone, kb.c(0), begins)),
             kb.gep(rows, i32, kb.add(row, i)));
  }
  Value entries = kb.gep(rows, i32, kb.add(first, spec.blocks + 1));
  auto write = [&](Value at, Value value) {
    kb.store(narrow(kb, value), kb.gep(entries, i32, at));
  };
  Value kept =
      kb.forLoop(kb.c(0), count, kb.c(1), ValueRange{kb.c(0)},
                 [&](Value block, ValueRange carried) {
                   // Over one that is not kept the next is written.
                   write(carried[0], block);
                   Value flag = arith::ExtUIOp::create(
                       kb, kb.i64(), kb.load(i32, place(flags, block, 1)));
                   return SmallVector<Value>{kb.add(carried[0], flag)};
                 })[0];
  kb.forLoop(kept, blocks, kb.c(1),
             [&](Value at) { write(at, kb.add(allBlocks, at)); });
}

void BlockSelector::emitPageList(Value row, Value count) {
  Type i32 = kb.getI32Type();
  Value index = kb.add(kb.div(firstToken, kListedPage), kb.mul(run, 2));
  index = kb.add(index, kb.sub(row, kb.div(begin, kListedPage)));
  Value list =
      kb.address(spec.resultOperand(), {head, kb.mul(index, spec.blocks + 1)});
  kb.ifElse(
      kb.lt(row, spec.blocks),
      [&] {
        Value kept = kb.forLoop(
            kb.c(0), count, kb.c(1), ValueRange{kb.c(0)},
            [&](Value block, ValueRange carried) {
              kb.store(kb.load(i32, kb.gep(table, i32, block)),
                       kb.gep(list, i32, kb.add(carried[0], 1)));
              Value flag = arith::ExtUIOp::create(
                  kb, kb.i64(), kb.load(i32, place(flags, block, 1)));
              return SmallVector<Value>{kb.add(carried[0], flag)};
            })[0];
        kb.store(narrow(kb, kept), list);
      },
      [&] { kb.store(narrow(kb, kb.c(0)), list); });
}
