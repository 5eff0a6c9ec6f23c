//===- MicrosoftCache.h - Attention over caches of ragged rows --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each row of the batch has its own number of tokens, and its new ones follow
// on them. So the positions of a row are data, from which come the angles of
// its rotation, the place where its keys go in the cache, and what its queries
// see. ferrite.attention takes them as `offsets`, and reads no block of keys
// behind them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_MICROSOFTCACHE_H
#define FERRITE_LIB_FRONTEND_ONNX_MICROSOFTCACHE_H

#include "lib/Frontend/ONNX/MicrosoftAttention.h"

namespace ferrite::frontend {

class CachedAttention {
public:
  explicit CachedAttention(OpBinder &b)
      : b(b), ops(b), i64(b.builder().getI64Type()) {}
  mlir::LogicalResult importGroupQuery();
  mlir::LogicalResult importSparse();

private:
  mlir::LogicalResult readHeads();
  mlir::LogicalResult readRow(unsigned lengths, bool countsLast);
  mlir::LogicalResult rotate(unsigned cos, unsigned sin, const KnownTensor &at);
  mlir::FailureOr<KnownTensor> positionsOf(unsigned given);
  mlir::FailureOr<KnownTensor> angles(unsigned table, const KnownTensor &at);
  KnownTensor normalized(const KnownTensor &heads, const KnownTensor &weight,
                         float epsilon);
  mlir::LogicalResult normalizeHeads();
  bool isShared(unsigned past, unsigned present);
  mlir::LogicalResult checkTotal();
  mlir::FailureOr<KnownTensor> writeCache(unsigned past, unsigned present,
                                          const KnownTensor &now);
  mlir::LogicalResult writeCaches();
  mlir::LogicalResult writeWindow();
  KnownTensor residents(const KnownTensor &count, const DimExpr &capacity);
  mlir::LogicalResult readOptions();
  mlir::LogicalResult readBlocks();
  KnownTensor blockMask();
  void maskBlocks(int64_t block);

  OpBinder &b;
  KnownOps ops;
  mlir::Type i64;
  AttentionParts parts;
  DimExpr batch, tokens;
  KnownTensor before;       ///< [batch]: tokens of each row before the call
  KnownTensor positions;    ///< [batch, tokens]: where its new ones are
  bool shared = false;      ///< the present has the size of the past
  int64_t window = -1;      ///< local_window_size
  bool keepsWindow = false; ///< sliding_window_cache
};

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_MICROSOFTCACHE_H
