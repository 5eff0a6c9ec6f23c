//===- VectorMath.cpp - Elementary functions on registers -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// All coefficients are our own minimax fits (Lawson's iteration in double,
// coefficients rounded to f32 one by one and the rest refitted), so that what
// is evaluated is what was fitted. No fast-math flag: each function relies on
// NaN going through comparisons in a known direction.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/VectorMath.h"

#include "passes/Codegen/CPU/ErfTable.h"
#include "passes/Codegen/CPU/VectorLanes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <limits>

using namespace mlir;
using namespace ferrite::cpu;

Value ferrite::cpu::Lanes::emitScalef(Value p, Value n) {
  auto vector = dyn_cast<VectorType>(type);
  int64_t lanes = vector ? vector.getNumElements() : 1;
  if (lanes != 4 && lanes != 8 && lanes != 16) {
    Value half = math::RoundEvenOp::create(b, mul(n, c(0.5)));
    return mul(mul(p, exponentOf(half)), exponentOf(sub(n, half)));
  }
  std::string name =
      "llvm.x86.avx512.mask.scalef.ps." + std::to_string(lanes * 32);
  // The intrinsic's order is (a, b, passthrough, mask): a * 2^b.
  Type maskType = b.getIntegerType(lanes == 16 ? 16 : 8);
  SmallVector<Value> operands = {
      p, n, c(0),
      LLVM::ConstantOp::create(b, maskType, b.getIntegerAttr(maskType, -1))};
  if (lanes == 16) // round as MXCSR says
    operands.push_back(
        LLVM::ConstantOp::create(b, b.getI32Type(), b.getI32IntegerAttr(4)));
  return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name), operands)
      .getResult(0);
}

static constexpr double kLog2e = 1.4426950408889634;
// ln 2 in two f32 parts.
static constexpr double kLn2Hi = 0.6931471824645996;
static constexpr double kLn2Lo = -1.9046542121259336e-09;
// (2^f - 1) / f on [-1/2, 1/2], relative error of 2^f 6e-9.
static constexpr double kExp2m1[] = {
    0.6931471824645996,   0.24022649228572845,   0.05550367385149002,
    0.009618311189115047, 0.0013387382496148348, 0.00015382113633677363};

Value ferrite::cpu::emitExp(OpBuilder &builder, Location loc, Value x,
                            bool scalef) {
  Lanes l(builder, loc, x, scalef);
  // e^89 is infinite and e^-105 rounds to 0; the clamps keep the reduction
  // finite for x = inf and for x * log2(e) beyond f32.
  x = l.atMost(l.atLeast(x, -105.0), 89.0);
  Value n = l.nearest(l.mul(x, l.c(kLog2e)));
  Value r = l.fma(n, -kLn2Hi, x);
  r = l.fma(n, -kLn2Lo, r);
  // e^r = 1 + r + r^2 q(r) on [-ln2/2, ln2/2], relative error 3e-9.
  Value q =
      l.horner(r, {0.4999999403953552, 0.1666652113199234, 0.04166826233267784,
                   0.008368674665689468, 0.0013821055181324482});
  Value p = l.add(l.fma(l.mul(r, r), q, r), l.c(1.0));
  return l.scaledFar(p, n);
}

Value ferrite::cpu::emitSoftmaxExp2(OpBuilder &builder, Location loc, Value t,
                                    bool scalef) {
  Lanes l(builder, loc, t, scalef);
  Value n = l.nearest(t);
  Value f = l.sub(t, n);
  // 2^f on [-1/2, 1/2], relative error 9.4e-8: weights are summed, one more
  // term would not be seen.
  Value p = l.horner(f, {1.0, 0.6931470036506653, 0.24022246897220612,
                         0.0555071085691452, 0.009671292267739773,
                         0.0013269535265862942});
  // "Unordered": NaN stays NaN, while what -inf made of f is dropped.
  Value keep = l.is(arith::CmpFPredicate::UGE, t, l.c(-126.0));
  return l.select(keep, l.scaled(p, n), l.c(0.0));
}

/// erf in 15 instructions, four of them one after another for the polynomial:
/// in the epilogue of bytes a GELU waits for its chain, not for pipes.
static Value emitErfPieces(Lanes &l, Value x) {
  auto type = cast<VectorType>(l.type);
  Value a = l.atMost(l.abs(x), 3.92);
  // The whole number next to 8 a is in the low bits of a sum that has none
  // behind the point; the permutation reads five of them.
  double whole = 8388608.0;
  Value sum = l.fma(a, 8.0, l.c(whole));
  Value index = l.bits(sum);
  Value d = l.fma(a, 8.0, l.neg(l.sub(sum, l.c(whole))));
  auto term = [&](unsigned k) -> Value {
    auto half = [&](unsigned from) -> Value {
      return arith::ConstantOp::create(
          l.b, DenseElementsAttr::get(
                   type, llvm::ArrayRef(&kErfTable[k][from], kErfPieces / 2)));
    };
    return LLVM::CallIntrinsicOp::create(
               l.b, type,
               l.b.getStringAttr("llvm.x86.avx512.vpermi2var.ps.512"),
               ValueRange{half(0), index, half(kErfPieces / 2)})
        .getResult(0);
  };
  Value p = term(kErfTerms - 1);
  for (unsigned k = kErfTerms - 1; k-- > 0;)
    p = l.fma(p, d, term(k));
  return l.withSignOf(p, x);
}

Value ferrite::cpu::emitErf(OpBuilder &builder, Location loc, Value x,
                            bool scalef) {
  // erf|x| = 1 - 2^t with t = |x| Q(|x|), as -(2^n (2^f - 1) + (2^n - 1)):
  // exact to the last bits near 0 without a branch. 22 instructions.
  Lanes l(builder, loc, x, scalef);
  auto vector = dyn_cast<VectorType>(l.type);
  if (l.scalef && vector && vector.getNumElements() == kErfPieces / 2)
    return emitErfPieces(l, x);
  Value a = l.atMost(l.abs(x), 3.92); // 1 - erf is below half an ulp there
  // log2(erfc(x)) / x on [0, 3.92], weighted to an error of erf of 3.7e-8.
  Value t =
      l.mul(a, l.horner(a, {-1.6279070377349854, -0.9184446930885315,
                            -0.14832156896591187, 0.027852199971675873,
                            -0.0002650815004017204, -0.0018282043747603893,
                            0.0005573741509579122, -5.975790190859698e-05}));
  Value n = l.nearest(t);
  Value f = l.sub(t, n);
  Value h = l.mul(f, l.horner(f, kExp2m1));
  Value s = l.scaled(l.c(1.0), n);
  Value r = l.fma(l.neg(s), h, l.sub(l.c(1.0), s));
  return l.withSignOf(r, x);
}

Value ferrite::cpu::emitTanh(OpBuilder &builder, Location loc, Value x,
                             bool scalef) {
  // tanh|x| = E / (E + 2) with E = e^(2|x|) - 1, which keeps small x exact.
  Lanes l(builder, loc, x, scalef);
  Value a = l.atMost(l.abs(x), 9.5); // tanh is 1 in f32 from 9.02 on
  Value n = l.nearest(l.mul(a, l.c(2 * kLog2e)));
  Value f = l.fma(a, 2 * kLog2e, l.neg(n));
  Value h = l.mul(f, l.horner(f, kExp2m1));
  Value s = l.scaled(l.c(1.0), n);
  Value e = l.fma(s, h, l.sub(s, l.c(1.0)));
  return l.withSignOf(l.div(e, l.add(e, l.c(2.0))), x);
}

Value ferrite::cpu::emitSigmoid(OpBuilder &builder, Location loc, Value x,
                                bool scalef) {
  Lanes l(builder, loc, x, scalef);
  Value e = emitExp(builder, loc, l.neg(x), scalef);
  return l.div(l.c(1.0), l.add(l.c(1.0), e));
}

/// x = m * 2^exponent with m in [sqrt(1/2), sqrt(2)); returns log(m) for
/// finite x > 0 and garbage for all else.
static Value emitLogMantissa(Lanes &l, Value x, Value &exponent) {
  // Denormals have no exponent of their own.
  Value small = l.is(arith::CmpFPredicate::OLT, x, l.c(1.1754943508222875e-38));
  x = l.select(small, l.mul(x, l.c(8388608.0)), x);
  Value bits = l.bits(x);
  Value e = arith::ShRSIOp::create(
      l.b, arith::SubIOp::create(l.b, bits, l.ci(0x3f3504f3)), l.ci(23));
  Value m = l.floats(arith::SubIOp::create(
      l.b, bits, arith::ShLIOp::create(l.b, e, l.ci(23))));
  exponent = arith::SIToFPOp::create(l.b, l.type, e);
  exponent = l.select(small, l.sub(exponent, l.c(23.0)), exponent);
  Value f = l.sub(m, l.c(1.0));
  Value f2 = l.mul(f, f);
  // (log(1 + f) - f + f^2/2) / f^3, relative error of the logarithm 6e-9.
  Value p = l.horner(f, {0.3333333134651184, -0.2500081956386566,
                         0.2000124156475067, -0.166234090924263,
                         0.14201579988002777, -0.13159610331058502,
                         0.12762217223644257, -0.07636439055204391});
  return l.fma(l.mul(f2, f), p, l.fma(f2, -0.5, f));
}

Value ferrite::cpu::emitLog(OpBuilder &builder, Location loc, Value x) {
  Lanes l(builder, loc, x, false);
  Value e;
  Value m = emitLogMantissa(l, x, e);
  Value r = l.fma(e, kLn2Hi, l.fma(e, kLn2Lo, m));
  double inf = std::numeric_limits<double>::infinity();
  r = l.select(l.is(arith::CmpFPredicate::OEQ, x, l.c(inf)), x, r);
  r = l.select(l.is(arith::CmpFPredicate::OEQ, x, l.c(0.0)), l.c(-inf), r);
  Value invalid = l.is(arith::CmpFPredicate::ULT, x, l.c(0.0));
  return l.select(invalid, l.c(std::numeric_limits<double>::quiet_NaN()), r);
}

/// sin(x + quarterTurns * pi/2). With q = round(x * 2/pi) < 2^17 the first
/// product is exact under fma, so three parts of pi/2 leave an error of 6e-8.
static Value emitSine(OpBuilder &builder, Location loc, Value x,
                      int quarterTurns) {
  Lanes l(builder, loc, x, false);
  // The sum that rounds has the quadrant in its low bits.
  Value sum = l.add(l.mul(x, l.c(0.6366197723675814)), l.c(l.magic()));
  Value q = l.sub(sum, l.c(l.magic()));
  Value r = l.fma(q, -1.5707963705062866, x);
  r = l.fma(q, 4.371138828673793e-08, r);
  r = l.fma(q, 1.7151245100058819e-15, r);
  // q is off by up to 0.004 at 1e5, so r passes pi/4 a little; it leaves
  // [-1, 1] beyond 1e6 alone.
  r = l.atMost(l.atLeast(r, -1.0), 1.0);
  Value r2 = l.mul(r, r);
  // On [-pi/4, pi/4], errors 4e-9 and 1e-10.
  Value sin = l.horner(r2, {-0.16666655242443085, 0.008332189172506332,
                            -0.00019518285989761353});
  sin = l.fma(l.mul(r2, r), sin, r);
  Value cos = l.horner(
      r2, {0.04166664555668831, -0.00138873013202101, 2.443066841806285e-05});
  cos = l.fma(l.mul(r2, r2), cos, l.fma(r2, -0.5, l.c(1.0)));
  Value quadrant = arith::AddIOp::create(l.b, l.bits(sum), l.ci(quarterTurns));
  Value odd = arith::CmpIOp::create(
      l.b, arith::CmpIPredicate::ne,
      arith::AndIOp::create(l.b, quadrant, l.ci(1)), l.ci(0));
  Value sign = arith::ShLIOp::create(
      l.b, arith::AndIOp::create(l.b, quadrant, l.ci(2)), l.ci(30));
  Value magnitude = l.bits(l.select(odd, cos, sin));
  return l.floats(arith::XOrIOp::create(l.b, magnitude, sign));
}

Value ferrite::cpu::emitSin(OpBuilder &b, Location loc, Value x) {
  return emitSine(b, loc, x, 0);
}

Value ferrite::cpu::emitCos(OpBuilder &b, Location loc, Value x) {
  return emitSine(b, loc, x, 1);
}

Value ferrite::cpu::emitRsqrt(OpBuilder &builder, Location loc, Value x) {
  Lanes l(builder, loc, x, false);
  return l.div(l.c(1.0), math::SqrtOp::create(l.b, x));
}

Value ferrite::cpu::emitPow(OpBuilder &builder, Location loc, Value x, Value y,
                            bool scalef) {
  using P = arith::CmpFPredicate;
  Lanes l(builder, loc, x, scalef);
  double inf = std::numeric_limits<double>::infinity();
  Value base = l.abs(x), e;
  Value mantissa = l.mul(emitLogMantissa(l, base, e), l.c(kLog2e));
  // y * exponent is kept apart from y * log2(m): only the latter is rounded
  // before the whole turns are taken off. Beyond 2^200 all is 0 or inf, also
  // for the y that are clamped so that no inf meets -inf.
  Value yc = l.atMost(l.atLeast(y, -1e30), 1e30);
  Value ym = l.mul(yc, mantissa);
  Value t = l.atMost(l.atLeast(l.fma(yc, e, ym), -200.0), 200.0);
  Value n = l.nearest(t);
  Value f = l.add(l.fma(yc, e, l.neg(n)), ym);
  f = l.atMost(l.atLeast(f, -1.0), 1.0);
  Value r = l.scaledFar(l.fma(f, l.horner(f, kExp2m1), l.c(1.0)), n);
  // |x| of 0 and inf: the sign of y decides.
  Value zero = l.is(P::OEQ, base, l.c(0.0));
  Value infinite = l.is(P::OEQ, base, l.c(inf));
  Value grows = l.is(P::OGT, y, l.c(0.0));
  r = l.select(zero, l.select(grows, l.c(0.0), l.c(inf)), r);
  r = l.select(infinite, l.select(grows, l.c(inf), l.c(0.0)), r);
  // Negative x, -0 included: an odd y keeps the sign, a fraction has no power.
  Value half = l.mul(y, l.c(0.5));
  Value fraction = l.is(P::UNE, math::FloorOp::create(l.b, y), y);
  Value odd = l.is(P::UNE, math::FloorOp::create(l.b, half), half);
  Value flipped = l.select(odd, l.withSignOf(r, x), r);
  r = l.select(fraction, r, flipped);
  Value negative = arith::AndIOp::create(l.b, l.is(P::OLT, x, l.c(0.0)),
                                         l.is(P::OGT, x, l.c(-inf)));
  Value broken = arith::AndIOp::create(l.b, fraction, negative);
  Value nan = l.c(std::numeric_limits<double>::quiet_NaN());
  r = l.select(broken, nan, r);
  r = l.select(l.is(P::UNO, x, y), nan, r);
  r = l.select(l.is(P::OEQ, y, l.c(0.0)), l.c(1.0), r);
  return l.select(l.is(P::OEQ, x, l.c(1.0)), l.c(1.0), r);
}
