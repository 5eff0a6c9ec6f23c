//===- ConstantOps.cpp - Constants, shapes and ranges ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/OpBinder.h"
#include <cmath>

using namespace mlir;

namespace ferrite::frontend {
namespace {

LogicalResult setFloats(OpBinder &b, std::vector<double> floats,
                        ArrayRef<DimExpr> dims, Type element) {
  TensorValue value = b.makeValue(element, dims);
  value.floats = std::move(floats);
  b.setResult(std::move(value));
  return success();
}

LogicalResult importConstantOp(OpBinder &b) {
  Type f32 = b.builder().getF32Type(), i64 = b.builder().getI64Type();
  for (const char *name : {"value_string", "value_strings", "sparse_value"})
    if (b.hasAttr(name))
      return b.unsupported("attribute '" + Twine(name) + "' is not supported");
  if (b.node.attribute_size() > 1) // each attribute is a value
    return b.error("it has more than one value");
  if (const auto *tensor = b.find("value")) {
    FailureOr<TensorValue> value =
        b.importer.importConstant(tensor->t(), b.node.output(0), b.loc);
    if (failed(value))
      return failure();
    b.setResult(std::move(*value));
    return success();
  }
  if (const auto *number = b.find("value_float"))
    return setFloats(b, {number->f()}, {}, f32);
  if (const auto *numbers = b.find("value_floats"))
    return setFloats(b, {numbers->floats().begin(), numbers->floats().end()},
                     {DimExpr(numbers->floats_size())}, f32);
  if (const auto *number = b.find("value_int"))
    return b.setContents({DimExpr(number->i())}, i64, {});
  if (std::optional<std::vector<int64_t>> numbers = b.intsAttr("value_ints"))
    return b.setContents({numbers->begin(), numbers->end()}, i64,
                         {DimExpr(numbers->size())});
  return b.error("it has no value");
}

LogicalResult importShape(OpBinder &b) {
  const Dims &dims = b.input(0).dims;
  auto rank = static_cast<int64_t>(dims.size());
  auto clamp = [&](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  int64_t start = clamp(b.intAttr("start", 0));
  int64_t end = clamp(b.intAttr("end", rank));
  std::vector<DimExpr> contents;
  for (int64_t i = start; i < end; ++i)
    contents.push_back(dims[i]);
  DimExpr size(contents.size());
  return b.setContents(std::move(contents), b.builder().getI64Type(), {size});
}

LogicalResult importSize(OpBinder &b) {
  return b.setContents({product(b.input(0).dims)}, b.builder().getI64Type(),
                       {});
}

/// start + step * iota, in an integer or float type.
LogicalResult setRange(OpBinder &b, DimExpr start, int64_t step, DimExpr count,
                       Type element) {
  if (!count.isValid() || count.constant().value_or(0) > kMostElements)
    return b.error("its result has an impossible shape: " + printDims({count}));
  std::optional<int64_t> first = start.constant();
  bool isIndex = element.isSignlessInteger(32) || element.isSignlessInteger(64);
  Type dataElement = isIndex ? element : Type(b.builder().getI64Type());
  Value data = b.create<IotaOp>({count}, dataElement, first.value_or(0), step,
                                b.dimsAttr({count}));
  if (!first) {
    Value offset = b.create<DimValuesOp>({}, dataElement, b.dimsAttr({start}));
    data = b.create<AddOp>({count}, dataElement, data, offset);
  }
  data = b.cast(data, {count}, element);
  TensorValue value = b.makeValue(element, {count});
  value.data = data;
  // Both: as contents it may turn out to be shape arithmetic.
  if (std::optional<int64_t> number = count.constant();
      number && *number <= kMaxContents) {
    value.contents.emplace();
    for (int64_t i = 0; i < *number; ++i)
      value.contents->push_back(start + DimExpr(i) * DimExpr(step));
  }
  b.setResult(std::move(value));
  return success();
}

LogicalResult importFloatRange(OpBinder &b) {
  double bounds[3];
  for (unsigned i = 0; i < 3; ++i) {
    const auto &floats = b.input(i).floats;
    if (!floats)
      return b.needsConstant(i, i == 0 ? "start" : i == 1 ? "limit" : "delta");
    if (floats->size() != 1)
      return b.error("its start, limit or delta is not a scalar");
    bounds[i] = floats->front();
  }
  double count = std::ceil((bounds[1] - bounds[0]) / bounds[2]);
  if (!(count < 1 << 24))
    return b.error("has an impossible number of elements");
  auto size = static_cast<int64_t>(std::max(count, 0.0));
  Type element = b.input(0).element;
  if (size <= kMaxContents) {
    std::vector<double> floats;
    for (int64_t i = 0; i < size; ++i)
      floats.push_back(bounds[0] + static_cast<double>(i) * bounds[2]);
    return setFloats(b, floats, {DimExpr(size)}, element);
  }
  Dims dims = {DimExpr(size)};
  Value data = b.create<IotaOp>(dims, b.builder().getI64Type(), int64_t(0),
                                int64_t(1), b.dimsAttr(dims));
  data = b.cast(data, dims, element);
  data = b.create<MulOp>(dims, element, data, b.scalar(bounds[2], element));
  data = b.create<AddOp>(dims, element, data, b.scalar(bounds[0], element));
  return b.setData(data, dims);
}

LogicalResult importRange(OpBinder &b) {
  Type element = b.input(0).element;
  b.stringAttr("stash_type", "");
  if (isa<FloatType>(element))
    return importFloatRange(b);
  FailureOr<std::vector<DimExpr>> start = b.contents(0, "start"),
                                  limit = b.contents(1, "limit");
  FailureOr<std::vector<int64_t>> delta = b.integers(2, "delta");
  if (failed(start) || failed(limit) || failed(delta))
    return failure();
  if (start->size() != 1 || limit->size() != 1 || delta->size() != 1)
    return b.error("its start, limit or delta is not a scalar");
  int64_t step = delta->front();
  if (step == 0)
    return b.error("its delta is 0");
  if (step == std::numeric_limits<int64_t>::min())
    return b.error("its bounds overflow"); // no positive number is as large
  DimExpr distance = step > 0 ? limit->front() - start->front()
                              : start->front() - limit->front();
  if (!distance.isValid())
    return b.error("its bounds overflow");
  if (distance.constant() && *distance.constant() <= 0)
    return setRange(b, start->front(), step, 0, element);
  if (!b.symbols().requireLessEqual(0, distance))
    return b.unsupported("its number of elements, " + distance.str() +
                         ", may be negative");
  // Toward +inf: the last step may fall short of the limit.
  std::optional<DimExpr> count =
      distance.constant()
          ? DimExpr((*distance.constant() + std::abs(step) - 1) /
                    std::abs(step))
          : distance.dividedBy(std::abs(step));
  if (!count)
    return b.unsupported("its number of elements, (" + distance.str() + ") / " +
                         Twine(std::abs(step)) +
                         ", is no expression of input dims");
  return setRange(b, start->front(), step, *count, element);
}

LogicalResult importConstantOfShape(OpBinder &b) {
  FailureOr<std::vector<DimExpr>> shape = b.contents(0, "shape");
  if (failed(shape))
    return failure();
  Dims dims(shape->begin(), shape->end());
  for (const DimExpr &dim : dims)
    if (dim.constant() && *dim.constant() < 0)
      return b.error("its shape has a negative size: " + dim.str());

  TensorValue scalar = b.makeValue(b.builder().getF32Type(), {});
  scalar.floats = {0.0};
  if (const auto *attribute = b.find("value")) {
    FailureOr<TensorValue> given =
        b.importer.importConstant(attribute->t(), "value", b.loc);
    if (failed(given))
      return failure();
    if (!product(given->dims).isConstant(1) ||
        (!given->contents && !given->floats))
      return b.error("attribute 'value' is not one number");
    scalar = std::move(*given);
    scalar.constant = nullptr;
    scalar.dims.clear();
  }
  std::optional<int64_t> count = product(dims).constant();
  if (count && *count <= kMaxContents) {
    if (scalar.contents)
      scalar.contents->resize(*count, DimExpr(scalar.contents->front()));
    else
      scalar.floats->resize(*count, scalar.floats->front());
    scalar.dims = dims;
    b.setResult(std::move(scalar));
    return success();
  }
  FailureOr<Value> data = b.importer.materialize(scalar);
  if (failed(data))
    return failure();
  return b.setData(
      b.create<BroadcastOp>(dims, scalar.element, *data, b.dimsAttr(dims)),
      dims);
}

} // namespace

void registerConstantOps(OpTable &table) {
  table.add("Constant", importConstantOp);
  table.add("Shape", importShape);
  table.add("Size", importSize);
  table.add("Range", importRange);
  table.add("ConstantOfShape", importConstantOfShape);
}

} // namespace ferrite::frontend
