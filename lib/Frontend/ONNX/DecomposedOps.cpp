//===- DecomposedOps.cpp - Ops that are said with others ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Ops without a function body in the standard that no pass reasons about.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// One number for each channel, beside [N, C, ...].
FailureOr<Value> perChannel(OpBinder &b, unsigned i) {
  TensorValue &input = b.input(0), &side = b.input(i);
  if (side.rank() != 1 || side.dims[0] != input.dims[1] ||
      side.element != input.element)
    return b.error("its input " + Twine(i) +
                   " is not one number for each channel");
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  Dims column(input.rank() - 1, DimExpr(1));
  column[0] = input.dims[1];
  return b.view(*data, column);
}

/// In training `mean` and `variance` are the batch's, and two more results the
/// running ones that these join.
LogicalResult takeBatchMoments(OpBinder &b, Value data, float momentum,
                               Value &mean, Value &variance) {
  TensorValue &input = b.input(0);
  Type element = input.element;
  SmallVector<int64_t> axes = {0};
  for (size_t i = 2; i < input.rank(); ++i)
    axes.push_back(static_cast<int64_t>(i));
  Dims column(input.rank() - 1, DimExpr(1)), channels = {input.dims[1]};
  column[0] = input.dims[1];
  auto average = [&](Value x) {
    return b.view(b.create<ReduceOp>(channels, element, x, ReduceKind::Mean,
                                     axes, /*keepDims=*/false),
                  column);
  };
  Value running[] = {mean, variance};
  mean = average(data);
  Value centered = b.create<SubOp>(input.dims, element, data, mean);
  variance = average(b.create<MulOp>(input.dims, element, centered, centered));
  Value current[] = {mean, variance};
  for (unsigned i : {0, 1}) {
    if (!b.hasOutput(i + 1))
      continue;
    Value kept = b.create<MulOp>(column, element, running[i],
                                 b.scalar(momentum, element));
    Value added = b.create<MulOp>(column, element, current[i],
                                  b.scalar(1 - momentum, element));
    Value joined = b.create<AddOp>(column, element, kept, added);
    if (failed(b.setData(b.view(joined, channels), channels, i + 1)))
      return failure();
  }
  return success();
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias.
LogicalResult importBatchNorm(OpBinder &b) {
  TensorValue &input = b.input(0);
  float epsilon = b.floatAttr("epsilon", 1e-5f);
  float momentum = b.floatAttr("momentum", 0.9f);
  bool trains = b.intAttr("training_mode", 0) != 0;
  if (input.rank() < 2)
    return b.error("its input has a rank below 2");
  FailureOr<Value> data = b.data(0), scale = perChannel(b, 1),
                   bias = perChannel(b, 2), mean = perChannel(b, 3),
                   variance = perChannel(b, 4);
  if (failed(data) || failed(scale) || failed(bias) || failed(mean) ||
      failed(variance))
    return failure();
  Type element = input.element;
  Dims column(input.rank() - 1, DimExpr(1));
  column[0] = input.dims[1];
  if (trains && failed(takeBatchMoments(b, *data, momentum, *mean, *variance)))
    return failure();
  Value sum =
      b.create<AddOp>(column, element, *variance, b.scalar(epsilon, element));
  Value deviation = b.create<SqrtOp>(column, element, sum);
  Value factor = b.create<DivOp>(column, element, *scale, deviation);
  Value centered = b.create<SubOp>(input.dims, element, *data, *mean);
  Value scaled = b.create<MulOp>(input.dims, element, centered, factor);
  return b.setData(b.create<AddOp>(input.dims, element, scaled, *bias),
                   input.dims);
}

LogicalResult importLpNorm(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", -1), input.rank());
  int64_t p = b.intAttr("p", 2);
  FailureOr<Value> data = b.data(0);
  if (failed(axis) || failed(data))
    return failure();
  if (p != 1 && p != 2)
    return b.error("attribute 'p' = " + Twine(p) + " is neither 1 nor 2");
  Dims dims = input.dims;
  dims[*axis] = DimExpr(1);
  Value points =
      p == 2 ? *data : b.create<AbsOp>(input.dims, input.element, *data);
  Value norm = b.create<ReduceOp>(dims, input.element, points,
                                  p == 2 ? ReduceKind::L2 : ReduceKind::Sum,
                                  ArrayRef<int64_t>(*axis), /*keepDims=*/true);
  // A row of zeros stays one.
  Value zero = b.scalar(0, input.element), one = b.scalar(1, input.element);
  Value isZero = b.create<CompareOp>(dims, b.builder().getI1Type(), norm, zero,
                                     Predicate::Eq);
  norm = b.create<WhereOp>(dims, input.element, isZero, one, norm);
  return b.setData(b.create<DivOp>(input.dims, input.element, *data, norm),
                   input.dims);
}

LogicalResult importMean(OpBinder &b) {
  if (failed(expectOneType(b, 0, b.numInputs())))
    return failure();
  Type element = b.input(0).element;
  FailureOr<Value> sum = b.data(0);
  Dims dims = b.input(0).dims;
  for (unsigned i = 1; i < b.numInputs() && succeeded(sum); ++i) {
    FailureOr<Value> operand = b.data(i);
    FailureOr<Dims> both = b.broadcast(dims, b.input(i).dims);
    if (failed(operand) || failed(both))
      return failure();
    dims = *both;
    sum = b.create<AddOp>(dims, element, *sum, *operand);
  }
  if (failed(sum))
    return failure();
  return b.setData(
      b.create<DivOp>(dims, element, *sum, b.scalar(b.numInputs(), element)),
      dims);
}

} // namespace

void registerDecomposedOps(OpTable &table) {
  table.add("BatchNormalization", importBatchNorm);
  table.add("LpNormalization", importLpNorm);
  table.add("Mean", importMean);
}

} // namespace ferrite::frontend
