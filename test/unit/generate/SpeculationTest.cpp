//===- SpeculationTest.cpp - Guesses change no text -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include "generate/Generator.h"

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
