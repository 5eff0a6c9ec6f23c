//===- MicrosoftOps.cpp - Ops that ONNX Runtime's optimizer writes --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Decomposed: our own fusions make of them what fits our kernels.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

FailureOr<Value> addBias(OpBinder &b, Value data, unsigned i) {
  TensorValue &input = b.input(0), &bias = b.input(i);
  FailureOr<Value> value = b.data(i);
  FailureOr<Dims> dims = b.broadcast(input.dims, bias.dims);
  if (failed(value) || failed(dims))
    return failure();
  if (*dims != input.dims || bias.element != input.element)
    return b.error("its bias does not broadcast to its input");
  return b.create<AddOp>(*dims, input.element, data, *value);
}

template <Approximate kind>
LogicalResult importGelu(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<Value> data = b.data(0);
  if (succeeded(data) && b.hasInput(1))
    data = addBias(b, *data, 1);
  if (failed(data))
    return failure();
  return b.setData(b.create<GeluOp>(input.dims, input.element, *data, kind),
                   input.dims);
}

/// x * sigmoid(alpha * x)
LogicalResult importQuickGelu(OpBinder &b) {
  TensorValue &input = b.input(0);
  float alpha = b.floatAttr("alpha", 1.702f);
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Type element = input.element;
  Value scaled = *data;
  if (alpha != 1.0f)
    scaled =
        b.create<MulOp>(input.dims, element, scaled, b.scalar(alpha, element));
  Value gate = b.create<SigmoidOp>(input.dims, element, scaled);
  return b.setData(b.create<MulOp>(input.dims, element, *data, gate),
                   input.dims);
}

/// norm(input + skip + bias); output 3 is the sum itself.
LogicalResult importSkipNorm(OpBinder &b, NormKind kind) {
  TensorValue &input = b.input(0);
  // layer: input, skip, gamma, beta, bias; rms has no beta.
  unsigned biasInput = kind == NormKind::Layer ? 4 : 3;
  float epsilon =
      b.floatAttr("epsilon", kind == NormKind::Layer ? 1e-12f : 1e-5f);
  for (unsigned i : {1, 2})
    if (b.hasOutput(i))
      return b.unsupported("its output " + Twine(i) + " is not supported");
  if (failed(expectOneType(b, 0, 3)))
    return failure();
  if (!isa<FloatType>(input.element) || input.rank() == 0 || !(epsilon >= 0.0f))
    return b.error("its input is not of floats, or its epsilon negative");
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  FailureOr<Value> sum = addBias(b, *data, 1);
  if (succeeded(sum) && b.hasInput(biasInput))
    sum = addBias(b, *sum, biasInput);
  if (failed(sum))
    return failure();
  Value rows[2];
  for (unsigned i = 2; i < biasInput; ++i) {
    if (!b.hasInput(i))
      continue;
    FailureOr<Value> row = b.data(i);
    if (failed(row))
      return failure();
    if (b.input(i).rank() != 1 || b.input(i).dims[0] != input.dims.back() ||
        b.input(i).element != input.element)
      return b.error("its gamma or beta is not one number for each column");
    rows[i - 2] = *row;
  }
  Value result = b.create<NormOp>(
      input.dims, input.element, *sum, rows[0], rows[1],
      /*residual=*/Value(), kind, b.builder().getF32FloatAttr(epsilon));
  if (b.hasOutput(3) && failed(b.setData(*sum, input.dims, 3)))
    return failure();
  return b.setData(result, input.dims);
}

LogicalResult importSkipLayerNorm(OpBinder &b) {
  return importSkipNorm(b, NormKind::Layer);
}
LogicalResult importSkipRMSNorm(OpBinder &b) {
  return importSkipNorm(b, NormKind::RMS);
}

/// alpha * op(A) * op(B), where op transposes the two innermost dims.
LogicalResult importFusedMatMul(OpBinder &b) {
  float alpha = b.floatAttr("alpha", 1.0f);
  bool transpose[2] = {b.intAttr("transA", 0) != 0,
                       b.intAttr("transB", 0) != 0};
  for (const char *name : {"transBatchA", "transBatchB"})
    if (failed(b.expectInt(name, 0, 0)))
      return failure();
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  Value sides[2];
  Dims dims[2];
  for (unsigned i : {0, 1}) {
    FailureOr<Value> data = b.data(i);
    if (failed(data))
      return failure();
    if (b.input(i).rank() < 2 || !isa<FloatType>(b.input(i).element))
      return b.unsupported(
          "an operand that is no matrix of floats is not supported");
    sides[i] = *data;
    dims[i] = b.input(i).dims;
    if (!transpose[i])
      continue;
    SmallVector<int64_t> perm;
    for (size_t d = 0; d < dims[i].size(); ++d)
      perm.push_back(d);
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    sides[i] = b.transpose(sides[i], dims[i], perm);
    std::swap(dims[i][perm.size() - 1], dims[i][perm.size() - 2]);
  }
  if (dims[0].back() != dims[1][dims[1].size() - 2])
    return b.error("it multiplies " + dims[0].back().str() + " columns by " +
                   dims[1][dims[1].size() - 2].str() + " rows");
  FailureOr<Dims> result = b.broadcast(ArrayRef(dims[0]).drop_back(2),
                                       ArrayRef(dims[1]).drop_back(2));
  if (failed(result))
    return failure();
  result->append({dims[0][dims[0].size() - 2], dims[1].back()});
  Type element = b.input(0).element;
  Value product = b.create<MatmulOp>(*result, element, sides[0], sides[1]);
  if (alpha != 1.0f)
    product =
        b.create<MulOp>(*result, element, product, b.scalar(alpha, element));
  return b.setData(product, *result);
}

} // namespace

void registerMicrosoftOps(OpTable &table) {
  table.add("com.microsoft::Gelu", importGelu<Approximate::None>, 1);
  table.add("com.microsoft::BiasGelu", importGelu<Approximate::None>, 2);
  table.add("com.microsoft::FastGelu", importGelu<Approximate::Tanh>, 1);
  table.add("com.microsoft::QuickGelu", importQuickGelu, 1);
  table.add("com.microsoft::SkipLayerNormalization", importSkipLayerNorm, 3);
  table.add("com.microsoft::SkipSimplifiedLayerNormalization",
            importSkipRMSNorm, 3);
  table.add("com.microsoft::FusedMatMul", importFusedMatMul, 2);
}

} // namespace ferrite::frontend
