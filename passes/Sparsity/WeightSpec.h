//===- WeightSpec.h - Which weights are to be pruned, and how ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_WEIGHTSPEC_H
#define FERRITE_PASSES_SPARSITY_WEIGHTSPEC_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace ferrite {
struct SparsityItem;

/// What becomes zero together.
struct ZeroShape {
  /// Blocks of `columns` by `depth` of K; 1 by 1: single numbers.
  int64_t columns = 32, depth = 4;
  /// Two of each four along K in each column, whatever the blocks.
  bool isTwoOfFour = false;

  std::string str() const;
  /// "32x4", "2:4", "1x1".
  static llvm::Expected<ZeroShape> parse(llvm::StringRef text);
};

enum class PruneMethod { Magnitude, Wanda, SparseGPT };

mlir::StringRef methodName(PruneMethod method);

/// An item `weights:..` of --sparsify.
struct PruneItem {
  double share = 0; ///< that becomes zero
  ZeroShape shape;
  PruneMethod method = PruneMethod::Magnitude;
  std::string glob; ///< of weights or nodes; empty: all but what is returned

  bool needsData() const { return method != PruneMethod::Magnitude; }
  /// What is behind `weights:`, or what is wrong with it.
  static llvm::Expected<PruneItem> parse(llvm::StringRef text);
};

/// The items `weights:..` of a --sparsify; of several that match a weight the
/// last holds.
std::vector<PruneItem> pruneItemsOf(llvm::ArrayRef<SparsityItem> items);

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_WEIGHTSPEC_H
