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
  MaskKind kind = MaskKind::None;
  mlir::Value value;
  float fill = 0;
  /// Of `bias`: why it is no `keep`.
  std::string reason;
};

/// Classifies what the match's steps add to the scores and builds the operand
/// at `builder`, or says why it cannot.
llvm::FailureOr<AttentionMask> buildMask(mlir::OpBuilder &builder,
                                         DimAnalysis &dims,
                                         const AttentionMatch &match,
                                         Reject reject);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONMASK_H
