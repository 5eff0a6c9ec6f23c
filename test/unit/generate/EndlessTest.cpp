//===- EndlessTest.cpp - Texts of any length in few pages -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Sinks and a window, by the place of a token alone: whatever chunks a prompt
// is cut into, whoever else is there, and with guesses as without.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

using namespace ferrite::test;

namespace {

class EndlessTest : public GenerateTest {
protected:
  void begin(int64_t window, int64_t sinks,
             std::function<void(FerriteGeneratorOptions &)> more = {}) {
    make([&](FerriteGeneratorOptions &o) {
      o.max_tokens = 0;
      o.window_tokens = window;
      o.sink_tokens = sinks;
      o.cache_pages = 30;
      if (more)
        more(o);
    });
    decoder->windowPages = (window + 63) / 64;
    decoder->sinkPages = (sinks + 63) / 64;
  }
};

TEST_F(EndlessTest, SeesSinksAndWindow) {
  for (auto [window, sinks] :
       {std::pair<int64_t, int64_t>{64, 64}, {100, 4}, {128, 0}}) {
    begin(window, sinks);
    Tokens prompt = text(40, 1);
    auto asked = ask(prompt, 700);
    run();
    EXPECT_EQ(decoder->greedy(prompt, 700), asked->tokens()) << window;
    FerriteCacheUsage used = usage();
    EXPECT_LE(used.peak_pages, (window + 63) / 64 + (sinks + 63) / 64 + 1);
    EXPECT_EQ(0, used.tokens);
    TearDown();
    generator = nullptr;
  }
}

TEST_F(EndlessTest, PromptsInChunks) {
  Tokens prompt = text(900, 2), want;
  for (int32_t chunk : {512, 64, 37}) {
    begin(64, 64, [&](auto &o) { o.step_tokens = chunk; });
    want = decoder->greedy(prompt, 100);
    auto asked = ask(prompt, 100);
    auto other = ask(text(30, 3), 200);
    run();
    EXPECT_EQ(want, asked->tokens()) << chunk;
    EXPECT_EQ(decoder->greedy(text(30, 3), 200), other->tokens());
    TearDown();
    generator = nullptr;
  }
}

TEST_F(EndlessTest, InCompanyAndPreempted) {
  draft = std::make_unique<FakeDecoder>(0.6f);
  begin(64, 64, [&](auto &o) {
    o.cache_pages = 8;
    o.draft = draft->open();
  });
  std::vector<std::unique_ptr<Asked>> all;
  FerriteSampling sampling = warm(3);
  for (size_t i = 0; i < 6; ++i)
    all.push_back(ask(text(100 + 40 * i, int64_t(i)), 150,
                      [&](auto &o) { o.speculation = int32_t(i % 3); }));
  auto samples = ask(text(150, 9), 150, [&](auto &o) {
    o.samples = 2;
    o.sampling = &sampling;
  });
  run();
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(decoder->greedy(text(100 + 40 * i, int64_t(i)), 150),
              all[i]->tokens())
        << i;
  EXPECT_GT(stats().preemptions, 0);
  EXPECT_NE(samples->tokens(0), samples->tokens(1));
  EXPECT_EQ(150u, samples->tokens(1).size());
}

TEST_F(EndlessTest, NotWithWindowsOfTheModel) {
  decoder = std::make_unique<FakeDecoder>(1, 80);
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  options.window_tokens = 64;
  EXPECT_EQ(
      FERRITE_INCOMPATIBLE,
      ferriteGeneratorCreate(decoder->open(), &options, &generator, &error));
  options.window_tokens = 0;
  options.sink_tokens = 64;
  EXPECT_EQ(
      FERRITE_INVALID_ARGUMENT,
      ferriteGeneratorCreate(decoder->open(), &options, &generator, &error));
}

} // namespace
