//===- EmitSelectPages.cpp - The parts of pages that a token reads --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a part of a page may hold is guessed of its keys' means and ranges, in
// units of a score; the weights that these guesses would have are added up over
// the heads of a key head. The threshold of the highest ones is found bit by
// bit: as integers, floats that are not negative have the order of their
// values, and any NaN has a place as well, so that whatever the keys are, as
// many parts as there should be are taken, each once.
//
// Guesses and scores lie behind the header of the result's row. The list grows
// over guesses that are not needed any more.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPages.h"
#include "passes/Codegen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace ferrite::cpu;

namespace {
constexpr int64_t kPage = 64, kPart = kPage / kPageParts, kSelecting = 16,
                  kHeader = 16;
/// Parts that are always kept: the first ones; and the fewest of all.
constexpr int64_t kSinkParts = 4, kLeast = 12;
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr unsigned kQuery = 0, kSummaries = 1, kBegins = 2, kContexts = 3,
                   kVisible = 4, kTables = 5, kResult = 6;
/// How much of half a range is added to a mean: 1 would bound the score, as
/// Quest does. passes/Sparsity/README.md has what was measured.
constexpr double kRangeShare = 0.5;
constexpr double kLog2e = 1.4426950408889634;

class SelectEmitter {
public:
  SelectEmitter(KernelBuilder &kb, const SelectPagesSpec &spec)
      : kb(kb), spec(spec), heads(kb.operand(kQuery).shape[2]),
        keyHeads(kb.operand(kSummaries).shape[1]), group(heads / keyHeads),
        depth(kb.operand(kQuery).shape[3]), lanes(kb.lanes()),
        padded(llvm::alignTo(depth, 16)) {}

  void emit() {
    kb.requireScratch(2 * padded * 4);
    kb.defineUnits([&] { return kb.mul(kb.dim(kContexts, 0), keyHeads); });
    kb.defineBody([&] {
      kb.forUnits([&](Value unit) {
        run = kb.div(unit, keyHeads);
        keyHead = kb.rem(unit, keyHeads);
        firstToken = loadInt(kBegins, {run});
        length = kb.sub(loadInt(kBegins, {kb.add(run, 1)}), firstToken);
        context = loadInt(kContexts, {run});
        table = kb.address(kTables, {run});
        Value count = kb.select(kb.le(length, kSelecting), length, kb.c(0));
        kb.forLoop(kb.c(0), count, kb.c(1),
                   [&](Value token) { emitToken(token); });
      });
    });
  }

private:
  Type i32() { return kb.getI32Type(); }
  VectorType ints() { return kb.vec(i32()); }
  Value loadInt(unsigned operand, ValueRange at) {
    return arith::ExtSIOp::create(kb, kb.i64(),
                                  kb.load(i32(), kb.address(operand, at)));
  }
  Value narrow(Value v) { return arith::TruncIOp::create(kb, i32(), v); }

  /// Where the token lies among those that it sees, and whether it names none:
  /// as of paged attention.
  std::pair<Value, Value> indexOf(Value token) {
    Value bits =
        kb.load(kb.i64(), kb.address(kVisible, {kb.add(firstToken, token)}));
    Value shift = kb.sub(kb.c(64), length); // of 1 to 16 tokens
    bits = arith::AndIOp::create(kb, bits,
                                 arith::ShRUIOp::create(kb, kb.c(-1), shift));
    Value before = kb.sub(arith::ShLIOp::create(kb, kb.c(1), token), 1);
    Value seen = LLVM::CtPopOp::create(kb, kb.i64(),
                                       arith::AndIOp::create(kb, bits, before));
    Value causal = kb.eq(bits, int64_t(0));
    return {kb.add(context, kb.select(causal, token, seen)), causal};
  }

  void emitToken(Value token) {
    auto [index, causal] = indexOf(token);
    Value first = kb.c(0);
    if (spec.left >= 0)
      first = kb.div(kb.max(kb.sub(index, spec.left), 0), kPart);
    Value own =
        kb.mul(kb.div(kb.select(causal, index, context), kPage), kPageParts);
    Value end = kb.mul(kb.ceilDiv(kb.add(context, length), kPage), kPageParts);
    Value count = kb.max(kb.sub(own, first), 0);
    Value seen = kb.sub(kb.add(kb.div(index, kPart), 1), first);
    Value most = kb.sub(mostOf(seen), kb.sub(seen, count));
    Value keep = kb.min(count, kb.max(most, kSinkParts));
    Value to =
        kb.address(kResult, {kb.add(kb.mul(run, kSelecting), token), keyHead});
    kb.store(narrow(kb.add(first, kb.sub(count, keep))), to);
    Value list = kb.gep(to, i32(), kHeader);
    kb.ifElse(
        kb.lt(keep, count),
        [&] {
          Value scores =
              kb.gep(list, i32(), kb.mul(kb.dim(kTables, 1), kPageParts));
          emitScores(token, first, count, list, scores);
          // More than these are kept, or the same, of more than there are.
          for (int64_t i = 0; i < kSinkParts; ++i)
            kb.store(arith::ConstantOp::create(
                         kb, kb.getI32IntegerAttr(int32_t(kMost))),
                     kb.gep(scores, i32(), i));
          kb.callPart("highest", {table, first, count, keep, list, scores},
                      [&](ValueRange p) { emitHighest(p); });
        },
        [&] { copy(first, count, list); });
    Value rest = kb.max(own, first);
    Value all = kb.sub(end, rest);
    list = kb.gep(list, i32(), keep);
    copy(rest, all, list);
    Value last = kb.gep(list, i32(), kb.sub(all, 1));
    for (int64_t i = 1; i < kPageParts; ++i)
      kb.store(kb.load(i32(), last), kb.gep(last, i32(), i));
  }

  /// How many of so many parts are kept.
  Value mostOf(Value seen) {
    if (spec.tokens > 0)
      return kb.c(
          std::max<int64_t>(llvm::divideCeil(spec.tokens, kPart), kLeast));
    Value share = arith::MulFOp::create(
        kb, arith::SIToFPOp::create(kb, kb.f32(), seen), kb.cf(spec.share));
    Value whole = arith::FPToSIOp::create(kb, kb.i64(), share);
    Value isLess = arith::CmpFOp::create(
        kb, arith::CmpFPredicate::OLT,
        arith::SIToFPOp::create(kb, kb.f32(), whole), share);
    whole = kb.add(whole, arith::ExtUIOp::create(kb, kb.i64(), isLess));
    return kb.max(whole, kLeast);
  }

  Value pageOf(Value pages, Value part) {
    Value at = kb.gep(pages, i32(), kb.div(part, kPageParts));
    return arith::ExtSIOp::create(kb, kb.i64(), kb.load(i32(), at));
  }
  /// Part `part` of the sequence as lists name it.
  Value entryOf(Value pages, Value part) {
    return narrow(kb.add(kb.mul(pageOf(pages, part), kPageParts),
                         kb.rem(part, kPageParts)));
  }
  void copy(Value first, Value count, Value to) {
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value i) {
      kb.store(entryOf(table, kb.add(first, i)), kb.gep(to, i32(), i));
    });
  }

  void emitScores(Value token, Value first, Value count, Value guesses,
                  Value scores) {
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value part) {
      kb.store(kb.cf(0), kb.gep(scores, kb.f32(), part));
    });
    Value pool = kb.address(kSummaries, {kb.c(0), keyHead});
    kb.forLoop(kb.c(0), kb.c(group), kb.c(1), [&](Value g) {
      Value head = kb.add(kb.mul(keyHead, group), g);
      emitFactors(
          kb.address(kQuery, {kb.c(0), kb.add(firstToken, token), head}));
      kb.callPart("guess",
                  {table, first, count, pool, kb.stride(kSummaries, 0),
                   kb.scratch(), guesses},
                  [&](ValueRange p) { emitGuesses(p); });
      kb.callPart("weigh", {guesses, count, scores},
                  [&](ValueRange p) { emitWeights(p); });
    });
  }

  /// What means and ranges are multiplied by: the query, and its sizes; in
  /// powers of two, as weights are made.
  void emitFactors(Value query) {
    Type storage = kb.operand(kQuery).elementType;
    kb.forLoop(kb.c(0), kb.c(padded), kb.c(lanes), [&](Value d) {
      Value count = kb.max(kb.min(kb.sub(kb.c(depth), d), lanes), 0);
      Value q =
          kb.loadF32(kb.gep(query, storage, d), storage, kb.tailMask(count));
      q = kb.mulF(q, kb.splat(spec.scale * kLog2e));
      Value size = kb.mulF(kb.maxF(q, kb.negF(q)), kb.splat(kRangeShare));
      Value to = kb.gep(kb.scratch(), kb.f32(), d);
      kb.store(q, to, 4);
      kb.store(size, kb.gep(to, kb.f32(), padded), 4);
    });
  }

  /// Of each part, one after the other.
  void emitGuesses(ValueRange p) {
    Value pages = p[0], factors = p[5], guesses = p[6];
    kb.forLoop(kb.c(0), p[2], kb.c(1), [&](Value i) {
      Value part = kb.add(p[1], i);
      Value from = kb.gep(p[3], kb.f32(), kb.mul(pageOf(pages, part), p[4]));
      from =
          kb.gep(from, kb.f32(), kb.mul(kb.rem(part, kPageParts), 2 * depth));
      auto step = [&](Value d, Value mask, ValueRange sums) {
        SmallVector<Value> next(sums);
        for (int64_t kind = 0; kind < 2; ++kind) {
          Value at = kb.gep(from, kb.f32(), kb.add(d, kind * depth));
          Value x = mask ? kb.loadMasked(kb.vec(), at, mask, {}, 4)
                         : kb.load(kb.vec(), at, 4);
          Value by = kb.gep(factors, kb.f32(), kb.add(d, kind * padded));
          next[kind] = kb.fma(x, kb.load(kb.vec(), by, 4), next[kind]);
        }
        return next;
      };
      int64_t whole = depth / lanes * lanes;
      SmallVector<Value> sums(2, kb.splat(0));
      // Written out where half of the registers can keep all factors.
      int64_t unrolled = kb.level().registers / 4 * lanes;
      for (int64_t d = 0; d < whole && whole <= unrolled; d += lanes)
        sums = step(kb.c(d), Value(), sums);
      if (whole > unrolled)
        sums = kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes), sums,
                          [&](Value d, ValueRange carried) {
                            return step(d, Value(), carried);
                          });
      if (whole < depth)
        sums = step(kb.c(whole), kb.tailMask(kb.c(depth - whole)), sums);
      kb.store(kb.reduceAdd(kb.addF(sums[0], sums[1])),
               kb.gep(guesses, kb.f32(), i));
    });
  }

  /// Guesses to weights, whose sum is 1, and these to the scores.
  void emitWeights(ValueRange p) {
    auto forParts = [&](Value start, double rest,
                        function_ref<Value(Value, Value, Value, Value)> next) {
      return kb.forLoop(
          kb.c(0), p[1], kb.c(lanes), ValueRange{start},
          [&](Value at, ValueRange carried) {
            Value mask = kb.tailMask(kb.min(kb.sub(p[1], at), lanes));
            Value x = kb.loadMasked(kb.vec(), kb.gep(p[0], kb.f32(), at), mask,
                                    kb.splat(rest), 4);
            return SmallVector<Value>{next(carried[0], x, at, mask)};
          })[0];
    };
    double none = -std::numeric_limits<double>::infinity();
    Value top = kb.broadcast(kb.reduceMax(
        forParts(kb.splat(none), none, [&](Value so, Value x, Value, Value) {
          return kb.maxF(x, so);
        })));
    Value sum = kb.reduceAdd(forParts(
        kb.splat(0), none, [&](Value so, Value x, Value at, Value mask) {
          Value weight = emitSoftmaxExp2(kb, kb.getLoc(), kb.subF(x, top),
                                         kb.level().isAvx512());
          kb.storeMasked(weight, kb.gep(p[0], kb.f32(), at), mask, 4);
          return kb.addF(so, weight);
        }));
    Value inverse = kb.broadcast(kb.divF(kb.cf(1), sum));
    forParts(kb.splat(0), 0, [&](Value so, Value x, Value at, Value mask) {
      Value to = kb.gep(p[2], kb.f32(), at);
      Value score = kb.loadMasked(kb.vec(), to, mask, {}, 4);
      kb.storeMasked(kb.fma(x, inverse, score), to, mask, 4);
      return so;
    });
  }

  /// Those of the highest scores, the first of equal ones.
  void emitHighest(ValueRange p) {
    Value pages = p[0], first = p[1], count = p[2], keep = p[3], list = p[4],
          scores = p[5];
    auto splat = [&](int32_t value) {
      return arith::ConstantOp::create(kb,
                                       DenseElementsAttr::get(ints(), value));
    };
    Value ones = splat(1), zeros = splat(0);
    auto atLeast = [&](Value threshold) -> Value {
      Value by = kb.broadcast(narrow(threshold), lanes);
      Value sums = kb.forLoop(
          kb.c(0), count, kb.c(lanes), ValueRange{zeros},
          [&](Value at, ValueRange carried) {
            Value mask = kb.tailMask(kb.min(kb.sub(count, at), lanes));
            Value x = kb.loadMasked(ints(), kb.gep(scores, i32(), at), mask,
                                    zeros, 4);
            Value is =
                arith::CmpIOp::create(kb, arith::CmpIPredicate::sge, x, by);
            is = arith::AndIOp::create(kb, is, mask);
            return SmallVector<Value>{arith::AddIOp::create(
                kb, carried[0], kb.select(is, ones, zeros))};
          })[0];
      return arith::ExtSIOp::create(
          kb, kb.i64(),
          vector::ReductionOp::create(kb, vector::CombiningKind::ADD, sums));
    };
    // The highest threshold that as many reach as are kept, from the sign on.
    constexpr int64_t least = std::numeric_limits<int32_t>::min();
    Value threshold =
        kb.select(kb.le(keep, atLeast(kb.c(0))), kb.c(0), kb.c(least));
    threshold = kb.forLoop(
        kb.c(0), kb.c(31), kb.c(1), ValueRange{threshold},
        [&](Value bit, ValueRange carried) {
          Value one = arith::ShLIOp::create(kb, kb.c(1), kb.sub(kb.c(30), bit));
          Value next = kb.add(carried[0], one);
          return SmallVector<Value>{
              kb.select(kb.le(keep, atLeast(next)), next, carried[0])};
        })[0];
    // Of those at the threshold as many as are missing.
    Value above = atLeast(kb.min(kb.add(threshold, 1), kMost));
    above = kb.select(kb.eq(threshold, kMost), kb.c(0), above);
    kb.forLoop(kb.c(0), count, kb.c(1),
               ValueRange{kb.c(0), kb.sub(keep, above)},
               [&](Value i, ValueRange carried) {
                 Value score = arith::ExtSIOp::create(
                     kb, kb.i64(), kb.load(i32(), kb.gep(scores, i32(), i)));
                 Value one = kb.c(1), zero = kb.c(0);
                 Value equal = kb.select(kb.eq(score, threshold), one, zero);
                 equal = kb.select(kb.lt(zero, carried[1]), equal, zero);
                 Value taken = kb.select(kb.lt(threshold, score), one, equal);
                 // One that is not taken is written over.
                 kb.store(entryOf(pages, kb.add(first, i)),
                          kb.gep(list, i32(), carried[0]));
                 return SmallVector<Value>{kb.add(carried[0], taken),
                                           kb.sub(carried[1], equal)};
               });
  }

  KernelBuilder &kb;
  const SelectPagesSpec &spec;
  int64_t heads, keyHeads, group, depth, lanes, padded;
  Value run, keyHead, firstToken, length, context, table;
};
} // namespace

LogicalResult ferrite::cpu::emitSelectPages(KernelBuilder &kb,
                                            const SelectPagesSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "page selection kernel: " << why;
  };
  if (kb.layout().operands.size() != 7)
    return fail("expects queries, summaries, begins, contexts, bits, page "
                "tables and the result");
  const OperandLayout &q = kb.operand(kQuery), &of = kb.operand(kSummaries);
  if (q.shape.size() != 4 || ShapedType::isDynamic(q.shape[2]) ||
      ShapedType::isDynamic(q.shape[3]) || q.strides[3] != 1)
    return fail("expects queries of [1, tokens, heads, size] with static heads "
                "and size of stride 1");
  if (of.shape.size() != 4 || !of.elementType.isF32() ||
      ShapedType::isDynamic(of.shape[1]) || q.shape[2] % of.shape[1] != 0 ||
      of.strides[3] != 1 || of.strides[2] != of.shape[3] ||
      of.shape[3] * kPage < 2 * kPageParts * q.shape[3])
    return fail("expects summaries of f32 that fit the queries");
  for (unsigned i : {kBegins, kContexts, kTables, kResult})
    if (!kb.operand(i).elementType.isInteger(32) ||
        kb.operand(i).strides.back() != 1)
      return fail("expects begins, contexts, page tables and lists as adjacent "
                  "i32");
  if (!kb.operand(kVisible).elementType.isInteger(64))
    return fail("expects the bits of tokens as i64");
  if ((spec.share > 0) == (spec.tokens > 0) || spec.share > 1)
    return fail("expects a share in (0, 1] or a number of tokens");
  SelectEmitter(kb, spec).emit();
  return success();
}
