//===- VectorMathTest.cpp - Elementary functions against libm -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every function over a sweep of bit patterns of both signs, against libm in
// double. The bounds are those that VectorMath.h promises. Units in the last
// place are those of the exact result, denormals included.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/VectorMath.h"
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

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

using Emitted = std::function<Value(KernelBuilder &, Value, Value)>;

/// y = f(x, x2) over arrays, whole registers and a masked tail.
std::vector<float> evaluate(StringRef level, const Emitted &f,
                            const std::vector<float> &x,
                            std::vector<float> x2 = {}) {
  int64_t dynamic = ShapedType::kDynamic;
  KernelJit jit(
      level,
      [&](MLIRContext &context) {
        auto operand = contiguous(Float32Type::get(&context), {dynamic});
        return KernelLayout{{operand, operand, operand}};
      },
      [&](KernelBuilder &kb) -> LogicalResult {
        kb.defineUnits([&] { return kb.c(1); });
        kb.defineBody([&] {
          kb.forUnits([&](Value) {
            kb.forVectors(kb.dim(0, 0), [&](Value i, Value mask) {
              Value a =
                  kb.loadMasked(kb.vec(), kb.gep(kb.ptr(0), kb.f32(), i), mask);
              Value b =
                  kb.loadMasked(kb.vec(), kb.gep(kb.ptr(1), kb.f32(), i), mask);
              kb.storeMasked(f(kb, a, b), kb.gep(kb.ptr(2), kb.f32(), i), mask);
            });
          });
        });
        return success();
      },
      /*keepAssembly=*/true);
  EXPECT_TRUE(jit.ok()) << jit.error();
  // Sixteen registers do not hold all constants of a function.
  if (level == "avx512")
    EXPECT_EQ(checkInnerLoops(jit.assembly()), "");
  EXPECT_EQ(jit.assembly().find("call"), std::string::npos);
  std::vector<float> y(x.size());
  if (x2.empty())
    x2 = x;
  int64_t n = x.size();
  if (jit.ok())
    jit.run({{x.data(), {n}}, {x2.data(), {n}}, {y.data(), {n}}});
  return y;
}

/// About 2 million f32 of [low, high], evenly spaced in their bits.
std::vector<float> sweep(float low, float high) {
  auto ordered = [](float f) {
    int32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits < 0 ? int64_t(INT32_MIN) - bits : int64_t(bits);
  };
  std::vector<float> x;
  int64_t begin = ordered(low), end = ordered(high);
  int64_t step = std::max<int64_t>(1, (end - begin) / 2000003);
  for (int64_t i = begin; i <= end; i += step) {
    int32_t bits = i < 0 ? int32_t(int64_t(INT32_MIN) - i) : int32_t(i);
    float f;
    std::memcpy(&f, &bits, 4);
    x.push_back(f);
  }
  x.push_back(high);
  return x;
}

double ulp(double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  return std::ldexp(1.0, std::max(exponent - 24, -149));
}

struct Errors {
  double ulps = 0, absolute = 0, relative = 0;
  float atUlps = 0, atAbsolute = 0;
};

Errors errors(const std::vector<float> &x, const std::vector<float> &y,
              const std::function<double(double)> &exact) {
  Errors e;
  for (size_t i = 0; i < x.size(); ++i) {
    double want = exact(x[i]);
    if (float(want) == y[i])
      continue;
    double off = std::fabs(double(y[i]) - want);
    if (std::isnan(off))
      off = inf;
    if (off / ulp(want) > e.ulps) {
      e.ulps = off / ulp(want);
      e.atUlps = x[i];
    }
    if (off > e.absolute) {
      e.absolute = off;
      e.atAbsolute = x[i];
    }
    if (std::fabs(want) > 1e-30)
      e.relative = std::max(e.relative, off / std::fabs(want));
  }
  return e;
}

class VectorMath : public testing::TestWithParam<std::string> {
protected:
  bool scalef() const { return findCpuLevel(GetParam())->isAvx512(); }
  Errors measure(const std::function<Value(OpBuilder &, Location, Value)> &f,
                 float low, float high,
                 const std::function<double(double)> &exact) {
    std::vector<float> x = sweep(low, high);
    auto y = evaluate(
        GetParam(),
        [&](KernelBuilder &kb, Value v, Value) {
          return f(kb, kb.getLoc(), v);
        },
        x);
    Errors e = errors(x, y, exact);
    std::printf("  %s: %.3f ulp at %g, %.3g absolute at %g, %.3g relative\n",
                GetParam().c_str(), e.ulps, e.atUlps, e.absolute, e.atAbsolute,
                e.relative);
    return e;
  }
  std::vector<float>
  values(const std::function<Value(OpBuilder &, Location, Value)> &f,
         const std::vector<float> &x) {
    return evaluate(
        GetParam(),
        [&](KernelBuilder &kb, Value v, Value) {
          return f(kb, kb.getLoc(), v);
        },
        x);
  }
  std::function<Value(OpBuilder &, Location, Value)>
  with(Value (*f)(OpBuilder &, Location, Value, bool)) {
    bool has = scalef();
    return
        [=](OpBuilder &b, Location loc, Value x) { return f(b, loc, x, has); };
  }
};

TEST_P(VectorMath, Exp) {
  auto f = with(emitExp);
  // Results in the normal range, then where they are denormal.
  EXPECT_LT(
      measure(f, -87.3f, 88.72f, [](double x) { return std::exp(x); }).ulps,
      1.1);
  EXPECT_LT(
      measure(f, -104.f, -87.3f, [](double x) { return std::exp(x); }).ulps,
      1.6);
  auto y = values(f, {0, -0.f, inf, -inf, nan, 88.8f, 3.4e38f, -110, -3.4e38f});
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], inf);
  EXPECT_EQ(y[3], 0);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], inf);
  EXPECT_EQ(y[6], inf);
  EXPECT_EQ(y[7], 0);
  EXPECT_EQ(y[8], 0);
}

TEST_P(VectorMath, SoftmaxExp2) {
  auto f = with(emitSoftmaxExp2);
  EXPECT_LT(measure(f, -126, 0, [](double x) { return std::exp2(x); }).ulps,
            2.5);
  auto y = values(f, {0, -0.f, -inf, nan, -126, -126.01f, -3.4e38f, -1e9f});
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 0);
  EXPECT_TRUE(std::isnan(y[3]));
  EXPECT_EQ(y[4], std::ldexp(1.f, -126));
  for (int i = 5; i < 8; ++i)
    EXPECT_EQ(y[i], 0);
}

TEST_P(VectorMath, Erf) {
  Errors e =
      measure(with(emitErf), -6, 6, [](double x) { return std::erf(x); });
  EXPECT_LT(e.absolute, 1e-7);
  EXPECT_LT(e.relative, 2.5e-7);
  auto y = values(with(emitErf), {0, -0.f, inf, -inf, nan, 3.4e38f});
  EXPECT_EQ(y[0], 0);
  EXPECT_TRUE(std::signbit(y[1]) && y[1] == 0);
  EXPECT_EQ(y[2], 1);
  EXPECT_EQ(y[3], -1);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], 1);
}

TEST_P(VectorMath, Tanh) {
  Errors e =
      measure(with(emitTanh), -12, 12, [](double x) { return std::tanh(x); });
  EXPECT_LT(e.absolute, 1.5e-7);
  EXPECT_LT(e.relative, 3e-7);
  auto y = values(with(emitTanh), {0, -0.f, inf, -inf, nan, 3.4e38f});
  EXPECT_EQ(y[0], 0);
  EXPECT_TRUE(std::signbit(y[1]) && y[1] == 0);
  EXPECT_EQ(y[2], 1);
  EXPECT_EQ(y[3], -1);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], 1);
}

TEST_P(VectorMath, Sigmoid) {
  auto exact = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_LT(measure(with(emitSigmoid), -87, 87, exact).ulps, 3);
  auto y = values(with(emitSigmoid), {0, inf, -inf, nan});
  EXPECT_EQ(y[0], 0.5);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 0);
  EXPECT_TRUE(std::isnan(y[3]));
}

TEST_P(VectorMath, Log) {
  auto exact = [](double x) { return std::log(x); };
  EXPECT_LT(measure(emitLog, std::ldexp(1.f, -149), 3.4e38f, exact).ulps, 1.5);
  EXPECT_LT(measure(emitLog, 0.5f, 2.f, exact).ulps, 1.5);
  auto y = values(emitLog, {1, 0, -0.f, inf, -inf, nan, -1});
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], -inf);
  EXPECT_EQ(y[2], -inf);
  EXPECT_EQ(y[3], inf);
  for (int i = 4; i < 7; ++i)
    EXPECT_TRUE(std::isnan(y[i]));
}

TEST_P(VectorMath, SinAndCos) {
  auto sin = [](double x) { return std::sin(x); };
  auto cos = [](double x) { return std::cos(x); };
  for (auto [low, high] :
       {std::pair<float, float>{-8, 8}, {1e3f, 1e5f}, {-1e5f, -1e3f}}) {
    EXPECT_LT(measure(emitSin, low, high, sin).absolute, 1.5e-7);
    EXPECT_LT(measure(emitCos, low, high, cos).absolute, 1.5e-7);
  }
  EXPECT_LT(measure(emitSin, -1, 1, sin).ulps, 2);
  auto y = values(emitSin, {0, inf, nan, 1e30f});
  EXPECT_EQ(y[0], 0);
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_LE(std::fabs(y[3]), 1);
}

TEST_P(VectorMath, Rsqrt) {
  auto exact = [](double x) { return 1 / std::sqrt(x); };
  EXPECT_LT(measure(emitRsqrt, 1e-37f, 3e38f, exact).ulps, 1.5);
}

TEST_P(VectorMath, Pow) {
  bool has = scalef();
  Emitted f = [has](KernelBuilder &kb, Value x, Value y) {
    return emitPow(kb, kb.getLoc(), x, y, has);
  };
  std::vector<float> x = sweep(1e-3f, 1e3f);
  for (float exponent : {0.5f, -1.f, 3.f, 2.7f, -7.3f, 12.f}) {
    std::vector<float> y(x.size(), exponent);
    auto r = evaluate(GetParam(), f, x, y);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double want = std::pow(double(x[i]), double(exponent));
      if (want > 1.2e-38 && want < 3.4e38)
        worst = std::max(worst, std::fabs(r[i] - want) / want);
    }
    std::printf("  x^%g: %.3g relative\n", exponent, worst);
    EXPECT_LT(worst, 2e-7 * (1 + std::fabs(exponent)));
  }
  // Against libm's rules for special values.
  std::vector<float> a, b;
  const float special[] = {0,  -0.f, 1,   -1,   2,     -2,   0.5f, -0.5f, 3,
                           -3, inf,  nan, -inf, 1e30f, -7.f, 2.5f, -2.5f};
  for (float p : special)
    for (float q : special) {
      a.push_back(p);
      b.push_back(q);
    }
  auto r = evaluate(GetParam(), f, a, b);
  for (size_t i = 0; i < a.size(); ++i) {
    float want = std::pow(a[i], b[i]);
    // (-1)^inf is 1 in C; here it is what magnitudes give, also 1.
    if (std::isnan(want))
      EXPECT_TRUE(std::isnan(r[i])) << a[i] << "^" << b[i] << " = " << r[i];
    else if (std::isinf(want) || want == 0)
      EXPECT_EQ(r[i], want) << a[i] << "^" << b[i];
    else
      EXPECT_NEAR(r[i], want, 4e-6 * std::fabs(want)) << a[i] << "^" << b[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, VectorMath, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
