//===- QuantizedProductOps.cpp - Matrix products of integers --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Products and sums are exact in i32; what follows is f32.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/MicrosoftAttention.h"
#include "lib/Frontend/ONNX/Quantize.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

enum class Side { Rows, Columns };

/// The dims under which `dims`, of a scale or zero point, broadcast to a
/// product: a vector has one for each row or column.
Dims alongProduct(const Dims &dims, Side side) {
  Dims result = dims;
  if (product(dims).isConstant(1))
    result.clear();
  else if (dims.size() == 1 && side == Side::Rows)
    result.push_back(DimExpr(1));
  return result;
}

/// Operand `i`, a matrix to transpose where that is asked for, and its zero
/// point at input `zero`, which fits the operand as it is multiplied.
FailureOr<Centred> bindOperand(OpBinder &b, unsigned i, unsigned zero,
                               Side side, bool isTransposed = false) {
  TensorValue &input = b.input(i);
  Centred result;
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  result.data = *data;
  result.dims = input.dims;
  result.element = input.element;
  if (isTransposed) {
    result.data = b.transpose(result.data, result.dims, {1, 0});
    std::swap(result.dims[0], result.dims[1]);
  }
  if (!b.hasInput(zero))
    return result;
  TensorValue &point = b.input(zero);
  data = b.data(zero);
  if (failed(data))
    return failure();
  result.zeroDims = alongProduct(point.dims, side);
  FailureOr<Dims> both = b.broadcast(result.dims, result.zeroDims);
  if (failed(both))
    return failure();
  if (point.element != input.element || *both != result.dims)
    return b.error("its zero point at input " + Twine(zero) +
                   " does not fit input " + Twine(i));
  result.zero = b.view(*data, point.dims, result.zeroDims);
  return result;
}

/// A scale, with the dims under which it broadcasts to the product.
struct Factor {
  Value value;
  Dims dims;
  Type element;
};

FailureOr<Factor> bindFactor(OpBinder &b, unsigned i, Side side) {
  TensorValue &input = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  if (!isa<FloatType>(input.element))
    return b.error("its scale at input " + Twine(i) + " is no float");
  Dims dims = alongProduct(input.dims, side);
  return Factor{b.view(*data, input.dims, dims), dims, input.element};
}

template <typename OpTy>
FailureOr<Factor> combine(OpBinder &b, const Factor &lhs, const Factor &rhs) {
  FailureOr<Dims> dims = b.broadcast(lhs.dims, rhs.dims);
  if (failed(dims))
    return failure();
  if (lhs.element != rhs.element)
    return b.error("its scales have different types");
  return Factor{b.create<OpTy>(*dims, lhs.element, lhs.value, rhs.value), *dims,
                lhs.element};
}

/// sums * factor in f32.
FailureOr<Value> scale(OpBinder &b, const Product &sums, const Factor &factor) {
  Type f32 = b.builder().getF32Type();
  FailureOr<Dims> dims = b.broadcast(sums.dims, factor.dims);
  if (failed(dims))
    return failure();
  if (*dims != sums.dims)
    return b.error("its scale of " + printDims(factor.dims) +
                   " does not fit its result of " + printDims(sums.dims));
  return b.create<MulOp>(sums.dims, f32, b.cast(sums.value, sums.dims, f32),
                         b.cast(factor.value, factor.dims, f32));
}

/// value + bias at input `i`, if there is one.
FailureOr<Value> addBias(OpBinder &b, Value value, const Dims &dims,
                         unsigned i) {
  if (!b.hasInput(i))
    return value;
  TensorValue &bias = b.input(i);
  Type element = OpBinder::elementOf(value);
  FailureOr<Value> data = b.data(i);
  FailureOr<Dims> both = b.broadcast(dims, bias.dims);
  if (failed(data) || failed(both))
    return failure();
  if (bias.element != element || *both != dims)
    return b.error("its bias of " + printDims(bias.dims) +
                   " does not fit its result of " + printDims(dims));
  return b.create<AddOp>(dims, element, value, *data);
}

LogicalResult importMatMulInteger(OpBinder &b) {
  FailureOr<Centred> lhs = bindOperand(b, 0, 2, Side::Rows),
                     rhs = bindOperand(b, 1, 3, Side::Columns);
  if (failed(lhs) || failed(rhs))
    return failure();
  FailureOr<Product> sums = multiplyIntegers(b, *lhs, *rhs);
  if (failed(sums))
    return failure();
  return b.setData(sums->value, sums->dims);
}

/// Quantizes sums * factor / scale with scale and zero point at inputs `y`.
LogicalResult setRequantized(OpBinder &b, const Product &sums, Factor factor,
                             unsigned y, Type element) {
  FailureOr<Factor> own = bindFactor(b, y, Side::Columns);
  FailureOr<Scaling> scaling = bindScaling(b, y, y + 1, sums.dims);
  if (failed(own) || failed(scaling))
    return failure();
  if (!own->dims.empty() || !scaling->dims.empty())
    return b.unsupported("with more than one scale for its result is not "
                         "supported");
  FailureOr<Factor> all = combine<DivOp>(b, factor, *own);
  if (failed(all))
    return failure();
  FailureOr<Value> scaled = scale(b, sums, *all);
  if (failed(scaled))
    return failure();
  scaling->scale = b.scalar(1, b.builder().getF32Type());
  if (scaling->zero)
    element = scaling->zeroType;
  return b.setData(quantize(b, *scaled, sums.dims, element, *scaling,
                            b.builder().getF32Type()),
                   sums.dims);
}

/// Sums of integers, and what brings them to their real values.
struct ScaledProduct {
  Product sums;
  Factor factor;
};

FailureOr<ScaledProduct> multiply(OpBinder &b, const Centred &lhs,
                                  const Factor &lhsScale, const Centred &rhs,
                                  const Factor &rhsScale) {
  FailureOr<Product> sums = multiplyIntegers(b, lhs, rhs);
  FailureOr<Factor> factor = combine<MulOp>(b, lhsScale, rhsScale);
  if (failed(sums) || failed(factor))
    return failure();
  return ScaledProduct{*sums, *factor};
}

/// The inputs at which an operand, its scale and its zero point are.
struct Places {
  unsigned data, scale, zero;
  bool isTransposed = false;
};

FailureOr<ScaledProduct> bindProduct(OpBinder &b, const Places &left,
                                     const Places &right) {
  FailureOr<Centred> lhs = bindOperand(b, left.data, left.zero, Side::Rows,
                                       left.isTransposed),
                     rhs = bindOperand(b, right.data, right.zero, Side::Columns,
                                       right.isTransposed);
  FailureOr<Factor> a = bindFactor(b, left.scale, Side::Rows),
                    c = bindFactor(b, right.scale, Side::Columns);
  if (failed(lhs) || failed(rhs) || failed(a) || failed(c))
    return failure();
  return multiply(b, *lhs, *a, *rhs, *c);
}

/// The product in f32, plus the bias at input `bias` if there is one.
FailureOr<Value> scaleAndBias(OpBinder &b, const ScaledProduct &product,
                              unsigned bias) {
  FailureOr<Value> value = scale(b, product.sums, product.factor);
  if (failed(value))
    return failure();
  return addBias(b, *value, product.sums.dims, bias);
}

LogicalResult importQLinearMatMul(OpBinder &b) {
  FailureOr<ScaledProduct> product = bindProduct(b, {0, 1, 2}, {3, 4, 5});
  if (failed(product))
    return failure();
  return setRequantized(b, product->sums, product->factor, 6,
                        b.input(0).element);
}

/// A, B, scales of both, zero points of both, bias.
LogicalResult importMatMulIntegerToFloat(OpBinder &b) {
  FailureOr<ScaledProduct> product = bindProduct(b, {0, 2, 4}, {1, 3, 5});
  if (failed(product))
    return failure();
  if (!product->factor.element.isF32())
    return b.unsupported("with scales other than float32 is not supported");
  FailureOr<Value> value = scaleAndBias(b, *product, 6);
  if (failed(value))
    return failure();
  return b.setData(*value, product->sums.dims);
}

/// A in f32, B, its scale and zero point, bias.
LogicalResult importDynamicQuantizeMatMul(OpBinder &b) {
  FailureOr<Value> input = b.data(0);
  FailureOr<Centred> rhs = bindOperand(b, 1, 3, Side::Columns);
  FailureOr<Factor> c = bindFactor(b, 2, Side::Columns);
  if (failed(input) || failed(rhs) || failed(c))
    return failure();
  if (!b.input(0).element.isF32())
    return b.error("its input is not of float32");
  Dims dims = b.input(0).dims;
  Dynamic dynamic = quantizeDynamically(b, *input, dims);
  Centred lhs;
  lhs.data = dynamic.bits;
  lhs.zero = dynamic.zero;
  lhs.dims = dims;
  lhs.element = OpBinder::elementOf(dynamic.bits);
  FailureOr<ScaledProduct> product = multiply(
      b, lhs, Factor{dynamic.scale, {}, b.builder().getF32Type()}, *rhs, *c);
  if (failed(product))
    return failure();
  FailureOr<Value> value = scaleAndBias(b, *product, 4);
  if (failed(value))
    return failure();
  return b.setData(*value, product->sums.dims);
}

/// A, its scale and zero point, B, likewise, C of i32, result, likewise.
LogicalResult importQGemm(OpBinder &b) {
  bool transA = b.intAttr("transA", 0) != 0,
       transB = b.intAttr("transB", 0) != 0;
  float alpha = b.floatAttr("alpha", 1.0f);
  if (b.input(0).rank() != 2 || b.input(3).rank() != 2)
    return b.error("its operands are no matrices");
  FailureOr<ScaledProduct> product =
      bindProduct(b, {0, 1, 2, transA}, {3, 4, 5, transB});
  if (failed(product))
    return failure();
  auto &[sums, factor] = *product;
  FailureOr<Value> biased = addBias(b, sums.value, sums.dims, 6);
  if (failed(biased))
    return failure();
  sums.value = *biased;
  if (alpha != 1.0f)
    factor.value = b.create<MulOp>(factor.dims, factor.element, factor.value,
                                   b.scalar(alpha, factor.element));
  if (b.hasInput(7))
    return setRequantized(b, sums, factor, 7, b.input(0).element);
  FailureOr<Value> value = scale(b, sums, factor);
  if (failed(value))
    return failure();
  return b.setData(*value, sums.dims);
}

/// Attention of com.microsoft whose projection is of integers: input, weights,
/// bias, scales of both, mask, zero points of both, past.
LogicalResult importQAttention(OpBinder &b) {
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  if (failed(heads) || failed(b.expectInt("past_present_share_buffer", 0, 0)) ||
      failed(b.expectInt("do_rotary", 0, 0)))
    return failure();
  if (b.hasInput(8))
    return b.unsupported("its input past is not supported");
  Type f32 = b.builder().getF32Type();
  if (b.input(0).rank() != 3 || b.input(1).rank() != 2 ||
      b.input(3).element != f32)
    return b.error("its input, weights and scales are not of rank 3, rank 2 "
                   "and float32");
  FailureOr<ScaledProduct> product = bindProduct(b, {0, 3, 6}, {1, 4, 7});
  if (failed(product))
    return failure();
  const Dims &dims = product->sums.dims;
  FailureOr<Value> value = scaleAndBias(b, *product, 2);
  AttentionParts parts;
  if (failed(value) ||
      failed(splitProjected(b, {*value, dims, f32}, *heads, parts)))
    return failure();
  parts.scale = scaleAttr(b, parts);
  if (b.intAttr("unidirectional", 0) != 0)
    parts.right = 0;
  if (failed(addKeyMask(b, 5, DimExpr(0), parts)))
    return failure();
  return setAttention(b, parts, /*scores=*/~0u, ScoreStage::Masked);
}

} // namespace

void registerQuantizedProductOps(OpTable &table) {
  table.add("MatMulInteger", importMatMulInteger);
  table.add("QLinearMatMul", importQLinearMatMul);
  table.add("com.microsoft::MatMulIntegerToFloat", importMatMulIntegerToFloat,
            4, 7);
  table.add("com.microsoft::DynamicQuantizeMatMul", importDynamicQuantizeMatMul,
            3, 5);
  table.add("com.microsoft::QAttention", importQAttention, 5, 9);
  table.add("com.microsoft::QGemm", importQGemm, 6, 9);
}

} // namespace ferrite::frontend
