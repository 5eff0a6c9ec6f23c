//===- IndexOps.cpp - Parts of tensors, chosen by position ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/OpBinder.h"
#include <cstring>

using namespace mlir;

namespace ferrite::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Slice and Split
//===----------------------------------------------------------------------===//

/// A table of positions: start, start + step, .. along the one dim above 1.
struct Sequence {
  size_t axis;
  int64_t start;
  int64_t step;
};

std::optional<Sequence> findSequence(OpBinder &b, const TensorValue &value) {
  if (!value.constant || !value.element.isSignlessInteger(64))
    return std::nullopt;
  std::optional<int64_t> count = product(value.dims).constant();
  if (!count || *count < 2 || *count > 1 << 20)
    return std::nullopt;
  Sequence result{0, 0, 0};
  while (value.dims[result.axis].isConstant(1))
    ++result.axis;
  if (!value.dims[result.axis].isConstant(*count))
    return std::nullopt;
  std::string storage;
  llvm::Expected<StringRef> bytes =
      b.importer.file.getElements(*value.constant, storage);
  if (!bytes) {
    llvm::consumeError(bytes.takeError());
    return std::nullopt;
  }
  auto at = [&](int64_t i) {
    int64_t element;
    std::memcpy(&element, bytes->data() + 8 * i, 8);
    return element;
  };
  result.start = at(0);
  if (llvm::SubOverflow(at(1), at(0), result.step))
    return std::nullopt;
  for (int64_t i = 1; i < *count; ++i) {
    int64_t expected;
    if (llvm::MulOverflow(i, result.step, expected) ||
        llvm::AddOverflow(expected, result.start, expected) ||
        at(i) != expected)
      return std::nullopt;
  }
  return result;
}

/// input 0 [offset + step * i] for i below dims, as result `output`.
LogicalResult setSlice(OpBinder &b, ArrayRef<DimExpr> offsets,
                       ArrayRef<int64_t> steps, ArrayRef<DimExpr> dims,
                       unsigned output = 0) {
  TensorValue &input = b.input(0);
  auto isKnown = [](const DimExpr &expr) { return !!expr.constant(); };
  if (input.contents && llvm::all_of(offsets, isKnown) &&
      llvm::all_of(dims, isKnown)) {
    std::vector<DimExpr> contents;
    for (int64_t i = 0, end = *product(dims).constant(); i < end; ++i) {
      int64_t rest = i, flat = 0, stride = 1;
      for (size_t d = dims.size(); d-- > 0;) {
        int64_t at = rest % *dims[d].constant();
        flat += stride * (*offsets[d].constant() + at * steps[d]);
        rest /= *dims[d].constant();
        stride *= *input.dims[d].constant();
      }
      contents.push_back((*input.contents)[flat]);
    }
    return b.setContents(contents, input.element, dims, output);
  }
  // The first positions of a table of positions are computed, not read: the
  // table's length has become a bound.
  std::optional<Sequence> sequence = findSequence(b, input);
  if (sequence && offsets[sequence->axis].constant()) {
    Dims size = {dims[sequence->axis]};
    int64_t start =
        sequence->start + sequence->step * *offsets[sequence->axis].constant();
    Value data = b.create<IotaOp>(size, input.element, start,
                                  sequence->step * steps[sequence->axis],
                                  b.dimsAttr(size));
    return b.setData(b.view(data, dims), dims, output);
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  return b.setData(b.create<SliceOp>(dims, input.element, *data,
                                     b.dimsAttr(offsets), steps,
                                     b.dimsAttr(dims)),
                   dims, output);
}

LogicalResult importSlice(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<std::vector<DimExpr>> starts = b.contents(1, "starts"),
                                  ends = b.contents(2, "ends");
  if (failed(starts) || failed(ends))
    return failure();
  std::vector<int64_t> axes, steps(starts->size(), 1);
  for (size_t i = 0; i < starts->size(); ++i)
    axes.push_back(i);
  if (b.hasInput(3)) {
    FailureOr<std::vector<int64_t>> given = b.integers(3, "axes");
    if (failed(given))
      return failure();
    axes = *given;
  }
  if (b.hasInput(4)) {
    FailureOr<std::vector<int64_t>> given = b.integers(4, "steps");
    if (failed(given))
      return failure();
    steps = *given;
  }
  if (ends->size() != starts->size() || axes.size() != starts->size() ||
      steps.size() != starts->size())
    return b.error("its starts, ends, axes and steps differ in number");
  FailureOr<std::vector<int64_t>> normal = b.normalizeAxes(axes, input.rank());
  if (failed(normal))
    return failure();

  Dims offsets(input.rank()), dims = input.dims;
  SmallVector<int64_t> allSteps(input.rank(), 1);
  for (size_t i = 0; i < normal->size(); ++i) {
    int64_t axis = (*normal)[i];
    if (steps[i] == 0 || steps[i] == INT64_MIN)
      return b.error("a step is 0 or out of range");
    std::optional<SliceRange> range = resolveSlice(
        (*starts)[i], (*ends)[i], steps[i], input.dims[axis], b.symbols());
    if (!range)
      return b.unsupported("the part from " + (*starts)[i].str() + " to " +
                           (*ends)[i].str() + " of dim " + Twine(axis) +
                           " of " + printDims(input.dims) +
                           " has no size in terms of input dims; --dim "
                           "NAME=N makes a dim a number");
    offsets[axis] = range->offset;
    dims[axis] = range->size;
    allSteps[axis] = steps[i];
  }
  bool isWhole = llvm::all_of(allSteps, [](int64_t step) { return step == 1; });
  if (isWhole && dims == input.dims)
    return b.forward(0);
  return setSlice(b, offsets, allSteps, dims);
}

LogicalResult importSplit(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), input.rank());
  if (failed(axis))
    return failure();
  const DimExpr &whole = input.dims[*axis];
  int64_t count = b.intAttr("num_outputs", b.node.output_size());
  if (count != b.node.output_size() || count == 0)
    return b.error("attribute 'num_outputs' = " + Twine(count) +
                   ", but it has " + Twine(b.node.output_size()) + " outputs");
  std::vector<DimExpr> sizes;
  if (std::optional<std::vector<int64_t>> given = b.intsAttr("split")) {
    sizes.assign(given->begin(), given->end());
  } else if (b.hasInput(1)) {
    FailureOr<std::vector<DimExpr>> contents = b.contents(1, "split");
    if (failed(contents))
      return failure();
    sizes = *contents;
  } else if (std::optional<int64_t> size = whole.constant()) {
    // From opset 18 on the last part may be smaller.
    int64_t chunk = (*size + count - 1) / count;
    for (int64_t i = 0; i < count; ++i)
      sizes.push_back(
          DimExpr(std::clamp<int64_t>(*size - i * chunk, 0, chunk)));
  } else if (std::optional<DimExpr> part = whole.dividedBy(count)) {
    sizes.assign(count, *part);
  }
  DimExpr total;
  for (const DimExpr &size : sizes)
    total = total + size;
  if (static_cast<int64_t>(sizes.size()) != count || total != whole)
    return b.error("its parts " + printDims(sizes) + " do not make up dim " +
                   Twine(*axis) + " of " + printDims(input.dims));
  Dims offsets(input.rank()), dims = input.dims;
  SmallVector<int64_t> steps(input.rank(), 1);
  for (int64_t i = 0; i < count; ++i) {
    dims[*axis] = sizes[i];
    if (b.hasOutput(i) && failed(setSlice(b, offsets, steps, dims, i)))
      return failure();
    offsets[*axis] = offsets[*axis] + sizes[i];
  }
  return success();
}

LogicalResult importConcat(OpBinder &b) {
  size_t rank = b.input(0).rank();
  FailureOr<int64_t> axis = b.normalizeAxis(b.intAttr("axis", 0), rank);
  if (failed(axis))
    return failure();
  Type element = b.input(0).element;
  Dims dims = b.input(0).dims;
  std::vector<DimExpr> contents;
  bool known = rank == 1;
  for (unsigned i = 0; i < b.numInputs(); ++i) {
    TensorValue &input = b.input(i);
    if (input.element != element || input.rank() != rank)
      return b.error("its operands have different ranks or types");
    for (size_t d = 0; d < rank && i > 0; ++d) {
      if (static_cast<int64_t>(d) == *axis)
        dims[d] = dims[d] + input.dims[d];
      else if (dims[d] != input.dims[d])
        return b.errorUnlessEqual(
            dims[d], input.dims[d],
            "its operands have shapes " + printDims(b.input(0).dims) + " and " +
                printDims(input.dims) + ", which differ beside axis " +
                Twine(*axis));
    }
    known &= input.contents.has_value();
    if (known)
      contents.insert(contents.end(), input.contents->begin(),
                      input.contents->end());
  }
  if (known)
    return b.setContents(contents, element, dims);
  if (b.numInputs() == 1)
    return b.forward(0);
  SmallVector<Value> operands;
  for (unsigned i = 0; i < b.numInputs(); ++i) {
    FailureOr<Value> data = b.data(i);
    if (failed(data))
      return failure();
    operands.push_back(*data);
  }
  return b.setData(
      b.create<ConcatOp>(dims, element, ValueRange(operands), *axis), dims);
}

} // namespace

void registerGatherOps(OpTable &table);
void registerPositionOps(OpTable &table);
void registerScatterOps(OpTable &table);

void registerIndexOps(OpTable &table) {
  table.add("Slice", importSlice);
  table.add("Split", importSplit);
  table.add("Concat", importConcat);
  registerGatherOps(table);
  registerPositionOps(table);
  registerScatterOps(table);
}

} // namespace ferrite::frontend
