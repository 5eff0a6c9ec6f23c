//===- BlockEstimate.h - What blocks of keys seem to get --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The rule of ferrite.select_blocks, for one head: of the reference evaluator,
// and of the search for thresholds.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_BLOCKESTIMATE_H
#define FERRITE_LIB_REFERENCE_BLOCKESTIMATE_H

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace ferrite::reference {

struct BlockEstimate {
  double scale = 1, softcap = 0;
  int64_t block = 64, stride = 8, left = -1;
  bool causal = false, pooled = false;
  int64_t size = 0; ///< of a head

  /// `e` of the op: of the rows from that of position `begin` on, where query 0
  /// lies, so many blocks each. `counts`: which keys there are to see.
  std::vector<double> shares(llvm::ArrayRef<double> queries, int64_t begin,
                             llvm::ArrayRef<double> keys,
                             const std::vector<bool> &counts) const;
};

/// What those of a row's blocks get that come before each by their shares, and
/// -1 for those that are always kept: the first and `own`.
std::vector<double> sharesBefore(llvm::ArrayRef<double> shares, int64_t own);

/// Which of a row's blocks are kept: the first, `own`, and those before which
/// the ones of more get less than `threshold` of all.
std::vector<bool> keepBlocks(llvm::ArrayRef<double> shares, int64_t own,
                             double threshold);

} // namespace ferrite::reference
#endif // FERRITE_LIB_REFERENCE_BLOCKESTIMATE_H
