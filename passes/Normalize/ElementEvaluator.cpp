//===- ElementEvaluator.cpp - Elementwise ops on small constants ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Normalize/ConstantEvaluator.h"

#include "llvm/ADT/TypeSwitch.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace ferrite;

static double unary(Operation *op, double x, bool &known) {
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case([&](AbsOp) { return std::abs(x); })
      .Case([&](NegOp) { return -x; })
      .Case([&](SignOp) { return x > 0   ? 1.0
                                 : x < 0 ? -1.0
                                         : x; })
      .Case([&](FloorOp) { return std::floor(x); })
      .Case([&](CeilOp) { return std::ceil(x); })
      .Case([&](RoundOp) { return std::nearbyint(x); })
      .Case([&](SqrtOp) { return std::sqrt(x); })
      .Case([&](ReciprocalOp) { return 1.0 / x; })
      .Case([&](ExpOp) { return std::exp(x); })
      .Case([&](LogOp) { return std::log(x); })
      .Case([&](ErfOp) { return std::erf(x); })
      .Case([&](TanhOp) { return std::tanh(x); })
      .Case([&](SigmoidOp) { return 1.0 / (1.0 + std::exp(-x)); })
      .Case([&](ReluOp) { return x < 0 ? 0.0 : x; })
      .Case([&](SinOp) { return std::sin(x); })
      .Case([&](CosOp) { return std::cos(x); })
      .Default([&](Operation *) {
        known = false;
        return 0.0;
      });
}

static double binary(Operation *op, double x, double y, bool &known) {
  auto nanWins = [&](double result) {
    return std::isnan(x) || std::isnan(y)
               ? std::numeric_limits<double>::quiet_NaN()
               : result;
  };
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case([&](AddOp) { return x + y; })
      .Case([&](SubOp) { return x - y; })
      .Case([&](MulOp) { return x * y; })
      .Case([&](DivOp) { return x / y; })
      .Case([&](PowOp) { return std::pow(x, y); })
      .Case([&](MaxOp) { return nanWins(std::max(x, y)); })
      .Case([&](MinOp) { return nanWins(std::min(x, y)); })
      .Default([&](Operation *) {
        known = false;
        return 0.0;
      });
}

static int64_t integerOp(Operation *op, ArrayRef<int64_t> v, bool &known) {
  // In unsigned arithmetic: overflow wraps, as the types do.
  auto wrap = [](uint64_t value) { return static_cast<int64_t>(value); };
  uint64_t x = v[0], y = v.size() > 1 ? v[1] : 0;
  return llvm::TypeSwitch<Operation *, int64_t>(op)
      .Case([&](AbsOp) { return v[0] < 0 ? wrap(0 - x) : v[0]; })
      .Case([&](NegOp) { return wrap(0 - x); })
      .Case([&](SignOp) { return int64_t(v[0] > 0) - int64_t(v[0] < 0); })
      .Case([&](ReluOp) { return std::max<int64_t>(v[0], 0); })
      .Case([&](NotOp) { return int64_t(v[0] == 0); })
      .Case([&](AddOp) { return wrap(x + y); })
      .Case([&](SubOp) { return wrap(x - y); })
      .Case([&](MulOp) { return wrap(x * y); })
      .Case([&](DivOp) {
        known &= v[1] != 0 && v[1] != -1;
        return known ? v[0] / v[1] : 0;
      })
      .Case([&](MaxOp) { return std::max(v[0], v[1]); })
      .Case([&](MinOp) { return std::min(v[0], v[1]); })
      .Case([&](AndOp) { return v[0] & v[1]; })
      .Case([&](OrOp) { return v[0] | v[1]; })
      .Case([&](XorOp) { return v[0] ^ v[1]; })
      .Default([&](Operation *) {
        known = false;
        return int64_t(0);
      });
}

template <typename T>
static bool compareValues(Predicate predicate, T x, T y) {
  switch (predicate) {
  case Predicate::Eq:
    return x == y;
  case Predicate::Ne:
    return x != y;
  case Predicate::Lt:
    return x < y;
  case Predicate::Le:
    return x <= y;
  case Predicate::Gt:
    return x > y;
  case Predicate::Ge:
    return x >= y;
  }
  llvm_unreachable("every predicate compares");
}

/// One element of a cast; a float outside of the integer's range has no defined
/// result and is left to run time.
static void castElement(const ConstantTensor &from, int64_t i,
                        ConstantTensor &to, bool &known) {
  Type type = to.type.getElementType();
  if (to.isFloat()) {
    bool isBig =
        !from.isFloat() && from.type.getElementType().isUnsignedInteger();
    double value =
        from.isFloat() ? from.floats[i]
        : isBig ? static_cast<double>(static_cast<uint64_t>(from.integers[i]))
                : static_cast<double>(from.integers[i]);
    to.floats.push_back(roundTo(value, type));
    return;
  }
  if (!from.isFloat()) {
    to.integers.push_back(wrapTo(from.integers[i], type));
    return;
  }
  double value = from.floats[i];
  if (type.isInteger(1)) {
    to.integers.push_back(value != 0);
    return;
  }
  known &= std::abs(value) < 9.2e18; // also false for a NaN
  int64_t whole = known ? static_cast<int64_t>(value) : 0;
  known &= wrapTo(whole, type) == whole;
  to.integers.push_back(whole);
}

void ferrite::evaluateElement(Operation *op, ArrayRef<ConstantTensor> in,
                              ArrayRef<int64_t> at, ConstantTensor &out,
                              bool &known) {
  SmallVector<int64_t> offsets;
  for (const ConstantTensor &tensor : in)
    offsets.push_back(offsetOf(at, tensor.type.getShape()));
  if (isa<CastOp>(op))
    return castElement(in[0], offsets[0], out, known);
  if (isa<WhereOp>(op)) {
    bool first = in[0].integers[offsets[0]] != 0;
    return out.append(in[first ? 1 : 2], offsets[first ? 1 : 2]);
  }
  if (isa<IsNaNOp>(op))
    return out.integers.push_back(std::isnan(in[0].floats[offsets[0]]));
  if (auto compare = dyn_cast<CompareOp>(op)) {
    bool holds =
        in[0].isFloat()
            ? compareValues(compare.getPredicate(), in[0].floats[offsets[0]],
                            in[1].floats[offsets[1]])
            : compareValues(compare.getPredicate(), in[0].integers[offsets[0]],
                            in[1].integers[offsets[1]]);
    return out.integers.push_back(holds);
  }
  Type type = out.type.getElementType();
  if (!out.isFloat()) {
    SmallVector<int64_t> values;
    for (auto [tensor, offset] : llvm::zip_equal(in, offsets))
      values.push_back(tensor.integers[offset]);
    return out.integers.push_back(wrapTo(integerOp(op, values, known), type));
  }
  double value = in.size() == 1 ? unary(op, in[0].floats[offsets[0]], known)
                                : binary(op, in[0].floats[offsets[0]],
                                         in[1].floats[offsets[1]], known);
  out.floats.push_back(roundTo(value, type));
}
