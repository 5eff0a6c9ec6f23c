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

#endif // FERRITE_TEST_CUDA_SKELETONTEST_H
