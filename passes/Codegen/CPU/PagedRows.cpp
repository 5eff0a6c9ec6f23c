//===- PagedRows.cpp - From scores of a row to its weights ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What depends on the row: addends, the keys that it sees, the maximum, the
// weights and their sum. One part, whatever the row is of.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
/// Parameters of the part for a row. Keys count from the block's first.
enum RowParameter {
  kScores,
  kLower,
  kUpper,   ///< a multiple of a page
  kLowEnd,  ///< keys before it are seen, but for the window
  kBits,    ///< of tokens from kOwn on that are seen besides; 0: none
  kOwn,     ///< the first key of the run in this block
  kOwnSize, ///< how many of them are in this block
  kBegin,   ///< of the window
  kEnd,     ///< of the part of the sequence that there is
  kIndex,   ///< of the row's token
  kHighest,
  kTotal,
  kSlope, ///< where it is
  kBias,  ///< the head's row of it
  kBiasSize,
};
} // namespace

void PagedEmitter::emitAddends(ValueRange p) {
  Type i32 = kb.getI32Type();
  auto ints = VectorType::get({lanes}, i32);
  auto splat = [&](Value v) {
    return kb.broadcast(arith::TruncIOp::create(kb, i32, v), lanes);
  };
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  Value lane = arith::ConstantOp::create(
      kb, DenseElementsAttr::get(ints, ArrayRef<int32_t>(numbers)));
  Value slope;
  if (spec.hasSlopes)
    slope = kb.broadcast(
        kb.loadScalarF32(p[kSlope], elementOf(spec.slopesOperand())));
  kb.forLoop(p[kLower], p[kUpper], kb.c(lanes), [&](Value key) {
    Value at = kb.gep(p[kScores], kb.f32(), key);
    Value score = loadVec(at);
    // j - i
    Value distance =
        arith::AddIOp::create(kb, lane, splat(kb.sub(key, p[kIndex])));
    if (spec.hasSlopes)
      score =
          kb.fma(arith::SIToFPOp::create(kb, kb.vec(), distance), slope, score);
    if (spec.hasBias) {
      Value zero = splat(kb.c(0));
      Value back = arith::SubIOp::create(kb, zero, distance);
      back = arith::MaxSIOp::create(kb, back, zero);
      back = arith::MinSIOp::create(kb, back, splat(kb.sub(p[kBiasSize], 1)));
      auto pointers = VectorType::get({lanes}, kb.ptrType());
      Value where = LLVM::GEPOp::create(kb, pointers, kb.f32(), p[kBias],
                                        ArrayRef<LLVM::GEPArg>{back});
      Value bias = LLVM::masked_gather::create(
          kb, kb.vec(), where, kb.tailMask(kb.c(lanes)), ValueRange(),
          kb.getI32IntegerAttr(4));
      score = kb.addF(score, bias);
    }
    storeVec(score, at);
  });
}

Value PagedEmitter::emitCompact(ValueRange p) {
  Value own = kb.gep(p[kScores], kb.f32(), p[kOwn]);
  return kb.forLoop(kb.c(0), p[kOwnSize], kb.c(1), ValueRange{kb.c(0)},
                    [&](Value at, ValueRange carried) {
                      // Over one that is not seen the next is written.
                      kb.store(kb.load(kb.f32(), kb.gep(own, kb.f32(), at)),
                               kb.gep(own, kb.f32(), carried[0]));
                      Value bit = arith::AndIOp::create(
                          kb, arith::ShRUIOp::create(kb, p[kBits], at),
                          kb.c(1));
                      return SmallVector<Value>{kb.add(carried[0], bit)};
                    })[0];
}

void PagedEmitter::emitSpread(ValueRange p, Value count) {
  Value own = kb.gep(p[kScores], kb.f32(), p[kOwn]);
  kb.forLoop(
      kb.c(0), p[kOwnSize], kb.c(1), ValueRange{count},
      [&](Value i, ValueRange carried) {
        Value at = kb.sub(kb.sub(p[kOwnSize], 1), i);
        Value bit = arith::AndIOp::create(
            kb, arith::ShRUIOp::create(kb, p[kBits], at), kb.c(1));
        Value from = kb.sub(carried[0], bit);
        // Of one that is not seen, or lies before the window, anything
        // may be read: it counts as 0.
        Value weight =
            kb.load(kb.f32(), kb.gep(own, kb.f32(), kb.min(from, at)));
        Value isIn =
            kb.select(kb.lt(kb.add(p[kOwn], from), p[kLower]), kb.c(0), bit);
        Value seen = kb.eq(isIn, int64_t(1));
        kb.store(kb.select(seen, weight, number(0)), kb.gep(own, kb.f32(), at));
        return SmallVector<Value>{from};
      });
}

/// -inf for what the row does not see: only the pages at its ends hold some.
void PagedEmitter::emitMask(ValueRange p, Value lowEnd) {
  auto store = [&](Value key, function_ref<Value(Value score)> change) {
    Value at = kb.gep(p[kScores], kb.f32(), key);
    storeVec(change(loadVec(at)), at);
  };
  Value from = clamp(lowEnd, p[kLower], p[kUpper]);
  from = kb.mul(kb.div(from, lanes), lanes);
  kb.forLoop(from, p[kUpper], kb.c(lanes), [&](Value key) {
    Value mask = kb.tailMask(clamp(kb.sub(lowEnd, key), kb.c(0), kb.c(lanes)));
    store(key, [&](Value score) { return kb.select(mask, score, negative()); });
  });
  if (!hasBegin())
    return;
  Value to = clamp(kb.add(p[kBegin], lanes - 1), p[kLower], p[kUpper]);
  to = kb.mul(kb.div(to, lanes), lanes);
  kb.forLoop(p[kLower], to, kb.c(lanes), [&](Value key) {
    Value before = kb.tailMask(kb.sub(p[kBegin], key));
    store(key,
          [&](Value score) { return kb.select(before, negative(), score); });
  });
}

void PagedEmitter::emitRow(Value row, Value scores, Value block, Value lower,
                           Value upper, Value highestAt, Value totalAt) {
  // Own keys of this block, of a row that names them (64 at most).
  Value bits = visibleOf(row);
  Value causal = kb.eq(bits, int64_t(0));
  Value lowEnd = context;
  if (!spec.cross)
    lowEnd = kb.select(causal, kb.add(indexOf(row), 1), context);
  Value before = clamp(kb.sub(block, context), kb.c(0), kb.c(64));
  Value end = kb.mul(kb.ceilDiv(upper, kPage), kPage);
  Value own = kb.max(kb.sub(context, block), 0);
  Value size = clamp(kb.sub(kb.min(length, 64), before), kb.c(0),
                     kb.max(kb.sub(end, own), 0));
  // Of a part behind a gap no row of a tree sees a key of its run.
  if (spec.gap > 0)
    size = kb.c(0);
  size = kb.select(causal, kb.c(0), size);
  // How far keys of this block move up, with the unseen ones of blocks before.
  Value isPast = kb.eq(before, int64_t(64));
  Value ofBefore = arith::AndIOp::create(
      kb, bits,
      kb.sub(arith::ShLIOp::create(kb, kb.c(1), kb.min(before, 63)), 1));
  Value shift = kb.sub(before, LLVM::CtPopOp::create(kb, kb.i64(), ofBefore));
  shift = kb.select(causal, kb.c(0), shift);
  Value left = arith::ShRUIOp::create(kb, bits, kb.min(before, 63));
  left = kb.select(isPast, kb.c(0), left);
  Value origin = kb.sub(block, shift);
  Value partEnd;
  if (hasPart()) {
    partEnd = lastEndOf(row, causal);
    if (spec.until > 0)
      partEnd = kb.min(partEnd, spec.until);
  }
  SmallVector<Value> arguments = {
      scores,
      lower,
      end,
      kb.sub(lowEnd, block),
      left,
      own,
      size,
      kb.sub(beginOf(row), origin),
      hasPart() ? kb.sub(partEnd, origin) : kb.c(0),
      kb.sub(indexOf(row), origin),
      highestAt,
      totalAt,
      spec.hasSlopes ? kb.address(spec.slopesOperand(), {headOf(row)}) : scores,
      spec.hasBias ? kb.address(spec.biasOperand(), {headOf(row)}) : scores,
      spec.hasBias ? kb.dim(spec.biasOperand(), 1) : kb.c(0)};
  kb.callPart("row", arguments, [&](ValueRange p) {
    Value count = kb.c(0), lowEnd = p[kLowEnd];
    if (!spec.cross) {
      count = emitCompact(p);
      lowEnd = kb.select(kb.eq(p[kOwnSize], int64_t(0)), lowEnd,
                         kb.add(p[kOwn], count));
    }
    if (hasPart())
      lowEnd = kb.min(lowEnd, p[kEnd]);
    if (spec.hasSlopes || spec.hasBias)
      emitAddends(p);
    emitMask(p, lowEnd);
    auto load = [&](Value key, int64_t ahead) {
      return loadVec(
          kb.gep(kb.gep(p[kScores], kb.f32(), key), kb.f32(), ahead));
    };
    // Four chains, in which no order matters.
    SmallVector<Value> high = kb.forLoop(
        p[kLower], p[kUpper], kb.c(kPage), SmallVector<Value>(4, negative()),
        [&](Value key, ValueRange carried) {
          SmallVector<Value> next(carried.begin(), carried.end());
          for (int64_t i = 0; i < kPage / lanes; ++i)
            next[i % 4] = kb.maxF(load(key, i * lanes), next[i % 4]);
          return next;
        });
    Value top = kb.reduceMax(
        kb.maxF(kb.maxF(high[0], high[1]), kb.maxF(high[2], high[3])));
    kb.store(top, p[kHighest]);
    // 0 for a row that sees none of the keys: its weights are then 0, not NaN.
    Value none =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, top,
                              number(-std::numeric_limits<float>::infinity()));
    Value maximum = kb.broadcast(kb.select(none, number(0), top));
    Value sum =
        kb.forLoop(p[kLower], p[kUpper], kb.c(lanes), ValueRange{kb.splat(0)},
                   [&](Value key, ValueRange carried) {
                     Value at = kb.gep(p[kScores], kb.f32(), key);
                     Value w = weight(loadVec(at), maximum);
                     storeVec(w, at);
                     return SmallVector<Value>{kb.addF(carried[0], w)};
                   })[0];
    kb.store(kb.reduceAdd(sum), p[kTotal]);
    if (!spec.cross)
      emitSpread(p, count);
  });
}
