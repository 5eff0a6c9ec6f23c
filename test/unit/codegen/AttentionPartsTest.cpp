//===- AttentionPartsTest.cpp - Caps, sinks, lengths and grouped heads ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// And that none of them, nor a window, makes a row's bits depend on its batch,
// its unit, or the heads that share its keys.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cstring>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

class AttentionParts : public testing::TestWithParam<std::string> {
protected:
  double worstOf(const AttentionCase &c, const AttentionData &d,
                 bool knowsHeads = false) {
    return worstOfThree(GetParam(), c, d, knowsHeads);
  }
};

// 5 cuts scores of this size, and 0.5 makes most of them alike.
TEST_P(AttentionParts, Softcap) {
  for (double cap : {0.5, 5.0, 50.0})
    for (int64_t keys : {1, 33, 512, 700}) {
      AttentionCase c = groupedCase(19, keys);
      c.spec.softcap = cap;
      c.addends = {AddendForm::KeyMask};
      AttentionData d(c);
      if (keys > 1)
        d.mask(c, 1, keys / 2);
      for (float &x : d.k)
        x *= 4;
      EXPECT_LT(worstOf(c, d), 1e-5) << cap << ", " << keys;
    }
}

// Below all scores, among them, and above: then nothing else has a weight.
TEST_P(AttentionParts, Sinks) {
  for (float shift : {-50.f, 0.f, 50.f})
    for (int64_t keys : {1, 64, 513}) {
      AttentionCase c = groupedCase(17, keys);
      c.spec.hasSinks = true;
      AttentionData d(c);
      for (float &x : d.sinks)
        x += shift;
      EXPECT_LT(worstOf(c, d), 3e-6) << shift << ", " << keys;
    }
}

// A row whose keys are all masked has its sink still, with a fill and with
// -inf.
TEST_P(AttentionParts, SinkOfMaskedRows) {
  AttentionCase c = groupedCase(9, 530);
  c.spec.hasSinks = true;
  c.addends = {AddendForm::FullMask};
  AttentionData d(c);
  for (int64_t j = 0; j < c.keys; ++j)
    d.maskFor(c, 1, 4, j);
  for (float fill : {kLowest, -kInf}) {
    c.fill = fill;
    EXPECT_LT(worstOf(c, d), 3e-6) << fill;
  }
}

TEST_P(AttentionParts, Lengths) {
  AttentionCase c = groupedCase(3, 1100);
  c.batch = 9;
  c.spec.hasLengths = c.spec.zeroFullyMasked = true;
  AttentionData d(c);
  d.lengths = {1100, 1024, 1025, 512, 511, 1, 0, -5, 5000};
  EXPECT_LT(worstOf(c, d), 3e-6);
}

// Heads that share keys as rows of one unit, and each on its own: other tiles,
// the same bits.
TEST_P(AttentionParts, GroupedRowsHaveTheSameBits) {
  for (auto [heads, keyHeads] :
       {std::pair<int64_t, int64_t>{4, 2}, {6, 2}, {8, 1}, {7, 1}})
    for (int64_t queries : {1, 5, 50}) {
      AttentionCase c = groupedCase(queries, queries + 530);
      c.heads = heads;
      c.keyHeads = keyHeads;
      c.spec.left = 300;
      c.spec.right = 0;
      c.spec.offset.constant = 530;
      c.spec.hasSinks = true;
      c.addends = {AddendForm::FullMask, AddendForm::FullBias};
      AttentionData d(c);
      d.mask(c, 0, 529);
      auto grouped = run(kernelFor(GetParam(), c, true), c, d);
      auto each = run(kernelFor(GetParam(), c, false), c, d, 5);
      EXPECT_EQ(grouped, each) << heads << " over " << keyHeads;
      EXPECT_LT(worst(grouped, reference(c, d)), 5e-6);
    }
}

// The last tokens alone behind a past, or with those before them; in one piece
// or in many, as threads take them.
TEST_P(AttentionParts, TokensHaveTheSameBitsWithAPast) {
  AttentionCase all = groupedCase(900, 900);
  all.batch = 1;
  all.spec.left = 700;
  all.spec.right = 0;
  all.spec.softcap = 20;
  all.spec.offset.keys = 1;
  all.spec.offset.queries = -1;
  AttentionData d(all);
  auto whole = run(kernelFor(GetParam(), all), all, d);
  EXPECT_EQ(whole, run(kernelFor(GetParam(), all), all, d, 11));
  size_t row = all.heads * all.depth;
  for (int64_t last : {1, 2, 77, 400}) {
    AttentionCase c = all;
    c.queries = last;
    AttentionData tail = d;
    tail.q.assign(d.q.end() - last * row, d.q.end());
    auto got = run(kernelFor(GetParam(), c), c, tail, 2);
    EXPECT_EQ(0,
              std::memcmp(got.data(), whole.data() + whole.size() - got.size(),
                          got.size() * 4))
        << last;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionParts,
                         testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
