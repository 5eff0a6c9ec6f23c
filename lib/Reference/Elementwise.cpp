//===- Elementwise.cpp - One point in, one point out ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Elements.h says what each op makes of an element.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

LogicalResult ferrite::reference::evaluateElementwise(Operation *op,
                                                      Frame &frame,
                                                      Tensor &out) {
  SmallVector<const Tensor *> in;
  SmallVector<Sizes> strides;
  for (Value operand : op->getOperands()) {
    in.push_back(&frame[operand]);
    FailureOr<Sizes> stride = broadcastStrides(op, *in.back(), out.shape());
    if (failed(stride))
      return failure();
    strides.push_back(*stride);
  }
  ElementFunction function = ElementFunction::of(op);
  if (!function || in.size() > 3)
    return op->emitError("the reference evaluator does not know ")
           << op->getName();
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    walkStrided(out.shape(), strides, begin, end,
                [&](int64_t at, const Sizes &offsets) {
                  Element elements[3];
                  for (size_t i = 0; i < in.size(); ++i)
                    elements[i] = in[i]->element(offsets[i]);
                  out.setElement(at, function(elements));
                });
  });
  return success();
}
