//===- GroupNormOps.cpp - Norms over channels, and what is like softmax ---===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

Value reduce(OpBinder &b, Value x, ArrayRef<DimExpr> dims, ReduceKind kind,
             ArrayRef<int64_t> axes) {
  return b.create<ReduceOp>(dims, OpBinder::elementOf(x), x, kind, axes,
                            /*keepDims=*/true);
}

/// (x - mean) / sqrt(variance + epsilon) over the last dim of [.., row], in f32
/// at least.
Value standardize(OpBinder &b, Value x, ArrayRef<DimExpr> dims, float epsilon) {
  Type element = OpBinder::elementOf(x);
  Dims one(dims);
  one.back() = DimExpr(1);
  int64_t last = static_cast<int64_t>(dims.size()) - 1;
  Value mean = reduce(b, x, one, ReduceKind::Mean, last);
  Value centred = b.create<SubOp>(dims, element, x, mean);
  Value square = b.create<MulOp>(dims, element, centred, centred);
  Value variance = reduce(b, square, one, ReduceKind::Mean, last);
  Value sum =
      b.create<AddOp>(one, element, variance, b.scalar(epsilon, element));
  Value deviation = b.create<SqrtOp>(one, element, sum);
  return b.create<DivOp>(dims, element, centred, deviation);
}

Type widen(OpBinder &b, Type element) {
  return element.isF16() || element.isBF16() ? b.builder().getF32Type()
                                             : element;
}

/// Groups of channels of [N, C, ..], standardized; then a scale and a bias for
/// each channel, or (before opset 21) for each group.
LogicalResult setGroupNorm(OpBinder &b, int64_t groups, bool perGroup) {
  TensorValue &input = b.input(0);
  float epsilon = b.floatAttr("epsilon", 1e-5f);
  if (input.rank() < 2)
    return b.error("its input has a rank below 2");
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  const DimExpr &channels = input.dims[1];
  std::optional<DimExpr> each =
      groups > 0 ? channels.dividedBy(DimExpr(groups)) : DimExpr(1);
  if (!each || groups < 0)
    return b.error("its " + channels.str() + " channels are not in " +
                   Twine(groups) + " equal groups");
  DimExpr count = groups > 0 ? DimExpr(groups) : channels;
  FailureOr<Value> data = b.data(0), scale = b.data(1), bias = b.data(2);
  if (failed(data) || failed(scale) || failed(bias))
    return failure();
  for (unsigned i : {1, 2})
    if (b.input(i).rank() != 1 || b.input(i).element != input.element ||
        b.input(i).dims[0] != (perGroup ? count : channels))
      return b.error("its scale or bias is not one number for each " +
                     Twine(perGroup ? "group" : "channel"));
  Type wide = widen(b, input.element);
  DimExpr points = product(ArrayRef(input.dims).drop_front(2));
  Dims rows = {input.dims[0], count, *each * points};
  Dims split = {input.dims[0], count, *each, points};
  Value x = b.cast(b.view(*data, input.dims, rows), rows, wide);
  x = b.view(standardize(b, x, rows, epsilon), split);
  Dims side = {count, perGroup ? DimExpr(1) : *each, DimExpr(1)};
  auto sideOf = [&](Value value, unsigned i) {
    return b.view(b.cast(value, b.input(i).dims, wide), side);
  };
  x = b.create<MulOp>(split, wide, x, sideOf(*scale, 1));
  x = b.create<AddOp>(split, wide, x, sideOf(*bias, 2));
  x = b.cast(x, split, input.element);
  return b.setData(b.view(x, input.dims), input.dims);
}

LogicalResult importInstanceNorm(OpBinder &b) {
  return setGroupNorm(b, /*groups=*/0, /*perGroup=*/false);
}

LogicalResult importGroupNorm(OpBinder &b) {
  int64_t groups = b.intAttr("num_groups", 0);
  int64_t stash = b.intAttr("stash_type", 1);
  if (stash != 1 && !(stash == 11 && b.input(0).element.isF64()))
    return b.unsupported("attribute 'stash_type' = " + Twine(stash) +
                         " is not supported; Ferrite knows 1");
  if (groups < 1)
    return b.error("attribute 'num_groups' = " + Twine(groups));
  return setGroupNorm(b, groups, /*perGroup=*/b.opset() < 21);
}

//===----------------------------------------------------------------------===//
// Rows of an axis
//===----------------------------------------------------------------------===//

/// Input 0 with the axis as the last dim; before opset 13, all dims from the
/// axis on as one.
struct Rows {
  Value value;
  Dims dims;
  SmallVector<int64_t> perm; ///< its own inverse; empty: a view
};

FailureOr<Rows> bindRows(OpBinder &b) {
  TensorValue &input = b.input(0);
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", b.opset() < 13 ? 1 : -1),
                      std::max<size_t>(input.rank(), 1));
  FailureOr<Value> data = b.data(0);
  if (failed(axis) || failed(data))
    return failure();
  ArrayRef<DimExpr> dims(input.dims);
  Rows rows;
  if (b.opset() < 13 || input.rank() == 0) {
    rows.dims = {
        product(dims.take_front(std::min<size_t>(*axis, dims.size()))),
        product(dims.drop_front(std::min<size_t>(*axis, dims.size())))};
    rows.value = b.view(*data, input.dims, rows.dims);
    return rows;
  }
  for (size_t i = 0; i < dims.size(); ++i)
    rows.perm.push_back(i);
  std::swap(rows.perm[*axis], rows.perm.back());
  rows.value = b.transpose(*data, dims, rows.perm);
  rows.dims = input.dims;
  std::swap(rows.dims[*axis], rows.dims.back());
  return rows;
}

LogicalResult setRows(OpBinder &b, const Rows &rows, Value result) {
  const Dims &dims = b.input(0).dims;
  return b.setData(rows.perm.empty()
                       ? b.view(result, rows.dims, dims)
                       : b.transpose(result, rows.dims, rows.perm),
                   dims);
}

/// x - max - log(sum(exp(x - max))).
LogicalResult importLogSoftmax(OpBinder &b) {
  FailureOr<Rows> rows = bindRows(b);
  if (failed(rows))
    return failure();
  Type element = OpBinder::elementOf(rows->value), wide = widen(b, element);
  const Dims &dims = rows->dims;
  Dims one = dims;
  one.back() = DimExpr(1);
  int64_t last = static_cast<int64_t>(dims.size()) - 1;
  Value x = b.cast(rows->value, dims, wide);
  Value most = reduce(b, x, one, ReduceKind::Max, last);
  Value below = b.create<SubOp>(dims, wide, x, most);
  Value powers = b.create<ExpOp>(dims, wide, below);
  Value sum = reduce(b, powers, one, ReduceKind::Sum, last);
  Value result =
      b.create<SubOp>(dims, wide, below, b.create<LogOp>(one, wide, sum));
  return setRows(b, *rows, b.cast(result, dims, element));
}

/// 1 at the first of the largest of each row, 0 elsewhere.
LogicalResult importHardmax(OpBinder &b) {
  FailureOr<Rows> rows = bindRows(b);
  if (failed(rows))
    return failure();
  Type element = OpBinder::elementOf(rows->value),
       i64 = b.builder().getI64Type(), i1 = b.builder().getI1Type();
  const Dims &dims = rows->dims;
  Dims one = dims, line = {dims.back()};
  one.back() = DimExpr(1);
  int64_t last = static_cast<int64_t>(dims.size()) - 1;
  Value most = reduce(b, rows->value, one, ReduceKind::Max, last);
  Value isMost =
      b.create<CompareOp>(dims, i1, rows->value, most, Predicate::Eq);
  Value positions =
      b.create<IotaOp>(line, i64, int64_t(0), int64_t(1), b.dimsAttr(line));
  Value candidates = b.create<WhereOp>(dims, i64, isMost, positions,
                                       b.scalar(double(int64_t(1) << 62), i64));
  Value first = reduce(b, candidates, one, ReduceKind::Min, last);
  Value chosen = b.create<CompareOp>(dims, i1, positions, first, Predicate::Eq);
  return setRows(b, *rows,
                 b.create<WhereOp>(dims, element, chosen, b.scalar(1, element),
                                   b.scalar(0, element)));
}

} // namespace

void registerGroupNormOps(OpTable &table) {
  table.add("InstanceNormalization", importInstanceNorm);
  table.add("GroupNormalization", importGroupNorm);
  table.add("LogSoftmax", importLogSoftmax);
  table.add("Hardmax", importHardmax);
}

} // namespace ferrite::frontend
