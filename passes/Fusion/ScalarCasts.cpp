//===- ScalarCasts.cpp - Conversions as scalar ops ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A tiny float is held as the f32 of its value. Its bits are made of that f32's
// and back by integer arithmetic, which vectorizes on every level.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ScalarCasts.h"

#include "passes/Fusion/ScalarEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace ferrite;
using F = arith::CmpFPredicate;

namespace {
/// A tiny float with a sign and fractions.
struct Format {
  int fractionBits, bias, signBit;
  double most;       ///< the largest finite value
  int nanCode;       ///< without the sign; -1: there is none
  int infCode;       ///< the same
  bool unsignedZero; ///< the code of -0 is the NaN
};

/// Scalar ops at one place.
struct Ops {
  OpBuilder &b;
  Location loc;

  template <typename OpTy, typename... Args>
  Value make(Args... args) {
    return OpTy::create(b, loc, args...);
  }
  Value f32(double value) {
    return make<arith::ConstantOp>(
        b.getF32FloatAttr(static_cast<float>(value)));
  }
  Value i32(int64_t value) {
    return make<arith::ConstantOp>(
        b.getI32IntegerAttr(static_cast<int32_t>(value)));
  }
  Value number(Type type, double value) {
    return make<arith::ConstantOp>(b.getFloatAttr(type, value));
  }
  Value integer(Type type, const APInt &value) {
    return make<arith::ConstantOp>(b.getIntegerAttr(type, value));
  }
  Value bits(Value x) { return make<arith::BitcastOp>(b.getI32Type(), x); }
  Value floats(Value x) { return make<arith::BitcastOp>(b.getF32Type(), x); }
  Value is(F predicate, Value x, Value y) {
    return make<arith::CmpFOp>(predicate, x, y);
  }
  Value equals(Value x, int64_t y) {
    return make<arith::CmpIOp>(arith::CmpIPredicate::eq, x, i32(y));
  }
  Value select(Value c, Value x, Value y) {
    return make<arith::SelectOp>(c, x, y);
  }
  Value isNaN(Value x) { return is(F::UNO, x, x); }
};
} // namespace

static constexpr double kInf = std::numeric_limits<double>::infinity();
static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

static Format formatOf(Type element) {
  if (isa<Float8E4M3FNType>(element))
    return {3, 7, 7, 448, 0x7F, -1, false};
  if (isa<Float8E4M3FNUZType>(element))
    return {3, 8, 7, 240, 0x80, -1, true};
  if (isa<Float8E5M2Type>(element))
    return {2, 15, 7, 57344, 0x7E, 0x7C, false};
  if (isa<Float8E5M2FNUZType>(element))
    return {2, 16, 7, 57344, 0x80, -1, true};
  return {1, 1, 3, 6, -1, -1, false}; // f4E2M1FN
}

Value ferrite::extendTiny(OpBuilder &b, Location loc, Value byte,
                          Type element) {
  Ops o{b, loc};
  unsigned width = element.getIntOrFloatBitWidth();
  if (element.isUnsignedInteger())
    return o.make<arith::AndIOp>(
        byte, o.integer(byte.getType(), APInt(8, (1 << width) - 1)));
  Value shift = o.integer(byte.getType(), APInt(8, 8 - width));
  return o.make<arith::ShRSIOp>(o.make<arith::ShLIOp>(byte, shift), shift);
}

//===--- tiny floats ------------------------------------------------------===//

Value ferrite::decodeTiny(OpBuilder &b, Location loc, Value byte,
                          Type element) {
  Ops o{b, loc};
  Value bits = o.make<arith::ExtUIOp>(b.getI32Type(), byte);
  if (isa<Float8E8M0FNUType>(element)) {
    Value power = o.make<arith::ShLIOp>(bits, o.i32(23));
    power = o.select(o.equals(bits, 0), o.i32(0x00400000), power); // 2^-127
    return o.select(o.equals(bits, 255), o.f32(kNaN), o.floats(power));
  }
  Format format = formatOf(element);
  Value code = o.make<arith::AndIOp>(bits, o.i32((1 << format.signBit) - 1));
  Value sign = o.make<arith::ShLIOp>(
      o.make<arith::ShRUIOp>(bits, o.i32(format.signBit)), o.i32(31));
  Value normal = o.make<arith::AddIOp>(
      o.make<arith::ShLIOp>(code, o.i32(23 - format.fractionBits)),
      o.i32((127 - format.bias) << 23));
  Value small = o.make<arith::MulFOp>(
      o.make<arith::SIToFPOp>(b.getF32Type(), code),
      o.f32(std::ldexp(1.0, 1 - format.bias - format.fractionBits)));
  Value isSmall = o.make<arith::CmpIOp>(arith::CmpIPredicate::ult, code,
                                        o.i32(1 << format.fractionBits));
  Value size = o.select(isSmall, o.bits(small), normal);
  Value value = o.floats(o.make<arith::OrIOp>(size, sign));
  if (format.unsignedZero)
    return o.select(o.equals(bits, format.nanCode), o.f32(kNaN), value);
  if (format.infCode < 0 && format.nanCode < 0)
    return value;
  Value nan = o.floats(o.make<arith::OrIOp>(o.i32(0x7FC00000), sign));
  Value infinite = o.floats(o.make<arith::OrIOp>(o.i32(0x7F800000), sign));
  if (format.infCode < 0)
    return o.select(o.equals(code, format.nanCode), nan, value);
  Value above = o.make<arith::CmpIOp>(arith::CmpIPredicate::ugt, code,
                                      o.i32(format.infCode));
  value = o.select(o.equals(code, format.infCode), infinite, value);
  return o.select(above, nan, value);
}

Value ferrite::encodeTiny(OpBuilder &b, Location loc, Value value,
                          Type element) {
  Ops o{b, loc};
  Value bits = o.bits(value);
  auto byte = [&](Value code) {
    return o.make<arith::TruncIOp>(b.getI8Type(), code);
  };
  if (isa<Float8E8M0FNUType>(element)) {
    // A NaN has the exponent 255 too, and 2^-127 the exponent 0.
    Value code = o.make<arith::ShRUIOp>(bits, o.i32(23));
    return byte(o.make<arith::AndIOp>(code, o.i32(255)));
  }
  Format format = formatOf(element);
  Value size = o.make<arith::AndIOp>(bits, o.i32(0x7FFFFFFF));
  Value normal = o.make<arith::SubIOp>(
      o.make<arith::ShRUIOp>(size, o.i32(23 - format.fractionBits)),
      o.i32((127 - format.bias) << format.fractionBits));
  double least = std::ldexp(1.0, 1 - format.bias);
  Value magnitude = o.floats(size);
  Value isSmall = o.is(F::OLT, magnitude, o.f32(least));
  // Kept small where it is not chosen: a conversion must not overflow.
  Value steps = o.make<arith::MulFOp>(
      o.select(isSmall, magnitude, o.f32(0)),
      o.f32(std::ldexp(1.0, format.bias - 1 + format.fractionBits)));
  Value small = o.make<arith::FPToSIOp>(b.getI32Type(), steps);
  Value code = o.select(isSmall, small, normal);
  if (format.infCode >= 0)
    code = o.select(o.is(F::OEQ, magnitude, o.f32(kInf)), o.i32(format.infCode),
                    code);
  Value sign = o.make<arith::ShLIOp>(o.make<arith::ShRUIOp>(bits, o.i32(31)),
                                     o.i32(format.signBit));
  if (format.nanCode >= 0 && !format.unsignedZero)
    code = o.select(o.isNaN(value), o.i32(format.nanCode), code);
  Value signedCode = o.make<arith::OrIOp>(code, sign);
  if (format.unsignedZero) {
    signedCode = o.select(o.equals(code, 0), o.i32(0), signedCode);
    signedCode = o.select(o.isNaN(value), o.i32(format.nanCode), signedCode);
  }
  return byte(signedCode);
}

/// The power of two for |x|.
static Value roundToPower(Ops &o, Value x, bool overflows, Rounding rounding) {
  Value size = o.make<arith::AndIOp>(o.bits(x), o.i32(0x7FFFFFFF));
  Value magnitude = o.floats(size);
  Value isSmall = o.is(F::OLT, magnitude, o.f32(0x1p-126));
  // Digits of values below 2^-126 have no exponent of their own.
  Value scaled = o.select(
      isSmall, o.make<arith::MulFOp>(magnitude, o.f32(0x1p24)), magnitude);
  Value bits = o.bits(scaled);
  int64_t carry = rounding == Rounding::Up     ? 0x7FFFFF
                  : rounding == Rounding::Down ? 0
                                               : 0x400000;
  bits = o.make<arith::AndIOp>(o.make<arith::AddIOp>(bits, o.i32(carry)),
                               o.i32(0x7F800000));
  Value power = o.floats(bits);
  power =
      o.select(isSmall, o.make<arith::MulFOp>(power, o.f32(0x1p-24)), power);
  double below = overflows ? kNaN : 0x1p-127,
         above = overflows ? kNaN : 0x1p127;
  power = o.select(o.is(F::OLT, power, o.f32(0x1p-127)), o.f32(below), power);
  power = o.select(o.is(F::OEQ, power, o.f32(kInf)), o.f32(above), power);
  power = o.select(o.is(F::OEQ, magnitude, o.f32(0)), o.f32(below), power);
  power = o.select(o.is(F::OEQ, magnitude, o.f32(kInf)), o.f32(above), power);
  return o.select(o.isNaN(x), o.f32(kNaN), power);
}

/// The value of a tiny float that is nearest to an f32, as an f32.
static Value roundToTiny(Ops &o, Value x, Type element, bool overflows,
                         Rounding rounding) {
  if (isa<Float8E8M0FNUType>(element))
    return roundToPower(o, x, overflows, rounding);
  Format format = formatOf(element);
  Value sign = o.make<arith::AndIOp>(o.bits(x), o.i32(INT32_MIN));
  Value size = o.make<arith::AndIOp>(o.bits(x), o.i32(0x7FFFFFFF));
  Value magnitude = o.floats(size);
  int cut = 23 - format.fractionBits;
  // Ties to even: half a step less one, and one more where the digit is odd.
  Value odd =
      o.make<arith::AndIOp>(o.make<arith::ShRUIOp>(size, o.i32(cut)), o.i32(1));
  Value normal = o.make<arith::AddIOp>(o.make<arith::AddIOp>(size, odd),
                                       o.i32((1 << (cut - 1)) - 1));
  normal = o.make<arith::AndIOp>(normal, o.i32(-(1 << cut)));
  // A sum whose last digit is the least step of the type.
  Value magic =
      o.f32(std::ldexp(1.0, 1 - format.bias - format.fractionBits + 23));
  Value small =
      o.make<arith::SubFOp>(o.make<arith::AddFOp>(magnitude, magic), magic);
  Value isSmall =
      o.is(F::OLT, magnitude, o.f32(std::ldexp(1.0, 1 - format.bias)));
  Value rounded = o.select(isSmall, small, o.floats(normal));
  bool saturates = !overflows || format.nanCode < 0;
  double beyond = saturates ? format.most : format.infCode >= 0 ? kInf : kNaN;
  rounded = o.select(o.is(F::OGT, rounded, o.f32(format.most)), o.f32(beyond),
                     rounded);
  Value result = o.floats(o.make<arith::OrIOp>(o.bits(rounded), sign));
  if (format.unsignedZero)
    result = o.select(o.is(F::OEQ, rounded, o.f32(0)), o.f32(0), result);
  return o.select(o.isNaN(x), format.nanCode < 0 ? o.f32(-0.0) : x, result);
}

//===--- float to integer -------------------------------------------------===//

/// Toward zero; beyond the type its nearest end, 0 for a NaN.
static Value floatToInteger(Ops &o, Value x, unsigned width, bool isUnsigned) {
  Type from = x.getType();
  unsigned wide = std::max(width, 32u);
  Type target = o.b.getIntegerType(width), via = o.b.getIntegerType(wide);
  double least = isUnsigned ? 0 : -std::ldexp(1.0, width - 1);
  double tooLarge = std::ldexp(1.0, isUnsigned ? width : width - 1);
  if (wide != width) {
    // Both ends are floats, so two instructions clamp; the first one takes its
    // constant where the other is a NaN.
    Value clamped = o.make<arith::MaxNumFOp>(x, o.number(from, least));
    clamped = o.make<arith::MinNumFOp>(clamped, o.number(from, tooLarge - 1));
    Value result =
        o.make<arith::TruncIOp>(target, o.make<arith::FPToSIOp>(via, clamped));
    return isUnsigned
               ? result
               : o.select(o.isNaN(x), o.integer(target, APInt::getZero(width)),
                          result);
  }
  Value clamped = o.select(o.is(F::OLT, x, o.number(from, least)),
                           o.number(from, least), x);
  Value result = isUnsigned && width >= 32
                     ? o.make<arith::FPToUIOp>(via, clamped)
                     : o.make<arith::FPToSIOp>(via, clamped);
  APInt most =
      isUnsigned ? APInt::getAllOnes(width) : APInt::getSignedMaxValue(width);
  result = o.select(o.is(F::OGE, x, o.number(from, tooLarge)),
                    o.integer(target, most), result);
  return o.select(o.isNaN(x), o.integer(target, APInt::getZero(width)), result);
}

/// Whether a value is a whole number, an infinity or a NaN: rounded, or made of
/// integers.
static bool isWhole(Value x, unsigned depth = 0) {
  Operation *op = x.getDefiningOp();
  APFloat number(0.0);
  if (matchPattern(x, m_ConstantFloat(&number)))
    return number.isInteger();
  if (!op || depth > 4)
    return false;
  if (isa<math::RoundEvenOp, math::TruncOp, math::FloorOp, math::CeilOp,
          arith::UIToFPOp, arith::SIToFPOp>(op))
    return true;
  return isa<arith::AddFOp, arith::SubFOp, arith::MaxNumFOp, arith::MinNumFOp>(
             op) &&
         llvm::all_of(op->getOperands(), [&](Value operand) {
           return isWhole(operand, depth + 1);
         });
}

/// The float that floatToInteger() made the unsigned integer `x` of, toward
/// zero; null for other integers. What is quantized and dequantized again
/// never has to become an integer.
static Value wholeFloatOf(Ops &o, Value x, Type to) {
  auto narrow = x.getDefiningOp<arith::TruncIOp>();
  auto convert =
      narrow ? narrow.getIn().getDefiningOp<arith::FPToSIOp>() : nullptr;
  if (!convert || !isa<arith::MinNumFOp>(convert.getIn().getDefiningOp()) ||
      convert.getIn().getType() != to)
    return {};
  Value clamped = convert.getIn();
  return isWhole(clamped) ? clamped : o.make<math::TruncOp>(clamped);
}

Value ferrite::emitCast(OpBuilder &b, Location loc, Value x, Type from, Type to,
                        bool overflows, Rounding rounding) {
  Ops o{b, loc};
  Type held = heldType(to);
  if (from == to)
    return x;
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(to);
  if (to.isInteger(1)) {
    Value zero = emitConstant(b, loc, from, 0);
    return fromFloat ? o.make<arith::CmpFOp>(F::UNE, x, zero)
                     : o.make<arith::CmpIOp>(arith::CmpIPredicate::ne, x, zero);
  }
  if (toFloat) {
    Value value = x;
    if (!fromFloat && isUnsignedElement(from) && !isTinyFloat(to))
      if (Value whole = wholeFloatOf(o, x, held))
        return whole;
    if (!fromFloat)
      value = isUnsignedElement(from) ? o.make<arith::UIToFPOp>(held, x)
                                      : o.make<arith::SIToFPOp>(held, x);
    else if (x.getType() != held)
      value = held.isF64() ? o.make<arith::ExtFOp>(held, x)
                           : o.make<arith::TruncFOp>(held, x);
    return isTinyFloat(to) ? roundToTiny(o, value, to, overflows, rounding)
                           : value;
  }
  unsigned width = held.getIntOrFloatBitWidth();
  if (fromFloat) {
    if (!isTinyInteger(to))
      return floatToInteger(o, x, width, to.isUnsignedInteger());
    x = o.make<arith::TruncIOp>(held, floatToInteger(o, x, 32, false));
    return extendTiny(b, loc, x, to);
  }
  unsigned fromWidth = x.getType().getIntOrFloatBitWidth();
  if (fromWidth > width)
    x = o.make<arith::TruncIOp>(held, x);
  else if (fromWidth < width)
    x = isUnsignedElement(from) ? o.make<arith::ExtUIOp>(held, x)
                                : o.make<arith::ExtSIOp>(held, x);
  return isTinyInteger(to) ? extendTiny(b, loc, x, to) : x;
}
