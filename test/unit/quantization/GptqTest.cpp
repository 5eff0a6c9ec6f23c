//===- GptqTest.cpp - Rounding that makes up for its errors ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace ferrite;

/// Rows whose elements depend on each other: few directions and some noise.
static std::vector<float> correlated(int64_t rows, int64_t depth) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> basis(8 * depth), data(rows * depth);
  for (float &value : basis)
    value = normal(random);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t d = 0; d < 8; ++d) {
      float amount = normal(random);
      for (int64_t k = 0; k < depth; ++k)
        data[r * depth + k] +=
            amount * basis[d * depth + k] + (d ? 0 : 0.1f * normal(random));
    }
  return data;
}

TEST(Gptq, FactorIsThatOfTheInverse) {
  constexpr int64_t n = 40;
  std::vector<float> rows = correlated(200, n);
  SecondMoments moments(n);
  moments.add(rows.data(), 200, 2);
  std::vector<double> h = moments.sums;
  double mean = 0;
  for (int64_t i = 0; i < n; ++i)
    mean += h[i * n + i] / n;
  for (int64_t i = 0; i < n; ++i) {
    h[i * n + i] += 0.01 * mean;
    for (int64_t j = 0; j < i; ++j)
      h[i * n + j] = h[j * n + i];
  }
  ASSERT_TRUE(factorInverse(moments, 0.01, 2));
  // (UT U) H is the unit matrix.
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        double inverse = 0;
        for (int64_t m = 0; m <= std::min(i, k); ++m)
          inverse += moments.sums[m * n + i] * moments.sums[m * n + k];
        sum += inverse * h[k * n + j];
      }
      ASSERT_NEAR(sum, i == j, 1e-8);
    }
}

TEST(Gptq, NoMatrixIsNoFactor) {
  SecondMoments empty(8);
  EXPECT_FALSE(factorInverse(empty, 0.01, 1));
  SecondMoments broken(2);
  broken.sums = {NAN, 0, 0, 1};
  EXPECT_FALSE(factorInverse(broken, 0.01, 1));
}

TEST(Gptq, ProductsAreNearerThanToTheNearest) {
  constexpr int64_t n = 128, columns = 20, count = 512;
  std::vector<float> rows = correlated(count, n), weight(columns * n);
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (float &value : weight)
    value = normal(random);
  for (const char *text : {"w4g32", "w3g64", "w4g64-asym", "w4pc", "w4g64nf"}) {
    QuantFormat format = llvm::cantFail(QuantFormat::parse(text));
    SecondMoments moments(n);
    moments.add(rows.data(), count, 1);
    ASSERT_TRUE(factorInverse(moments, 0.01, 1));
    RoundedColumns nearest, better;
    nearest.resize(columns, n, format);
    better.resize(columns, n, format);
    roundToNearest(weight.data(), columns, n, format, nullptr, true, nearest,
                   0);
    for (int64_t first = 0; first < columns; first += 16)
      roundWithFactor(weight.data() + first * n,
                      std::min<int64_t>(16, columns - first), n, format,
                      moments.sums.data(), better, first);
    auto errorOf = [&](const RoundedColumns &rounded) {
      double sum = 0;
      std::vector<float> number(n);
      for (int64_t c = 0; c < columns; ++c) {
        decodeColumn(rounded, c, n, format, number.data());
        for (int64_t r = 0; r < count; ++r) {
          double off = 0;
          for (int64_t k = 0; k < n; ++k)
            off += double(rows[r * n + k]) * (weight[c * n + k] - number[k]);
          sum += off * off;
        }
      }
      return sum;
    };
    EXPECT_LT(errorOf(better), 0.5 * errorOf(nearest)) << text;
  }
}

TEST(Gptq, ThreadsGiveTheSameBits) {
  constexpr int64_t n = 96;
  std::vector<float> rows = correlated(300, n);
  SecondMoments one(n), four(n);
  one.add(rows.data(), 300, 1);
  four.add(rows.data(), 300, 4);
  EXPECT_EQ(one.sums, four.sums);
  ASSERT_TRUE(factorInverse(one, 0.01, 1) && factorInverse(four, 0.01, 4));
  EXPECT_EQ(one.sums, four.sums);
}
