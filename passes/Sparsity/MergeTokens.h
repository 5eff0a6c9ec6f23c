//===- MergeTokens.h - What is known of tokens that merged ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_MERGETOKENS_H
#define FERRITE_PASSES_SPARSITY_MERGETOKENS_H

#include "mlir/Support/LLVM.h"

namespace ferrite {

/// Of an attention over tokens some of which merged: how many there were, a dim
/// expression.
inline constexpr llvm::StringLiteral kMergedAttr = "ferrite.merged";

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_MERGETOKENS_H
