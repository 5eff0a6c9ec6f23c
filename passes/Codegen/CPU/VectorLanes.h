//===- VectorLanes.h - Float arithmetic on registers ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the elementary functions are written in. Private to VectorMath*.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_VECTORLANES_H
#define FERRITE_PASSES_CODEGEN_CPU_VECTORLANES_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace ferrite::cpu {

using mlir::Attribute;
using mlir::Location;
using mlir::OpBuilder;
using mlir::Type;
using mlir::Value;

/// Arithmetic on values of one type, f32 or f64, scalar or vector.
struct Lanes {
  mlir::ImplicitLocOpBuilder b;
  Type type;
  bool wide;   // f64
  bool scalef; // of f32 alone

  Lanes(OpBuilder &builder, Location loc, Value x, bool scalef)
      : b(loc, builder), type(x.getType()),
        wide(mlir::getElementTypeOrSelf(type).isF64()),
        scalef(scalef && !wide) {}

  int mantissaBits() const { return wide ? 52 : 23; }
  /// The exponent of 1.
  int bias() const { return wide ? 1023 : 127; }
  /// A number this large has no bits behind the point: 1.5 * 2^23 or 2^52.
  double magic() const { return wide ? 6755399441055744.0 : 12582912.0; }

  Type intType() const {
    Type integer = mlir::IntegerType::get(type.getContext(), wide ? 64 : 32);
    if (auto vector = llvm::dyn_cast<mlir::VectorType>(type))
      return vector.clone(integer);
    return integer;
  }
  Value constant(Type t, Attribute value) {
    if (auto vector = llvm::dyn_cast<mlir::VectorType>(t))
      return mlir::arith::ConstantOp::create(
          b, mlir::SplatElementsAttr::get(vector, value));
    return mlir::arith::ConstantOp::create(b,
                                           llvm::cast<mlir::TypedAttr>(value));
  }
  Value c(double v) {
    return constant(type, b.getFloatAttr(mlir::getElementTypeOrSelf(type), v));
  }
  Value ci(int64_t v) {
    return constant(intType(),
                    b.getIntegerAttr(mlir::getElementTypeOrSelf(intType()), v));
  }

  Value add(Value x, Value y) { return mlir::arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return mlir::arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return mlir::arith::MulFOp::create(b, x, y); }
  Value div(Value x, Value y) { return mlir::arith::DivFOp::create(b, x, y); }
  Value neg(Value x) { return mlir::arith::NegFOp::create(b, x); }
  Value abs(Value x) { return mlir::math::AbsFOp::create(b, x); }
  Value fma(Value x, Value y, Value z) {
    return mlir::math::FmaOp::create(b, x, y, z);
  }
  Value fma(Value x, double y, Value z) { return fma(x, c(y), z); }
  Value is(mlir::arith::CmpFPredicate p, Value x, Value y) {
    return mlir::arith::CmpFOp::create(b, p, x, y);
  }
  Value select(Value condition, Value x, Value y) {
    return mlir::arith::SelectOp::create(b, condition, x, y);
  }
  // One instruction each, and x when x is NaN.
  Value atLeast(Value x, double low) {
    Value limit = c(low);
    return select(is(mlir::arith::CmpFPredicate::OGT, limit, x), limit, x);
  }
  Value atMost(Value x, double high) {
    Value limit = c(high);
    return select(is(mlir::arith::CmpFPredicate::OLT, limit, x), limit, x);
  }
  Value bits(Value x) {
    return mlir::arith::BitcastOp::create(b, intType(), x);
  }
  Value floats(Value x) { return mlir::arith::BitcastOp::create(b, type, x); }
  Value withSignOf(Value magnitude, Value sign) {
    return mlir::math::CopySignOp::create(b, magnitude, sign);
  }
  /// coefficients[0] + x * (coefficients[1] + ...)
  Value horner(Value x, llvm::ArrayRef<double> coefficients) {
    Value p = c(coefficients.back());
    for (double k : llvm::reverse(coefficients.drop_back()))
      p = fma(p, x, c(k));
    return p;
  }

  /// x rounded to the nearest integer.
  Value nearest(Value x) {
    if (scalef) // vrndscaleps
      return mlir::math::RoundEvenOp::create(b, x);
    return sub(add(x, c(magic())), c(magic()));
  }
  /// 2^n for -126 <= n <= 127 (f64: -1022 to 1023): the exponent's bits come
  /// out of the sum that rounds, which needs no conversion to integers
  /// (undefined for NaN).
  Value exponentOf(Value n) {
    Value sum = bits(add(n, c(magic() + bias())));
    return floats(mlir::arith::ShLIOp::create(b, sum, ci(mantissaBits())));
  }
  /// p * 2^n, for the same n.
  Value scaled(Value p, Value n) {
    return scalef ? emitScalef(p, n) : mul(p, exponentOf(n));
  }
  /// p * 2^n for |n| <= 252 (f64: 2044), in two steps where one exponent does
  /// not reach.
  Value scaledFar(Value p, Value n) {
    if (scalef)
      return emitScalef(p, n);
    Value half = nearest(mul(n, c(0.5)));
    return mul(mul(p, exponentOf(half)), exponentOf(sub(n, half)));
  }
  Value emitScalef(Value p, Value n);
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_VECTORLANES_H
