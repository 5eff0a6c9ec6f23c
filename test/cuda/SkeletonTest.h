//===- SkeletonTest.h - What tests of skeletons share -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_CUDA_SKELETONTEST_H
#define FERRITE_TEST_CUDA_SKELETONTEST_H

#include "Emulation.h"

#include "ferrite/scalar.cuh"

#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <vector>

/// Kernels have no arguments of their own here: they run this.
extern std::function<void()> kernel;

void launch(unsigned grid, unsigned threads, size_t sharedBytes);

template <class T>
inline std::vector<T> normal(size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> next;
  std::vector<T> values(count);
  for (T &value : values)
    value = T(next(engine));
  return values;
}

inline double relative(const std::vector<double> &want,
                       const std::vector<float> &got) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (want[i] - got[i]) * (want[i] - got[i]);
    norm += want[i] * want[i];
  }
  return ::sqrt(error / norm);
}

/// Of one head, with scores of products / 8.
template <class T>
inline std::vector<double>
causalAttention(const std::vector<T> &q, const std::vector<T> &k,
                const std::vector<T> &v, i64 tokens, int size, int valueSize) {
  std::vector<double> result(size_t(tokens * valueSize));
  for (i64 i = 0; i < tokens; ++i) {
    std::vector<double> weights(size_t(i + 1));
    double total = 0;
    for (i64 j = 0; j <= i; ++j) {
      double product = 0;
      for (int d = 0; d < size; ++d)
        product +=
            double(q[size_t(i * size + d)]) * double(k[size_t(j * size + d)]);
      total += weights[size_t(j)] = ::exp(product * 0.125);
    }
    for (i64 j = 0; j <= i; ++j)
      for (int d = 0; d < valueSize; ++d)
        result[size_t(i * valueSize + d)] +=
            weights[size_t(j)] / total * double(v[size_t(j * valueSize + d)]);
  }
  return result;
}

#endif // FERRITE_TEST_CUDA_SKELETONTEST_H
