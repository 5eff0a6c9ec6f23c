//===- AttentionScores.h - How attention computes scores --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_ATTENTIONSCORES_H
#define FERRITE_PASSES_ANALYSIS_ATTENTIONSCORES_H

#include "llvm/ADT/StringRef.h"

namespace ferrite {

/// An attention that has this attribute, a string, need not compute its scores
/// in f32: "qk8" is queries and keys as bytes with a scale for each row (a
/// format of --quantize). The op means the same; its kernel errs more.
inline constexpr llvm::StringLiteral kScoresAttr = "ferrite.scores";
inline constexpr llvm::StringLiteral kByteScores = "qk8";

} // namespace ferrite
#endif // FERRITE_PASSES_ANALYSIS_ATTENTIONSCORES_H
