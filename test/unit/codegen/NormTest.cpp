//===- NormTest.cpp - Layer and rms norm against a reference in double ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitNorm.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;
constexpr float inf = std::numeric_limits<float>::infinity();

struct Case {
  NormSpec spec;
  int64_t width;
  bool dynamicWidth = false;
  bool inPlace = false;
  char storage = 'f'; ///< f32, 'h' f16, 'b' bf16: x, residual and result
};

KernelJit kernelFor(const std::string &level, const Case &c) {
  return KernelJit(
      level,
      [&](MLIRContext &context) {
        Type f32 = Float32Type::get(&context), type = f32;
        if (c.storage == 'h')
          type = Float16Type::get(&context);
        if (c.storage == 'b')
          type = BFloat16Type::get(&context);
        int64_t width = c.dynamicWidth ? dyn : c.width;
        auto rows = strided(type, {dyn, dyn, width}, {dyn, dyn, 1});
        rows.mayAlias = c.inPlace;
        auto vector = contiguous(f32, {width});
        KernelLayout layout{{rows, vector}};
        if (c.spec.hasBias)
          layout.operands.push_back(vector);
        if (c.spec.hasResidual)
          layout.operands.push_back(rows);
        if (c.spec.hasAfter)
          layout.operands.push_back(rows);
        layout.operands.push_back(rows);
        return layout;
      },
      [&](KernelBuilder &kb) { return emitNorm(kb, c.spec); },
      /*keepAssembly=*/true);
}

uint16_t narrow(char storage, float x) {
  return storage == 'h' ? toF16(x) : toBF16(x);
}
float widen(char storage, uint16_t x) {
  return storage == 'h' ? fromF16(x) : fromBF16(x);
}

class Norm : public testing::TestWithParam<std::string> {
protected:
  /// [batch, rows, width] with gaps behind each row; returns the worst error.
  double run(const Case &c, int64_t batch, int64_t rows, int64_t pieces = 1) {
    KernelJit jit = kernelFor(GetParam(), c);
    EXPECT_TRUE(jit.ok()) << jit.error();
    if (!jit.ok())
      return inf;
    int64_t gap = c.width + 3, total = batch * rows * gap;
    auto x = randomFloats(total, 1), r = randomFloats(total, 2),
         w = randomFloats(c.width, 3), b = randomFloats(c.width, 4);
    for (float &v : x)
      v = v * 3 + 5; // a mean that cancellation would feel
    std::vector<float> y(total, -9);
    std::vector<uint16_t> xs(total), rs(total), ys(total);
    if (c.storage != 'f')
      for (int64_t i = 0; i < total; ++i) {
        xs[i] = narrow(c.storage, x[i]);
        rs[i] = narrow(c.storage, r[i]);
        x[i] = widen(c.storage, xs[i]);
        r[i] = widen(c.storage, rs[i]);
      }
    std::vector<float> original = x;
    std::vector<int64_t> shape = {batch, rows, c.width},
                         strides = {rows * gap, gap, 1};
    auto tensor = [&](std::vector<float> &f, std::vector<uint16_t> &s) {
      void *data = c.storage == 'f' ? (void *)f.data() : (void *)s.data();
      return JitTensor(data, shape, strides);
    };
    std::vector<JitTensor> tensors = {tensor(x, xs), {w.data(), {c.width}}};
    if (c.spec.hasBias)
      tensors.emplace_back(b.data(), std::vector<int64_t>{c.width});
    if (c.spec.hasResidual)
      tensors.push_back(tensor(r, rs));
    if (c.spec.hasAfter)
      tensors.push_back(c.inPlace ? tensors[0] : tensor(r, rs));
    tensors.push_back(c.inPlace ? tensors[0] : tensor(y, ys));
    EXPECT_EQ(jit.units(tensors), (batch * rows + 3) / 4);
    jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
    if (c.inPlace)
      y = x;
    double worst = 0;
    for (int64_t row = 0; row < batch * rows; ++row) {
      auto value = [&](int64_t d) {
        int64_t i = row * gap + d;
        // The sum is f32's, as it is in the model that was exported.
        return double(c.spec.hasResidual ? original[i] + r[i] : original[i]);
      };
      double mean = 0, square = 0;
      if (c.spec.kind == NormRow::Kind::Layer)
        for (int64_t d = 0; d < c.width; ++d)
          mean += value(d) / c.width;
      for (int64_t d = 0; d < c.width; ++d)
        square += (value(d) - mean) * (value(d) - mean) / c.width;
      double scale = 1 / std::sqrt(square + c.spec.epsilon);
      for (int64_t d = 0; d < c.width; ++d) {
        double want = (value(d) - mean) * scale * w[d];
        if (c.spec.hasBias)
          want += b[d];
        if (c.spec.hasAfter)
          want += (c.inPlace ? original : r)[row * gap + d];
        float got = c.storage == 'f' ? y[row * gap + d]
                                     : widen(c.storage, ys[row * gap + d]);
        double off = std::fabs(got - want);
        worst = std::isnan(off) ? inf : std::max(worst, off);
      }
      if (!c.inPlace && c.storage == 'f') // nothing behind the row
        for (int64_t d = c.width; d < gap; ++d)
          EXPECT_EQ(y[row * gap + d], -9);
    }
    return worst;
  }
};

TEST_P(Norm, AddsAfterwards) {
  for (auto kind : {NormRow::Kind::Layer, NormRow::Kind::RMS})
    for (char storage : {'f', 'h', 'b'})
      for (int64_t width : {1, 17, 100, 384}) {
        Case c{{kind, 1e-5, true, width == 100, true}, width};
        c.storage = storage;
        double limit = storage == 'f' ? 4e-6 : storage == 'h' ? 4e-3 : 4e-2;
        EXPECT_LT(run(c, 2, 5, 2), limit) << storage << width;
      }
  Case c{{NormRow::Kind::RMS, 1e-5, false, false, true}, 100};
  c.inPlace = true; // over what is normalized and added
  EXPECT_LT(run(c, 2, 5), 4e-6);
}

TEST_P(Norm, Widths) {
  for (auto kind : {NormRow::Kind::Layer, NormRow::Kind::RMS})
    for (int64_t width : {1, 8, 16, 17, 63, 64, 100, 384, 390})
      for (bool dynamicWidth : {false, true}) {
        Case c{{kind, 1e-5, true, false}, width, dynamicWidth};
        // A row of one value is 0 / sqrt(epsilon): no error is hidden in it.
        EXPECT_LT(run(c, 2, 5, 3), 2e-6) << width << " " << dynamicWidth;
      }
}

TEST_P(Norm, OperandsAndStorage) {
  for (char storage : {'f', 'h', 'b'})
    for (bool bias : {false, true})
      for (bool residual : {false, true}) {
        Case c{{NormRow::Kind::Layer, 1e-12, bias, residual}, 77};
        c.storage = storage;
        // Half an ulp of results below 4.
        double bound = storage == 'f' ? 2e-6 : storage == 'h' ? 1.1e-3 : 8.2e-3;
        EXPECT_LT(run(c, 1, 9), bound) << storage << bias << residual;
      }
}

TEST_P(Norm, InPlace) {
  Case c{{NormRow::Kind::Layer, 1e-5, true, true}, 50};
  c.inPlace = true;
  EXPECT_LT(run(c, 3, 3, 2), 2e-6);
}

// What FerriteNormOps.td promises about NaN and infinities.
TEST_P(Norm, SpecialValues) {
  for (auto kind : {NormRow::Kind::Layer, NormRow::Kind::RMS}) {
    Case c{{kind, 1e-5, false, false}, 20};
    KernelJit jit = kernelFor(GetParam(), c);
    ASSERT_TRUE(jit.ok()) << jit.error();
    auto x = randomFloats(3 * 20, 1);
    std::vector<float> w(20, 1.f), y(3 * 20);
    x[3] = std::numeric_limits<float>::quiet_NaN();
    x[25] = inf;
    jit.run({{x.data(), {1, 3, 20}}, {w.data(), {20}}, {y.data(), {1, 3, 20}}});
    for (int d = 0; d < 20; ++d) {
      EXPECT_TRUE(std::isnan(y[d]));
      bool own = kind == NormRow::Kind::RMS && d != 5;
      if (own)
        EXPECT_EQ(y[20 + d], 0);
      else
        EXPECT_TRUE(std::isnan(y[20 + d]));
      EXPECT_TRUE(std::isfinite(y[40 + d]));
    }
  }
}

TEST_P(Norm, NoCalls) {
  Case c{{NormRow::Kind::Layer, 1e-5, true, true}, 384};
  KernelJit jit = kernelFor(GetParam(), c);
  ASSERT_TRUE(jit.ok());
  EXPECT_EQ(checkInnerLoops(jit.assembly()), "");
}

TEST_P(Norm, WrongLayoutsAreDiagnosed) {
  KernelJit jit(
      GetParam(),
      [&](MLIRContext &context) {
        auto rows = contiguous(Float32Type::get(&context), {dyn, 8});
        return KernelLayout{{rows, rows}};
      },
      [](KernelBuilder &kb) { return emitNorm(kb, {}); });
  EXPECT_FALSE(jit.ok());
  EXPECT_NE(jit.error().find("norm kernel: expects"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Levels, Norm, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
