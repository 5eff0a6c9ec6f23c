//===- ScalarOps.cpp - arith and math, one function an op -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Scalar.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

using Step = Program::Step;

static Scalar number(const Step &s, double value) {
  return {roundTo(s.kind, value), 0};
}
static Scalar integer(const Step &s, int64_t value) {
  return {0, wrapTo(s.kind, value)};
}

/// The bits of the first operand's type, as an unsigned number.
static uint64_t unsignedOf(const Step &s, int64_t value) {
  int64_t bits = bitsOf(s.from);
  return static_cast<uint64_t>(value) & (~uint64_t(0) >> (64 - bits));
}

static int64_t signedOf(const Step &s, int64_t value) {
  return s.from == Kind::Bool ? -value
                              : value; // the one bit of an i1 is its sign
}

static bool compareFloats(arith::CmpFPredicate predicate, double x, double y) {
  using P = arith::CmpFPredicate;
  bool isUnordered = std::isnan(x) || std::isnan(y);
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::AlwaysTrue:
    return true;
  case P::ORD:
    return !isUnordered;
  case P::UNO:
    return isUnordered;
  case P::OEQ:
    return x == y;
  case P::OGT:
    return x > y;
  case P::OGE:
    return x >= y;
  case P::OLT:
    return x < y;
  case P::OLE:
    return x <= y;
  case P::ONE:
    return !isUnordered && x != y;
  case P::UEQ:
    return isUnordered || x == y;
  case P::UGT:
    return isUnordered || x > y;
  case P::UGE:
    return isUnordered || x >= y;
  case P::ULT:
    return isUnordered || x < y;
  case P::ULE:
    return isUnordered || x <= y;
  case P::UNE:
    return isUnordered || x != y;
  }
  llvm_unreachable("every predicate compares");
}

static Scalar compareIntegers(const Step &s, const Scalar *r) {
  using P = arith::CmpIPredicate;
  int64_t x = signedOf(s, r[s.operand[0]].i),
          y = signedOf(s, r[s.operand[1]].i);
  uint64_t u = unsignedOf(s, r[s.operand[0]].i),
           v = unsignedOf(s, r[s.operand[1]].i);
  switch (static_cast<P>(s.predicate)) {
  case P::eq:
    return {0, x == y};
  case P::ne:
    return {0, x != y};
  case P::slt:
    return {0, x < y};
  case P::sle:
    return {0, x <= y};
  case P::sgt:
    return {0, x > y};
  case P::sge:
    return {0, x >= y};
  case P::ult:
    return {0, u < v};
  case P::ule:
    return {0, u <= v};
  case P::ugt:
    return {0, u > v};
  case P::uge:
    return {0, u >= v};
  }
  llvm_unreachable("every predicate compares");
}

static Scalar bitcast(const Step &s, const Scalar *r) {
  char bytes[8];
  const Scalar &x = r[s.operand[0]];
  if (isFloat(s.from))
    writeFloat(s.from, bytes, 0, x.f);
  else
    writeInteger(s.from, bytes, 0, x.i);
  return isFloat(s.kind) ? Scalar{readFloat(s.kind, bytes, 0), 0}
                         : Scalar{0, readInteger(s.kind, bytes, 0)};
}

/// What a conversion cannot hold is the nearest end of the type; a NaN is 0.
static int64_t saturated(double value, int64_t bits, bool isSigned) {
  if (std::isnan(value))
    return 0;
  value = std::trunc(value);
  double most = std::ldexp(1.0, isSigned ? bits - 1 : bits),
         least = isSigned ? -most : 0;
  if (value >= most)
    return static_cast<int64_t>(~uint64_t(0) >> (64 - bits + isSigned));
  value = std::max(value, least);
  return isSigned ? static_cast<int64_t>(value)
                  : static_cast<int64_t>(static_cast<uint64_t>(value));
}

static double nanOr(double x, double y, double result) {
  return std::isnan(x) ? x : std::isnan(y) ? y : result;
}

// A function of the operands x, y, z: floats by `f`, integers by `i`.
#define FERRITE_FLOATS(OP, EXPR)                                               \
  .Case([](OP) -> Apply {                                                      \
    return [](const Step &s, const Scalar *r) {                                \
      double x = r[s.operand[0]].f, y = r[s.operand[1]].f,                     \
             z = r[s.operand[2]].f;                                            \
      (void)y, (void)z;                                                        \
      return number(s, EXPR);                                                  \
    };                                                                         \
  })
#define FERRITE_TESTS(OP, EXPR)                                                \
  .Case([](OP) -> Apply {                                                      \
    return [](const Step &s, const Scalar *r) {                                \
      double x = r[s.operand[0]].f;                                            \
      return Scalar{0, EXPR};                                                  \
    };                                                                         \
  })
#define FERRITE_INTEGERS(OP, EXPR)                                             \
  .Case([](OP) -> Apply {                                                      \
    return [](const Step &s, const Scalar *r) {                                \
      int64_t x = signedOf(s, r[s.operand[0]].i),                              \
              y = signedOf(s, r[s.operand[1]].i);                              \
      uint64_t u = unsignedOf(s, r[s.operand[0]].i),                           \
               v = unsignedOf(s, r[s.operand[1]].i);                           \
      (void)x, (void)y, (void)u, (void)v;                                      \
      return integer(s, static_cast<int64_t>(EXPR));                           \
    };                                                                         \
  })

// clang-format off
Apply ferrite::reference::floatStep(Operation *op) {
  return llvm::TypeSwitch<Operation *, Apply>(op)
      FERRITE_FLOATS(arith::AddFOp, x + y)
      FERRITE_FLOATS(arith::SubFOp, x - y)
      FERRITE_FLOATS(arith::MulFOp, x * y)
      FERRITE_FLOATS(arith::DivFOp, x / y)
      FERRITE_FLOATS(arith::RemFOp, std::fmod(x, y))
      FERRITE_FLOATS(arith::NegFOp, -x)
      FERRITE_FLOATS(arith::MaximumFOp, nanOr(x, y, std::max(x, y)))
      FERRITE_FLOATS(arith::MinimumFOp, nanOr(x, y, std::min(x, y)))
      FERRITE_FLOATS(arith::MaxNumFOp, std::fmax(x, y))
      FERRITE_FLOATS(arith::MinNumFOp, std::fmin(x, y))
      FERRITE_FLOATS(arith::ExtFOp, x)
      FERRITE_FLOATS(arith::TruncFOp, x)
      FERRITE_FLOATS(math::SqrtOp, std::sqrt(x))
      FERRITE_FLOATS(math::RsqrtOp, 1 / std::sqrt(x))
      FERRITE_FLOATS(math::FloorOp, std::floor(x))
      FERRITE_FLOATS(math::CeilOp, std::ceil(x))
      FERRITE_FLOATS(math::RoundEvenOp, std::nearbyint(x))
      FERRITE_FLOATS(math::RoundOp, std::round(x))
      FERRITE_FLOATS(math::TruncOp, std::trunc(x))
      FERRITE_FLOATS(math::AbsFOp, std::abs(x))
      FERRITE_FLOATS(math::CopySignOp, std::copysign(x, y))
      FERRITE_FLOATS(math::FmaOp, std::fma(x, y, z))
      FERRITE_FLOATS(math::ExpOp, std::exp(x))
      FERRITE_FLOATS(math::ExpM1Op, std::expm1(x))
      FERRITE_FLOATS(math::LogOp, std::log(x))
      FERRITE_FLOATS(math::Log1pOp, std::log1p(x))
      FERRITE_FLOATS(math::ErfOp, std::erf(x))
      FERRITE_FLOATS(math::TanhOp, std::tanh(x))
      FERRITE_FLOATS(math::SinOp, std::sin(x))
      FERRITE_FLOATS(math::CosOp, std::cos(x))
      FERRITE_FLOATS(math::TanOp, std::tan(x))
      FERRITE_FLOATS(math::AsinOp, std::asin(x))
      FERRITE_FLOATS(math::AcosOp, std::acos(x))
      FERRITE_FLOATS(math::AtanOp, std::atan(x))
      FERRITE_FLOATS(math::SinhOp, std::sinh(x))
      FERRITE_FLOATS(math::CoshOp, std::cosh(x))
      FERRITE_FLOATS(math::AsinhOp, std::asinh(x))
      FERRITE_FLOATS(math::AcoshOp, std::acosh(x))
      FERRITE_FLOATS(math::AtanhOp, std::atanh(x))
      FERRITE_FLOATS(math::PowFOp, std::pow(x, y))
      FERRITE_TESTS(math::IsNaNOp, std::isnan(x))
      FERRITE_TESTS(math::IsInfOp, std::isinf(x))
      FERRITE_TESTS(math::IsFiniteOp, std::isfinite(x))
      .Default([](Operation *) { return Apply(); });
}
// clang-format on

// What machines trap at divides by 1, as kernels do.
static int64_t quotient(int64_t x, int64_t y) {
  return y == 0 || (y == -1 && x == INT64_MIN) ? x : x / y;
}
static int64_t rest(int64_t x, int64_t y) {
  return y == 0 || y == -1 ? 0 : x % y;
}
static bool roundsDown(int64_t x, int64_t y) {
  return rest(x, y) != 0 && (x < 0) != (y < 0);
}
static bool roundsUp(int64_t x, int64_t y) {
  return rest(x, y) != 0 && (x < 0) == (y < 0);
}

static Scalar truncate(const Step &s, const Scalar *r) {
  int64_t x = r[s.operand[0]].i; // to i1: the lowest bit
  return integer(s, s.kind == Kind::Bool ? x & 1 : x);
}
static Scalar fromSigned(const Step &s, const Scalar *r) {
  return number(s, static_cast<double>(signedOf(s, r[s.operand[0]].i)));
}
static Scalar fromUnsigned(const Step &s, const Scalar *r) {
  return number(s, static_cast<double>(unsignedOf(s, r[s.operand[0]].i)));
}
static Scalar toSigned(const Step &s, const Scalar *r) {
  return integer(s, saturated(r[s.operand[0]].f, bitsOf(s.kind), true));
}
static Scalar toUnsigned(const Step &s, const Scalar *r) {
  return integer(s, saturated(r[s.operand[0]].f, bitsOf(s.kind), false));
}
static Scalar compareNumbers(const Step &s, const Scalar *r) {
  return {0, compareFloats(static_cast<arith::CmpFPredicate>(s.predicate),
                           r[s.operand[0]].f, r[s.operand[1]].f)};
}
static Scalar choose(const Step &s, const Scalar *r) {
  return r[s.operand[0]].i ? r[s.operand[1]] : r[s.operand[2]];
}
static Scalar constant(const Step &s, const Scalar *) { return s.constant; }

// clang-format off
Apply ferrite::reference::integerStep(Operation *op) {
  return llvm::TypeSwitch<Operation *, Apply>(op)
      FERRITE_INTEGERS(arith::AddIOp, u + v)
      FERRITE_INTEGERS(arith::SubIOp, u - v)
      FERRITE_INTEGERS(arith::MulIOp, u * v)
      FERRITE_INTEGERS(arith::DivSIOp, quotient(x, y))
      FERRITE_INTEGERS(arith::DivUIOp, u / (v == 0 ? 1 : v))
      FERRITE_INTEGERS(arith::RemSIOp, rest(x, y))
      FERRITE_INTEGERS(arith::RemUIOp, v == 0 ? 0 : u % v)
      FERRITE_INTEGERS(arith::FloorDivSIOp, quotient(x, y) - roundsDown(x, y))
      FERRITE_INTEGERS(arith::CeilDivSIOp, quotient(x, y) + roundsUp(x, y))
      FERRITE_INTEGERS(arith::MaxSIOp, std::max(x, y))
      FERRITE_INTEGERS(arith::MinSIOp, std::min(x, y))
      FERRITE_INTEGERS(arith::MaxUIOp, std::max(u, v))
      FERRITE_INTEGERS(arith::MinUIOp, std::min(u, v))
      FERRITE_INTEGERS(arith::AndIOp, u & v)
      FERRITE_INTEGERS(arith::OrIOp, u | v)
      FERRITE_INTEGERS(arith::XOrIOp, u ^ v)
      FERRITE_INTEGERS(arith::ShLIOp, v > 63 ? 0 : u << v)
      FERRITE_INTEGERS(arith::ShRSIOp, x >> std::min<uint64_t>(v, 63))
      FERRITE_INTEGERS(arith::ShRUIOp, v > 63 ? 0 : u >> v)
      FERRITE_INTEGERS(arith::ExtSIOp, x)
      FERRITE_INTEGERS(arith::ExtUIOp, u)
      FERRITE_INTEGERS(arith::IndexCastOp, x)
      FERRITE_INTEGERS(math::AbsIOp, x < 0 ? 0 - uint64_t(x) : uint64_t(x))
      .Case([](arith::TruncIOp) -> Apply { return truncate; })
      .Case([](arith::SIToFPOp) -> Apply { return fromSigned; })
      .Case([](arith::UIToFPOp) -> Apply { return fromUnsigned; })
      .Case([](arith::FPToSIOp) -> Apply { return toSigned; })
      .Case([](arith::FPToUIOp) -> Apply { return toUnsigned; })
      .Case([](arith::CmpFOp) -> Apply { return compareNumbers; })
      .Case([](arith::CmpIOp) -> Apply { return compareIntegers; })
      .Case([](arith::BitcastOp) -> Apply { return bitcast; })
      .Case([](arith::SelectOp) -> Apply { return choose; })
      .Case([](arith::ConstantOp) -> Apply { return constant; })
      .Default([](Operation *) { return Apply(); });
}
// clang-format on
