//===- GeneratorTest.cpp - Requests one by one ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include <cmath>
#include <cstring>

using namespace ferrite::test;

namespace {

TEST_F(GenerateTest, GreedyIsTheModelsOwn) {
  make();
  Tokens prompt = text(70, 1);
  auto asked = ask(prompt, 100);
  run();
  EXPECT_EQ(decoder->greedy(prompt, 100), asked->tokens());
  EXPECT_EQ(asked->tokens(), asked->events[0]);
  EXPECT_EQ(FERRITE_FINISH_LENGTH, asked->finish());
  EXPECT_EQ(FERRITE_FINISH_LENGTH, asked->finishes[0]);
  EXPECT_EQ(1, ferriteRequestSamples(asked->request));
  EXPECT_EQ(100, stats().text_tokens);
  EXPECT_EQ(70, stats().prompt_tokens);
  EXPECT_EQ(100, stats().steps);
}

TEST_F(GenerateTest, StopsAtTokens) {
  make();
  Tokens prompt = text(5, 2), all = decoder->greedy(prompt, 30);
  int64_t stop[] = {60, all[12]};
  size_t first = 0;
  while (all[first] != stop[0] && all[first] != stop[1])
    ++first;
  auto asked = ask(prompt, 30, [&](FerriteRequestOptions &o) {
    o.stop_tokens = stop;
    o.stop_token_count = 2;
  });
  run();
  EXPECT_EQ(Tokens(all.begin(), all.begin() + first + 1), asked->tokens());
  EXPECT_EQ(FERRITE_FINISH_STOP, asked->finish());
  EXPECT_EQ(FERRITE_FINISH_STOP, asked->finishes[0]);
}

// Token t reads as the letters of its number in base 8, so a string may begin
// and end within a token.
size_t letters(void *, const int64_t *tokens, size_t count, char *text,
               size_t capacity) {
  std::string result;
  for (size_t i = 0; i < count; ++i) {
    result += char('a' + tokens[i] / 8);
    result += char('A' + tokens[i] % 8);
  }
  memcpy(text, result.data(), std::min(capacity, result.size()));
  return result.size();
}

TEST_F(GenerateTest, StopsAtStrings) {
  make();
  Tokens prompt = text(5, 3), all = decoder->greedy(prompt, 60);
  char buffer[512];
  std::string whole(buffer, letters(nullptr, all.data(), 60, buffer, 512));
  std::string stop = whole.substr(31, 4); // within tokens 15 to 17
  size_t end = whole.find(stop) + 4;
  const char *strings[] = {"zzz", stop.c_str()};
  auto asked = ask(prompt, 60, [&](FerriteRequestOptions &o) {
    o.stop_strings = strings;
    o.stop_string_count = 2;
    o.detokenize = letters;
  });
  run();
  EXPECT_EQ(Tokens(all.begin(), all.begin() + (end + 1) / 2), asked->tokens());
  EXPECT_EQ(FERRITE_FINISH_STOP, asked->finish());
}

TEST_F(GenerateTest, SamplesShareThePrompt) {
  make();
  Tokens prompt = text(130, 4);
  FerriteSampling sampling = warm(11);
  auto more = [&](FerriteRequestOptions &o) {
    o.sampling = &sampling;
    o.samples = 5;
  };
  auto asked = ask(prompt, 20, more);
  size_t left = 0;
  ASSERT_EQ(FERRITE_OK, ferriteGeneratorStep(generator, &left, &error));
  EXPECT_EQ(5, ferriteRequestSamples(asked->request));
  EXPECT_EQ(3, usage().used_pages);
  EXPECT_EQ(3, usage().shared_pages);
  run();
  EXPECT_EQ(130, stats().prompt_tokens);
  for (int32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(20u, asked->tokens(i).size());
    EXPECT_EQ(asked->events[i], asked->tokens(i));
    EXPECT_EQ(FERRITE_FINISH_LENGTH,
              ferriteRequestSampleFinish(asked->request, i));
    for (int32_t j = 0; j < i; ++j)
      EXPECT_NE(asked->tokens(i), asked->tokens(j));
  }
  // The first sample is what one alone gives.
  EXPECT_EQ(asked->tokens(0),
            alone(prompt, 20, [&](auto &o) { o.sampling = &sampling; }));
  EXPECT_EQ(nullptr, ferriteRequestTokens(asked->request, 5, nullptr));
}

// What is chosen has the probability that the model gives it.
TEST_F(GenerateTest, SamplesFollowTheModel) {
  make([](auto &o) { o.streams = 256; });
  Tokens prompt = text(9, 5);
  std::vector<float> logits = decoder->logitsOf(prompt);
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(double(logit));
  std::vector<double> found(logits.size());
  std::vector<std::unique_ptr<Asked>> all;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    FerriteSampling sampling = warm(seed);
    all.push_back(ask(prompt, 1, [&](FerriteRequestOptions &o) {
      o.sampling = &sampling;
      o.samples = 250;
    }));
  }
  run();
  for (auto &asked : all)
    for (int32_t i = 0; i < 250; ++i)
      found[size_t(asked->tokens(i)[0])] += 1e-4;
  for (size_t i = 0; i < logits.size(); ++i) {
    double p = std::exp(double(logits[i])) / sum;
    EXPECT_NEAR(p, found[i], 5 * std::sqrt(p / 1e4)) << i;
  }
}

TEST_F(GenerateTest, ReportsLogprobs) {
  make();
  Tokens prompt = text(6, 6);
  FerriteSampling sampling = warm(5, 0.5f);
  sampling.presence_penalty = 100; // logprobs are the model's own, all the same
  auto asked = ask(prompt, 8, [&](FerriteRequestOptions &o) {
    o.sampling = &sampling;
    o.logprobs = 3;
  });
  run();
  Tokens all = prompt;
  for (size_t i = 0; i < 8; ++i) {
    std::vector<float> logits = decoder->logitsOf(all);
    double sum = 0;
    for (float logit : logits)
      sum += std::exp(double(logit));
    int64_t token = asked->tokens()[i];
    EXPECT_NEAR(logits[size_t(token)] - std::log(sum), asked->logprobs[i],
                1e-5);
    ASSERT_EQ(3u, asked->best[i].size());
    EXPECT_EQ(argmax(logits), asked->best[i][0].token);
    for (const FerriteLogprob &best : asked->best[i])
      EXPECT_NEAR(logits[size_t(best.token)] - std::log(sum), best.logprob,
                  1e-5);
    EXPECT_GE(asked->best[i][0].logprob, asked->best[i][1].logprob);
    EXPECT_GE(asked->best[i][1].logprob, asked->best[i][2].logprob);
    all.push_back(token);
  }
}

// Only tokens above the last one, round and round: as a grammar would.
void rising(void *data, FerriteRequest *, int32_t, const int64_t *tokens,
            size_t count, size_t prompt, float *logits, int64_t vocabulary) {
  ++*static_cast<int *>(data);
  EXPECT_EQ(4u, prompt);
  int64_t last = tokens[count - 1];
  for (int64_t i = 0; i < vocabulary; ++i)
    if ((i - last + vocabulary) % vocabulary > 10 || i == last)
      logits[i] = -INFINITY;
}

TEST_F(GenerateTest, MasksConstrain) {
  make();
  int calls = 0;
  FerriteSampling sampling = warm(3);
  auto asked = ask(text(4, 7), 50, [&](FerriteRequestOptions &o) {
    o.sampling = &sampling;
    o.mask_logits = rising;
    o.mask_logits_data = &calls;
  });
  run();
  EXPECT_EQ(50, calls);
  int64_t last = text(4, 7).back();
  for (int64_t token : asked->tokens()) {
    EXPECT_LE((token - last + 61) % 61, 10);
    EXPECT_NE(token, last);
    last = token;
  }
}

void nothing(void *, FerriteRequest *, int32_t, const int64_t *, size_t, size_t,
             float *logits, int64_t vocabulary) {
  std::fill(logits, logits + vocabulary, -INFINITY);
}

TEST_F(GenerateTest, AMaskThatLeavesNothingFailsItsRequestAlone) {
  make();
  auto bad = ask(text(4, 8), 9, [](auto &o) { o.mask_logits = nothing; });
  auto good = ask(text(4, 9), 9);
  run();
  EXPECT_EQ(FERRITE_FINISH_FAILED, bad->finish());
  FerriteError why = {};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, ferriteRequestError(bad->request, &why));
  EXPECT_STREQ("no token is possible behind 4: no logit is above -infinity",
               why.message);
  EXPECT_EQ(FERRITE_FINISH_FAILED, bad->finishes[0]);
  EXPECT_EQ(decoder->greedy(text(4, 9), 9), good->tokens());
  EXPECT_EQ(FERRITE_OK, ferriteRequestError(good->request, nullptr));
}

TEST_F(GenerateTest, CancelsFromCallbacksAndOutside) {
  make();
  auto inside = ask(text(3, 10), 50);
  inside->cancelAfter = 7;
  auto outside = ask(text(90, 11), 50), other = ask(text(5, 12), 20);
  auto never = ask(text(5, 13), 20);
  ferriteRequestCancel(never->request);
  for (int i = 0; i < 10; ++i)
    ferriteGeneratorStep(generator, nullptr, nullptr);
  ferriteRequestCancel(outside->request);
  size_t left = 0;
  ferriteGeneratorStep(generator, &left, nullptr);
  EXPECT_EQ(1u, left);
  EXPECT_EQ(1, usage().sequences);
  run();
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, inside->finish());
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, inside->finishes[0]);
  Tokens seven = decoder->greedy(text(3, 10), 7);
  EXPECT_EQ(seven, inside->tokens());
  EXPECT_EQ(10u, outside->tokens().size());
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, outside->finish());
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, never->finish());
  EXPECT_EQ(decoder->greedy(text(5, 12), 20), other->tokens());
}

TEST_F(GenerateTest, RefusesWhatCannotBe) {
  make([](auto &o) { o.max_tokens = 100; });
  auto with = [](auto set) { return set; };
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused({}, [](auto &) {}));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused({5, 61}, [](auto &) {}));
  EXPECT_STREQ("token 61 at [1] of the prompt: the model has 61",
               error.message);
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused({-1}, [](auto &) {}));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused(text(101, 1), [](auto &) {}));
  EXPECT_STREQ("a prompt of 101 tokens: the most is 100", error.message);
  const char *empty[] = {""};
  const auto cases = {
      GenerateTest::More([](auto &o) { o.max_tokens = -1; }),
      GenerateTest::More([](auto &o) { o.samples = 65; }),
      GenerateTest::More([](auto &o) { o.logprobs = 62; }),
      GenerateTest::More([](auto &o) { o.speculation = 3; }),
      GenerateTest::More(
          [](auto &o) { o.speculation = FERRITE_SPECULATE_DRAFT; }),
      GenerateTest::More([](auto &o) { o.stop_token_count = 1; }),
      GenerateTest::More([&](auto &o) {
        o.stop_strings = empty;
        o.stop_string_count = 1;
        o.detokenize = letters;
      }),
      GenerateTest::More([](auto &o) { o.beams = 2, o.samples = 3; }),
      GenerateTest::More([](auto &o) { o.beams = 2, o.logprobs = 3; }),
      GenerateTest::More([](auto &o) { o.size = 0; })};
  for (const auto &more : cases)
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused({1}, with(more)));
  // As much as there is room for, and the last token needs none.
  auto asked = ask(text(90, 2), 0);
  run();
  EXPECT_EQ(decoder->greedy(text(90, 2), 11), asked->tokens());
}

TEST_F(GenerateTest, RefusesModelsOfOtherKinds) {
  FakeModel plain;
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteGeneratorCreate(plain.open(), nullptr, &generator, &error));
  EXPECT_EQ(nullptr, generator);
  FakeDecoder odd;
  odd.inputs[0].name = "pixels";
  EXPECT_EQ(FERRITE_INCOMPATIBLE,
            ferriteGeneratorCreate(odd.open(), nullptr, &generator, &error));
  EXPECT_STREQ("the entry 'main' has the input 'pixels', which is none of a "
               "text",
               error.message);
}

TEST_F(GenerateTest, LimitsOfTheModelHold) {
  decoder = std::make_unique<FakeDecoder>();
  decoder->inputs[1].id_limit = 40; // positions
  decoder->symbols[0].max = 16;     // tokens of a call
  ASSERT_EQ(FERRITE_OK, ferriteGeneratorCreate(decoder->open(), nullptr,
                                               &generator, &error))
      << error.message;
  EXPECT_EQ(40, ferriteGeneratorMaxTokens(generator));
  auto asked = ask(text(30, 3), 0);
  run();
  EXPECT_EQ(decoder->greedy(text(30, 3), 11), asked->tokens());
}

// A request outlives its generator.
TEST_F(GenerateTest, DestroysWithRequestsLeft) {
  make();
  auto begun = ask(text(30, 14), 50), waiting = ask(text(30, 15), 50);
  ferriteGeneratorStep(generator, nullptr, nullptr);
  ferriteGeneratorStep(generator, nullptr, nullptr);
  auto late = ask(text(30, 16), 50);
  ferriteGeneratorDestroy(generator);
  generator = nullptr;
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, begun->finish());
  EXPECT_EQ(2u, begun->tokens().size());
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, late->finish());
}

} // namespace
