//===- Movement.cpp - Elements under other positions ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

/// out = the elements of `from` at `offset` + strides, in the order of `out`.
static void copyStrided(const Tensor &from, int64_t offset,
                        const Sizes &strides, Frame &frame, Tensor &out) {
  int64_t bytes = bytesOf(out.kind());
  char *to = out.mutableData();
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    walkStrided(out.shape(), strides, begin, end,
                [&](int64_t at, const Sizes &offsets) {
                  std::memcpy(to + at * bytes,
                              from.data() + (offset + offsets[0]) * bytes,
                              bytes);
                });
  });
}

LogicalResult ferrite::reference::evaluateTranspose(TransposeOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Sizes own = stridesOf(in.shape()), strides;
  for (auto [i, dim] : llvm::enumerate(op.getPerm())) {
    if (failed(expectSize(op, "a dim", out.dim(i), in.dim(dim))))
      return failure();
    strides.push_back(own[dim]);
  }
  copyStrided(in, 0, strides, frame, out);
  return success();
}

LogicalResult ferrite::reference::evaluateBroadcast(BroadcastOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  FailureOr<Sizes> strides = broadcastStrides(op, in, out.shape());
  if (failed(strides))
    return failure();
  copyStrided(in, 0, *strides, frame, out);
  return success();
}

LogicalResult ferrite::reference::evaluateSlice(SliceOp op, Frame &frame,
                                                Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  FailureOr<Sizes> offsets = frame.sizes(op, op.getOffsets());
  if (failed(offsets))
    return failure();
  Sizes own = stridesOf(in.shape()), strides;
  int64_t offset = 0;
  for (int64_t i = 0; i < in.rank(); ++i) {
    int64_t first = (*offsets)[i], step = op.getSteps()[i];
    int64_t last = first + step * (out.dim(i) - 1);
    if (out.dim(i) > 0 &&
        (std::min(first, last) < 0 || std::max(first, last) >= in.dim(i)))
      return op.emitError("takes ")
             << first << " to " << last << " of a dim of " << in.dim(i);
    offset += first * own[i];
    strides.push_back(own[i] * step);
  }
  copyStrided(in, offset, strides, frame, out);
  return success();
}

LogicalResult ferrite::reference::evaluateConcat(ConcatOp op, Frame &frame,
                                                 Tensor &out) {
  // A row of the result is the rows of the inputs, one after the other.
  int64_t axis = op.getAxis(), bytes = bytesOf(out.kind()), total = 0;
  for (Value value : op.getInputs()) {
    const Tensor &in = frame[value];
    for (int64_t i = 0; i < in.rank(); ++i)
      if (i != axis && failed(expectSize(op, "a dim", in.dim(i), out.dim(i))))
        return failure();
    total += in.dim(axis);
  }
  if (failed(expectSize(op, "the axis", total, out.dim(axis))))
    return failure();
  if (out.count() == 0)
    return success();
  int64_t rows = *countOf(out.shape().take_front(axis));
  int64_t outRow = out.bytes() / rows, done = 0;
  for (Value value : op.getInputs()) {
    const Tensor &in = frame[value];
    int64_t row = in.count() / rows * bytes;
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(out.mutableData() + i * outRow + done, in.data() + i * row,
                  row);
    done += row;
  }
  return success();
}

LogicalResult ferrite::reference::evaluateIota(IotaOp op, Frame &,
                                               Tensor &out) {
  for (int64_t i = 0; i < out.count(); ++i)
    out.setInteger(i, op.getStart() + op.getStep() * i);
  return success();
}

LogicalResult ferrite::reference::evaluateDimValues(DimValuesOp op,
                                                    Frame &frame, Tensor &out) {
  FailureOr<Sizes> values = frame.sizes(op, op.getValues());
  if (failed(values))
    return failure();
  for (auto [i, value] : llvm::enumerate(*values))
    out.setInteger(i, value);
  return success();
}

LogicalResult ferrite::reference::evaluateCumSum(CumSumOp op, Frame &frame,
                                                 Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  int64_t size = in.dim(op.getAxis()),
          step = stridesOf(in.shape())[op.getAxis()];
  if (in.count() == 0)
    return success();
  for (int64_t line = 0; line < in.count() / size; ++line) {
    int64_t first = line / step * step * size + line % step;
    double number = 0;
    uint64_t integer = 0; // sums wrap
    for (int64_t i = 0; i < size; ++i) {
      int64_t at = first + (op.getReverse() ? size - 1 - i : i) * step;
      double x = isFloat(in.kind()) ? in.number(at) : 0;
      int64_t n = isFloat(in.kind()) ? 0 : in.integer(at);
      if (!op.getExclusive()) {
        number += x;
        integer += n;
      }
      if (isFloat(in.kind()))
        out.setNumber(at, number);
      else
        out.setInteger(at, integer);
      if (op.getExclusive()) {
        number += x;
        integer += n;
      }
    }
  }
  return success();
}
