//===- PruningTest.cpp - Weights that become zero -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Pruning.h"

#include "lib/Quantization/Gptq.h"
#include "passes/Sparsity/Spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace ferrite;

static PruneItem itemOf(llvm::StringRef text) {
  return llvm::cantFail(PruneItem::parse(text));
}

static std::vector<float> randomNumbers(size_t count, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float &number : numbers)
    number = normal(random);
  return numbers;
}

// Of each strip as many blocks are zero as are asked for, whole, and they are
// those of the least numbers.
TEST(Pruning, BlocksOfTheLeastSquares) {
  constexpr int64_t depth = 66; // the last block of 4 has 2
  for (const char *blocks : {"32x4", "16x4", "32x1", "16x1", "1x1"})
    for (double share : {0.25, 0.5, 0.9}) {
      PruneItem item = itemOf(std::to_string(share) + ",blocks=" + blocks);
      int64_t width = stripOf(item.shape);
      std::vector<float> before = randomNumbers(width * depth, 3),
                         after = before;
      pruneStrip(after.data(), width, depth, item, nullptr, nullptr);
      int64_t columns = item.shape.columns, d = item.shape.depth;
      for (int64_t n = 0; n < width; n += columns) {
        double mostZero = 0, leastKept = 1e30;
        int64_t zeros = 0, count = (depth + d - 1) / d;
        for (int64_t b = 0; b < count; ++b) {
          double squares = 0, left = 0;
          for (int64_t k = b * d; k < std::min(depth, (b + 1) * d); ++k)
            for (int64_t c = n; c < n + columns; ++c) {
              squares += before[c * depth + k] * before[c * depth + k];
              left += after[c * depth + k] * after[c * depth + k];
            }
          EXPECT_TRUE(left == 0 || left == squares) << blocks;
          zeros += left == 0;
          double &edge = left == 0 ? mostZero : leastKept;
          edge = left == 0 ? std::max(edge, squares) : std::min(edge, squares);
        }
        EXPECT_EQ(int64_t(std::ceil(share * count)), zeros) << blocks;
        EXPECT_LE(mostZero, leastKept) << blocks;
      }
    }
}

TEST(Pruning, TwoOfEachFour) {
  constexpr int64_t depth = 32;
  std::vector<float> columns = randomNumbers(16 * depth, 4);
  pruneStrip(columns.data(), 16, depth, itemOf("0.5,blocks=2:4"), nullptr,
             nullptr);
  for (size_t i = 0; i < columns.size(); i += 4) {
    int zeros = 0;
    for (size_t j = i; j < i + 4; ++j)
      zeros += columns[j] == 0;
    EXPECT_EQ(2, zeros);
  }
}

/// |X (W - W')|^2 for the rows X.
static double errorOf(const std::vector<float> &rows,
                      const std::vector<float> &before,
                      const std::vector<float> &after, int64_t depth) {
  double error = 0;
  for (size_t r = 0; r < rows.size(); r += depth)
    for (size_t n = 0; n < before.size(); n += depth) {
      double off = 0;
      for (int64_t k = 0; k < depth; ++k)
        off += rows[r + k] * (before[n + k] - after[n + k]);
      error += off * off;
    }
  return error;
}

// Inputs of different sizes that depend on each other: knowing the sizes helps,
// and making up for the zeros helps more.
TEST(Pruning, WhatIsKnownOfTheInputsHelps) {
  constexpr int64_t depth = 192, count = 400;
  std::vector<float> basis = randomNumbers(24 * depth, 5),
                     amounts = randomNumbers(24 * count, 6),
                     rows = randomNumbers(count * depth, 7);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t k = 0; k < depth; ++k) {
      float &value = rows[r * depth + k];
      value *= 0.3f;
      for (int64_t d = 0; d < 24; ++d)
        value += amounts[r * 24 + d] * basis[d * depth + k];
      value *= k % 7 == 0 ? 4.0f : 0.5f;
    }
  SecondMoments moments(depth);
  moments.add(rows.data(), count, 1);
  std::vector<float> importance;
  for (int64_t k = 0; k < depth; ++k)
    importance.push_back(float(moments.diagonal(k) / count));
  ASSERT_TRUE(factorInverse(moments, 0.01, 1));
  for (const char *blocks : {"32x4", "16x1", "1x1", "2:4"}) {
    PruneItem item = itemOf(std::string("0.5,blocks=") + blocks);
    int64_t width = stripOf(item.shape);
    std::vector<float> before = randomNumbers(width * depth, 8);
    std::vector<float> magnitude = before, wanda = before, gpt = before;
    pruneStrip(magnitude.data(), width, depth, item, nullptr, nullptr);
    pruneStrip(wanda.data(), width, depth, item, importance.data(), nullptr);
    pruneStrip(gpt.data(), width, depth, item, nullptr, moments.sums.data());
    double m = errorOf(rows, before, magnitude, depth),
           w = errorOf(rows, before, wanda, depth),
           g = errorOf(rows, before, gpt, depth);
    EXPECT_LT(w, 0.8 * m) << blocks;
    EXPECT_LT(g, 0.5 * w) << blocks;
    int64_t zeros = 0;
    for (float number : gpt)
      zeros += number == 0;
    EXPECT_EQ(width * depth / 2, zeros) << blocks;
  }
}

TEST(Pruning, ItemsOfTheOption) {
  PruneItem item =
      itemOf("0.7,blocks=16x1,method=sparsegpt,names=layers.*.fc1");
  EXPECT_EQ(0.7, item.share);
  EXPECT_EQ("16x1", item.shape.str());
  EXPECT_EQ(PruneMethod::SparseGPT, item.method);
  EXPECT_EQ("layers.*.fc1", item.glob);
  auto why = [](llvm::StringRef text) {
    llvm::Expected<std::vector<SparsityItem>> items = parseSparsity(text);
    return items ? std::string() : llvm::toString(items.takeError());
  };
  EXPECT_EQ("", why("weights:0.5;window:64"));
  for (auto [text, part] : {std::pair("weights:", "needs the share"),
                            {"weights:0", "above 0 and below 1"},
                            {"weights:nan", "above 0 and below 1"},
                            {"weights:1.5", "above 0 and below 1"},
                            {"weights:0.5,blocks=8x4", "is none of"},
                            {"weights:0.5,blocks=1x4", "is none of"},
                            {"weights:0.6,blocks=2:4", "a half"},
                            {"weights:0.5,method=best", "unknown method"},
                            {"weights:0.5,names=", "has no"},
                            {"weights:0.5,0.6", "twice"}})
    EXPECT_NE(std::string::npos, why(text).find(part))
        << text << ": " << why(text);
}
