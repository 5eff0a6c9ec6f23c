//===- MicrosoftOps.cpp - Ops that ONNX Runtime's optimizer writes --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Decomposed: our own fusions make of them what fits our kernels.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/MicrosoftOps.h"
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/KnownOps.h"

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

/// X + bias + skip
LogicalResult importBiasAdd(OpBinder &b) {
  if (!isa<FloatType>(b.input(0).element))
    return b.error("its input is not of floats");
  FailureOr<Value> sum = b.data(0);
  for (unsigned i : {1, 2})
    if (succeeded(sum))
      sum = addBias(b, *sum, i);
  return failed(sum) ? failure() : b.setData(*sum, b.input(0).dims);
}

/// left * gelu(right), of the halves of X + bias.
LogicalResult importBiasSplitGelu(OpBinder &b) {
  KnownOps ops(b);
  TensorValue &input = b.input(0);
  if (!isa<FloatType>(input.element) || input.rank() == 0)
    return b.error("its input is not of floats");
  std::optional<DimExpr> half = input.dims.back().dividedBy(DimExpr(2));
  if (!half)
    return b.error("its input has " + input.dims.back().str() +
                   " columns, which are no two halves");
  FailureOr<KnownTensor> data = ops.input(0),
                         bias =
                             ops.input(1, {input.dims.back()}, input.element);
  if (failed(data) || failed(bias))
    return failure();
  auto last = static_cast<int64_t>(input.rank()) - 1;
  KnownTensor sum = ops.binary<AddOp>(*data, *bias),
              left = ops.slice(sum, last, 0, *half),
              right = ops.slice(sum, last, *half, *half);
  right.value = b.create<GeluOp>(right.dims, right.element, right.value,
                                 Approximate::None);
  KnownTensor result = ops.binary<MulOp>(left, right);
  return b.setData(result.value, result.dims);
}

/// softmax(data + bias), where all dims from the axis on are one.
LogicalResult importBiasSoftmax(OpBinder &b) {
  KnownOps ops(b);
  TensorValue &input = b.input(0), &bias = b.input(1);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 1), input.rank());
  if (!b.hasAttr("is_inner_broadcast"))
    return b.error("it has no attribute 'is_inner_broadcast'");
  bool isInner = b.intAttr("is_inner_broadcast", 0) != 0;
  if (failed(axis))
    return failure();
  // Dims of 1 say where it repeats; an outer repetition may leave them out.
  if (isInner && bias.rank() != input.rank())
    return b.unsupported("a bias of rank " + Twine(bias.rank()) +
                         " that repeats along inner dims is not supported");
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<Value> data = b.data(0);
  if (failed(data) || failed(data = addBias(b, *data, 1)))
    return failure();
  ArrayRef<DimExpr> dims(input.dims);
  Dims flat = {product(dims.take_front(*axis)),
               product(dims.drop_front(*axis))};
  Value result =
      b.create<SoftmaxOp>(flat, input.element, b.view(*data, input.dims, flat));
  return b.setData(b.view(result, flat, input.dims), input.dims);
}

} // namespace

LogicalResult requireInputs(OpBinder &b, ArrayRef<unsigned> inputs) {
  for (unsigned i : inputs)
    if (!b.hasInput(i))
      return b.error("its input " + Twine(i) + " is missing");
  return success();
}

void registerMicrosoftOps(OpTable &table) {
  table.add("com.microsoft::Gelu", importGelu<Approximate::None>, 1, 1);
  table.add("com.microsoft::BiasGelu", importGelu<Approximate::None>, 2, 2);
  table.add("com.microsoft::FastGelu", importGelu<Approximate::Tanh>, 1, 2);
  table.add("com.microsoft::QuickGelu", importQuickGelu, 1, 1);
  table.add("com.microsoft::BiasAdd", importBiasAdd, 3, 3);
  table.add("com.microsoft::BiasSplitGelu", importBiasSplitGelu, 2, 2);
  table.add("com.microsoft::BiasSoftmax", importBiasSoftmax, 2, 2);
  registerMicrosoftNormOps(table);
  registerMicrosoftProductOps(table);
  registerMicrosoftAttentionOps(table);
  registerMicrosoftCacheOps(table);
  registerMicrosoftPackedOps(table);
  registerMicrosoftPositionOps(table);
  registerMicrosoftSparseOps(table);
  registerMicrosoftMoEOps(table);
}

} // namespace ferrite::frontend
