//===- NormOps.cpp - Norms and softmax ------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/Norms.h"

using namespace mlir;

namespace ferrite::frontend {

LogicalResult setMoments(OpBinder &b, Value x, ArrayRef<DimExpr> rows,
                         ArrayRef<DimExpr> lead, size_t rest, float epsilon,
                         NormKind kind, unsigned inverseOutput) {
  bool centres = kind == NormKind::Layer;
  if (!(centres && b.hasOutput(1)) && !b.hasOutput(inverseOutput))
    return success();
  Type element = OpBinder::elementOf(x);
  Type wide = element.isF64() ? element : Type(b.builder().getF32Type());
  Dims one(rows), dims(lead);
  one.back() = DimExpr(1);
  dims.append(rest, DimExpr(1));
  int64_t last = static_cast<int64_t>(rows.size()) - 1;
  x = b.cast(x, rows, wide);
  if (centres) {
    Value mean = b.create<ReduceOp>(one, wide, x, ReduceKind::Mean,
                                    ArrayRef<int64_t>(last), /*keepDims=*/true);
    x = b.create<SubOp>(rows, wide, x, mean);
    if (failed(b.setData(b.view(mean, dims), dims, 1)))
      return failure();
  }
  Value square = b.create<MulOp>(rows, wide, x, x);
  Value variance =
      b.create<ReduceOp>(one, wide, square, ReduceKind::Mean,
                         ArrayRef<int64_t>(last), /*keepDims=*/true);
  Value sum = b.create<AddOp>(one, wide, variance, b.scalar(epsilon, wide));
  Value inverse =
      b.create<ReciprocalOp>(one, wide, b.create<SqrtOp>(one, wide, sum));
  return b.setData(b.view(inverse, dims), dims, inverseOutput);
}

namespace {

/// A norm over the dims from `axis` on, by a weight and perhaps a bias of their
/// shape. More than one such dim is viewed as one.
LogicalResult importNorm(OpBinder &b, NormKind kind) {
  TensorValue &input = b.input(0);
  if (failed(b.expectInt("stash_type", 1, 1)))
    return failure();
  float epsilon = b.floatAttr("epsilon", 1e-5f);
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", -1), input.rank());
  if (failed(axis) || failed(expectOneType(b, 0, 2)))
    return failure();
  if (!(epsilon >= 0.0f))
    return b.error("attribute 'epsilon' is negative or no number");
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  ArrayRef<DimExpr> lead = ArrayRef(input.dims).take_front(*axis);
  ArrayRef<DimExpr> rest = ArrayRef(input.dims).drop_front(*axis);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();

  Dims row = {product(rest)}, rows(lead.begin(), lead.end());
  rows.push_back(row[0]);
  Value sides[2];
  for (unsigned i : {1, 2}) {
    if (!b.hasInput(i))
      continue;
    TensorValue &side = b.input(i);
    FailureOr<Value> value = b.data(i);
    if (failed(value))
      return failure();
    if (side.element != input.element)
      return b.error("its scale or bias has another type than its input");
    Dims full(rest.begin(), rest.end());
    if (ArrayRef<DimExpr>(side.dims) != rest) {
      std::optional<Dims> both = broadcastDims(side.dims, rest);
      if (!both || *both != full)
        return b.error(
            "its scale or bias does not broadcast to its normalized dims");
      *value =
          b.create<BroadcastOp>(full, side.element, *value, b.dimsAttr(full));
    }
    sides[i - 1] = b.view(*value, row);
  }
  if (failed(setMoments(b, b.view(*data, input.dims, rows), rows, lead,
                        rest.size(), epsilon, kind,
                        kind == NormKind::Layer ? 2 : 1)))
    return failure();
  Value result = b.create<NormOp>(
      rows, input.element, b.view(*data, input.dims, rows), sides[0], sides[1],
      /*residual=*/Value(), kind, b.builder().getF32FloatAttr(epsilon));
  return b.setData(b.view(result, rows, input.dims), input.dims);
}

LogicalResult importLayerNorm(OpBinder &b) {
  return importNorm(b, NormKind::Layer);
}
LogicalResult importRMSNorm(OpBinder &b) {
  return importNorm(b, NormKind::RMS);
}

LogicalResult importSoftmax(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (input.rank() == 0)
    return b.error("its input is a scalar");
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", b.opset() < 13 ? 1 : -1), input.rank());
  FailureOr<Value> data = b.data(0);
  if (failed(axis) || failed(data))
    return failure();
  auto last = static_cast<int64_t>(input.rank()) - 1;
  if (*axis == last)
    return b.setData(b.create<SoftmaxOp>(input.dims, input.element, *data),
                     input.dims);
  if (b.opset() < 13) {
    // All dims from the axis on are one.
    ArrayRef<DimExpr> dims(input.dims);
    Dims flat = {product(dims.take_front(*axis)),
                 product(dims.drop_front(*axis))};
    Value result =
        b.create<SoftmaxOp>(flat, input.element, b.view(*data, flat));
    return b.setData(b.view(result, dims), dims);
  }
  SmallVector<int64_t> perm;
  for (int64_t i = 0; i <= last; ++i)
    perm.push_back(i);
  std::swap(perm[*axis], perm[last]); // its own inverse
  Dims swapped = input.dims;
  std::swap(swapped[*axis], swapped[last]);
  Value result = b.create<SoftmaxOp>(swapped, input.element,
                                     b.transpose(*data, input.dims, perm));
  return b.setData(b.transpose(result, swapped, perm), input.dims);
}

} // namespace

void registerNormOps(OpTable &table) {
  table.add("LayerNormalization", importLayerNorm);
  table.add("RMSNormalization", importRMSNorm);
  // ONNX Runtime writes it into the standard's domain, where it is not.
  table.add("SimplifiedLayerNormalization", importRMSNorm, 2);
  table.add("Softmax", importSoftmax);
}

} // namespace ferrite::frontend
