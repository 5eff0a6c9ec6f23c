//===- FuseAttentionMask.h - The mask of a matched attention ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEATTENTIONMASK_H
#define FERRITE_PASSES_FUSION_FUSEATTENTIONMASK_H

#include "passes/Fusion/FuseAttentionMatch.h"

namespace ferrite {

/// A mask as `ferrite.attention` takes it.
struct AttentionMask {
  mlir::Value keep, bias;
  float fill = -std::numeric_limits<float>::infinity();
  int64_t left = -1, right = -1, chunk = 0, anchors = 0;
  DimExpr offset;
  mlir::Value prefix, querySegments, keySegments;
  float windowFill = -std::numeric_limits<float>::infinity();
  bool joined = false;
  bool hasWindow() const {
    return left >= 0 || right >= 0 || chunk > 0 || querySegments;
  }
  /// In words, for the report.
  std::string name = "none";
};

/// Classifies what the steps add to the scores and builds the operands at
/// `builder`, or says why it cannot.
llvm::FailureOr<AttentionMask>
buildMask(mlir::OpBuilder &builder, mlir::Location loc, DimAnalysis &dims,
          ScoreSpace &context, llvm::ArrayRef<ScoreStep> steps, Reject reject);
/// The same for terms that are known already; fails with the reason where they
/// cannot be written as operands. `inShortFloats`: scores were f16 or bf16.
llvm::FailureOr<AttentionMask>
buildMask(mlir::OpBuilder &builder, mlir::Location loc, DimAnalysis &dims,
          ScoreSpace &context, llvm::ArrayRef<MaskTerm> terms,
          bool inShortFloats, std::string &reason);

/// Puts `mask` into `attention`, which has none.
void setAttentionMask(mlir::OpBuilder &builder, AttentionOp attention,
                      const AttentionMask &mask);
/// Heads, scale, mask and all else, for the report.
std::string describeAttention(const AttentionMask &mask, AttentionOp attention);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONMASK_H
