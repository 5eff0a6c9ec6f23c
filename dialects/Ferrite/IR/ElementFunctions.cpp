//===- ElementFunctions.cpp - Elementwise ops, one element at a time ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each op is a function of doubles or of 64-bit integers, chosen once. Doubles
// have more than twice the digits of f32, f16 and bf16, so that one rounding
// gives the four operations and the square root of these types correctly.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"

#include "llvm/ADT/TypeSwitch.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace ferrite;

using FloatFunction = double (*)(double, double);
using IntegerFunction = int64_t (*)(int64_t, int64_t);

static double nanOr(double x, double y, double result) {
  return std::isnan(x) ? x : std::isnan(y) ? y : result;
}

/// The rest of a division that rounds down: it has the sign of y.
static double modulo(double x, double y) {
  double rest = std::fmod(x, y);
  if (rest == 0)
    return std::copysign(0.0, y);
  return (rest < 0) != (y < 0) ? rest + y : rest;
}

static double gelu(double x) { return 0.5 * x * (1 + std::erf(x * M_SQRT1_2)); }
static double geluTanh(double x) {
  double inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

#define FERRITE_FLOAT(OP, EXPR)                                                \
  .Case([](OP) -> FloatFunction {                                              \
    return [](double x, double y) -> double {                                  \
      (void)y;                                                                 \
      return EXPR;                                                             \
    };                                                                         \
  })
#define FERRITE_INTEGER(OP, EXPR)                                              \
  .Case([](OP) -> IntegerFunction {                                            \
    return [](int64_t x, int64_t y) -> int64_t {                               \
      auto u = static_cast<uint64_t>(x), v = static_cast<uint64_t>(y);         \
      (void)u, (void)v, (void)y;                                               \
      return static_cast<int64_t>(EXPR);                                       \
    };                                                                         \
  })

// clang-format off
static FloatFunction floatFunction(Operation *op) {
  return llvm::TypeSwitch<Operation *, FloatFunction>(op)
      FERRITE_FLOAT(AbsOp, std::abs(x))
      FERRITE_FLOAT(NegOp, -x)
      FERRITE_FLOAT(SignOp, x > 0 ? 1.0 : x < 0 ? -1.0 : x)
      FERRITE_FLOAT(FloorOp, std::floor(x))
      FERRITE_FLOAT(CeilOp, std::ceil(x))
      FERRITE_FLOAT(RoundOp, std::nearbyint(x))
      FERRITE_FLOAT(SqrtOp, std::sqrt(x))
      FERRITE_FLOAT(ReciprocalOp, 1.0 / x)
      FERRITE_FLOAT(ExpOp, std::exp(x))
      FERRITE_FLOAT(Expm1Op, std::expm1(x))
      FERRITE_FLOAT(LogOp, std::log(x))
      FERRITE_FLOAT(Log1pOp, std::log1p(x))
      FERRITE_FLOAT(ErfOp, std::erf(x))
      FERRITE_FLOAT(TanhOp, std::tanh(x))
      FERRITE_FLOAT(SigmoidOp, 1.0 / (1.0 + std::exp(-x)))
      FERRITE_FLOAT(ReluOp, x < 0 ? 0.0 : x)
      FERRITE_FLOAT(SinOp, std::sin(x))
      FERRITE_FLOAT(CosOp, std::cos(x))
      FERRITE_FLOAT(TanOp, std::tan(x))
      FERRITE_FLOAT(AsinOp, std::asin(x))
      FERRITE_FLOAT(AcosOp, std::acos(x))
      FERRITE_FLOAT(AtanOp, std::atan(x))
      FERRITE_FLOAT(SinhOp, std::sinh(x))
      FERRITE_FLOAT(CoshOp, std::cosh(x))
      FERRITE_FLOAT(AsinhOp, std::asinh(x))
      FERRITE_FLOAT(AcoshOp, std::acosh(x))
      FERRITE_FLOAT(AtanhOp, std::atanh(x))
      FERRITE_FLOAT(AddOp, x + y)
      FERRITE_FLOAT(SubOp, x - y)
      FERRITE_FLOAT(MulOp, x * y)
      FERRITE_FLOAT(DivOp, x / y)
      FERRITE_FLOAT(PowOp, std::pow(x, y))
      FERRITE_FLOAT(ModOp, modulo(x, y))
      FERRITE_FLOAT(RemOp, std::fmod(x, y))
      FERRITE_FLOAT(MaxOp, nanOr(x, y, std::max(x, y)))
      FERRITE_FLOAT(MinOp, nanOr(x, y, std::min(x, y)))
      .Case([](GeluOp op) -> FloatFunction {
        if (op.getApproximate() == Approximate::Tanh)
          return [](double x, double) { return geluTanh(x); };
        return [](double x, double) { return gelu(x); };
      })
      .Default([](Operation *) { return FloatFunction(); });
}

// What machines trap at divides by 1, as kernels do.
static int64_t quotient(int64_t x, int64_t y) {
  return y == 0 || (y == -1 && x == INT64_MIN) ? x : x / y;
}
static int64_t rest(int64_t x, int64_t y) {
  return y == 0 || y == -1 ? 0 : x % y;
}
static int64_t moduloOf(int64_t x, int64_t y) {
  int64_t r = rest(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
static uint64_t power(uint64_t base, uint64_t exponent) {
  uint64_t result = 1;
  for (; exponent; exponent >>= 1, base *= base)
    if (exponent & 1)
      result *= base;
  return result;
}
static int64_t signedPower(int64_t base, int64_t exponent) {
  if (exponent >= 0)
    return static_cast<int64_t>(power(base, exponent));
  return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
}

/// Overflow wraps, as in the types; shifts know their width apart.
static IntegerFunction signedFunction(Operation *op) {
  return llvm::TypeSwitch<Operation *, IntegerFunction>(op)
      FERRITE_INTEGER(AbsOp, x < 0 ? 0 - u : u)
      FERRITE_INTEGER(NegOp, 0 - u)
      FERRITE_INTEGER(SignOp, int64_t(x > 0) - int64_t(x < 0))
      FERRITE_INTEGER(ReluOp, std::max<int64_t>(x, 0))
      FERRITE_INTEGER(NotOp, ~x)
      FERRITE_INTEGER(AddOp, u + v)
      FERRITE_INTEGER(SubOp, u - v)
      FERRITE_INTEGER(MulOp, u * v)
      FERRITE_INTEGER(DivOp, quotient(x, y))
      FERRITE_INTEGER(ModOp, moduloOf(x, y))
      FERRITE_INTEGER(RemOp, rest(x, y))
      FERRITE_INTEGER(PowOp, signedPower(x, y))
      FERRITE_INTEGER(MaxOp, std::max(x, y))
      FERRITE_INTEGER(MinOp, std::min(x, y))
      FERRITE_INTEGER(AndOp, x & y)
      FERRITE_INTEGER(OrOp, x | y)
      FERRITE_INTEGER(XorOp, x ^ y)
      .Default([](Operation *) { return IntegerFunction(); });
}

/// Where unsigned types differ.
static IntegerFunction unsignedFunction(Operation *op) {
  return llvm::TypeSwitch<Operation *, IntegerFunction>(op)
      FERRITE_INTEGER(AbsOp, x)
      FERRITE_INTEGER(SignOp, x != 0)
      FERRITE_INTEGER(ReluOp, x)
      FERRITE_INTEGER(DivOp, v == 0 ? u : u / v)
      FERRITE_INTEGER(ModOp, v == 0 ? 0 : u % v)
      FERRITE_INTEGER(RemOp, v == 0 ? 0 : u % v)
      FERRITE_INTEGER(PowOp, power(u, v))
      FERRITE_INTEGER(MaxOp, std::max(u, v))
      FERRITE_INTEGER(MinOp, std::min(u, v))
      .Default([&](Operation *) { return signedFunction(op); });
}
// clang-format on

template <typename T>
static bool compares(Predicate predicate, T x, T y) {
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

namespace ferrite {
/// The functions that are neither of doubles nor of integers alone.
struct ElementFunctions {
  using F = ElementFunction;

  static Element cast(const F &f, const Element *in) {
    return castElement(f.operand, in[0], f.result, f.overflows, f.rounding);
  }
  static Element bitcast(const F &f, const Element *in) {
    return bitcastElement(f.operand, in[0], f.result);
  }
  static Element isNaN(const F &, const Element *in) {
    return {0, std::isnan(in[0].f)};
  }
  static Element where(const F &, const Element *in) {
    return in[0].i ? in[1] : in[2];
  }
  static Element compare(const F &f, const Element *in) {
    if (isFloat(f.operand))
      return {0, compares(f.predicate, in[0].f, in[1].f)};
    if (isUnsignedKind(f.operand))
      return {0, compares<uint64_t>(f.predicate, in[0].i, in[1].i)};
    return {0, compares(f.predicate, in[0].i, in[1].i)};
  }
  static Element shiftLeft(const F &f, const Element *in) {
    auto by = static_cast<uint64_t>(in[1].i);
    uint64_t bits =
        by >= uint64_t(bitsOf(f.result)) ? 0 : uint64_t(in[0].i) << by;
    return {0, wrapTo(f.result, static_cast<int64_t>(bits))};
  }
  static Element shiftRight(const F &f, const Element *in) {
    auto by = static_cast<uint64_t>(in[1].i);
    bool gone = by >= uint64_t(bitsOf(f.result));
    if (isUnsignedKind(f.result))
      return {0, gone ? 0 : static_cast<int64_t>(uint64_t(in[0].i) >> by)};
    return {0, gone ? (in[0].i < 0 ? -1 : 0) : in[0].i >> by};
  }

  static F make(Operation *op) {
    F f;
    std::optional<Kind> result = kindOf(getElementTypeOrSelf(op->getResult(0)));
    std::optional<Kind> operand =
        op->getNumOperands() == 0
            ? result
            : kindOf(getElementTypeOrSelf(op->getOperand(0)));
    if (!result || !operand)
      return f;
    f.result = *result;
    f.operand = *operand;
    if (auto castOp = dyn_cast<CastOp>(op)) {
      f.overflows = castOp.getOverflows();
      f.rounding = castOp.getRounding();
    }
    if (auto compareOp = dyn_cast<CompareOp>(op))
      f.predicate = compareOp.getPredicate();
    f.special = llvm::TypeSwitch<Operation *, F::Special>(op)
                    .Case([](CastOp) { return cast; })
                    .Case([](BitcastOp) { return bitcast; })
                    .Case([](IsNaNOp) { return isNaN; })
                    .Case([](WhereOp) { return where; })
                    .Case([](CompareOp) { return compare; })
                    .Case([](ShiftLeftOp) { return shiftLeft; })
                    .Case([](ShiftRightOp) { return shiftRight; })
                    .Default([](Operation *) { return F::Special(); });
    if (f.special || op->getNumOperands() > 2)
      return f;
    if (isFloat(*result))
      f.floating = floatFunction(op);
    else
      f.integer = *result == Kind::Bool && isa<NotOp>(op)
                      ? [](int64_t x, int64_t) { return int64_t(x == 0); }
                  : isUnsignedKind(*result) ? unsignedFunction(op)
                                            : signedFunction(op);
    return f;
  }
};
} // namespace ferrite

ElementFunction ElementFunction::of(Operation *op) {
  return op->getNumResults() == 1 && op->getNumOperands() >= 1
             ? ElementFunctions::make(op)
             : ElementFunction();
}

Element ElementFunction::operator()(const Element *in) const {
  if (special)
    return special(*this, in);
  // Unary functions ignore the second operand.
  if (floating)
    return {roundTo(result, floating(in[0].f, in[1].f)), 0};
  return {0, wrapTo(result, integer(in[0].i, in[1].i))};
}
