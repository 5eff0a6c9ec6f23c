//===- Norm.cpp - Norms, softmax, embedding, reductions -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

void ferrite::reference::normalizeRow(MutableArrayRef<double> row, bool centre,
                                      double epsilon, const Tensor &weight,
                                      const Tensor *bias) {
  double sum = 0, squares = 0, size = row.size();
  for (double x : row)
    sum += x;
  for (double &x : row) {
    x -= centre ? sum / size : 0;
    squares += x * x;
  }
  double scale = 1 / std::sqrt(squares / size + epsilon);
  for (size_t d = 0; d < row.size(); ++d)
    row[d] = row[d] * scale * weight.number(d) + (bias ? bias->number(d) : 0);
}

LogicalResult ferrite::reference::evaluateNorm(NormOp op, Frame &frame,
                                               Tensor &out) {
  const Tensor &in = frame[op.getInput()], &weight = frame[op.getWeight()];
  const Tensor *bias = op.getBias() ? &frame[op.getBias()] : nullptr;
  const Tensor *residual =
      op.getResidual() ? &frame[op.getResidual()] : nullptr;
  const Tensor *after = op.getAfter() ? &frame[op.getAfter()] : nullptr;
  int64_t size = in.shape().back();
  if (failed(expectSize(op, "the weight", weight.count(), size)) ||
      (bias && failed(expectSize(op, "the bias", bias->count(), size))) ||
      (residual &&
       failed(expectSize(op, "the residual", residual->count(), in.count()))) ||
      (after && failed(expectSize(op, "what is added after it", after->count(),
                                  in.count()))))
    return failure();
  if (in.count() == 0)
    return success();
  double epsilon = op.getEpsilon().convertToDouble();
  parallelFor(in.count() / size, frame.threads, [&](int64_t r) {
    std::vector<double> row(size);
    for (int64_t d = 0; d < size; ++d) {
      double x = in.number(r * size + d);
      // The sum is an f32, as everything is.
      row[d] =
          residual ? static_cast<float>(x + residual->number(r * size + d)) : x;
    }
    normalizeRow(row, op.getKind() == NormKind::Layer, epsilon, weight, bias);
    for (int64_t d = 0; d < size; ++d)
      out.setNumber(r * size + d,
                    row[d] + (after ? after->number(r * size + d) : 0));
  });
  return success();
}

LogicalResult ferrite::reference::evaluateSoftmax(SoftmaxOp op, Frame &frame,
                                                  Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  if (in.count() == 0)
    return success();
  int64_t size = in.shape().back();
  parallelFor(in.count() / size, frame.threads, [&](int64_t r) {
    std::vector<double> row(size);
    double most = -INFINITY, sum = 0;
    for (int64_t d = 0; d < size; ++d) {
      row[d] = in.number(r * size + d);
      most = std::max(most, row[d]); // a NaN reaches the sum below
    }
    for (double &x : row)
      sum += x = std::exp(x - most);
    for (int64_t d = 0; d < size; ++d)
      out.setNumber(r * size + d, row[d] / sum);
  });
  return success();
}

LogicalResult ferrite::reference::evaluateEmbedding(EmbeddingOp op,
                                                    Frame &frame, Tensor &out) {
  int64_t batch = out.dim(0), tokens = out.dim(1), width = out.dim(2);
  for (Value value : op.getIds()) {
    const Tensor &ids = frame[value];
    if (ids.dim(0) != 1 &&
        failed(expectSize(op, "the batch of ids", ids.dim(0), batch)))
      return failure();
    if (failed(expectSize(op, "the tokens of ids", ids.dim(1), tokens)))
      return failure();
  }
  std::vector<double> row(width);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < tokens; ++s) {
      std::fill(row.begin(), row.end(), 0.0);
      for (auto [t, value] : llvm::enumerate(op.getTables())) {
        const Tensor &table = frame[value];
        int64_t index = op.getIndex()[t], at = s + op.getPositions()[t];
        if (failed(expectSize(op, "the width of a table", table.dim(1), width)))
          return failure();
        if (index >= 0) {
          const Tensor &ids = frame[op.getIds()[index]];
          FailureOr<int64_t> found =
              rowOf(op, op.getIds()[index],
                    ids.integer((ids.dim(0) == 1 ? 0 : b) * tokens + s),
                    table.dim(0));
          if (failed(found))
            return failure();
          at = *found;
        }
        if (at < 0 || at >= table.dim(0))
          return op.emitError("position ") << at << " is outside of a table of "
                                           << table.dim(0) << " rows";
        for (int64_t d = 0; d < width; ++d)
          row[d] += table.number(at * width + d);
      }
      if (op.getWeight())
        normalizeRow(row, /*centre=*/true, op.getEpsilon().convertToDouble(),
                     frame[op.getWeight()], &frame[op.getBias()]);
      for (int64_t d = 0; d < width; ++d)
        out.setNumber((b * tokens + s) * width + d, row[d]);
    }
  return success();
}

//===--- reductions -------------------------------------------------------===//

static double reduceFloats(ReduceKind kind, ArrayRef<double> values) {
  double sum = 0, product = 1, squares = 0, most = -INFINITY, least = INFINITY;
  bool isNaN = false;
  for (double x : values) {
    sum += x;
    product *= x;
    squares += x * x;
    most = std::max(most, x);
    least = std::min(least, x);
    isNaN |= std::isnan(x);
  }
  switch (kind) {
  case ReduceKind::Sum:
    return sum;
  case ReduceKind::Mean:
    return sum / static_cast<double>(values.size());
  case ReduceKind::Max:
    return isNaN ? NAN : most;
  case ReduceKind::Min:
    return isNaN ? NAN : least;
  case ReduceKind::Prod:
    return product;
  case ReduceKind::L2:
    return std::sqrt(squares);
  }
  llvm_unreachable("every kind reduces");
}

static int64_t reduceIntegers(ReduceKind kind, Kind type,
                              ArrayRef<int64_t> values) {
  bool u64 = type == Kind::U64;
  auto less = [&](int64_t x, int64_t y) {
    return u64 ? uint64_t(x) < uint64_t(y) : x < y;
  };
  uint64_t sum = 0, product = 1;
  double squares = 0;
  int64_t bits = 8 * bytesOf(type);
  bool isUnsigned = type >= Kind::U8 || type == Kind::Bool;
  int64_t top = type == Kind::Bool
                    ? 1
                    : static_cast<int64_t>(~uint64_t(0) >> (64 - bits));
  int64_t most = isUnsigned ? 0 : INT64_MIN >> (64 - bits);
  int64_t least = isUnsigned ? top : static_cast<int64_t>(uint64_t(top) >> 1);
  for (int64_t x : values) {
    sum += x;
    product *= x;
    squares += static_cast<double>(x) * static_cast<double>(x);
    most = less(most, x) ? x : most;
    least = less(x, least) ? x : least;
  }
  switch (kind) {
  case ReduceKind::Sum:
    return sum;
  case ReduceKind::Mean:
    return values.empty() ? 0
                          : static_cast<int64_t>(sum) / int64_t(values.size());
  case ReduceKind::Max:
    return most;
  case ReduceKind::Min:
    return least;
  case ReduceKind::Prod:
    return product;
  case ReduceKind::L2:
    return static_cast<int64_t>(std::sqrt(squares));
  }
  llvm_unreachable("every kind reduces");
}

LogicalResult ferrite::reference::evaluateReduce(ReduceOp op, Frame &frame,
                                                 Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  Sizes own = stridesOf(in.shape()), kept, keptStrides, reduced, reducedStrides;
  for (int64_t i = 0; i < in.rank(); ++i) {
    bool isReduced = llvm::is_contained(op.getAxes(), i);
    (isReduced ? reduced : kept).push_back(in.dim(i));
    (isReduced ? reducedStrides : keptStrides).push_back(own[i]);
  }
  int64_t points = *countOf(reduced);
  if (failed(expectSize(op, "the result", out.count(),
                        countOf(kept).value_or(-1))))
    return failure();
  walkStrided(
      kept, keptStrides, 0, out.count(), [&](int64_t at, const Sizes &first) {
        std::vector<double> numbers;
        std::vector<int64_t> integers;
        walkStrided(reduced, reducedStrides, 0, points,
                    [&](int64_t, const Sizes &offset) {
                      if (isFloat(in.kind()))
                        numbers.push_back(in.number(first[0] + offset[0]));
                      else
                        integers.push_back(in.integer(first[0] + offset[0]));
                    });
        if (isFloat(in.kind()))
          out.setNumber(at, reduceFloats(op.getKind(), numbers));
        else
          out.setInteger(at, reduceIntegers(op.getKind(), in.kind(), integers));
      });
  return success();
}
