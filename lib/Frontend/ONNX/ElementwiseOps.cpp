//===- ElementwiseOps.cpp - Arithmetic and activations --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A little longer than other families because its table alone has 60 lines.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"
#include "lib/Frontend/ONNX/Elementwise.h"
#include <cmath>
#include <limits>

using namespace mlir;

namespace ferrite::frontend {

//===----------------------------------------------------------------------===//
// Shared with comparisons
//===----------------------------------------------------------------------===//

LogicalResult expectOneType(OpBinder &b, unsigned first, unsigned last) {
  for (unsigned i = first + 1; i < last; ++i)
    if (b.input(i).element != b.input(first).element) {
      std::string text;
      llvm::raw_string_ostream(text)
          << "its operands have types " << b.input(first).element << " and "
          << b.input(i).element;
      return b.error(text);
    }
  return success();
}

std::optional<std::vector<DimExpr>>
evaluateElementwise(const TensorValue &a, const TensorValue &b,
                    ArrayRef<DimExpr> dims, IntOp op,
                    const SymbolBounds &symbols) {
  if (!a.contents || !b.contents)
    return std::nullopt;
  std::optional<int64_t> count = product(dims).constant();
  if (!count || *count > kMaxContents)
    return std::nullopt;
  std::vector<DimExpr> results;
  for (int64_t i = 0; i < *count; ++i) {
    std::optional<DimExpr> point =
        evaluate(op, (*a.contents)[broadcastIndex(i, dims, a.dims)],
                 (*b.contents)[broadcastIndex(i, dims, b.dims)], symbols);
    // A number that does not fit is left to the op, which wraps.
    if (!point ||
        (point->constant() &&
         wrapTo(*kindOf(a.element), *point->constant()) != *point->constant()))
      return std::nullopt;
    results.push_back(*point);
  }
  return results;
}

int64_t broadcastIndex(int64_t flat, ArrayRef<DimExpr> to,
                       ArrayRef<DimExpr> from) {
  int64_t index = 0, stride = 1;
  for (size_t i = to.size(); i-- > 0;) {
    int64_t size = *to[i].constant(), at = flat % size;
    flat /= size;
    size_t lead = to.size() - from.size();
    if (i < lead)
      continue;
    int64_t own = *from[i - lead].constant();
    index += own == 1 ? 0 : at * stride;
    stride *= own;
  }
  return index;
}

namespace {

//===----------------------------------------------------------------------===//
// Unary
//===----------------------------------------------------------------------===//

template <typename OpTy>
LogicalResult importUnary(OpBinder &b) {
  FailureOr<Value> input = b.data(0);
  if (failed(input))
    return failure();
  // ONNX floors and rounds floats alone; so do ours.
  ArrayRef<DimExpr> dims = b.input(0).dims;
  return b.setData(b.create<OpTy>(dims, b.input(0).element, *input), dims);
}

LogicalResult importNeg(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (!input.contents)
    return importUnary<NegOp>(b);
  std::vector<DimExpr> results;
  for (const DimExpr &expr : *input.contents)
    results.push_back(DimExpr(0) - expr);
  return b.setContents(results, input.element, input.dims);
}

LogicalResult importAbs(OpBinder &b) {
  TensorValue &input = b.input(0);
  std::vector<DimExpr> results;
  for (const DimExpr &expr : input.contents.value_or(std::vector<DimExpr>())) {
    std::optional<bool> negative = b.symbols().lessEqual(expr, -1);
    if (!negative)
      return importUnary<AbsOp>(b);
    results.push_back(*negative ? DimExpr(0) - expr : expr);
  }
  return input.contents ? b.setContents(results, input.element, input.dims)
                        : importUnary<AbsOp>(b);
}

LogicalResult importNot(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (!input.contents)
    return importUnary<NotOp>(b);
  std::vector<DimExpr> results;
  for (const DimExpr &expr : *input.contents)
    results.push_back(DimExpr(expr.isConstant(0)));
  return b.setContents(results, input.element, input.dims);
}

LogicalResult importIsNaN(OpBinder &b) {
  FailureOr<Value> input = b.data(0);
  if (failed(input))
    return failure();
  ArrayRef<DimExpr> dims = b.input(0).dims;
  return b.setData(b.create<IsNaNOp>(dims, b.builder().getI1Type(), *input),
                   dims);
}

LogicalResult importGelu(OpBinder &b) {
  std::string approximate = b.stringAttr("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    return b.unsupported("attribute 'approximate' = '" + approximate +
                         "' is not supported");
  FailureOr<Value> input = b.data(0);
  if (failed(input))
    return failure();
  ArrayRef<DimExpr> dims = b.input(0).dims;
  auto kind = approximate == "none" ? Approximate::None : Approximate::Tanh;
  return b.setData(b.create<GeluOp>(dims, b.input(0).element, *input, kind),
                   dims);
}

//===----------------------------------------------------------------------===//
// Binary
//===----------------------------------------------------------------------===//

template <typename OpTy>
LogicalResult importBinary(OpBinder &b, std::optional<IntOp> op = {}) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  FailureOr<Dims> dims = b.broadcast(lhs.dims, rhs.dims);
  if (failed(dims))
    return failure();
  if (op)
    if (auto contents = evaluateElementwise(lhs, rhs, *dims, *op, b.symbols()))
      return b.setContents(*contents, lhs.element, *dims);
  FailureOr<Value> left = b.data(0), right = b.data(1);
  if (failed(left) || failed(right))
    return failure();
  return b.setData(b.create<OpTy>(*dims, lhs.element, *left, *right), *dims);
}

template <typename OpTy>
LogicalResult importPlain(OpBinder &b) {
  return importBinary<OpTy>(b);
}

template <typename OpTy, IntOp op>
LogicalResult importArithmetic(OpBinder &b) {
  return importBinary<OpTy>(b, op);
}

LogicalResult importMod(OpBinder &b) {
  return b.intAttr("fmod", 0) ? importBinary<RemOp>(b)
                              : importBinary<ModOp>(b, IntOp::Mod);
}

LogicalResult importBitShift(OpBinder &b) {
  std::string direction = b.stringAttr("direction", "");
  if (direction == "LEFT")
    return importBinary<ShiftLeftOp>(b);
  if (direction == "RIGHT")
    return importBinary<ShiftRightOp>(b);
  return b.error("attribute 'direction' is '" + direction +
                 "', not LEFT or RIGHT");
}

LogicalResult importIsInf(OpBinder &b) {
  bool negative = b.intAttr("detect_negative", 1) != 0,
       positive = b.intAttr("detect_positive", 1) != 0;
  FailureOr<Value> input = b.data(0);
  if (failed(input))
    return failure();
  ArrayRef<DimExpr> dims = b.input(0).dims;
  Type element = b.input(0).element, i1 = b.builder().getI1Type();
  Value value = *input;
  if (isTinyFloat(element)) // whose infinities f32 has
    value = b.cast(value, dims, element = b.builder().getF32Type());
  double infinity = std::numeric_limits<double>::infinity();
  if (negative && positive)
    value = b.create<AbsOp>(dims, element, value);
  if (!negative && !positive) // of a value compared to itself: never
    return b.setData(b.create<CompareOp>(dims, i1, value, value, Predicate::Lt),
                     dims);
  Value end = b.scalar(positive ? infinity : -infinity, element);
  return b.setData(b.create<CompareOp>(dims, i1, value, end, Predicate::Eq),
                   dims);
}

/// The exponent as a number, when it is one constant.
std::optional<double> constantExponent(const TensorValue &exponent) {
  if (exponent.floats && exponent.floats->size() == 1)
    return exponent.floats->front();
  if (exponent.contents && exponent.contents->size() == 1 &&
      exponent.contents->front().constant())
    return *exponent.contents->front().constant();
  return std::nullopt;
}

LogicalResult importPow(OpBinder &b) {
  TensorValue &base = b.input(0), &exponent = b.input(1);
  FailureOr<Dims> dims = b.broadcast(base.dims, exponent.dims);
  if (failed(dims))
    return failure();
  if (auto contents =
          evaluateElementwise(base, exponent, *dims, IntOp::Pow, b.symbols()))
    return b.setContents(*contents, base.element, *dims);
  // As sqrt of a number of patches, traced to the side of a grid.
  if (base.floats && base.element.isF32() && product(*dims).constant() &&
      constantExponent(exponent)) {
    TensorValue result = b.makeValue(base.element, *dims);
    result.floats.emplace();
    for (int64_t i = 0, end = *product(*dims).constant(); i < end; ++i)
      result.floats->push_back(static_cast<float>(
          std::pow((*base.floats)[broadcastIndex(i, *dims, base.dims)],
                   *constantExponent(exponent))));
    b.setResult(std::move(result));
    return success();
  }
  FailureOr<Value> left = b.data(0);
  if (failed(left))
    return failure();
  bool isInteger = !isa<FloatType>(base.element);
  if (isInteger && isa<FloatType>(exponent.element)) {
    // As NumPy: in floats, then truncated.
    FailureOr<Value> data = b.data(1);
    if (failed(data))
      return failure();
    Type f64 = b.builder().getF64Type();
    Value power = b.create<PowOp>(*dims, f64, b.cast(*left, base.dims, f64),
                                  b.cast(*data, exponent.dims, f64));
    return b.setData(b.cast(power, *dims, base.element), *dims);
  }
  Value right;
  if (std::optional<double> number = constantExponent(exponent);
      number && exponent.rank() == 0) {
    right = b.scalar(*number, base.element); // of any type in ONNX
  } else {
    FailureOr<Value> data = b.data(1);
    if (failed(data))
      return failure();
    right = b.cast(*data, exponent.dims, base.element);
  }
  return b.setData(b.create<PowOp>(*dims, base.element, *left, right), *dims);
}

/// Max, Min, Sum: any number of operands.
template <typename OpTy, IntOp op>
LogicalResult importVariadic(OpBinder &b) {
  if (b.numInputs() == 1)
    return b.forward(0);
  if (b.numInputs() == 2)
    return importBinary<OpTy>(b, op);
  if (failed(expectOneType(b, 0, b.numInputs())))
    return failure();
  FailureOr<Value> result = b.data(0);
  Dims dims = b.input(0).dims;
  for (unsigned i = 1; i < b.numInputs() && succeeded(result); ++i) {
    FailureOr<Value> operand = b.data(i);
    FailureOr<Dims> both = b.broadcast(dims, b.input(i).dims);
    if (failed(operand) || failed(both))
      return failure();
    dims = *both;
    result = b.create<OpTy>(dims, b.input(0).element, *result, *operand);
  }
  return failed(result) ? failure() : b.setData(*result, dims);
}

LogicalResult importClip(OpBinder &b) {
  TensorValue &input = b.input(0);
  // One bound known at import is enough for sizes.
  if (input.contents) {
    std::vector<DimExpr> results = *input.contents;
    bool known = true;
    for (unsigned i : {1, 2}) {
      if (!b.hasInput(i))
        continue;
      known &= b.input(i).contents.has_value();
      for (DimExpr &point : results) {
        if (!known)
          break;
        auto next = evaluate(i == 1 ? IntOp::Max : IntOp::Min, point,
                             b.input(i).contents->front(), b.symbols());
        known = next.has_value();
        point = next.value_or(point);
      }
    }
    if (known)
      return b.setContents(results, input.element, input.dims);
  }
  FailureOr<Value> value = b.data(0);
  for (unsigned i : {1, 2}) {
    if (!b.hasInput(i) || failed(value))
      continue;
    FailureOr<Value> bound = b.data(i);
    if (failed(bound))
      return failure();
    if (b.input(i).element != input.element)
      return b.error("its bounds have another type than its input");
    if (!product(b.input(i).dims).isConstant(1))
      return b.error("its bounds are not scalars");
    *bound = b.view(*bound, {});
    value = i == 1 ? b.create<MaxOp>(input.dims, input.element, *value, *bound)
                   : b.create<MinOp>(input.dims, input.element, *value, *bound);
  }
  return failed(value) ? failure() : b.setData(*value, input.dims);
}

//===----------------------------------------------------------------------===//
// Left over from training
//===----------------------------------------------------------------------===//

LogicalResult importDropout(OpBinder &b) {
  b.floatAttr("ratio", 0.5f);
  b.intAttr("seed", 0);
  if (b.hasInput(2)) {
    const auto &training = b.input(2).contents;
    if (!training)
      return b.needsConstant(2, "training_mode");
    bool isTraining = training->size() != 1 || !training->front().isConstant(0);
    if (isTraining && b.hasInput(1) && !b.input(1).floats)
      return b.needsConstant(1, "ratio");
    if (isTraining && !(b.hasInput(1) && b.input(1).floats->size() == 1 &&
                        b.input(1).floats->front() == 0))
      return b.unsupported("in training draws random numbers, which Ferrite "
                           "does not");
  }
  LogicalResult result = b.forward(0);
  if (failed(result) || !b.hasOutput(1))
    return result;
  // Nothing is dropped.
  ArrayRef<DimExpr> dims = b.input(0).dims;
  Type i1 = b.builder().getI1Type();
  return b.setData(
      b.create<BroadcastOp>(dims, i1, b.scalar(1, i1), b.dimsAttr(dims)), dims,
      1);
}

LogicalResult importIdentity(OpBinder &b) { return b.forward(0); }

} // namespace

void registerElementwiseOps(OpTable &table) {
  table.add("Sqrt", importUnary<SqrtOp>);
  table.add("Reciprocal", importUnary<ReciprocalOp>);
  table.add("Exp", importUnary<ExpOp>);
  table.add("Log", importUnary<LogOp>);
  table.add("Erf", importUnary<ErfOp>);
  table.add("Tanh", importUnary<TanhOp>);
  table.add("Sigmoid", importUnary<SigmoidOp>);
  table.add("Relu", importUnary<ReluOp>);
  table.add("Sin", importUnary<SinOp>);
  table.add("Cos", importUnary<CosOp>);
  table.add("Sign", importUnary<SignOp>);
  table.add("Floor", importUnary<FloorOp>);
  table.add("Ceil", importUnary<CeilOp>);
  table.add("Round", importUnary<RoundOp>);
  table.add("Tan", importUnary<TanOp>);
  table.add("Asin", importUnary<AsinOp>);
  table.add("Acos", importUnary<AcosOp>);
  table.add("Atan", importUnary<AtanOp>);
  table.add("Sinh", importUnary<SinhOp>);
  table.add("Cosh", importUnary<CoshOp>);
  table.add("Asinh", importUnary<AsinhOp>);
  table.add("Acosh", importUnary<AcoshOp>);
  table.add("Atanh", importUnary<AtanhOp>);
  table.add("BitwiseNot", importUnary<NotOp>);
  table.add("BitwiseAnd", importPlain<AndOp>);
  table.add("BitwiseOr", importPlain<OrOp>);
  table.add("BitwiseXor", importPlain<XorOp>);
  table.add("BitShift", importBitShift);
  table.add("IsInf", importIsInf);
  table.add("Neg", importNeg);
  table.add("Abs", importAbs);
  table.add("Not", importNot);
  table.add("IsNaN", importIsNaN);
  table.add("Gelu", importGelu);
  table.add("Add", importArithmetic<AddOp, IntOp::Add>);
  table.add("Sub", importArithmetic<SubOp, IntOp::Sub>);
  table.add("Mul", importArithmetic<MulOp, IntOp::Mul>);
  table.add("Div", importArithmetic<DivOp, IntOp::Div>);
  table.add("And", importArithmetic<AndOp, IntOp::And>);
  table.add("Or", importArithmetic<OrOp, IntOp::Or>);
  table.add("Xor", importArithmetic<XorOp, IntOp::Xor>);
  table.add("Mod", importMod);
  table.add("Pow", importPow);
  table.add("Max", importVariadic<MaxOp, IntOp::Max>);
  table.add("Min", importVariadic<MinOp, IntOp::Min>);
  table.add("Sum", importVariadic<AddOp, IntOp::Add>);
  table.add("Clip", importClip);
  table.add("Dropout", importDropout);
  table.add("Identity", importIdentity);
}

} // namespace ferrite::frontend
