//===- AttentionSeenTest.cpp - Chunks, anchors, prefixes, segments, masks -===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Whatever is left out: the result is that of the formula, and its bits those
// of a kernel that leaves nothing out. What a row does not see is poisoned with
// NaN where it must not be read at all.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <functional>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

class AttentionSeen : public testing::TestWithParam<std::string> {
protected:
  double worstOf(const AttentionCase &c, const AttentionData &d,
                 bool knowsHeads = false) {
    return worstOfThree(GetParam(), c, d, knowsHeads);
  }
};

/// f32 tells scores near -10000 apart by a thousandth.
double limitFor(float fill) { return fill == -1e4f ? 1e-4 : 5e-6; }

/// A causal one behind a past.
AttentionCase causal(int64_t queries, int64_t keys) {
  AttentionCase c = groupedCase(queries, keys);
  c.spec.right = 0;
  c.spec.offset.keys = 1;
  c.spec.offset.queries = -1;
  return c;
}

TEST_P(AttentionSeen, Chunks) {
  for (int64_t chunk : {7, 600})
    for (auto [queries, keys] :
         {std::pair<int64_t, int64_t>{1, 1}, {50, 50}, {700, 1300}}) {
      AttentionCase c = causal(queries, keys);
      c.spec.chunk = chunk;
      EXPECT_LT(worstOf(c, AttentionData(c)), 5e-6) << chunk << ", " << keys;
    }
}

// Both ways, from positions before 0 on: those see no key that is there.
TEST_P(AttentionSeen, ChunksAroundZero) {
  AttentionCase c = groupedCase(90, 600);
  c.spec.chunk = 16;
  c.spec.offset.constant = -20;
  for (float fill : {-kInf, kLowest}) {
    c.spec.windowFill = fill;
    EXPECT_LT(worstOf(c, AttentionData(c)), 5e-6) << fill;
  }
}

TEST_P(AttentionSeen, AnchorsBesideAWindow) {
  for (int64_t anchors : {4, 513})
    for (auto [queries, keys] :
         {std::pair<int64_t, int64_t>{1, 1700}, {60, 60}, {700, 1900}}) {
      AttentionCase c = causal(queries, keys);
      c.spec.left = 200;
      c.spec.anchors = anchors;
      EXPECT_LT(worstOf(c, AttentionData(c)), 5e-6) << anchors << ", " << keys;
    }
}

// A key between the anchors and the window is not read.
TEST_P(AttentionSeen, KeysBetweenAreNotRead) {
  AttentionCase c = causal(2, 2600);
  c.spec.left = 100;
  c.spec.anchors = 4;
  AttentionData d(c);
  auto want = run(kernelFor(GetParam(), c), c, d);
  int64_t row = c.keyHeads * c.depth;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t j = 512; j < 2048; ++j)
      for (int64_t e = 0; e < row; ++e)
        d.k[(b * c.keys + j) * row + e] = d.v[(b * c.keys + j) * row + e] = NAN;
  EXPECT_EQ(want, run(kernelFor(GetParam(), c), c, d));
}

TEST_P(AttentionSeen, Prefixes) {
  for (int64_t left : {-1, 300})
    for (auto [queries, keys] :
         {std::pair<int64_t, int64_t>{40, 40}, {600, 1300}}) {
      AttentionCase c = causal(queries, keys);
      c.batch = 5;
      c.spec.left = left;
      c.spec.hasPrefix = true;
      AttentionData d(c);
      d.prefix = {0, -7, 33, 900, 100000};
      EXPECT_LT(worstOf(c, d), 5e-6) << left << ", " << keys;
    }
}

/// Documents one after the other, of these lengths again and again.
void pack(const AttentionCase &c, AttentionData &d,
          std::vector<int64_t> lengths) {
  for (int64_t b = 0; b < c.batch; ++b) {
    int64_t id = int64_t(1) << 40, left = 0;
    std::vector<int64_t> ids(c.keys);
    for (int64_t j = 0; j < c.keys; ++j, --left) {
      if (left == 0)
        left = lengths[++id % lengths.size()];
      ids[j] = id;
    }
    std::copy(ids.begin(), ids.end(), d.keySegments.begin() + b * c.keys);
    std::copy(ids.end() - c.queries, ids.end(),
              d.querySegments.begin() + b * c.queries);
  }
}

TEST_P(AttentionSeen, Segments) {
  for (bool isCausal : {false, true})
    for (auto [queries, keys] :
         {std::pair<int64_t, int64_t>{1, 1}, {60, 90}, {1100, 1100}}) {
      AttentionCase c =
          isCausal ? causal(queries, keys) : groupedCase(queries, keys);
      c.spec.hasSegments = true;
      AttentionData d(c);
      pack(c, d, {100, 3, 250, 40});
      EXPECT_LT(worstOf(c, d), 5e-6) << isCausal << keys;
    }
}

// In any order, and of queries that have no key of theirs.
TEST_P(AttentionSeen, SegmentsInAnyOrder) {
  AttentionCase c = groupedCase(130, 1200);
  c.spec.hasSegments = c.spec.zeroFullyMasked = true;
  AttentionData d(c);
  for (size_t j = 0; j < d.keySegments.size(); ++j)
    d.keySegments[j] = int64_t(j * 7919 % 13) - 6;
  for (size_t i = 0; i < d.querySegments.size(); ++i)
    d.querySegments[i] = int64_t(i * 31 % 17) - 6;
  for (float fill : {-kInf, kLowest, -1e4f}) {
    c.spec.windowFill = fill;
    EXPECT_LT(worstOf(c, d), limitFor(fill)) << fill;
  }
}

// A document that no query is of is not read, wherever it lies.
TEST_P(AttentionSeen, OtherSegmentsAreNotRead) {
  AttentionCase c = groupedCase(70, 2048);
  c.spec.hasSegments = true;
  AttentionData d(c);
  pack(c, d, {512});
  auto want = run(kernelFor(GetParam(), c), c, d);
  int64_t row = c.keyHeads * c.depth;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t i = 0; i < 1536 * row; ++i)
      d.k[b * c.keys * row + i] = d.v[b * c.keys * row + i] = NAN;
  EXPECT_EQ(want, run(kernelFor(GetParam(), c), c, d));
}

/// Kernels that look at a mask, and one of a bias, which reads everything.
void expectSameBits(const std::string &level, AttentionCase c,
                    AttentionData &d) {
  c.addends = {AddendForm::KeyMask};
  auto masked = run(kernelFor(level, c), c, d, 2);
  c.addends = {AddendForm::FullMask};
  EXPECT_EQ(masked, run(kernelFor(level, c), c, d, 3));
  EXPECT_LT(worst(masked, reference(c, d)), 5e-6);
  c.addends = {AddendForm::KeyBias};
  EXPECT_EQ(masked, run(kernelFor(level, c), c, d));
}

TEST_P(AttentionSeen, PaddingAtEitherEnd) {
  using Drops = std::function<bool(int64_t)>;
  for (int64_t keys : {65, 200, 530, 1100})
    for (const Drops &drops :
         {Drops([&](int64_t j) { return j < keys / 2; }),
          Drops([&](int64_t j) { return j >= keys / 3; }),
          Drops([&](int64_t j) { return j != keys - 2; }),
          Drops([&](int64_t j) { return j / 64 % 3 != 1; })}) {
      AttentionCase c = groupedCase(100, keys);
      AttentionData d(c);
      for (int64_t j = 0; j < keys; ++j)
        if (drops(j))
          d.mask(c, 1, j);
      expectSameBits(GetParam(), c, d);
    }
}

// A sequence that is all padding weighs all its keys alike, or none.
TEST_P(AttentionSeen, AllPadding) {
  for (float fill : {kLowest, -kInf})
    for (AddendForm form : {AddendForm::KeyMask, AddendForm::FullMask})
      for (int64_t right : {-1, 0}) {
        AttentionCase c = right < 0 ? groupedCase(50, 700) : causal(50, 700);
        c.fill = fill;
        c.addends = {form};
        c.spec.zeroFullyMasked = true;
        AttentionData d(c);
        for (int64_t j = 0; j < c.keys; ++j)
          d.mask(c, 1, j);
        EXPECT_LT(worstOf(c, d), 5e-6) << fill << ", " << right;
      }
}

// Left padding below a causal mask: rows that see no key, with one fill, two,
// or one for keys of the window alone.
TEST_P(AttentionSeen, LeftPaddingAndCausal) {
  for (float windowFill : {-kInf, kLowest})
    for (float fill : {-kInf, kLowest, -1e4f}) {
      AttentionCase c = causal(600, 600);
      c.fill = fill;
      c.addends = {AddendForm::KeyMask};
      c.spec.windowFill = windowFill;
      c.spec.zeroFullyMasked = true;
      AttentionData d(c);
      for (int64_t j = 0; j < 300; ++j)
        d.mask(c, 1, j);
      EXPECT_LT(worstOf(c, d), limitFor(fill)) << windowFill << ", " << fill;
    }
}

// A mask of each query, as a computed one is, with a row that it drops.
TEST_P(AttentionSeen, FullMasks) {
  for (float fill : {-kInf, kLowest}) {
    AttentionCase c = groupedCase(120, 1300);
    c.fill = fill;
    c.addends = {AddendForm::FullMask};
    c.spec.zeroFullyMasked = true;
    AttentionData d(c);
    for (int64_t i = 0; i < c.queries; ++i)
      for (int64_t j = 0; j < c.keys; ++j)
        if (j / 100 != i / 13 || i == 60)
          d.maskFor(c, 1, i, j);
    EXPECT_LT(worstOf(c, d), 5e-6) << fill;
    EXPECT_LT(worstOf(c, d, /*knowsHeads=*/true), 5e-6) << fill;
  }
}

// All at once, and tokens alone or with those before them: the same bits.
TEST_P(AttentionSeen, TokensHaveTheSameBits) {
  AttentionCase all = causal(900, 900);
  all.batch = 1;
  all.spec.left = 150;
  all.spec.chunk = 400;
  all.spec.anchors = 3;
  all.spec.hasPrefix = all.spec.hasSegments = true;
  all.addends = {AddendForm::KeyMask};
  AttentionData d(all);
  d.prefix = {130};
  pack(all, d, {350, 77});
  for (int64_t j = 600; j < 640; ++j)
    d.mask(all, 0, j);
  auto whole = run(kernelFor(GetParam(), all), all, d, 5);
  EXPECT_EQ(whole, run(kernelFor(GetParam(), all, true), all, d));
  EXPECT_LT(worst(whole, reference(all, d)), 5e-6);
  size_t row = all.heads * all.depth;
  for (int64_t last : {1, 77, 400}) {
    AttentionCase c = all;
    c.queries = last;
    AttentionData tail = d;
    tail.q.assign(d.q.end() - last * row, d.q.end());
    tail.querySegments.assign(d.querySegments.end() - last,
                              d.querySegments.end());
    auto got = run(kernelFor(GetParam(), c), c, tail, 2);
    EXPECT_EQ(got, std::vector<float>(whole.end() - got.size(), whole.end()))
        << last;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionSeen, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
