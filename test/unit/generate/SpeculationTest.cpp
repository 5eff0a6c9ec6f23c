//===- SpeculationTest.cpp - Guesses change no text -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include "generate/Generator.h"

#include <cmath>

using namespace ferrite::test;

namespace {

class SpeculationTest : public GenerateTest {
protected:
  void makeDraft(float noise,
                 std::function<void(FerriteGeneratorOptions &)> more = {}) {
    draft = std::make_unique<FakeDecoder>(noise);
    make([&](FerriteGeneratorOptions &o) {
      o.draft = draft->open();
      if (more)
        more(o);
    });
  }
  static More by(FerriteSpeculation speculation,
                 const FerriteSampling *sampling = nullptr) {
    return [=](FerriteRequestOptions &o) {
      o.speculation = speculation;
      o.sampling = sampling;
    };
  }
};

TEST_F(SpeculationTest, FindsWhatFollowedBefore) {
  ferrite::gen::List<int64_t> tokens;
  const int64_t words[] = {1, 2, 3, 9, 5, 2, 3, 7, 4, 1, 2, 3};
  ASSERT_TRUE(tokens.assign(words, 12));
  int64_t drafts[8];
  ASSERT_EQ(4, ferrite::gen::lookUp(tokens, drafts, 4));
  EXPECT_EQ((Tokens{9, 5, 2, 3}), Tokens(drafts, drafts + 4));
  tokens.shrink(11); // ... 4, 1, 2: only "1 2" occurred before
  ASSERT_EQ(2, ferrite::gen::lookUp(tokens, drafts, 2));
  EXPECT_EQ((Tokens{3, 9}), Tokens(drafts, drafts + 2));
  tokens.shrink(9); // 4 is new
  EXPECT_EQ(0, ferrite::gen::lookUp(tokens, drafts, 4));
  tokens.shrink(6); // 2: the latest place counts, "3" follows
  ASSERT_EQ(4, ferrite::gen::lookUp(tokens, drafts, 8));
  EXPECT_EQ((Tokens{3, 9, 5, 2}), Tokens(drafts, drafts + 4));
  tokens.shrink(0);
  EXPECT_EQ(0, ferrite::gen::lookUp(tokens, drafts, 4));
}

TEST_F(SpeculationTest, LookupIsGreedy) {
  make({}, 0.2f); // little noise: the text repeats itself
  Tokens prompt = text(40, 1);
  auto asked = ask(prompt, 200, by(FERRITE_SPECULATE_LOOKUP));
  run();
  EXPECT_EQ(decoder->greedy(prompt, 200), asked->tokens());
  EXPECT_EQ(asked->tokens(), asked->events[0]);
  EXPECT_GT(stats().accepted_tokens, 50);
  EXPECT_LT(stats().steps, 150);
  EXPECT_EQ(200, stats().steps + stats().accepted_tokens);
}

TEST_F(SpeculationTest, DraftIsGreedy) {
  makeDraft(0.3f);
  Tokens prompt = text(100, 2);
  auto asked = ask(prompt, 200, by(FERRITE_SPECULATE_DRAFT));
  run();
  EXPECT_EQ(decoder->greedy(prompt, 200), asked->tokens());
  EXPECT_GT(stats().accepted_tokens, 100);
  EXPECT_LT(stats().accepted_tokens, stats().drafted_tokens);
  EXPECT_EQ(200, stats().steps + stats().accepted_tokens);
}

// Second guesses are right now and then, cost no call, and change no text; the
// model and the draft model both go on from what came true.
TEST_F(SpeculationTest, TreesGuessMoreThanChains) {
  int64_t accepted[3] = {}, steps[3] = {};
  for (int32_t width : {1, 2, 3}) {
    for (int64_t window : {-1, 3, 40}) {
      draft = std::make_unique<FakeDecoder>(0.1f, window);
      make(
          [&](auto &o) {
            o.draft = draft->open();
            o.draft_width = width;
          },
          1, window);
      for (int64_t seed = 0; seed < 4; ++seed) {
        Tokens prompt = text(size_t(40 + 15 * seed), seed);
        auto asked = ask(prompt, 100, by(FERRITE_SPECULATE_DRAFT));
        run();
        EXPECT_EQ(decoder->greedy(prompt, 100), asked->tokens())
            << width << " guesses for a place, window " << window;
      }
      accepted[width - 1] += stats().accepted_tokens;
      steps[width - 1] += stats().steps;
      TearDown();
      generator = nullptr;
    }
  }
  EXPECT_GT(accepted[1], accepted[0] + 40);
  EXPECT_GE(accepted[2], accepted[1]);
  EXPECT_LT(steps[1], steps[0]);
}

// A tree does not reach over the end of a block of attention, nor over what
// there is room for.
TEST_F(SpeculationTest, TreesHaveRoom) {
  for (size_t length : {505, 508, 511}) {
    makeDraft(0.6f, [](auto &o) { o.step_tokens = 12; });
    Tokens prompt = text(length, 8);
    auto asked = ask(prompt, 30, by(FERRITE_SPECULATE_DRAFT));
    run();
    EXPECT_EQ(decoder->greedy(prompt, 30), asked->tokens()) << length;
    TearDown();
    generator = nullptr;
  }
  makeDraft(0.6f, [](auto &o) {
    o.max_tokens = 70;
    o.cache_pages = 2;
  });
  auto asked = ask(text(50, 9), 0, by(FERRITE_SPECULATE_DRAFT));
  run(); // the last token needs no place
  EXPECT_EQ(decoder->greedy(text(50, 9), 21), asked->tokens());
}

// Of many seeds the shares of the first two tokens are those of the model's
// probabilities, with guesses as without. Four standard deviations of a share
// of 4000, for each of 2 * 61 tokens: of other seeds one in 100 would fail by
// chance.
TEST_F(SpeculationTest, SamplesFollowTheModel) {
  makeDraft(0.6f);
  const size_t count = 4000;
  Tokens prompt = text(20, 10);
  std::vector<std::vector<size_t>> counts(2);
  for (auto &each : counts)
    each.assign(FakeDecoder::vocabulary, 0);
  std::vector<double> second(FakeDecoder::vocabulary);
  for (size_t at = 0; at < count; at += 50) {
    std::vector<std::unique_ptr<Asked>> all;
    for (uint64_t seed = at; seed < at + 50; ++seed) {
      FerriteSampling sampling = warm(seed);
      all.push_back(ask(prompt, 4, by(FERRITE_SPECULATE_DRAFT, &sampling)));
    }
    run();
    for (auto &asked : all)
      for (size_t i : {0, 1})
        ++counts[i][size_t(asked->tokens()[i])];
  }
  EXPECT_GT(stats().accepted_tokens, int64_t(count) / 4);
  auto shares = [&](const Tokens &tokens) {
    std::vector<float> logits = decoder->logitsOf(tokens);
    std::vector<double> result;
    double sum = 0;
    for (float logit : logits)
      sum += result.emplace_back(std::exp(double(logit)));
    for (double &share : result)
      share /= sum;
    return result;
  };
  std::vector<double> first = shares(prompt);
  for (int64_t a = 0; a < FakeDecoder::vocabulary; ++a) {
    Tokens next = prompt + Tokens{a};
    std::vector<double> after = shares(next);
    for (size_t b = 0; b < after.size(); ++b)
      second[b] += first[size_t(a)] * after[b];
  }
  for (size_t token = 0; token < first.size(); ++token)
    for (auto [i, share] : {std::pair(0, first[token]), {1, second[token]}}) {
      double deviation = std::sqrt(share * (1 - share) / double(count));
      EXPECT_NEAR(share, double(counts[size_t(i)][token]) / double(count),
                  4 * deviation)
          << "token " << token << " at place " << i;
    }
}

TEST_F(SpeculationTest, ADraftThatIsTheModelIsAlwaysRight) {
  makeDraft(1);
  auto asked = ask(text(10, 3), 100, by(FERRITE_SPECULATE_DRAFT));
  run();
  EXPECT_EQ(stats().drafted_tokens, stats().accepted_tokens);
  EXPECT_EQ(decoder->greedy(text(10, 3), 100), asked->tokens());
  EXPECT_LE(stats().steps, 20);
}

// Each token is chosen with the number that would choose it without guesses: so
// the texts are the same, and with them their distribution.
TEST_F(SpeculationTest, SamplesAreThoseOfPlainDecoding) {
  makeDraft(0.8f);
  int64_t accepted = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    FerriteSampling sampling = warm(seed, seed % 2 ? 1.0f : 0.6f);
    sampling.top_p = seed % 3 ? 0.9f : 0;
    sampling.repetition_penalty = seed % 4 ? 1 : 1.1f;
    FerriteSpeculation kind =
        seed % 5 ? FERRITE_SPECULATE_DRAFT : FERRITE_SPECULATE_LOOKUP;
    Tokens prompt = text(30 + seed, int64_t(seed));
    auto asked = ask(prompt, 60, by(kind, &sampling));
    run();
    EXPECT_EQ(alone(prompt, 60, by(FERRITE_SPECULATE_NONE, &sampling)),
              asked->tokens())
        << seed;
    accepted = stats().accepted_tokens;
  }
  EXPECT_GT(accepted, 100);
}

TEST_F(SpeculationTest, StopsWithinGuesses) {
  makeDraft(1);
  Tokens prompt = text(20, 4), all = decoder->greedy(prompt, 40);
  int64_t stop = all[9];
  size_t first = 0;
  while (all[first] != stop)
    ++first;
  auto asked = ask(prompt, 40, [&](FerriteRequestOptions &o) {
    o.speculation = FERRITE_SPECULATE_DRAFT;
    o.stop_tokens = &stop;
    o.stop_token_count = 1;
  });
  run();
  EXPECT_EQ(Tokens(all.begin(), all.begin() + first + 1), asked->tokens());
}

TEST_F(SpeculationTest, InCompanyAndOutOfPages) {
  makeDraft(0.8f, [](auto &o) {
    o.cache_pages = 14;
    o.step_tokens = 40;
    o.streams = 8;
  });
  std::vector<std::unique_ptr<Asked>> all;
  for (size_t i = 0; i < 12; ++i)
    all.push_back(
        ask(text(20 + 11 * i, int64_t(i)), 70, by(FerriteSpeculation(i % 3))));
  run();
  for (size_t i = 0; i < 12; ++i)
    EXPECT_EQ(decoder->greedy(text(20 + 11 * i, int64_t(i)), 70),
              all[i]->tokens())
        << i;
  EXPECT_GT(stats().preemptions, 0);
}

TEST_F(SpeculationTest, DraftsEndWhereTheDraftModelDoes) {
  draft = std::make_unique<FakeDecoder>(1);
  draft->inputs[1].id_limit = 50; // positions
  make([&](auto &o) { o.draft = draft->open(); });
  auto asked = ask(text(30, 5), 60, by(FERRITE_SPECULATE_DRAFT));
  run();
  EXPECT_EQ(decoder->greedy(text(30, 5), 60), asked->tokens());
}

TEST_F(SpeculationTest, SamplesOfOnePromptAreGuessed) {
  makeDraft(0.8f);
  FerriteSampling sampling = warm(9);
  auto more = [&](FerriteSpeculation kind) {
    return [&sampling, kind](FerriteRequestOptions &o) {
      o.sampling = &sampling;
      o.samples = 3;
      o.speculation = kind;
    };
  };
  for (size_t length : {1, 70}) {
    Tokens prompt = text(length, 6);
    auto asked = ask(prompt, 40, more(FERRITE_SPECULATE_DRAFT));
    run();
    for (int32_t i = 0; i < 3; ++i)
      EXPECT_EQ(alone(prompt, 40, more(FERRITE_SPECULATE_NONE), i),
                asked->tokens(i));
  }
}

} // namespace
