//===- GridSampleOps.cpp - Images read between their points ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The image is read with its channels last: each point of the grid takes whole
// rows of channels, by index tuples, and mixes them with weights that the
// place between the points gives. What is outside of the image is decided by
// the indices alone.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

enum class Interpolation { Nearest, Linear, Cubic };
enum class Padding { Zeros, Border, Reflection };

class GridSample {
public:
  explicit GridSample(OpBinder &b)
      : b(b), image(b.input(0)), grid(b.input(1)) {}
  LogicalResult import();

private:
  LogicalResult bindAttributes();
  LogicalResult bindOperands();
  Value coordinate(size_t d);
  Value reflected(Value x, size_t d);
  std::vector<Value> weights(Value rest);
  Value rows(const std::vector<Value> &at);
  Value mix();

  // Points of `column`, [batch, out.., 1], in `real`.
  template <typename OpTy>
  Value make(Value x, Value y) {
    return b.create<OpTy>(column, real, x, y);
  }
  template <typename OpTy>
  Value make(Value x) {
    return b.create<OpTy>(column, real, x);
  }
  Value number(double value) { return b.scalar(value, real); }
  /// The size of dim `d` less `less`.
  Value extent(size_t d, int64_t less) {
    Type i64 = b.builder().getI64Type();
    return b.cast(sizeScalar(b, image.dims[d + 2] - DimExpr(less), i64), {},
                  real);
  }
  Value is(Predicate predicate, Value x, Value y) {
    return b.create<CompareOp>(column, b.builder().getI1Type(), x, y,
                               predicate);
  }

  OpBinder &b;
  TensorValue &image, &grid;
  Interpolation mode = Interpolation::Linear;
  Padding padding = Padding::Zeros;
  bool aligns = false;
  size_t spatial = 0;
  Type real; ///< of coordinates and weights
  Value points, channels;
  Dims column, outer; ///< [batch, out.., 1] and the same without the 1
};

} // namespace

LogicalResult GridSample::bindAttributes() {
  std::string name =
      b.stringAttr("mode", b.opset() < 20 ? "bilinear" : "linear");
  if (name == "nearest")
    mode = Interpolation::Nearest;
  else if (name == "cubic" || name == "bicubic")
    mode = Interpolation::Cubic;
  else if (name != "linear" && name != "bilinear")
    return b.error("attribute 'mode' = '" + name + "' is no mode");
  name = b.stringAttr("padding_mode", "zeros");
  if (name == "border")
    padding = Padding::Border;
  else if (name == "reflection")
    padding = Padding::Reflection;
  else if (name != "zeros")
    return b.error("attribute 'padding_mode' = '" + name + "' is no padding");
  aligns = b.intAttr("align_corners", 0) != 0;
  return success();
}

LogicalResult GridSample::bindOperands() {
  if (image.rank() < 3 || grid.rank() != image.rank() ||
      !isa<FloatType>(grid.element))
    return b.error("its input and grid, " + printDims(image.dims) + " and " +
                   printDims(grid.dims) + ", do not fit");
  spatial = image.rank() - 2;
  if (grid.dims.back() != DimExpr(static_cast<int64_t>(spatial)) ||
      grid.dims[0] != image.dims[0])
    return b.error("its grid, " + printDims(grid.dims) +
                   ", does not address its input, " + printDims(image.dims));
  if (spatial > (mode == Interpolation::Cubic ? 2 : 3))
    return b.unsupported("in " + Twine(spatial) +
                         " dimensions has no kernel in this mode");
  if (mode != Interpolation::Nearest && !isa<FloatType>(image.element))
    return b.unsupported("between integers is not supported");
  for (size_t d = 0; d < spatial; ++d)
    if (!b.symbols().requireLessEqual(1, image.dims[d + 2]))
      return b.error("its input has no elements");
  real = grid.element.isF64() ? grid.element : Type(b.builder().getF32Type());
  FailureOr<Value> data = b.data(0), places = b.data(1);
  if (failed(data) || failed(places))
    return failure();
  points = b.cast(*places, grid.dims, real);
  SmallVector<int64_t> perm = {0};
  for (size_t i = 2; i < image.rank(); ++i)
    perm.push_back(static_cast<int64_t>(i));
  perm.push_back(1);
  channels = b.transpose(*data, image.dims, perm);
  outer.assign(grid.dims.begin(), grid.dims.end() - 1);
  column = outer;
  column.push_back(DimExpr(1));
  return success();
}

/// x mirrored at the ends of dim `d` until it lies between them: points, or the
/// edges of the outermost ones.
Value GridSample::reflected(Value x, size_t d) {
  Value low = number(aligns ? 0 : -0.5);
  Value range = extent(d, aligns ? 1 : 0);
  Value twice = b.create<MulOp>({}, real, range, number(2));
  // A single point: any period does, its index is clamped.
  twice = b.create<MaxOp>({}, real, twice, number(1));
  Value turn = make<ModOp>(make<SubOp>(x, low), twice);
  Value distance = make<AbsOp>(make<SubOp>(turn, range));
  Value mirrored = make<SubOp>(range, distance);
  return make<AddOp>(mirrored, low);
}

/// Where the grid points along dim `d`, in points of the image. A grid names
/// the innermost dim first.
Value GridSample::coordinate(size_t d) {
  Dims offsets(grid.rank(), DimExpr(0));
  offsets.back() = DimExpr(static_cast<int64_t>(spatial - 1 - d));
  Value x = b.create<SliceOp>(column, real, points, b.dimsAttr(offsets),
                              SmallVector<int64_t>(grid.rank(), 1),
                              b.dimsAttr(column));
  x = make<AddOp>(x, number(1));
  if (aligns)
    x = make<MulOp>(make<MulOp>(x, number(0.5)), extent(d, 1));
  else
    x = make<MulOp>(make<SubOp>(make<MulOp>(x, extent(d, 0)), number(1)),
                    number(0.5));
  if (mode == Interpolation::Nearest)
    x = make<RoundOp>(x);
  if (padding == Padding::Zeros)
    return x;
  Value low = number(aligns ? 0 : -0.5);
  Value high = b.create<AddOp>({}, real, low, extent(d, aligns ? 1 : 0));
  Value moved = padding == Padding::Reflection
                    ? reflected(x, d)
                    : make<MinOp>(make<MaxOp>(x, number(0)), extent(d, 1));
  Value inside =
      b.create<AndOp>(column, b.builder().getI1Type(),
                      is(Predicate::Ge, x, low), is(Predicate::Le, x, high));
  return b.create<WhereOp>(column, real, inside, x, moved);
}

/// Of the points around, for the part of the way from the second (cubic) or
/// first (linear) of them to the next.
std::vector<Value> GridSample::weights(Value rest) {
  if (mode == Interpolation::Nearest)
    return {Value()};
  Value other = make<SubOp>(number(1), rest);
  if (mode == Interpolation::Linear)
    return {other, rest};
  // Keys' cubic of -0.75, within one point and within two.
  auto near = [&](Value x) {
    Value y = make<SubOp>(make<MulOp>(x, number(1.25)), number(2.25));
    return make<AddOp>(make<MulOp>(make<MulOp>(y, x), x), number(1));
  };
  auto far = [&](Value x) {
    Value y = make<MulOp>(make<SubOp>(x, number(5)), number(-0.75));
    y = make<SubOp>(make<MulOp>(y, x), number(6));
    return make<AddOp>(make<MulOp>(y, x), number(3));
  };
  return {far(make<AddOp>(rest, number(1))), near(rest), near(other),
          far(make<AddOp>(other, number(1)))};
}

/// The channels at whole coordinates.
Value GridSample::rows(const std::vector<Value> &at) {
  Type i64 = b.builder().getI64Type(), i1 = b.builder().getI1Type();
  SmallVector<Value> tuples = {ownPositions(b, outer, 0, i64)};
  Value inside;
  for (auto [d, x] : llvm::enumerate(at)) {
    Value place = x, zero = number(0), last = extent(d, 1);
    if (padding == Padding::Zeros) {
      Value fits = b.create<AndOp>(column, i1, is(Predicate::Ge, place, zero),
                                   is(Predicate::Le, place, last));
      inside = inside ? b.create<AndOp>(column, i1, inside, fits) : fits;
    } else if (padding == Padding::Reflection) {
      place = reflected(place, d);
    }
    place = make<MinOp>(make<MaxOp>(place, zero), last);
    tuples.push_back(b.cast(place, column, i64));
  }
  Dims dims = outer;
  dims.push_back(image.dims[1]);
  Value taken = b.create<GatherNDOp>(dims, image.element, channels,
                                     joinTuples(b, outer, tuples));
  if (!inside)
    return taken;
  return b.create<WhereOp>(dims, image.element, inside, taken,
                           b.scalar(0, image.element));
}

Value GridSample::mix() {
  std::vector<Value> base;
  std::vector<std::vector<Value>> factors;
  for (size_t d = 0; d < spatial; ++d) {
    Value x = coordinate(d);
    Value whole = mode == Interpolation::Nearest ? x : make<FloorOp>(x);
    factors.push_back(weights(make<SubOp>(x, whole)));
    if (mode == Interpolation::Cubic)
      whole = make<SubOp>(whole, number(1));
    base.push_back(whole);
  }
  Dims dims = outer;
  dims.push_back(image.dims[1]);
  if (mode == Interpolation::Nearest)
    return rows(base);
  size_t each = factors[0].size(), count = 1;
  for (size_t d = 0; d < spatial; ++d)
    count *= each;
  Value sum;
  for (size_t corner = 0; corner < count; ++corner) {
    std::vector<Value> at;
    Value weight;
    for (size_t d = 0, rest = corner; d < spatial; ++d, rest /= each) {
      size_t step = rest % each;
      at.push_back(make<AddOp>(base[d], number(static_cast<double>(step))));
      Value factor = factors[d][step];
      weight = weight ? make<MulOp>(weight, factor) : factor;
    }
    Value part =
        b.create<MulOp>(dims, real, b.cast(rows(at), dims, real), weight);
    sum = sum ? b.create<AddOp>(dims, real, sum, part) : part;
  }
  return b.cast(sum, dims, image.element);
}

LogicalResult GridSample::import() {
  if (failed(bindAttributes()) || failed(bindOperands()))
    return failure();
  Value result = mix();
  // Channels to where they were.
  Dims dims = outer;
  dims.push_back(image.dims[1]);
  SmallVector<int64_t> perm = {0, static_cast<int64_t>(spatial) + 1};
  for (size_t d = 0; d < spatial; ++d)
    perm.push_back(static_cast<int64_t>(d) + 1);
  Dims back = {dims[0], image.dims[1]};
  back.append(outer.begin() + 1, outer.end());
  return b.setData(b.transpose(result, dims, perm), back);
}

static LogicalResult importGridSample(OpBinder &b) {
  return GridSample(b).import();
}

/// The places of the points of dim `d` between -1 and 1, [D, 1.., 1]: the ends
/// themselves, or the middles of equal parts.
static Value placesAlong(OpBinder &b, const Dims &sizes, size_t d, bool aligns,
                         Type real) {
  Type i64 = b.builder().getI64Type();
  size_t rank = sizes.size() + 1;
  Dims line(rank, DimExpr(1));
  line[d] = sizes[d];
  auto scalar = [&](const DimExpr &size) {
    return b.cast(sizeScalar(b, size, i64), {}, real);
  };
  Value twice = b.create<MulOp>(
      line, real, b.cast(iotaAlong(b, sizes[d], d, rank, i64), line, real),
      b.scalar(2, real));
  if (!aligns)
    twice = b.create<AddOp>(line, real, twice, b.scalar(1, real));
  Value parts = scalar(sizes[d] - DimExpr(aligns));
  parts = b.create<MaxOp>({}, real, parts, b.scalar(1, real)); // of one point
  Value share = b.create<DivOp>(line, real, twice, parts);
  return b.create<SubOp>(line, real, share, b.scalar(1, real));
}

/// [N, D.., r]: an affine map of each place, whose innermost dim comes first.
static LogicalResult importAffineGrid(OpBinder &b) {
  TensorValue &theta = b.input(0);
  bool aligns = b.intAttr("align_corners", 0) != 0;
  FailureOr<std::vector<DimExpr>> size = b.contents(1, "size");
  if (failed(size))
    return failure();
  size_t spatial = size->size() < 2 ? 0 : size->size() - 2;
  Dims expected = {size->empty() ? DimExpr(0) : size->front(),
                   DimExpr(static_cast<int64_t>(spatial)),
                   DimExpr(static_cast<int64_t>(spatial) + 1)};
  if ((spatial != 2 && spatial != 3) || theta.dims != expected)
    return b.error("its theta, " + printDims(theta.dims) +
                   ", is not of the maps of its size, " +
                   printDims(Dims(size->begin(), size->end())));
  Dims sizes(size->begin() + 2, size->end());
  for (const DimExpr &each : sizes)
    if (!b.symbols().requireLessEqual(1, each))
      return b.error("its size has a dim of " + each.str());
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Type real =
      theta.element.isF64() ? theta.element : Type(b.builder().getF32Type());
  Value maps = b.cast(*data, theta.dims, real);
  Dims dims = {theta.dims[0]}, row(spatial + 1, DimExpr(1));
  llvm::append_range(dims, sizes);
  dims.push_back(theta.dims[1]);
  row.insert(row.begin(), theta.dims[0]);
  row.back() = theta.dims[1];
  auto column = [&](size_t i) {
    Dims part = theta.dims, offsets(3, DimExpr(0));
    part[2] = DimExpr(1);
    offsets[2] = DimExpr(static_cast<int64_t>(i));
    return b.view(b.create<SliceOp>(part, real, maps, b.dimsAttr(offsets),
                                    SmallVector<int64_t>(3, 1),
                                    b.dimsAttr(part)),
                  row);
  };
  Value sum = column(spatial);
  for (size_t d = 0; d < spatial; ++d) {
    Value part =
        b.create<MulOp>(dims, real, column(spatial - 1 - d),
                        b.create<BroadcastOp>(
                            dims, real, placesAlong(b, sizes, d, aligns, real),
                            b.dimsAttr(dims)));
    sum = b.create<AddOp>(dims, real, sum, part);
  }
  return b.setData(b.cast(sum, dims, theta.element), dims);
}

void registerGridSampleOps(OpTable &table) {
  table.add("GridSample", importGridSample);
  table.add("AffineGrid", importAffineGrid);
}

} // namespace ferrite::frontend
