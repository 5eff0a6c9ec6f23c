//===- SequenceOps.cpp - Sequences and optional values --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A sequence is a list of values at import and nothing afterwards: its length
// and the positions that are read must be known. A loop that is unrolled may
// carry one.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ControlFlow.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

using Elements = std::vector<TensorValue>;

LogicalResult setSequence(OpBinder &b, Elements elements) {
  TensorValue value = b.makeValue(nullptr, {});
  value.sequence = std::make_shared<const Elements>(std::move(elements));
  b.setResult(std::move(value));
  return success();
}

FailureOr<Elements> getSequence(OpBinder &b, unsigned i) {
  if (!b.hasInput(i) || !b.input(i).sequence)
    return b.error("its input " + Twine(i) + " is no sequence");
  return *b.input(i).sequence;
}

/// Tensor input `i`, made data: an element is read any number of times.
FailureOr<TensorValue> getTensor(OpBinder &b, unsigned i) {
  if (!b.hasInput(i) || !b.input(i).isTensor())
    return b.error("its input " + Twine(i) + " is no tensor");
  TensorValue &value = b.input(i);
  if (!value.contents && !value.floats && failed(b.data(i)))
    return failure();
  return value;
}

/// The position that input `i` says, or `otherwise` where there is none.
FailureOr<int64_t> getPosition(OpBinder &b, unsigned i, int64_t size,
                               int64_t otherwise) {
  if (!b.hasInput(i))
    return otherwise;
  if (failed(getTensor(b, i)))
    return failure();
  auto at = b.integers(i, "position");
  if (failed(at))
    return failure();
  if (at->size() != 1 || at->front() < -size || at->front() > size)
    return b.error("its position is outside of a sequence of " + Twine(size));
  return at->front() < 0 ? at->front() + size : at->front();
}

LogicalResult importConstruct(OpBinder &b) {
  Elements elements;
  for (unsigned i = 0; i < b.numInputs(); ++i) {
    FailureOr<TensorValue> element = getTensor(b, i);
    if (failed(element))
      return failure();
    elements.push_back(*element);
  }
  return setSequence(b, std::move(elements));
}

LogicalResult importEmpty(OpBinder &b) {
  b.intAttr("dtype", 0); // elements bring their own
  return setSequence(b, {});
}

LogicalResult importInsert(OpBinder &b) {
  FailureOr<Elements> elements = getSequence(b, 0);
  FailureOr<TensorValue> added = failure();
  if (failed(elements) || failed(added = getTensor(b, 1)))
    return failure();
  auto size = static_cast<int64_t>(elements->size());
  FailureOr<int64_t> at = getPosition(b, 2, size, size);
  if (failed(at))
    return failure();
  elements->insert(elements->begin() + *at, *added);
  return setSequence(b, std::move(*elements));
}

LogicalResult importErase(OpBinder &b) {
  FailureOr<Elements> elements = getSequence(b, 0);
  if (failed(elements))
    return failure();
  auto size = static_cast<int64_t>(elements->size());
  FailureOr<int64_t> at = getPosition(b, 1, size, size - 1);
  if (failed(at))
    return failure();
  if (*at < 0 || *at >= size)
    return b.error("its position is outside of a sequence of " + Twine(size));
  elements->erase(elements->begin() + *at);
  return setSequence(b, std::move(*elements));
}

LogicalResult importAt(OpBinder &b) {
  FailureOr<Elements> elements = getSequence(b, 0);
  if (failed(elements))
    return failure();
  auto size = static_cast<int64_t>(elements->size());
  FailureOr<int64_t> at = getPosition(b, 1, size, 0);
  if (failed(at))
    return failure();
  if (*at >= size)
    return b.error("its position is outside of a sequence of " + Twine(size));
  b.setResult((*elements)[*at]);
  return success();
}

LogicalResult importLength(OpBinder &b) {
  FailureOr<Elements> elements = getSequence(b, 0);
  if (failed(elements))
    return failure();
  return b.setContents({DimExpr(int64_t(elements->size()))},
                       b.builder().getI64Type(), {});
}

LogicalResult importConcat(OpBinder &b) {
  FailureOr<Elements> elements = getSequence(b, 0);
  if (failed(elements))
    return failure();
  int64_t axis = b.intAttr("axis", 0);
  return b.intAttr("new_axis", 0) ? stackParts(b, *elements, axis, 0)
                                  : joinParts(b, *elements, axis, 0);
}

/// The sizes of the parts that input 1 says: of a scalar, equal ones.
FailureOr<std::vector<int64_t>> getSplit(OpBinder &b, int64_t size) {
  if (!b.hasInput(1))
    return std::vector<int64_t>(size, 1);
  if (failed(getTensor(b, 1)))
    return failure();
  auto split = b.integers(1, "split");
  if (failed(split))
    return failure();
  bool isEqual = b.input(1).rank() == 0;
  std::vector<int64_t> sizes = isEqual ? std::vector<int64_t>() : *split;
  if (isEqual) {
    int64_t part = split->front();
    for (int64_t left = size; part > 0 && left > 0; left -= part)
      sizes.push_back(std::min(part, left));
  }
  int64_t sum = 0;
  for (int64_t part : sizes) {
    if (part < 0 || part > size - sum)
      return b.error("its parts do not make up the " + Twine(size) +
                     " that it splits");
    sum += part;
  }
  if (sum != size)
    return b.error("its parts do not make up the " + Twine(size) +
                   " that it splits");
  return sizes;
}

LogicalResult importSplit(OpBinder &b) {
  if (failed(getTensor(b, 0)))
    return failure();
  bool keepDims = b.intAttr("keepdims", 1) != 0 || b.hasInput(1);
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", 0), b.input(0).rank());
  if (failed(axis))
    return failure();
  DimExpr length = b.input(0).dims[*axis];
  if (!length.constant() || *length.constant() > 4096)
    return b.unsupported("it splits " + length.str() +
                         " elements; Ferrite needs a known number of at most "
                         "4096");
  auto sizes = getSplit(b, *length.constant());
  if (failed(sizes))
    return failure();
  Elements elements;
  int64_t at = 0;
  for (int64_t size : *sizes) {
    FailureOr<TensorValue> part =
        keepDims ? takeRange(b, b.input(0), *axis, at, size)
                 : takePart(b, b.input(0), *axis, at);
    if (failed(part))
      return failure();
    elements.push_back(*part);
    at += size;
  }
  return setSequence(b, std::move(elements));
}

//===----------------------------------------------------------------------===//
// Optional
//===----------------------------------------------------------------------===//

LogicalResult importOptional(OpBinder &b) {
  b.find("type"); // values bring their own
  if (b.hasInput(0)) {
    TensorValue &value = b.input(0);
    return value.isTensor() ? b.forward(0) : (b.setResult(value), success());
  }
  TensorValue value = b.makeValue(nullptr, {});
  value.isNone = true;
  b.setResult(std::move(value));
  return success();
}

LogicalResult importHasElement(OpBinder &b) {
  bool has = b.hasInput(0) && !b.input(0).isNone;
  return b.setContents({DimExpr(has)}, b.builder().getI1Type(), {});
}

LogicalResult importGetElement(OpBinder &b) {
  if (!b.hasInput(0) || b.input(0).isNone)
    return b.error("it reads an optional value that is none");
  return importOptional(b);
}

} // namespace

void registerSequenceOps(OpTable &table) {
  table.addForSequences("SequenceConstruct", importConstruct);
  table.addForSequences("SequenceEmpty", importEmpty);
  table.addForSequences("SequenceInsert", importInsert);
  table.addForSequences("SequenceErase", importErase);
  table.addForSequences("SequenceAt", importAt);
  table.addForSequences("SequenceLength", importLength);
  table.addForSequences("ConcatFromSequence", importConcat);
  table.addForSequences("SplitToSequence", importSplit);
  table.addForSequences("Optional", importOptional);
  table.addForSequences("OptionalHasElement", importHasElement);
  table.addForSequences("OptionalGetElement", importGetElement);
}

} // namespace ferrite::frontend
