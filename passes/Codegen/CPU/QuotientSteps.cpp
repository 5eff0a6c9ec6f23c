//===- QuotientSteps.cpp - Division before rounding to bytes --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/QuotientSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/DenseMap.h"

#include <cmath>
#include <cstring>
#include <optional>

using namespace mlir;
using namespace ferrite::cpu;

/// Quotients are cut here, so that infinities stay what they are.
static constexpr float kCut = 8.0f * kMostSteps;

float ferrite::cpu::steppedQuotient(float x, float divisor) {
  float inverse = 1.0f / divisor, q = x * inverse;
  q = q > -kCut ? q : -kCut;
  q = q < kCut ? q : kCut;
  return std::fma(std::fma(-q, divisor, x), inverse, q);
}

/// Floats in their order; -0 and 0 are one apart.
static float floatOf(int64_t rank) {
  uint32_t bits =
      rank >= 0 ? uint32_t(rank) : 0x80000000u | uint32_t(-rank - 1);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

static int64_t rankOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits & 0x80000000u ? -int64_t(bits & 0x7fffffffu) - 1 : int64_t(bits);
}

/// The rank of the first float that rounds to at least `step`, if it is one
/// next to the middle of the steps.
template <typename Quotient>
static std::optional<int64_t> firstOf(int step, float divisor,
                                      Quotient quotient) {
  auto isAbove = [&](int64_t rank) {
    return std::nearbyint(quotient(floatOf(rank))) >= float(step);
  };
  int64_t middle = rankOf((float(step) - 0.5f) * divisor);
  int64_t least = middle - 8, most = middle + 8;
  if (isAbove(least) || !isAbove(most))
    return std::nullopt;
  while (least + 1 < most) {
    int64_t between = (least + most) / 2;
    (isAbove(between) ? most : least) = between;
  }
  return most;
}

bool ferrite::cpu::hasEqualSteps(float divisor) {
  // Then neither an inverse nor a remainder is denormal.
  if (!(divisor > 0x1p-60f && divisor < 0x1p60f))
    return false;
  for (int step = -kMostSteps + 1; step <= kMostSteps; ++step) {
    auto wanted = firstOf(step, divisor, [&](float x) { return x / divisor; });
    auto got = firstOf(step, divisor,
                       [&](float x) { return steppedQuotient(x, divisor); });
    if (!wanted || wanted != got)
      return false;
  }
  return true;
}

/// Whether what follows only asks which whole number it is, and of those
/// further from 0 than kMostSteps only the sign.
static bool isClamped(Value whole) {
  double shift = 0;
  APFloat number(0.0f);
  if (!whole.hasOneUse())
    return false;
  Operation *user = *whole.user_begin();
  if (auto add = dyn_cast<arith::AddFOp>(user)) {
    if (!matchPattern(add.getRhs(), m_ConstantFloat(&number)) ||
        !number.isInteger() || !add->hasOneUse())
      return false;
    shift = number.convertToDouble();
    user = *add->user_begin();
  }
  auto bounded = [&](Operation *op, double sign) {
    return op && op->hasOneUse() &&
           matchPattern(op->getOperand(1), m_ConstantFloat(&number)) &&
           sign * (number.convertToDouble() - shift) <= kMostSteps - 1;
  };
  auto least = dyn_cast<arith::MaxNumFOp>(user);
  if (!bounded(least, -1))
    return false;
  auto most = dyn_cast<arith::MinNumFOp>(*least->user_begin());
  return most && matchPattern(most.getRhs(), m_ConstantFloat(&number)) &&
         number.convertToDouble() - shift <= kMostSteps - 1;
}

/// hasEqualSteps(), which takes a quarter of a millisecond, for one divisor
/// that many bodies of many kernels have.
static bool isKnownEqual(float divisor) {
  static thread_local llvm::DenseMap<int64_t, bool> known;
  if (known.size() > 4096)
    known.clear();
  auto [place, isNew] = known.try_emplace(rankOf(divisor), false);
  if (isNew)
    place->second = hasEqualSteps(divisor);
  return place->second;
}

bool ferrite::cpu::isSteppedQuotient(Operation *op) {
  auto division = dyn_cast<arith::DivFOp>(op);
  APFloat divisor(0.0f);
  if (!division || !division.getType().isF32() || !division->hasOneUse() ||
      !matchPattern(division.getRhs(), m_ConstantFloat(&divisor)))
    return false;
  auto round = dyn_cast<math::RoundEvenOp>(*division->user_begin());
  return round && isClamped(round.getResult()) &&
         isKnownEqual(divisor.convertToFloat());
}

Value ferrite::cpu::emitQuotient(KernelBuilder &kb, Value x, float divisor) {
  Value s = kb.cf(divisor), inverse = kb.cf(1.0f / divisor);
  if (KernelBuilder::isVector(x)) {
    s = kb.broadcast(s, cast<VectorType>(x.getType()).getNumElements());
    inverse =
        kb.broadcast(inverse, cast<VectorType>(x.getType()).getNumElements());
  }
  auto constant = [&](double value) {
    Value scalar = kb.cf(value);
    return KernelBuilder::isVector(x)
               ? kb.broadcast(scalar,
                              cast<VectorType>(x.getType()).getNumElements())
               : scalar;
  };
  Value q = kb.mulF(x, inverse);
  q = kb.minF(kb.maxF(q, constant(-kCut)), constant(kCut));
  return kb.fma(kb.fma(kb.negF(q), s, x), inverse, q);
}
