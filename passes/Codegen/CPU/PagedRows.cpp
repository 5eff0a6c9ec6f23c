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
  kBits,    ///< of tokens from kContext on that are seen besides
  kContext, ///< the first key of the run
  kBegin,   ///< of the window
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

/// -inf for what the row does not see: only the pages at its ends hold some.
void PagedEmitter::emitMask(ValueRange p) {
  auto store = [&](Value key, function_ref<Value(Value score)> change) {
    Value at = kb.gep(p[kScores], kb.f32(), key);
    storeVec(change(loadVec(at)), at);
  };
  auto shifted = [&](auto op, Value bits, Value by) -> Value {
    return decltype(op)::create(kb, bits, clamp(by, kb.c(0), kb.c(63)));
  };
  Value from = clamp(p[kLowEnd], p[kLower], p[kUpper]);
  from = kb.mul(kb.div(from, lanes), lanes);
  kb.forLoop(from, p[kUpper], kb.c(lanes), [&](Value key) {
    Value low = clamp(kb.sub(p[kLowEnd], key), kb.c(0), kb.c(lanes));
    Value seen = kb.sub(shifted(arith::ShLIOp(), kb.c(1), low), 1);
    Value past = kb.sub(key, p[kContext]);
    Value bits = shifted(arith::ShRUIOp(), p[kBits], past);
    bits = kb.select(kb.lt(past, 64), bits, kb.c(0));
    bits = shifted(arith::ShLIOp(), bits, kb.sub(kb.c(0), past));
    bits = kb.select(kb.lt(kb.sub(kb.c(0), past), 64), bits, kb.c(0));
    seen = arith::OrIOp::create(kb, seen, bits);
    Value mask = LLVM::BitcastOp::create(
        kb, VectorType::get({lanes}, kb.getI1Type()),
        arith::TruncIOp::create(kb, kb.getIntegerType(lanes), seen));
    store(key, [&](Value score) { return kb.select(mask, score, negative()); });
  });
  if (spec.left < 0)
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
  Value bits = visibleOf(row);
  Value lowEnd = context;
  if (!spec.cross)
    lowEnd =
        kb.select(kb.eq(bits, int64_t(0)), kb.add(indexOf(row), 1), context);
  SmallVector<Value> arguments = {
      scores,
      lower,
      kb.mul(kb.ceilDiv(upper, kPage), kPage),
      kb.sub(lowEnd, block),
      bits,
      kb.sub(context, block),
      kb.sub(beginOf(row), block),
      kb.sub(indexOf(row), block),
      highestAt,
      totalAt,
      spec.hasSlopes ? kb.address(spec.slopesOperand(), {headOf(row)}) : scores,
      spec.hasBias ? kb.address(spec.biasOperand(), {headOf(row)}) : scores,
      spec.hasBias ? kb.dim(spec.biasOperand(), 1) : kb.c(0)};
  kb.callPart("row", arguments, [&](ValueRange p) {
    if (spec.hasSlopes || spec.hasBias)
      emitAddends(p);
    emitMask(p);
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
  });
}
