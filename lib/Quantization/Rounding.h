//===- Rounding.h - Numbers as few bits -------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Columns are rounded one by one and share nothing, so results do not depend on
// how they are given to threads.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_ROUNDING_H
#define FERRITE_LIB_QUANTIZATION_ROUNDING_H

#include "passes/Quantization/Spec.h"

#include <cstdint>
#include <vector>

namespace ferrite {

/// Columns of a weight in few bits: codes [columns][depth], scales and zero
/// points [columns][groups].
struct RoundedColumns {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;

  void resize(int64_t columns, int64_t depth, const QuantFormat &format);
};

/// How the numbers of one group are stored.
struct GroupScale {
  float scale = 0;
  int zero = 0;
};

/// The value that a stored number stands for, and the code of the nearest one.
int encode(const QuantFormat &format, GroupScale group, float value);
float decode(const QuantFormat &format, GroupScale group, int code);

/// The scale of the largest number of a group: nothing is cut off.
GroupScale widestScale(const QuantFormat &format, const float *values,
                       int64_t count);
/// The scale, of a grid of those that cut off and those that do not, whose
/// squared error, weighted by `importance` (null: all alike), is least.
GroupScale searchScale(const QuantFormat &format, const float *values,
                       int64_t count, const float *importance);

/// Rounds `count` columns [count][depth] to the nearest, from `firstColumn` of
/// `to` on.
void roundToNearest(const float *columns, int64_t count, int64_t depth,
                    const QuantFormat &format, const float *importance,
                    bool search, RoundedColumns &to, int64_t firstColumn);

/// Adds the squares of what `count` columns [count][depth] lose, and of the
/// columns, weighted by `importance` (null: all alike).
void addErrors(const float *columns, int64_t count, int64_t depth,
               const QuantFormat &format, const float *importance,
               const RoundedColumns &rounded, double &error, double &norm);

/// What the stored numbers stand for.
void decodeColumn(const RoundedColumns &from, int64_t column, int64_t depth,
                  const QuantFormat &format, float *to);

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_ROUNDING_H
