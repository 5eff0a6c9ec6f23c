//===- Gptq.h - Rounding that makes up for its errors -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Frantar et al., GPTQ (2022): the weights of a column are rounded in order of
// k, and what one is off by is taken from those behind it in the proportion
// that the inputs' second moments say disturbs the product least.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_GPTQ_H
#define FERRITE_LIB_QUANTIZATION_GPTQ_H

#include "lib/Quantization/Rounding.h"

namespace ferrite {

/// The sum of x xT over the rows x of a layer's input: a symmetric matrix.
struct SecondMoments {
  int64_t depth = 0;
  int64_t rows = 0;
  std::vector<double> sums; ///< [depth][depth], upper half

  explicit SecondMoments(int64_t depth = 0)
      : depth(depth), sums(depth * depth, 0.0) {}
  /// Adds `count` rows, with `threads` threads; the order of sums is that of
  /// the rows, whatever the threads.
  void add(const float *rows, int64_t count, unsigned threads);
  double diagonal(int64_t k) const { return sums[k * depth + k]; }
};

/// The upper factor U of the inverse of the damped moments, inv(H) = UT U; made
/// in place of them, in the upper half (the lower one means nothing then). The
/// damping, a share of the mean of the diagonal, grows until the matrix is
/// positive definite. False when it is not even at 1.
bool factorInverse(SecondMoments &moments, double damping, unsigned threads);

/// Columns whose errors are spread at once.
constexpr int64_t kErrorPanel = 16;
/// Takes from rows (k, last) of a panel, [depth][kErrorPanel], what makes up
/// for row k being `off` times the factor's diagonal less. `factor`: its row k.
void spreadError(float *panel, const double *factor, const float *off,
                 int64_t k, int64_t last);

/// Rounds up to 16 columns, [count][depth], from `firstColumn` of `to` on.
void roundWithFactor(const float *columns, int64_t count, int64_t depth,
                     const QuantFormat &format, const double *factor,
                     RoundedColumns &to, int64_t firstColumn);

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_GPTQ_H
