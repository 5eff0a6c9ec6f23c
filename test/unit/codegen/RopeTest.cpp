//===- RopeTest.cpp - Rotary embedding against a reference in double ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitRope.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;

struct Shape {
  int64_t batch, tokens, heads, depth, rotated;
};

class Rope : public testing::TestWithParam<std::string> {
protected:
  KernelJit kernel(bool interleaved, bool half = false, bool inPlace = false,
                   bool keepAssembly = false) {
    return KernelJit(
        GetParam(),
        [&](MLIRContext &context) {
          Type f32 = Float32Type::get(&context);
          Type type = half ? Type(Float16Type::get(&context)) : f32;
          auto rows = strided(type, {dyn, dyn, dyn, dyn}, {dyn, dyn, dyn, 1});
          rows.mayAlias = inPlace;
          auto table = strided(f32, {dyn, dyn, dyn}, {dyn, dyn, 1});
          return KernelLayout{{rows, table, table, rows}};
        },
        [&](KernelBuilder &kb) { return emitRope(kb, {interleaved}); },
        keepAssembly);
  }
};

struct Data {
  std::vector<float> x, cos, sin;
  explicit Data(const Shape &s)
      : x(randomFloats(s.batch * s.tokens * s.heads * s.depth, 1)) {
    for (float angle : randomFloats(s.batch * s.tokens * s.rotated / 2, 2)) {
      cos.push_back(std::cos(9 * angle));
      sin.push_back(std::sin(9 * angle));
    }
  }
};

std::vector<double> reference(const Shape &s, const Data &d, bool interleaved,
                              bool oneTable) {
  std::vector<double> y(d.x.begin(), d.x.end());
  int64_t half = s.rotated / 2;
  for (int64_t row = 0; row < s.batch * s.tokens * s.heads; ++row) {
    int64_t token = row / s.heads;
    if (oneTable)
      token %= s.tokens;
    for (int64_t i = 0; i < half; ++i) {
      int64_t a = row * s.depth + (interleaved ? 2 * i : i);
      int64_t b = interleaved ? a + 1 : a + half;
      double c = d.cos[token * half + i], n = d.sin[token * half + i];
      y[a] = d.x[a] * c - d.x[b] * n;
      y[b] = d.x[b] * c + d.x[a] * n;
    }
  }
  return y;
}

std::vector<JitTensor> tensors(const Shape &s, const Data &d, const void *x,
                               void *y, bool oneTable) {
  using Sizes = std::vector<int64_t>;
  Sizes shape = {s.batch, s.tokens, s.heads, s.depth};
  int64_t half = s.rotated / 2;
  Sizes table = {s.batch, s.tokens, half};
  Sizes strides = {oneTable ? 0 : s.tokens * half, half, 1};
  return {{x, shape},
          {d.cos.data(), table, strides},
          {d.sin.data(), table, strides},
          {y, shape}};
}

// Whole heads and parts of them, around registers of either level; each token
// with an angle of its own, or one table for all of the batch.
TEST_P(Rope, Shapes) {
  for (bool interleaved : {false, true}) {
    KernelJit jit = kernel(interleaved);
    ASSERT_TRUE(jit.ok()) << jit.error();
    for (const Shape &s :
         {Shape{1, 1, 1, 2, 2}, Shape{2, 3, 4, 16, 16}, Shape{2, 5, 3, 64, 64},
          Shape{1, 7, 2, 80, 20}, Shape{3, 2, 5, 34, 34},
          Shape{2, 4, 2, 128, 32}, Shape{1, 2, 3, 70, 66}})
      for (bool oneTable : {false, true}) {
        Data d(s);
        std::vector<float> y(d.x.size(), -77.f);
        auto all = tensors(s, d, d.x.data(), y.data(), oneTable);
        jit.runSplit(all, std::min<int64_t>(3, jit.units(all)));
        auto want = reference(s, d, interleaved, oneTable);
        for (size_t i = 0; i < y.size(); ++i)
          ASSERT_NEAR(y[i], want[i], 3e-7)
              << interleaved << oneTable << " D " << s.depth << " R "
              << s.rotated << " at " << i;
      }
  }
}

// The result in the place of x.
TEST_P(Rope, InPlace) {
  Shape s{2, 6, 3, 48, 40};
  for (bool interleaved : {false, true}) {
    KernelJit jit = kernel(interleaved, false, /*inPlace=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    Data d(s);
    std::vector<float> x = d.x;
    jit.runSplit(tensors(s, d, x.data(), x.data(), false), 4);
    auto want = reference(s, d, interleaved, false);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(x[i], want[i], 3e-7) << interleaved << " at " << i;
  }
}

// f16 is turned in f32 and rounded once.
TEST_P(Rope, HalfPrecisionStorage) {
  Shape s{2, 3, 2, 40, 24};
  for (bool interleaved : {false, true}) {
    KernelJit jit = kernel(interleaved, /*half=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    Data d(s);
    std::vector<uint16_t> x, y(d.x.size());
    for (float &value : d.x) {
      x.push_back(toF16(value));
      value = fromF16(x.back());
    }
    jit.run(tensors(s, d, x.data(), y.data(), false));
    auto want = reference(s, d, interleaved, false);
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(fromF16(y[i]), want[i], 5e-4 * std::fabs(want[i]) + 1e-7)
          << interleaved << " at " << i;
  }
}

TEST_P(Rope, InnerLoopsCallNothing) {
  std::string vector = GetParam() == "avx512" ? "%zmm" : "%ymm";
  for (bool interleaved : {false, true}) {
    KernelJit jit = kernel(interleaved, false, false, /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly()));
    EXPECT_NE(std::string::npos, jit.assembly().find("vmulps\t"));
    EXPECT_NE(std::string::npos, jit.assembly().find(vector));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Rope, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
