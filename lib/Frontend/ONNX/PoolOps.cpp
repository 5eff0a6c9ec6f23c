//===- PoolOps.cpp - Reductions of windows --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A pool is a reduction over the points of windows, which are strides: see
// ferrite.windows.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/Spatial.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// The last `count` dims of `x` reduced.
Shaped reduceLast(OpBinder &b, const Shaped &x, size_t count, ReduceKind kind,
                  bool keepDims = false) {
  SmallVector<int64_t> axes;
  Dims dims(x.dims.begin(), x.dims.end() - count);
  for (size_t i = x.dims.size() - count; i < x.dims.size(); ++i) {
    axes.push_back(i);
    if (keepDims)
      dims.push_back(DimExpr(1));
  }
  return {b.create<ReduceOp>(dims, OpBinder::elementOf(x.value), x.value, kind,
                             axes, keepDims),
          dims};
}

/// The windows of a pool over input 0.
FailureOr<Windows> bindPool(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (input.rank() < 3)
    return b.error("its input has no spatial dims");
  if (!b.hasAttr("kernel_shape"))
    return b.error("attribute 'kernel_shape' is missing");
  auto kernel = spatialAttr(b, "kernel_shape", input.rank() - 2, 1, 1);
  if (failed(kernel))
    return failure();
  return bindWindows(b, *kernel, ArrayRef(input.dims).drop_front(2));
}

/// A scalar that is never above another of its type.
Value makeLowest(OpBinder &b, Type element) {
  auto type = RankedTensorType::get({}, element);
  Attribute attr;
  if (auto floating = dyn_cast<FloatType>(element))
    attr = FloatAttr::get(element, APFloat::getInf(floating.getFloatSemantics(),
                                                   /*Negative=*/true));
  else
    attr = IntegerAttr::get(
        element,
        element.isUnsignedInteger() || element.isInteger(1)
            ? APInt::getZero(element.getIntOrFloatBitWidth())
            : APInt::getSignedMinValue(element.getIntOrFloatBitWidth()));
  return arith::ConstantOp::create(b.builder(), b.loc,
                                   DenseElementsAttr::get(type, attr))
      .getResult();
}

//===----------------------------------------------------------------------===//
// MaxPool
//===----------------------------------------------------------------------===//

/// The flat position in the input of each point, the spatial dims row-major, or
/// column-major with `columns`; as [N, C, spatial..] of i64.
Shaped makePositions(OpBinder &b, ArrayRef<DimExpr> dims, bool columns) {
  Type i64 = b.builder().getI64Type();
  Dims flat = {product(dims)};
  Value iota =
      b.create<IotaOp>(flat, i64, int64_t(0), int64_t(1), b.dimsAttr(flat));
  if (!columns)
    return {b.view(iota, dims), Dims(dims)};
  Dims swapped = {dims[0], dims[1]};
  SmallVector<int64_t> perm = {0, 1};
  for (size_t i = dims.size(); i-- > 2;) {
    swapped.push_back(dims[i]);
    perm.push_back(i);
  }
  return transpose(b, {b.view(iota, swapped), swapped}, perm);
}

/// The first position of the largest point of each window.
LogicalResult setIndices(OpBinder &b, const Windows &windows,
                         const Shaped &points, const Shaped &largest) {
  Type i64 = b.builder().getI64Type();
  bool columns = b.intAttr("storage_order", 0) != 0;
  Shaped positions = makePositions(b, b.input(0).dims, columns);
  Value none = b.scalar(double(int64_t(1) << 62), i64);
  auto numbers = makeWindows(b, positions, 2, windows, none);
  if (failed(numbers))
    return failure();
  Dims wide = largest.dims;
  wide.append(windows.rank(), DimExpr(1));
  Value isLargest =
      b.create<CompareOp>(points.dims, b.builder().getI1Type(), points.value,
                          b.view(largest.value, wide), Predicate::Eq);
  Shaped candidates{
      b.create<WhereOp>(points.dims, i64, isLargest, numbers->value, none),
      points.dims};
  Shaped first = reduceLast(b, candidates, windows.rank(), ReduceKind::Min);
  return b.setData(first.value, first.dims, 1);
}

LogicalResult importMaxPool(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<Windows> windows = bindPool(b);
  FailureOr<Value> data = b.data(0);
  b.intAttr("storage_order", 0); // of the indices alone
  if (failed(windows) || failed(data))
    return failure();
  auto points = makeWindows(b, {*data, input.dims}, 2, *windows,
                            makeLowest(b, input.element));
  if (failed(points))
    return failure();
  // Narrow integers are compared as i32.
  Type held = input.element;
  if (!isa<FloatType>(held) && held.getIntOrFloatBitWidth() < 32)
    held = b.builder().getI32Type();
  points->value = b.cast(points->value, points->dims, held);
  Shaped largest = reduceLast(b, *points, windows->rank(), ReduceKind::Max);
  if (b.hasOutput(1) && failed(setIndices(b, *windows, *points, largest)))
    return failure();
  return b.setData(b.cast(largest.value, largest.dims, input.element),
                   largest.dims);
}

//===----------------------------------------------------------------------===//
// AveragePool, LpPool
//===----------------------------------------------------------------------===//

/// How many points of each window along dim i count: those of the input, and
/// with `pads` those that the node pads.
FailureOr<Shaped> countPoints(OpBinder &b, const Windows &windows, size_t i,
                              const DimExpr &size, bool pads, Type element) {
  int64_t low = pads ? 0 : windows.low[i];
  DimExpr whole =
      pads ? size + DimExpr(windows.low[i] + windows.high[i]) : size;
  Windows line;
  line.kernel = {windows.kernel[i]};
  line.strides = {windows.strides[i]};
  line.dilations = {windows.dilations[i]};
  line.low = {low};
  line.high = {0};
  line.counts = {windows.counts[i]};
  Dims dims = {whole};
  Value ones = b.create<BroadcastOp>(dims, element, b.scalar(1, element),
                                     b.dimsAttr(dims));
  auto points = makeWindows(b, {ones, dims}, 0, line, b.scalar(0, element));
  if (failed(points))
    return failure();
  return reduceLast(b, *points, 1, ReduceKind::Sum);
}

/// The points that each window counts, as dims that broadcast to the result's.
FailureOr<Value> countWindows(OpBinder &b, const Windows &windows,
                              ArrayRef<DimExpr> sizes, bool pads,
                              Type element) {
  Value total;
  Dims totalDims;
  double known = 1;
  for (size_t i = 0; i < windows.rank(); ++i) {
    DimExpr end =
        (windows.counts[i] - DimExpr(1)) * DimExpr(windows.strides[i]) +
        DimExpr(windows.extent(i) - windows.low[i]) - sizes[i];
    // What lies behind what is padded comes of ceil_mode, and never counts.
    int64_t behind = end.constant().value_or(1);
    bool isFull =
        pads ? behind <= windows.high[i] : windows.low[i] == 0 && behind <= 0;
    if (isFull) {
      known *= static_cast<double>(windows.kernel[i]);
      continue;
    }
    auto line = countPoints(b, windows, i, sizes[i], pads, element);
    if (failed(line))
      return failure();
    Dims dims(windows.rank() - i, DimExpr(1));
    dims[0] = windows.counts[i];
    Value counts = b.view(line->value, dims);
    if (total) {
      std::optional<Dims> both = broadcastDims(totalDims, dims);
      total = b.create<MulOp>(*both, element, total, counts);
      totalDims = *both;
    } else {
      total = counts;
      totalDims = dims;
    }
  }
  Value rest = b.scalar(known, element);
  if (!total)
    return rest;
  return known == 1 ? total : b.create<MulOp>(totalDims, element, total, rest);
}

LogicalResult importAveragePool(OpBinder &b) {
  TensorValue &input = b.input(0);
  bool pads = b.intAttr("count_include_pad", 0) != 0;
  FailureOr<Windows> windows = bindPool(b);
  FailureOr<Value> data = b.data(0);
  if (failed(windows) || failed(data))
    return failure();
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  ArrayRef<DimExpr> sizes = ArrayRef(input.dims).drop_front(2);
  auto points = makeWindows(b, {*data, input.dims}, 2, *windows,
                            b.scalar(0, input.element));
  auto count = countWindows(b, *windows, sizes, pads, input.element);
  if (failed(points) || failed(count))
    return failure();
  Shaped sum = reduceLast(b, *points, windows->rank(), ReduceKind::Sum);
  return b.setData(b.create<DivOp>(sum.dims, input.element, sum.value, *count),
                   sum.dims);
}

/// (sum |x|^p)^(1/p) of the last `count` dims.
LogicalResult setLpNorm(OpBinder &b, const Shaped &x, size_t count,
                        bool keepDims) {
  Type element = OpBinder::elementOf(x.value);
  int64_t p = b.intAttr("p", 2);
  if (!isa<FloatType>(element))
    return b.error("its input is not of floats");
  if (p < 1)
    return b.error("attribute 'p' = " + Twine(p) + " is below 1");
  if (p == 2) {
    Shaped norm = reduceLast(b, x, count, ReduceKind::L2, keepDims);
    return b.setData(norm.value, norm.dims);
  }
  Shaped powers{b.create<AbsOp>(x.dims, element, x.value), x.dims};
  if (p != 1)
    powers.value =
        b.create<PowOp>(x.dims, element, powers.value, b.scalar(p, element));
  Shaped sum = reduceLast(b, powers, count, ReduceKind::Sum, keepDims);
  if (p != 1)
    sum.value = b.create<PowOp>(sum.dims, element, sum.value,
                                b.scalar(1.0 / p, element));
  return b.setData(sum.value, sum.dims);
}

LogicalResult importLpPool(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<Windows> windows = bindPool(b);
  FailureOr<Value> data = b.data(0);
  if (failed(windows) || failed(data))
    return failure();
  auto points = makeWindows(b, {*data, input.dims}, 2, *windows,
                            b.scalar(0, input.element));
  if (failed(points))
    return failure();
  return setLpNorm(b, *points, windows->rank(), /*keepDims=*/false);
}

//===----------------------------------------------------------------------===//
// Global pools
//===----------------------------------------------------------------------===//

template <ReduceKind kind>
LogicalResult importGlobalPool(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  if (input.rank() < 3)
    return b.error("its input has no spatial dims");
  Shaped x{*data, input.dims};
  if (kind == ReduceKind::L2)
    return setLpNorm(b, x, input.rank() - 2, /*keepDims=*/true);
  Shaped result = reduceLast(b, x, input.rank() - 2, kind, /*keepDims=*/true);
  return b.setData(result.value, result.dims);
}

//===----------------------------------------------------------------------===//
// LRN
//===----------------------------------------------------------------------===//

/// x / (bias + alpha / size * sum of squares of neighbouring channels) ^ beta.
LogicalResult importLRN(OpBinder &b) {
  TensorValue &input = b.input(0);
  Type element = input.element;
  float alpha = b.floatAttr("alpha", 1e-4f), beta = b.floatAttr("beta", 0.75f),
        bias = b.floatAttr("bias", 1.0f);
  int64_t size = b.intAttr("size", 1);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  if (input.rank() < 2 || size < 1 || size > kMostSpatial)
    return b.error("attribute 'size' = " + Twine(size) +
                   " does not fit a tensor of rank " + Twine(input.rank()));
  if (!isa<FloatType>(element))
    return b.error("its input is not of floats");
  Windows windows;
  windows.kernel = {size};
  windows.strides = windows.dilations = {1};
  windows.low = {(size - 1) / 2};
  windows.high = {size - 1 - (size - 1) / 2};
  windows.counts = {input.dims[1]};
  const Dims &dims = input.dims;
  Value square = b.create<MulOp>(dims, element, *data, *data);
  // [N, C, size, ..]: the points of a window stay behind their channel.
  auto points =
      makeWindows(b, {square, dims}, 1, windows, b.scalar(0, element));
  if (failed(points))
    return failure();
  Value sum = b.create<ReduceOp>(dims, element, points->value, ReduceKind::Sum,
                                 ArrayRef<int64_t>{2}, /*keepDims=*/false);
  Value scaled = b.create<MulOp>(
      dims, element, sum, b.scalar(double(alpha) / double(size), element));
  Value base = b.create<AddOp>(dims, element, scaled, b.scalar(bias, element));
  Value power = b.create<PowOp>(dims, element, base, b.scalar(beta, element));
  return b.setData(b.create<DivOp>(dims, element, *data, power), dims);
}

} // namespace

void registerPoolOps(OpTable &table) {
  table.add("MaxPool", importMaxPool);
  table.add("AveragePool", importAveragePool);
  table.add("LpPool", importLpPool);
  table.add("GlobalAveragePool", importGlobalPool<ReduceKind::Mean>);
  table.add("GlobalMaxPool", importGlobalPool<ReduceKind::Max>);
  table.add("GlobalLpPool", importGlobalPool<ReduceKind::L2>);
  table.add("LRN", importLRN);
}

} // namespace ferrite::frontend
