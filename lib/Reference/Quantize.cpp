//===- Quantize.cpp - Between numbers and few bits ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
/// Where the scale of an element is.
struct ScaleIndex {
  int64_t axisSize = 1, inner = 1, block = 0, blocks = 1;
  bool isOne = true;

  int64_t operator()(int64_t i) const {
    if (isOne)
      return 0;
    int64_t row = i / inner, at = row % axisSize;
    if (block == 0)
      return at;
    return (row / axisSize * blocks + at / block) * inner + i % inner;
  }
};
} // namespace

template <typename OpTy>
static FailureOr<ScaleIndex> indexOf(OpTy op, const Tensor &input,
                                     const Tensor &scale) {
  ScaleIndex index;
  if (scale.rank() == 0)
    return index;
  int64_t axis = op.getAxis();
  index.isOne = false;
  index.axisSize = input.dim(axis);
  index.block = op.getBlock();
  for (int64_t i = axis + 1; i < input.rank(); ++i)
    index.inner *= input.dim(i);
  if (index.block == 0) {
    if (failed(expectSize(op, "the scales", scale.dim(0), index.axisSize)))
      return failure();
    return index;
  }
  index.blocks = scale.dim(axis);
  for (int64_t i = 0; i < input.rank(); ++i) {
    int64_t expected = i == axis ? llvm::divideCeil(index.axisSize, index.block)
                                 : input.dim(i);
    if (failed(expectSize(op, "the scales", scale.dim(i), expected)))
      return failure();
  }
  return index;
}

LogicalResult ferrite::reference::evaluateQuantize(QuantizeOp op, Frame &frame,
                                                   Tensor &out) {
  const Tensor &input = frame[op.getInput()], &scale = frame[op.getScale()];
  const Tensor *zero = op.getZeroPoint() ? &frame[op.getZeroPoint()] : nullptr;
  FailureOr<ScaleIndex> index = indexOf(op, input, scale);
  if (failed(index))
    return failure();
  Kind precision = *kindOf(op.getPrecision());
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = (*index)(i);
      out.setElement(i, quantizeElement(input.kind(), input.element(i),
                                        scale.kind(), scale.element(at),
                                        out.kind(),
                                        zero ? zero->element(at) : Element(),
                                        precision, op.getOverflows()));
    }
  });
  return success();
}

LogicalResult ferrite::reference::evaluateDequantize(DequantizeOp op,
                                                     Frame &frame,
                                                     Tensor &out) {
  const Tensor &input = frame[op.getInput()], &scale = frame[op.getScale()];
  const Tensor *zero = op.getZeroPoint() ? &frame[op.getZeroPoint()] : nullptr;
  FailureOr<ScaleIndex> index = indexOf(op, input, scale);
  if (failed(index))
    return failure();
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = (*index)(i);
      if (op.getCodes()) {
        out.setNumber(i, dequantizeCode(*op.getCodes(), input.element(i),
                                        scale.asDouble(at)));
        continue;
      }
      out.setNumber(i, dequantizeElement(input.kind(), input.element(i),
                                         zero ? zero->kind() : input.kind(),
                                         zero ? zero->element(at) : Element(),
                                         scale.asDouble(at)));
    }
  });
  return success();
}
