//===- ReduceOps.cpp - Reductions -----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/OpBinder.h"

#include <limits>

using namespace mlir;

namespace ferrite::frontend {
namespace {

struct Reduction {
  SmallVector<int64_t> axes; // ascending
  bool keepDims;
  Dims dims;
};

/// Axes from the attribute or the input, whichever the opset has. Empty axes
/// are all axes, or none with noop_with_empty_axes.
FailureOr<Reduction> bindReduction(OpBinder &b) {
  TensorValue &input = b.input(0);
  Reduction result;
  result.keepDims = b.intAttr("keepdims", 1) != 0;
  bool noop = b.intAttr("noop_with_empty_axes", 0) != 0;
  std::vector<int64_t> axes =
      b.intsAttr("axes").value_or(std::vector<int64_t>());
  if (b.hasInput(1)) {
    FailureOr<std::vector<int64_t>> given = b.integers(1, "axes");
    if (failed(given))
      return failure();
    axes = *given;
  }
  if (axes.empty() && !noop)
    for (size_t i = 0; i < input.rank(); ++i)
      axes.push_back(i);
  FailureOr<std::vector<int64_t>> normal = b.normalizeAxes(axes, input.rank());
  if (failed(normal))
    return failure();
  result.axes.assign(normal->begin(), normal->end());
  llvm::sort(result.axes);
  for (size_t i = 0; i < input.rank(); ++i) {
    bool isReduced = llvm::is_contained(result.axes, static_cast<int64_t>(i));
    if (!isReduced)
      result.dims.push_back(input.dims[i]);
    else if (result.keepDims)
      result.dims.push_back(DimExpr(1));
  }
  return result;
}

/// The reduction of sizes known at import.
LogicalResult evaluateReduction(OpBinder &b, const Reduction &reduction,
                                IntOp op, bool &known) {
  TensorValue &input = b.input(0);
  known = input.contents && input.rank() == 1 && !input.contents->empty() &&
          reduction.axes.size() == 1;
  if (!known)
    return success();
  DimExpr total = input.contents->front();
  for (size_t i = 1; i < input.contents->size(); ++i) {
    auto next = evaluate(op, total, (*input.contents)[i], b.symbols());
    known = next.has_value();
    if (!known)
      return success();
    total = *next;
  }
  return b.setContents({total}, input.element, reduction.dims);
}

/// What joins anything of the type and leaves it as it is; of a mean, 0 / 0.
TypedAttr neutralOf(ReduceKind kind, Type element) {
  bool isMax = kind == ReduceKind::Max, isMin = kind == ReduceKind::Min;
  if (auto floating = dyn_cast<FloatType>(element)) {
    const llvm::fltSemantics &semantics = floating.getFloatSemantics();
    APFloat value = isMax || isMin ? APFloat::getInf(semantics, isMax)
                    : kind == ReduceKind::Mean ? APFloat::getNaN(semantics)
                    : kind == ReduceKind::Prod ? APFloat::getOne(semantics)
                                               : APFloat::getZero(semantics);
    return FloatAttr::get(element, value);
  }
  unsigned width = element.getIntOrFloatBitWidth();
  bool isUnsigned = element.isUnsignedInteger() || width == 1;
  APInt value(width, kind == ReduceKind::Prod);
  if (isMax)
    value = isUnsigned ? APInt::getMinValue(width)
                       : APInt::getSignedMinValue(width);
  if (isMin)
    value = isUnsigned ? APInt::getMaxValue(width)
                       : APInt::getSignedMaxValue(width);
  return IntegerAttr::get(element, value);
}

/// The neutral element over `reduction`, where that is over nothing.
Value reduceNothing(OpBinder &b, const Reduction &reduction, ReduceKind kind) {
  TensorValue &input = b.input(0);
  if (llvm::none_of(reduction.axes, [&](int64_t axis) {
        return input.dims[axis].isConstant(0);
      }))
    return {};
  auto type = RankedTensorType::get({}, input.element);
  Value scalar = arith::ConstantOp::create(
      b.builder(), b.loc,
      DenseElementsAttr::get(type, Attribute(neutralOf(kind, input.element))));
  return b.create<BroadcastOp>(reduction.dims, input.element, scalar,
                               b.dimsAttr(reduction.dims));
}

template <ReduceKind kind>
LogicalResult importReduce(OpBinder &b) {
  FailureOr<Reduction> reduction = bindReduction(b);
  if (failed(reduction))
    return failure();
  if (reduction->axes.empty() && kind != ReduceKind::L2)
    return b.forward(0);
  TensorValue &input = b.input(0);
  bool known = false;
  if (kind == ReduceKind::Sum || kind == ReduceKind::Prod ||
      kind == ReduceKind::Max || kind == ReduceKind::Min) {
    IntOp op = kind == ReduceKind::Sum    ? IntOp::Add
               : kind == ReduceKind::Prod ? IntOp::Mul
               : kind == ReduceKind::Max  ? IntOp::Max
                                          : IntOp::Min;
    LogicalResult result = evaluateReduction(b, *reduction, op, known);
    if (known || failed(result))
      return result;
  } else if (!isa<FloatType>(input.element)) {
    return b.unsupported("of integers is not supported");
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  if (reduction->axes.empty()) // an L2 norm over nothing
    return b.setData(b.create<AbsOp>(input.dims, input.element, *data),
                     input.dims);
  if (Value neutral = reduceNothing(b, *reduction, kind))
    return b.setData(neutral, reduction->dims);
  // Narrow integers are reduced as i32, of which the low bits are theirs.
  bool isNarrow = !isa<FloatType>(input.element) &&
                  input.element.getIntOrFloatBitWidth() < 32;
  Type held = isNarrow ? Type(b.builder().getI32Type()) : input.element;
  Value result =
      b.create<ReduceOp>(reduction->dims, held, b.cast(*data, input.dims, held),
                         kind, reduction->axes, reduction->keepDims);
  return b.setData(b.cast(result, reduction->dims, input.element),
                   reduction->dims);
}

/// max + log(sum(exp(x - max))): nothing overflows.
LogicalResult importReduceLogSumExp(OpBinder &b) {
  FailureOr<Reduction> reduction = bindReduction(b);
  FailureOr<Value> data = b.data(0);
  if (failed(reduction) || failed(data))
    return failure();
  TensorValue &input = b.input(0);
  Type element = input.element;
  if (!isa<FloatType>(element))
    return b.unsupported("of integers is not supported");
  if (reduction->axes.empty())
    return b.forward(0);
  // The logarithm of no sum.
  if (Value neutral = reduceNothing(b, *reduction, ReduceKind::Max))
    return b.setData(neutral, reduction->dims);
  Dims one = input.dims;
  for (int64_t axis : reduction->axes)
    one[axis] = DimExpr(1);
  auto reduce = [&](Value x, ReduceKind kind) {
    return b.create<ReduceOp>(one, element, x, kind, reduction->axes,
                              /*keepDims=*/true);
  };
  // Infinities stay what they are: inf - inf would be no number.
  Value most = reduce(*data, ReduceKind::Max);
  Value size = b.create<AbsOp>(one, element, most);
  Value isFinite = b.create<CompareOp>(
      one, b.builder().getI1Type(), size,
      b.scalar(std::numeric_limits<double>::infinity(), element),
      Predicate::Lt);
  most = b.create<WhereOp>(one, element, isFinite, most, b.scalar(0, element));
  Value below = b.create<SubOp>(input.dims, element, *data, most);
  Value sum =
      reduce(b.create<ExpOp>(input.dims, element, below), ReduceKind::Sum);
  Value result =
      b.create<AddOp>(one, element, most, b.create<LogOp>(one, element, sum));
  return b.setData(b.view(result, one, reduction->dims), reduction->dims);
}

/// What a sum is of, for each element.
enum class Summand { Itself, Magnitude, Square };

template <Summand summand, bool takesLog>
LogicalResult importReduceSumOf(OpBinder &b) {
  FailureOr<Reduction> reduction = bindReduction(b);
  FailureOr<Value> data = b.data(0);
  if (failed(reduction) || failed(data))
    return failure();
  TensorValue &input = b.input(0);
  // Narrow integers are added as i32, of which the low bits are theirs.
  Type held = input.element;
  if (isa<IntegerType>(held) && held.getIntOrFloatBitWidth() < 32)
    held = b.builder().getI32Type();
  if (takesLog && !isa<FloatType>(held))
    return b.unsupported("of integers is not supported");
  if (Value neutral = reduceNothing(
          b, *reduction, takesLog ? ReduceKind::Max : ReduceKind::Sum))
    return b.setData(neutral, reduction->dims);
  Value x = b.cast(*data, input.dims, held);
  if (summand == Summand::Magnitude)
    x = b.create<AbsOp>(input.dims, held, x);
  if (summand == Summand::Square)
    x = b.create<MulOp>(input.dims, held, x, x);
  if (!reduction->axes.empty())
    x = b.create<ReduceOp>(reduction->dims, held, x, ReduceKind::Sum,
                           reduction->axes, reduction->keepDims);
  if (takesLog)
    x = b.create<LogOp>(reduction->dims, held, x);
  return b.setData(b.cast(x, reduction->dims, input.element), reduction->dims);
}

} // namespace

void registerReduceOps(OpTable &table) {
  table.add("ReduceMean", importReduce<ReduceKind::Mean>);
  table.add("ReduceSum", importReduce<ReduceKind::Sum>);
  table.add("ReduceMax", importReduce<ReduceKind::Max>);
  table.add("ReduceMin", importReduce<ReduceKind::Min>);
  table.add("ReduceProd", importReduce<ReduceKind::Prod>);
  table.add("ReduceL2", importReduce<ReduceKind::L2>);
  table.add("ReduceLogSumExp", importReduceLogSumExp);
  table.add("ReduceL1", importReduceSumOf<Summand::Magnitude, false>);
  table.add("ReduceSumSquare", importReduceSumOf<Summand::Square, false>);
  table.add("ReduceLogSum", importReduceSumOf<Summand::Itself, true>);
}

} // namespace ferrite::frontend
