//===- RefineAttention.h - Attention that came as one op --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_REFINEATTENTION_H
#define FERRITE_PASSES_FUSION_REFINEATTENTION_H

#include "passes/Fusion/FuseAttentionMatch.h"

namespace ferrite {

/// Gives `attention`, imported as one op, what the matcher gives those that it
/// finds: keys and values before their heads were repeated, windows and masks
/// of keys alone instead of masks of all scores. Returns what it is, in words.
std::string refineAttention(AttentionOp attention, ScoreSpaces &spaces,
                            mlir::OpBuilder &builder);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_REFINEATTENTION_H
