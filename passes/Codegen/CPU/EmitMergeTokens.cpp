//===- EmitMergeTokens.cpp - Kernels that make tokens one -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Sums go by position, so bits depend on no other sequence, and on no thread.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitMergeTokens.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace ferrite::cpu;

static Value loadNumber(KernelBuilder &kb, Value pointer) {
  return arith::ExtSIOp::create(kb, kb.i64(),
                                kb.load(kb.getI32Type(), pointer));
}

static void storeNumber(KernelBuilder &kb, Value number, Value pointer) {
  kb.store(arith::TruncIOp::create(kb, kb.getI32Type(), number), pointer);
}

static LogicalResult fail(KernelBuilder &kb, const Twine &why) {
  return emitError(kb.getLoc()) << "kernel that merges tokens: " << why;
}

/// Whether operand `i` has that rank and is adjacent from dim `from` on.
static bool isPacked(KernelBuilder &kb, unsigned i, unsigned rank,
                     unsigned from = 0) {
  const OperandLayout &layout = kb.operand(i);
  if (layout.shape.size() != rank || layout.strides.back() != 1)
    return false;
  int64_t size = 1;
  for (unsigned d = rank; d-- > from;) {
    // A size that comes with the call comes with its stride.
    if (size != ShapedType::kDynamic && layout.strides[d] != size &&
        layout.strides[d] != ShapedType::kDynamic)
      return false;
    size =
        size == ShapedType::kDynamic || layout.shape[d] == ShapedType::kDynamic
            ? ShapedType::kDynamic
            : size * layout.shape[d];
  }
  return true;
}

/// Runs body(b, i) for each unit, of as many tokens as operand `of` has.
static void forTokens(KernelBuilder &kb, unsigned of,
                      llvm::function_ref<void(Value, Value)> body) {
  kb.defineUnits([&] { return kb.mul(kb.dim(of, 0), kb.dim(of, 1)); });
  kb.defineBody([&] {
    kb.forUnits([&](Value unit) {
      Value tokens = kb.dim(of, 1);
      body(kb.div(unit, tokens), kb.rem(unit, tokens));
    });
  });
}

//===--- token_metric -----------------------------------------------------===//

LogicalResult ferrite::cpu::emitTokenMetric(KernelBuilder &kb) {
  if (kb.layout().operands.size() != 2 || kb.rank(0) != 4 ||
      kb.operand(0).strides[3] != 1 || !isPacked(kb, 1, 3, 2) ||
      kb.operand(0).shape[2] <= 0 || kb.operand(0).shape[3] <= 0)
    return fail(kb, "expects keys of [batch, tokens, heads, size]");
  Type storage = kb.operand(0).elementType;
  int64_t heads = kb.operand(0).shape[2], size = kb.operand(0).shape[3];
  forTokens(kb, 1, [&](Value b, Value i) {
    Value to = kb.address(1, {b, i});
    // Lanes behind the end are zeros, in the sums too.
    Value squares = kb.splat(0);
    auto part = [&](Value at, Value mask, Value before) {
      Value sum = kb.splat(0);
      for (int64_t h = 0; h < heads; ++h) {
        Value from = kb.gep(kb.address(0, {b, i, kb.c(h)}), storage, at);
        sum = kb.addF(sum, kb.loadF32(from, storage, mask));
      }
      kb.storeF32(sum, kb.gep(to, kb.f32(), at), kb.f32(), mask);
      return kb.fma(sum, sum, before);
    };
    int64_t whole = size / kb.lanes() * kb.lanes();
    squares = kb.forLoop(kb.c(0), kb.c(whole), kb.c(kb.lanes()), {squares},
                         [&](Value at, ValueRange sums) -> SmallVector<Value> {
                           return {part(at, Value(), sums[0])};
                         })[0];
    if (whole < size)
      squares = part(kb.c(whole), kb.tailMask(kb.c(size - whole)), squares);
    Value norm = kb.reduceAdd(squares);
    Value isSome =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OGT, norm, kb.cf(0));
    Value length = math::SqrtOp::create(kb, norm);
    Value divisor = kb.broadcast(kb.select(isSome, length, kb.cf(1)));
    kb.forVectors(kb.c(size), [&](Value at, Value mask) {
      Value place = kb.gep(to, kb.f32(), at);
      kb.storeF32(kb.divF(kb.loadF32(place, kb.f32(), mask), divisor), place,
                  kb.f32(), mask);
    });
  });
  return success();
}

//===--- match_tokens -----------------------------------------------------===//

namespace {
/// The scores of those that may go are kept where their numbers will be; which
/// of the others a token goes to is found again for those that go.
class MatchEmitter {
public:
  MatchEmitter(KernelBuilder &kb, int64_t removed, int64_t fixed)
      : kb(kb), removed(removed), firstSource((fixed + 1) / 2),
        firstTarget(fixed / 2), size(kb.operand(0).shape[2]) {}

  void emit() {
    kb.defineUnits([&] { return kb.dim(0, 0); });
    kb.defineBody([&] {
      kb.forUnits([&](Value b) {
        kb.callPart("sequence",
                    {kb.address(0, {b}), kb.address(1, {b}), kb.dim(0, 1)},
                    [&](ValueRange p) { emitSequence(p[0], p[1], p[2]); });
      });
    });
  }

private:
  struct Best {
    Value score, target;
  };
  Value more(Value a, Value b) {
    return arith::CmpFOp::create(kb, arith::CmpFPredicate::OGT, a, b);
  }
  Value same(Value a, Value b) {
    return arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, a, b);
  }
  Value both(Value a, Value b) { return arith::AndIOp::create(kb, a, b); }
  Value either(Value a, Value b) { return arith::OrIOp::create(kb, a, b); }

  /// Number `i` of those of even (odd: 1) positions.
  Value numberAt(Value numbers, Value i, int64_t odd) {
    return kb.gep(numbers, kb.getI32Type(), kb.add(kb.mul(i, 2), odd));
  }
  Value rowAt(Value metric, Value i, int64_t odd) {
    return kb.gep(metric, kb.f32(), kb.mul(kb.add(kb.mul(i, 2), odd), size));
  }
  Value scoreAt(Value numbers, Value i) {
    return kb.load(kb.f32(), numberAt(numbers, i, 0));
  }

  Value product(Value a, Value b) {
    int64_t whole = size / kb.lanes() * kb.lanes();
    auto part = [&](Value at, Value mask, Value sum) {
      return kb.fma(kb.loadF32(kb.gep(a, kb.f32(), at), kb.f32(), mask),
                    kb.loadF32(kb.gep(b, kb.f32(), at), kb.f32(), mask), sum);
    };
    Value sum =
        kb.forLoop(kb.c(0), kb.c(whole), kb.c(kb.lanes()), {kb.splat(0)},
                   [&](Value at, ValueRange sums) -> SmallVector<Value> {
                     return {part(at, Value(), sums[0])};
                   })[0];
    if (whole < size)
      sum = part(kb.c(whole), kb.tailMask(kb.c(size - whole)), sum);
    return kb.reduceAdd(sum);
  }

  Best bestOf(Value metric, Value source, Value targets) {
    Value row = rowAt(metric, source, 0);
    SmallVector<Value> best = kb.forLoop(
        kb.c(firstTarget), targets, kb.c(1),
        {kb.cf(-std::numeric_limits<double>::infinity()), kb.c(firstTarget)},
        [&](Value target, ValueRange so) -> SmallVector<Value> {
          Value score = product(row, rowAt(metric, target, 1));
          Value better = more(score, so[0]);
          return {kb.select(better, score, so[0]),
                  kb.select(better, target, so[1])};
        });
    return {best[0], best[1]};
  }

  void emitSequence(Value metric, Value numbers, Value tokens) {
    Value targets = kb.div(tokens, 2), sources = kb.sub(tokens, targets);
    Value first = kb.c(firstSource), one = kb.c(1);
    kb.forLoop(first, sources, one, [&](Value i) {
      kb.store(bestOf(metric, i, targets).score, numberAt(numbers, i, 0), 4);
    });
    // The last that goes: removed - 1 come before it.
    SmallVector<Value> last = kb.forLoop(
        first, sources, one,
        {kb.cf(std::numeric_limits<double>::infinity()), kb.c(-1)},
        [&](Value i, ValueRange so) -> SmallVector<Value> {
          Value score = scoreAt(numbers, i);
          Value before = kb.forLoop(
              first, sources, one, {kb.c(0)},
              [&](Value j, ValueRange count) -> SmallVector<Value> {
                Value other = scoreAt(numbers, j);
                Value leads = either(more(other, score),
                                     both(same(other, score), kb.lt(j, i)));
                return {kb.add(count[0], kb.select(leads, kb.c(1), kb.c(0)))};
              })[0];
          Value is = kb.eq(before, removed - 1);
          return {kb.select(is, score, so[0]), kb.select(is, i, so[1])};
        });
    Value stay = kb.max(kb.sub(sources, removed), 0);
    // Those of even positions, in order: a score is read before its place is
    // written, and no other is read again.
    kb.forLoop(kb.c(0), kb.min(first, sources), one,
               [&](Value i) { storeNumber(kb, i, numberAt(numbers, i, 0)); });
    kb.forLoop(first, sources, one, {first},
               [&](Value i, ValueRange next) -> SmallVector<Value> {
                 Value score = scoreAt(numbers, i);
                 Value goes =
                     either(more(score, last[0]),
                            both(same(score, last[0]), kb.le(i, last[1])));
                 Value number = kb.ifElse(
                     goes, {kb.i64()},
                     [&]() -> SmallVector<Value> {
                       return {kb.add(stay, bestOf(metric, i, targets).target)};
                     },
                     [&]() -> SmallVector<Value> { return {next[0]}; })[0];
                 storeNumber(kb, number, numberAt(numbers, i, 0));
                 return {kb.select(goes, next[0], kb.add(next[0], 1))};
               });
    kb.forLoop(kb.c(0), targets, one, [&](Value j) {
      storeNumber(kb, kb.add(stay, j), numberAt(numbers, j, 1));
    });
  }

  KernelBuilder &kb;
  int64_t removed, firstSource, firstTarget, size;
};
} // namespace

LogicalResult ferrite::cpu::emitMatchTokens(KernelBuilder &kb, int64_t removed,
                                            int64_t fixed) {
  if (kb.layout().operands.size() != 2 || !isPacked(kb, 0, 3, 1) ||
      !isPacked(kb, 1, 2, 1) || kb.operand(0).shape[2] <= 0 ||
      !kb.operand(0).elementType.isF32() ||
      !kb.operand(1).elementType.isInteger(32) || removed < 1 || fixed < 0)
    return fail(kb, "expects adjacent rows and numbers of tokens");
  MatchEmitter(kb, removed, fixed).emit();
  return success();
}

//===--- merge_tokens -----------------------------------------------------===//

LogicalResult ferrite::cpu::emitMergeTokens(KernelBuilder &kb, bool hasSizes,
                                            bool sum) {
  unsigned result = 2 + hasSizes;
  if (kb.layout().operands.size() != result + 1 || kb.rank(0) != 3 ||
      kb.operand(0).strides[2] != 1 || !isPacked(kb, 1, 2, 1) ||
      (hasSizes && !isPacked(kb, 2, 2, 1)) || !isPacked(kb, result, 3, 2) ||
      kb.operand(0).shape[2] <= 0)
    return fail(kb, "expects rows, their numbers and sizes");
  Type storage = kb.operand(0).elementType;
  int64_t size = kb.operand(0).shape[2];
  // A row in f32.
  kb.requireScratch((size + kb.lanes()) * 4);
  forTokens(kb, result, [&](Value b, Value o) {
    Value row = kb.scratch();
    auto at = [&](Value c) { return kb.gep(row, kb.f32(), c); };
    kb.forVectors(kb.c(size), [&](Value c, Value mask) {
      kb.storeF32(kb.splat(0), at(c), kb.f32(), mask);
    });
    Value weight = kb.forLoop(
        kb.c(0), kb.dim(0, 1), kb.c(1), {kb.cf(0)},
        [&](Value i, ValueRange so) -> SmallVector<Value> {
          Value is = kb.eq(loadNumber(kb, kb.address(1, {b, i})), o);
          return kb.ifElse(
              is, {kb.f32()},
              [&]() -> SmallVector<Value> {
                Value w = hasSizes ? kb.load(kb.f32(), kb.address(2, {b, i}))
                                   : kb.cf(1);
                Value from = kb.address(0, {b, i});
                kb.forVectors(kb.c(size), [&](Value c, Value mask) {
                  Value x = kb.loadF32(kb.gep(from, storage, c), storage, mask);
                  Value sum = kb.loadF32(at(c), kb.f32(), mask);
                  kb.storeF32(kb.fma(kb.broadcast(w), x, sum), at(c), kb.f32(),
                              mask);
                });
                return {kb.addF(so[0], w)};
              },
              [&]() -> SmallVector<Value> { return {so[0]}; });
        })[0];
    Value to = kb.address(result, {b, o});
    kb.forVectors(kb.c(size), [&](Value c, Value mask) {
      Value total = kb.loadF32(at(c), kb.f32(), mask);
      kb.storeF32(sum ? total : kb.divF(total, kb.broadcast(weight)),
                  kb.gep(to, storage, c), storage, mask);
    });
  });
  return success();
}

LogicalResult ferrite::cpu::emitUnmergeTokens(KernelBuilder &kb) {
  if (kb.layout().operands.size() != 3 || kb.rank(0) != 3 ||
      kb.operand(0).strides[2] != 1 || !isPacked(kb, 1, 2, 1) ||
      !isPacked(kb, 2, 3, 2) || kb.operand(0).shape[2] <= 0)
    return fail(kb, "expects rows and their numbers");
  // Copied as bits.
  unsigned bits = kb.operand(0).elementType.getIntOrFloatBitWidth();
  Type word = kb.getIntegerType(bits);
  int64_t size = kb.operand(0).shape[2];
  forTokens(kb, 2, [&](Value b, Value i) {
    Value from = loadNumber(kb, kb.address(1, {b, i}));
    from = kb.max(kb.min(from, kb.sub(kb.dim(0, 1), 1)), 0);
    Value source = kb.address(0, {b, from}), to = kb.address(2, {b, i});
    kb.forVectors(kb.c(size), [&](Value c, Value mask) {
      kb.storeMasked(kb.loadMasked(kb.vec(word), kb.gep(source, word, c), mask,
                                   Value(), bits / 8),
                     kb.gep(to, word, c), mask, bits / 8);
    });
  });
  return success();
}
