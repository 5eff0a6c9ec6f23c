//===- MergeFused.h - Join a producer and its consumer ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_MERGEFUSED_H
#define FERRITE_PASSES_FUSION_MERGEFUSED_H

#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/FusedBuilder.h"

namespace ferrite {

/// Whether the body is so little work that each consumer may repeat it.
bool isCheap(FusedOp fused);

/// Whether the ops that join stay as they are, or the caller erases them, the
/// producer where nobody else uses it.
enum class Merge { Try, Replace };

/// The fused that `consumer` and the producer of its input `input` become, made
/// before `consumer`. Null, after reject(reason), when they stay apart.
FusedOp mergeProducer(FusedOp consumer, unsigned input, DimAnalysis &dims,
                      Reject reject, Merge merge);

/// Removes inputs that the body does not use, and joins equal ones. True when
/// something changed; `fused` is then the op that took its place.
bool simplifyInputs(FusedOp &fused, DimAnalysis &dims);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_MERGEFUSED_H
