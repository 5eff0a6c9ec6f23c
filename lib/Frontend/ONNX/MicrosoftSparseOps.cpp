//===- MicrosoftSparseOps.cpp - SparseAttention ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include "lib/Frontend/ONNX/MicrosoftCache.h"

using namespace mlir;

namespace ferrite::frontend {

LogicalResult CachedAttention::readBlocks() {
  Type i32 = b.builder().getI32Type();
  FailureOr<KnownTensor> rows = ops.input(5), columns = ops.input(6);
  if (failed(rows) || failed(columns))
    return failure();
  std::optional<int64_t> layouts, ends;
  if (rows->dims.size() == 2 && columns->dims.size() == 2) {
    layouts = rows->dims[0].constant();
    ends = rows->dims[1].constant();
  }
  std::optional<int64_t> heads = parts.query.dims[2].constant();
  if (!layouts || !ends || *ends < 2 || *layouts < 1 || !heads ||
      *heads % *layouts != 0 || columns->dims[0] != rows->dims[0] ||
      rows->element != i32 || columns->element != i32)
    return b.error("its block rows and columns of shapes " +
                   printDims(rows->dims) + " and " + printDims(columns->dims) +
                   " are no layouts of blocks for its heads");
  parts.blockRows = *rows;
  parts.blockColumns = *columns;
  return success();
}

/// Which blocks of keys a block of queries sees, [layouts, blocks, blocks],
/// from the rows and columns of a matrix in CSR form. Entries behind the last
/// row go into one more row, which is cut off.
KnownTensor CachedAttention::blockMask() {
  Type i32 = b.builder().getI32Type();
  KnownTensor rows = parts.blockRows, columns = parts.blockColumns;
  int64_t layouts = *rows.dims[0].constant(), ends = *rows.dims[1].constant();
  DimExpr count = layouts, blocks = ends - 1, entries = columns.dims[1];
  // The row of entry k: how many rows end at k or before.
  KnownTensor rowEnds =
      ops.view(ops.slice(rows, 1, 1, blocks), {count, blocks, DimExpr(1)});
  KnownTensor isBehind =
      ops.compare(rowEnds, ops.iota(entries, 2, 3, i32), Predicate::Le);
  Dims flat = {count, entries}, column = {count, entries, DimExpr(1)};
  KnownTensor row =
      ops.view(ops.reduce(ops.cast(isBehind, i64), ReduceKind::Sum, 1), column);
  KnownTensor at = ops.view(ops.cast(columns, i64), column);
  KnownTensor isPadding = ops.compare(at, ops.number(0, i64), Predicate::Lt);
  row = ops.where(isPadding, ops.size(blocks, i64), row);
  Value tuples =
      joinTuples(b, flat, {ownPositions(b, flat, 0, i64), row.value, at.value});
  Dims dims = {count, blocks + DimExpr(1), blocks};
  KnownTensor none = ops.filled(0, i32, dims), ones = ops.filled(1, i32, flat);
  none.value = b.create<ScatterNDOp>(dims, i32, none.value, tuples, ones.value,
                                     CombineKind::None);
  return ops.slice(none, 1, 0, blocks);
}

LogicalResult CachedAttention::importSparse() {
  int64_t block = b.intAttr("sparse_block_size", 0);
  if (block <= 0 || block > 1 << 20)
    return b.error("attribute 'sparse_block_size' is missing or no size");
  if (failed(requireInputs(b, {3, 4, 5, 6, 7, 8})) || failed(readHeads()) ||
      failed(readRow(8, /*countsLast=*/false)) ||
      failed(rotate(9, 10, positions)))
    return failure();
  shared = true; // the op knows no other cache
  FailureOr<KnownTensor> key = writeCache(3, 1, parts.key),
                         value = writeCache(4, 2, parts.value);
  if (failed(key) || failed(value) || failed(readBlocks()))
    return failure();
  parts.key = *key;
  parts.value = *value;
  parts.scale = scaleAttr(b, parts);
  parts.right = 0;
  DimExpr keys = parts.key.dims[1],
          blocks = parts.blockRows.dims[1] - DimExpr(1);
  if (!b.symbols().requireLessEqual(keys, blocks * DimExpr(block)))
    return b.error("its block layouts are for " + blocks.str() + " blocks of " +
                   Twine(block) + ", but it has " + keys.str() + " keys");
  bool isWide = llvm::any_of(ArrayRef{parts.query, parts.key, parts.value},
                             [&](auto &operand) {
                               return operand.element.isF64() ||
                                      operand.element != parts.query.element;
                             });
  if (block % 16 == 0 && block <= 512 && !isWide) {
    parts.block = block;
    for (KnownTensor *list : {&parts.blockRows, &parts.blockColumns})
      *list = ops.view(*list, {DimExpr(1), list->dims[0], list->dims[1]});
  } else {
    maskBlocks(block);
  }
  return setAttention(b, parts, ~0u, ScoreStage::Weights);
}

/// The lists as a mask, for what the op has no blocks for.
void CachedAttention::maskBlocks(int64_t block) {
  // [layouts, batch * tokens, keys], of the blocks that both are in.
  KnownTensor blocks = blockMask();
  DimExpr keys = parts.key.dims[1], layouts = blocks.dims[0];
  KnownTensor size = ops.number(static_cast<double>(block), i64);
  KnownTensor rows =
      ops.view(ops.binary<DivOp>(positions, size), {batch * tokens});
  KnownTensor columns = ops.binary<DivOp>(ops.iota(keys, 0, 1, i64), size);
  KnownTensor seen = ops.gather(ops.gather(blocks, rows, 1), columns, 2);
  seen = ops.view(seen, {layouts, batch, tokens, keys});
  seen = ops.transpose(seen, {1, 0, 2, 3});
  KnownTensor keep =
      ops.compare(seen, ops.number(0, seen.element), Predicate::Ne);
  // Head h has layout h % layouts.
  DimExpr repeats = *parts.query.dims[2].dividedBy(layouts);
  keep =
      ops.broadcast(ops.view(keep, {batch, DimExpr(1), layouts, tokens, keys}),
                    {batch, repeats, layouts, tokens, keys});
  parts.mask = ops.view(keep, parts.scoreDims());
  parts.blockRows = parts.blockColumns = {};
}

static LogicalResult importSparseAttention(OpBinder &b) {
  return CachedAttention(b).importSparse();
}

void registerMicrosoftSparseOps(OpTable &table) {
  table.add("com.microsoft::SparseAttention", importSparseAttention, 1, 11);
}

} // namespace ferrite::frontend
