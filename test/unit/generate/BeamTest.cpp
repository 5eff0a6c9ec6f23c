//===- BeamTest.cpp - Beam search against a slow one ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include <algorithm>
#include <cmath>

using namespace ferrite::test;

namespace {

struct Beam {
  Tokens tokens;
  double score;
};

/// Hugging Face's search, on whole texts and without a cache.
std::vector<Beam> search(const FakeDecoder &decoder, const Tokens &prompt,
                         size_t beams, size_t length, int64_t stop,
                         double penalty, bool early) {
  std::vector<Beam> running = {{prompt, 0}}, done;
  auto normal = [&](double score, size_t tokens) {
    return score / std::pow(double(tokens), penalty);
  };
  auto add = [&](Beam beam) {
    beam.score = normal(beam.score, beam.tokens.size() - prompt.size());
    done.push_back(beam);
    std::sort(done.begin(), done.end(),
              [](auto &a, auto &b) { return a.score > b.score; });
    if (done.size() > beams)
      done.pop_back();
  };
  for (size_t made = 1;; ++made) {
    std::vector<Beam> all;
    for (const Beam &beam : running) {
      std::vector<float> logits = decoder.logitsOf(beam.tokens);
      double sum = 0;
      for (float logit : logits)
        sum += std::exp(double(logit));
      auto norm = float(std::log(sum));
      for (size_t t = 0; t < logits.size(); ++t)
        all.push_back({beam.tokens + Tokens{int64_t(t)},
                       beam.score + double(logits[t] - norm)});
    }
    std::sort(all.begin(), all.end(),
              [](auto &a, auto &b) { return a.score > b.score; });
    all.resize(2 * beams);
    running.clear();
    for (size_t i = 0; i < all.size() && running.size() < beams; ++i)
      if (all[i].tokens.back() != stop)
        running.push_back(all[i]);
      else if (i < beams)
        add(all[i]);
    bool enough = done.size() == beams &&
                  (early || done.back().score >= normal(all[0].score, made));
    if (!enough && made < length)
      continue;
    for (size_t i = 0; !enough && i < running.size(); ++i)
      add(running[i]);
    return done;
  }
}

class BeamTest : public GenerateTest {
protected:
  void compare(size_t beams, size_t length, int64_t stop, float penalty,
               bool early) {
    Tokens prompt = text(66, int64_t(beams));
    std::vector<Beam> expected =
        search(*decoder, prompt, beams, length, stop, double(penalty), early);
    auto asked = ask(prompt, int64_t(length), [&](FerriteRequestOptions &o) {
      o.beams = int32_t(beams);
      o.samples = int32_t(beams);
      o.stop_tokens = &stop;
      o.stop_token_count = 1;
      o.length_penalty = penalty;
      o.early_stopping = early;
    });
    auto other = ask(text(9, 1), 12);
    run();
    ASSERT_EQ(expected.size(), size_t(ferriteRequestSamples(asked->request)));
    for (size_t i = 0; i < expected.size(); ++i) {
      Tokens tokens = expected[i].tokens;
      EXPECT_EQ(Tokens(tokens.begin() + 66, tokens.end()),
                asked->tokens(int32_t(i)))
          << i << " of " << beams;
      EXPECT_NEAR(expected[i].score,
                  ferriteRequestScore(asked->request, int32_t(i)), 1e-5);
      EXPECT_EQ(asked->events[int32_t(i)], asked->tokens(int32_t(i)));
    }
    EXPECT_EQ(decoder->greedy(text(9, 1), 12), other->tokens());
  }
};

TEST_F(BeamTest, FindsWhatASlowSearchFinds) {
  make({}, 0.3f);
  for (int64_t stop : {17, 3, 40})
    for (size_t beams : {2, 3, 5}) {
      compare(beams, 12, stop, 1, false);
      compare(beams, 12, stop, 1, true);
      compare(beams, 9, stop, 0, false);
      compare(beams, 9, stop, 2.5f, false);
    }
}

TEST_F(BeamTest, OfOneTokenIsTheBestTokens) {
  make();
  compare(4, 1, 60, 1, false);
}

TEST_F(BeamTest, SharesPages) {
  make();
  auto asked = ask(text(640, 3), 20, [](auto &o) { o.beams = 6; });
  run();
  // Ten pages of the prompt, and one of its own for each beam; while beams
  // change hands a few more.
  EXPECT_LE(usage().peak_pages, 10 + 2 * 6);
  EXPECT_EQ(20u, asked->tokens().size());
}

TEST_F(BeamTest, CanBeCancelled) {
  make();
  auto asked = ask(text(70, 3), 20, [](auto &o) { o.beams = 4; });
  for (int i = 0; i < 5; ++i)
    ferriteGeneratorStep(generator, nullptr, nullptr);
  ferriteRequestCancel(asked->request);
  run();
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, asked->finish());
}

} // namespace
