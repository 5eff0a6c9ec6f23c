//===- PositionOps.cpp - Positions of extremes, one-hot, reversal ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

template <CombineKind kind>
LogicalResult importArgReduce(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), input.rank());
  bool keep = b.intAttr("keepdims", 1) != 0;
  bool last = b.intAttr("select_last_index", 0) != 0;
  if (failed(axis))
    return failure();
  if (!b.symbols().requireLessEqual(1, input.dims[*axis]))
    return b.error("dim " + Twine(*axis) + " of " + printDims(input.dims) +
                   " has no elements");
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Dims dims = input.dims;
  if (keep)
    dims[*axis] = DimExpr(1);
  else
    dims.erase(dims.begin() + *axis);
  return b.setData(b.create<ArgReduceOp>(dims, b.builder().getI64Type(), *data,
                                         kind, *axis, keep, last),
                   dims);
}

LogicalResult importTopK(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", -1), input.rank());
  bool largest = b.intAttr("largest", 1) != 0;
  // Sorted is one of the orders that "sorted = 0" allows.
  (void)b.intAttr("sorted", 1);
  if (failed(axis))
    return failure();
  DimExpr k(b.intAttr("k", -1));
  if (b.hasInput(1)) {
    FailureOr<DimExpr> given = b.number(1, "K");
    if (failed(given))
      return failure();
    k = *given;
  }
  const DimExpr &size = input.dims[*axis];
  if (!b.symbols().requireLessEqual(0, k) ||
      !b.symbols().requireLessEqual(k, size))
    return b.error("its K, " + k.str() + ", is not between 0 and " +
                   size.str() + ", the size of dim " + Twine(*axis));
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Dims dims = input.dims;
  dims[*axis] = k;
  Value positions = b.create<TopKOp>(dims, b.builder().getI64Type(), *data,
                                     *axis, b.dimsAttr({k}), !largest);
  if (b.hasOutput(0) &&
      failed(b.setData(b.create<GatherElementsOp>(dims, input.element, *data,
                                                  positions, *axis),
                       dims, 0)))
    return failure();
  return b.hasOutput(1) ? b.setData(positions, dims, 1) : success();
}

/// The one number of input `i`, an integer or a float.
FailureOr<DimExpr> getNumber(OpBinder &b, unsigned i, StringRef what) {
  TensorValue &input = b.input(i);
  if (input.floats && input.floats->size() == 1)
    return DimExpr(static_cast<int64_t>((*input.floats)[0]));
  if (isa<FloatType>(input.element))
    return b.needsConstant(i, what);
  return b.number(i, what);
}

/// The elements of a one-hot of constants along the last dim.
std::optional<std::vector<DimExpr>> knownOneHot(const TensorValue &indices,
                                                const DimExpr &depth,
                                                const TensorValue &values) {
  std::optional<int64_t> size = depth.constant();
  if (!indices.contents || !values.contents || !size || *size > kMaxContents ||
      *size * static_cast<int64_t>(indices.contents->size()) > kMaxContents)
    return std::nullopt;
  std::vector<DimExpr> contents;
  for (const DimExpr &index : *indices.contents) {
    std::optional<int64_t> at = index.constant();
    if (!at)
      return std::nullopt;
    int64_t hot = *at < 0 ? *at + *size : *at;
    for (int64_t i = 0; i < *size; ++i)
      contents.push_back((*values.contents)[i == hot]);
  }
  return contents;
}

LogicalResult importOneHot(OpBinder &b) {
  TensorValue &input = b.input(0), &values = b.input(2);
  size_t rank = input.rank();
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", -1), rank + 1);
  FailureOr<DimExpr> depth = getNumber(b, 1, "depth");
  if (failed(axis) || failed(depth))
    return failure();
  if (!b.symbols().requireLessEqual(0, *depth))
    return b.error("its depth is " + depth->str());
  if (values.dims != Dims{DimExpr(2)})
    return b.error("its values have the shape " + printDims(values.dims) +
                   ", expected [2]");
  if (auto row = knownOneHot(input, *depth, values);
      row && *axis == static_cast<int64_t>(rank))
    return b.setContents(*row, values.element, [&] {
      Dims dims = input.dims;
      dims.push_back(*depth);
      return dims;
    }());
  FailureOr<Value> data = b.data(0), choices = b.data(2);
  if (failed(data) || failed(choices))
    return failure();
  Type i64 = b.builder().getI64Type();
  Value indices = input.element == i64 ? *data : b.cast(*data, input.dims, i64);
  indices = wrapNegative(b, indices, input.dims, *depth);
  Dims spread = input.dims, dims = input.dims;
  spread.insert(spread.begin() + *axis, DimExpr(1));
  dims.insert(dims.begin() + *axis, *depth);
  Value hot = b.create<CompareOp>(
      dims, b.builder().getI1Type(), b.view(indices, spread),
      iotaAlong(b, *depth, *axis, rank + 1, i64), Predicate::Eq);
  Dims one = {DimExpr(1)};
  auto choice = [&](int64_t i) {
    return b.create<SliceOp>(one, values.element, *choices,
                             b.dimsAttr({DimExpr(i)}), SmallVector<int64_t>{1},
                             b.dimsAttr(one));
  };
  return b.setData(
      b.create<WhereOp>(dims, values.element, hot, choice(1), choice(0)), dims);
}

LogicalResult importReverseSequence(OpBinder &b) {
  TensorValue &input = b.input(0), &lengths = b.input(1);
  int64_t batch = b.intAttr("batch_axis", 1), time = b.intAttr("time_axis", 0);
  if (input.rank() < 2 || batch + time != 1 || batch * time != 0)
    return b.error("its batch_axis and time_axis are not 0 and 1");
  if (lengths.dims != Dims{input.dims[batch]})
    return b.error("its sequence_lens have the shape " +
                   printDims(lengths.dims) + ", expected [" +
                   input.dims[batch].str() + "]");
  FailureOr<Value> data = b.data(0), given = getIndices(b, 1);
  if (failed(data) || failed(given))
    return failure();
  Type element = lengths.element;
  Dims outer(input.dims.begin(), input.dims.begin() + 2);
  Dims column = outer, perBatch = {DimExpr(1), DimExpr(1), DimExpr(1)};
  column.push_back(DimExpr(1));
  perBatch[batch] = input.dims[batch];
  Value length = b.view(*given, perBatch);
  Value own = iotaAlong(b, input.dims[time], time, 3, element);
  // lengths[b] - 1 - t before lengths[b], t from there on.
  Value inside = b.create<CompareOp>(column, b.builder().getI1Type(), own,
                                     length, Predicate::Lt);
  Value mirrored = b.create<SubOp>(column, element, length, own);
  mirrored = b.create<SubOp>(column, element, mirrored,
                             sizeScalar(b, DimExpr(1), element));
  Value from = b.create<WhereOp>(column, element, inside, mirrored, own);
  Value batches = ownPositions(b, outer, batch, element);
  SmallVector<Value> columns = {time == 0 ? from : batches,
                                time == 0 ? batches : from};
  Value tuples = joinTuples(b, outer, columns);
  return b.setData(
      b.create<GatherNDOp>(input.dims, input.element, *data, tuples),
      input.dims);
}

/// TorchScript counts a range with NonZero of a ConstantOfShape of ones. Of
/// data it has as many elements as only a run tells.
LogicalResult importNonZero(OpBinder &b) {
  TensorValue &input = b.input(0);
  Type i64 = b.builder().getI64Type();
  int64_t rank = input.rank();
  auto isNumber = [](const DimExpr &at) { return at.constant().has_value(); };
  if (input.contents && llvm::all_of(*input.contents, isNumber)) {
    std::vector<std::vector<DimExpr>> rows(rank);
    int64_t count = input.contents->size(), found = 0;
    for (int64_t i = 0; i < count; ++i) {
      if ((*input.contents)[i].isConstant(0))
        continue;
      int64_t rest = i;
      ++found;
      for (int64_t d = rank; d-- > 0;) {
        int64_t size = *input.dims[d].constant();
        rows[d].push_back(DimExpr(rest % size));
        rest /= size;
      }
    }
    std::vector<DimExpr> contents;
    for (const std::vector<DimExpr> &row : rows)
      llvm::append_range(contents, row);
    return b.setContents(contents, i64, {DimExpr(rank), DimExpr(found)});
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Value source = *data;
  while (source.getDefiningOp<BroadcastOp>() || source.getDefiningOp<ViewOp>())
    source = source.getDefiningOp()->getOperand(0);
  DenseElementsAttr constant;
  if (rank == 1 && matchPattern(source, m_Constant(&constant)) &&
      constant.isSplat() && !matchPattern(source, m_Zero()) &&
      !matchPattern(source, m_AnyZeroFloat()))
    return b.setData(iotaAlong(b, input.dims[0], 1, 2, i64),
                     {DimExpr(1), input.dims[0]});
  if (rank == 0)
    return b.unsupported("its input is a scalar");
  DimExpr count = b.symbols().declareDecided("nonzero", product(input.dims));
  Dims tuples = {count, DimExpr(rank)}, columns = {DimExpr(rank), count};
  Value found = b.create<NonZeroOp>(tuples, i64, *data,
                                    b.builder().getStringAttr(count.str()));
  return b.setData(b.transpose(found, tuples, {1, 0}), columns);
}

} // namespace

void registerPositionOps(OpTable &table) {
  table.add("ArgMax", importArgReduce<CombineKind::Max>);
  table.add("ArgMin", importArgReduce<CombineKind::Min>);
  table.add("TopK", importTopK);
  table.add("NonZero", importNonZero);
  table.add("OneHot", importOneHot);
  table.add("ReverseSequence", importReverseSequence);
}

} // namespace ferrite::frontend
