//===- UnpoolOps.cpp - Pools and windows put back in place ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// No image has as many points along a dim; products of few of them fit.
constexpr int64_t kMost = int64_t(1) << 24;

/// An attribute with `count` small numbers, `otherwise` where it is absent.
FailureOr<std::vector<int64_t>> bindInts(OpBinder &b, StringRef name,
                                         size_t count, int64_t otherwise,
                                         int64_t least) {
  std::vector<int64_t> numbers =
      b.intsAttr(name).value_or(std::vector<int64_t>(count, otherwise));
  if (numbers.size() != count)
    return b.error("attribute '" + name + "' has " + Twine(numbers.size()) +
                   " numbers, expected " + Twine(count));
  for (int64_t number : numbers)
    if (number < least || number > kMost)
      return b.error("attribute '" + name + "' has " + Twine(number));
  return numbers;
}

Value zeros(OpBinder &b, ArrayRef<DimExpr> dims, Type element) {
  return b.create<BroadcastOp>(dims, element, b.scalar(0, element),
                               b.dimsAttr(dims));
}

/// Indices are of the whole tensor that was pooled, whose sizes follow from the
/// attributes; an output_shape adds zeros behind it.
LogicalResult importMaxUnpool(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (input.rank() < 3)
    return b.error("its input has rank " + Twine(input.rank()) +
                   ", where ONNX wants 3 or more");
  if (b.input(1).dims != input.dims)
    return b.error("its indices do not have the dims of its input");
  size_t count = input.rank() - 2;
  if (!b.hasAttr("kernel_shape"))
    return b.error("it has no attribute 'kernel_shape'");
  auto kernel = bindInts(b, "kernel_shape", count, 1, 1);
  auto strides = bindInts(b, "strides", count, 1, 1);
  auto pads = bindInts(b, "pads", 2 * count, 0, 0);
  if (failed(kernel) || failed(strides) || failed(pads))
    return failure();
  Dims dims(input.dims.begin(), input.dims.begin() + 2);
  for (size_t i = 0; i < count; ++i) {
    dims.push_back((input.dims[i + 2] - DimExpr(1)) * DimExpr((*strides)[i]) +
                   DimExpr((*kernel)[i] - (*pads)[i] - (*pads)[count + i]));
    if (!b.symbols().requireLessEqual(1, dims.back()))
      return b.error("its result has a size of " + dims.back().str());
  }
  FailureOr<Value> data = b.data(0), indices = getIndices(b, 1);
  if (failed(data) || failed(indices))
    return failure();
  Dims flat = {product(input.dims)}, all = {product(dims)};
  Value result = b.create<ScatterElementsOp>(
      all, input.element, zeros(b, all, input.element),
      b.view(*indices, input.dims, flat), b.view(*data, input.dims, flat),
      CombineKind::None, 0);
  result = b.view(result, all, dims);
  if (!b.hasInput(2))
    return b.setData(result, dims);
  FailureOr<std::vector<DimExpr>> given = b.contents(2, "output_shape");
  if (failed(given))
    return failure();
  Dims full(given->begin(), given->end());
  if (full.size() != dims.size())
    return b.error("its output_shape is not of rank " + Twine(dims.size()));
  for (size_t i = 0; i < full.size(); ++i)
    if (!b.symbols().requireLessEqual(dims[i], full[i]))
      return b.error("its output_shape is below the " + printDims(dims) +
                     " of its attributes");
  Dims low(full.size(), DimExpr(0));
  return b.setData(b.create<PadOp>(full, input.element, result,
                                   b.scalar(0, input.element), b.dimsAttr(low),
                                   b.dimsAttr(full)),
                   full);
}

struct Image {
  std::vector<int64_t> shape, block, dilations, strides, pads;
  std::vector<int64_t> padded, steps; ///< sizes, and how often a block fits

  size_t rank() const { return shape.size(); }
};

FailureOr<Image> bindImage(OpBinder &b) {
  Image image;
  auto shape = b.integers(1, "image_shape"),
       block = b.integers(2, "block_shape");
  if (failed(shape) || failed(block))
    return failure();
  image.shape = *shape;
  image.block = *block;
  size_t count = image.rank();
  if (count == 0 || count > 8 || image.block.size() != count)
    return b.error("its image_shape and block_shape are not of one rank");
  auto dilations = bindInts(b, "dilations", count, 1, 1);
  auto strides = bindInts(b, "strides", count, 1, 1);
  auto pads = bindInts(b, "pads", 2 * count, 0, 0);
  if (failed(dilations) || failed(strides) || failed(pads))
    return failure();
  image.dilations = *dilations;
  image.strides = *strides;
  image.pads = *pads;
  int64_t points = 1, windows = 1;
  for (size_t i = 0; i < count; ++i) {
    if (image.shape[i] < 1 || image.shape[i] > kMost || image.block[i] < 1 ||
        image.block[i] > kMost)
      return b.error("its image_shape or block_shape has a size that no image "
                     "has");
    int64_t size = image.shape[i] + image.pads[i] + image.pads[count + i];
    int64_t reach = image.dilations[i] * (image.block[i] - 1) + 1;
    if (reach > size)
      return b.error("its blocks are larger than its image");
    image.padded.push_back(size);
    image.steps.push_back((size - reach) / image.strides[i] + 1);
    if (llvm::MulOverflow(points, size, points) ||
        llvm::MulOverflow(windows, image.block[i] * image.steps[i], windows) ||
        points > int64_t(1) << 40 || windows > int64_t(1) << 40)
      return b.error("its image has more points than memory");
  }
  return image;
}

/// Adds each window's points where they were taken from: a scatter into the
/// padded image, whose indices are sums of multiples of positions.
LogicalResult importCol2Im(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (input.rank() != 3)
    return b.error("its input has rank " + Twine(input.rank()) +
                   ", where ONNX wants 3");
  FailureOr<Image> image = bindImage(b);
  if (failed(image))
    return failure();
  size_t count = image->rank();
  // Blocks, then steps.
  Dims each;
  int64_t block = 1, steps = 1, points = 1;
  for (size_t i = 0; i < count; ++i) {
    block *= image->block[i];
    steps *= image->steps[i];
    points *= image->padded[i];
    each.push_back(DimExpr(image->block[i]));
  }
  for (int64_t step : image->steps)
    each.push_back(DimExpr(step));
  std::optional<DimExpr> channels = input.dims[1].dividedBy(block);
  if (!channels)
    return b.error("its " + input.dims[1].str() +
                   " channels are not whole blocks of " + Twine(block));
  if (input.dims[2] != DimExpr(steps) &&
      !b.symbols().requireEqual(input.dims[2], steps))
    return b.error("its image has " + Twine(steps) + " blocks, its input " +
                   input.dims[2].str());
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();

  Type i64 = b.builder().getI64Type();
  Value index;
  int64_t stride = points;
  for (size_t i = 0; i < count; ++i) {
    stride /= image->padded[i];
    for (bool isStep : {false, true}) {
      size_t d = isStep ? count + i : i;
      int64_t factor =
          stride * (isStep ? image->strides[i] : image->dilations[i]);
      Dims line(2 * count, DimExpr(1));
      line[d] = each[d];
      Value own =
          b.create<MulOp>(line, i64, iotaAlong(b, each[d], d, 2 * count, i64),
                          sizeScalar(b, DimExpr(factor), i64));
      index = index ? b.create<AddOp>(each, i64, index, own)
                    : b.create<BroadcastOp>(each, i64, own, b.dimsAttr(each));
    }
  }
  Dims rows = {input.dims[0] * *channels, DimExpr(block * steps)};
  Dims row = {DimExpr(1), rows[1]};
  index =
      b.create<BroadcastOp>(rows, i64, b.view(index, row), b.dimsAttr(rows));
  Dims flat = {rows[0], DimExpr(points)};
  Value result = b.create<ScatterElementsOp>(
      flat, input.element, zeros(b, flat, input.element), index,
      b.view(*data, input.dims, rows), CombineKind::Sum, 1);
  Dims padded = {input.dims[0], *channels}, dims = padded,
       offsets(2, DimExpr(0));
  for (size_t i = 0; i < count; ++i) {
    padded.push_back(DimExpr(image->padded[i]));
    dims.push_back(DimExpr(image->shape[i]));
    offsets.push_back(DimExpr(image->pads[i]));
  }
  result = b.view(result, flat, padded);
  if (padded != dims)
    result = b.create<SliceOp>(dims, input.element, result, b.dimsAttr(offsets),
                               SmallVector<int64_t>(dims.size(), 1),
                               b.dimsAttr(dims));
  return b.setData(result, dims);
}

} // namespace

void registerUnpoolOps(OpTable &table) {
  table.add("MaxUnpool", importMaxUnpool);
  table.add("Col2Im", importCol2Im);
}

} // namespace ferrite::frontend
