//===- ConvOps.cpp - Convolutions -----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A convolution is a product of windows with its filter. Windows are taken of
// [N, ..., C], so that the channels of a point lie together and a row of the
// product is a few runs of memory, or one. The result stands as [N, ..., M],
// which is what the next convolution or linear reads; the transposes between
// cancel.
//
// Longer than other files because the transposed convolution shares the
// filter's binding and the bias with the others.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ConvOps.h"
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// A filter as [groups, kernel.., channels of a group, results of a group].
struct Filter {
  Shaped data;
  int64_t groups, channels, results;
  std::vector<int64_t> kernel;

  Dims kernelDims() const { return Dims(kernel.begin(), kernel.end()); }
  DimExpr points() const { return product(kernelDims()); }
};

/// What Conv and its relatives check alike. The dims of the weight are
/// [M, C / groups, kernel..], or transposed [C, M / groups, kernel..].
FailureOr<Filter> bindFilter(OpBinder &b, TensorValue &input,
                             TensorValue &weight, bool transposed) {
  if (input.rank() < 3 || weight.rank() != input.rank())
    return b.error("its input and weight have ranks " + Twine(input.rank()) +
                   " and " + Twine(weight.rank()));
  Filter filter;
  for (const DimExpr &dim : weight.dims)
    if (!dim.constant() || *dim.constant() < 1)
      return b.unsupported("its weight has no static size but " +
                           printDims(weight.dims));
  for (const DimExpr &dim : ArrayRef(weight.dims).drop_front(2))
    filter.kernel.push_back(*dim.constant());
  if (auto shape = b.intsAttr("kernel_shape"); shape && *shape != filter.kernel)
    return b.error("attribute 'kernel_shape' differs from its weight's");
  int64_t first = *weight.dims[0].constant(),
          second = *weight.dims[1].constant();
  filter.groups = b.intAttr("group", 1);
  if (filter.groups < 1 || first % filter.groups != 0)
    return b.error("attribute 'group' = " + Twine(filter.groups) +
                   " does not divide the " + Twine(first) +
                   " of its weight's first dim");
  filter.channels = transposed ? first / filter.groups : second;
  filter.results = transposed ? second : first / filter.groups;
  int64_t channels = filter.channels * filter.groups;
  if (input.dims[1] != DimExpr(channels) &&
      !b.symbols().requireEqual(input.dims[1], channels))
    return b.error("its input has " + input.dims[1].str() +
                   " channels, and its weight is for " + Twine(channels));
  return filter;
}

/// Arranges `weight`, of dims as bindFilter wants them.
void arrange(OpBinder &b, Filter &filter, Value weight, bool transposed) {
  Dims dims = {DimExpr(filter.groups)};
  if (transposed)
    dims.append({DimExpr(filter.channels), DimExpr(filter.results)});
  else
    dims.append({DimExpr(filter.results), DimExpr(filter.channels)});
  dims.append(filter.kernelDims());
  SmallVector<int64_t> perm = {0};
  for (size_t i = 3; i < dims.size(); ++i)
    perm.push_back(i);
  perm.append(transposed ? std::initializer_list<int64_t>{1, 2}
                         : std::initializer_list<int64_t>{2, 1});
  filter.data = transpose(b, {b.view(weight, dims), dims}, perm);
}

/// [N, windows.., points.., C] and a filter to [N, windows, M]: by
/// multiplication and addition. For depthwise filters, which have no matrix,
/// and types that no product takes.
Shaped multiplyAndAdd(OpBinder &b, const Shaped &windows,
                      const Filter &filter) {
  size_t spatial = filter.kernel.size();
  Type element = OpBinder::elementOf(windows.value);
  Type wide =
      element.isF16() || element.isBF16() ? b.builder().getF32Type() : element;
  // [N, windows.., points.., groups, results, channels]
  Dims lead(windows.dims.begin(), windows.dims.begin() + 1 + spatial);
  DimExpr groups(filter.groups), channels(filter.channels),
      results(filter.results);
  Dims dims = lead;
  dims.append(filter.kernelDims());
  Dims left = dims;
  left.append({groups, DimExpr(1), channels});
  Dims full = dims;
  full.append({groups, results, channels});
  // [groups, kernel.., channels, results] to [kernel.., groups, results, ..]
  SmallVector<int64_t> perm, axes;
  for (size_t i = 0; i < spatial; ++i) {
    perm.push_back(1 + i);
    axes.push_back(1 + spatial + i);
  }
  auto rank = static_cast<int64_t>(spatial) + 3;
  perm.append({0, rank - 1, rank - 2});
  axes.push_back(static_cast<int64_t>(full.size()) - 1);
  Shaped right = transpose(b, filter.data, perm);
  Dims out = lead;
  out.append({groups, results});
  Value x = b.cast(b.view(windows.value, left), left, wide);
  Value w = b.cast(right.value, right.dims, wide);
  Value products = b.create<MulOp>(full, wide, x, w);
  Value sum = b.create<ReduceOp>(out, wide, products, ReduceKind::Sum, axes,
                                 /*keepDims=*/false);
  Dims flat = {lead[0], product(ArrayRef(lead).drop_front()), groups * results};
  return {b.view(b.cast(sum, out, element), flat), flat};
}

/// The same: by a product of matrices, one for each group.
Shaped multiplyMatrices(OpBinder &b, const Shaped &windows,
                        const Filter &filter) {
  size_t spatial = filter.kernel.size();
  Type element = OpBinder::elementOf(windows.value);
  DimExpr depth = filter.points() * DimExpr(filter.channels);
  DimExpr groups(filter.groups), results(filter.results);
  Dims lead(windows.dims.begin(), windows.dims.begin() + 1 + spatial);
  DimExpr count = product(ArrayRef(lead).drop_front());
  Dims out = {lead[0], count, groups * results};
  if (filter.groups == 1) {
    Dims rows = {lead[0], count, depth};
    Value matrix = b.view(filter.data.value, {depth, results});
    return {
        b.create<MatmulOp>(out, element, b.view(windows.value, rows), matrix),
        out};
  }
  // [N, windows.., points.., g, c] to [N, g, windows * (points * c)]
  Dims split = lead;
  split.append(filter.kernelDims());
  split.append({groups, DimExpr(filter.channels)});
  SmallVector<int64_t> perm = {0, static_cast<int64_t>(split.size()) - 2};
  for (size_t i = 1; i < split.size(); ++i)
    if (i != split.size() - 2)
      perm.push_back(i);
  Shaped apart = transpose(b, {b.view(windows.value, split), split}, perm);
  Value matrices = b.view(filter.data.value, {groups, depth, results});
  Dims dims = {lead[0], groups, count, results};
  Value product = b.create<MatmulOp>(
      dims, element, b.view(apart.value, {lead[0], groups, count, depth}),
      matrices);
  Shaped joined = transpose(b, {product, dims}, {0, 2, 1, 3});
  return {b.view(joined.value, out), out};
}

/// Types that products of matrices take.
bool isMatrixType(Type element) {
  return element.isF32() || element.isF16() || element.isBF16();
}

Shaped multiply(OpBinder &b, const Shaped &windows, const Filter &filter) {
  bool isDepthwise = filter.channels == 1 && filter.groups > 1;
  return isMatrixType(OpBinder::elementOf(windows.value)) && !isDepthwise
             ? multiplyMatrices(b, windows, filter)
             : multiplyAndAdd(b, windows, filter);
}

/// Adds input `i`, one number for each of the last dim of `x`, if it is there.
LogicalResult addBias(OpBinder &b, unsigned i, Shaped &x) {
  if (!b.hasInput(i))
    return success();
  FailureOr<Value> bias = b.data(i);
  if (failed(bias))
    return failure();
  Type element = OpBinder::elementOf(x.value);
  if (b.input(i).element != element || b.input(i).rank() != 1 ||
      b.input(i).dims[0] != x.dims.back())
    return b.error("its bias is not one number for each channel");
  x.value = b.create<AddOp>(x.dims, element, x.value, *bias);
  return success();
}

/// Whether channels lie together in memory, as a layer norm leaves them.
bool isChannelsLast(Value value) {
  auto transpose = value.getDefiningOp<TransposeOp>();
  return transpose && transpose.getPerm().size() > 2 &&
         transpose.getPerm()[1] + 1 ==
             static_cast<int64_t>(transpose.getPerm().size());
}

/// Disjoint patches of an image in channels: nothing repeats, so the points of
/// a row stay in the order in which they lie, [channels, kernel..].
Shaped multiplyPatches(OpBinder &b, Shaped x, const Windows &windows,
                       Value weight, int64_t results) {
  size_t spatial = windows.rank();
  Type element = OpBinder::elementOf(x.value);
  Dims split = {x.dims[0], x.dims[1]}, whole = split;
  SmallVector<int64_t> perm = {0};
  for (size_t i = 0; i < spatial; ++i) {
    DimExpr kernel(windows.kernel[i]);
    split.append({windows.counts[i], kernel});
    whole.push_back(windows.counts[i] * kernel);
    perm.push_back(2 + 2 * i);
  }
  perm.push_back(1);
  for (size_t i = 0; i < spatial; ++i)
    perm.push_back(3 + 2 * i);
  if (whole != x.dims) { // what is left over at the edges is not read
    Dims offsets(whole.size());
    x = {b.create<SliceOp>(whole, element, x.value, b.dimsAttr(offsets),
                           SmallVector<int64_t>(whole.size(), 1),
                           b.dimsAttr(whole)),
         whole};
  }
  DimExpr depth = x.dims[1];
  for (int64_t size : windows.kernel)
    depth = depth * DimExpr(size);
  Dims rows = {x.dims[0], product(windows.counts), depth};
  Dims dims = {rows[0], rows[1], DimExpr(results)};
  Shaped columns = transpose(b, {b.view(x.value, split), split}, perm);
  Dims flat = {DimExpr(results), depth};
  Value matrix = b.transpose(b.view(weight, flat), flat, {1, 0});
  return {
      b.create<MatmulOp>(dims, element, b.view(columns.value, rows), matrix),
      dims};
}

} // namespace

FailureOr<Shaped> convolve(OpBinder &b, Value data, TensorValue &input,
                           Value weights, TensorValue &weight, Dims &counts) {
  Type element = OpBinder::elementOf(data);
  FailureOr<Filter> filter = bindFilter(b, input, weight, false);
  if (failed(filter))
    return failure();
  FailureOr<Windows> windows =
      bindWindows(b, filter->kernel, ArrayRef(input.dims).drop_front(2));
  if (failed(windows))
    return failure();
  counts = windows->counts;
  auto isAll = [](ArrayRef<int64_t> values, int64_t value) {
    return llvm::all_of(values, [&](int64_t v) { return v == value; });
  };
  Shaped x{data, input.dims};
  x.dims[1] = DimExpr(filter->channels * filter->groups);
  bool areDisjoint = windows->strides == windows->kernel &&
                     isAll(windows->low, 0) && isAll(windows->high, 0) &&
                     isAll(windows->dilations, 1);
  if (areDisjoint && filter->groups == 1 && isMatrixType(element) &&
      !isAll(filter->kernel, 1) && !isChannelsLast(data))
    return multiplyPatches(b, x, *windows, weights, filter->results);
  arrange(b, *filter, weights, false);
  FailureOr<Shaped> points =
      makeWindows(b, channelsLast(b, x), 1, *windows, b.scalar(0, element));
  if (failed(points))
    return failure();
  return multiply(b, *points, *filter);
}

LogicalResult setConvolution(OpBinder &b, const Shaped &rows,
                             ArrayRef<DimExpr> counts) {
  Shaped columns = transpose(b, rows, {0, 2, 1});
  Dims dims = {columns.dims[0], columns.dims[1]};
  dims.append(counts.begin(), counts.end());
  return b.setData(b.view(columns.value, columns.dims, dims), dims);
}

namespace {

LogicalResult importConv(OpBinder &b) {
  if (!isa<FloatType>(b.input(0).element))
    return b.error("its input is not of floats");
  FailureOr<Value> data = b.data(0), weights = b.data(1);
  if (failed(expectOneType(b, 0, 2)) || failed(data) || failed(weights))
    return failure();
  Dims counts;
  FailureOr<Shaped> result =
      convolve(b, *data, b.input(0), *weights, b.input(1), counts);
  if (failed(result) || failed(addBias(b, 2, *result)))
    return failure();
  return setConvolution(b, *result, counts);
}

//===----------------------------------------------------------------------===//
// ConvTranspose
//===----------------------------------------------------------------------===//

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
  Shaped rows = multiply(b, *points, filter);
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
  arrange(b, *filter, *weights, true);
  bool areDisjoint = shrink->strides == filter->kernel && filter->groups == 1 &&
                     !input.element.isF64();
  for (size_t i = 0; i < filter->kernel.size(); ++i)
    areDisjoint &=
        shrink->dilations[i] == 1 && shrink->low[i] == 0 &&
        shrink->sizes[i] == x.dims[1 + i] * DimExpr(filter->kernel[i]);
  FailureOr<Shaped> result =
      areDisjoint ? FailureOr<Shaped>(multiplyToPatches(b, x, *filter))
                  : convolveSpread(b, x, *filter, *shrink);
  if (failed(result) || failed(addBias(b, 2, *result)))
    return failure();
  *result = channelsFirst(b, *result);
  return b.setData(result->value, result->dims);
}

} // namespace

void registerConvOps(OpTable &table) {
  table.add("Conv", importConv);
  table.add("ConvTranspose", importConvTranspose);
}

} // namespace ferrite::frontend
