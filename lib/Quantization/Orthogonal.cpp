//===- Orthogonal.cpp - Rotations that spread outliers --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Orthogonal.h"

#include <algorithm>
#include <cmath>

using namespace ferrite;
#pragma clang fp contract(off)

Orthogonal::Orthogonal(int64_t size) {
  while (size % (2 * power) == 0)
    power *= 2;
  rest = size / power;
  cosines.resize(rest * rest);
  const double pi = 3.14159265358979323846;
  for (int64_t i = 0; i < rest; ++i)
    for (int64_t j = 0; j < rest; ++j)
      cosines[i * rest + j] =
          float(std::sqrt((i == 0 ? 1.0 : 2.0) / double(rest)) *
                std::cos(pi * double((2 * j + 1) * i) / double(2 * rest)));
}

void Orthogonal::apply(float *x, int64_t inner, bool transposed) const {
  int64_t unit = rest * inner;
  for (int64_t half = 1; half < power; half *= 2)
    for (int64_t block = 0; block < power; block += 2 * half)
      for (int64_t i = block; i < block + half; ++i) {
        float *a = x + i * unit, *b = a + half * unit;
        for (int64_t j = 0; j < unit; ++j) {
          float sum = a[j] + b[j], difference = a[j] - b[j];
          a[j] = sum;
          b[j] = difference;
        }
      }
  auto scale = float(1 / std::sqrt(double(power)));
  if (rest == 1) {
    for (int64_t j = 0; j < power * inner; ++j)
      x[j] *= scale;
    return;
  }
  std::vector<float> mixed(unit);
  for (int64_t i = 0; i < power; ++i) {
    float *row = x + i * unit;
    std::fill(mixed.begin(), mixed.end(), 0.0f);
    for (int64_t from = 0; from < rest; ++from)
      for (int64_t to = 0; to < rest; ++to) {
        float factor =
            cosines[transposed ? to * rest + from : from * rest + to] * scale;
        for (int64_t j = 0; j < inner; ++j)
          mixed[to * inner + j] += row[from * inner + j] * factor;
      }
    std::copy(mixed.begin(), mixed.end(), row);
  }
}

std::vector<float> Orthogonal::matrix() const {
  std::vector<float> rows(size() * size(), 0.0f);
  for (int64_t i = 0; i < size(); ++i) {
    rows[i * size() + i] = 1;
    apply(rows.data() + i * size());
  }
  return rows;
}
