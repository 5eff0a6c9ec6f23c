//===- ScalarEmitter.cpp - A tensor op as scalar ops ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/ScalarEmitter.h"

#include "mlir/IR/Matchers.h"
#include "passes/Analysis/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

Type ferrite::heldType(Type element) {
  return isShortFloat(element) ? Float32Type::get(element.getContext())
                               : element;
}

const char *ferrite::whyNotScalar(Operation *op) {
  if (!isa<AbsOp, NegOp, SignOp, FloorOp, CeilOp, RoundOp, SqrtOp, ReciprocalOp,
           ExpOp, LogOp, ErfOp, TanhOp, SigmoidOp, ReluOp, SinOp, CosOp, NotOp,
           GeluOp, CastOp, IsNaNOp, AddOp, SubOp, MulOp, DivOp, PowOp, MaxOp,
           MinOp, AndOp, OrOp, XorOp, CompareOp, WhereOp>(op))
    return "the op is not elementwise";
  SmallVector<Value> values(op->getOperands());
  values.push_back(op->getResult(0));
  for (Value value : values) {
    Type element = elementTypeOf(value);
    if (element.isUnsignedInteger())
      return "bodies have no unsigned integers";
    if (element.isF64() && isa<ExpOp, LogOp, ErfOp, TanhOp, SigmoidOp, SinOp,
                               CosOp, GeluOp, PowOp>(op))
      return "there is no f64 version of this function";
  }
  return nullptr;
}

namespace {
/// Scalar ops at one place, of one op's result type.
struct Emitter {
  OpBuilder &b;
  Location loc;
  Type type; // held

  template <typename OpTy, typename... Args>
  Value make(Args... args) {
    return OpTy::create(b, loc, args...);
  }
  Value constant(double value) { return emitConstant(b, loc, type, value); }
  bool isFloat() { return isa<FloatType>(type); }
  template <typename F, typename I>
  Value pick(Value x, Value y) {
    return isFloat() ? make<F>(x, y) : make<I>(x, y);
  }

  Value sign(Value x) {
    Value zero = constant(0), one = constant(1), minus = constant(-1);
    Value above, below;
    if (isFloat()) {
      above = make<arith::CmpFOp>(arith::CmpFPredicate::OGT, x, zero);
      below = make<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, zero);
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

  Value compare(Predicate predicate, Value x, Value y) {
    if (isa<FloatType>(x.getType())) {
      static const arith::CmpFPredicate table[] = {
          arith::CmpFPredicate::OEQ, arith::CmpFPredicate::UNE,
          arith::CmpFPredicate::OLT, arith::CmpFPredicate::OLE,
          arith::CmpFPredicate::OGT, arith::CmpFPredicate::OGE};
      return make<arith::CmpFOp>(table[static_cast<int>(predicate)], x, y);
    }
    static const arith::CmpIPredicate table[] = {
        arith::CmpIPredicate::eq,  arith::CmpIPredicate::ne,
        arith::CmpIPredicate::slt, arith::CmpIPredicate::sle,
        arith::CmpIPredicate::sgt, arith::CmpIPredicate::sge};
    return make<arith::CmpIOp>(table[static_cast<int>(predicate)], x, y);
  }

  Value cast(Value x);
};
} // namespace

/// ONNX Cast-13 between held types. Float to short float is a cast to f32: the
/// body rounds where it ends.
Value Emitter::cast(Value x) {
  Type from = x.getType();
  if (from == type)
    return x;
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(type);
  unsigned fromBits = from.getIntOrFloatBitWidth(),
           toBits = type.getIntOrFloatBitWidth();
  if (toBits == 1) {
    Value zero = emitConstant(b, loc, from, 0);
    return fromFloat ? make<arith::CmpFOp>(arith::CmpFPredicate::UNE, x, zero)
                     : make<arith::CmpIOp>(arith::CmpIPredicate::ne, x, zero);
  }
  if (fromFloat && toFloat)
    return fromBits < toBits ? make<arith::ExtFOp>(type, x)
                             : make<arith::TruncFOp>(type, x);
  if (fromFloat)
    return make<arith::FPToSIOp>(type, x);
  if (toFloat)
    return fromBits == 1 ? make<arith::UIToFPOp>(type, x)
                         : make<arith::SIToFPOp>(type, x);
  if (fromBits > toBits)
    return make<arith::TruncIOp>(type, x);
  return fromBits == 1 ? make<arith::ExtUIOp>(type, x)
                       : make<arith::ExtSIOp>(type, x);
}

Value ferrite::emitScalar(OpBuilder &builder, Operation *op,
                          ArrayRef<Value> v) {
  Emitter e{builder, op->getLoc(), heldType(elementTypeOf(op->getResult(0)))};
  bool isFloat = e.isFloat();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AbsOp) {
        return isFloat ? e.make<math::AbsFOp>(v[0])
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
        return e.pick<arith::MaximumFOp, arith::MaxSIOp>(v[0], e.constant(0));
      })
      .Case([&](SinOp) { return e.make<math::SinOp>(v[0]); })
      .Case([&](CosOp) { return e.make<math::CosOp>(v[0]); })
      .Case([&](NotOp) { return e.make<arith::XOrIOp>(v[0], e.constant(1)); })
      .Case([&](GeluOp gelu) { return e.gelu(v[0], gelu.getApproximate()); })
      .Case([&](CastOp) { return e.cast(v[0]); })
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
        return e.pick<arith::DivFOp, arith::DivSIOp>(v[0], v[1]);
      })
      .Case(
          [&](PowOp) { return e.pow(v[0], v[1], getSplat(op->getOperand(1))); })
      .Case([&](MaxOp) {
        return e.pick<arith::MaximumFOp, arith::MaxSIOp>(v[0], v[1]);
      })
      .Case([&](MinOp) {
        return e.pick<arith::MinimumFOp, arith::MinSIOp>(v[0], v[1]);
      })
      .Case([&](AndOp) { return e.make<arith::AndIOp>(v[0], v[1]); })
      .Case([&](OrOp) { return e.make<arith::OrIOp>(v[0], v[1]); })
      .Case([&](XorOp) { return e.make<arith::XOrIOp>(v[0], v[1]); })
      .Case([&](CompareOp compare) {
        return e.compare(compare.getPredicate(), v[0], v[1]);
      })
      .Case([&](WhereOp) { return e.make<arith::SelectOp>(v[0], v[1], v[2]); });
}

Value ferrite::emitLoad(OpBuilder &builder, Location loc, Value argument) {
  Type held = heldType(argument.getType());
  if (held == argument.getType())
    return argument;
  return arith::ExtFOp::create(builder, loc, held, argument);
}

Value ferrite::emitStore(OpBuilder &builder, Location loc, Value held,
                         Type element) {
  if (held.getType() == element)
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
  else
    attr = builder.getIntegerAttr(type, static_cast<int64_t>(value));
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
  bool found = matchPattern(tensor, m_Constant(&attr)) && attr.isSplat() &&
               !attr.getElementType().isUnsignedInteger();
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
    return arith::ConstantOp::create(
        builder, loc, IntegerAttr::get(element, attr.getSplatValue<APInt>()));
  APFloat value = attr.getSplatValue<APFloat>();
  bool inexact;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &inexact);
  return emitConstant(builder, loc, element, value.convertToDouble());
}
