//===- Rope.cpp - Rotary position embedding -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

LogicalResult ferrite::reference::evaluateRope(RopeOp op, Frame &frame,
                                               Tensor &out) {
  const Tensor &in = frame[op.getInput()], &cos = frame[op.getCos()];
  const Tensor &sin = frame[op.getSin()];
  int64_t batch = in.dim(0), tokens = in.dim(1), heads = in.dim(2);
  int64_t size = in.dim(3), half = cos.dim(2);
  for (const Tensor *table : {&cos, &sin})
    if ((table->dim(0) != 1 && failed(expectSize(op, "the batch of a table",
                                                 table->dim(0), batch))) ||
        (table->dim(1) != 1 && failed(expectSize(op, "the tokens of a table",
                                                 table->dim(1), tokens))) ||
        failed(expectSize(op, "half of what is rotated", table->dim(2), half)))
      return failure();
  if (2 * half > size)
    return op.emitError("rotates ") << 2 * half << " of " << size;
  auto number = [&](const Tensor &table, int64_t b, int64_t s, int64_t i) {
    int64_t row = (table.dim(0) == 1 ? 0 : b) * table.dim(1) +
                  (table.dim(1) == 1 ? 0 : s);
    return table.number(row * half + i);
  };
  for (int64_t row = 0; row < batch * tokens * heads; ++row) {
    int64_t b = row / heads / tokens, s = row / heads % tokens;
    for (int64_t i = 0; i < half; ++i) {
      int64_t first = row * size + (op.getInterleaved() ? 2 * i : i);
      int64_t second = first + (op.getInterleaved() ? 1 : half);
      double x1 = in.number(first), x2 = in.number(second);
      double c = number(cos, b, s, i), r = number(sin, b, s, i);
      out.setNumber(first, x1 * c - x2 * r);
      out.setNumber(second, x2 * c + x1 * r);
    }
    for (int64_t d = 2 * half; d < size; ++d)
      out.setNumber(row * size + d, in.number(row * size + d));
  }
  return success();
}
