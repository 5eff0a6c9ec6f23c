//===- MicrosoftAttention.h - Attention of com.microsoft --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What its ops share: heads, biases and masks of their kinds.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_MICROSOFTATTENTION_H
#define FERRITE_LIB_FRONTEND_ONNX_MICROSOFTATTENTION_H

#include "lib/Frontend/ONNX/KnownOps.h"
#include "lib/Frontend/ONNX/MicrosoftOps.h"

namespace ferrite::frontend {

/// Attribute `name`, positive or an error.
mlir::FailureOr<int64_t> headsAttr(OpBinder &b, llvm::StringRef name);
/// Attribute 'scale', where 0 stands for 1 / sqrt(size of a head).
float scaleAttr(OpBinder &b, const AttentionParts &parts);

/// input 0 * input 1 + input 2: rows of `rank` projected to queries, keys and
/// values at once.
mlir::FailureOr<KnownTensor> projectRows(OpBinder &b, size_t rank);
/// How the columns of `weights` divide into the three.
mlir::FailureOr<Dims> projectedSizes(OpBinder &b, const DimExpr &columns);

/// [.., heads, size] of [.., heads * size].
mlir::FailureOr<KnownTensor> splitHeads(OpBinder &b, const KnownTensor &rows,
                                        int64_t heads);
/// [batch, heads, tokens, size] and back: [batch, tokens, heads, size].
KnownTensor swapHeads(OpBinder &b, const KnownTensor &from);

/// Adds the parts of vector input `i`, as long as all columns of the three
/// together, to each: rows of rank 2 or 3, not yet in heads.
mlir::LogicalResult addProjectionBias(OpBinder &b, unsigned i, KnownTensor &q,
                                      KnownTensor &k, KnownTensor &v);
/// q, k and v, one after another in the columns of `rows`.
mlir::LogicalResult splitColumns(OpBinder &b, const KnownTensor &rows,
                                 llvm::ArrayRef<DimExpr> sizes,
                                 llvm::MutableArrayRef<KnownTensor> columns);

/// Query, key and value of packed `projected` rows (sizes as projectedSizes()
/// says), each by heads.
mlir::LogicalResult splitProjected(OpBinder &b, const KnownTensor &projected,
                                   int64_t heads, AttentionParts &parts);

/// The past of input `past`, [batch, heads, tokens, size], followed by `now`,
/// [batch, tokens, heads, size]; as result `present` too.
mlir::FailureOr<KnownTensor> appendPast(OpBinder &b, unsigned past,
                                        unsigned present,
                                        const KnownTensor &now);

/// The keys that input `i` leaves, by one of its forms: ends of rows, ends and
/// starts, or zeros at [batch, keys], [batch, queries, keys] or [batch, 1, max,
/// max]. `past` is how many keys come before the queries.
mlir::LogicalResult addKeyMask(OpBinder &b, unsigned i, const DimExpr &past,
                               AttentionParts &parts);
/// Input `i`, added to the scores.
mlir::LogicalResult addScoreBias(OpBinder &b, unsigned i,
                                 AttentionParts &parts);

/// Attention as result 0, of dims [batch, tokens, heads * size]; its scores at
/// `stage` as result `scores`, where the node has it; `zeroDropped`: 0, not
/// -inf, where a query does not see a key.
mlir::LogicalResult setAttention(OpBinder &b, AttentionParts &parts,
                                 unsigned scores, ScoreStage stage,
                                 bool zeroDropped = false);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_MICROSOFTATTENTION_H
