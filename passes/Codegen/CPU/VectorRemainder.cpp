//===- VectorRemainder.cpp - Exact remainders on registers ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/VectorMath64.h"

#include "passes/Codegen/CPU/VectorLanes.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using ferrite::cpu::Lanes;
using P = arith::CmpFPredicate;

static constexpr double kInf = std::numeric_limits<double>::infinity();
static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Whether any lane is true.
static Value any(Lanes &l, Value mask) {
  if (!isa<VectorType>(mask.getType()))
    return mask;
  return vector::ReductionOp::create(l.b, vector::CombiningKind::OR, mask);
}

/// One turn of a long division: `rest` less a multiple of `divisor` of which
/// the quotient's 53 digits are known. The difference is exact: it is below
/// rest / 2^52 and a multiple of the product's last digit.
static Value divideOnce(Lanes &l, Value rest, Value divisor) {
  // Where the quotient is too large for f64, by a multiple of the divisor.
  for (double scale : {0x1p1000, 0x1p100}) {
    Value overflows = l.is(P::OEQ, l.div(rest, divisor), l.c(kInf));
    divisor = l.select(overflows, l.mul(divisor, l.c(scale)), divisor);
  }
  Value quotient = math::TruncOp::create(l.b, l.div(rest, divisor));
  Value next = l.fma(l.neg(quotient), divisor, rest);
  // Rounded up: the integer below, or the f64 below where those are integers.
  Value below = math::TruncOp::create(
      l.b, l.floats(arith::SubIOp::create(l.b, l.bits(quotient), l.ci(1))));
  return l.select(l.is(P::OLT, next, l.c(0)),
                  l.fma(l.neg(below), divisor, rest), next);
}

Value ferrite::cpu::wide::emitRemainder(OpBuilder &builder, Location loc,
                                        Value x, Value y) {
  Lanes l(builder, loc, x, false);
  Value a = l.abs(x), divisor = l.abs(y);
  Value valid = arith::AndIOp::create(l.b, l.is(P::OLT, a, l.c(kInf)),
                                      l.is(P::OGT, divisor, l.c(0)));
  divisor = l.select(valid, divisor, l.c(1));
  auto loop = scf::WhileOp::create(
      l.b, TypeRange{l.type}, ValueRange{l.select(valid, a, l.c(0))},
      [&](OpBuilder &b, Location loc, ValueRange values) {
        Lanes inner(b, loc, values[0], false);
        Value more = any(inner, inner.is(P::OGE, values[0], divisor));
        scf::ConditionOp::create(b, loc, more, values);
      },
      [&](OpBuilder &b, Location loc, ValueRange values) {
        Lanes inner(b, loc, values[0], false);
        // Lanes that are done stay: of infinity there is no multiple.
        Value rest = values[0];
        Value next = inner.select(inner.is(P::OGE, rest, divisor),
                                  divideOnce(inner, rest, divisor), rest);
        scf::YieldOp::create(b, loc, next);
      });
  return l.select(valid, l.withSignOf(loop.getResult(0), x), l.c(kNaN));
}
