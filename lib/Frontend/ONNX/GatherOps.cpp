//===- GatherOps.cpp - Parts of tensors, chosen by data -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

LogicalResult importGather(OpBinder &b) {
  TensorValue &data = b.input(0), &indices = b.input(1);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), data.rank());
  if (failed(axis))
    return failure();
  Dims dims(data.dims.begin(), data.dims.begin() + *axis);
  dims.append(indices.dims.begin(), indices.dims.end());
  dims.append(data.dims.begin() + *axis + 1, data.dims.end());
  const DimExpr &size = data.dims[*axis];

  // Positions known at import; a negative one counts from the end.
  std::vector<DimExpr> positions;
  for (const DimExpr &index :
       indices.contents.value_or(std::vector<DimExpr>())) {
    std::optional<int64_t> number = index.constant();
    DimExpr at = number && *number < 0 ? size + index : index;
    if (b.symbols().lessEqual(size, at) == true ||
        b.symbols().lessEqual(at, -1) == true)
      return b.error("index " + index.str() + " is outside dim " +
                     Twine(*axis) + " of size " + size.str());
    positions.push_back(at);
  }
  if (indices.contents && data.contents && data.rank() == 1 &&
      llvm::all_of(positions, [](const DimExpr &at) {
        return at.constant().has_value();
      })) {
    std::vector<DimExpr> contents;
    for (const DimExpr &at : positions)
      contents.push_back((*data.contents)[*at.constant()]);
    return b.setContents(contents, data.element, dims);
  }
  FailureOr<Value> source = b.data(0);
  if (failed(source))
    return failure();
  if (positions.size() == 1) {
    Dims offsets(data.rank()), part = data.dims;
    offsets[*axis] = positions[0];
    part[*axis] = DimExpr(1);
    if (!b.symbols().requireLessEqual(positions[0] + 1, size) ||
        !b.symbols().requireLessEqual(0, positions[0]))
      return b.unsupported("index " + positions[0].str() +
                           " may be outside dim " + Twine(*axis) + " of size " +
                           size.str());
    Value slice = b.create<SliceOp>(
        part, data.element, *source, b.dimsAttr(offsets),
        SmallVector<int64_t>(data.rank(), 1), b.dimsAttr(part));
    return b.setData(b.view(slice, dims), dims);
  }
  FailureOr<Value> index = getIndices(b, 1);
  if (failed(index))
    return failure();
  return b.setData(
      b.create<GatherOp>(dims, data.element, *source, *index, *axis), dims);
}

LogicalResult importGatherND(OpBinder &b) {
  TensorValue &data = b.input(0), &indices = b.input(1);
  int64_t batch = b.intAttr("batch_dims", 0);
  if (batch < 0 ||
      batch >= static_cast<int64_t>(std::min(data.rank(), indices.rank())))
    return b.error("attribute 'batch_dims' = " + Twine(batch) +
                   " is not below the ranks of its data and indices");
  std::optional<int64_t> depth = indices.dims.back().constant();
  if (!depth || *depth < 1 ||
      *depth > static_cast<int64_t>(data.rank()) - batch)
    return b.error(
        "the innermost dim of its indices is not between 1 and the rank of its "
        "data");
  Dims outer(indices.dims.begin(), indices.dims.end() - 1), dims = outer;
  dims.append(data.dims.begin() + batch + *depth, data.dims.end());
  FailureOr<Value> source = b.data(0), index = getIndices(b, 1);
  if (failed(source) || failed(index))
    return failure();
  SmallVector<Value> columns;
  for (int64_t d = 0; d < batch; ++d) {
    if (!b.symbols().requireLessEqual(indices.dims[d], data.dims[d]))
      return b.error("its indices have the shape " + printDims(indices.dims) +
                     ", its data " + printDims(data.dims) +
                     ": their batch dims differ");
    columns.push_back(ownPositions(b, outer, d, indices.element));
  }
  columns.push_back(*index);
  Value tuples = joinTuples(b, outer, columns);
  return b.setData(b.create<GatherNDOp>(dims, data.element, *source, tuples),
                   dims);
}

/// The constant that every element of `value` equals, seen through ops that
/// only move elements.
Value findSplat(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (isa<ViewOp, BroadcastOp, SliceOp, TransposeOp>(op)) {
      value = op->getOperand(0);
      continue;
    }
    DenseElementsAttr constant;
    return matchPattern(value, m_Constant(&constant)) && constant.isSplat()
               ? value
               : Value();
  }
  return {};
}

LogicalResult importGatherElements(OpBinder &b) {
  TensorValue &data = b.input(0), &indices = b.input(1);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), data.rank());
  if (failed(axis))
    return failure();
  if (indices.rank() != data.rank())
    return b.error("its indices and data have different ranks");
  const Dims &dims = indices.dims;
  FailureOr<Value> source = b.data(0), index = getIndices(b, 1);
  if (failed(source) || failed(index))
    return failure();

  // A table of zeros, as RoBERTa's token types: whatever is taken is the same.
  if (Value splat = findSplat(*source)) {
    DenseElementsAttr constant;
    matchPattern(splat, m_Constant(&constant));
    auto scalar =
        DenseElementsAttr::get(RankedTensorType::get({}, data.element),
                               constant.getSplatValue<Attribute>());
    Value value = arith::ConstantOp::create(b.builder(), b.loc, scalar);
    return b.setData(
        b.create<BroadcastOp>(dims, data.element, value, b.dimsAttr(dims)),
        dims);
  }
  for (size_t d = 0; d < data.rank(); ++d)
    if (static_cast<int64_t>(d) != *axis &&
        !b.symbols().requireLessEqual(dims[d], data.dims[d]))
      return b.error("its indices have the shape " + printDims(dims) +
                     ", which is larger than its data's, " +
                     printDims(data.dims));
  return b.setData(
      b.create<GatherElementsOp>(dims, data.element, *source, *index, *axis),
      dims);
}

/// The slices along an axis, or elements, where the condition is true: a gather
/// of positions, whose number has to be known.
LogicalResult importCompress(OpBinder &b) {
  TensorValue &input = b.input(0), &condition = b.input(1);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Dims from = input.dims;
  int64_t axis = 0;
  if (b.hasAttr("axis")) {
    FailureOr<int64_t> given =
        b.normalizeAxis(b.intAttr("axis", 0), input.rank());
    if (failed(given))
      return failure();
    axis = *given;
  } else {
    from = {product(input.dims)};
  }
  FailureOr<std::vector<int64_t>> flags = b.integers(1, "condition");
  if (failed(flags))
    return failure();
  if (condition.rank() != 1)
    return b.error("its condition is not of rank 1");
  TensorValue chosen = b.makeValue(b.builder().getI64Type(), {});
  chosen.contents.emplace();
  for (size_t i = 0; i < flags->size(); ++i)
    if ((*flags)[i])
      chosen.contents->push_back(DimExpr(static_cast<int64_t>(i)));
  DimExpr count(static_cast<int64_t>(chosen.contents->size()));
  if (!chosen.contents->empty() &&
      !b.symbols().requireLessEqual(chosen.contents->back() + DimExpr(1),
                                    from[axis]))
    return b.error("its condition is longer than its input's " +
                   from[axis].str());
  chosen.dims = {count};
  Dims dims = from;
  dims[axis] = count;
  FailureOr<Value> positions = b.importer.materialize(chosen);
  if (failed(positions))
    return failure();
  return b.setData(b.create<GatherOp>(dims, input.element,
                                      b.view(*data, input.dims, from),
                                      *positions, axis),
                   dims);
}

LogicalResult importTrilu(OpBinder &b) {
  TensorValue &input = b.input(0);
  bool upper = b.intAttr("upper", 1) != 0;
  if (input.rank() < 2)
    return b.error("its input has a rank below 2");
  DimExpr diagonal;
  if (b.hasInput(1)) {
    FailureOr<std::vector<DimExpr>> k = b.contents(1, "k");
    if (failed(k))
      return failure();
    if (k->size() != 1)
      return b.error("its k is not a scalar");
    diagonal = k->front();
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  // upper: column >= row + k.
  Type i64 = b.builder().getI64Type(), i1 = b.builder().getI1Type();
  Dims rows = {input.dims[input.rank() - 2]}, columns = {input.dims.back()};
  Dims tall = {rows[0], DimExpr(1)}, both = {rows[0], columns[0]};
  Value row = b.create<IotaOp>(rows, i64, diagonal.constant().value_or(0),
                               int64_t(1), b.dimsAttr(rows));
  if (!diagonal.constant())
    row = b.create<AddOp>(
        rows, i64, row, b.create<DimValuesOp>({}, i64, b.dimsAttr({diagonal})));
  row = b.view(row, tall);
  Value column = b.create<IotaOp>(columns, i64, int64_t(0), int64_t(1),
                                  b.dimsAttr(columns));
  Value keep = b.create<CompareOp>(both, i1, column, row,
                                   upper ? Predicate::Ge : Predicate::Le);
  return b.setData(b.create<WhereOp>(input.dims, input.element, keep, *data,
                                     b.scalar(0, input.element)),
                   input.dims);
}

template <typename OpTy>
LogicalResult importScan(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<std::vector<int64_t>> given = b.integers(1, "axis");
  if (failed(given))
    return failure();
  if (given->size() != 1)
    return b.error("its axis is not a scalar");
  FailureOr<int64_t> axis = b.normalizeAxis(given->front(), input.rank());
  bool exclusive = b.intAttr("exclusive", 0) != 0,
       reverse = b.intAttr("reverse", 0) != 0;
  FailureOr<Value> data = b.data(0);
  if (failed(axis) || failed(data))
    return failure();
  return b.setData(b.create<OpTy>(input.dims, input.element, *data, *axis,
                                  exclusive, reverse),
                   input.dims);
}

} // namespace

void registerGatherOps(OpTable &table) {
  table.add("Gather", importGather);
  table.add("GatherND", importGatherND);
  table.add("GatherElements", importGatherElements);
  table.add("Trilu", importTrilu);
  table.add("Compress", importCompress);
  table.add("CumSum", importScan<CumSumOp>);
  table.add("CumProd", importScan<CumProdOp>);
}

} // namespace ferrite::frontend
