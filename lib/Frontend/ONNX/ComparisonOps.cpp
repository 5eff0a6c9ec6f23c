//===- ComparisonOps.cpp - Comparisons, choices and conversions -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include <cmath>

using namespace mlir;

namespace ferrite::frontend {
namespace {

template <Predicate predicate, IntOp op>
LogicalResult importCompare(OpBinder &b) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  FailureOr<Dims> dims = b.broadcast(lhs.dims, rhs.dims);
  if (failed(dims))
    return failure();
  Type element = b.builder().getI1Type();
  if (auto contents = evaluateElementwise(lhs, rhs, *dims, op, b.symbols()))
    return b.setContents(*contents, element, *dims);
  FailureOr<Value> left = b.data(0), right = b.data(1);
  if (failed(left) || failed(right))
    return failure();
  return b.setData(
      b.create<CompareOp>(*dims, element, *left, *right, predicate), *dims);
}

LogicalResult importWhere(OpBinder &b) {
  TensorValue &condition = b.input(0), &lhs = b.input(1), &rhs = b.input(2);
  if (failed(expectOneType(b, 1, 3)))
    return failure();
  FailureOr<Dims> dims = b.broadcast(lhs.dims, rhs.dims);
  if (succeeded(dims))
    dims = b.broadcast(condition.dims, *dims);
  if (failed(dims))
    return failure();
  std::optional<int64_t> count = product(*dims).constant();
  if (condition.contents && lhs.contents && rhs.contents && count &&
      *count <= kMaxContents) {
    std::vector<DimExpr> results;
    for (int64_t i = 0; i < *count; ++i) {
      bool chosen =
          !(*condition.contents)[broadcastIndex(i, *dims, condition.dims)]
               .isConstant(0);
      const TensorValue &side = chosen ? lhs : rhs;
      results.push_back((*side.contents)[broadcastIndex(i, *dims, side.dims)]);
    }
    return b.setContents(results, lhs.element, *dims);
  }
  FailureOr<Value> c = b.data(0), l = b.data(1), r = b.data(2);
  if (failed(c) || failed(l) || failed(r))
    return failure();
  return b.setData(b.create<WhereOp>(*dims, lhs.element, *c, *l, *r), *dims);
}

//===----------------------------------------------------------------------===//
// Cast
//===----------------------------------------------------------------------===//

/// The elements as integers of `element`, where the conversion keeps them.
std::optional<std::vector<DimExpr>> castToIntegers(const TensorValue &input,
                                                   IntegerType element) {
  std::vector<DimExpr> results;
  if (input.contents) {
    for (const DimExpr &expr : *input.contents) {
      std::optional<int64_t> number = expr.constant();
      if (element.getWidth() == 1) {
        // Sizes are at least 1, but differences of sizes may be 0.
        if (!number)
          return std::nullopt;
        results.push_back(DimExpr(*number != 0));
        continue;
      }
      // A symbolic size fits any type that exporters use for sizes; a number
      // that does not fit is left to the op, which wraps.
      unsigned bits = element.getWidth() - !element.isUnsigned();
      if (number ? bits < 63 && (*number < -(int64_t(1) << bits) *
                                               !element.isUnsigned() ||
                                 *number >= int64_t(1) << bits)
                 : bits < 31)
        return std::nullopt;
      results.push_back(expr);
    }
    return results;
  }
  if (!input.floats)
    return std::nullopt;
  for (double number : *input.floats) {
    double whole = std::trunc(number);
    if (element.getWidth() == 1)
      whole = number != 0;
    else if (!(std::fabs(whole) < 9.0e18) ||
             (element.getWidth() < 64 && std::fabs(whole) > 127) ||
             (element.isUnsigned() && whole < 0))
      return std::nullopt; // saturates or wraps: the op's business
    results.push_back(DimExpr(static_cast<int64_t>(whole)));
  }
  return results;
}

LogicalResult castTo(OpBinder &b, Type element, bool overflows,
                     Rounding rounding) {
  TensorValue &input = b.input(0);
  if (input.element == element)
    return b.forward(0);
  if (auto integer = dyn_cast<IntegerType>(element))
    if (auto contents = isTinyInteger(integer) ? std::nullopt
                                               : castToIntegers(input, integer))
      return b.setContents(*contents, element, input.dims);
  if (auto floating = dyn_cast<FloatType>(element);
      floating && !isTinyFloat(element)) {
    std::vector<double> numbers = input.floats.value_or(std::vector<double>());
    bool known = input.floats.has_value() || input.contents.has_value();
    for (const DimExpr &expr :
         input.contents.value_or(std::vector<DimExpr>())) {
      known &= expr.constant().has_value() &&
               std::abs(*expr.constant()) < (int64_t(1) << 53);
      numbers.push_back(static_cast<double>(expr.constant().value_or(0)));
    }
    if (known) {
      for (double &number : numbers) {
        // Rounded here, so that later casts see what this one leaves.
        APFloat exact(number);
        bool lost;
        exact.convert(floating.getFloatSemantics(),
                      APFloat::rmNearestTiesToEven, &lost);
        exact.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                      &lost);
        number = exact.convertToDouble();
      }
      TensorValue value = b.makeValue(element, input.dims);
      value.floats = std::move(numbers);
      b.setResult(std::move(value));
      return success();
    }
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  return b.setData(
      b.create<CastOp>(input.dims, element, *data, overflows, rounding),
      input.dims);
}

/// The attributes that matter to floats of 8 bits alone.
LogicalResult castWithMode(OpBinder &b, Type element) {
  bool saturates = b.intAttr("saturate", 1) != 0;
  std::string mode = b.stringAttr("round_mode", "up");
  std::optional<Rounding> rounding = symbolizeRounding(mode);
  if (!rounding)
    return b.error("attribute 'round_mode' is '" + mode +
                   "', not up, down or nearest");
  return castTo(b, element, !saturates, *rounding);
}

/// Integers of one width differ in their meaning alone.
LogicalResult importBitCast(OpBinder &b) {
  auto to = static_cast<int32_t>(b.intAttr("to", 0));
  Type element = b.importer.getElementType(to), from = b.input(0).element;
  if (!element)
    return b.unsupported("attribute 'to' = " + getTypeName(to) +
                         " is not supported");
  bool fromBool = from.isInteger(1), toBool = element.isInteger(1);
  // bool has a byte.
  unsigned fromBits = fromBool ? 8 : from.getIntOrFloatBitWidth(),
           toBits = toBool ? 8 : element.getIntOrFloatBitWidth();
  if (fromBits != toBits)
    return b.error("it turns elements of " + std::to_string(fromBits) +
                   " bits into ones of " + std::to_string(toBits));
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  ArrayRef<DimExpr> dims = b.input(0).dims;
  if (isa<IntegerType>(from) && isa<IntegerType>(element))
    return b.setData(b.cast(*data, dims, element), dims);
  if (fromBool || toBool)
    return b.unsupported("between bool and a float is not supported");
  return b.setData(b.create<BitcastOp>(dims, element, *data), dims);
}

LogicalResult importCast(OpBinder &b) {
  auto to = static_cast<int32_t>(b.intAttr("to", 0));
  Type element = b.importer.getElementType(to);
  if (!isStandardType(to))
    return b.error("attribute 'to' is " + getTypeName(to) +
                   ", which is none of ONNX");
  if (!element)
    return b.unsupported("attribute 'to' = " + getTypeName(to) +
                         " is not supported");
  return castWithMode(b, element);
}

LogicalResult importCastLike(OpBinder &b) {
  return castWithMode(b, b.input(1).element);
}

} // namespace

void registerComparisonOps(OpTable &table) {
  table.add("Equal", importCompare<Predicate::Eq, IntOp::Eq>);
  table.add("Less", importCompare<Predicate::Lt, IntOp::Lt>);
  table.add("LessOrEqual", importCompare<Predicate::Le, IntOp::Le>);
  table.add("Greater", importCompare<Predicate::Gt, IntOp::Gt>);
  table.add("GreaterOrEqual", importCompare<Predicate::Ge, IntOp::Ge>);
  table.add("Where", importWhere);
  table.add("Cast", importCast);
  table.add("CastLike", importCastLike);
  table.add("BitCast", importBitCast);
}

} // namespace ferrite::frontend
