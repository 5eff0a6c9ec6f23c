//===- Attention.cpp - Attention, key by key ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// As the op's formula reads, in doubles; scores are rounded to f32 where the
// kernels keep them.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

// Positions and windows beyond this are as good as unbounded; sums of a few
// stay far from overflow.
static constexpr int64_t kFar = int64_t(1) << 60;

static int64_t clampFar(int64_t position) {
  return std::max(-kFar, std::min(kFar, position));
}

namespace {
/// What a score meets, besides its product.
struct Scores {
  AttentionOp op;
  const Tensor *mask = nullptr, *bias = nullptr;
  Sizes maskSteps, biasSteps;
  double scale, fill, softcap, windowFill;
  bool joined;

  /// The score of `dot`, whose key is in the window or not.
  double operator()(double dot, int64_t b, int64_t h, int64_t i, int64_t j,
                    bool inside) const {
    // Scores are f32: a fill of -1e4 leaves fewer digits of what it is added
    // to.
    double score = static_cast<float>(scale * dot);
    if (softcap > 0)
      score = softcap * std::tanh(score / softcap);
    if (bias)
      score += bias->number(b * biasSteps[0] + h * biasSteps[1] +
                            i * biasSteps[2] + j * biasSteps[3]);
    double outside = inside || joined ? 0 : windowFill;
    if (!mask)
      return static_cast<float>(score + outside);
    int64_t at = maskSteps.size() == 2
                     ? b * maskSteps[0] + j * maskSteps[1]
                     : b * maskSteps[0] + h * maskSteps[1] + i * maskSteps[2] +
                           j * maskSteps[3];
    bool keeps = mask->integer(at) && (inside || !joined);
    float kept = static_cast<float>(keeps ? score : score + fill);
    return static_cast<float>(kept + outside);
  }
};
} // namespace

/// The element of a [batch] or [1] operand, or `none`.
static int64_t ofBatch(const Tensor *tensor, int64_t batch, int64_t none) {
  return tensor ? clampFar(tensor->integer(tensor->count() == 1 ? 0 : batch))
                : none;
}

namespace {
/// Which blocks of keys a query of a head sees.
class BlockLists {
public:
  BlockLists(AttentionOp op, Frame &frame) : size(op.getBlock()) {
    if (size == 0)
      return;
    rows = &frame[op.getBlockRows()];
    columns = &frame[op.getBlockColumns()];
  }

  /// The kept blocks of a row of queries, of `blocks`; empty: all.
  std::vector<bool> of(int64_t b, int64_t h, int64_t at, int64_t blocks) const {
    if (size == 0 || at < 0)
      return {};
    int64_t layouts = rows->dim(1), row = at / size, ends = rows->dim(2);
    auto listOf = [&](const Tensor &tensor) {
      return ((tensor.dim(0) == 1 ? 0 : b) * layouts + h % layouts) *
             tensor.dim(2);
    };
    if (row + 1 >= ends)
      return {};
    int64_t first = rows->integer(listOf(*rows) + row),
            end = rows->integer(listOf(*rows) + row + 1);
    if (first < 0 || end > columns->dim(2))
      return {};
    std::vector<bool> kept(blocks);
    bool isAny = false;
    for (int64_t entry = first; entry < end; ++entry) {
      int64_t column = columns->integer(listOf(*columns) + entry);
      if (column >= 0 && column < blocks)
        isAny = kept[column] = true;
    }
    return isAny ? kept : std::vector<bool>();
  }

  int64_t size;

private:
  const Tensor *rows = nullptr, *columns = nullptr;
};
} // namespace

/// The operand as a row of `size`, or of 1; null where it is absent.
static FailureOr<const Tensor *> rowOperand(AttentionOp op, Value value,
                                            Frame &frame, int64_t size) {
  if (!value)
    return static_cast<const Tensor *>(nullptr);
  const Tensor &tensor = frame[value];
  if (tensor.count() != 1 &&
      failed(expectSize(op, "a row of the attention", tensor.count(), size)))
    return failure();
  return &tensor;
}

LogicalResult ferrite::reference::evaluateAttention(AttentionOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &key = frame[op.getKey()];
  const Tensor &value = frame[op.getValue()];
  int64_t batch = query.dim(0), queries = query.dim(1), heads = query.dim(2),
          size = query.dim(3);
  int64_t keys = key.dim(1), keyHeads = key.dim(2), width = value.dim(3);
  if (keyHeads == 0 || heads % keyHeads != 0)
    return op.emitError("heads of keys, ")
           << keyHeads << ", do not divide " << heads;
  Sizes keyShape = {batch, keys, keyHeads, size},
        valueShape = {batch, keys, keyHeads, width};
  Sizes outShape = {batch, queries, heads, width};
  for (int i = 0; i < 4; ++i)
    if (failed(expectSize(op, "a dim of the key", key.dim(i), keyShape[i])) ||
        failed(expectSize(op, "a dim of the value", value.dim(i),
                          valueShape[i])) ||
        failed(expectSize(op, "a dim of the result", out.dim(i), outShape[i])))
      return failure();
  FailureOr<const Tensor *> offsets =
      rowOperand(op, op.getOffsets(), frame, batch);
  FailureOr<const Tensor *> lengths =
      rowOperand(op, op.getLengths(), frame, batch);
  FailureOr<const Tensor *> sinks = rowOperand(op, op.getSinks(), frame, heads);
  FailureOr<const Tensor *> prefix =
      rowOperand(op, op.getPrefix(), frame, batch);
  FailureOr<Sizes> offset = frame.sizes(op, {op.getOffsetExpr()});
  if (failed(offsets) || failed(lengths) || failed(sinks) || failed(prefix) ||
      failed(offset))
    return failure();
  const Tensor *querySegments = nullptr, *keySegments = nullptr;
  if (op.getQuerySegments()) {
    querySegments = &frame[op.getQuerySegments()];
    keySegments = &frame[op.getKeySegments()];
    if (failed(expectSize(op, "the segments of queries", querySegments->count(),
                          batch * queries)) ||
        failed(expectSize(op, "the segments of keys", keySegments->count(),
                          batch * keys)))
      return failure();
  }

  Scores scores = {};
  scores.op = op;
  scores.scale = op.getScale().convertToDouble();
  scores.fill = op.getFill().convertToDouble();
  scores.softcap = op.getSoftcap().convertToDouble();
  scores.windowFill = op.getWindowFill().convertToDouble();
  scores.joined = op.getJoined();
  auto bind = [&](Value from, const Tensor *&tensor, Sizes &steps) {
    if (!from)
      return success();
    tensor = &frame[from];
    FailureOr<Sizes> found = broadcastStrides(
        op, *tensor,
        tensor->rank() == 2 ? Sizes{batch, keys}
                            : Sizes{batch, heads, queries, keys});
    if (succeeded(found))
      steps = *found;
    return LogicalResult(found);
  };
  if (failed(bind(op.getMask(), scores.mask, scores.maskSteps)) ||
      failed(bind(op.getBias(), scores.bias, scores.biasSteps)))
    return failure();

  BlockLists lists(op, frame);
  int64_t group = heads / keyHeads;
  int64_t left = op.getLeft(), right = op.getRight(),
          chunk = clampFar(op.getChunk());
  parallelFor(batch * heads, frame.threads, [&](int64_t task) {
    int64_t b = task / heads, h = task % heads, kh = h / group;
    int64_t length = std::min(keys, ofBatch(*lengths, b, keys));
    int64_t start = clampFar((*offset)[0]) + ofBatch(*offsets, b, 0);
    // The keys and values of one head, as doubles.
    std::vector<double> k(keys * size), v(keys * width), q(size), p(keys),
        sum(width);
    for (int64_t j = 0; j < keys; ++j) {
      key.readAll(((b * keys + j) * keyHeads + kh) * size, size, &k[j * size]);
      value.readAll(((b * keys + j) * keyHeads + kh) * width, width,
                    &v[j * width]);
    }
    for (int64_t i = 0; i < queries; ++i) {
      query.readAll(((b * queries + i) * heads + h) * size, size, q.data());
      double most = *sinks ? (*sinks)->number(h) : -INFINITY, total = 0;
      int64_t at = start + i, leftmost = 0, behind = keys;
      if (left >= 0)
        leftmost = at - clampFar(left);
      if (right >= 0)
        behind = at + clampFar(right) + 1;
      if (chunk > 0) {
        int64_t begin = at - (at % chunk + chunk) % chunk;
        leftmost = std::max(leftmost, begin);
        behind = std::min(behind, begin + chunk);
      }
      behind = std::max(behind, ofBatch(*prefix, b, behind));
      auto isInside = [&](int64_t j) {
        return (j >= leftmost || j < op.getAnchors()) && j < behind &&
               (!querySegments || querySegments->integer(b * queries + i) ==
                                      keySegments->integer(b * keys + j));
      };
      bool skips = !op.hasSoftWindow();
      std::vector<bool> kept;
      if (op.hasBlocks())
        kept = lists.of(b, h, at, llvm::divideCeil(keys, lists.size));
      auto isLeftOut = [&](int64_t j) {
        return (skips && !isInside(j)) ||
               (!kept.empty() && !kept[j / lists.size]);
      };
      for (int64_t j = 0; j < length; ++j) {
        if (isLeftOut(j)) {
          p[j] = -INFINITY;
          continue;
        }
        double dot = 0;
        for (int64_t d = 0; d < size; ++d)
          dot += q[d] * k[j * size + d];
        p[j] = scores(dot, b, h, i, j, isInside(j));
        most = std::isnan(p[j]) ? p[j] : std::max(most, p[j]);
      }
      bool isEmpty = most == -INFINITY;
      std::fill(sum.begin(), sum.end(), 0.0);
      if (*sinks)
        total = std::exp((*sinks)->number(h) - most);
      for (int64_t j = 0; j < length; ++j) {
        if (isLeftOut(j))
          continue;
        double weight = std::exp(p[j] - most);
        total += weight;
        for (int64_t d = 0; d < width; ++d)
          sum[d] += weight * v[j * width + d];
      }
      for (int64_t d = 0; d < width; ++d)
        out.setNumber(((b * queries + i) * heads + h) * width + d,
                      !isEmpty          ? sum[d] / total
                      : op.getGuarded() ? 0
                                        : NAN);
    }
  });
  return success();
}
