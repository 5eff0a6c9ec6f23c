//===- MicrosoftNormOps.cpp - Norms of com.microsoft ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Sums and norms apart: our own fusions join them again where that pays.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/KnownOps.h"
#include "lib/Frontend/ONNX/MicrosoftOps.h"
#include "lib/Frontend/ONNX/Norms.h"
#include "lib/Frontend/ONNX/Quantize.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Input `i` added to what has the dims of input 0.
FailureOr<KnownTensor> addInput(OpBinder &b, const KnownTensor &sum,
                                unsigned i) {
  KnownOps ops(b);
  FailureOr<Dims> dims = b.broadcast(sum.dims, b.input(i).dims);
  if (failed(dims))
    return failure();
  if (*dims != sum.dims || b.input(i).element != sum.element)
    return b.error("its input " + Twine(i) + " does not broadcast to its " +
                   "first");
  FailureOr<KnownTensor> addend = ops.input(i);
  if (failed(addend))
    return failure();
  return ops.binary<AddOp>(sum, *addend);
}

/// norm(input + skip + bias); output 3 is the sum itself.
LogicalResult importSkipNorm(OpBinder &b, NormKind kind) {
  TensorValue &input = b.input(0);
  // layer: input, skip, gamma, beta, bias; rms has no beta.
  unsigned biasInput = kind == NormKind::Layer ? 4 : 3;
  float epsilon =
      b.floatAttr("epsilon", kind == NormKind::Layer ? 1e-12f : 1e-5f);
  if (failed(expectOneType(b, 0, 3)))
    return failure();
  if (!isa<FloatType>(input.element) || input.rank() == 0 || !(epsilon >= 0.0f))
    return b.error("its input is not of floats, or its epsilon negative");
  KnownOps ops(b);
  Dims column = {input.dims.back()};
  FailureOr<KnownTensor> sum = ops.input(0);
  if (failed(sum) || failed(sum = addInput(b, *sum, 1)))
    return failure();
  if (b.hasInput(biasInput) && failed(sum = addInput(b, *sum, biasInput)))
    return failure();
  Value rows[2];
  for (unsigned i = 2; i < biasInput; ++i) {
    if (!b.hasInput(i))
      continue;
    FailureOr<KnownTensor> row = ops.input(i, column, input.element);
    if (failed(row))
      return failure();
    rows[i - 2] = row->value;
  }
  // Of rms there is no mean: output 1 stays without a value.
  if (failed(setMoments(b, sum->value, sum->dims,
                        ArrayRef<DimExpr>(sum->dims).drop_back(), 1, epsilon,
                        kind, 2)))
    return failure();
  Value result = b.create<NormOp>(
      sum->dims, sum->element, sum->value, rows[0], rows[1],
      /*residual=*/Value(), kind, b.builder().getF32FloatAttr(epsilon));
  if (b.hasOutput(3) && failed(b.setData(sum->value, sum->dims, 3)))
    return failure();
  return b.setData(result, sum->dims);
}

LogicalResult importSkipLayerNorm(OpBinder &b) {
  return importSkipNorm(b, NormKind::Layer);
}
LogicalResult importSkipRMSNorm(OpBinder &b) {
  return importSkipNorm(b, NormKind::RMS);
}

/// Input `i` as numbers; quantized, its scale is 6 inputs behind it and its
/// zero point 11.
FailureOr<KnownTensor> numbersOf(OpBinder &b, unsigned i, bool isQuantized) {
  FailureOr<KnownTensor> data = KnownOps(b).input(i);
  if (failed(data) || !isQuantized)
    return data;
  FailureOr<Scaling> scaling = bindScaling(b, i + 6, i + 11, data->dims);
  if (failed(scaling))
    return failure();
  Type f32 = b.builder().getF32Type();
  if (!scaling->dims.empty() || !isa<IntegerType>(data->element) ||
      scaling->scaleType != f32 ||
      (scaling->zero && scaling->zeroType != data->element))
    return b.error("its input " + Twine(i) +
                   " is not of integers with one float32 scale");
  return KnownTensor{dequantize(b, data->value, data->dims, f32, *scaling),
                     data->dims, f32};
}

/// Rows of table `table`, chosen by input `ids` of [batch, tokens] or, without
/// it, by the token's position.
FailureOr<KnownTensor> lookUp(OpBinder &b, unsigned table,
                              std::optional<unsigned> ids, const Dims &tokens,
                              const DimExpr &width, Type element,
                              bool isQuantized) {
  KnownOps ops(b);
  TensorValue &rows = b.input(table);
  FailureOr<KnownTensor> data = numbersOf(b, table, isQuantized);
  if (failed(data))
    return failure();
  if (rows.rank() != 2 || rows.dims[1] != width || data->element != element)
    return b.error("its input " + Twine(table) + " of shape " +
                   printDims(rows.dims) + " is no table of " + width.str() +
                   " columns");
  if (!ids) {
    if (!b.symbols().requireLessEqual(tokens[1], rows.dims[0]))
      return b.error("its table of " + rows.dims[0].str() +
                     " positions is too short for " + tokens[1].str());
    return ops.view(ops.slice(*data, 0, 0, tokens[1]),
                    {DimExpr(1), tokens[1], width});
  }
  TensorValue &given = b.input(*ids);
  FailureOr<Dims> both = b.broadcast(given.dims, tokens);
  if (failed(both))
    return failure();
  if (given.rank() != 2 || *both != tokens || !given.element.isInteger())
    return b.error("its input " + Twine(*ids) + " of shape " +
                   printDims(given.dims) + " is not one index for each token");
  FailureOr<KnownTensor> indices = ops.input(*ids);
  if (failed(indices))
    return failure();
  return ops.gather(*data, *indices, 0);
}

/// Output 1: how many elements of a row of the mask are 1, none without one.
LogicalResult setMaskIndex(OpBinder &b, const Dims &tokens) {
  if (!b.hasOutput(1))
    return success();
  KnownOps ops(b);
  Type i32 = b.builder().getI32Type();
  Dims batch = {tokens[0]};
  KnownTensor counts = ops.filled(0, i32, batch);
  if (b.hasInput(7)) {
    FailureOr<KnownTensor> mask = ops.input(7, tokens, b.input(0).element);
    if (failed(mask))
      return failure();
    KnownTensor ones =
        ops.compare(*mask, ops.number(1, mask->element), Predicate::Eq);
    counts =
        ops.view(ops.reduce(ops.cast(ones, i32), ReduceKind::Sum, 1), batch);
  }
  return b.setData(counts.value, batch, 1);
}

/// Quantized or not: the same op with scales and zero points behind its inputs.
template <bool isQuantized>
LogicalResult importEmbedLayerNorm(OpBinder &b) {
  TensorValue &ids = b.input(0);
  float epsilon = b.floatAttr("epsilon", 1e-12f);
  b.intAttr("mask_index_type", 0); // of shape inference alone
  if (failed(requireInputs(b, {2, 3, 5, 6})) ||
      (isQuantized && failed(requireInputs(b, {8, 9, 11, 12}))))
    return failure();
  TensorValue &words = b.input(2);
  Type element = isQuantized ? Type(b.builder().getF32Type()) : words.element;
  if (ids.rank() != 2 || words.rank() != 2 || !isa<FloatType>(element))
    return b.error("its ids or its word_embedding are not of rank 2");
  if (b.hasInput(1) != b.hasInput(4))
    return b.error("it has one of segment_ids and segment_embedding");
  if (!(epsilon >= 0.0f))
    return b.error("attribute 'epsilon' is negative or no number");
  KnownOps ops(b);
  Dims tokens = ids.dims, column = {words.dims[1]};
  auto find = [&](unsigned table, std::optional<unsigned> index) {
    return lookUp(b, table, index, tokens, column[0], element, isQuantized);
  };
  FailureOr<KnownTensor> sum = find(2, 0);
  if (failed(sum))
    return failure();
  auto add = [&](unsigned table, std::optional<unsigned> index) {
    FailureOr<KnownTensor> rows = find(table, index);
    if (failed(rows))
      return failure();
    sum = ops.binary<AddOp>(*sum, *rows);
    return success();
  };
  bool hasPositions = !isQuantized && b.hasInput(8);
  if (failed(add(3, hasPositions ? std::optional<unsigned>(8) : std::nullopt)))
    return failure();
  if (b.hasInput(4) && failed(add(4, 1)))
    return failure();
  FailureOr<KnownTensor> gamma = numbersOf(b, 5, isQuantized),
                         beta = numbersOf(b, 6, isQuantized);
  if (failed(gamma) || failed(beta) || failed(setMaskIndex(b, tokens)))
    return failure();
  for (const KnownTensor &side : {*gamma, *beta})
    if (side.dims != column || side.element != element)
      return b.error("its gamma or its beta of shape " + printDims(side.dims) +
                     " is not one number for each of " + column[0].str());
  if (b.hasOutput(2) && failed(b.setData(sum->value, sum->dims, 2)))
    return failure();
  Value result =
      b.create<NormOp>(sum->dims, element, sum->value, gamma->value,
                       beta->value, /*residual=*/Value(), NormKind::Layer,
                       b.builder().getF32FloatAttr(epsilon));
  return b.setData(result, sum->dims);
}

} // namespace

void registerMicrosoftNormOps(OpTable &table) {
  table.add("com.microsoft::SkipLayerNormalization", importSkipLayerNorm, 3, 5);
  table.add("com.microsoft::SkipSimplifiedLayerNormalization",
            importSkipRMSNorm, 3, 4);
  table.add("com.microsoft::EmbedLayerNormalization",
            importEmbedLayerNorm<false>, 1, 9);
  table.add("com.microsoft::QEmbedLayerNormalization",
            importEmbedLayerNorm<true>, 1, 18);
}

} // namespace ferrite::frontend
