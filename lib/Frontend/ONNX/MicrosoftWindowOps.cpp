//===- MicrosoftWindowOps.cpp - Caches as long as a window ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// GroupQueryAttention with sliding_window_cache: past and present have room for
// C tokens, at least the window of W, and hold the last ones in order from row
// 0 on. How many that are is a function of the tokens so far, T, alone:
//
//   L(T) = T                            T <= C
//   L(T) = T - G * ceil((T - C) / G)    else, with G = C - W + 1
//
// so that a full cache loses G rows at once. Here the new rows lie behind all C
// of the past, and each query sees by its position those of both that hold one
// of its window; the present is taken out of the two.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include "lib/Frontend/ONNX/MicrosoftCache.h"

using namespace mlir;

namespace ferrite::frontend {

/// L(T) of `count` tokens, [batch].
KnownTensor CachedAttention::residents(const KnownTensor &count,
                                       const DimExpr &capacity) {
  KnownTensor size = ops.size(capacity, i64), one = ops.number(1, i64),
              drop =
                  ops.binary<SubOp>(size, ops.number(double(window - 1), i64)),
              more = ops.binary<SubOp>(count, size);
  KnownTensor times = ops.binary<DivOp>(
      ops.binary<AddOp>(more, ops.binary<SubOp>(drop, one)), drop);
  return ops.where(ops.compare(count, size, Predicate::Le), count,
                   ops.binary<SubOp>(count, ops.binary<MulOp>(times, drop)));
}

LogicalResult CachedAttention::writeWindow() {
  if (!b.hasInput(3))
    return b.error("attribute 'sliding_window_cache' needs its inputs past_key "
                   "and past_value");
  if (b.hasInput(10))
    return b.unsupported("its input attention_bias beside attribute "
                         "'sliding_window_cache' is not supported");
  const TensorValue &given = b.input(3);
  if (given.rank() != 4)
    return b.error("its past_key has rank " + Twine(given.rank()));
  DimExpr capacity = given.dims[2];
  if (!b.symbols().requireLessEqual(DimExpr(window), capacity))
    return b.error("its past of " + capacity.str() +
                   " tokens has no room for a window of " + Twine(window));
  DimExpr keys = capacity + tokens;
  KnownTensor size = ops.size(capacity, i64),
              total = ops.binary<AddOp>(before, ops.size(tokens, i64)),
              held = residents(before, capacity),
              kept = residents(total, capacity);

  // Which position a row of both holds, and whether it holds one.
  Dims column = {batch, DimExpr(1)};
  KnownTensor row = ops.iota(keys, 1, 2, i64),
              isNew = ops.compare(row, size, Predicate::Ge),
              first = ops.view(ops.binary<SubOp>(before, held), column),
              behind = ops.binary<SubOp>(ops.view(before, column), size);
  KnownTensor at = ops.binary<AddOp>(row, ops.where(isNew, behind, first));
  KnownTensor holds =
      ops.where(isNew, ops.cast(ops.number(1, i64), b.builder().getI1Type()),
                ops.compare(row, ops.view(held, column), Predicate::Lt));
  // [batch, 1, tokens, keys]
  Dims queryDims = {batch, DimExpr(1), tokens, DimExpr(1)},
       keyDims = {batch, DimExpr(1), DimExpr(1), keys};
  KnownTensor query = ops.view(positions, queryDims),
              key = ops.view(at, keyDims);
  KnownTensor seen = ops.binary<AndOp>(
      ops.compare(key, query, Predicate::Le),
      ops.compare(key,
                  ops.binary<SubOp>(query, ops.number(double(window), i64)),
                  Predicate::Gt));
  parts.mask = ops.binary<AndOp>(seen, ops.view(holds, keyDims));
  parts.left = parts.right = -1;
  parts.offsets = {};

  // Row i of the present: position T - L(T) + i.
  Dims points = {batch, capacity}, tuple = {batch, capacity, DimExpr(1)};
  KnownTensor position =
      ops.binary<AddOp>(ops.iota(capacity, 1, 2, i64),
                        ops.view(ops.binary<SubOp>(total, kept), column));
  KnownTensor isLate =
      ops.compare(position, ops.view(before, column), Predicate::Ge);
  KnownTensor from =
      ops.binary<SubOp>(position, ops.where(isLate, behind, first));
  // Behind the last of them is anything.
  from = ops.binary<MinOp>(from, ops.size(keys - DimExpr(1), i64));
  Value tuples =
      joinTuples(b, points,
                 {ownPositions(b, points, 0, i64),
                  ops.view(ops.broadcast(from, points), tuple).value});
  for (auto [input, output, now] :
       {std::tuple(3u, 1u, &parts.key), {4u, 2u, &parts.value}}) {
    Dims dims = {batch, now->dims[2], capacity, now->dims[3]};
    FailureOr<KnownTensor> past = ops.input(input, dims, now->element);
    if (failed(past))
      return failure();
    KnownTensor all = swapHeads(b, ops.concat({*past, swapHeads(b, *now)}, 2));
    if (b.hasOutput(output)) {
      Dims rows = {batch, capacity, all.dims[2], all.dims[3]};
      KnownTensor left = swapHeads(
          b, {b.create<GatherNDOp>(rows, all.element, all.value, tuples), rows,
              all.element});
      if (failed(b.setData(left.value, left.dims, output)))
        return failure();
    }
    *now = all;
  }
  return success();
}

} // namespace ferrite::frontend
