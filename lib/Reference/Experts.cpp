//===- Experts.cpp - Each row times its expert's matrix -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <algorithm>
#include <numeric>

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
  std::vector<int64_t> chosen(tokens * choices);
  for (auto [i, expert] : llvm::enumerate(chosen)) {
    FailureOr<int64_t> row =
        rowOf(op, op.getExperts(), experts.integer(i), weight.dim(0));
    if (failed(row))
      return failure();
    expert = *row;
  }
  parallelRanges(
      tokens * choices, frame.threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          int64_t expert = chosen[row];
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

//===--- sorted by expert -------------------------------------------------===//

LogicalResult ferrite::reference::evaluateRoute(RouteOp op, Frame &frame,
                                                Tensor &out) {
  const Tensor &experts = frame[op.getExperts()];
  int64_t slots = experts.dim(0), groups = op.getGroups(), most = op.getChunk();
  if (failed(expectSize(op, "the result", out.dim(0), 4 * slots)))
    return failure();
  std::vector<int64_t> group(slots), order(slots);
  for (int64_t slot = 0; slot < slots; ++slot) {
    FailureOr<int64_t> row =
        rowOf(op, op.getExperts(), experts.integer(slot), groups);
    if (failed(row))
      return failure();
    group[slot] = *row;
  }
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return group[a] < group[b]; });
  for (int64_t place = 0; place < slots; ++place)
    out.setInteger(3 * slots + place, order[place]);
  int64_t chunks = 0;
  for (int64_t begin = 0, rows; begin < slots; begin += rows, ++chunks) {
    for (rows = 1; rows < most && begin + rows < slots &&
                   group[order[begin + rows]] == group[order[begin]];)
      ++rows;
    out.setInteger(3 * chunks, group[order[begin]]);
    out.setInteger(3 * chunks + 1, begin);
    out.setInteger(3 * chunks + 2, rows);
  }
  return success();
}

LogicalResult ferrite::reference::evaluateGroupedLinear(GroupedLinearOp op,
                                                        Frame &frame,
                                                        Tensor &out) {
  auto optional = [&](Value value) { return value ? &frame[value] : nullptr; };
  const Tensor &in = frame[op.getInput()], &weight = frame[op.getWeight()],
               &route = frame[op.getRoute()], *bias = optional(op.getBias()),
               *scales = optional(op.getScales()),
               *zeros = optional(op.getZeroPoints());
  int64_t slots = out.dim(0), columns = out.dim(1), depth = in.dim(1),
          share = op.getShare(), bits = op.getBits(), block = op.getBlock();
  if (failed(expectSize(op, "the rows", in.dim(0) * share, slots)) ||
      failed(expectSize(op, "the route", route.dim(0), 4 * slots)))
    return failure();
  // Element (group, i, n) of packed values.
  auto packed = [&](const Tensor &tensor, int64_t group, int64_t i,
                    int64_t n) -> int64_t {
    int64_t perByte = 8 / bits;
    int64_t byte =
        tensor.integer((group * tensor.dim(1) + i / perByte) * columns + n);
    return byte >> (i % perByte * bits) & ((1 << bits) - 1);
  };
  auto element = [&](int64_t group, int64_t h, int64_t n) -> double {
    if (bits == 0)
      return weight.number((group * depth + h) * columns + n);
    int64_t zero =
        zeros ? packed(*zeros, group, h / block, n) : int64_t(1) << (bits - 1);
    return static_cast<float>(packed(weight, group, h, n) - zero) *
           scales->number((group * scales->dim(1) + h / block) * columns + n);
  };
  for (int64_t chunk = 0; chunk < slots; ++chunk) {
    int64_t group = route.integer(3 * chunk),
            begin = route.integer(3 * chunk + 1),
            rows = route.integer(3 * chunk + 2);
    if (rows == 0)
      break;
    if (group < 0 || group >= weight.dim(0) || begin < 0 || rows < 0 ||
        rows > slots - begin)
      return op.emitError("expects a route of its slots, but chunk ")
             << chunk << " has " << rows << " rows from " << begin
             << " of group " << group;
    for (int64_t place = begin; place < begin + rows; ++place) {
      int64_t slot = route.integer(3 * slots + place);
      if (slot < 0 || slot >= slots)
        return op.emitError("expects a route of its slots, but got slot ")
               << slot;
      for (int64_t n = 0; n < columns; ++n) {
        double sum = 0;
        for (int64_t h = 0; h < depth; ++h)
          sum += in.number(slot / share * depth + h) * element(group, h, n);
        if (bias)
          sum += bias->number(group * columns + n);
        out.setNumber(slot * columns + n, sum);
      }
    }
  }
  return success();
}
