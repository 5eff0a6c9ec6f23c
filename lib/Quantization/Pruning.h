//===- Pruning.h - Weights that become zero ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the zeros of a weight are chosen by: the squares of its numbers
// (magnitude), times the mean square of the input of each (Sun et al., Wanda,
// 2023), or over what the inverse of the inputs' second moments says that the
// others can make up for, which they then do (Frantar et al., SparseGPT, 2023).
// Strips of columns are pruned one by one and each has the share of zeros that
// is asked for, so the strips of a product take the same time.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_PRUNING_H
#define FERRITE_LIB_QUANTIZATION_PRUNING_H

#include "passes/Sparsity/WeightSpec.h"

#include <cstdint>

namespace ferrite {

/// Columns that are pruned together.
inline int64_t stripOf(const ZeroShape &shape) {
  return shape.isTwoOfFour || shape.columns == 1 ? 16 : shape.columns;
}

/// Makes numbers of a strip of up to stripOf(item.shape) columns,
/// [count][depth], zero. `importance`: of each k; null: all alike. `factor`: of
/// the inputs' moments (factorInverse), for SparseGPT; else null.
void pruneStrip(float *columns, int64_t count, int64_t depth,
                const PruneItem &item, const float *importance,
                const double *factor);

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_PRUNING_H
