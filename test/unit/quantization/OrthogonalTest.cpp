//===- OrthogonalTest.cpp - Rotations -------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Orthogonal.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace ferrite;

TEST(Orthogonal, RowsAreOrthonormal) {
  for (int64_t size : {1, 2, 3, 64, 80, 320, 344}) {
    Orthogonal rotation(size);
    ASSERT_EQ(rotation.size(), size);
    std::vector<float> rows = rotation.matrix();
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j) {
        double dot = 0;
        for (int64_t k = 0; k < size; ++k)
          dot += double(rows[i * size + k]) * rows[j * size + k];
        ASSERT_NEAR(dot, i == j, 1e-5) << size;
      }
  }
}

// An outlier is spread over all elements.
TEST(Orthogonal, ElementsAreOfOneSize) {
  std::vector<float> row(256, 0.0f);
  row[17] = 16;
  Orthogonal(256).apply(row.data());
  for (float value : row)
    EXPECT_FLOAT_EQ(std::fabs(value), 1);
}

TEST(Orthogonal, InnerElementsAreRotatedSideBySide) {
  Orthogonal rotation(24);
  std::vector<float> rows(24 * 3), one(24);
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = float(std::sin(double(i)));
  std::vector<float> expected(rows.size());
  for (int64_t j = 0; j < 3; ++j) {
    for (int64_t i = 0; i < 24; ++i)
      one[i] = rows[i * 3 + j];
    rotation.apply(one.data());
    for (int64_t i = 0; i < 24; ++i)
      expected[i * 3 + j] = one[i];
  }
  rotation.apply(rows.data(), 3);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_FLOAT_EQ(rows[i], expected[i]);
}
