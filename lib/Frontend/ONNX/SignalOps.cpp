//===- SignalOps.cpp - Fourier transforms and mel bins --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A transform is two products with the cosines and sines of all angles, which
// are computed where they are used: as constants they would outgrow the model.
// Angles are reduced as integers first, so that each is exact.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include <cmath>

using namespace mlir;

namespace ferrite::frontend {
namespace {

constexpr int64_t kMostPoints = int64_t(1) << 20;

/// A transform of rows: [lead.., samples, 1 or 2] to [lead.., bins, 1 or 2],
/// where the last dim is of real and imaginary parts.
struct Transform {
  int64_t length = 0; ///< the period
  bool inverse = false, onesided = false;

  /// An inverse of half a spectrum is real.
  bool makesReal() const { return inverse && onesided; }
  int64_t half() const { return length / 2 + 1; }
  int64_t bins() const { return onesided && !inverse ? half() : length; }
};

class TransformBuilder {
public:
  TransformBuilder(OpBinder &b, const Transform &transform, Type element)
      : b(b), t(transform), element(element) {}

  /// `x` of `dims`; `dims` become those of the result.
  Value build(Value x, Dims &dims);

private:
  Value angles(const DimExpr &samples);
  Value part(Value x, Dims dims, int64_t i);
  Value halfWeights(const DimExpr &samples);
  template <typename OpTy>
  Value make(ArrayRef<DimExpr> dims, Value x, Value y) {
    return b.create<OpTy>(dims, element, x, y);
  }

  OpBinder &b;
  const Transform &t;
  Type element;
};

} // namespace

/// [samples, bins] in f64: 2 pi (n k mod length) / length.
Value TransformBuilder::angles(const DimExpr &samples) {
  Type i64 = b.builder().getI64Type(), f64 = b.builder().getF64Type();
  DimExpr bins(t.bins());
  Dims dims = {samples, bins};
  Value turns = b.create<MulOp>(dims, i64, iotaAlong(b, samples, 0, 2, i64),
                                iotaAlong(b, bins, 1, 2, i64));
  turns =
      b.create<ModOp>(dims, i64, turns, sizeScalar(b, DimExpr(t.length), i64));
  double step = 2 * M_PI / static_cast<double>(t.length);
  return b.create<MulOp>(dims, f64, b.cast(turns, dims, f64),
                         b.scalar(step, f64));
}

/// Part `i` of the last dim, which is dropped.
Value TransformBuilder::part(Value x, Dims dims, int64_t i) {
  Dims offsets(dims.size(), DimExpr(0));
  offsets.back() = DimExpr(i);
  dims.back() = DimExpr(1);
  Value slice =
      b.create<SliceOp>(dims, element, x, b.dimsAttr(offsets),
                        SmallVector<int64_t>(dims.size(), 1), b.dimsAttr(dims));
  dims.pop_back();
  return b.view(slice, dims);
}

/// 2 for each bin that stands for its conjugate too, as a column.
Value TransformBuilder::halfWeights(const DimExpr &samples) {
  Type i64 = b.builder().getI64Type(), i1 = b.builder().getI1Type();
  Dims column = {samples, DimExpr(1)};
  Value bin = iotaAlong(b, samples, 0, 2, i64);
  Value isFirst = b.create<CompareOp>(
      column, i1, bin, sizeScalar(b, DimExpr(0), i64), Predicate::Eq);
  // Of an odd length no bin is its own conjugate but the first.
  int64_t middle = t.length % 2 ? -1 : t.length / 2;
  Value isMiddle = b.create<CompareOp>(
      column, i1, bin, sizeScalar(b, DimExpr(middle), i64), Predicate::Eq);
  return b.create<WhereOp>(column, element,
                           b.create<OrOp>(column, i1, isFirst, isMiddle),
                           b.scalar(1, element), b.scalar(2, element));
}

Value TransformBuilder::build(Value x, Dims &dims) {
  Type f64 = b.builder().getF64Type();
  bool isComplex = dims.back().isConstant(2);
  DimExpr samples = dims[dims.size() - 2];
  Dims table = {samples, DimExpr(t.bins())};
  Value angle = angles(samples);
  Value cos = b.cast(b.create<CosOp>(table, f64, angle), table, element);
  Value sin = b.cast(b.create<SinOp>(table, f64, angle), table, element);
  if (t.makesReal()) {
    Value weights = halfWeights(samples);
    cos = make<MulOp>(table, cos, weights);
    sin = make<MulOp>(table, sin, weights);
  }
  // [lead.., samples] as [lead.., 1, samples], for the product.
  Dims rows(dims.begin(), dims.end() - 2), out = rows;
  rows.append({DimExpr(1), samples});
  out.append({DimExpr(1), DimExpr(t.bins())});
  auto product = [&](Value row, Value factors) {
    return make<MatmulOp>(out, row, factors);
  };
  Value real = b.view(part(x, dims, 0), rows);
  Value imaginary = isComplex ? b.view(part(x, dims, 1), rows) : Value();
  // (real + i imaginary)(cos - i sin), of the inverse (cos + i sin).
  Value re = product(real, cos), im = product(real, sin);
  if (!t.inverse)
    im = b.create<NegOp>(out, element, im);
  if (imaginary) {
    Value crossed = product(imaginary, sin), straight = product(imaginary, cos);
    re = t.inverse ? make<SubOp>(out, re, crossed)
                   : make<AddOp>(out, re, crossed);
    im = make<AddOp>(out, im, straight);
  }
  dims = Dims(rows.begin(), rows.end() - 2);
  dims.append({DimExpr(t.bins()), DimExpr(1)});
  Value result = b.view(re, out, dims);
  if (!t.makesReal()) {
    Value second = b.view(im, out, dims);
    dims.back() = DimExpr(2);
    result = b.create<ConcatOp>(dims, element, ValueRange{result, second},
                                static_cast<int64_t>(dims.size()) - 1);
  }
  if (t.inverse)
    result = make<DivOp>(dims, result,
                         b.scalar(static_cast<double>(t.length), element));
  return result;
}

namespace {

/// One small positive number that decides sizes.
FailureOr<int64_t> bindLength(OpBinder &b, unsigned i, StringRef what) {
  FailureOr<std::vector<int64_t>> given = b.integers(i, what);
  if (failed(given))
    return failure();
  if (given->size() != 1 || given->front() < 1 || given->front() > kMostPoints)
    return b.error("its " + what + " is not one number from 1 to " +
                   Twine(kMostPoints));
  return given->front();
}

LogicalResult importDFT(OpBinder &b) {
  TensorValue &input = b.input(0);
  Type element = input.element;
  if (!isa<FloatType>(element) || input.rank() < 2 ||
      (!input.dims.back().isConstant(1) && !input.dims.back().isConstant(2)))
    return b.error("its input, " + printDims(input.dims) +
                   ", is not of real or complex floats");
  Transform transform;
  transform.inverse = b.intAttr("inverse", 0) != 0;
  transform.onesided = b.intAttr("onesided", 0) != 0;
  // From 20 on the axis is an input.
  int64_t given = b.opset() < 20 ? b.intAttr("axis", 1) : -2;
  if (b.hasInput(2)) {
    FailureOr<std::vector<int64_t>> numbers = b.integers(2, "axis");
    if (failed(numbers))
      return failure();
    if (numbers->size() != 1)
      return b.error("its axis is not a scalar");
    given = numbers->front();
  }
  FailureOr<int64_t> axis = b.normalizeAxis(given, input.rank());
  if (failed(axis))
    return failure();
  auto last = static_cast<int64_t>(input.rank()) - 1;
  if (*axis == last)
    return b.error("its axis is the dim of real and imaginary parts");
  DimExpr samples = input.dims[*axis];
  if (b.hasInput(1)) {
    FailureOr<int64_t> length = bindLength(b, 1, "dft_length");
    if (failed(length))
      return failure();
    transform.length = *length;
  } else {
    std::optional<int64_t> size = samples.constant();
    if (!size || *size > kMostPoints)
      return b.unsupported("over " + samples.str() +
                           " samples needs their number at compile time; "
                           "--dim NAME=N gives it");
    transform.length = transform.makesReal() ? 2 * (*size - 1) : *size;
    if (transform.length < 1)
      return b.error("its axis has too few samples");
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();

  // The axis goes in front of the parts; what is behind the period is cut, what
  // lacks to it counts as zeros and is not computed with.
  // In f64: sums that cancel to 0 keep an error of f32's of their terms, which
  // a fast transform's few steps do not have.
  Type held = b.builder().getF64Type();
  SmallVector<int64_t> perm;
  for (int64_t i = 0; i <= last; ++i)
    perm.push_back(i);
  std::swap(perm[*axis], perm[last - 1]); // its own inverse
  Dims dims = input.dims;
  std::swap(dims[*axis], dims[last - 1]);
  Value x = b.cast(*data, input.dims, held);
  if (*axis != last - 1)
    x = b.transpose(x, input.dims, perm);
  DimExpr most(transform.makesReal() ? transform.half() : transform.length);
  if (b.symbols().lessEqual(samples, most) != true) {
    if (!b.symbols().requireLessEqual(most, samples))
      return b.unsupported("of " + samples.str() + " samples by a length of " +
                           Twine(transform.length) + " may cut or pad");
    dims[last - 1] = most;
    x = b.create<SliceOp>(
        dims, held, x, b.dimsAttr(Dims(dims.size(), DimExpr(0))),
        SmallVector<int64_t>(dims.size(), 1), b.dimsAttr(dims));
  }
  x = TransformBuilder(b, transform, held).build(x, dims);
  if (*axis != last - 1) {
    x = b.transpose(x, dims, perm);
    std::swap(dims[*axis], dims[last - 1]);
  }
  return b.setData(b.cast(x, dims, element), dims);
}

/// Transforms of the windows of a signal.
LogicalResult importSTFT(OpBinder &b) {
  TensorValue &signal = b.input(0);
  Type element = signal.element;
  Transform transform;
  transform.onesided = b.intAttr("onesided", 1) != 0;
  if (!isa<FloatType>(element) || signal.rank() != 3 ||
      (!signal.dims[2].isConstant(1) && !signal.dims[2].isConstant(2)))
    return b.error("its signal, " + printDims(signal.dims) +
                   ", is not [batch, length, 1 or 2] of floats");
  FailureOr<int64_t> step = bindLength(b, 1, "frame_step");
  if (failed(step))
    return failure();
  if (b.hasInput(3)) {
    FailureOr<int64_t> length = bindLength(b, 3, "frame_length");
    if (failed(length))
      return failure();
    transform.length = *length;
  } else if (b.hasInput(2) && b.input(2).rank() == 1 &&
             b.input(2).dims[0].constant()) {
    transform.length = *b.input(2).dims[0].constant();
  }
  if (transform.length < 1 || transform.length > kMostPoints)
    return b.error("it has neither a frame_length nor a window of known size");
  DimExpr length(transform.length);
  std::optional<int64_t> known = signal.dims[1].constant();
  if (!known || *known < transform.length)
    return b.unsupported("of a signal of " + signal.dims[1].str() +
                         " samples in frames of " + Twine(transform.length));
  DimExpr count((*known - transform.length) / *step + 1);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Type held = element.isF64() ? element : Type(b.builder().getF32Type());
  Type i64 = b.builder().getI64Type();
  Dims frames = {count, length}, column = {count, DimExpr(1)};
  Value starts = b.create<MulOp>(column, i64, iotaAlong(b, count, 0, 2, i64),
                                 sizeScalar(b, DimExpr(*step), i64));
  Value index =
      b.create<AddOp>(frames, i64, starts, iotaAlong(b, length, 1, 2, i64));
  Dims dims = {signal.dims[0], count, length, signal.dims[2]};
  Value x = b.create<GatherOp>(dims, held, b.cast(*data, signal.dims, held),
                               index, 1);
  if (b.hasInput(2)) {
    TensorValue &window = b.input(2);
    FailureOr<Value> weights = b.data(2);
    if (failed(weights))
      return failure();
    if (window.dims != Dims{length})
      return b.error("its window, " + printDims(window.dims) +
                     ", is not of frame_length " + length.str());
    Dims tall = {length, DimExpr(1)};
    Value factor = b.view(b.cast(*weights, window.dims, held), tall);
    x = b.create<MulOp>(dims, held, x, factor);
  }
  x = TransformBuilder(b, transform, held).build(x, dims);
  return b.setData(b.cast(x, dims, element), dims);
}

FailureOr<double> bindFrequency(OpBinder &b, unsigned i, StringRef what) {
  const auto &floats = b.input(i).floats;
  if (!floats)
    return b.needsConstant(i, what);
  if (floats->size() != 1 || !(floats->front() >= 0) || floats->front() > 1e12)
    return b.error("its " + what + " is not one frequency");
  return floats->front();
}

/// Triangles on the mel scale, known at import.
LogicalResult importMelWeightMatrix(OpBinder &b) {
  FailureOr<int64_t> mels = bindLength(b, 0, "num_mel_bins"),
                     length = bindLength(b, 1, "dft_length"),
                     rate = bindLength(b, 2, "sample_rate");
  FailureOr<double> low = bindFrequency(b, 3, "lower_edge_hertz"),
                    high = bindFrequency(b, 4, "upper_edge_hertz");
  if (failed(mels) || failed(length) || failed(rate) || failed(low) ||
      failed(high))
    return failure();
  int64_t type = b.intAttr("output_datatype", onnx::TensorProto::FLOAT);
  Type element = b.importer.getElementType(static_cast<int32_t>(type));
  if (!isa_and_nonnull<FloatType>(element))
    return b.unsupported("attribute 'output_datatype' = " + Twine(type) +
                         " is not supported");
  int64_t bins = *length / 2 + 1;
  if (bins * *mels > kMostPoints)
    return b.unsupported("its matrix has more than " + Twine(kMostPoints) +
                         " elements");
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  double first = mel(*low),
         step = (mel(*high) - first) / static_cast<double>(*mels + 2);
  std::vector<int64_t> edges;
  for (int64_t i = 0; i < *mels + 2; ++i) {
    double hertz =
        700 *
        (std::pow(10, (static_cast<double>(i) * step + first) / 2595) - 1);
    double edge = std::floor(static_cast<double>(*length + 1) * hertz /
                             static_cast<double>(*rate));
    if (!(edge >= 0 && edge < static_cast<double>(bins)))
      return b.error("its frequencies are above half the sample rate");
    edges.push_back(static_cast<int64_t>(edge));
  }
  std::vector<double> matrix(bins * *mels);
  for (int64_t i = 0; i < *mels; ++i) {
    int64_t left = edges[i], centre = edges[i + 1], right = edges[i + 2];
    auto at = [&](int64_t bin) -> double & { return matrix[bin * *mels + i]; };
    if (left == centre)
      at(centre) = 1;
    for (int64_t bin = left; left < centre && bin <= centre; ++bin)
      at(bin) =
          static_cast<double>(bin - left) / static_cast<double>(centre - left);
    for (int64_t bin = centre; bin < right; ++bin)
      at(bin) = static_cast<double>(right - bin) /
                static_cast<double>(right - centre);
  }
  Dims dims = {DimExpr(bins), DimExpr(*mels)};
  SmallVector<Attribute> numbers;
  for (double number : matrix)
    numbers.push_back(b.builder().getFloatAttr(element, number));
  Value data = arith::ConstantOp::create(
      b.builder(), b.loc,
      DenseElementsAttr::get(getTensorType(dims, element), numbers));
  return b.setData(data, dims);
}

} // namespace

void registerSignalOps(OpTable &table) {
  table.add("DFT", importDFT);
  table.add("STFT", importSTFT);
  table.add("MelWeightMatrix", importMelWeightMatrix);
}

} // namespace ferrite::frontend
