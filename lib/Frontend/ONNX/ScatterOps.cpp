//===- ScatterOps.cpp - Tensors written where indices say -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

FailureOr<CombineKind> getReduction(OpBinder &b) {
  std::string name = b.stringAttr("reduction", "none");
  std::optional<CombineKind> kind =
      llvm::StringSwitch<std::optional<CombineKind>>(name)
          .Case("none", CombineKind::None)
          .Case("add", CombineKind::Sum)
          .Case("mul", CombineKind::Prod)
          .Case("max", CombineKind::Max)
          .Case("min", CombineKind::Min)
          .Default(std::nullopt);
  if (!kind)
    return b.error("attribute 'reduction' = '" + name +
                   "' is not one of none, add, mul, max and min");
  if (kind != CombineKind::None && b.input(0).element.isInteger(1))
    return b.unsupported("a reduction of booleans has no kernel");
  return *kind;
}

/// Whether dims are equal as far as symbols tell; moves their bounds.
LogicalResult requireDims(OpBinder &b, ArrayRef<DimExpr> got,
                          ArrayRef<DimExpr> expected, StringRef what) {
  bool agree = got.size() == expected.size();
  for (size_t i = 0; agree && i < got.size(); ++i)
    agree = got[i] == expected[i] ||
            (b.symbols().requireLessEqual(got[i], expected[i]) &&
             b.symbols().requireLessEqual(expected[i], got[i]));
  if (agree)
    return success();
  return b.error("its " + what + " have the shape " + printDims(got) +
                 ", expected " + printDims(expected));
}

LogicalResult importScatterND(OpBinder &b) {
  TensorValue &data = b.input(0), &indices = b.input(1), &updates = b.input(2);
  FailureOr<CombineKind> reduction = getReduction(b);
  if (failed(reduction))
    return failure();
  std::optional<int64_t> depth =
      indices.rank() == 0 ? std::nullopt : indices.dims.back().constant();
  if (!depth || *depth < 1 || *depth > static_cast<int64_t>(data.rank()))
    return b.error("the innermost dim of its indices is not between 1 and the "
                   "rank of its data");
  if (updates.element != data.element)
    return b.error("its updates and data have different types");
  Dims expected(indices.dims.begin(), indices.dims.end() - 1);
  expected.append(data.dims.begin() + *depth, data.dims.end());
  if (failed(requireDims(b, updates.dims, expected, "updates")))
    return failure();
  FailureOr<Value> target = b.data(0), index = getIndices(b, 1),
                   source = b.data(2);
  if (failed(target) || failed(index) || failed(source))
    return failure();
  return b.setData(b.create<ScatterNDOp>(data.dims, data.element, *target,
                                         *index, *source, *reduction),
                   data.dims);
}

LogicalResult importScatterElements(OpBinder &b) {
  TensorValue &data = b.input(0), &indices = b.input(1), &updates = b.input(2);
  FailureOr<CombineKind> reduction = getReduction(b);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), data.rank());
  if (failed(reduction) || failed(axis))
    return failure();
  if (updates.element != data.element)
    return b.error("its updates and data have different types");
  if (indices.rank() != data.rank())
    return b.error("its indices and data have different ranks");
  if (failed(requireDims(b, updates.dims, indices.dims, "updates")))
    return failure();
  for (size_t d = 0; d < data.rank(); ++d)
    if (static_cast<int64_t>(d) != *axis &&
        !b.symbols().requireLessEqual(indices.dims[d], data.dims[d]))
      return b.error("its indices have the shape " + printDims(indices.dims) +
                     ", which is larger than its data's, " +
                     printDims(data.dims));
  FailureOr<Value> target = b.data(0), index = getIndices(b, 1),
                   source = b.data(2);
  if (failed(target) || failed(index) || failed(source))
    return failure();
  return b.setData(b.create<ScatterElementsOp>(data.dims, data.element, *target,
                                               *index, *source, *reduction,
                                               *axis),
                   data.dims);
}

/// TensorScatter-24: positions write_indices[b] + t along the axis, with the
/// own position on the dims before it.
LogicalResult importTensorScatter(OpBinder &b) {
  TensorValue &cache = b.input(0), &update = b.input(1);
  size_t rank = cache.rank();
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", -2), rank);
  std::string mode = b.stringAttr("mode", "linear");
  if (failed(axis))
    return failure();
  if (*axis == 0)
    return b.error("its axis is the batch dim");
  if (mode != "linear" && mode != "circular")
    return b.error("attribute 'mode' = '" + mode +
                   "' is neither linear nor circular");
  if (update.element != cache.element)
    return b.error("its update and cache have different types");
  Dims expected = cache.dims;
  if (update.rank() == rank)
    expected[*axis] = update.dims[*axis];
  if (failed(requireDims(b, update.dims, expected, "updates")))
    return failure();
  const DimExpr &slots = cache.dims[*axis], &length = update.dims[*axis];
  if (!b.symbols().requireLessEqual(length, slots))
    return b.error("its update is longer than its cache: " + length.str() +
                   " of " + slots.str());
  FailureOr<Value> target = b.data(0), source = b.data(1);
  if (failed(target) || failed(source))
    return failure();

  Type element = b.builder().getI64Type();
  Dims outer(update.dims.begin(), update.dims.begin() + *axis + 1);
  size_t width = outer.size();
  Value position = iotaAlong(b, length, *axis, width, element);
  Dims shape(width, DimExpr(1));
  shape[*axis] = length;
  if (b.hasInput(2)) {
    TensorValue &begin = b.input(2);
    if (failed(requireDims(b, begin.dims, {cache.dims[0]}, "write_indices")))
      return failure();
    FailureOr<Value> start = getIndices(b, 2);
    if (failed(start))
      return failure();
    Value first = *start;
    if (!OpBinder::elementOf(first).isInteger(64))
      first = b.cast(first, begin.dims, element);
    Dims column(width, DimExpr(1));
    column[0] = cache.dims[0];
    shape[0] = cache.dims[0];
    position = b.create<AddOp>(shape, element, position,
                               b.view(first, begin.dims, column));
    if (mode == "circular") {
      Value size = sizeScalar(b, slots, element);
      Value beyond = b.create<CompareOp>(shape, b.builder().getI1Type(),
                                         position, size, Predicate::Ge);
      Value wrapped = b.create<SubOp>(shape, element, position, size);
      position = b.create<WhereOp>(shape, element, beyond, wrapped, position);
    }
  }
  Dims column = outer;
  column.push_back(DimExpr(1));
  shape.push_back(DimExpr(1));
  position = b.view(position, shape);
  position =
      b.create<BroadcastOp>(column, element, position, b.dimsAttr(column));
  SmallVector<Value> columns;
  for (int64_t d = 0; d < *axis; ++d)
    columns.push_back(ownPositions(b, outer, d, element));
  columns.push_back(position);
  Value tuples = joinTuples(b, outer, columns);
  return b.setData(b.create<ScatterNDOp>(cache.dims, cache.element, *target,
                                         tuples, *source, CombineKind::None),
                   cache.dims);
}

} // namespace

void registerScatterOps(OpTable &table) {
  table.add("ScatterND", importScatterND);
  table.add("ScatterElements", importScatterElements);
  table.add("Scatter", importScatterElements);
  table.add("TensorScatter", importTensorScatter);
}

} // namespace ferrite::frontend
