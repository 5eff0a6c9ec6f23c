//===- Orthogonal.h - Rotations that spread outliers ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Ashkboos et al., QuaRot (2024): a matrix whose elements are all of one size
// turns a row with a few large elements into one without. For sizes that are no
// power of two it is the Kronecker product of the Hadamard matrix of the
// largest power that divides them with a cosine transform of the rest.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_ORTHOGONAL_H
#define FERRITE_LIB_QUANTIZATION_ORTHOGONAL_H

#include <cstdint>
#include <vector>

namespace ferrite {

class Orthogonal {
public:
  explicit Orthogonal(int64_t size);
  int64_t size() const { return power * rest; }
  /// x becomes x * Q, in place, or x * transpose(Q), which undoes it. Element i
  /// is `inner` floats from x + i * inner on, which are rotated side by side.
  void apply(float *x, int64_t inner = 1, bool transposed = false) const;
  /// Q, row by row.
  std::vector<float> matrix() const;

private:
  int64_t power = 1, rest = 1;
  std::vector<float> cosines; ///< [rest][rest]
};

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_ORTHOGONAL_H
