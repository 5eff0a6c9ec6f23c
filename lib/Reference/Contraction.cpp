//===- Contraction.cpp - Products -----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The one place that is written for speed: a product is cut into blocks of
// columns, which threads take, and each block into tiles of 4x4 sums that stay
// in registers. Sums are doubles in order of k.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"
#include "lib/Reference/Scalar.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

//===--- the product ------------------------------------------------------===//

namespace {
/// A matrix in a tensor, rows after one another.
struct Matrix {
  const Tensor *tensor;
  int64_t offset, rows, columns;
  const Tensor *zero = nullptr; ///< of all, or of each column; null: 0

  /// `count` elements of a row from `column` on, less their zero points.
  void read(int64_t row, int64_t column, int64_t count, double *to) const {
    tensor->readAll(offset + row * columns + column, count, to);
    for (int64_t i = 0; zero && i < count; ++i)
      to[i] -= zero->asDouble(zero->count() == 1 ? 0 : column + i);
  }
};

// Four doubles: whatever vectors the target has, two or four of them.
using Four = double __attribute__((vector_size(32)));
} // namespace

static constexpr int64_t kColumns = 64; ///< of a block

/// sums[m][n] += a[k][m] * b[k][n], for 4 of each.
static void multiplyTile(int64_t depth, const double *a, const double *b,
                         double *sums) {
  Four s0 = {}, s1 = {}, s2 = {}, s3 = {};
  for (int64_t k = 0; k < depth; ++k, a += 4, b += 4) {
    Four right = {b[0], b[1], b[2], b[3]};
    s0 += a[0] * right;
    s1 += a[1] * right;
    s2 += a[2] * right;
    s3 += a[3] * right;
  }
  for (int i = 0; i < 4; ++i) {
    sums[i] = s0[i];
    sums[4 + i] = s1[i];
    sums[8 + i] = s2[i];
    sums[12 + i] = s3[i];
  }
}

/// Columns [first, first + kColumns) of lhs * rhs, to `out` at `offset`.
static void multiplyBlock(const Matrix &lhs, const Matrix &rhs, int64_t first,
                          Tensor &out, int64_t offset) {
  int64_t depth = lhs.columns, width = std::min(kColumns, rhs.columns - first);
  int64_t panels = (width + 3) / 4;
  std::vector<double> right(panels * depth * 4, 0), left(depth * 4, 0),
      row(depth);
  std::vector<double> line(width);
  for (int64_t k = 0; k < depth; ++k) {
    rhs.read(k, first, width, line.data());
    for (int64_t n = 0; n < width; ++n)
      right[(n / 4 * depth + k) * 4 + n % 4] = line[n];
  }
  for (int64_t m = 0; m < lhs.rows; m += 4) {
    int64_t height = std::min<int64_t>(4, lhs.rows - m);
    for (int64_t i = 0; i < height; ++i) {
      lhs.read(m + i, 0, depth, row.data());
      for (int64_t k = 0; k < depth; ++k)
        left[k * 4 + i] = row[k];
    }
    for (int64_t p = 0; p < panels; ++p) {
      double sums[16];
      multiplyTile(depth, left.data(), right.data() + p * depth * 4, sums);
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < std::min<int64_t>(4, width - p * 4); ++j) {
          int64_t at = offset + (m + i) * rhs.columns + first + p * 4 + j;
          if (out.kind() == Kind::I32)
            out.setInteger(at, static_cast<int64_t>(sums[i * 4 + j]));
          else
            out.setNumber(at, sums[i * 4 + j]);
        }
    }
  }
}

/// Products of matrices number i of both sides, for each i below `count`.
static void multiply(int64_t count, llvm::function_ref<Matrix(int64_t)> lhs,
                     llvm::function_ref<Matrix(int64_t)> rhs, Frame &frame,
                     Tensor &out) {
  if (out.count() == 0)
    return;
  int64_t rows = lhs(0).rows, columns = rhs(0).columns;
  int64_t blocks = (columns + kColumns - 1) / kColumns;
  parallelFor(count * blocks, frame.threads, [&](int64_t i) {
    int64_t which = i / blocks;
    multiplyBlock(lhs(which), rhs(which), i % blocks * kColumns, out,
                  which * rows * columns);
  });
}

LogicalResult ferrite::reference::evaluateMatmul(MatmulOp op, Frame &frame,
                                                 Tensor &out) {
  const Tensor &lhs = frame[op.getLhs()], &rhs = frame[op.getRhs()];
  ArrayRef<int64_t> lead = out.shape().drop_back(2);
  int64_t rows = lhs.dim(lhs.rank() - 2), depth = lhs.shape().back();
  int64_t columns = rhs.shape().back();
  if (failed(expectSize(op, "the rows of the right operand",
                        rhs.dim(rhs.rank() - 2), depth)) ||
      failed(expectSize(op, "the rows of the result", out.dim(out.rank() - 2),
                        rows)) ||
      failed(expectSize(op, "the columns of the result", out.shape().back(),
                        columns)))
    return failure();
  SmallVector<Sizes> strides;
  for (const Tensor *side : {&lhs, &rhs}) {
    // Which matrix of this side each of the result's takes.
    Tensor matrices =
        Tensor::borrow(side->kind(), side->shape().drop_back(2), side->data());
    FailureOr<Sizes> steps = broadcastStrides(op, matrices, lead);
    if (failed(steps))
      return failure();
    strides.push_back(*steps);
  }
  std::vector<std::pair<int64_t, int64_t>> pairs;
  walkStrided(lead, strides, 0, *countOf(lead), [&](int64_t, const Sizes &at) {
    pairs.push_back({at[0], at[1]});
  });
  multiply(
      pairs.size(),
      [&](int64_t i) {
        return Matrix{&lhs, pairs[i].first * rows * depth, rows, depth};
      },
      [&](int64_t i) {
        return Matrix{&rhs, pairs[i].second * depth * columns, depth, columns};
      },
      frame, out);
  return success();
}

/// The epilogue of a linear, of sums [rows, columns].
template <typename OpTy>
static LogicalResult finishLinear(OpTy op, const Tensor &sums, Frame &frame,
                                  Tensor &out) {
  FailureOr<Program> epilogue = Program::compile(op.getEpilogue());
  if (failed(epilogue))
    return failure();
  SmallVector<const Tensor *> sides;
  SmallVector<Sizes> strides;
  for (Value value : op.getSides()) {
    sides.push_back(&frame[value]);
    FailureOr<Sizes> steps = broadcastStrides(op, *sides.back(), out.shape());
    if (failed(steps))
      return failure();
    strides.push_back(*steps);
  }
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    std::vector<Scalar> registers(epilogue->registers());
    walkStrided(out.shape(), strides, begin, end,
                [&](int64_t at, const Sizes &offsets) {
                  registers[0] = readScalar(sums, at);
                  for (size_t i = 0; i < sides.size(); ++i)
                    registers[i + 1] = readScalar(*sides[i], offsets[i]);
                  writeScalar(out, at, epilogue->run(registers.data()));
                });
  });
  return success();
}

LogicalResult ferrite::reference::evaluateLinear(LinearOp op, Frame &frame,
                                                 Tensor &out) {
  const Tensor &in = frame[op.getInput()], &weight = frame[op.getWeight()];
  int64_t depth = in.shape().back(), columns = weight.shape().back();
  // Sums of bytes are whole numbers that a double holds.
  std::optional<Tensor> sums =
      Tensor::make(op.isOfBytes() ? Kind::I32 : Kind::F32, out.shape());
  auto zeroOf = [&](Value zero) { return zero ? &frame[zero] : nullptr; };
  const Tensor *inputZero = zeroOf(op.getInputZero()),
               *weightZero = zeroOf(op.getWeightZero());
  if (failed(expectSize(op, "the rows of the weight",
                        weight.dim(weight.rank() - 2), depth)) ||
      failed(expectSize(op, "the columns of the result", out.shape().back(),
                        columns)))
    return failure();
  if (!sums)
    return op.emitError("memory is too short for the result");
  int64_t rows = *countOf(in.shape().drop_back());
  if (failed(expectSize(op, "the rows of the result",
                        *countOf(out.shape().drop_back()), rows)))
    return failure();
  // One weight for all rows, or one matrix for each of the input's.
  int64_t matrices = *countOf(weight.shape().drop_back(2));
  if (weight.rank() > 2) {
    for (int64_t d = 0; d + 2 < weight.rank(); ++d)
      if (failed(expectSize(op, "a leading dim of the weight", weight.dim(d),
                            in.dim(d))))
        return failure();
    rows = in.dim(in.rank() - 2);
  }
  Tensor rounded =
      op.getInputBlock() ? roundedRows(in, op.getInputBlock()) : in;
  multiply(
      matrices,
      [&](int64_t i) {
        return Matrix{&rounded, i * rows * depth, rows, depth, inputZero};
      },
      [&](int64_t i) {
        return Matrix{&weight, i * depth * columns, depth, columns, weightZero};
      },
      frame, *sums);
  return finishLinear(op, *sums, frame, out);
}

LogicalResult ferrite::reference::evaluatePackedLinear(PackedLinearOp op,
                                                       Frame &frame,
                                                       Tensor &out) {
  const Tensor &in = frame[op.getInput()], &bytes = frame[op.getWeight()];
  PackedAttr packed = op.getPacked();
  int64_t depth = packed.getDepth(), columns = packed.getColumns(),
          rows = in.dim(0);
  std::optional<Tensor> sums = Tensor::make(Kind::F32, out.shape()),
                        weight = Tensor::make(Kind::F32, {depth, columns}),
                        input = Tensor::make(Kind::F32, {rows, depth});
  if (failed(expectSize(op, "the rows of the result", out.dim(0), rows)))
    return failure();
  if (!sums || !weight || !input)
    return op.emitError("memory is too short for the product");
  unpackMatrix(packed, bytes.data(), *weight);
  unroundRows(packed.getRows(op.getInputBlock()), in, *input);
  multiply(
      1, [&](int64_t) { return Matrix{&*input, 0, rows, depth}; },
      [&](int64_t) { return Matrix{&*weight, 0, depth, columns}; }, frame,
      *sums);
  return finishLinear(op, *sums, frame, out);
}
