//===- Positions.cpp - Positions: chosen, found, written ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
/// The lines of a shape along an axis: element i of line l is at first(l) + i *
/// step.
struct Lines {
  int64_t size, step, count;

  Lines(ArrayRef<int64_t> shape, int64_t axis)
      : size(shape[axis]), step(*countOf(shape.drop_front(axis + 1))),
        count(*countOf(shape.take_front(axis)) * step) {}
  int64_t first(int64_t line) const {
    return line / step * step * size + line % step;
  }
};
} // namespace

/// The position in [0, size) that an index means, clamped.
static int64_t clampIndex(int64_t index, int64_t size) {
  return std::clamp<int64_t>(index < 0 ? index + size : index, 0, size - 1);
}

static bool isUnsigned(Kind kind) {
  return kind >= Kind::U8 || kind == Kind::Bool;
}

/// Whether element i comes before element j in ascending order, NaN last.
static bool isLess(const Tensor &tensor, int64_t i, int64_t j) {
  if (isFloat(tensor.kind())) {
    double x = tensor.number(i), y = tensor.number(j);
    return x < y || (std::isnan(y) && !std::isnan(x));
  }
  int64_t x = tensor.integer(i), y = tensor.integer(j);
  return isUnsigned(tensor.kind())
             ? static_cast<uint64_t>(x) < static_cast<uint64_t>(y)
             : x < y;
}

LogicalResult ferrite::reference::evaluateGatherElements(GatherElementsOp op,
                                                         Frame &frame,
                                                         Tensor &out) {
  const Tensor &data = frame[op.getData()], &indices = frame[op.getIndices()];
  int64_t axis = op.getAxis(), bytes = bytesOf(out.kind());
  for (int64_t d = 0; d < data.rank(); ++d)
    if (d != axis && indices.dim(d) > data.dim(d))
      return op.emitError("expects at most ")
             << data.dim(d) << " indices in dim " << d << ", but got "
             << indices.dim(d);
  Sizes own = stridesOf(data.shape()), shape = stridesOf(indices.shape());
  for (int64_t i = 0; i < out.count(); ++i) {
    FailureOr<int64_t> row =
        rowOf(op, op.getIndices(), indices.integer(i), data.dim(axis));
    if (failed(row))
      return failure();
    int64_t at = 0;
    for (int64_t d = 0; d < data.rank(); ++d)
      at += own[d] * (d == axis ? *row : i / shape[d] % indices.dim(d));
    std::memcpy(out.mutableData() + i * bytes, data.data() + at * bytes, bytes);
  }
  return success();
}

//===--- scatter ----------------------------------------------------------===//

static void combineElement(CombineKind kind, const Tensor &update, int64_t from,
                           Tensor &out, int64_t at) {
  if (kind == CombineKind::None) {
    int64_t bytes = bytesOf(out.kind());
    std::memcpy(out.mutableData() + at * bytes, update.data() + from * bytes,
                bytes);
    return;
  }
  bool larger = kind == CombineKind::Max;
  if (isFloat(out.kind())) {
    double a = out.number(at), b = update.number(from);
    if (kind == CombineKind::Sum)
      a += b;
    else if (kind == CombineKind::Prod)
      a *= b;
    else if (std::isnan(b) || (!std::isnan(a) && (larger ? b > a : b < a)))
      a = b;
    return out.setNumber(at, a);
  }
  uint64_t a = out.integer(at), b = update.integer(from);
  bool less = isUnsigned(out.kind())
                  ? a < b
                  : static_cast<int64_t>(a) < static_cast<int64_t>(b);
  if (kind == CombineKind::Sum)
    a += b;
  else if (kind == CombineKind::Prod)
    a *= b;
  else if (larger == less)
    a = b;
  out.setInteger(at, a);
}

LogicalResult ferrite::reference::evaluateScatterND(ScatterNDOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &data = frame[op.getData()], &indices = frame[op.getIndices()],
               &updates = frame[op.getUpdates()];
  std::memcpy(out.mutableData(), data.data(), data.bytes());
  int64_t depth = indices.shape().back();
  int64_t tuples = *countOf(indices.shape().drop_back());
  int64_t slice = *countOf(data.shape().drop_front(depth));
  if (failed(expectSize(op, "the updates", updates.count(), tuples * slice)))
    return failure();
  if (out.count() == 0)
    return success();
  for (int64_t i = 0; i < tuples; ++i) {
    int64_t at = 0;
    for (int64_t d = 0; d < depth; ++d)
      at = at * data.dim(d) +
           clampIndex(indices.integer(i * depth + d), data.dim(d));
    for (int64_t j = 0; j < slice; ++j)
      combineElement(op.getCombine(), updates, i * slice + j, out,
                     at * slice + j);
  }
  return success();
}

LogicalResult ferrite::reference::evaluateScatterElements(ScatterElementsOp op,
                                                          Frame &frame,
                                                          Tensor &out) {
  const Tensor &data = frame[op.getData()], &indices = frame[op.getIndices()],
               &updates = frame[op.getUpdates()];
  std::memcpy(out.mutableData(), data.data(), data.bytes());
  int64_t axis = op.getAxis();
  for (int64_t d = 0; d < data.rank(); ++d)
    if (updates.dim(d) != indices.dim(d) ||
        (d != axis && updates.dim(d) > data.dim(d)))
      return op.emitError("updates have ")
             << updates.dim(d) << " in dim " << d << ", indices "
             << indices.dim(d) << " and data " << data.dim(d);
  if (out.count() == 0)
    return success();
  Sizes own = stridesOf(data.shape()), shape = stridesOf(updates.shape());
  for (int64_t i = 0; i < updates.count(); ++i) {
    int64_t at = 0;
    for (int64_t d = 0; d < data.rank(); ++d)
      at += own[d] * (d == axis ? clampIndex(indices.integer(i), data.dim(d))
                                : i / shape[d] % updates.dim(d));
    combineElement(op.getCombine(), updates, i, out, at);
  }
  return success();
}

//===--- order ------------------------------------------------------------===//

LogicalResult ferrite::reference::evaluateArgReduce(ArgReduceOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Lines lines(in.shape(), op.getAxis());
  if (lines.size == 0)
    return op.emitError("nothing is extreme in a dim of 0");
  bool least = op.getKind() == CombineKind::Min;
  auto isNaN = [&](int64_t i) {
    return isFloat(in.kind()) && std::isnan(in.number(i));
  };
  for (int64_t line = 0; line < lines.count; ++line) {
    int64_t first = lines.first(line), best = 0;
    for (int64_t i = 1; i < lines.size; ++i) {
      int64_t a = first + i * lines.step, b = first + best * lines.step;
      bool beats =
          isNaN(a) ? !isNaN(b)
                   : !isNaN(b) && (least ? isLess(in, a, b) : isLess(in, b, a));
      bool ties = isNaN(a)
                      ? isNaN(b)
                      : !isNaN(b) && !isLess(in, a, b) && !isLess(in, b, a);
      if (beats || (op.getSelectLast() && ties))
        best = i;
    }
    out.setInteger(line, best);
  }
  return success();
}

LogicalResult ferrite::reference::evaluateTopK(TopKOp op, Frame &frame,
                                               Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Lines lines(in.shape(), op.getAxis()), results(out.shape(), op.getAxis());
  if (results.size > lines.size)
    return op.emitError("takes ") << results.size << " of " << lines.size;
  std::vector<int64_t> order(lines.size);
  for (int64_t line = 0; line < lines.count; ++line) {
    int64_t first = lines.first(line);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      int64_t a = first + i * lines.step, b = first + j * lines.step;
      return op.getSmallest() ? isLess(in, a, b) : isLess(in, b, a);
    });
    for (int64_t i = 0; i < results.size; ++i)
      out.setInteger(results.first(line) + i * results.step, order[i]);
  }
  return success();
}

LogicalResult ferrite::reference::evaluateCumProd(CumProdOp op, Frame &frame,
                                                  Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Lines lines(in.shape(), op.getAxis());
  bool floats = isFloat(in.kind());
  for (int64_t line = 0; line < lines.count; ++line) {
    double number = 1;
    uint64_t integer = 1; // products wrap
    for (int64_t i = 0; i < lines.size; ++i) {
      int64_t at = lines.first(line) +
                   (op.getReverse() ? lines.size - 1 - i : i) * lines.step;
      double before = number;
      uint64_t wholeBefore = integer;
      if (floats)
        number *= in.number(at);
      else
        integer *= in.integer(at);
      if (floats)
        out.setNumber(at, op.getExclusive() ? before : number);
      else
        out.setInteger(at, op.getExclusive() ? wholeBefore : integer);
    }
  }
  return success();
}

//===--- nonzero ----------------------------------------------------------===//

static bool isZero(const Tensor &tensor, int64_t i) {
  return isFloat(tensor.kind()) ? tensor.number(i) == 0
                                : tensor.integer(i) == 0;
}

int64_t ferrite::reference::countNonZero(const Tensor &tensor) {
  int64_t count = 0;
  for (int64_t i = 0; i < tensor.count(); ++i)
    count += !isZero(tensor, i);
  return count;
}

LogicalResult ferrite::reference::evaluateNonZero(NonZeroOp op, Frame &frame,
                                                  Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Sizes strides = stridesOf(in.shape());
  int64_t next = 0;
  for (int64_t i = 0; i < in.count(); ++i)
    for (int64_t d = 0; d < in.rank() && !isZero(in, i); ++d)
      out.setInteger(next++, i / strides[d] % in.dim(d));
  return success();
}
