//===- ConvFilter.cpp - Filters of convolutions ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ConvFilter.h"
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {

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

void arrangeFilter(OpBinder &b, Filter &filter, Value weight, bool transposed) {
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
static Shaped multiplyAndAdd(OpBinder &b, const Shaped &windows,
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
static Shaped multiplyMatrices(OpBinder &b, const Shaped &windows,
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

bool isMatrixType(Type element) {
  return element.isF32() || element.isF16() || element.isBF16();
}

Shaped multiplyWindows(OpBinder &b, const Shaped &windows,
                       const Filter &filter) {
  bool isDepthwise = filter.channels == 1 && filter.groups > 1;
  return isMatrixType(OpBinder::elementOf(windows.value)) && !isDepthwise
             ? multiplyMatrices(b, windows, filter)
             : multiplyAndAdd(b, windows, filter);
}

LogicalResult addChannelBias(OpBinder &b, unsigned i, Shaped &x) {
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

} // namespace ferrite::frontend
