//===- Gather.cpp - Elements chosen by index ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

FailureOr<int64_t> ferrite::reference::rowOf(Operation *op, Value indices,
                                             int64_t index, int64_t rows) {
  int64_t row = index < 0 ? index + rows : index;
  if (row >= 0 && row < rows)
    return row;
  while (Operation *producer = indices.getDefiningOp()) {
    if (!isa<ViewOp, SliceOp, BroadcastOp, TransposeOp, WindowsOp>(producer))
      break;
    indices = producer->getOperand(0);
  }
  if (isa<BlockArgument>(indices) || rows == 0)
    return op->emitError("index ")
           << index << " is outside of [" << -rows << ", " << rows << ")";
  return row < 0 ? 0 : rows - 1;
}

LogicalResult ferrite::reference::evaluateGather(GatherOp op, Frame &frame,
                                                 Tensor &out) {
  const Tensor &data = frame[op.getData()], &indices = frame[op.getIndices()];
  int64_t axis = op.getAxis(), rows = data.dim(axis);
  auto count = [](ArrayRef<int64_t> shape) { return *countOf(shape); };
  int64_t outer = count(data.shape().take_front(axis));
  int64_t inner =
      count(data.shape().drop_front(axis + 1)) * bytesOf(out.kind());
  if (failed(expectSize(op, "the result", out.bytes(),
                        outer * indices.count() * inner)))
    return failure();
  for (int64_t i = 0; i < indices.count(); ++i) {
    FailureOr<int64_t> row =
        rowOf(op, op.getIndices(), indices.integer(i), rows);
    if (failed(row))
      return failure();
    for (int64_t o = 0; o < outer; ++o)
      std::memcpy(out.mutableData() + (o * indices.count() + i) * inner,
                  data.data() + (o * rows + *row) * inner, inner);
  }
  return success();
}

LogicalResult ferrite::reference::evaluateGatherND(GatherNDOp op, Frame &frame,
                                                   Tensor &out) {
  const Tensor &data = frame[op.getData()], &indices = frame[op.getIndices()];
  int64_t depth = indices.shape().back();
  int64_t tuples = *countOf(indices.shape().drop_back());
  int64_t slice =
      *countOf(data.shape().drop_front(depth)) * bytesOf(out.kind());
  if (failed(expectSize(op, "the result", out.bytes(), tuples * slice)))
    return failure();
  for (int64_t i = 0; i < tuples; ++i) {
    int64_t at = 0;
    for (int64_t d = 0; d < depth; ++d) {
      FailureOr<int64_t> row = rowOf(
          op, op.getIndices(), indices.integer(i * depth + d), data.dim(d));
      if (failed(row))
        return failure();
      at = at * data.dim(d) + *row;
    }
    std::memcpy(out.mutableData() + i * slice, data.data() + at * slice, slice);
  }
  return success();
}
