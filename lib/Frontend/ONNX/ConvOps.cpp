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
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ConvOps.h"
#include "lib/Frontend/ONNX/ConvFilter.h"
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

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
  arrangeFilter(b, *filter, weights, false);
  FailureOr<Shaped> points =
      makeWindows(b, channelsLast(b, x), 1, *windows, b.scalar(0, element));
  if (failed(points))
    return failure();
  return multiplyWindows(b, *points, *filter);
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
  if (failed(result) || failed(addChannelBias(b, 2, *result)))
    return failure();
  return setConvolution(b, *result, counts);
}

} // namespace

void registerConvOps(OpTable &table) {
  table.add("Conv", importConv);
  table.add("ConvTranspose", importConvTranspose);
}

} // namespace ferrite::frontend
