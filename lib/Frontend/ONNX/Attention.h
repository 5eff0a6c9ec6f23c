//===- Attention.h - What importers of attention share ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_ATTENTION_H
#define FERRITE_LIB_FRONTEND_ONNX_ATTENTION_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// A value and what an importer knows of it.
struct KnownTensor {
  mlir::Value value;
  Dims dims;
  mlir::Type element;
  explicit operator bool() const { return static_cast<bool>(value); }
};

/// The operands and attributes of `ferrite.attention`, see there.
struct AttentionParts {
  KnownTensor query, key, value; ///< [batch, tokens, heads, size]
  KnownTensor mask, bias;        ///< rank 4
  KnownTensor offsets, lengths;  ///< [batch]
  KnownTensor sinks;             ///< [heads]
  /// Lists of blocks of so many keys (0: none), [1, layouts, ..].
  KnownTensor blockRows, blockColumns;
  int64_t block = 0;
  DimExpr offset = 0;
  int64_t left = -1, right = -1;
  float scale = 1, softcap = 0;
  float fill = -std::numeric_limits<float>::infinity();
  bool inDouble = false; ///< a softmax in f64, whatever the types

  /// [batch, heads, queries, keys]
  Dims scoreDims() const {
    return {query.dims[0], query.dims[2], query.dims[1], key.dims[1]};
  }
  Dims resultDims() const {
    return {query.dims[0], query.dims[1], query.dims[2], value.dims[3]};
  }
};

/// Which step of the scores an op gives as a result too.
enum class ScoreStage { Product, Capped, Masked, Weights };

/// Fails unless sizes agree and the op can say them.
mlir::LogicalResult checkAttention(OpBinder &b, AttentionParts &parts);
/// As one op; rows without a key are 0.
mlir::Value buildAttention(OpBinder &b, const AttentionParts &parts);

/// Attribute 'rotary_embedding_dim' of heads of `size`: all of it where it is
/// 0. An error where it is no even part.
mlir::LogicalResult checkRotated(OpBinder &b, const DimExpr &size,
                                 int64_t &rotated);
/// As products and a softmax, where the scores are a result or the
/// computation is in f64. `scores` has the dims of scoreDims().
mlir::Value decomposeAttention(OpBinder &b, const AttentionParts &parts,
                               ScoreStage stage, mlir::Value &scores);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_ATTENTION_H
