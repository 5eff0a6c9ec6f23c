//===- Experts.cpp - Each row times its expert's matrix -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <algorithm>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
/// The elements of the experts' matrices, packed or not.
struct Matrices {
  const Tensor &weight;
  const Tensor *scales, *zeroPoints;
  int64_t bits, block, depth, columns;

  /// Unsigned value `i` of a row of packed ones.
  int64_t packed(const Tensor &tensor, int64_t row, int64_t i) const {
    int64_t perByte = 8 / bits;
    int64_t byte = tensor.integer(row * tensor.shape().back() + i / perByte);
    return byte >> (i % perByte * bits) & ((1 << bits) - 1);
  }
  double at(int64_t expert, int64_t h, int64_t n) const {
    if (bits == 0)
      return weight.number((expert * depth + h) * columns + n);
    int64_t row = expert * columns + n, group = h / block;
    int64_t zero =
        zeroPoints ? packed(*zeroPoints, row, group) : int64_t(1) << (bits - 1);
    return static_cast<float>(packed(weight, row, h) - zero) *
           scales->number(row * scales->shape().back() + group);
  }
};
} // namespace

LogicalResult ferrite::reference::evaluateExpertLinear(ExpertLinearOp op,
                                                       Frame &frame,
                                                       Tensor &out) {
  auto optional = [&](Value value) { return value ? &frame[value] : nullptr; };
  const Tensor &in = frame[op.getInput()], &experts = frame[op.getExperts()],
               &weight = frame[op.getWeight()], *bias = optional(op.getBias());
  int64_t tokens = out.dim(0), choices = out.dim(1), columns = out.dim(2),
          depth = in.dim(2);
  if (failed(expectSize(op, "the tokens", in.dim(0), tokens)) ||
      (in.dim(1) != 1 &&
       failed(expectSize(op, "the choices", in.dim(1), choices))))
    return failure();
  Matrices matrices{weight,
                    optional(op.getScales()),
                    optional(op.getZeroPoints()),
                    static_cast<int64_t>(op.getBits()),
                    static_cast<int64_t>(op.getBlock()),
                    depth,
                    columns};
  parallelRanges(
      tokens * choices, frame.threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          int64_t expert =
              std::clamp<int64_t>(experts.integer(row), 0, weight.dim(0) - 1);
          int64_t from = in.dim(1) == 1 ? row / choices : row;
          for (int64_t n = 0; n < columns; ++n) {
            double sum = 0;
            for (int64_t h = 0; h < depth; ++h)
              sum += in.number(from * depth + h) * matrices.at(expert, h, n);
            if (bias)
              sum += bias->number(expert * columns + n);
            out.setNumber(row * columns + n, sum);
          }
        }
      });
  return success();
}
