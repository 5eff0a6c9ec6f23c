//===- Windows.cpp - Windows and borders ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

LogicalResult ferrite::reference::evaluateWindows(WindowsOp op, Frame &frame,
                                                  Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  int64_t axis = op.getAxis(), count = out.dim(axis);
  int64_t last, reach, end;
  if (out.count() > 0 &&
      (llvm::MulOverflow(count - 1, op.getStep(), last) ||
       llvm::MulOverflow(op.getSize() - 1, op.getDilation(), reach) ||
       llvm::AddOverflow(last, reach, end) || end >= in.dim(axis)))
    return op.emitError("takes ")
           << count << " windows of a dim of " << in.dim(axis);
  Sizes strides = stridesOf(in.shape());
  int64_t stride = strides[axis];
  strides[axis] = stride * op.getStep();
  strides.insert(strides.begin() + axis + 1, stride * op.getDilation());
  for (int64_t i = 0; i < in.rank(); ++i)
    if (i != axis && failed(expectSize(op, "a dim", in.dim(i),
                                       out.dim(i < axis ? i : i + 1))))
      return failure();
  int64_t bytes = bytesOf(out.kind());
  char *to = out.mutableData();
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    walkStrided(out.shape(), strides, begin, end,
                [&](int64_t at, const Sizes &offsets) {
                  std::memcpy(to + at * bytes, in.data() + offsets[0] * bytes,
                              bytes);
                });
  });
  return success();
}

LogicalResult ferrite::reference::evaluatePad(PadOp op, Frame &frame,
                                              Tensor &out) {
  const Tensor &in = frame[op.getInput()], &value = frame[op.getValue()];
  FailureOr<Sizes> low = frame.sizes(op, op.getLow());
  if (failed(low))
    return failure();
  Sizes strides = stridesOf(out.shape());
  int64_t offset = 0, bytes = bytesOf(out.kind());
  for (int64_t i = 0; i < in.rank(); ++i) {
    if ((*low)[i] < 0 || in.dim(i) > out.dim(i) - (*low)[i])
      return op.emitError("has ") << in.dim(i) << " behind " << (*low)[i]
                                  << " in a dim of " << out.dim(i);
    offset += (*low)[i] * strides[i];
  }
  char *to = out.mutableData();
  for (int64_t i = 0; i < out.count(); ++i)
    std::memcpy(to + i * bytes, value.data(), bytes);
  walkStrided(in.shape(), strides, 0, in.count(),
              [&](int64_t at, const Sizes &offsets) {
                std::memcpy(to + (offset + offsets[0]) * bytes,
                            in.data() + at * bytes, bytes);
              });
  return success();
}
