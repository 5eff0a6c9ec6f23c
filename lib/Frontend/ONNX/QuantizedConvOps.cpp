//===- QuantizedConvOps.cpp - Convolutions of integers --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exact: products and sums of i32, after the zero points are taken away.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ConvOps.h"
#include "lib/Frontend/ONNX/Spatial.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

bool isByte(Type element) { return element.getIntOrFloatBitWidth() == 8; }

/// Input `i` as i32, less its zero point at input `zero`, which is one number,
/// or with `perResult` one for each of the first dim.
FailureOr<Value> centre(OpBinder &b, unsigned i, unsigned zero,
                        bool perResult) {
  TensorValue &input = b.input(i);
  Type i32 = b.builder().getI32Type();
  if (!isByte(input.element) || isa<FloatType>(input.element))
    return b.error("its input " + Twine(i) + " is not of bytes");
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  Value wide = b.cast(*data, input.dims, i32);
  if (!b.hasInput(zero))
    return wide;
  TensorValue &point = b.input(zero);
  FailureOr<Value> given = b.data(zero);
  if (failed(given))
    return failure();
  bool isOne = product(point.dims).isConstant(1);
  bool isEach =
      perResult && point.rank() == 1 && point.dims[0] == input.dims[0];
  if (point.element != input.element || !(isOne || isEach))
    return b.error("its zero point at input " + Twine(zero) +
                   " does not fit input " + Twine(i));
  Dims side;
  if (!isOne) {
    side.assign(input.rank(), DimExpr(1));
    side[0] = point.dims[0];
  }
  Value from = b.view(b.cast(*given, point.dims, i32), side);
  return b.create<SubOp>(input.dims, i32, wide, from);
}

LogicalResult importConvInteger(OpBinder &b) {
  FailureOr<Value> x = centre(b, 0, 2, false), w = centre(b, 1, 3, true);
  if (failed(x) || failed(w))
    return failure();
  Dims counts;
  FailureOr<Shaped> result =
      convolve(b, *x, b.input(0), *w, b.input(1), counts);
  if (failed(result))
    return failure();
  return setConvolution(b, *result, counts);
}

/// A float input that is one number, or one for each of `count`; as dims that
/// broadcast to [N, .., count].
FailureOr<Value> scaleOf(OpBinder &b, unsigned i, const DimExpr &count) {
  TensorValue &input = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  bool isOne = product(input.dims).isConstant(1);
  if (!input.element.isF32() ||
      !(isOne || (input.rank() == 1 && input.dims[0] == count)))
    return b.error("its scale at input " + Twine(i) + " does not fit");
  return isOne ? b.view(*data, input.dims, {}) : *data;
}

/// saturate(round((conv(x, w) + bias) * xScale * wScale / yScale) + yZero)
LogicalResult importQLinearConv(OpBinder &b) {
  Type f32 = b.builder().getF32Type(), i32 = b.builder().getI32Type();
  FailureOr<Value> x = centre(b, 0, 2, false), w = centre(b, 3, 5, true);
  if (failed(x) || failed(w))
    return failure();
  Dims counts;
  FailureOr<Shaped> sums = convolve(b, *x, b.input(0), *w, b.input(3), counts);
  if (failed(sums))
    return failure();
  DimExpr results = sums->dims.back();
  if (b.hasInput(8)) {
    FailureOr<Value> bias = b.data(8);
    if (failed(bias))
      return failure();
    if (b.input(8).element != i32 || b.input(8).rank() != 1 ||
        b.input(8).dims[0] != results)
      return b.error("its bias is not one i32 for each channel");
    sums->value = b.create<AddOp>(sums->dims, i32, sums->value, *bias);
  }
  FailureOr<Value> xScale = scaleOf(b, 1, DimExpr(1)),
                   wScale = scaleOf(b, 4, results),
                   yScale = scaleOf(b, 6, DimExpr(1)), zero = b.data(7);
  if (failed(xScale) || failed(wScale) || failed(yScale) || failed(zero))
    return failure();
  TensorValue &point = b.input(7);
  Type element = point.element;
  if (!product(point.dims).isConstant(1) || isa<FloatType>(element) ||
      !isByte(element))
    return b.error("its zero point at input 7 is not one byte");
  Dims side;
  if (!product(b.input(4).dims).isConstant(1))
    side = {results};
  Value factor = b.create<MulOp>(side, f32, *wScale, *xScale);
  factor = b.create<DivOp>(side, f32, factor, *yScale);
  const Dims &dims = sums->dims;
  Value y = b.create<MulOp>(dims, f32, b.cast(sums->value, dims, f32), factor);
  y = b.create<RoundOp>(dims, f32, y);
  y = b.create<AddOp>(dims, f32, y,
                      b.cast(b.view(*zero, point.dims, {}), {}, f32));
  bool isUnsigned = element.isUnsignedInteger();
  y = b.create<MaxOp>(dims, f32, y, b.scalar(isUnsigned ? 0 : -128, f32));
  y = b.create<MinOp>(dims, f32, y, b.scalar(isUnsigned ? 255 : 127, f32));
  return setConvolution(b, {b.cast(y, dims, element), dims}, counts);
}

} // namespace

void registerQuantizedConvOps(OpTable &table) {
  table.add("ConvInteger", importConvInteger);
  table.add("QLinearConv", importQLinearConv);
}

} // namespace ferrite::frontend
