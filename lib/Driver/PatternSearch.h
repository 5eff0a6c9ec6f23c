//===- PatternSearch.h - Which blocks each head needs -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_PATTERNSEARCH_H
#define FERRITE_LIB_DRIVER_PATTERNSEARCH_H

#include "passes/Sparsity/BlockLists.h"

#include <string>
#include <vector>

namespace ferrite {

/// What the queries of one head give the blocks of keys: [rows, rows], the
/// probabilities of each row of queries on average.
struct BlockMass {
  int64_t rows = 0;
  std::vector<float> mass;

  float at(int64_t r, int64_t c) const { return mass[r * rows + c]; }
};

/// One head of queries, keys and values (null: not asked for), rows of `size`
/// and `valueSize` so many floats apart.
struct HeadOfData {
  const float *queries, *keys, *values = nullptr;
  int64_t tokens, size, queryStride, keyStride, valueSize = 0, valueStride = 0;
  /// What is added to scores; null: nothing.
  const float *bias = nullptr;
  int64_t biasQueryStride = 0, biasKeyStride = 0;
};

/// What a query gives the keys before it, or those of its window.
struct QueryWeights {
  int64_t from = 0;
  std::vector<double> weights; ///< of keys from `from` on; they sum to 1
};
QueryWeights weightsOf(AttentionOp op, const HeadOfData &data, int64_t query);

/// Of an attention with that scale, softcap and window, at `sampled` queries of
/// each row: all that share a row keep the same blocks, so some of them tell.
BlockMass measureMass(AttentionOp op, const HeadOfData &data, int64_t block,
                      int64_t sampled);

struct FoundPattern {
  std::string name; ///< "a-shape 1+4", "vertical-slash 3+5", "blocks", "all"
  BlockRows rows;
  int64_t kept = 0; ///< blocks
  double mass = 0;  ///< that it keeps of the data it keeps least of
};

/// The pattern of fewest blocks that keeps at least `least` of the mass of each
/// of `data` on average over rows: an A (the first and the last blocks), some
/// columns and diagonals, or the heaviest blocks of each row. The latter knows
/// nothing of other data than this, and must be smaller by a tenth.
FoundPattern searchPattern(llvm::ArrayRef<BlockMass> data, bool isCausal,
                           double least);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_PATTERNSEARCH_H
