//===- AttentionBytesTest.cpp - Scores of queries and keys as bytes -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against the formula in double twice: with products of the same bytes, which
// tells whether the kernel does what it says, and with exact products, which
// tells what that costs.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

namespace {

/// A row as bytes: round(x * (127 / largest)), in f32.
struct ByteRow {
  std::vector<int> bytes;
  float scale;

  explicit ByteRow(const std::vector<float> &row) {
    float most = 0;
    for (float x : row)
      most = std::max(most, std::fabs(x));
    float factor = most > 0 ? 127.0f / most : 0;
    for (float x : row)
      bytes.push_back(
          int(std::nearbyint(std::clamp(x * factor, -127.0f, 127.0f))));
    scale = most / 127.0f;
  }
};

/// The products that the kernel stands for.
class ByteProducts {
public:
  ByteProducts(const AttentionCase &c, const AttentionData &d) : c(c), d(d) {}

  double operator()(int64_t b, int64_t h, int64_t i, int64_t j) const {
    int64_t kh = h / (c.heads / c.keyHeads);
    std::vector<float> q(&d.q[((b * c.queries + i) * c.heads + h) * c.depth],
                         &d.q[((b * c.queries + i) * c.heads + h) * c.depth] +
                             c.depth);
    std::vector<float> k = key(b, j, kh), center = centerOf(b, j / 512, kh);
    for (int64_t e = 0; e < c.depth; ++e)
      k[e] -= center[e];
    ByteRow left(q), right(k);
    int64_t sum = 0;
    double rest = 0;
    for (int64_t e = 0; e < c.depth; ++e) {
      sum += left.bytes[e] * right.bytes[e];
      rest += double(q[e]) * center[e];
    }
    return double(sum) * left.scale * right.scale + rest;
  }

private:
  std::vector<float> key(int64_t b, int64_t j, int64_t kh) const {
    const float *row = &d.k[((b * c.keys + j) * c.keyHeads + kh) * c.depth];
    return {row, row + c.depth};
  }
  std::vector<float> centerOf(int64_t b, int64_t block, int64_t kh) const {
    std::vector<float> center(c.depth, 0);
    bool windowed = c.spec.left >= 0 || c.spec.right >= 0 || c.spec.chunk > 0;
    if (c.spec.hasSegments || (windowed && block == 0))
      return center;
    int64_t first = 512 * block - (windowed ? 16 : 0);
    float kept = 0;
    for (int64_t j = first; j < first + 16; ++j) {
      if (!windowed &&
          (j >= c.keys || (c.spec.hasLengths && j >= d.lengths[b]) ||
           (llvm::is_contained(c.addends, AddendForm::KeyMask) &&
            !d.keep[b * c.keys + j])))
        continue;
      ++kept;
      std::vector<float> row = key(b, j, kh);
      for (int64_t e = 0; e < c.depth; ++e)
        center[e] += row[e];
    }
    float inverse = 1 / std::max(kept, 1.0f);
    for (float &x : center)
      x *= inverse;
    return center;
  }

  const AttentionCase &c;
  const AttentionData &d;
};

class AttentionBytes : public testing::TestWithParam<std::string> {
protected:
  /// As the bytes say, and within `bound` of the exact result.
  void check(AttentionCase c, const AttentionData &d, double bound) {
    c.spec.byteScores = true;
    std::vector<float> got = run(kernelFor(GetParam(), c), c, d, 3);
    EXPECT_LT(worst(got, reference(c, d, ByteProducts(c, d))), 5e-6);
    EXPECT_LT(worst(got, reference(c, d)), bound);
  }
};

TEST_P(AttentionBytes, Shapes) {
  for (auto [depth, valueDepth] :
       {std::pair<int64_t, int64_t>{64, 64}, {3, 5}, {33, 16}})
    for (int64_t keys : {1, 17, 130}) {
      AttentionCase c;
      c.batch = 2;
      c.queries = c.keys = keys;
      c.heads = 2;
      c.depth = depth;
      c.valueDepth = valueDepth;
      c.keyHeads = 1;
      c.scale = 1 / std::sqrt(double(depth));
      SCOPED_TRACE(std::to_string(depth) + " " + std::to_string(keys));
      check(c, AttentionData(c), 0.02);
    }
}

TEST_P(AttentionBytes, InnerLoopsStayInRegisters) {
  AttentionCase c; // of 64 bytes: few steps of a product are no loop
  c.spec.byteScores = true;
  const std::string &text = kernelFor(GetParam(), c).assembly();
  EXPECT_EQ("", checkInnerLoops(text));
  bool fours = cpu::findCpuLevel(GetParam())->byteDot() == cpu::ByteDot::Fours;
  EXPECT_NE(std::string::npos, text.find(fours ? "vpdpbusd" : "vpmaddwd"));
}

// Of what a mask drops nothing shows, in whatever block it is.
TEST_P(AttentionBytes, MasksAndLengths) {
  AttentionCase c;
  c.batch = 2;
  c.queries = 9;
  c.keys = 530;
  c.addends = {AddendForm::KeyMask};
  AttentionData d(c);
  for (int64_t j : {0, 3, 200, 513, 529})
    d.mask(c, 1, j);
  check(c, d, 0.02);
  AttentionCase ends;
  ends.batch = 2;
  ends.queries = 9;
  ends.keys = 530;
  ends.spec.hasLengths = true;
  AttentionData other(ends);
  other.lengths = {514, 7};
  check(ends, other, 0.02);
}

TEST_P(AttentionBytes, WindowsAndSinks) {
  AttentionCase c = groupedCase(530, 530);
  c.batch = 1;
  c.heads = 2;
  c.keyHeads = 1;
  c.spec.right = 0;
  c.spec.hasSinks = true;
  c.spec.softcap = 20;
  check(c, AttentionData(c), 0.02);
  AttentionCase segments = groupedCase(40, 40);
  segments.spec.hasSegments = true;
  check(segments, AttentionData(segments), 0.02);
}

// What all keys have in common, as models' keys do, costs no bits.
TEST_P(AttentionBytes, CommonPartsAreNotRounded) {
  AttentionCase c;
  c.queries = c.keys = 64;
  AttentionData d(c);
  for (int64_t j = 0; j < c.keys; ++j)
    d.k[j * c.depth + 5] += 40;
  check(c, d, 0.02);
}

// Rows do not depend on the padding behind them, nor on the other queries.
TEST_P(AttentionBytes, BitsDoNotDependOnOthers) {
  AttentionCase c;
  c.queries = c.keys = 130;
  c.addends = {AddendForm::KeyMask};
  c.spec.byteScores = true;
  for (int64_t tokens : {7, 100}) {
    AttentionCase few = c.sized(tokens);
    AttentionData alone(few), padded(c);
    std::copy(alone.q.begin(), alone.q.end(), padded.q.begin());
    std::copy(alone.k.begin(), alone.k.end(), padded.k.begin());
    std::copy(alone.v.begin(), alone.v.end(), padded.v.begin());
    for (int64_t j = tokens; j < c.keys; ++j)
      padded.mask(c, 0, j);
    std::vector<float> short_ = run(kernelFor(GetParam(), c), few, alone),
                       long_ = run(kernelFor(GetParam(), c), c, padded, 2);
    EXPECT_EQ(
        0, std::memcmp(short_.data(), long_.data(), tokens * c.valueDepth * 4))
        << tokens;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionBytes,
                         testing::ValuesIn(hostDotLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
