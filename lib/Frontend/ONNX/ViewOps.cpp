//===- ViewOps.cpp - The same elements under other dims -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Input 0 under `dims`, which hold as many elements.
LogicalResult setView(OpBinder &b, ArrayRef<DimExpr> dims) {
  TensorValue &input = b.input(0);
  if (ArrayRef<DimExpr>(input.dims) == dims)
    return b.forward(0);
  if (input.contents || input.floats) {
    TensorValue value = input;
    value.dims.assign(dims.begin(), dims.end());
    value.data = nullptr;
    value.constant = nullptr; // has the old dims
    b.setResult(std::move(value));
    return success();
  }
  FailureOr<Value> data = b.data(0);
  return failed(data) ? failure() : b.setData(b.view(*data, dims), dims);
}

LogicalResult importReshape(OpBinder &b) {
  bool allowZero = b.intAttr("allowzero", 0) != 0;
  FailureOr<std::vector<DimExpr>> target = b.contents(1, "target shape");
  if (failed(target))
    return failure();
  const Dims &from = b.input(0).dims;
  auto reject = [&](const DimExpr &there = {}, const DimExpr &wanted = {}) {
    return b.errorUnlessEqual(there, wanted,
                              "a tensor of shape " + printDims(from) +
                                  " has no view of shape " +
                                  printDims(*target));
  };
  Dims dims;
  std::optional<size_t> inferred;
  for (size_t i = 0; i < target->size(); ++i) {
    DimExpr dim = (*target)[i];
    if (dim.isConstant(-1)) {
      if (inferred)
        return b.error("its target shape has two dims of -1");
      inferred = i;
      dim = DimExpr(1);
    } else if (dim.isConstant(0) && !allowZero) {
      if (i >= from.size())
        return reject();
      dim = from[i];
    } else if (dim.constant() && *dim.constant() < 0) {
      return reject();
    }
    dims.push_back(dim);
  }
  DimExpr total = product(from), rest = product(dims);
  if (inferred) {
    std::optional<DimExpr> quotient = total.dividedBy(rest);
    if (!quotient)
      return reject();
    dims[*inferred] = *quotient;
  } else if (total != rest) {
    return reject(total, rest);
  }
  return setView(b, dims);
}

LogicalResult importFlatten(OpBinder &b) {
  const Dims &from = b.input(0).dims;
  int64_t axis = b.intAttr("axis", 1);
  auto rank = static_cast<int64_t>(from.size());
  if (axis < -rank || axis > rank)
    return b.error("axis " + Twine(axis) + " is outside a tensor of rank " +
                   Twine(rank));
  axis += axis < 0 ? rank : 0;
  ArrayRef<DimExpr> dims(from);
  return setView(
      b, {product(dims.take_front(axis)), product(dims.drop_front(axis))});
}

/// The axes that an attribute gives before opset 13, and an input from then on.
FailureOr<std::optional<std::vector<int64_t>>> readAxes(OpBinder &b,
                                                        size_t rank) {
  std::optional<std::vector<int64_t>> axes = b.intsAttr("axes");
  if (!axes && b.hasInput(1)) {
    FailureOr<std::vector<int64_t>> input = b.integers(1, "axes");
    if (failed(input))
      return failure();
    axes = *input;
  }
  if (!axes)
    return axes;
  FailureOr<std::vector<int64_t>> normal = b.normalizeAxes(*axes, rank);
  if (failed(normal))
    return failure();
  return std::optional(*normal);
}

LogicalResult importSqueeze(OpBinder &b) {
  const Dims &from = b.input(0).dims;
  auto axes = readAxes(b, from.size());
  if (failed(axes))
    return failure();
  Dims dims;
  for (size_t i = 0; i < from.size(); ++i) {
    bool isOne = from[i].isConstant(1);
    bool isGiven = *axes && llvm::is_contained(**axes, static_cast<int64_t>(i));
    if (isGiven && !isOne)
      return b.error("dim " + Twine(i) + " of " + printDims(from) +
                     " is not 1");
    if (*axes ? !isGiven : !isOne)
      dims.push_back(from[i]);
  }
  return setView(b, dims);
}

LogicalResult importUnsqueeze(OpBinder &b) {
  const Dims &from = b.input(0).dims;
  size_t given = 0;
  if (const auto *attribute = b.find("axes"))
    given = attribute->ints_size();
  else if (b.hasInput(1) && b.input(1).contents)
    given = b.input(1).contents->size();
  auto axes = readAxes(b, from.size() + given);
  if (failed(axes))
    return failure();
  if (!*axes)
    return b.error("it has no axes");
  Dims dims;
  size_t next = 0;
  for (size_t i = 0; i < from.size() + given; ++i)
    dims.push_back(llvm::is_contained(**axes, static_cast<int64_t>(i))
                       ? DimExpr(1)
                       : from[next++]);
  return setView(b, dims);
}

LogicalResult importTranspose(OpBinder &b) {
  TensorValue &input = b.input(0);
  std::vector<int64_t> perm;
  if (std::optional<std::vector<int64_t>> given = b.intsAttr("perm"))
    perm = *given;
  else
    for (size_t i = input.rank(); i-- > 0;)
      perm.push_back(i);
  FailureOr<std::vector<int64_t>> normal = b.normalizeAxes(perm, input.rank());
  if (failed(normal))
    return failure();
  if (perm.size() != input.rank())
    return b.error(
        "attribute 'perm' is no permutation of the dims of its input");
  if (llvm::equal(*normal, llvm::seq<int64_t>(0, perm.size())))
    return b.forward(0);
  Dims dims;
  for (int64_t axis : *normal)
    dims.push_back(input.dims[axis]);
  if (input.contents && product(dims).constant()) {
    // Element at[] of the result is element at[perm] of the input.
    std::vector<DimExpr> contents;
    for (int64_t i = 0, end = *product(dims).constant(); i < end; ++i) {
      std::vector<int64_t> at(perm.size());
      int64_t rest = i, flat = 0;
      for (size_t d = perm.size(); d-- > 0;) {
        at[(*normal)[d]] = rest % *dims[d].constant();
        rest /= *dims[d].constant();
      }
      for (size_t d = 0; d < perm.size(); ++d)
        flat = flat * *input.dims[d].constant() + at[d];
      contents.push_back((*input.contents)[flat]);
    }
    return b.setContents(contents, input.element, dims);
  }
  FailureOr<Value> data = b.data(0);
  return failed(data)
             ? failure()
             : b.setData(b.transpose(*data, input.dims, *normal), dims);
}

//===----------------------------------------------------------------------===//
// Repetition
//===----------------------------------------------------------------------===//

LogicalResult importExpand(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<std::vector<DimExpr>> shape = b.contents(1, "shape");
  if (failed(shape))
    return failure();
  FailureOr<Dims> dims = b.broadcast(input.dims, *shape);
  if (failed(dims))
    return failure();
  if (*dims == input.dims)
    return b.forward(0);
  std::optional<int64_t> count = product(*dims).constant();
  if (input.contents && count && *count <= kMaxContents) {
    std::vector<DimExpr> contents;
    for (int64_t i = 0; i < *count; ++i)
      contents.push_back(
          (*input.contents)[broadcastIndex(i, *dims, input.dims)]);
    return b.setContents(contents, input.element, *dims);
  }
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  return b.setData(
      b.create<BroadcastOp>(*dims, input.element, *data, b.dimsAttr(*dims)),
      *dims);
}

LogicalResult importTile(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<std::vector<DimExpr>> repeats = b.contents(1, "repeats");
  if (failed(repeats))
    return failure();
  if (repeats->size() != input.rank())
    return b.error("its repeats are not one for each dim of its input");
  // [d0, d1] -> [1, d0, 1, d1] -> [r0, d0, r1, d1] -> [r0 * d0, r1 * d1]
  Dims split, repeated, dims;
  for (size_t i = 0; i < input.rank(); ++i) {
    DimExpr times = (*repeats)[i];
    if (times.constant() && *times.constant() < 0)
      return b.error("its repeats are negative");
    split.append({DimExpr(1), input.dims[i]});
    repeated.append({times, input.dims[i]});
    dims.push_back(times * input.dims[i]);
  }
  if (dims == input.dims)
    return b.forward(0);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  Value value = b.view(*data, split);
  value = b.create<BroadcastOp>(repeated, input.element, value,
                                b.dimsAttr(repeated));
  return b.setData(b.view(value, dims), dims);
}

} // namespace

void registerViewOps(OpTable &table) {
  table.add("Reshape", importReshape);
  table.add("Flatten", importFlatten);
  table.add("Squeeze", importSqueeze);
  table.add("Unsqueeze", importUnsqueeze);
  table.add("Transpose", importTranspose);
  table.add("Expand", importExpand);
  table.add("Tile", importTile);
}

} // namespace ferrite::frontend
