//===- LinearAttention.cpp - Attention through a state --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

LogicalResult ferrite::reference::evaluateLinearAttention(LinearAttentionOp op,
                                                          Frame &frame,
                                                          Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &key = frame[op.getKey()];
  const Tensor &value = frame[op.getValue()];
  int64_t batch = query.dim(0), tokens = query.dim(1), heads = key.dim(2);
  int64_t depth = key.dim(3), columns = value.dim(3);
  int64_t group = query.dim(2) / heads, rows = tokens * group + depth;
  auto optional = [&](Value v) { return v ? &frame[v] : nullptr; };
  const Tensor *decay = optional(op.getDecay()), *beta = optional(op.getBeta());
  const Tensor *first = optional(op.getState());
  for (const Tensor *each : {&key, &value, decay, beta})
    if (each && (failed(expectSize(op, "the batch", each->dim(0), batch)) ||
                 failed(expectSize(op, "the tokens", each->dim(1), tokens))))
      return failure();
  if (first && failed(expectSize(op, "states", first->dim(0), batch)))
    return failure();
  double scale = op.getScale().convertToDouble();
  std::vector<double> state(depth * columns), write(columns);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < depth * columns; ++i)
        state[i] =
            first ? first->number((b * heads + h) * depth * columns + i) : 0;
      for (int64_t t = 0; t < tokens; ++t) {
        int64_t token = b * tokens + t, head = token * heads + h;
        for (int64_t i = 0; decay && i < depth; ++i)
          for (int64_t j = 0; j < columns; ++j)
            state[i * columns + j] *=
                decay->number(decay->dim(3) == 1 ? head : head * depth + i);
        for (int64_t j = 0; j < columns; ++j) {
          write[j] = value.number(head * columns + j);
          if (!beta)
            continue;
          for (int64_t i = 0; i < depth; ++i)
            write[j] -= state[i * columns + j] * key.number(head * depth + i);
          write[j] *= beta->number(beta->dim(2) == 1 ? token : head);
        }
        for (int64_t i = 0; i < depth; ++i)
          for (int64_t j = 0; j < columns; ++j)
            state[i * columns + j] += key.number(head * depth + i) * write[j];
        for (int64_t g = 0; g < group; ++g)
          for (int64_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (int64_t i = 0; i < depth; ++i)
              sum += state[i * columns + j] *
                     query.number((head * group + g) * depth + i);
            int64_t row = (b * heads + h) * rows + t * group + g;
            out.setNumber(row * columns + j, scale * sum);
          }
      }
      int64_t last = ((b * heads + h) * rows + tokens * group) * columns;
      for (int64_t i = 0; i < depth * columns; ++i)
        out.setNumber(last + i, state[i]);
    }
  return success();
}
