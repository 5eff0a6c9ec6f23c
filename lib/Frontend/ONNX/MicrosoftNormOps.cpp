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

/// Rows of table `table`, chosen by input `ids` of [batch, tokens] or, without
/// it, by the token's position.
FailureOr<KnownTensor> lookUp(OpBinder &b, unsigned table,
                              std::optional<unsigned> ids, const Dims &tokens,
                              const DimExpr &width, Type element) {
  KnownOps ops(b);
  TensorValue &rows = b.input(table);
  if (rows.rank() != 2 || rows.dims[1] != width || rows.element != element)
    return b.error("its input " + Twine(table) + " of shape " +
                   printDims(rows.dims) + " is no table of " + width.str() +
                   " columns");
  FailureOr<KnownTensor> data = ops.input(table);
  if (failed(data))
    return failure();
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

LogicalResult importEmbedLayerNorm(OpBinder &b) {
  TensorValue &ids = b.input(0);
  float epsilon = b.floatAttr("epsilon", 1e-12f);
  b.intAttr("mask_index_type", 0); // of shape inference alone
  if (failed(requireInputs(b, {2, 3, 5, 6})))
    return failure();
  TensorValue &words = b.input(2);
  if (ids.rank() != 2 || words.rank() != 2 || !isa<FloatType>(words.element))
    return b.error("its ids or its word_embedding are not of rank 2");
  if (b.hasInput(1) != b.hasInput(4))
    return b.error("it has one of segment_ids and segment_embedding");
  if (!(epsilon >= 0.0f))
    return b.error("attribute 'epsilon' is negative or no number");
  KnownOps ops(b);
  Dims tokens = ids.dims, column = {words.dims[1]};
  Type element = words.element;
  auto find = [&](unsigned table, std::optional<unsigned> index) {
    return lookUp(b, table, index, tokens, column[0], element);
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
  if (failed(add(3, b.hasInput(8) ? std::optional<unsigned>(8) : std::nullopt)))
    return failure();
  if (b.hasInput(4) && failed(add(4, 1)))
    return failure();
  FailureOr<KnownTensor> gamma = ops.input(5, column, element),
                         beta = ops.input(6, column, element);
  if (failed(gamma) || failed(beta) || failed(setMaskIndex(b, tokens)))
    return failure();
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
  table.add("com.microsoft::EmbedLayerNormalization", importEmbedLayerNorm, 1,
            9);
}

} // namespace ferrite::frontend
