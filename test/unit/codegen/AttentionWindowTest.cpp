//===- AttentionWindowTest.cpp - Windows, hard and with a fill ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Windows around the edges of blocks of 512 keys, of groups of 48 rows and of
// chunks, and rows that see no key: with a window of -inf they have no result,
// with a finite fill they weigh the keys outside too.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

class AttentionWindow : public testing::TestWithParam<std::string> {
protected:
  double worstOf(const AttentionCase &c, const AttentionData &d,
                 int64_t pieces = 3) {
    return worst(run(kernelFor(GetParam(), c), c, d, pieces), reference(c, d));
  }
};

AttentionCase small(int64_t queries, int64_t keys) {
  AttentionCase c;
  c.queries = queries;
  c.keys = keys;
  c.heads = c.keyHeads = 2;
  c.depth = c.valueDepth = 32;
  return c;
}

TEST_P(AttentionWindow, BlockEdges) {
  for (auto [left, right] : {std::pair<int64_t, int64_t>{-1, 0},
                             {0, 0},
                             {15, 0},
                             {511, 0},
                             {512, 0},
                             {3, 2},
                             {-1, 40},
                             {100, -1}})
    for (int64_t tokens : {1, 47, 511, 512, 513, 560, 1100}) {
      AttentionCase c = small(tokens, tokens);
      c.spec.left = left;
      c.spec.right = right;
      AttentionData d(c);
      EXPECT_LT(worstOf(c, d), 3e-6)
          << "left " << left << " right " << right << " tokens " << tokens;
    }
}

// Queries behind a past, as decoders have them, and before the keys.
TEST_P(AttentionWindow, Offsets) {
  for (auto [queries, keys] : {std::pair<int64_t, int64_t>{1, 513},
                               {1, 1024},
                               {4, 516},
                               {5, 1030},
                               {50, 550}})
    for (int64_t left : {-1, 7, 600}) {
      AttentionCase c = small(queries, keys);
      c.spec.left = left;
      c.spec.right = 0;
      c.spec.offset.keys = 1;
      c.spec.offset.queries = -1;
      AttentionData d(c);
      EXPECT_LT(worstOf(c, d), 3e-6)
          << queries << " of " << keys << ", left " << left;
    }
}

TEST_P(AttentionWindow, OffsetsAndLengthsOfBatches) {
  AttentionCase c = small(6, 700);
  c.batch = 5;
  c.spec.right = 0;
  c.spec.hasOffsets = c.spec.hasLengths = c.spec.zeroFullyMasked = true;
  AttentionData d(c);
  d.offsets = {0, 506, 694, -3, 1 << 20};
  d.lengths = {700, 512, 513, 2, 0};
  EXPECT_LT(worstOf(c, d), 3e-6);
  c.spec.left = 20;
  EXPECT_LT(worstOf(c, d), 3e-6);
}

/// Left padding of some keys of batch 1: rows of the padding see no key.
AttentionCase leftPadded(int64_t tokens) {
  AttentionCase c = small(tokens, tokens);
  c.batch = 2;
  c.spec.right = 0;
  c.addends = {AddendForm::KeyMask};
  return c;
}

void padLeft(const AttentionCase &c, AttentionData &d, int64_t count) {
  for (int64_t j = 0; j < count; ++j)
    d.mask(c, 1, j);
}

// One condition of one fill: such rows are the mean of all values.
TEST_P(AttentionWindow, JoinedFill) {
  for (int64_t tokens : {5, 60, 513, 800})
    for (int64_t padding : {int64_t(1), tokens / 2, tokens}) {
      AttentionCase c = leftPadded(tokens);
      c.spec.windowFill = kLowest;
      c.spec.joined = true;
      AttentionData d(c);
      padLeft(c, d, padding);
      EXPECT_LT(worstOf(c, d), 3e-6) << padding << " of " << tokens;
      std::vector<float> got = run(kernelFor(GetParam(), c), c, d);
      double mean = 0;
      for (int64_t j = 0; j < tokens; ++j)
        mean += d.v[(tokens + j) * c.heads * c.valueDepth] / double(tokens);
      EXPECT_NEAR(got[c.resultSize() / 2], mean, 1e-6);
    }
}

// Two masks that are added: what both drop is -inf, and the mean is of those
// that one dropped.
TEST_P(AttentionWindow, AddedFill) {
  for (int64_t tokens : {5, 60, 513, 800})
    for (int64_t padding : {int64_t(1), tokens / 2, tokens}) {
      AttentionCase c = leftPadded(tokens);
      c.spec.windowFill = kLowest;
      AttentionData d(c);
      padLeft(c, d, padding);
      EXPECT_LT(worstOf(c, d), 3e-6) << padding << " of " << tokens;
    }
}

// Fills that leave digits of the scores, and that differ.
TEST_P(AttentionWindow, SmallFills) {
  AttentionCase c = leftPadded(530);
  AttentionData d(c);
  padLeft(c, d, 100);
  for (auto [window, fill] : {std::pair<float, float>{-1e4f, -1e4f},
                              {-1e4f, -3e4f},
                              {-1e5f, kLowest},
                              {kLowest, -1e9f}}) {
    c.spec.windowFill = window;
    c.fill = fill;
    // f32 keeps 3 digits behind the point of 1e4, and none of 1e5.
    EXPECT_LT(worstOf(c, d), 1e-2) << window << ", " << fill;
  }
}

// A mask of each query, a window on both sides, sinks, a cap, lengths.
TEST_P(AttentionWindow, FillsWithAllElse) {
  for (bool joined : {false, true})
    for (bool sinks : {false, true}) {
      AttentionCase c = small(70, 600);
      c.batch = 2;
      c.spec.left = 30;
      c.spec.right = 3;
      c.spec.offset.constant = 10;
      c.spec.windowFill = kLowest;
      c.spec.joined = joined;
      c.spec.hasSinks = sinks;
      c.spec.hasLengths = true;
      c.spec.softcap = 5;
      c.addends = {AddendForm::FullMask, AddendForm::FullBias};
      AttentionData d(c);
      d.lengths = {600, 77};
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t i = 3; i < c.queries; i += 7)
          for (int64_t j = 0; j < c.keys - 40 * b; ++j)
            d.maskFor(c, b, i, j);
      EXPECT_LT(worstOf(c, d), 5e-6) << joined << sinks;
    }
}

// Windows that lie beside the keys.
TEST_P(AttentionWindow, NoKeyInWindow) {
  for (int64_t offset : {-1000, -3, 2000}) {
    AttentionCase c = small(9, 600);
    c.spec.left = 4;
    c.spec.right = 0;
    c.spec.hasOffsets = true;
    AttentionData d(c);
    d.offsets = {offset};
    EXPECT_LT(worstOf(c, d), 3e-6) << "hard, " << offset;
    c.spec.zeroFullyMasked = true;
    EXPECT_LT(worstOf(c, d), 3e-6) << "guarded, " << offset;
    c.spec.windowFill = kLowest;
    EXPECT_LT(worstOf(c, d), 3e-6) << "soft, " << offset;
    c.spec.hasSinks = true;
    EXPECT_LT(worstOf(c, d), 3e-6) << "sinks, " << offset;
  }
}

// Rows that see a key have the bits of a window of -inf, and rows that see none
// have the same in any batch and piece.
TEST_P(AttentionWindow, FillChangesNoBits) {
  AttentionCase hard = leftPadded(600), soft = hard;
  soft.spec.windowFill = kLowest;
  soft.spec.joined = true;
  AttentionData d(hard);
  padLeft(hard, d, 333);
  auto was = run(kernelFor(GetParam(), hard), hard, d);
  auto one = run(kernelFor(GetParam(), soft), soft, d);
  auto many = run(kernelFor(GetParam(), soft), soft, d, 7);
  EXPECT_EQ(one, many);
  size_t row = soft.heads * soft.valueDepth, first = 333 * row,
         half = one.size() / 2;
  EXPECT_EQ(0, std::memcmp(was.data(), one.data(), half * 4));
  EXPECT_EQ(0, std::memcmp(was.data() + half + first, one.data() + half + first,
                           (half - first) * 4));
  AttentionCase alone = soft;
  alone.batch = 1;
  AttentionData second(alone);
  std::copy_n(d.q.begin() + d.q.size() / 2, second.q.size(), second.q.begin());
  std::copy_n(d.k.begin() + d.k.size() / 2, second.k.size(), second.k.begin());
  std::copy_n(d.v.begin() + d.v.size() / 2, second.v.size(), second.v.begin());
  std::copy_n(d.keep.begin() + 600, 600, second.keep.begin());
  auto single = run(kernelFor(GetParam(), alone), alone, second);
  EXPECT_EQ(0, std::memcmp(single.data(), one.data() + half, half * 4));
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionWindow,
                         testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
