//===- GenerateFixture.cpp - A generator over a decoder by hand -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

using namespace ferrite::test;

Tokens ferrite::test::operator+(Tokens a, const Tokens &b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

FerriteSampling ferrite::test::warm(uint64_t seed, float temperature) {
  FerriteSampling sampling = {};
  sampling.size = sizeof sampling;
  sampling.temperature = temperature;
  sampling.seed = seed;
  return sampling;
}

static int32_t onToken(void *data, const FerriteTokenEvent *event) {
  Asked &asked = *static_cast<Asked *>(data);
  EXPECT_EQ(asked.request, event->request);
  EXPECT_EQ(0, asked.finishes[event->sample]) << "an event behind the last";
  asked.finishes[event->sample] = event->finish;
  Tokens &tokens = asked.events[event->sample];
  EXPECT_EQ(int64_t(tokens.size()), event->index);
  if (event->token < 0)
    return 0;
  tokens.push_back(event->token);
  asked.logprobs.push_back(event->logprob);
  asked.best.emplace_back(event->logprobs,
                          event->logprobs + event->logprob_count);
  return tokens.size() >= asked.cancelAfter;
}

void GenerateTest::make(std::function<void(FerriteGeneratorOptions &)> more,
                        float noise, int64_t window) {
  decoder = std::make_unique<FakeDecoder>(noise, window);
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  options.threads = 1;
  options.max_tokens = 1024;
  if (more)
    more(options);
  ASSERT_EQ(FERRITE_OK, ferriteGeneratorCreate(decoder->open(), &options,
                                               &generator, &error))
      << error.message;
}

void GenerateTest::TearDown() {
  // Nothing that was asked for may keep pages.
  if (generator && ferriteGeneratorRun(generator, nullptr) == FERRITE_OK) {
    EXPECT_EQ(0, usage().used_pages);
    EXPECT_EQ(0, usage().sequences);
  }
  ferriteGeneratorDestroy(generator);
}

std::unique_ptr<Asked> GenerateTest::ask(const Tokens &prompt,
                                         int64_t maxTokens, More more) {
  auto asked = std::make_unique<Asked>();
  FerriteRequestOptions options = {};
  options.size = sizeof options;
  options.prompt = prompt.data();
  options.prompt_tokens = prompt.size();
  options.max_tokens = maxTokens;
  options.on_token = onToken;
  options.on_token_data = asked.get();
  if (more)
    more(options);
  EXPECT_EQ(FERRITE_OK, ferriteGeneratorSubmit(generator, &options,
                                               &asked->request, &error))
      << error.message;
  return asked;
}

FerriteStatus GenerateTest::refused(const Tokens &prompt, More more) {
  FerriteRequestOptions options = {};
  options.size = sizeof options;
  options.prompt = prompt.data();
  options.prompt_tokens = prompt.size();
  more(options);
  FerriteRequest *request = nullptr;
  FerriteStatus status =
      ferriteGeneratorSubmit(generator, &options, &request, &error);
  EXPECT_EQ(nullptr, request);
  return status;
}

Tokens GenerateTest::alone(const Tokens &prompt, int64_t maxTokens, More more,
                           int32_t sample) {
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  options.threads = 1;
  options.max_tokens = 1024;
  FerriteGenerator *kept = generator;
  generator = nullptr;
  EXPECT_EQ(FERRITE_OK, ferriteGeneratorCreate(decoder->open(), &options,
                                               &generator, &error))
      << error.message;
  Tokens result;
  {
    auto asked = ask(prompt, maxTokens, more);
    run();
    result = asked->tokens(sample);
  }
  ferriteGeneratorDestroy(generator);
  generator = kept;
  return result;
}
