//===- QuotientStepsTest.cpp - Divisions that become products -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/QuotientSteps.h"

#include "gtest/gtest.h"

#include <cmath>
#include <limits>
#include <random>

using namespace ferrite::cpu;

// What the decision promises: the same whole number for every x there is, here
// for all floats around each step and for many others.
TEST(QuotientSteps, AreThoseOfTheDivision) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponents(-30, 10), values(-600, 600);
  int equal = 0, tried = 200;
  for (int i = 0; i < tried; ++i) {
    float divisor = std::exp2(exponents(random));
    if (!hasEqualSteps(divisor))
      continue;
    ++equal;
    auto check = [&](float x) {
      float wanted = std::nearbyint(x / divisor),
            got = std::nearbyint(steppedQuotient(x, divisor));
      if (std::fabs(wanted) <= kMostSteps)
        ASSERT_EQ(wanted, got) << x << " / " << divisor;
      else
        ASSERT_TRUE(std::fabs(got) > kMostSteps - 1 &&
                    std::signbit(got) == std::signbit(wanted))
            << x << " / " << divisor;
    };
    for (int step = -kMostSteps; step < kMostSteps; step += 7) {
      float x = (float(step) + 0.5f) * divisor;
      for (int n = 0; n < 8; ++n)
        x = std::nextafter(x, -std::numeric_limits<float>::infinity());
      for (int n = 0; n < 16; ++n) {
        check(x);
        x = std::nextafter(x, std::numeric_limits<float>::infinity());
      }
    }
    for (int n = 0; n < 100; ++n)
      check(values(random) * divisor);
    for (float x : {0.0f, -0.0f, std::numeric_limits<float>::max(),
                    std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()})
      check(x);
    EXPECT_TRUE(std::isnan(
        steppedQuotient(std::numeric_limits<float>::quiet_NaN(), divisor)));
  }
  // Nearly all divisors allow it.
  EXPECT_GT(equal, tried * 9 / 10);
}

TEST(QuotientSteps, RefusesWhatHasNoInverse) {
  for (float divisor :
       {0.0f, -1.0f, 1e-40f, 1e30f, std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    EXPECT_FALSE(hasEqualSteps(divisor)) << divisor;
}
