//===- AttentionTest.cpp - Attention against a reference in double --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Shapes around every edge of the tiling (registers, tiles, groups, chunks and
// blocks of keys), masks in every form, operands as slices of one packed
// buffer, and the promise on bits: batch, chunk, split and masked padding do
// not change a query's result.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

namespace {

class Attention : public testing::TestWithParam<std::string> {};

// Every shape around the tiles. 3e-6: 64 products of size 4 in f32, times 1/8.
TEST_P(Attention, Shapes) {
  for (int64_t depth : {32, 64, 40})
    for (int64_t s : {1, 7, 16, 17, 64, 128, 130, 513, 1100}) {
      AttentionCase c;
      c.queries = c.keys = s;
      c.heads = c.keyHeads = s > 500 ? 1 : 2;
      c.batch = s > 500 ? 1 : 2;
      c.depth = c.valueDepth = depth;
      c.addends = {AddendForm::KeyBias};
      AttentionData d(c);
      d.maskSome(c);
      EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
                3e-6)
          << "S " << s << " D " << depth;
    }
}

TEST_P(Attention, OtherDepths) {
  for (auto [depth, valueDepth] : {std::pair<int64_t, int64_t>{80, 80},
                                   {96, 96},
                                   {128, 128},
                                   {3, 5},
                                   {64, 32},
                                   {18, 48},
                                   {256, 144}}) {
    AttentionCase c;
    c.batch = 2;
    c.queries = 53;
    c.keys = 70;
    c.heads = 4;
    c.keyHeads = 2;
    c.depth = depth;
    c.valueDepth = valueDepth;
    AttentionData d(c);
    d.maskSome(c);
    EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)), 5e-6)
        << depth << ", " << valueDepth;
  }
}

TEST_P(Attention, Addends) {
  using Forms = std::vector<AddendForm>;
  for (const Forms &forms :
       {Forms{}, Forms{AddendForm::KeyBias}, Forms{AddendForm::KeyMask},
        Forms{AddendForm::FullBias}, Forms{AddendForm::FullMask},
        Forms{AddendForm::FullBias, AddendForm::KeyMask}})
    for (int64_t keys : {5, 64, 77, 600}) {
      AttentionCase c;
      c.batch = 3;
      c.queries = 19;
      c.keys = keys;
      c.heads = c.keyHeads = 2;
      c.depth = c.valueDepth = 32;
      c.addends = forms;
      AttentionData d(c);
      d.maskSome(c);
      EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
                3e-6)
          << forms.size() << " addends, keys " << keys;
    }
}

// With the finite fill that exporters write, all keys weigh alike, as in
// PyTorch; with -inf there is no weight: NaN in ONNX, 0 where it is asked for.
TEST_P(Attention, FullyMasked) {
  AttentionCase c;
  c.batch = 2;
  c.queries = 5;
  c.addends = {AddendForm::KeyMask};
  for (int64_t keys : {40, 600}) {
    c.keys = keys;
    AttentionData d(c);
    d.maskSome(c);
    for (int64_t j = 0; j < keys; ++j)
      d.mask(c, 1, j);
    size_t half = c.queries * c.valueDepth;
    EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
              3e-6);
    AttentionCase none = c;
    none.fill = -kInf;
    auto nans = run(kernelFor(GetParam(), none), none, d);
    none.spec.zeroFullyMasked = true;
    auto zeros = run(kernelFor(GetParam(), none), none, d);
    for (size_t i = 0; i < half; ++i) {
      EXPECT_EQ(nans[i], zeros[i]); // the other batch
      EXPECT_TRUE(std::isnan(nans[half + i]));
      EXPECT_EQ(zeros[half + i], 0);
    }
  }
  // A first block without weights must not spoil the second.
  c.keys = 700;
  AttentionData d(c);
  d.maskSome(c);
  for (int64_t j = 0; j < 530; ++j)
    d.mask(c, 0, j);
  for (float &x : d.k)
    x *= 30; // maxima far from 0
  for (float fill : {kLowest, -kInf}) {
    c.fill = fill;
    EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
              1e-4);
  }
}

// As the three slices of one projection [B, S, 3, H, D].
TEST_P(Attention, SlicesOfOneBuffer) {
  AttentionCase c;
  c.batch = 2;
  c.queries = c.keys = 37;
  c.heads = c.keyHeads = 3;
  AttentionData d(c);
  d.maskSome(c);
  int64_t row = 3 * c.heads * c.depth, third = c.heads * c.depth;
  std::vector<float> packed(c.batch * c.keys * row);
  for (int64_t t = 0; t < c.batch * c.keys; ++t)
    for (int64_t i = 0; i < third; ++i) {
      packed[t * row + i] = d.q[t * third + i];
      packed[t * row + third + i] = d.k[t * third + i];
      packed[t * row + 2 * third + i] = d.v[t * third + i];
    }
  const KernelJit &jit = kernelFor(GetParam(), c);
  std::vector<float> plain = run(jit, c, d), result(plain.size());
  std::vector<int64_t> shape = {c.batch, c.keys, c.heads, c.depth};
  std::vector<int64_t> strides = {c.keys * row, row, c.depth, 1};
  jit.run({{packed.data(), shape, strides},
           {packed.data() + third, shape, strides},
           {packed.data() + 2 * third, shape, strides},
           {result.data(), shape}});
  EXPECT_EQ(plain, result);
  EXPECT_LT(worst(result, reference(c, d)), 3e-6);
}

// The same bits alone or in a batch, unpadded or padded behind with masked
// keys and queries, in one piece or many.
TEST_P(Attention, Bits) {
  for (AddendForm form : {AddendForm::KeyBias, AddendForm::KeyMask})
    for (auto [real, padded] : {std::pair<int64_t, int64_t>{1, 2},
                                {7, 16},
                                {20, 131},
                                {130, 200},
                                {300, 800},
                                {512, 513},
                                {513, 1100}}) {
      AttentionCase one;
      one.queries = one.keys = real;
      one.depth = one.valueDepth = 32;
      one.addends = {form};
      AttentionCase many = one;
      many.batch = 2;
      many.queries = many.keys = padded;
      AttentionData small(one), big(many, 9);
      for (int64_t j = 0; j < padded; ++j)
        if (j < real)
          big.keyBias[padded + j] = 0, big.keep[padded + j] = 1;
        else
          big.mask(many, 1, j);
      size_t at = padded * one.depth, count = real * one.depth;
      std::copy_n(small.q.begin(), count, big.q.begin() + at);
      std::copy_n(small.k.begin(), count, big.k.begin() + at);
      std::copy_n(small.v.begin(), count, big.v.begin() + at);
      const KernelJit &jit = kernelFor(GetParam(), one);
      auto alone = run(jit, one, small), batched = run(jit, many, big, 3);
      EXPECT_EQ(0, std::memcmp(alone.data(), batched.data() + at, count * 4))
          << real << " in " << padded;
    }
}

// The products run from registers.
TEST_P(Attention, InnerLoops) {
  for (int64_t depth : {32, 64}) {
    AttentionCase c;
    c.depth = c.valueDepth = depth;
    c.addends = {AddendForm::KeyBias};
    const KernelJit &jit = kernelFor(GetParam(), c);
    EXPECT_EQ(checkInnerLoops(jit.assembly()), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Attention, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
