//===- PadOps.cpp - Pad ---------------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Constant borders are ferrite.pad. The other modes repeat parts of the input,
// which are slices: backwards for 'reflect', of one point for 'edge'.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Spatial.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// What is added to an axis; negative: taken away.
struct Border {
  size_t axis;
  DimExpr low, high;
};

/// Pads from the attribute (before opset 11) or the input.
FailureOr<std::vector<Border>> bindBorders(OpBinder &b) {
  TensorValue &input = b.input(0);
  std::vector<DimExpr> pads;
  if (auto given = b.intsAttr("pads")) {
    pads.assign(given->begin(), given->end());
  } else {
    if (!b.hasInput(1))
      return b.error("its pads are missing");
    FailureOr<std::vector<DimExpr>> contents = b.contents(1, "pads");
    if (failed(contents))
      return failure();
    pads = *contents;
  }
  std::vector<int64_t> axes;
  for (size_t i = 0; i < input.rank(); ++i)
    axes.push_back(i);
  if (b.hasInput(3)) {
    FailureOr<std::vector<int64_t>> given = b.integers(3, "axes");
    if (failed(given))
      return failure();
    axes = *given;
  }
  FailureOr<std::vector<int64_t>> normal = b.normalizeAxes(axes, input.rank());
  if (failed(normal))
    return failure();
  if (pads.size() != 2 * axes.size())
    return b.error("its pads are not two for each axis");
  std::vector<Border> borders;
  for (auto [i, axis] : llvm::enumerate(*normal)) {
    Border border{static_cast<size_t>(axis), pads[i], pads[axes.size() + i]};
    for (const DimExpr *size : {&border.low, &border.high})
      if (std::abs(size->constant().value_or(0)) > kMostSpatial)
        return b.error("a pad is out of range");
    borders.push_back(border);
  }
  return borders;
}

/// `count` points from `offset` on `axis`, every `step`-th.
Shaped take(OpBinder &b, const Shaped &x, size_t axis, const DimExpr &offset,
            const DimExpr &count, int64_t step) {
  size_t rank = x.dims.size();
  Dims offsets(rank, DimExpr(0)), dims = x.dims;
  SmallVector<int64_t> steps(rank, 1);
  offsets[axis] = offset;
  dims[axis] = count;
  steps[axis] = step;
  return {b.create<SliceOp>(dims, OpBinder::elementOf(x.value), x.value,
                            b.dimsAttr(offsets), steps, b.dimsAttr(dims)),
          dims};
}

Shaped concat(OpBinder &b, ArrayRef<Shaped> parts, size_t axis) {
  SmallVector<Value> values;
  Dims dims = parts[0].dims;
  dims[axis] = DimExpr(0);
  for (const Shaped &part : parts) {
    values.push_back(part.value);
    dims[axis] = dims[axis] + part.dims[axis];
  }
  if (parts.size() == 1)
    return parts[0];
  return {b.create<ConcatOp>(dims, OpBinder::elementOf(values[0]),
                             ValueRange(values), static_cast<int64_t>(axis)),
          dims};
}

/// The part before (or behind) `x` that repeats it, of `size` points, of which
/// the one nearest to `x` is the last (or first).
FailureOr<Shaped> makeRepeat(OpBinder &b, const Shaped &x, size_t axis,
                             const DimExpr &size, StringRef mode, bool before) {
  const DimExpr &length = x.dims[axis];
  if (mode == "edge") {
    DimExpr last = length - DimExpr(1);
    Shaped edge = take(b, x, axis, before ? DimExpr(0) : last, DimExpr(1), 1);
    Dims dims = x.dims;
    dims[axis] = size;
    return Shaped{b.create<BroadcastOp>(dims, OpBinder::elementOf(x.value),
                                        edge.value, b.dimsAttr(dims)),
                  dims};
  }
  bool reflects = mode == "reflect";
  DimExpr most = reflects ? length - DimExpr(1) : length;
  if (!b.symbols().requireLessEqual(size, most))
    return b.unsupported("attribute 'mode' = '" + mode + "' with a pad of " +
                         size.str() + " on a dim of " + length.str() +
                         " is not supported");
  if (reflects) // the point at the edge is not repeated
    return before ? take(b, x, axis, size, size, -1)
                  : take(b, x, axis, length - DimExpr(2), size, -1);
  return before ? take(b, x, axis, length - size, size, 1)
                : take(b, x, axis, DimExpr(0), size, 1);
}

/// Where NumPy finds the point that stands at `i` of a dim of `length`.
int64_t wrapPosition(int64_t i, int64_t length, StringRef mode) {
  if (mode == "wrap")
    return ((i % length) + length) % length;
  int64_t period = std::max<int64_t>(2 * (length - 1), 1);
  int64_t at = ((i % period) + period) % period;
  return at < length ? at : period - at;
}

/// The same where the border is longer than the dim: by position.
FailureOr<Shaped> repeatByPosition(OpBinder &b, const Shaped &x,
                                   const Border &border, StringRef mode) {
  int64_t low = *border.low.constant(), high = *border.high.constant(),
          length = *x.dims[border.axis].constant();
  if (low + length + high > (int64_t(1) << 22))
    return b.unsupported("attribute 'mode' = '" + mode + "' with a pad of " +
                         Twine(std::max(low, high)) + " is not supported");
  SmallVector<int64_t> positions;
  for (int64_t i = -low; i < length + high; ++i)
    positions.push_back(wrapPosition(i, length, mode));
  auto type = RankedTensorType::get({static_cast<int64_t>(positions.size())},
                                    b.builder().getI64Type());
  Value indices = arith::ConstantOp::create(
      b.builder(), b.loc,
      DenseElementsAttr::get(type, ArrayRef<int64_t>(positions)));
  Dims dims = x.dims;
  dims[border.axis] = DimExpr(static_cast<int64_t>(positions.size()));
  return Shaped{b.create<GatherOp>(dims, OpBinder::elementOf(x.value), x.value,
                                   indices, static_cast<int64_t>(border.axis)),
                dims};
}

FailureOr<Shaped> repeatAxis(OpBinder &b, Shaped x, const Border &border,
                             StringRef mode) {
  auto isPositive = [&](const DimExpr &size) {
    return !size.isConstant(0) && size.constant().value_or(1) > 0;
  };
  auto clamp = [](const DimExpr &size) {
    return DimExpr(std::min<int64_t>(size.constant().value_or(0), 0));
  };
  // What is taken away goes first.
  FailureOr<Shaped> cut =
      padAxis(b, x, border.axis, *clamp(border.low).constant(),
              clamp(border.high), Value());
  if (failed(cut))
    return failure();
  x = *cut;
  bool low = isPositive(border.low), high = isPositive(border.high);
  if (!low && !high)
    return x;
  const DimExpr &length = x.dims[border.axis];
  if (!b.symbols().requireLessEqual(1, length))
    return b.error("it repeats dim " + Twine(border.axis) + ", which is empty");
  if (std::optional<int64_t> known = length.constant();
      known && mode != "edge" && border.low.constant() &&
      border.high.constant()) {
    int64_t most = mode == "reflect" ? *known - 1 : *known;
    if (*border.low.constant() > most || *border.high.constant() > most)
      return repeatByPosition(
          b, x,
          {border.axis, DimExpr(std::max<int64_t>(*border.low.constant(), 0)),
           DimExpr(std::max<int64_t>(*border.high.constant(), 0))},
          mode);
  }
  SmallVector<Shaped> parts;
  for (bool before : {true, false}) {
    if (!before)
      parts.push_back(x);
    if (!(before ? low : high))
      continue;
    FailureOr<Shaped> part = makeRepeat(
        b, x, border.axis, before ? border.low : border.high, mode, before);
    if (failed(part))
      return failure();
    parts.push_back(*part);
  }
  return concat(b, parts, border.axis);
}

/// Constant borders of all axes at once: one copy.
FailureOr<Shaped> padConstant(OpBinder &b, Shaped x, ArrayRef<Border> borders,
                              Value fill) {
  Type element = OpBinder::elementOf(x.value);
  Dims lows(x.dims.size(), DimExpr(0)), dims;
  for (const Border &border : borders) {
    auto negative = [](const DimExpr &size) {
      return std::min<int64_t>(size.constant().value_or(0), 0);
    };
    FailureOr<Shaped> cut = padAxis(b, x, border.axis, negative(border.low),
                                    DimExpr(negative(border.high)), fill);
    if (failed(cut))
      return failure();
    x = *cut;
  }
  dims = x.dims;
  for (const Border &border : borders) {
    auto positive = [](const DimExpr &size) {
      return size.constant() ? DimExpr(std::max<int64_t>(*size.constant(), 0))
                             : size;
    };
    DimExpr low = positive(border.low), high = positive(border.high);
    for (const DimExpr *size : {&low, &high})
      if (!b.symbols().requireLessEqual(0, *size))
        return b.unsupported("its pad of " + size->str() +
                             " may be negative, which is not supported");
    lows[border.axis] = low;
    dims[border.axis] = dims[border.axis] + low + high;
  }
  if (dims == x.dims)
    return x;
  return Shaped{b.create<PadOp>(dims, element, x.value, fill, b.dimsAttr(lows),
                                b.dimsAttr(dims)),
                dims};
}

FailureOr<Value> bindFill(OpBinder &b) {
  Type element = b.input(0).element;
  if (!b.hasInput(2))
    return b.scalar(b.floatAttr("value", 0), element);
  FailureOr<Value> given = b.data(2);
  if (failed(given))
    return failure();
  if (b.input(2).element != element || !product(b.input(2).dims).isConstant(1))
    return b.error("its constant value is not one number of its input's type");
  return b.view(*given, b.input(2).dims, {});
}

LogicalResult importPad(OpBinder &b) {
  TensorValue &input = b.input(0);
  std::string mode = b.stringAttr("mode", "constant");
  bool isConstant = mode == "constant";
  if (!isConstant && mode != "edge" && mode != "reflect" && mode != "wrap")
    return b.error("attribute 'mode' = '" + mode + "' is unknown");
  FailureOr<std::vector<Border>> borders = bindBorders(b);
  FailureOr<Value> data = b.data(0), fill = bindFill(b);
  if (failed(borders) || failed(data) || failed(fill))
    return failure();
  FailureOr<Shaped> x = Shaped{*data, input.dims};
  if (isConstant) {
    x = padConstant(b, *x, *borders, *fill);
  } else {
    for (const Border &border : *borders)
      if (succeeded(x))
        x = repeatAxis(b, *x, border, mode);
  }
  return failed(x) ? failure() : b.setData(x->value, x->dims);
}

} // namespace

void registerPadOps(OpTable &table) { table.add("Pad", importPad); }

} // namespace ferrite::frontend
