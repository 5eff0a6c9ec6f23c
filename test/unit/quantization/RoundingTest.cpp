//===- RoundingTest.cpp - Numbers as few bits -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace ferrite;

static QuantFormat format(const char *text) {
  return llvm::cantFail(QuantFormat::parse(text));
}

static std::vector<float> normals(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

static double errorOf(const QuantFormat &format, const std::vector<float> &from,
                      bool search, const float *importance = nullptr) {
  auto depth = int64_t(from.size());
  RoundedColumns rounded;
  rounded.resize(1, depth, format);
  roundToNearest(from.data(), 1, depth, format, importance, search, rounded, 0);
  std::vector<float> number(depth);
  decodeColumn(rounded, 0, depth, format, number.data());
  double sum = 0;
  for (int64_t k = 0; k < depth; ++k)
    sum += std::pow(double(from[k]) - number[k], 2) *
           (importance ? importance[k] : 1);
  return sum;
}

// Of a normal distribution the least errors are known; ours are near.
TEST(Rounding, ErrorsAreThoseOfTheBits) {
  std::vector<float> values = normals(64 * 256, 1);
  double norm = double(values.size());
  EXPECT_LT(errorOf(format("w8g64"), values, true) / norm, 6e-5);
  EXPECT_LT(errorOf(format("w4g64"), values, true) / norm, 0.0125);
  EXPECT_LT(errorOf(format("w4g64nf"), values, true) / norm, 0.0105);
  EXPECT_LT(errorOf(format("w3g64"), values, true) / norm, 0.045);
  EXPECT_LT(errorOf(format("w2g64"), values, true) / norm, 0.18);
  EXPECT_LT(errorOf(format("w4g64-asym"), values, true) / norm, 0.0105);
}

TEST(Rounding, SearchIsNoWorseAndMindsImportance) {
  std::vector<float> values = normals(64 * 64, 2), importance(64 * 64, 1.0f);
  for (size_t k = 0; k < importance.size(); k += 7)
    importance[k] = 100;
  for (const char *text :
       {"w4g64", "w3g32", "w2g16", "w4g64-asym", "w4g64nf"}) {
    QuantFormat f = format(text);
    EXPECT_LT(errorOf(f, values, true), errorOf(f, values, false)) << text;
    EXPECT_LE(errorOf(f, values, true, importance.data()),
              errorOf(f, values, false, importance.data()))
        << text;
  }
}

TEST(Rounding, WholeNumbersAndZerosAreExact) {
  std::vector<float> values(64);
  for (int k = 0; k < 64; ++k)
    values[k] = float(k % 15 - 7);
  EXPECT_EQ(errorOf(format("w4g64"), values, false), 0);
  EXPECT_EQ(errorOf(format("w4g64"), values, true), 0);
  // At most half a step of 7 / 127 each.
  EXPECT_LT(errorOf(format("w8pc"), values, true),
            64 * std::pow(0.5 * 7 / 127, 2));
  EXPECT_EQ(errorOf(format("w4g16-asym"), std::vector<float>(64, 0.0f), true),
            0);
  EXPECT_EQ(errorOf(format("w4g16nf"), std::vector<float>(64, 0.0f), true), 0);
}

// What is too large or too small for the scale's type has a scale all the same.
TEST(Rounding, ExtremesStayFinite) {
  for (const char *text :
       {"w4g16", "w8g16", "w2g16-asym", "w4g16nf", "w4g16-bf16"})
    for (float size : {1e-38f, 1e-10f, 1e30f}) {
      std::vector<float> values = normals(16, 3);
      for (float &value : values)
        value *= size;
      EXPECT_TRUE(std::isfinite(errorOf(format(text), values, true)))
          << text << " " << size;
    }
}

TEST(Rounding, UnsignedEightBitsComeBack) {
  std::vector<float> values(64);
  for (int k = 0; k < 64; ++k)
    values[k] = float(k * 4);
  EXPECT_LT(errorOf(format("w8g64-asym"), values, false) / 64, 0.1);
}
