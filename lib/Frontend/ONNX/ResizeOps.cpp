//===- ResizeOps.cpp - Resize ---------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A resize is separable, and along an axis each point of the result is a sum of
// a few points of the input with weights that depend on positions alone. Sizes
// are known at import, so both are constants: the op becomes a gather and a
// weighted sum for each axis.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Spatial.h"

#include <cmath>

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Points of the result along one axis.
constexpr int64_t kMostPoints = int64_t(1) << 20;
/// Input points of one of them: more is a shrinking by more than a thousand.
constexpr int64_t kMostTaps = 4096;

struct Resize {
  std::string mode, nearest, coordinates, policy;
  bool antialias, excludeOutside;
  double cubic, extrapolation;
  std::vector<int64_t> axes;
  std::vector<double> roi; ///< begins, then ends; of axes
};

/// One axis: from `in` points to `out`, by `scale`.
struct Line {
  int64_t in, out;
  double scale, begin = 0, end = 1;
};

/// `taps` indices and weights for each point of a line.
struct Taps {
  size_t taps = 0;
  std::vector<int64_t> indices;
  std::vector<double> weights;
  std::vector<bool> outside; ///< of each point: the extrapolation value
};

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// The position in the input of point `y` of the result.
double locate(const Resize &resize, const Line &line, double y) {
  double width = line.scale * static_cast<double>(line.in);
  auto last = static_cast<double>(line.in - 1);
  if (resize.coordinates == "align_corners")
    return width == 1 ? 0 : y * last / (width - 1);
  if (resize.coordinates == "asymmetric")
    return y / line.scale;
  if (resize.coordinates == "tf_crop_and_resize") {
    double span = (line.end - line.begin) * last;
    return line.begin * last + (width == 1 ? span / 2 : y * span / (width - 1));
  }
  if (resize.coordinates == "pytorch_half_pixel" && width == 1)
    return -0.5;
  if (resize.coordinates == "tf_half_pixel_for_nn")
    return (y + 0.5) / line.scale;
  double x = (y + 0.5) / line.scale - 0.5;
  if (resize.coordinates == "half_pixel_symmetric")
    x += static_cast<double>(line.in) / 2 *
         (1 - static_cast<double>(line.out) / width);
  return x;
}

double cubicWeight(double x, double a) {
  x = std::abs(x);
  if (x <= 1)
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/// Weights of the input points around one at `ratio` in (0, 1] behind the
/// point to its left. The first belongs to the point at -`reach` + 1.
std::vector<double> weigh(const Resize &resize, double ratio, double scale) {
  if (resize.mode == "nearest") {
    bool right = ratio > 0.5;
    if (ratio == 1 || resize.nearest == "ceil")
      right = true;
    else if (resize.nearest == "floor")
      right = false;
    else if (resize.nearest == "round_prefer_ceil")
      right = ratio >= 0.5;
    return {right ? 0.0 : 1.0, right ? 1.0 : 0.0};
  }
  double stretch = resize.antialias ? std::min(scale, 1.0) : 1.0;
  bool isCubic = resize.mode == "cubic";
  double radius = isCubic ? 2 : 1;
  auto first = static_cast<int64_t>(std::floor(-radius / stretch)) + 1;
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = first; i < 2 - first; ++i) {
    double x = (static_cast<double>(i) - ratio) * stretch;
    weights.push_back(isCubic ? cubicWeight(x, resize.cubic)
                              : std::max(0.0, 1 - std::abs(x)));
    sum += weights.back();
  }
  if (resize.antialias)
    for (double &weight : weights)
      weight /= sum;
  return weights;
}

Taps computeTaps(const Resize &resize, const Line &line) {
  Taps result;
  for (int64_t y = 0; y < line.out; ++y) {
    double x = locate(resize, line, static_cast<double>(y));
    result.outside.push_back(resize.coordinates == "tf_crop_and_resize" &&
                             (x < 0 || x > static_cast<double>(line.in - 1)));
    double left = std::floor(x);
    double ratio = x == left ? 1.0 : x - left;
    std::vector<double> weights = weigh(resize, ratio, line.scale);
    result.taps = weights.size();
    // Windows are even: around the middle between two points. A point on the
    // grid takes the one to its left as the left one.
    int64_t start = static_cast<int64_t>(left) - (x == left ? 1 : 0) -
                    static_cast<int64_t>(weights.size()) / 2 + 1;
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      int64_t at = start + static_cast<int64_t>(i);
      if (resize.excludeOutside && (at < 0 || at >= line.in))
        weights[i] = 0;
      sum += weights[i];
      result.indices.push_back(std::clamp<int64_t>(at, 0, line.in - 1));
    }
    for (double weight : weights)
      result.weights.push_back(resize.excludeOutside && sum != 0 ? weight / sum
                                                                 : weight);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

Value makeIndices(OpBinder &b, ArrayRef<int64_t> indices) {
  auto type = RankedTensorType::get({static_cast<int64_t>(indices.size())},
                                    b.builder().getI64Type());
  return arith::ConstantOp::create(b.builder(), b.loc,
                                   DenseElementsAttr::get(type, indices));
}

Shaped gather(OpBinder &b, const Shaped &x, size_t axis,
              ArrayRef<int64_t> indices) {
  Dims dims = x.dims;
  dims[axis] = DimExpr(static_cast<int64_t>(indices.size()));
  return {b.create<GatherOp>(dims, OpBinder::elementOf(x.value), x.value,
                             makeIndices(b, indices),
                             static_cast<int64_t>(axis)),
          dims};
}

/// Dims that stand at `axis` of a tensor of `rank`.
Dims column(ArrayRef<DimExpr> dims, size_t axis, size_t rank) {
  Dims result(dims);
  result.append(rank - axis - 1, DimExpr(1));
  return result;
}

Shaped extrapolate(OpBinder &b, Shaped x, size_t axis, const Taps &taps,
                   double value) {
  if (!llvm::is_contained(taps.outside, true))
    return x;
  auto size = static_cast<int64_t>(taps.outside.size());
  SmallVector<bool> flags(taps.outside.begin(), taps.outside.end());
  auto type = RankedTensorType::get({size}, b.builder().getI1Type());
  Value outside = arith::ConstantOp::create(
      b.builder(), b.loc, DenseElementsAttr::get(type, ArrayRef<bool>(flags)));
  Type element = OpBinder::elementOf(x.value);
  Value where = b.view(outside, column({DimExpr(size)}, axis, x.dims.size()));
  x.value = b.create<WhereOp>(x.dims, element, where, b.scalar(value, element),
                              x.value);
  return x;
}

/// `x` is of f32 or f64, but for 'nearest'.
Shaped resizeAxis(OpBinder &b, const Shaped &x, size_t axis, const Taps &taps,
                  const Resize &resize) {
  size_t points = taps.outside.size();
  if (resize.mode == "nearest") {
    SmallVector<int64_t> chosen;
    for (size_t i = 0; i < points; ++i)
      chosen.push_back(taps.indices[2 * i + (taps.weights[2 * i] == 0)]);
    return extrapolate(b, gather(b, x, axis, chosen), axis, taps,
                       resize.extrapolation);
  }
  Type element = OpBinder::elementOf(x.value);
  Shaped read = gather(b, x, axis, taps.indices);
  DimExpr count(static_cast<int64_t>(points)),
      width(static_cast<int64_t>(taps.taps));
  Dims wide = read.dims, dims = x.dims;
  wide[axis] = count;
  wide.insert(wide.begin() + axis + 1, width);
  dims[axis] = count;
  auto type = RankedTensorType::get(
      {static_cast<int64_t>(points), static_cast<int64_t>(taps.taps)}, element);
  SmallVector<Attribute> numbers;
  for (double weight : taps.weights)
    numbers.push_back(b.builder().getFloatAttr(element, weight));
  Value weights = arith::ConstantOp::create(
      b.builder(), b.loc, DenseElementsAttr::get(type, numbers));
  Dims side = {count};
  side.append(column({width}, axis, x.dims.size()));
  Value products = b.create<MulOp>(wide, element, b.view(read.value, wide),
                                   b.view(weights, side));
  Value sum = b.create<ReduceOp>(dims, element, products, ReduceKind::Sum,
                                 ArrayRef<int64_t>(int64_t(axis) + 1),
                                 /*keepDims=*/false);
  return extrapolate(b, {sum, dims}, axis, taps, resize.extrapolation);
}

//===----------------------------------------------------------------------===//
// The node
//===----------------------------------------------------------------------===//

FailureOr<Resize> bindResize(OpBinder &b) {
  Resize resize;
  resize.mode = b.stringAttr("mode", "nearest");
  resize.nearest = b.stringAttr("nearest_mode", "round_prefer_floor");
  resize.coordinates =
      b.stringAttr("coordinate_transformation_mode", "half_pixel");
  resize.policy = b.stringAttr("keep_aspect_ratio_policy", "stretch");
  resize.antialias = b.intAttr("antialias", 0) != 0;
  resize.excludeOutside = b.intAttr("exclude_outside", 0) != 0;
  resize.cubic = b.floatAttr("cubic_coeff_a", -0.75f);
  resize.extrapolation = b.floatAttr("extrapolation_value", 0);
  auto expect = [&](const char *name, const std::string &value,
                    std::initializer_list<StringRef> known) {
    if (llvm::is_contained(known, value))
      return success();
    return b.error(Twine("attribute '") + name + "' = '" + value +
                   "' is unknown");
  };
  if (failed(expect("mode", resize.mode, {"nearest", "linear", "cubic"})) ||
      failed(expect(
          "nearest_mode", resize.nearest,
          {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})) ||
      failed(expect("coordinate_transformation_mode", resize.coordinates,
                    {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                     "align_corners", "asymmetric", "tf_crop_and_resize",
                     "tf_half_pixel_for_nn"})) ||
      failed(expect("keep_aspect_ratio_policy", resize.policy,
                    {"stretch", "not_larger", "not_smaller"})))
    return failure();
  if (resize.antialias && resize.mode == "nearest")
    return b.error("attribute 'antialias' does not go with mode 'nearest'");
  size_t rank = b.input(0).rank();
  std::vector<int64_t> axes;
  for (size_t i = 0; i < rank; ++i)
    axes.push_back(i);
  auto normal = b.normalizeAxes(b.intsAttr("axes").value_or(axes), rank);
  if (failed(normal))
    return failure();
  resize.axes = *normal;
  if (resize.coordinates == "tf_crop_and_resize") {
    if (!b.hasInput(1))
      return b.error("it has no roi");
    if (!b.input(1).floats)
      return b.needsConstant(1, "roi");
    if (b.input(1).floats->size() != 2 * resize.axes.size())
      return b.error("its roi is not two for each axis");
    resize.roi = *b.input(1).floats;
  }
  return resize;
}

/// Sizes of the result and scales, of each axis of `resize`. A negative size is
/// one of a symbolic dim that stays.
FailureOr<std::vector<Line>> bindLines(OpBinder &b, const Resize &resize) {
  TensorValue &input = b.input(0);
  size_t count = resize.axes.size();
  std::vector<Line> lines;
  bool hasSizes = b.hasInput(3);
  if (hasSizes == b.hasInput(2) && !(hasSizes && b.input(2).dims.size() == 1 &&
                                     b.input(2).dims[0].isConstant(0)))
    return b.error("it wants either scales or sizes");
  std::vector<double> scales;
  FailureOr<std::vector<DimExpr>> sizes = std::vector<DimExpr>();
  if (hasSizes) {
    sizes = b.contents(3, "sizes");
  } else {
    if (!b.input(2).floats)
      return b.needsConstant(2, "scales");
    scales = *b.input(2).floats;
  }
  if (failed(sizes))
    return failure();
  if ((hasSizes ? sizes->size() : scales.size()) != count)
    return b.error("its sizes or scales are not one for each axis");
  for (size_t i = 0; i < count; ++i) {
    const DimExpr &dim = input.dims[resize.axes[i]];
    bool stays = hasSizes ? (*sizes)[i] == dim : scales[i] == 1;
    bool crops = !resize.roi.empty() &&
                 (resize.roi[i] != 0 || resize.roi[count + i] != 1);
    if (!dim.constant() && stays && !crops && resize.policy == "stretch") {
      lines.push_back({-1, -1, 1});
      continue;
    }
    if (!dim.constant() || (hasSizes && !(*sizes)[i].constant()))
      return b.unsupported("resizes a dim of " + dim.str() +
                           " to a size that depends on input dims");
    Line line{*dim.constant(), 0, 1};
    if (line.in < 1)
      return b.error("its input is empty");
    line.scale = hasSizes ? static_cast<double>(*(*sizes)[i].constant()) /
                                static_cast<double>(line.in)
                          : scales[i];
    if (!(line.scale > 0) ||
        line.scale * static_cast<double>(line.in) >= kMostPoints)
      return b.error("it resizes " + Twine(line.in) + " points by " +
                     std::to_string(line.scale));
    if (line.scale * kMostTaps < 8 && resize.antialias)
      return b.unsupported("shrinks by " + std::to_string(line.scale) +
                           " with 'antialias', which is not supported");
    line.out =
        hasSizes
            ? *(*sizes)[i].constant()
            : static_cast<int64_t>(line.scale * static_cast<double>(line.in));
    if (!resize.roi.empty()) {
      line.begin = resize.roi[i];
      line.end = resize.roi[count + i];
    }
    lines.push_back(line);
  }
  if (hasSizes && resize.policy != "stretch" && !lines.empty()) {
    double scale = lines[0].scale;
    for (const Line &line : lines)
      scale = resize.policy == "not_larger" ? std::min(scale, line.scale)
                                            : std::max(scale, line.scale);
    for (Line &line : lines) {
      line.scale = scale;
      line.out =
          static_cast<int64_t>(scale * static_cast<double>(line.in) + 0.5);
    }
  }
  return lines;
}

LogicalResult importResize(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<Resize> resize = bindResize(b);
  if (failed(resize))
    return failure();
  FailureOr<std::vector<Line>> lines = bindLines(b, *resize);
  FailureOr<Value> data = b.data(0);
  if (failed(lines) || failed(data))
    return failure();
  // Sums are of f32 at least.
  Type element = input.element;
  Type wide = element.isF64() || resize->mode == "nearest"
                  ? element
                  : b.builder().getF32Type();
  Shaped x{b.cast(*data, input.dims, wide), input.dims};
  for (auto [line, axis] : llvm::zip_equal(*lines, resize->axes)) {
    bool stays = line.in == line.out && std::abs(line.scale - 1) <= 1e-9 &&
                 line.begin == 0 && line.end == 1;
    if (line.in < 0 || stays)
      continue;
    x = resizeAxis(b, x, axis, computeTaps(*resize, line), *resize);
  }
  return b.setData(b.cast(x.value, x.dims, element), x.dims);
}

} // namespace

void registerResizeOps(OpTable &table) { table.add("Resize", importResize); }

} // namespace ferrite::frontend
