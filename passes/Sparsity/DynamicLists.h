//===- DynamicLists.h - Blocks that are chosen at run time ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_DYNAMICLISTS_H
#define FERRITE_PASSES_SPARSITY_DYNAMICLISTS_H

#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/Spec.h"

namespace ferrite {

/// Of an attention, to be chosen blocks for: the thresholds of its heads, found
/// on data (f32 array).
inline constexpr llvm::StringLiteral kThresholdsAttr = "ferrite.thresholds";

/// Why `op` cannot have its blocks chosen at run time, beside what hinders all
/// lists; or nothing.
std::string whyNotDynamic(AttentionOp op);
std::string whyNotDynamic(PagedAttentionOp op, const SparsityItem &item);

/// The thresholds of a dynamic item for so many heads, `found` on data or its
/// own; heads that it does not name keep all.
std::vector<float> thresholdsOf(const SparsityItem &item, int64_t heads,
                                mlir::DenseF32ArrayAttr found);

/// Makes lists that are chosen at run time, for keys up to `tokens`, operands
/// of `op`.
void setDynamicLists(AttentionOp op, const SparsityItem &item, int64_t tokens,
                     llvm::ArrayRef<float> thresholds, DimAnalysis &dims);
void setDynamicLists(PagedAttentionOp op, const SparsityItem &item,
                     int64_t tokens, llvm::ArrayRef<float> thresholds);

/// What chooses the lists of `op`; null: they are given.
SelectBlocksOp selectionOf(AttentionOp op);

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_DYNAMICLISTS_H
