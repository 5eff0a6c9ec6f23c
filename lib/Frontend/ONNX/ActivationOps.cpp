//===- ActivationOps.cpp - Activations of one formula ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The standard has function bodies for these, but only in its newer opsets,
// and they round where one would not: exp(x) - 1 loses what expm1 keeps.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Points of one shape and type.
struct Points {
  OpBinder &b;
  ArrayRef<DimExpr> dims;
  Type element;

  template <typename OpTy>
  Value make(Value x) {
    return b.create<OpTy>(dims, element, x);
  }
  template <typename OpTy>
  Value make(Value x, Value y) {
    return b.create<OpTy>(dims, element, x, y);
  }
  template <typename OpTy>
  Value make(Value x, double y) {
    return make<OpTy>(x, number(y));
  }
  Value number(double value) { return b.scalar(value, element); }
  Value is(Predicate predicate, Value x, double y) {
    return b.create<CompareOp>(dims, b.builder().getI1Type(), x, number(y),
                               predicate);
  }
  Value where(Value condition, Value x, Value y) {
    return b.create<WhereOp>(dims, element, condition, x, y);
  }
  /// A NaN stays one.
  Value clip(Value x, double low, double high) {
    return make<MinOp>(make<MaxOp>(x, low), high);
  }
  /// log(1 + e^x), with neither end overflowing.
  Value softplus(Value x) {
    Value small = make<ExpOp>(make<NegOp>(make<AbsOp>(x)));
    return make<AddOp>(make<MaxOp>(x, 0.0), make<Log1pOp>(small));
  }
};

using Formula = Value (*)(OpBinder &b, Points &p, Value x);

template <Formula formula>
LogicalResult importFormula(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Points points{b, input.dims, input.element};
  return b.setData(formula(b, points, *data), input.dims);
}

Value elu(OpBinder &b, Points &p, Value x) {
  Value below = p.make<MulOp>(p.make<Expm1Op>(x), b.floatAttr("alpha", 1.0f));
  return p.where(p.is(Predicate::Lt, x, 0), below, x);
}

/// max(0, x) + min(0, alpha * (exp(x / alpha) - 1))
Value celu(OpBinder &b, Points &p, Value x) {
  float alpha = b.floatAttr("alpha", 1.0f);
  Value below = p.make<MulOp>(p.make<Expm1Op>(p.make<DivOp>(x, alpha)), alpha);
  return p.make<AddOp>(p.make<MaxOp>(x, 0.0), p.make<MinOp>(below, 0.0));
}

Value selu(OpBinder &b, Points &p, Value x) {
  float alpha = b.floatAttr("alpha", 1.67326319217681884765625f);
  float gamma = b.floatAttr("gamma", 1.05070102214813232421875f);
  Value below = p.make<MulOp>(p.make<Expm1Op>(x), alpha);
  Value chosen = p.where(p.is(Predicate::Gt, x, 0), x, below);
  return p.make<MulOp>(chosen, gamma);
}

Value leakyRelu(OpBinder &b, Points &p, Value x) {
  Value below = p.make<MulOp>(x, b.floatAttr("alpha", 0.01f));
  return p.where(p.is(Predicate::Lt, x, 0), below, x);
}

Value thresholdedRelu(OpBinder &b, Points &p, Value x) {
  Value above = p.is(Predicate::Gt, x, b.floatAttr("alpha", 1.0f));
  return p.where(above, x, p.number(0));
}

Value hardSigmoid(OpBinder &b, Points &p, Value x) {
  float alpha = b.floatAttr("alpha", 0.2f), beta = b.floatAttr("beta", 0.5f);
  return p.clip(p.make<AddOp>(p.make<MulOp>(x, alpha), beta), 0, 1);
}

Value hardSwish(OpBinder &, Points &p, Value x) {
  Value gate = p.make<AddOp>(p.make<MulOp>(x, 1.0 / 6), 0.5);
  return p.make<MulOp>(x, p.clip(gate, 0, 1));
}

Value softplus(OpBinder &, Points &p, Value x) { return p.softplus(x); }

Value softsign(OpBinder &, Points &p, Value x) {
  return p.make<DivOp>(x, p.make<AddOp>(p.make<AbsOp>(x), 1.0));
}

Value mish(OpBinder &, Points &p, Value x) {
  return p.make<MulOp>(x, p.make<TanhOp>(p.softplus(x)));
}

/// Of integers too.
LogicalResult importShrink(OpBinder &b) {
  TensorValue &input = b.input(0);
  float lambda = b.floatAttr("lambd", 0.5f), bias = b.floatAttr("bias", 0.0f);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  // Thresholds are floats: integers are compared as such.
  bool isFloat = isa<FloatType>(input.element);
  Type held = isFloat ? input.element : Type(b.builder().getF64Type());
  Points p{b, input.dims, held};
  Value x = b.cast(*data, input.dims, held);
  Value rest = p.where(p.is(Predicate::Gt, x, lambda), p.make<SubOp>(x, bias),
                       p.number(0));
  Value result =
      p.where(p.is(Predicate::Lt, x, -lambda), p.make<AddOp>(x, bias), rest);
  return b.setData(b.cast(result, input.dims, input.element), input.dims);
}

/// The slope broadcasts to the input; a vector of opset 6 is one for each
/// channel, which ONNX's converter to newer opsets leaves as it is.
LogicalResult importPRelu(OpBinder &b) {
  TensorValue &input = b.input(0), &slope = b.input(1);
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  FailureOr<Value> data = b.data(0), factor = b.data(1);
  if (failed(data) || failed(factor))
    return failure();
  Dims side = slope.dims;
  bool isPerChannel = b.importer.sourceOpset < 7 && slope.rank() == 1 &&
                      input.rank() >= 2 && !side[0].isConstant(1);
  if (isPerChannel)
    side.resize(input.rank() - 1, DimExpr(1));
  std::optional<Dims> both = broadcastDims(side, input.dims);
  if (!both || *both != input.dims)
    return b.error("its slope, " + printDims(slope.dims) +
                   ", does not broadcast to its input");
  Points p{b, input.dims, input.element};
  Value below = p.make<MulOp>(*data, b.view(*factor, slope.dims, side));
  return b.setData(p.where(p.is(Predicate::Lt, *data, 0), below, *data),
                   input.dims);
}

} // namespace

void registerActivationOps(OpTable &table) {
  table.add("Elu", importFormula<elu>);
  table.add("Celu", importFormula<celu>);
  table.add("Selu", importFormula<selu>);
  table.add("LeakyRelu", importFormula<leakyRelu>);
  table.add("ThresholdedRelu", importFormula<thresholdedRelu>);
  table.add("HardSigmoid", importFormula<hardSigmoid>);
  table.add("HardSwish", importFormula<hardSwish>);
  table.add("Softplus", importFormula<softplus>);
  table.add("Softsign", importFormula<softsign>);
  table.add("Mish", importFormula<mish>);
  table.add("Shrink", importShrink);
  table.add("PRelu", importPRelu);
}

} // namespace ferrite::frontend
