//===- Candidates.h - Attention that an item may change ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the pass and the search of the driver ask and say alike.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_CANDIDATES_H
#define FERRITE_PASSES_SPARSITY_CANDIDATES_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/Spec.h"

namespace ferrite {

/// Why no distance or list may be given to `op`, or nothing.
std::string whyNotSparse(AttentionOp op, DimAnalysis &dims);

/// A remark `name` of the pass's category: `item` was done, or why not.
void reportItem(mlir::Operation *op, llvm::StringRef name, llvm::StringRef item,
                llvm::StringRef why);

/// An error where an item names layers that are not there, or nobody took it.
mlir::LogicalResult checkItem(mlir::Location loc, const SparsityItem &item,
                              int64_t attentions, bool isTaken);

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_CANDIDATES_H
