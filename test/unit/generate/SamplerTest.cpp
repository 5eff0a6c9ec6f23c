//===- SamplerTest.cpp - Choices against exact probabilities --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "ferrite/generate.h"

#include "generate/Sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace {

const std::vector<float> kLogits = {1.5f, -2, 0.25f, 3, 2.9f, -INFINITY, 0, 1};

class SamplerTest : public ::testing::Test {
protected:
  SamplerTest() {
    sampling.size = sizeof sampling;
    sampling.temperature = 1;
    EXPECT_EQ(FERRITE_OK,
              ferriteSamplerCreate(int64_t(kLogits.size()), &sampler, &error));
  }
  ~SamplerTest() override { ferriteSamplerDestroy(sampler); }

  int64_t choose(std::vector<int64_t> tokens = {}, size_t prompt = 0,
                 uint32_t stream = 0, std::vector<float> logits = kLogits) {
    int64_t token = -1;
    EXPECT_EQ(FERRITE_OK, ferriteSamplerChoose(
                              sampler, &sampling, logits.data(), tokens.data(),
                              tokens.size(), prompt, stream, &token, &error))
        << error.message;
    return token;
  }
  /// Shares of tokens among many choices, each with a seed of its own.
  std::vector<double> shares(int count = 40000) {
    std::vector<double> result(kLogits.size());
    for (int i = 0; i < count; ++i) {
      sampling.seed = uint64_t(i);
      result[size_t(choose())] += 1.0 / count;
    }
    return result;
  }
  /// Within five standard deviations: one in two million tests fails by chance,
  /// and the seeds are fixed.
  void expectShares(std::vector<double> weights) {
    double sum = 0;
    for (double weight : weights)
      sum += weight;
    std::vector<double> found = shares();
    for (size_t i = 0; i < weights.size(); ++i) {
      double p = weights[i] / sum;
      if (p == 0)
        EXPECT_EQ(0, found[i]) << i;
      EXPECT_NEAR(p, found[i], 1e-9 + 5 * std::sqrt(p * (1 - p) / 40000)) << i;
    }
  }
  static std::vector<double> weights(double temperature) {
    std::vector<double> result;
    for (float logit : kLogits)
      result.push_back(std::exp(logit / temperature));
    return result;
  }

  FerriteSampling sampling = {};
  FerriteSampler *sampler = nullptr;
  FerriteError error = {};
};

TEST_F(SamplerTest, GreedyTakesTheFirstOfTheBest) {
  sampling.temperature = 0;
  EXPECT_EQ(3, choose());
  EXPECT_EQ(1, choose({}, 0, 0, {0, 7, 7, 1, 1, 1, 1, 1}));
  EXPECT_EQ(2, choose({}, 0, 0, {NAN, NAN, -5, NAN, -6, NAN, NAN, NAN}));
}

TEST_F(SamplerTest, FollowsTheModel) { expectShares(weights(1)); }

TEST_F(SamplerTest, FollowsTemperature) {
  sampling.temperature = 2.5f;
  expectShares(weights(2.5));
  sampling.temperature = 0.5f;
  expectShares(weights(0.5));
}

TEST_F(SamplerTest, TopK) {
  sampling.top_k = 3;
  std::vector<double> w = weights(1);
  expectShares({w[0], 0, 0, w[3], w[4], 0, 0, 0});
  sampling.top_k = 1;
  expectShares({0, 0, 0, 1, 0, 0, 0, 0});
  sampling.top_k = 100;
  expectShares(w);
}

TEST_F(SamplerTest, TopP) {
  // Shares, best first: 3 40.7 %, 4 36.8 %, 0 9.1 %, 7 5.5 %, ...
  sampling.top_p = 0.8f;
  std::vector<double> w = weights(1);
  expectShares({w[0], 0, 0, w[3], w[4], 0, 0, 0});
  sampling.top_p = 0.4f;
  expectShares({0, 0, 0, 1, 0, 0, 0, 0});
  // Of the three best 4 and 3 have 89 %.
  sampling.top_k = 3;
  sampling.top_p = 0.88f;
  expectShares({0, 0, 0, w[3], w[4], 0, 0, 0});
}

TEST_F(SamplerTest, MinP) {
  sampling.min_p = 0.1f; // of the best: log is 2.3 below
  std::vector<double> w = weights(1);
  expectShares({w[0], 0, 0, w[3], w[4], 0, 0, w[7]});
  // top_p measures shares of all, so that 0 stays in and min_p removes it.
  sampling.min_p = 0.3f;
  sampling.top_p = 0.8f;
  expectShares({0, 0, 0, w[3], w[4], 0, 0, 0});
}

TEST_F(SamplerTest, BiasesAndPenalties) {
  sampling.temperature = 0;
  const int64_t tokens[] = {6, 3};
  const float values[] = {2.95f, -INFINITY};
  sampling.bias_tokens = tokens;
  sampling.bias_values = values;
  sampling.bias_count = 2;
  EXPECT_EQ(6, choose()); // 2.95 beats 2.9
  sampling.bias_count = 0;
  // 3 / 1.1 < 2.9, for a token of the prompt, too.
  sampling.repetition_penalty = 1.1f;
  EXPECT_EQ(4, choose({3}, 1));
  EXPECT_EQ(4, choose({3, 3, 3}, 0));
  EXPECT_EQ(3, choose({3, 4}, 2)); // both
  sampling.repetition_penalty = 0;
  sampling.presence_penalty = 0.2f;
  EXPECT_EQ(3, choose({3}, 1)); // of the text only
  EXPECT_EQ(4, choose({3}, 0));
  EXPECT_EQ(3, choose({4, 3, 3}, 0)); // once, however often
  sampling.presence_penalty = 0;
  sampling.frequency_penalty = 0.06f;
  EXPECT_EQ(3, choose({3}, 0));
  EXPECT_EQ(4, choose({3, 3}, 0));
  EXPECT_EQ(3, choose({3, 4, 3, 4}, 0));
  // Negative logits are multiplied.
  sampling.frequency_penalty = 0;
  sampling.repetition_penalty = 2;
  EXPECT_EQ(1, choose({0}, 1, 0, {-1, -1.5f, -3, -3, -3, -3, -3, -3}));
}

TEST_F(SamplerTest, DependsOnSeedStreamAndPlaceAlone) {
  std::vector<int64_t> first, again, other, later;
  for (int64_t i = 0; i < 64; ++i) {
    std::vector<int64_t> before(size_t(i), 1);
    sampling.seed = 42;
    first.push_back(choose(before));
    other.push_back(choose(before, 0, 1));
    before.insert(before.begin(), 5, 2); // another prompt
    again.push_back(choose(before, 5));
    sampling.seed = 43;
    later.push_back(choose(before, 5));
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  EXPECT_NE(first, later);
}

// The numbers of the paper's own test vectors.
TEST_F(SamplerTest, PhiloxIsPhilox) {
  // counter 0, key 0: 6627e8d5 e169c58d
  EXPECT_EQ(double(UINT64_C(0x6627e8d5e169c58d) >> 11) * 0x1p-53,
            ferrite::gen::uniform(0, 0, 0));
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < 100000; ++i) {
    double u = ferrite::gen::uniform(7, 3, i);
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u / 100000;
    squares += u * u / 100000;
  }
  EXPECT_NEAR(0.5, sum, 0.005);
  EXPECT_NEAR(1.0 / 3, squares, 0.005);
}

TEST_F(SamplerTest, SaysWhatIsWrong) {
  int64_t token;
  std::vector<float> logits(kLogits.size(), -INFINITY);
  auto tryIt = [&] {
    return ferriteSamplerChoose(sampler, &sampling, logits.data(), nullptr, 0,
                                0, 0, &token, &error);
  };
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, tryIt());
  EXPECT_STREQ("no token is possible: no logit is above -infinity",
               error.message);
  logits = kLogits;
  for (float bad : {-1.0f, NAN, INFINITY}) {
    sampling.temperature = bad;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, tryIt()) << bad;
  }
  sampling.temperature = 1;
  sampling.top_p = 1.5f;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, tryIt());
  EXPECT_STREQ("top_p is 1.5, outside of 0 to 1", error.message);
  sampling.top_p = 0;
  const int64_t far[] = {8};
  const float one[] = {1};
  sampling.bias_tokens = far;
  sampling.bias_values = one;
  sampling.bias_count = 1;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, tryIt());
  sampling.bias_count = 0;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSamplerChoose(sampler, &sampling, logits.data(), far, 1, 0,
                                 0, &token, &error));
}

// An infinite logit is certain; what is not a number is never chosen.
TEST_F(SamplerTest, OddLogits) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    sampling.seed = seed;
    EXPECT_EQ(4, choose({}, 0, 0, {1, 2, NAN, 3, INFINITY, 2, 1, 0}));
    int64_t token = choose({}, 0, 0, {1, 2, NAN, 3, NAN, NAN, 1, 0});
    EXPECT_TRUE(token != 2 && token != 4 && token != 5);
  }
}

} // namespace
