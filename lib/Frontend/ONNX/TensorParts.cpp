//===- TensorParts.cpp - Parts of tensors, taken and joined ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ControlFlow.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Elements [at, at + size) of dim `axis` of all that is known.
template <typename T>
std::optional<std::vector<T>>
sliceKnown(const std::optional<std::vector<T>> &elements,
           ArrayRef<DimExpr> dims, int64_t axis, int64_t at, int64_t size) {
  auto outer = product(dims.take_front(axis)).constant(),
       inner = product(dims.drop_front(axis + 1)).constant();
  if (!elements || !outer || !inner)
    return std::nullopt;
  int64_t length = *dims[axis].constant();
  std::vector<T> part;
  for (int64_t o = 0; o < *outer; ++o)
    part.insert(part.end(), elements->begin() + (o * length + at) * *inner,
                elements->begin() + (o * length + at + size) * *inner);
  return part;
}

/// As views of one rank more, a dim of 1 at `axis`.
LogicalResult addDim(OpBinder &b, TensorValue &part, int64_t axis) {
  FailureOr<Value> data = b.importer.materialize(part);
  if (failed(data))
    return failure();
  Dims dims = part.dims;
  dims.insert(dims.begin() + axis, DimExpr(1));
  part.data = b.view(*data, part.dims, dims);
  part.dims = dims;
  part.contents.reset();
  part.floats.reset();
  return success();
}

/// All that is known of the parts, one after the other.
template <typename T>
std::optional<std::vector<T>>
joinKnown(ArrayRef<TensorValue> parts,
          std::optional<std::vector<T>> TensorValue::*known) {
  std::vector<T> joined;
  for (const TensorValue &part : parts) {
    if (!(part.*known))
      return std::nullopt;
    joined.insert(joined.end(), (part.*known)->begin(), (part.*known)->end());
  }
  return joined.size() > kMaxContents ? std::nullopt : std::optional(joined);
}

/// The parts one after the other, where all their elements are known and `axis`
/// is the first: elements follow each other.
bool joinContents(OpBinder &b, ArrayRef<TensorValue> parts,
                  ArrayRef<DimExpr> dims, unsigned i) {
  TensorValue joined = b.makeValue(parts.front().element, dims);
  joined.contents = joinKnown(parts, &TensorValue::contents);
  joined.floats = joinKnown(parts, &TensorValue::floats);
  if (!joined.contents && !joined.floats)
    return false;
  b.setResult(std::move(joined), i);
  return true;
}

/// Whether they are tensors of one type, and alike but for dim `axis`. Sets a
/// poisoned result where one is poisoned.
FailureOr<bool> areAlike(OpBinder &b, ArrayRef<TensorValue> parts,
                         std::optional<int64_t> axis, unsigned i) {
  for (const TensorValue &part : parts)
    if (part.poisoned) {
      b.setResult(part, i);
      return false;
    }
  for (const TensorValue &part : parts) {
    Dims dims = part.dims, first = parts.front().dims;
    if (axis && dims.size() == first.size())
      dims[*axis] = first[*axis];
    if (!part.isTensor() || part.element != parts.front().element ||
        dims != first)
      return b.unsupported(
          "it joins values that differ: " + printDims(parts.front().dims) +
          " and " + printDims(part.dims));
  }
  return true;
}

} // namespace

FailureOr<TensorValue> takeRange(OpBinder &b, TensorValue &input, int64_t axis,
                                 int64_t at, int64_t size) {
  Dims dims = input.dims;
  dims[axis] = DimExpr(size);
  TensorValue part = b.makeValue(input.element, dims);
  if (input.dims[axis].constant()) {
    part.contents = sliceKnown(input.contents, input.dims, axis, at, size);
    part.floats = sliceKnown(input.floats, input.dims, axis, at, size);
  }
  if (part.contents || part.floats)
    return part;
  FailureOr<Value> data = b.importer.materialize(input);
  if (failed(data))
    return failure();
  Dims offsets(dims.size(), DimExpr(0));
  offsets[axis] = DimExpr(at);
  part.data =
      b.create<SliceOp>(dims, input.element, *data, b.dimsAttr(offsets),
                        SmallVector<int64_t>(dims.size(), 1), b.dimsAttr(dims));
  return part;
}

FailureOr<TensorValue> takePart(OpBinder &b, TensorValue &input, int64_t axis,
                                int64_t at) {
  FailureOr<TensorValue> part = takeRange(b, input, axis, at, 1);
  if (failed(part))
    return failure();
  Dims dims = part->dims;
  dims.erase(dims.begin() + axis);
  if (part->data)
    part->data = b.view(part->data, part->dims, dims);
  part->dims = dims;
  return part;
}

LogicalResult stackParts(OpBinder &b, std::vector<TensorValue> &parts,
                         int64_t axis, unsigned i) {
  if (parts.empty())
    return b.unsupported("its body runs no time, so that the shape of its "
                         "result " +
                         Twine(i) + " is not known");
  FailureOr<bool> alike = areAlike(b, parts, std::nullopt, i);
  if (failed(alike) || !*alike)
    return failure(failed(alike));
  FailureOr<int64_t> normal = b.normalizeAxis(axis, parts[0].rank() + 1);
  if (failed(normal))
    return failure();
  Dims dims = parts[0].dims;
  dims.insert(dims.begin() + *normal, DimExpr(int64_t(parts.size())));
  if (*normal == 0 && joinContents(b, parts, dims, i))
    return success();
  SmallVector<Value> values;
  for (TensorValue &part : parts) {
    if (failed(addDim(b, part, *normal)))
      return failure();
    values.push_back(part.data);
  }
  if (values.size() == 1)
    return b.setData(values[0], dims, i);
  return b.setData(
      b.create<ConcatOp>(dims, parts[0].element, ValueRange(values), *normal),
      dims, i);
}

LogicalResult stackNone(OpBinder &b, const TensorValue &part, unsigned i) {
  if (part.poisoned) {
    b.setResult(part, i);
    return success();
  }
  auto isKnown = [](const DimExpr &dim) { return dim.constant().has_value(); };
  if (!part.isTensor() || !llvm::all_of(part.dims, isKnown))
    return b.unsupported("its body runs no time, so that the shape of its "
                         "result " +
                         Twine(i) + " is not known");
  Dims dims = part.dims;
  dims.insert(dims.begin(), DimExpr(0));
  auto none = DenseElementsAttr::get(getTensorType(dims, part.element),
                                     ArrayRef<Attribute>());
  return b.setData(arith::ConstantOp::create(b.builder(), b.loc, none), dims,
                   i);
}

LogicalResult joinParts(OpBinder &b, std::vector<TensorValue> &parts,
                        int64_t axis, unsigned i) {
  if (parts.empty())
    return b.error("it joins an empty sequence");
  FailureOr<int64_t> normal = b.normalizeAxis(axis, parts[0].rank());
  if (failed(normal))
    return failure();
  FailureOr<bool> alike = areAlike(b, parts, *normal, i);
  if (failed(alike) || !*alike)
    return failure(failed(alike));
  Dims dims = parts[0].dims;
  dims[*normal] = DimExpr(0);
  for (const TensorValue &part : parts)
    dims[*normal] = dims[*normal] + part.dims[*normal];
  if (*normal == 0 && joinContents(b, parts, dims, i))
    return success();
  SmallVector<Value> values;
  for (TensorValue &part : parts) {
    FailureOr<Value> data = b.importer.materialize(part);
    if (failed(data))
      return failure();
    values.push_back(*data);
  }
  if (values.size() == 1)
    return b.setData(values[0], dims, i);
  return b.setData(
      b.create<ConcatOp>(dims, parts[0].element, ValueRange(values), *normal),
      dims, i);
}

} // namespace ferrite::frontend
