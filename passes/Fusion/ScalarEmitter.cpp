//===- ScalarEmitter.cpp - A tensor op as scalar ops ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ScalarEmitter.h"

#include "mlir/IR/Matchers.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/ScalarCasts.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

Type ferrite::heldType(Type element) {
  return isShortFloat(element) || isTinyFloat(element)
             ? Float32Type::get(element.getContext())
             : getBodyType(element);
}

const char *ferrite::whyNotScalar(Operation *op) {
  if (!isa<AbsOp, NegOp, SignOp, FloorOp, CeilOp, RoundOp, SqrtOp, ReciprocalOp,
           ExpOp, Expm1Op, LogOp, Log1pOp, ErfOp, TanhOp, SigmoidOp, ReluOp,
           SinOp, CosOp, TanOp, AsinOp, AcosOp, AtanOp, SinhOp, CoshOp, AsinhOp,
           AcoshOp, AtanhOp, NotOp, GeluOp, CastOp, IsNaNOp, AddOp, SubOp,
           MulOp, DivOp, PowOp, ModOp, RemOp, ShiftLeftOp, ShiftRightOp, MaxOp,
           MinOp, AndOp, OrOp, XorOp, CompareOp, WhereOp>(op))
    return "the op is not elementwise";
  Type element = elementTypeOf(op->getResult(0));
  if ((isTinyFloat(element) || isTinyInteger(element)) &&
      !isa<CastOp, WhereOp>(op))
    return "there is no arithmetic on this element type";
  return nullptr;
}

namespace {
/// Scalar ops at one place, of one op's result type.
struct Emitter {
  OpBuilder &b;
  Location loc;
  Type type;       // held
  bool isUnsigned; // what it stands for

  template <typename OpTy, typename... Args>
  Value make(Args... args) {
    return OpTy::create(b, loc, args...);
  }
  Value constant(double value) { return emitConstant(b, loc, type, value); }
  bool isFloat() { return isa<FloatType>(type); }
  template <typename F, typename I, typename U = I>
  Value pick(Value x, Value y) {
    return isFloat()    ? make<F>(x, y)
           : isUnsigned ? make<U>(x, y)
                        : make<I>(x, y);
  }
  Value select(Value condition, Value x, Value y) {
    return make<arith::SelectOp>(condition, x, y);
  }
  Value is(arith::CmpIPredicate predicate, Value x, Value y) {
    return make<arith::CmpIOp>(predicate, x, y);
  }
  Value is(arith::CmpFPredicate predicate, Value x, Value y) {
    return make<arith::CmpFOp>(predicate, x, y);
  }

  Value sign(Value x) {
    Value zero = constant(0), one = constant(1), minus = constant(-1);
    Value above, below;
    if (isFloat()) {
      above = make<arith::CmpFOp>(arith::CmpFPredicate::OGT, x, zero);
      below = make<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, zero);
    } else if (isUnsigned) {
      return make<arith::MinUIOp>(x, one);
    } else {
      above = make<arith::CmpIOp>(arith::CmpIPredicate::sgt, x, zero);
      below = make<arith::CmpIOp>(arith::CmpIPredicate::slt, x, zero);
    }
    // Neither: x is 0 or a NaN, and is its own sign.
    Value rest = make<arith::SelectOp>(below, minus, x);
    return make<arith::SelectOp>(above, one, rest);
  }

  Value sigmoid(Value x) {
    Value e = make<math::ExpOp>(make<arith::NegFOp>(x));
    return make<arith::DivFOp>(constant(1),
                               make<arith::AddFOp>(constant(1), e));
  }

  Value gelu(Value x, Approximate approximate) {
    Value t;
    if (approximate == Approximate::None) {
      t = make<math::ErfOp>(
          make<arith::MulFOp>(x, constant(0.70710678118654752440)));
    } else {
      Value square = make<arith::MulFOp>(x, x);
      Value cube = make<arith::MulFOp>(square, x);
      Value inner =
          make<arith::AddFOp>(x, make<arith::MulFOp>(cube, constant(0.044715)));
      t = make<math::TanhOp>(
          make<arith::MulFOp>(inner, constant(0.79788456080286535588)));
    }
    Value half = make<arith::MulFOp>(x, constant(0.5));
    return make<arith::MulFOp>(half, make<arith::AddFOp>(t, constant(1)));
  }

  /// Powers that are a few products, as exporters write squares and cubes.
  Value pow(Value x, Value y, std::optional<double> exponent) {
    if (exponent == 2.0)
      return make<arith::MulFOp>(x, x);
    if (exponent == 3.0)
      return make<arith::MulFOp>(make<arith::MulFOp>(x, x), x);
    if (exponent == 0.5)
      return make<math::SqrtOp>(x);
    if (exponent == 1.0)
      return x;
    return make<math::PowFOp>(x, y);
  }

  /// x - floor(x / y) * y from the rest that has the sign of x.
  Value modulo(Value x, Value y) {
    if (isUnsigned)
      return make<arith::RemUIOp>(x, y);
    Value rest = pick<arith::RemFOp, arith::RemSIOp>(x, y), zero = constant(0);
    Value moved = pick<arith::AddFOp, arith::AddIOp>(rest, y);
    if (!isFloat()) {
      using P = arith::CmpIPredicate;
      Value differs = is(P::slt, make<arith::XOrIOp>(rest, y), zero);
      // Over 0 the rest is 0 too.
      differs = make<arith::AndIOp>(differs, is(P::ne, rest, zero));
      return select(differs, moved, rest);
    }
    using P = arith::CmpFPredicate;
    Value differs =
        make<arith::XOrIOp>(is(P::OLT, rest, zero), is(P::OLT, y, zero));
    Value signedZero = make<math::CopySignOp>(zero, y);
    return select(is(P::OEQ, rest, zero), signedZero,
                  select(differs, moved, rest));
  }

  Value integerPower(Value x, Value y, std::optional<double> exponent);

  /// Shifts by the width and more are no instruction's.
  template <typename OpTy>
  Value shift(Value x, Value by, Value gone) {
    Value width = constant(type.getIntOrFloatBitWidth());
    return select(is(arith::CmpIPredicate::ult, by, width), make<OpTy>(x, by),
                  gone);
  }
  Value shiftRight(Value x, Value by) {
    if (isUnsigned)
      return shift<arith::ShRUIOp>(x, by, constant(0));
    Value most = constant(type.getIntOrFloatBitWidth() - 1);
    return shift<arith::ShRSIOp>(x, by, make<arith::ShRSIOp>(x, most));
  }

  Value compare(Predicate predicate, Value x, Value y, bool isUnsigned) {
    if (isa<FloatType>(x.getType())) {
      static const arith::CmpFPredicate table[] = {
          arith::CmpFPredicate::OEQ, arith::CmpFPredicate::UNE,
          arith::CmpFPredicate::OLT, arith::CmpFPredicate::OLE,
          arith::CmpFPredicate::OGT, arith::CmpFPredicate::OGE};
      return make<arith::CmpFOp>(table[static_cast<int>(predicate)], x, y);
    }
    using P = arith::CmpIPredicate;
    static const P table[][6] = {
        {P::eq, P::ne, P::slt, P::sle, P::sgt, P::sge},
        {P::eq, P::ne, P::ult, P::ule, P::ugt, P::uge}};
    return is(table[isUnsigned][static_cast<int>(predicate)], x, y);
  }
};
} // namespace

/// By squares, wrapping. A negative exponent leaves 1 of 1 and -1 alone.
Value Emitter::integerPower(Value x, Value y, std::optional<double> exponent) {
  auto multiply = [&](Value a, Value b) { return make<arith::MulIOp>(a, b); };
  if (exponent && *exponent >= 0 && *exponent <= 64) {
    Value result;
    for (auto left = static_cast<unsigned>(*exponent); left; left >>= 1) {
      if (left & 1)
        result = result ? multiply(result, x) : x;
      if (left > 1)
        x = multiply(x, x);
    }
    return result ? result : constant(1);
  }
  using P = arith::CmpIPredicate;
  Value result = constant(1), one = result, zero = constant(0), square = x;
  unsigned bits = type.getIntOrFloatBitWidth() - !isUnsigned;
  for (unsigned i = 0; i < bits; ++i) {
    Value bit = make<arith::AndIOp>(
        make<arith::ShRUIOp>(y, constant(static_cast<double>(i))), one);
    result = multiply(result, select(is(P::ne, bit, zero), square, one));
    square = multiply(square, square);
  }
  if (isUnsigned)
    return result;
  Value odd = is(P::ne, make<arith::AndIOp>(y, one), zero);
  Value inverse =
      select(is(P::eq, x, constant(-1)), select(odd, constant(-1), one), zero);
  inverse = select(is(P::eq, x, one), one, inverse);
  return select(is(P::slt, y, zero), inverse, result);
}

Value ferrite::emitScalar(OpBuilder &builder, Operation *op,
                          ArrayRef<Value> v) {
  Type element = elementTypeOf(op->getResult(0));
  Emitter e{builder, op->getLoc(), heldType(element),
            element.isUnsignedInteger()};
  bool isFloat = e.isFloat();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AbsOp) {
        return isFloat        ? e.make<math::AbsFOp>(v[0])
               : e.isUnsigned ? v[0]
                              : e.make<math::AbsIOp>(v[0]);
      })
      .Case([&](NegOp) {
        return isFloat ? e.make<arith::NegFOp>(v[0])
                       : e.make<arith::SubIOp>(e.constant(0), v[0]);
      })
      .Case([&](SignOp) { return e.sign(v[0]); })
      .Case([&](FloorOp) { return e.make<math::FloorOp>(v[0]); })
      .Case([&](CeilOp) { return e.make<math::CeilOp>(v[0]); })
      .Case([&](RoundOp) { return e.make<math::RoundEvenOp>(v[0]); })
      .Case([&](SqrtOp) { return e.make<math::SqrtOp>(v[0]); })
      .Case([&](ReciprocalOp) {
        return e.make<arith::DivFOp>(e.constant(1), v[0]);
      })
      .Case([&](ExpOp) { return e.make<math::ExpOp>(v[0]); })
      .Case([&](LogOp) { return e.make<math::LogOp>(v[0]); })
      .Case([&](ErfOp) { return e.make<math::ErfOp>(v[0]); })
      .Case([&](TanhOp) { return e.make<math::TanhOp>(v[0]); })
      .Case([&](SigmoidOp) { return e.sigmoid(v[0]); })
      .Case([&](ReluOp) {
        return e.pick<arith::MaximumFOp, arith::MaxSIOp, arith::MaxUIOp>(
            v[0], e.constant(0));
      })
      .Case([&](SinOp) { return e.make<math::SinOp>(v[0]); })
      .Case([&](CosOp) { return e.make<math::CosOp>(v[0]); })
      .Case([&](TanOp) { return e.make<math::TanOp>(v[0]); })
      .Case([&](AsinOp) { return e.make<math::AsinOp>(v[0]); })
      .Case([&](AcosOp) { return e.make<math::AcosOp>(v[0]); })
      .Case([&](AtanOp) { return e.make<math::AtanOp>(v[0]); })
      .Case([&](SinhOp) { return e.make<math::SinhOp>(v[0]); })
      .Case([&](CoshOp) { return e.make<math::CoshOp>(v[0]); })
      .Case([&](AsinhOp) { return e.make<math::AsinhOp>(v[0]); })
      .Case([&](AcoshOp) { return e.make<math::AcoshOp>(v[0]); })
      .Case([&](AtanhOp) { return e.make<math::AtanhOp>(v[0]); })
      .Case([&](Log1pOp) { return e.make<math::Log1pOp>(v[0]); })
      .Case([&](Expm1Op) { return e.make<math::ExpM1Op>(v[0]); })
      .Case([&](NotOp) {
        return e.make<arith::XOrIOp>(v[0],
                                     e.constant(e.type.isInteger(1) ? 1 : -1));
      })
      .Case([&](GeluOp gelu) { return e.gelu(v[0], gelu.getApproximate()); })
      .Case([&](CastOp cast) {
        return emitCast(builder, op->getLoc(), v[0],
                        elementTypeOf(cast.getInput()), element,
                        cast.getOverflows(), cast.getRounding());
      })
      .Case([&](IsNaNOp) {
        return e.make<arith::CmpFOp>(arith::CmpFPredicate::UNO, v[0], v[0]);
      })
      .Case([&](AddOp) {
        return e.pick<arith::AddFOp, arith::AddIOp>(v[0], v[1]);
      })
      .Case([&](SubOp) {
        return e.pick<arith::SubFOp, arith::SubIOp>(v[0], v[1]);
      })
      .Case([&](MulOp) {
        return e.pick<arith::MulFOp, arith::MulIOp>(v[0], v[1]);
      })
      .Case([&](DivOp) {
        return e.pick<arith::DivFOp, arith::DivSIOp, arith::DivUIOp>(v[0],
                                                                     v[1]);
      })
      .Case([&](PowOp) {
        std::optional<double> exponent = getSplat(op->getOperand(1));
        return isFloat ? e.pow(v[0], v[1], exponent)
                       : e.integerPower(v[0], v[1], exponent);
      })
      .Case([&](ModOp) { return e.modulo(v[0], v[1]); })
      .Case([&](RemOp) {
        return e.pick<arith::RemFOp, arith::RemSIOp, arith::RemUIOp>(v[0],
                                                                     v[1]);
      })
      .Case([&](ShiftLeftOp) {
        return e.shift<arith::ShLIOp>(v[0], v[1], e.constant(0));
      })
      .Case([&](ShiftRightOp) { return e.shiftRight(v[0], v[1]); })
      .Case([&](MaxOp) {
        return e.pick<arith::MaximumFOp, arith::MaxSIOp, arith::MaxUIOp>(v[0],
                                                                         v[1]);
      })
      .Case([&](MinOp) {
        return e.pick<arith::MinimumFOp, arith::MinSIOp, arith::MinUIOp>(v[0],
                                                                         v[1]);
      })
      .Case([&](AndOp) { return e.make<arith::AndIOp>(v[0], v[1]); })
      .Case([&](OrOp) { return e.make<arith::OrIOp>(v[0], v[1]); })
      .Case([&](XorOp) { return e.make<arith::XOrIOp>(v[0], v[1]); })
      .Case([&](CompareOp compare) {
        return e.compare(compare.getPredicate(), v[0], v[1],
                         isUnsignedElement(elementTypeOf(compare.getLhs())));
      })
      .Case([&](WhereOp) { return e.make<arith::SelectOp>(v[0], v[1], v[2]); });
}

Value ferrite::emitLoad(OpBuilder &builder, Location loc, Value argument,
                        Type element) {
  if (isTinyFloat(element))
    return decodeTiny(builder, loc, argument, element);
  if (isTinyInteger(element))
    return extendTiny(builder, loc, argument, element);
  Type held = heldType(element);
  if (held == argument.getType())
    return argument;
  return arith::ExtFOp::create(builder, loc, held, argument);
}

Value ferrite::emitStore(OpBuilder &builder, Location loc, Value held,
                         Type element) {
  if (isTinyFloat(element))
    return encodeTiny(builder, loc, held, element);
  if (held.getType() == getBodyType(element))
    return held;
  // What was only widened to be held is still there unwidened.
  if (auto load = held.getDefiningOp<arith::ExtFOp>())
    if (load.getIn().getType() == element)
      return load.getIn();
  return arith::TruncFOp::create(builder, loc, element, held);
}

Value ferrite::emitConstant(OpBuilder &builder, Location loc, Type element,
                            double value) {
  Type type = heldType(element);
  TypedAttr attr;
  if (auto floatType = dyn_cast<FloatType>(type))
    attr = builder.getFloatAttr(floatType, value);
  else // all ones are -1 and, of unsigned types, the largest
    attr = builder.getIntegerAttr(
        type, APInt(64, static_cast<int64_t>(value), /*isSigned=*/true)
                  .trunc(type.getIntOrFloatBitWidth()));
  return arith::ConstantOp::create(builder, loc, attr);
}

/// The splat constant that `tensor` repeats, or null.
static DenseElementsAttr splatOf(Value tensor) {
  DenseElementsAttr attr;
  while (Operation *op = tensor.getDefiningOp()) {
    if (!isa<ViewOp, BroadcastOp, TransposeOp>(op))
      break;
    tensor = op->getOperand(0);
  }
  bool found = matchPattern(tensor, m_Constant(&attr)) && attr.isSplat();
  return found ? attr : DenseElementsAttr();
}

bool ferrite::isSplat(Value tensor) {
  return static_cast<bool>(splatOf(tensor));
}

Value ferrite::emitSplat(OpBuilder &builder, Location loc, Value tensor) {
  DenseElementsAttr attr = splatOf(tensor);
  if (!attr)
    return {};
  Type element = attr.getElementType();
  if (!isa<FloatType>(
          element)) // not through a double: i64 has values that it has not
  {
    Type held = heldType(element);
    unsigned width = held.getIntOrFloatBitWidth();
    APInt value = attr.getSplatValue<APInt>();
    value = isUnsignedElement(element) ? value.zext(width) : value.sext(width);
    return arith::ConstantOp::create(builder, loc,
                                     IntegerAttr::get(held, value));
  }
  APFloat value = attr.getSplatValue<APFloat>();
  bool inexact;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &inexact);
  return emitConstant(builder, loc, element, value.convertToDouble());
}
