//===- ConvTransposeOps.cpp - Transposed convolutions ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A convolution of the input, spread by zeros, with the filter reversed; or,
// where the patches of the result are disjoint, one product.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ConvFilter.h"
#include "lib/Frontend/ONNX/ConvOps.h"
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Pads of a transposed convolution take away from its result.
struct Shrink {
  std::vector<int64_t> strides, dilations, low;
  Dims sizes; ///< of the result
};

FailureOr<Shrink> bindShrink(OpBinder &b, ArrayRef<int64_t> kernel,
                             ArrayRef<DimExpr> sizes) {
  size_t rank = kernel.size();
  auto strides = spatialAttr(b, "strides", rank, 1, 1);
  auto dilations = spatialAttr(b, "dilations", rank, 1, 1);
  auto pads = spatialAttr(b, "pads", 2 * rank, 0, 0);
  auto more = spatialAttr(b, "output_padding", rank, 0, 0);
  std::string mode = b.stringAttr("auto_pad", "NOTSET");
  bool isGiven = b.hasAttr("output_shape");
  auto shape = spatialAttr(b, "output_shape", rank, 1, 0);
  if (failed(strides) || failed(dilations) || failed(pads) || failed(more) ||
      failed(shape))
    return failure();
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (!same && mode != "NOTSET" && mode != "VALID")
    return b.error("attribute 'auto_pad' = '" + mode + "' is unknown");
  Shrink shrink{*strides, *dilations, {}, {}};
  for (size_t i = 0; i < rank; ++i) {
    int64_t reach;
    if (kernel[i] > kMostSpatial ||
        llvm::MulOverflow(kernel[i] - 1, (*dilations)[i], reach) ||
        reach > kMostSpatial)
      return b.error("its kernel reaches too far");
    DimExpr stride((*strides)[i]);
    DimExpr full =
        (sizes[i] - DimExpr(1)) * stride + DimExpr((*more)[i] + reach + 1);
    int64_t low = mode == "NOTSET" ? (*pads)[i] : 0,
            high = mode == "NOTSET" ? (*pads)[rank + i] : 0;
    if (isGiven || same) {
      DimExpr total =
          full - (isGiven ? DimExpr((*shape)[i]) : sizes[i] * stride);
      if (!total.constant())
        return b.unsupported("its pads depend on input dims: " + total.str());
      // What is missing is appended, as the reference does.
      int64_t all = *total.constant(), half = std::max<int64_t>(all, 0) / 2;
      low = mode == "SAME_UPPER" ? half : std::max<int64_t>(all, 0) - half;
      high = all - low;
    }
    shrink.low.push_back(low);
    shrink.sizes.push_back(full - DimExpr(low + high));
    if (!b.symbols().requireLessEqual(1, shrink.sizes.back()))
      return b.error("its pads take away all of dim " + Twine(2 + i));
  }
  return shrink;
}

/// `x` with strides[i] - 1 zeros behind each point of spatial dim i.
Shaped spread(OpBinder &b, Shaped x, ArrayRef<int64_t> strides) {
  Type element = OpBinder::elementOf(x.value);
  Dims split = {x.dims[0]}, wide = split, joined = split;
  for (auto [i, stride] : llvm::enumerate(strides)) {
    split.append({x.dims[1 + i], DimExpr(1)});
    wide.append({x.dims[1 + i], DimExpr(stride)});
    joined.push_back(x.dims[1 + i] * DimExpr(stride));
  }
  for (Dims *dims : {&split, &wide, &joined})
    dims->push_back(x.dims.back());
  if (split == wide)
    return x;
  Value padded = b.create<PadOp>(
      wide, element, b.view(x.value, split), b.scalar(0, element),
      b.dimsAttr(Dims(wide.size(), DimExpr(0))), b.dimsAttr(wide));
  return {b.view(padded, joined), joined};
}

/// A convolution of the input, spread, with the filter reversed.
FailureOr<Shaped> convolveSpread(OpBinder &b, Shaped x, const Filter &filter,
                                 const Shrink &shrink) {
  Type element = OpBinder::elementOf(x.value);
  Value zero = b.scalar(0, element);
  x = spread(b, x, shrink.strides);
  Windows windows;
  windows.kernel = filter.kernel;
  windows.dilations = shrink.dilations;
  windows.counts = shrink.sizes;
  size_t rank = filter.kernel.size();
  windows.strides.assign(rank, 1);
  windows.low.assign(rank, 0);
  for (size_t i = 0; i < rank; ++i) {
    int64_t low = windows.extent(i) - 1 - shrink.low[i];
    DimExpr high =
        shrink.sizes[i] + DimExpr(windows.extent(i) - 1 - low) - x.dims[1 + i];
    if (!high.constant())
      return b.unsupported("its pads depend on input dims: " + high.str());
    FailureOr<Shaped> padded = padAxis(b, x, 1 + i, low, high, zero);
    if (failed(padded))
      return failure();
    x = *padded;
  }
  FailureOr<Shaped> points = makeWindows(b, x, 1, windows, zero);
  if (failed(points))
    return failure();
  size_t total = points->dims.size();
  Dims offsets(total, DimExpr(0));
  SmallVector<int64_t> steps(total, 1);
  for (size_t i = 0; i < rank; ++i) {
    offsets[1 + rank + i] = DimExpr(filter.kernel[i] - 1);
    steps[1 + rank + i] = -1;
  }
  points->value =
      b.create<SliceOp>(points->dims, element, points->value,
                        b.dimsAttr(offsets), steps, b.dimsAttr(points->dims));
  Shaped rows = multiplyWindows(b, *points, filter);
  Dims dims = {rows.dims.front()};
  dims.append(shrink.sizes);
  dims.push_back(rows.dims.back());
  return Shaped{b.view(rows.value, rows.dims, dims), dims};
}

/// Where the patches of the result are disjoint: a linear, and the points of
/// each patch put in their places.
Shaped multiplyToPatches(OpBinder &b, const Shaped &x, const Filter &filter) {
  size_t rank = filter.kernel.size();
  Type element = OpBinder::elementOf(x.value);
  // [1, kernel.., c, m] to [c, kernel * m]
  SmallVector<int64_t> perm = {static_cast<int64_t>(rank) + 1, 0};
  for (size_t i = 0; i < rank; ++i)
    perm.push_back(1 + i);
  perm.push_back(rank + 2);
  DimExpr channels(filter.channels), results(filter.results);
  Shaped matrix = transpose(b, filter.data, perm);
  DimExpr columns = filter.points() * results;
  Dims lead(x.dims.begin(), x.dims.end() - 1), dims = lead, split = lead;
  dims.push_back(columns);
  split.append(filter.kernelDims());
  split.push_back(results);
  Value product = b.create<MatmulOp>(dims, element, x.value,
                                     b.view(matrix.value, {channels, columns}));
  SmallVector<int64_t> order = {0};
  Dims out = {x.dims[0]};
  for (size_t i = 0; i < rank; ++i) {
    order.append({int64_t(1 + i), int64_t(1 + rank + i)});
    out.push_back(x.dims[1 + i] * DimExpr(filter.kernel[i]));
  }
  order.push_back(1 + 2 * rank);
  out.push_back(results);
  Shaped apart = transpose(b, {b.view(product, split), split}, order);
  return {b.view(apart.value, out), out};
}

} // namespace

LogicalResult importConvTranspose(OpBinder &b) {
  TensorValue &input = b.input(0), &weight = b.input(1);
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  FailureOr<Filter> filter = bindFilter(b, input, weight, true);
  if (failed(filter))
    return failure();
  FailureOr<Shrink> shrink =
      bindShrink(b, filter->kernel, ArrayRef(input.dims).drop_front(2));
  FailureOr<Value> data = b.data(0), weights = b.data(1);
  if (failed(shrink) || failed(data) || failed(weights))
    return failure();
  Shaped x{*data, input.dims};
  x.dims[1] = DimExpr(filter->channels * filter->groups);
  x = channelsLast(b, x);
  arrangeFilter(b, *filter, *weights, true);
  bool areDisjoint = shrink->strides == filter->kernel && filter->groups == 1 &&
                     !input.element.isF64();
  for (size_t i = 0; i < filter->kernel.size(); ++i)
    areDisjoint &=
        shrink->dilations[i] == 1 && shrink->low[i] == 0 &&
        shrink->sizes[i] == x.dims[1 + i] * DimExpr(filter->kernel[i]);
  FailureOr<Shaped> result =
      areDisjoint ? FailureOr<Shaped>(multiplyToPatches(b, x, *filter))
                  : convolveSpread(b, x, *filter, *shrink);
  if (failed(result) || failed(addChannelBias(b, 2, *result)))
    return failure();
  *result = channelsFirst(b, *result);
  return b.setData(result->value, result->dims);
}

} // namespace ferrite::frontend
