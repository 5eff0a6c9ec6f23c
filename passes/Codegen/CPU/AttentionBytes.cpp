//===- AttentionBytes.cpp - Scores of queries and keys as bytes -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// As SageAttention (Zhang et al., arXiv 2410.02367): keys less a vector that
// they have in common become bytes, which a product adds up exactly, while the
// softmax and the weights' product with the values stay what they are.
//
//   k'[j] = k[j] - c                          c: the center of the block
//   q[i] ~ sq[i] * bq[i]    k'[j] ~ sk[j] * bk[j]     bytes of -127 to 127
//   q[i] . k[j] ~ sq[i] * sk[j] * (bq[i] . bk[j]) + q[i] . c
//
// The last term, in f32, would vanish in a softmax; with it scores are what
// sinks, caps and fills expect.
//
// A row must have the same bits in any batch, so scales are of one row of q or
// k and the center is of keys that do not come and go with padding: of the
// first 16 of the block that length and mask leave; under a window, which may
// hide those, of the 16 before the block; of segments, none.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"
#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Keys of a center. The mean of 16 is off by a fourth of what keys differ by,
/// which adds 3 % to it.
static constexpr int64_t kCenterKeys = 16;
/// What is added to scores is above this, or says that a key is masked.
static constexpr double kMasked = -1000;
static constexpr double kMost = 127;

unsigned AttentionEmitter::scoreRows(unsigned columns) const {
  if (!spec.byteScores)
    return kb.level().rows;
  // Even, or the rows of a group would not end with tiles of two.
  return tileRows(kb.level(), columns, /*isBytes=*/true) / 2 * 2;
}

AttentionEmitter::ByteRow AttentionEmitter::emitByteRow(Value from,
                                                        Type storage, Value to,
                                                        Value center,
                                                        bool isUnsigned) {
  Type i32 = kb.getI32Type(), i8 = kb.getI8Type();
  auto words = kb.vec(i32);
  auto ints = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(words, llvm::APInt(32, value)));
  };
  int64_t bytes = ScratchPlan::byteDepth(depth), whole = depth / lanes * lanes;
  auto load = [&](Value at, Value mask) {
    Value x = kb.loadF32(kb.gep(from, storage, at), storage, mask);
    if (!center)
      return x;
    // Zeros behind the depth, here as there.
    return kb.subF(x, loadVec(kb.gep(center, kb.f32(), at)));
  };
  // Registers of the row, the last one with zeros behind the depth.
  auto forRow = [&](Value begin,
                    function_ref<Value(Value at, Value x, Value sum)> body) {
    auto carried = kb.forLoop(
        kb.c(0), kb.c(whole), kb.c(lanes), ValueRange{begin},
        [&](Value at, ValueRange before) {
          return SmallVector<Value>{body(at, load(at, {}), before[0])};
        });
    Value sum = carried[0];
    for (int64_t at = whole; at < bytes; at += lanes) {
      Value x = kb.splat(0);
      if (at < depth)
        x = load(kb.c(at), kb.tailMask(kb.c(depth - at)));
      sum = body(kb.c(at), x, sum);
    }
    return sum;
  };
  // Bits of magnitudes are ordered as they are; a NaN is the largest.
  Value bits = forRow(ints(0), [&](Value, Value x, Value most) -> Value {
    Value magnitude =
        arith::AndIOp::create(kb, kb.bitcast(x, words), ints(0x7fffffff));
    return arith::MaxSIOp::create(kb, most, magnitude);
  });
  Value most =
      vector::ReductionOp::create(kb, vector::CombiningKind::MAXSI, bits);
  Value none = arith::CmpIOp::create(
      kb, arith::CmpIPredicate::eq, most,
      arith::ConstantOp::create(kb, kb.getI32IntegerAttr(0)));
  most = kb.bitcast(most, kb.f32());
  Value factor =
      kb.broadcast(kb.select(none, kb.cf(0), kb.divF(kb.cf(kMost), most)));
  // Adding 1.5 * 2^23 rounds to a whole number, to even, in the low bits.
  constexpr int64_t kMagicBits = 0x4b400000;
  Value magic = kb.splat(12582912.0);
  Value sums = forRow(ints(0), [&](Value at, Value x, Value sum) -> Value {
    Value quotient =
        kb.minF(kb.maxF(kb.mulF(x, factor), kb.splat(-kMost)), kb.splat(kMost));
    Value q = arith::SubIOp::create(
        kb, kb.bitcast(kb.addF(quotient, magic), words), ints(kMagicBits));
    sum = arith::AddIOp::create(kb, sum, q);
    if (isUnsigned)
      q = arith::AddIOp::create(kb, q, ints(128));
    kb.store(arith::TruncIOp::create(kb, kb.vec(i8), q), kb.gep(to, i8, at), 1);
    return sum;
  });
  return {kb.divF(most, kb.cf(kMost)),
          vector::ReductionOp::create(kb, vector::CombiningKind::ADD, sums)};
}

void AttentionEmitter::emitQueryBytes(Value row, Value from) {
  ByteRow bytes = emitByteRow(from, kb.operand(0).elementType,
                              place(plan.queries, row, plan.queryStride),
                              Value(), raisesQueries());
  kb.store(bytes.scale, place(plan.queryScales, row, 1));
}

/// The center of the block, zeros behind the depth.
void AttentionEmitter::emitCenter() {
  Type storage = kb.operand(1).elementType;
  auto emitMean = [&](Value first, Value count, bool isPast) {
    // How many of the keys there are; of those before a block, all.
    Value inverse = kb.cf(1.0 / kCenterKeys);
    auto keeps = [&](Value key) {
      return arith::CmpFOp::create(
          kb, arith::CmpFPredicate::OGT,
          kb.load(kb.f32(), place(plan.keyAddends, key, 1)), kb.cf(kMasked));
    };
    if (!isPast) {
      Value kept =
          kb.forLoop(kb.c(0), count, kb.c(1), ValueRange{kb.cf(0)},
                     [&](Value key, ValueRange before) {
                       Value one = kb.select(keeps(key), kb.cf(1), kb.cf(0));
                       return SmallVector<Value>{kb.addF(before[0], one)};
                     })[0];
      inverse = kb.divF(kb.cf(1), kb.maxF(kept, kb.cf(1)));
    }
    kb.forVectors(kb.c(depth), [&](Value at, Value mask) {
      Value sum = kb.forLoop(
          kb.c(0), count, kb.c(1), ValueRange{kb.splat(0)},
          [&](Value key, ValueRange before) {
            Value row = kb.address(1, {batch, kb.add(first, key), keyHead});
            Value x = kb.loadF32(kb.gep(row, storage, at), storage, mask);
            Value next = kb.addF(before[0], x);
            // Not a product with 0: what is masked may be anything.
            if (!isPast)
              next = kb.select(keeps(key), next, before[0]);
            return SmallVector<Value>{next};
          })[0];
      storeVec(kb.mulF(sum, kb.broadcast(inverse)),
               kb.gep(place(plan.center), kb.f32(), at));
    });
  };
  if (!hasWindow())
    return emitMean(firstKey, kb.min(blockKeys, kCenterKeys),
                    /*isPast=*/false);
  Value isPast = kb.lt(kb.c(0), firstKey);
  kb.ifElse(
      isPast,
      [&] {
        emitMean(kb.sub(firstKey, kCenterKeys), kb.c(kCenterKeys),
                 /*isPast=*/true);
      },
      [&] {
        for (int64_t at = 0; at < plan.queryStride; at += lanes)
          storeVec(kb.splat(0), place(plan.center + at));
      });
}

/// Keys [lower, upper) of the block as panels of bytes.
void AttentionEmitter::emitKeyBytes(Value lower, Value upper) {
  Type storage = kb.operand(1).elementType, i32 = kb.getI32Type();
  int64_t words = ScratchPlan::byteDepth(depth) / 4;
  Value center;
  if (!spec.hasSegments) {
    emitCenter();
    center = place(plan.center);
  }
  kb.forLoop(lower, upper, kb.c(1), [&](Value key) {
    auto row = [&](Value key) {
      return kb.address(1, {batch, kb.add(firstKey, key), keyHead});
    };
    emitPrefetchRow(kb, row(kb.add(key, kRowsAhead)), storage, depth);
    ByteRow bytes =
        emitByteRow(row(key), storage, place(plan.keyBytes, key, words), center,
                    /*isUnsigned=*/false);
    kb.store(bytes.scale, place(plan.keyScales, key, 1));
    Value less = arith::ConstantOp::create(kb, kb.getI32IntegerAttr(-128));
    kb.store(arith::MulIOp::create(kb, bytes.sum, less),
             place(plan.keyStarts, key, 1));
  });
  // Lanes of the last panel that are no keys: their scores must be numbers.
  Value none = arith::ConstantOp::create(kb, kb.getZeroAttr(kb.vec(i32)));
  kb.forLoop(kb.c(0), kb.c(panelWidth()), kb.c(lanes), [&](Value i) {
    Value key = kb.add(upper, i);
    storeVec(kb.splat(0), place(plan.keyScales, key, 1));
    kb.store(none, place(plan.keyStarts, key, 1), 4);
  });
  KeyPanels panels{place(plan.keys), panelWidth(), words};
  panels.base =
      kb.gep(panels.base, kb.f32(), kb.mul(lower, panels.paddedDepth()));
  // Four bytes of a row go where a float would.
  emitPackKeys(kb, panels, place(plan.keyBytes, lower, words), kb.f32(),
               kb.c(words), words, kb.sub(upper, lower));
}

/// Queries of the group times the center.
void AttentionEmitter::emitCenters(const Group &group) {
  if (spec.hasSegments)
    return;
  Type storage = kb.operand(0).elementType;
  kb.forLoop(kb.c(0), group.count, kb.c(1), [&](Value i) {
    Value row = kb.add(group.first, i);
    Value from = kb.address(0, {batch, queryOf(row), headOf(row)});
    Value sum = kb.splat(0);
    for (int64_t at = 0; at < depth; at += lanes) {
      Value mask = depth - at < lanes ? kb.tailMask(kb.c(depth - at)) : Value();
      Value x = kb.loadF32(kb.gep(from, storage, at), storage, mask);
      sum = kb.fma(x, loadVec(place(plan.center + at)), sum);
    }
    storeVec(sum, place(plan.sums, i, lanes));
  });
  kb.forLoop(kb.c(0), group.count, kb.c(lanes), [&](Value i) {
    storeVec(reduceRows(place(plan.sums, i, lanes),
                        [&](Value a, Value b) { return kb.addF(a, b); }),
             place(plan.centers, kb.add(group.first, i), 1));
  });
}

void AttentionEmitter::emitByteSums(MutableArrayRef<Value> sums, Value row,
                                    Value key, unsigned columns) {
  SmallVector<Value> scales;
  for (unsigned c = 0; c < columns; ++c)
    scales.push_back(loadVec(place(plan.keyScales, kb.add(key, c * lanes), 1)));
  for (unsigned r = 0; r < sums.size() / columns; ++r) {
    Value at = kb.add(row, r);
    Value scale =
        kb.broadcast(kb.load(kb.f32(), place(plan.queryScales, at, 1)));
    Value center = kb.splat(0);
    if (!spec.hasSegments)
      center = kb.broadcast(kb.load(kb.f32(), place(plan.centers, at, 1)));
    for (unsigned c = 0; c < columns; ++c) {
      Value &sum = sums[r * columns + c];
      sum = arith::SIToFPOp::create(kb, kb.vec(), sum);
      sum = kb.fma(sum, kb.mulF(scale, scales[c]), center);
    }
  }
}
