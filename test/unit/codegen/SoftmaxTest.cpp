//===- SoftmaxTest.cpp - Softmax of rows against a reference in double ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitSoftmax.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;
constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float kFill = -3.4028234663852886e38f;

enum class Add { None, Row, Scalar, Full };

class Softmax : public testing::TestWithParam<std::string> {
protected:
  KernelJit kernel(const SoftmaxSpec &spec, Add add, bool half = false,
                   bool inPlace = false) {
    return KernelJit(
        GetParam(),
        [&](MLIRContext &context) {
          Type f32 = Float32Type::get(&context);
          Type type = half ? Type(BFloat16Type::get(&context)) : f32;
          auto rows = contiguous(type, {dyn, dyn, dyn});
          rows.mayAlias = inPlace;
          KernelLayout layout{{rows}};
          if (add == Add::Row) // a mask of keys: [batch, 1, keys]
            layout.operands.push_back(
                strided(f32, {dyn, 1, dyn}, {dyn, dyn, 1}));
          if (add == Add::Scalar)
            layout.operands.push_back(strided(f32, {dyn, 1}, {1, 0}));
          if (add == Add::Full)
            layout.operands.push_back(strided(f32, {dyn, dyn}, {dyn, 1}));
          layout.operands.push_back(rows);
          return layout;
        },
        [&](KernelBuilder &kb) { return emitSoftmax(kb, spec); },
        /*keepAssembly=*/true);
  }

  /// The worst error over [2, rows, width].
  double run(SoftmaxSpec spec, Add add, int64_t rows, int64_t width,
             bool half = false, bool inPlace = false) {
    spec.hasAddend = add != Add::None;
    KernelJit jit = kernel(spec, add, half, inPlace);
    EXPECT_TRUE(jit.ok()) << jit.error();
    if (!jit.ok())
      return inf;
    int64_t batch = 2, total = batch * rows * width;
    auto x = randomFloats(total, 5), a = randomFloats(total, 6);
    for (float &v : x)
      v *= 9;
    std::vector<uint16_t> xs(total), ys(total);
    for (int64_t i = 0; half && i < total; ++i)
      x[i] = fromBF16(xs[i] = toBF16(x[i]));
    std::vector<float> y(total), original = x;
    std::vector<int64_t> shape = {batch, rows, width};
    JitTensor in(half ? (void *)xs.data() : (void *)x.data(), shape);
    JitTensor out(half ? (void *)ys.data() : (void *)y.data(), shape);
    std::vector<JitTensor> tensors = {in};
    auto addend = [&](int64_t b, int64_t r, int64_t d) -> double {
      switch (add) {
      case Add::None:
        return 0;
      case Add::Row:
        return a[b * width + d];
      case Add::Scalar:
        return a[r];
      case Add::Full:
        return a[r * width + d];
      }
      return 0;
    };
    if (add == Add::Row)
      tensors.emplace_back(a.data(), std::vector<int64_t>{batch, 1, width});
    if (add == Add::Scalar)
      tensors.emplace_back(a.data(), std::vector<int64_t>{rows, 1},
                           std::vector<int64_t>{1, 0});
    if (add == Add::Full)
      tensors.emplace_back(a.data(), std::vector<int64_t>{rows, width});
    tensors.push_back(inPlace ? in : out);
    jit.runSplit(tensors, std::min<int64_t>(3, jit.units(tensors)));
    double worst = 0;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t r = 0; r < rows; ++r) {
        int64_t at = (b * rows + r) * width;
        std::vector<double> s(width);
        double highest = -inf, sum = 0;
        for (int64_t d = 0; d < width; ++d) {
          s[d] = original[at + d] * spec.scale + addend(b, r, d);
          highest = std::max(highest, s[d]);
        }
        for (double &v : s)
          sum += v = std::exp(v - highest);
        for (int64_t d = 0; d < width; ++d) {
          float got =
              half ? fromBF16(ys[at + d]) : (inPlace ? x[at + d] : y[at + d]);
          double off = std::fabs(got - s[d] / sum);
          worst = std::isnan(off) ? inf : std::max(worst, off);
        }
      }
    return worst;
  }
};

TEST_P(Softmax, WidthsAndAddends) {
  for (Add add : {Add::None, Add::Row, Add::Scalar, Add::Full})
    for (int64_t width : {1, 5, 16, 33, 128, 201})
      EXPECT_LT(run({0.3}, add, 7, width), 4e-7) << int(add) << " " << width;
}

TEST_P(Softmax, StorageAndPlace) {
  EXPECT_LT(run({}, Add::None, 5, 70, /*half=*/true), 2e-3);
  EXPECT_LT(run({}, Add::Row, 5, 70, false, /*inPlace=*/true), 4e-7);
}

TEST_P(Softmax, MaskedRows) {
  for (bool zero : {false, true}) {
    SoftmaxSpec spec;
    spec.zeroFullyMasked = zero;
    KernelJit jit = kernel(spec, Add::None);
    ASSERT_TRUE(jit.ok()) << jit.error();
    int64_t width = 21;
    std::vector<float> x(3 * width, -inf), y(3 * width);
    for (int64_t d = 0; d < width; ++d)
      x[width + d] = kFill;
    x[2 * width + 4] = 3;
    x[2 * width + 5] = kFill;
    jit.run({{x.data(), {1, 3, width}}, {y.data(), {1, 3, width}}});
    for (int64_t d = 0; d < width; ++d) {
      if (zero)
        EXPECT_EQ(y[d], 0);
      else
        EXPECT_TRUE(std::isnan(y[d]));
      EXPECT_FLOAT_EQ(y[width + d], 1.f / width);
      EXPECT_EQ(y[2 * width + d], d == 4 ? 1 : 0);
    }
  }
}

TEST_P(Softmax, NoCalls) {
  KernelJit jit = kernel({}, Add::None);
  ASSERT_TRUE(jit.ok());
  if (GetParam() == "avx512") // fewer registers than constants otherwise
    EXPECT_EQ(checkInnerLoops(jit.assembly()), "");
  EXPECT_EQ(jit.assembly().find("\tcall"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Levels, Softmax, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
