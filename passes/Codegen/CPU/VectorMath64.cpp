//===- VectorMath64.cpp - Elementary functions of f64 ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Series that converge fast enough are Taylor's; the others are our own
// Chebyshev fits in 60 digits, rounded to f64. No fast-math flag: each function
// relies on NaN going through comparisons in a known direction.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/VectorMath64.h"

#include "passes/Codegen/CPU/VectorLanes.h"

#include <limits>

using namespace mlir;
using ferrite::cpu::Lanes;
using P = arith::CmpFPredicate;

static constexpr double kInf = std::numeric_limits<double>::infinity();
static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
static constexpr double kLog2e = 1.4426950408889634;
// ln 2 and pi/2 in f64 parts, each with the sign that it is added with.
static constexpr double kLn2[] = {0.6931471805599453, 2.3190468138462996e-17};
static constexpr double kHalfPi[] = {1.5707963267948966, 6.123233995736766e-17,
                                     -1.4973849048591698e-33};

//===----------------------------------------------------------------------===//
// Exponentials
//===----------------------------------------------------------------------===//

/// e^r - 1 on [-ln2/2, ln2/2]; Taylor's next term is below 5e-18.
static Value expm1Near(Lanes &l, Value r) {
  double factorial = 1;
  SmallVector<double> coefficients;
  for (int k = 2; k <= 13; ++k)
    coefficients.push_back(1 / (factorial *= k));
  return l.fma(l.mul(r, r), l.horner(r, coefficients), r);
}

/// x = n ln2 + r.
static Value reduceExponent(Lanes &l, Value x, Value &n) {
  n = l.nearest(l.mul(x, l.c(kLog2e)));
  return l.fma(n, -kLn2[1], l.fma(n, -kLn2[0], x));
}

static Value emitExp(Lanes &l, Value x) {
  x = l.atMost(l.atLeast(x, -746.0), 710.0);
  Value n, r = reduceExponent(l, x, n);
  return l.scaledFar(l.add(expm1Near(l, r), l.c(1)), n);
}

static Value emitExpm1(Lanes &l, Value x) {
  // e^-40 is lost beside 1. Of 2^n half is used: 2^1024 does not exist.
  Value clamped = l.atMost(l.atLeast(x, -40.0), 710.0);
  Value n, r = reduceExponent(l, clamped, n);
  Value half = l.exponentOf(l.sub(n, l.c(1)));
  Value y = l.fma(half, expm1Near(l, r), l.sub(half, l.c(0.5)));
  return l.withSignOf(l.add(y, y), x);
}

//===----------------------------------------------------------------------===//
// Logarithms
//===----------------------------------------------------------------------===//

/// x = (1 + f) * 2^exponent with 1 + f in [sqrt(1/2), sqrt(2)), for finite
/// x > 0; garbage for all else.
static Value splitMantissa(Lanes &l, Value x, Value &exponent) {
  // Denormals have no exponent of their own.
  Value small = l.is(P::OLT, x, l.c(std::numeric_limits<double>::min()));
  x = l.select(small, l.mul(x, l.c(18014398509481984.0)), x); // 2^54
  Value bits = l.bits(x);
  Value e = arith::ShRSIOp::create(
      l.b, arith::SubIOp::create(l.b, bits, l.ci(0x3fe6a09e667f3bcd)),
      l.ci(52));
  Value m = l.floats(arith::SubIOp::create(
      l.b, bits, arith::ShLIOp::create(l.b, e, l.ci(52))));
  exponent = arith::SIToFPOp::create(l.b, l.type, e);
  exponent = l.select(small, l.sub(exponent, l.c(54)), exponent);
  return l.sub(m, l.c(1));
}

/// (log(1 + f) - 2s) / s with s = f / (2 + f), the tail of 2 atanh(s); the term
/// after the last is below 1e-18 of the logarithm.
static Value logTail(Lanes &l, Value s) {
  Value z = l.mul(s, s);
  SmallVector<double> coefficients;
  for (int k = 1; k <= 10; ++k)
    coefficients.push_back(2.0 / (2 * k + 1));
  return l.mul(z, l.horner(z, coefficients));
}

static Value emitLog(Lanes &l, Value x) {
  Value e, f = splitMantissa(l, x, e);
  Value s = l.div(f, l.add(f, l.c(2)));
  Value half = l.mul(l.mul(f, f), l.c(0.5));
  // log(1 + f) = f - (f^2/2 - s (f^2/2 + tail)): f itself is exact.
  Value r = l.fma(s, l.add(half, logTail(l, s)), l.mul(e, l.c(kLn2[1])));
  r = l.sub(f, l.sub(half, r));
  r = l.fma(e, kLn2[0], r);
  r = l.select(l.is(P::OEQ, x, l.c(kInf)), x, r);
  r = l.select(l.is(P::OEQ, x, l.c(0)), l.c(-kInf), r);
  return l.select(l.is(P::ULT, x, l.c(0)), l.c(kNaN), r);
}

static Value emitLog1p(Lanes &l, Value x) {
  // What the sum loses of x is added by the derivative, 1 / u.
  Value u = l.add(x, l.c(1));
  Value lost = l.select(l.is(P::OLT, x, l.c(1)), l.sub(x, l.sub(u, l.c(1))),
                        l.sub(l.c(1), l.sub(u, x)));
  Value usable = arith::AndIOp::create(l.b, l.is(P::OGT, u, l.c(0)),
                                       l.is(P::OLT, u, l.c(kInf)));
  Value correction = l.select(usable, l.div(lost, u), l.c(0));
  return l.withSignOf(l.add(emitLog(l, u), correction), x);
}

/// log of |x| as high + low, relative error 2^-60, for finite x > 0.
static Value emitLogTwice(Lanes &l, Value x, Value &low) {
  Value e, f = splitMantissa(l, x, e);
  Value d = l.add(f, l.c(2));
  Value dLow = l.sub(f, l.sub(d, l.c(2)));
  Value s = l.div(f, d);
  Value rest = l.fma(l.neg(s), dLow, l.fma(l.neg(s), d, f));
  Value high = l.add(s, s);
  low = l.fma(s, logTail(l, s), l.mul(l.div(rest, d), l.c(2)));
  Value large = l.mul(e, l.c(kLn2[0]));
  Value largeLow = l.fma(e, kLn2[1], l.fma(e, kLn2[0], l.neg(large)));
  // The exact sum of two: either may be the larger.
  Value sum = l.add(large, high);
  Value part = l.sub(sum, large);
  Value error = l.add(l.sub(large, l.sub(sum, part)), l.sub(high, part));
  low = l.add(error, l.add(largeLow, low));
  Value result = l.add(sum, low);
  low = l.sub(low, l.sub(result, sum));
  return result;
}

static Value emitPow(Lanes &l, Value x, Value y) {
  Value base = l.abs(x), low;
  Value log = emitLogTwice(l, base, low);
  // 2^63 times the smallest logarithm overflows already.
  Value yc = l.atMost(l.atLeast(y, -9.3e18), 9.3e18);
  Value t = l.mul(yc, log);
  Value tLow = l.fma(yc, low, l.fma(yc, log, l.neg(t)));
  t = l.atMost(l.atLeast(t, -800), 800);
  tLow = l.atMost(l.atLeast(tLow, -1), 1);
  Value n = l.nearest(l.mul(t, l.c(kLog2e)));
  Value r = l.fma(n, -kLn2[0], t);
  r = l.add(r, l.fma(n, -kLn2[1], tLow));
  r = l.scaledFar(l.add(expm1Near(l, r), l.c(1)), n);
  // |x| of 0 and inf: the sign of y decides.
  Value grows = l.is(P::OGT, y, l.c(0));
  r = l.select(l.is(P::OEQ, base, l.c(0)), l.select(grows, l.c(0), l.c(kInf)),
               r);
  r = l.select(l.is(P::OEQ, base, l.c(kInf)),
               l.select(grows, l.c(kInf), l.c(0)), r);
  // Negative x, -0 included: an odd y keeps the sign, a fraction has no power.
  Value half = l.mul(y, l.c(0.5));
  Value fraction = l.is(P::UNE, math::FloorOp::create(l.b, y), y);
  Value odd = l.is(P::UNE, math::FloorOp::create(l.b, half), half);
  r = l.select(fraction, r, l.select(odd, l.withSignOf(r, x), r));
  Value negative = arith::AndIOp::create(l.b, l.is(P::OLT, x, l.c(0)),
                                         l.is(P::OGT, x, l.c(-kInf)));
  Value broken = arith::AndIOp::create(l.b, fraction, negative);
  broken = arith::OrIOp::create(l.b, broken, l.is(P::UNO, x, y));
  r = l.select(broken, l.c(kNaN), r);
  r = l.select(l.is(P::OEQ, y, l.c(0)), l.c(1), r);
  return l.select(l.is(P::OEQ, x, l.c(1)), l.c(1), r);
}

//===----------------------------------------------------------------------===//
// Circles
//===----------------------------------------------------------------------===//

/// sin(x + quarterTurns * pi/2). Under fma the first difference is exact.
static Value emitSine(Lanes &l, Value x, int quarterTurns) {
  // The sum that rounds has the quadrant in its low bits.
  Value sum = l.add(l.mul(x, l.c(0.6366197723675814)), l.c(l.magic()));
  Value q = l.sub(sum, l.c(l.magic()));
  Value r = x;
  for (double part : kHalfPi)
    r = l.fma(q, -part, r);
  r = l.atMost(l.atLeast(r, -1), 1);
  Value r2 = l.mul(r, r);
  // Taylor's next terms are below 1e-19 and 3e-18 on [-pi/4, pi/4].
  SmallVector<double> sines, cosines;
  double factorial = 2;
  for (int k = 3; k <= 17; ++k) {
    factorial *= k;
    double term = (k / 2 % 2 ? -1 : 1) / factorial;
    (k % 2 ? sines : cosines).push_back(term);
  }
  Value sin = l.fma(l.mul(r2, r), l.horner(r2, sines), r);
  Value cos =
      l.fma(l.mul(r2, r2), l.horner(r2, cosines), l.fma(r2, -0.5, l.c(1)));
  Value quadrant = arith::AddIOp::create(l.b, l.bits(sum), l.ci(quarterTurns));
  Value odd = arith::CmpIOp::create(
      l.b, arith::CmpIPredicate::ne,
      arith::AndIOp::create(l.b, quadrant, l.ci(1)), l.ci(0));
  Value sign = arith::ShLIOp::create(
      l.b, arith::AndIOp::create(l.b, quadrant, l.ci(2)), l.ci(62));
  Value magnitude = l.bits(l.select(odd, cos, sin));
  return l.floats(arith::XOrIOp::create(l.b, magnitude, sign));
}

/// By quarters: beyond tan(3 pi/8) -1/a, from tan(pi/8) on (a - 1) / (a + 1).
static Value emitAtan(Lanes &l, Value x) {
  Value a = l.abs(x);
  Value far = l.is(P::OGT, a, l.c(2.414213562373095));
  Value middle = l.is(P::OGT, a, l.c(0.41421356237309503));
  Value top = l.select(middle, l.sub(a, l.c(1)), a);
  Value bottom = l.select(middle, l.add(a, l.c(1)), l.c(1));
  top = l.select(far, l.c(-1), top);
  bottom = l.select(far, a, bottom);
  Value t = l.div(top, bottom), z = l.mul(t, t);
  // (atan(t) / t - 1) / z for z <= 0.1717, error of atan(t) / t 4e-18.
  Value p = l.horner(
      z, {-0.3333333333333333, 0.19999999999999804, -0.14285714285659457,
          0.11111111105119366, -0.09090908751706075, 0.07692296323157785,
          -0.06666423954373413, 0.058789182929757273, -0.05230375457576669,
          0.04551233844829568, -0.03456132296826231, 0.01627552168389342});
  Value base = l.select(middle, l.c(kHalfPi[0] / 2), l.c(0));
  Value baseLow = l.select(middle, l.c(kHalfPi[1] / 2), l.c(0));
  base = l.select(far, l.c(kHalfPi[0]), base);
  baseLow = l.select(far, l.c(kHalfPi[1]), baseLow);
  Value tail = l.fma(l.mul(t, z), p, baseLow);
  return l.withSignOf(l.add(base, l.add(t, tail)), x);
}

//===----------------------------------------------------------------------===//
// Hyperbolas and erf
//===----------------------------------------------------------------------===//

static Value emitTanh(Lanes &l, Value x) {
  // E / (E + 2) with E = e^(2|x|) - 1; tanh is 1 in f64 from 19.1 on.
  Value a = l.atMost(l.abs(x), 22);
  Value e = emitExpm1(l, l.add(a, a));
  return l.withSignOf(l.div(e, l.add(e, l.c(2))), x);
}

/// e^|x| / 2 where e^|x| may overflow and its inverse does not count.
static Value halfExp(Lanes &l, Value a) {
  Value root = emitExp(l, l.mul(a, l.c(0.5)));
  return l.mul(l.mul(root, l.c(0.5)), root);
}

static Value emitSinh(Lanes &l, Value x) {
  Value a = l.abs(x), e = emitExpm1(l, a);
  Value near = l.add(e, l.div(e, l.add(e, l.c(1))));
  Value y =
      l.select(l.is(P::OGT, a, l.c(700)), halfExp(l, a), l.mul(near, l.c(0.5)));
  return l.withSignOf(y, x);
}

static Value emitCosh(Lanes &l, Value x) {
  Value a = l.abs(x), e = emitExp(l, a);
  Value near = l.mul(l.add(e, l.div(l.c(1), e)), l.c(0.5));
  return l.select(l.is(P::OGT, a, l.c(700)), halfExp(l, a), near);
}

/// log(1 + near), where `near` is about 2x.
static Value logOfSum(Lanes &l, Value near, Value x) {
  // From 2^28 on the square leaves nothing of 1.
  Value large = l.is(P::OGT, x, l.c(268435456.0));
  Value far = l.add(emitLog(l, x), l.c(kLn2[0]));
  return l.select(large, far, emitLog1p(l, near));
}

static Value emitAsinh(Lanes &l, Value x) {
  Value a = l.abs(x), square = l.mul(a, a);
  Value root = math::SqrtOp::create(l.b, l.add(square, l.c(1)));
  Value near = l.add(a, l.div(square, l.add(root, l.c(1))));
  return l.withSignOf(logOfSum(l, near, a), x);
}

static Value emitAcosh(Lanes &l, Value x) {
  Value t = l.sub(x, l.c(1));
  Value root = math::SqrtOp::create(l.b, l.fma(t, t, l.add(t, t)));
  Value y = logOfSum(l, l.add(t, root), x);
  return l.select(l.is(P::ULT, x, l.c(1)), l.c(kNaN), y);
}

static Value emitAtanh(Lanes &l, Value x) {
  Value a = l.abs(x);
  Value y = emitLog1p(l, l.div(l.add(a, a), l.sub(l.c(1), a)));
  return l.withSignOf(l.mul(y, l.c(0.5)), x);
}

static Value emitErf(Lanes &l, Value x) {
  Value a = l.atMost(l.abs(x), 6); // 1 - erf is below 1e-17 there
  Value z = l.mul(a, a);
  // erf(x) / x in x^2 on [0, 1], error 2e-17.
  Value near =
      l.mul(a, l.horner(z, {1.1283791670955126, -0.3761263890318375,
                            0.11283791670954879, -0.026866170645076792,
                            0.0052239776248180145, -0.000854832698083379,
                            0.0001205533111164271, -1.4925595266831182e-05,
                            1.6461000484121368e-06, -1.6350312701054695e-07,
                            1.4659775274047436e-08, -1.1372848856791674e-09,
                            5.957176147748911e-11}));
  // erfc(x) e^(x^2) in u = (x - 2.5) / (x + 2.5) on [1, 6], error 3e-17.
  Value u = l.div(l.sub(a, l.c(2.5)), l.add(a, l.c(2.5)));
  Value g = l.horner(
      u, {0.21080636406114356, -0.3717367339489732, 0.251713193217456,
          -0.12503305237885554, 0.0399225390747838, -0.0039937011641469865,
          -0.002642365927759658, 0.0008759154019168855, 0.00022837955896605415,
          -0.00012887649615317198, -3.4172229273553035e-05,
          1.8609712314617464e-05, 7.48480117852628e-06, -2.2842173094341345e-06,
          -1.5625258507743158e-06, 8.134380709229634e-08});
  Value far = l.sub(l.c(1), l.mul(g, emitExp(l, l.neg(z))));
  Value y = l.select(l.is(P::OGT, a, l.c(1)), far, near);
  return l.withSignOf(y, x);
}

//===----------------------------------------------------------------------===//
// All of them
//===----------------------------------------------------------------------===//

#define FERRITE_WIDE(NAME, EXPR)                                               \
  Value ferrite::cpu::wide::NAME(OpBuilder &builder, Location loc, Value x) {  \
    Lanes l(builder, loc, x, false);                                           \
    return EXPR;                                                               \
  }
FERRITE_WIDE(emitExp, ::emitExp(l, x))
FERRITE_WIDE(emitExpm1, ::emitExpm1(l, x))
FERRITE_WIDE(emitLog, ::emitLog(l, x))
FERRITE_WIDE(emitLog1p, ::emitLog1p(l, x))
FERRITE_WIDE(emitErf, ::emitErf(l, x))
FERRITE_WIDE(emitSin, emitSine(l, x, 0))
FERRITE_WIDE(emitCos, emitSine(l, x, 1))
FERRITE_WIDE(emitTan, l.div(emitSine(l, x, 0), emitSine(l, x, 1)))
// As angles of right triangles; outside of [-1, 1] the root is no number.
FERRITE_WIDE(
    emitAsin,
    ::emitAtan(l, l.div(x, math::SqrtOp::create(l.b, l.mul(l.sub(l.c(1), x),
                                                           l.add(l.c(1), x))))))
FERRITE_WIDE(emitAcos,
             l.mul(l.c(2), ::emitAtan(l, math::SqrtOp::create(
                                             l.b, l.div(l.sub(l.c(1), x),
                                                        l.add(l.c(1), x))))))
FERRITE_WIDE(emitAtan, ::emitAtan(l, x))
FERRITE_WIDE(emitSinh, ::emitSinh(l, x))
FERRITE_WIDE(emitCosh, ::emitCosh(l, x))
FERRITE_WIDE(emitTanh, ::emitTanh(l, x))
FERRITE_WIDE(emitAsinh, ::emitAsinh(l, x))
FERRITE_WIDE(emitAcosh, ::emitAcosh(l, x))
FERRITE_WIDE(emitAtanh, ::emitAtanh(l, x))
#undef FERRITE_WIDE

Value ferrite::cpu::wide::emitPow(OpBuilder &builder, Location loc, Value x,
                                  Value y) {
  Lanes l(builder, loc, x, false);
  return ::emitPow(l, x, y);
}
