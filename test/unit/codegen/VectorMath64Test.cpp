//===- VectorMath64Test.cpp - Elementary functions of f64 against libm ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every function over a sweep of bit patterns of both signs, against libm in
// long double. The bounds are those that VectorMath64.h promises, in units in
// the last place of the exact result.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/VectorMath64.h"
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

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

using Unary = Value (*)(OpBuilder &, Location, Value);
using Binary = Value (*)(OpBuilder &, Location, Value, Value);
using Emitted = std::function<Value(KernelBuilder &, Value, Value)>;

std::vector<double> evaluate(StringRef level, const Emitted &f,
                             const std::vector<double> &x,
                             const std::vector<double> &x2) {
  int64_t dynamic = ShapedType::kDynamic;
  KernelJit jit(
      level,
      [&](MLIRContext &context) {
        auto operand = contiguous(Float64Type::get(&context), {dynamic});
        return KernelLayout{{operand, operand, operand}};
      },
      [&](KernelBuilder &kb) -> LogicalResult {
        Type f64 = kb.getF64Type();
        kb.defineUnits([&] { return kb.c(1); });
        kb.defineBody([&] {
          kb.forUnits([&](Value) {
            kb.forVectors(kb.dim(0, 0), [&](Value i, Value mask) {
              Value a =
                  kb.loadMasked(kb.vec(f64), kb.gep(kb.ptr(0), f64, i), mask);
              Value b =
                  kb.loadMasked(kb.vec(f64), kb.gep(kb.ptr(1), f64, i), mask);
              kb.storeMasked(f(kb, a, b), kb.gep(kb.ptr(2), f64, i), mask);
            });
          });
        });
        return success();
      },
      /*keepAssembly=*/true);
  EXPECT_TRUE(jit.ok()) << jit.error();
  EXPECT_EQ(jit.assembly().find("call"), std::string::npos);
  std::vector<double> y(x.size());
  int64_t n = x.size();
  if (jit.ok())
    jit.run({{x.data(), {n}}, {x2.data(), {n}}, {y.data(), {n}}});
  return y;
}

/// About 200,000 f64 of [low, high], evenly spaced in their bits.
std::vector<double> sweep(double low, double high) {
  auto ordered = [](double f) {
    int64_t bits;
    std::memcpy(&bits, &f, 8);
    return bits < 0 ? INT64_MIN - bits : bits;
  };
  std::vector<double> x;
  int64_t begin = ordered(low), end = ordered(high);
  auto step = static_cast<int64_t>(
      (static_cast<uint64_t>(end) - static_cast<uint64_t>(begin)) / 200003);
  for (int64_t i = begin, n = 0; n < 200003; i += step, ++n) {
    int64_t bits = i < 0 ? INT64_MIN - i : i;
    double f;
    std::memcpy(&f, &bits, 8);
    x.push_back(f);
  }
  x.push_back(high);
  return x;
}

long double ulp(long double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  return std::ldexp(1.0L, std::max(exponent - 53, -1074));
}

class VectorMath64 : public testing::TestWithParam<std::string> {
protected:
  std::vector<double> values(Unary f, const std::vector<double> &x) {
    return evaluate(
        GetParam(),
        [&](KernelBuilder &kb, Value v, Value) {
          return f(kb, kb.getLoc(), v);
        },
        x, x);
  }
  std::vector<double> values(Binary f, const std::vector<double> &x,
                             const std::vector<double> &y) {
    return evaluate(
        GetParam(),
        [&](KernelBuilder &kb, Value v, Value w) {
          return f(kb, kb.getLoc(), v, w);
        },
        x, y);
  }
  /// The largest error in ulps.
  double ulps(Unary f, double low, double high,
              long double (*exact)(long double)) {
    std::vector<double> x = sweep(low, high), y = values(f, x);
    double worst = 0, at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      long double want = exact(x[i]);
      if (static_cast<double>(want) == y[i])
        continue;
      auto off = static_cast<double>(std::fabs(y[i] - want) / ulp(want));
      if (!(off <= worst)) {
        worst = std::isnan(off) ? inf : off;
        at = x[i];
      }
    }
    std::printf("  %s [%g, %g]: %.3f ulp at %.17g\n", GetParam().c_str(), low,
                high, worst, at);
    return worst;
  }
  double absolute(Unary f, double low, double high,
                  long double (*exact)(long double)) {
    std::vector<double> x = sweep(low, high), y = values(f, x);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      auto off = static_cast<double>(std::fabs(y[i] - exact(x[i])));
      worst = off <= worst ? worst : std::isnan(off) ? inf : off;
    }
    std::printf("  %s [%g, %g]: %.3g absolute\n", GetParam().c_str(), low, high,
                worst);
    return worst;
  }
  /// At zeros, infinities, NaN and the ends of domains.
  void likeLibm(Unary f, long double (*exact)(long double)) {
    std::vector<double> x = {0,   -0.0, inf,  -inf, nan,    1,      -1,   2,
                             -2,  0.5,  1e-9, 1e9,  -1e-9,  1e-310, -745, 709.5,
                             710, -800, 800,  40,   1e-300, -40};
    std::vector<double> y = values(f, x);
    for (size_t i = 0; i < x.size(); ++i) {
      auto want = static_cast<double>(exact(x[i]));
      if (std::isnan(want))
        EXPECT_TRUE(std::isnan(y[i])) << "at " << x[i] << ": " << y[i];
      else if (std::isinf(want) || want == 0)
        EXPECT_EQ(want, y[i]) << "at " << x[i];
      else
        EXPECT_NEAR(y[i], want, std::fabs(want) * 1e-14 + 1e-323)
            << "at " << x[i];
      if (want == 0)
        EXPECT_EQ(std::signbit(want), std::signbit(y[i])) << "at " << x[i];
    }
  }
};

TEST_P(VectorMath64, Exponentials) {
  EXPECT_LT(ulps(wide::emitExp, -708, 709.7, std::exp), 1.1);
  EXPECT_LT(ulps(wide::emitExp, -745, -708, std::exp), 1.6);
  EXPECT_LT(ulps(wide::emitExpm1, -50, 709.7, std::expm1), 3);
  likeLibm(wide::emitExp, std::exp);
  likeLibm(wide::emitExpm1, std::expm1);
}

TEST_P(VectorMath64, Logarithms) {
  EXPECT_LT(ulps(wide::emitLog, 5e-324, 1.7e308, std::log), 1.5);
  EXPECT_LT(ulps(wide::emitLog, 0.5, 2, std::log), 1.5);
  EXPECT_LT(ulps(wide::emitLog1p, -0.9999999, 1e308, std::log1p), 3);
  likeLibm(wide::emitLog, std::log);
  likeLibm(wide::emitLog1p, std::log1p);
}

TEST_P(VectorMath64, Erf) {
  EXPECT_LT(ulps(wide::emitErf, -7, 7, std::erf), 3);
  EXPECT_LT(ulps(wide::emitErf, 0.5, 4, std::erf), 3);
  likeLibm(wide::emitErf, std::erf);
}

TEST_P(VectorMath64, Circles) {
  for (auto [low, high] :
       {std::pair<double, double>{-8, 8}, {1e3, 1e9}, {-1e9, -1e3}}) {
    EXPECT_LT(absolute(wide::emitSin, low, high, std::sin), 2.5e-16);
    EXPECT_LT(absolute(wide::emitCos, low, high, std::cos), 2.5e-16);
  }
  EXPECT_LT(ulps(wide::emitTan, -1.5, 1.5, std::tan), 4);
  auto y = values(wide::emitSin, {0, inf, nan, 1e300});
  EXPECT_EQ(y[0], 0);
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_LE(std::fabs(y[3]), 1);
}

TEST_P(VectorMath64, Arcs) {
  EXPECT_LT(ulps(wide::emitAtan, -1e300, 1e300, std::atan), 5);
  EXPECT_LT(ulps(wide::emitAtan, 0.3, 3, std::atan), 5);
  EXPECT_LT(ulps(wide::emitAsin, -1, 1, std::asin), 5);
  EXPECT_LT(ulps(wide::emitAsin, 0.5, 1, std::asin), 5);
  EXPECT_LT(ulps(wide::emitAcos, -1, 1, std::acos), 5);
  EXPECT_LT(ulps(wide::emitAcos, 0.5, 1, std::acos), 5);
  likeLibm(wide::emitAtan, std::atan);
  likeLibm(wide::emitAsin, std::asin);
  likeLibm(wide::emitAcos, std::acos);
}

TEST_P(VectorMath64, Hyperbolas) {
  EXPECT_LT(ulps(wide::emitSinh, -710, 710, std::sinh), 5);
  EXPECT_LT(ulps(wide::emitCosh, -710, 710, std::cosh), 5);
  EXPECT_LT(ulps(wide::emitTanh, -25, 25, std::tanh), 5);
  EXPECT_LT(ulps(wide::emitAsinh, -1e308, 1e308, std::asinh), 5);
  EXPECT_LT(ulps(wide::emitAcosh, 1, 1e308, std::acosh), 5);
  EXPECT_LT(ulps(wide::emitAcosh, 1, 4, std::acosh), 5);
  EXPECT_LT(ulps(wide::emitAtanh, -0.99999999, 0.99999999, std::atanh), 5);
  for (Unary f : {wide::emitTanh, wide::emitSinh, wide::emitCosh})
    EXPECT_TRUE(std::isnan(values(f, {nan})[0]));
  likeLibm(wide::emitSinh, std::sinh);
  likeLibm(wide::emitCosh, std::cosh);
  likeLibm(wide::emitTanh, std::tanh);
  likeLibm(wide::emitAsinh, std::asinh);
  likeLibm(wide::emitAcosh, std::acosh);
  likeLibm(wide::emitAtanh, std::atanh);
}

const double kSpecial[] = {0,    -0.0, 1,    -1,  2,      -2,     0.5,
                           -0.5, 3,    -3,   inf, nan,    -inf,   1e300,
                           -7,   2.5,  -2.5, 5.3, 1e-310, 7e-300, 1e17};

TEST_P(VectorMath64, Pow) {
  std::vector<double> x = sweep(1e-3, 1e3);
  for (double exponent : {0.5, -1., 3., 2.7, -7.3, 12., 90.1}) {
    std::vector<double> y(x.size(), exponent);
    std::vector<double> r = values(wide::emitPow, x, y);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      long double want = std::pow((long double)x[i], (long double)exponent);
      worst = std::max(worst,
                       static_cast<double>(std::fabs(r[i] - want) / ulp(want)));
    }
    std::printf("  x^%g: %.3f ulp\n", exponent, worst);
    EXPECT_LT(worst, 3);
  }
  std::vector<double> a, b;
  for (double p : kSpecial)
    for (double q : kSpecial) {
      a.push_back(p);
      b.push_back(q);
    }
  std::vector<double> r = values(wide::emitPow, a, b);
  for (size_t i = 0; i < a.size(); ++i) {
    double want = std::pow(a[i], b[i]);
    if (std::isnan(want))
      EXPECT_TRUE(std::isnan(r[i])) << a[i] << "^" << b[i] << " = " << r[i];
    else if (std::isinf(want) || want == 0)
      EXPECT_EQ(r[i], want) << a[i] << "^" << b[i];
    else
      EXPECT_NEAR(r[i], want, 1e-13 * std::fabs(want)) << a[i] << "^" << b[i];
  }
}

TEST_P(VectorMath64, Remainder) {
  std::vector<double> a, b;
  for (double p : kSpecial)
    for (double q : kSpecial) {
      a.push_back(p);
      b.push_back(q);
    }
  std::vector<double> x = sweep(-1.7e308, 1.7e308), y = sweep(-1e300, 1e300);
  for (size_t i = 0; i < x.size(); ++i) {
    a.push_back(x[i]);
    b.push_back(y[i * 7919 % y.size()]); // in another order
  }
  for (double p : {1e308, 1.7e308, 3.0, 1e16})
    for (double q : {5e-324, 1e-320, 2.3e-308, 0.1, 1 / 3.0}) {
      a.push_back(p);
      b.push_back(q);
    }
  std::vector<double> r = values(wide::emitRemainder, a, b);
  for (size_t i = 0; i < a.size(); ++i) {
    double want = std::fmod(a[i], b[i]);
    if (std::isnan(want))
      ASSERT_TRUE(std::isnan(r[i])) << a[i] << " % " << b[i] << " = " << r[i];
    else
      ASSERT_EQ(r[i], want) << a[i] << " % " << b[i];
    ASSERT_TRUE(std::isnan(want) || std::signbit(want) == std::signbit(r[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, VectorMath64, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
