//===- ScheduleTest.cpp - Many requests at once ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Whatever the company, a request gets what it gets alone.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include <algorithm>
#include <thread>

using namespace ferrite::test;

namespace {

class ScheduleTest : public GenerateTest {
protected:
  /// Requests of many lengths, some greedy, some random.
  void askMany(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      prompts.push_back(text(1 + (i * 37) % 150, int64_t(i)));
      lengths.push_back(1 + int64_t(i * 13) % 60);
      samplings.push_back(warm(i, i % 3 ? 1.0f : 0.0f));
    }
    for (size_t i = 0; i < count; ++i)
      asked.push_back(ask(prompts[i], lengths[i], with(i)));
  }
  More with(size_t i) {
    return [this, i](FerriteRequestOptions &o) { o.sampling = &samplings[i]; };
  }
  void expectAlone() {
    for (size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(alone(prompts[i], lengths[i], with(i)), asked[i]->tokens())
          << i;
      EXPECT_EQ(asked[i]->events[0], asked[i]->tokens());
      EXPECT_EQ(FERRITE_FINISH_LENGTH, asked[i]->finish());
    }
  }
  void TearDown() override {
    asked.clear();
    GenerateTest::TearDown();
  }

  std::vector<Tokens> prompts;
  std::vector<int64_t> lengths;
  std::vector<FerriteSampling> samplings;
  std::vector<std::unique_ptr<Asked>> asked;
};

TEST_F(ScheduleTest, BatchesWhateverComes) {
  make();
  askMany(32);
  run();
  expectAlone();
  // As many steps as the longest text, and those of the prompts.
  int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  EXPECT_LE(stats().steps, longest + 10);
}

TEST_F(ScheduleTest, CutsPromptsToTheBudget) {
  for (int32_t budget : {1, 7, 64}) {
    make([&](auto &o) { o.step_tokens = budget, o.streams = 5; });
    askMany(9);
    run();
    expectAlone();
    TearDown();
    generator = nullptr;
    prompts.clear();
    lengths.clear();
    samplings.clear();
  }
  make();
}

// A long prompt does not stop the others: they get a token in each step.
TEST_F(ScheduleTest, PromptsTakeWhatIsLeft) {
  make([](auto &o) { o.step_tokens = 10; });
  auto first = ask(text(3, 1), 40);
  ferriteGeneratorStep(generator, nullptr, nullptr);
  auto second = ask(text(99, 2), 5);
  for (int i = 0; i < 11; ++i)
    ferriteGeneratorStep(generator, nullptr, nullptr);
  EXPECT_EQ(12u, first->tokens().size());
  EXPECT_EQ(1u, second->tokens().size()); // 99 tokens at 9 a step
  run();
}

TEST_F(ScheduleTest, GoesOnWhenPagesRunOut) {
  // 12 pages, of which the requests want some 40.
  make([](auto &o) { o.cache_pages = 12; });
  askMany(16);
  run();
  expectAlone();
  EXPECT_GT(stats().preemptions, 0);
  EXPECT_LE(usage().peak_pages, 12);
}

TEST_F(ScheduleTest, SamplesAndBeamsArePreempted) {
  make([](auto &o) { o.cache_pages = 8, o.streams = 16; });
  FerriteSampling sampling = warm(3);
  auto sampled = [&](FerriteRequestOptions &o) {
    o.sampling = &sampling;
    o.samples = 4;
  };
  auto beams = [](FerriteRequestOptions &o) { o.beams = 3; };
  auto a = ask(text(50, 1), 90, sampled);
  auto b = ask(text(70, 2), 70, beams);
  auto c = ask(text(100, 3), 40);
  run();
  for (int32_t i = 0; i < 4; ++i)
    EXPECT_EQ(alone(text(50, 1), 90, sampled, i), a->tokens(i));
  EXPECT_EQ(alone(text(70, 2), 70, beams), b->tokens());
  EXPECT_EQ(decoder->greedy(text(100, 3), 40), c->tokens());
  EXPECT_GT(stats().preemptions, 0);
}

TEST_F(ScheduleTest, ATextThatCannotFitFailsAlone) {
  make([](auto &o) { o.cache_pages = 3, o.max_tokens = 192; });
  auto beams = ask(text(100, 1), 90, [](auto &o) { o.beams = 4; });
  auto fits = ask(text(20, 2), 150);
  run();
  EXPECT_EQ(FERRITE_FINISH_FAILED, beams->finish());
  FerriteError why = {};
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, ferriteRequestError(beams->request, &why));
  EXPECT_STREQ("the text needs more than the 3 pages of the cache",
               why.message);
  EXPECT_EQ(decoder->greedy(text(20, 2), 150), fits->tokens());
}

// Whatever comes between them, texts that began alike are neighbours in a call:
// attention reads what they share once.
TEST_F(ScheduleTest, SharersAreNeighbours) {
  make();
  Tokens systems[] = {text(200, 5), text(150, 6), text(70, 7)};
  std::vector<std::unique_ptr<Asked>> all;
  for (int64_t i = 0; i < 12; ++i) {
    all.push_back(ask(systems[i % 3] + text(1 + size_t(i), i), 30));
    ferriteGeneratorStep(generator, nullptr, nullptr);
  }
  int64_t sharers = FakeDecoder::sharers, neighbours = FakeDecoder::neighbours;
  run();
  EXPECT_GT(FakeDecoder::sharers - sharers, 100);
  EXPECT_EQ(FakeDecoder::sharers - sharers,
            FakeDecoder::neighbours - neighbours);
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(decoder->greedy(systems[i % 3] + text(1 + size_t(i), i), 30),
              all[i]->tokens());
}

TEST_F(ScheduleTest, SharesBeginnings) {
  make();
  Tokens system = text(200, 5);
  auto first = ask(system + text(3, 6), 30);
  ferriteGeneratorStep(generator, nullptr, nullptr);
  auto second = ask(system + text(9, 7), 30), same = ask(system, 30);
  run();
  EXPECT_EQ(decoder->greedy(system + text(3, 6), 30), first->tokens());
  EXPECT_EQ(decoder->greedy(system + text(9, 7), 30), second->tokens());
  EXPECT_EQ(decoder->greedy(system, 30), same->tokens());
  EXPECT_EQ(200 + 199, stats().shared_tokens);
  EXPECT_EQ(203 + 9 + 1, stats().prompt_tokens);
  EXPECT_EQ(3 + 3, usage().peak_pages); // 3 shared, and one of each
}

TEST_F(ScheduleTest, SharingCanBeOff) {
  make([](auto &o) { o.no_sharing = 1; });
  auto first = ask(text(150, 5), 9);
  ferriteGeneratorStep(generator, nullptr, nullptr);
  auto second = ask(text(150, 5), 9);
  run();
  EXPECT_EQ(0, stats().shared_tokens);
  EXPECT_EQ(first->tokens(), second->tokens());
}

TEST_F(ScheduleTest, WindowsForget) {
  make(
      [](auto &o) {
        o.cache_pages = 4;
        o.max_tokens = 2000;
        o.step_tokens = 64;
      },
      1, 80);
  auto asked = ask(text(500, 1), 600);
  run();
  EXPECT_EQ(decoder->greedy(text(500, 1), 600), asked->tokens());
}

// Where every layer has a window a text holds few pages, however long it is: as
// many are there for each stream, and a long prompt waits for no more.
TEST_F(GenerateTest, WindowsNeedFewPages) {
  make(
      [](auto &o) {
        o.streams = 3;
        o.step_tokens = 64;
        o.max_tokens = 4000;
      },
      1, 100);
  FerriteCacheUsage cache = usage();
  EXPECT_EQ(3 * ((100 + 64) / 64 + 2), cache.pages);
  std::vector<std::unique_ptr<Asked>> all;
  for (int64_t i = 0; i < 4; ++i)
    all.push_back(ask(text(1500, i), 40));
  run();
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(decoder->greedy(text(1500, int64_t(i)), 40), all[i]->tokens());
  EXPECT_EQ(0, stats().preemptions);
}

// Of layers with a window the pages behind it go, of the others all stay; and
// bytes are counted exactly.
TEST_F(ScheduleTest, SomeLayersForget) {
  decoder = std::make_unique<FakeDecoder>(1, 80, /*isMixed=*/true);
  draft = std::make_unique<FakeDecoder>(0.4f, 80, /*isMixed=*/true);
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  options.threads = 1;
  options.step_tokens = 50;
  options.cache_pages = 24;
  options.draft = draft->open();
  ASSERT_EQ(FERRITE_OK, ferriteGeneratorCreate(decoder->open(), &options,
                                               &generator, &error))
      << error.message;
  std::vector<std::unique_ptr<Asked>> all;
  for (size_t i = 0; i < 5; ++i)
    all.push_back(ask(text(90 + 100 * i, int64_t(i)), 250,
                      [&](auto &o) { o.speculation = int32_t(i % 3); }));
  size_t left = 1;
  int64_t most = 0;
  while (left) {
    ASSERT_EQ(FERRITE_OK, ferriteGeneratorStep(generator, &left, &error));
    FerriteCacheUsage used = usage();
    int64_t kept = used.used_pages * used.kept_page_bytes;
    int64_t windowed = used.used_bytes - kept;
    EXPECT_GE(windowed, 0);
    EXPECT_LE(windowed, used.used_pages * used.kept_page_bytes);
    if (used.sequences == 1 && used.used_pages > most) {
      most = used.used_pages;
      // 80 tokens and a step of 50 lie in 4 pages at most.
      EXPECT_LE(windowed, 4 * used.kept_page_bytes);
    }
  }
  EXPECT_GT(most, 8);
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(decoder->greedy(text(90 + 100 * i, int64_t(i)), 250),
              all[i]->tokens())
        << i;
  EXPECT_GT(stats().preemptions, 0);
  EXPECT_EQ(0, usage().used_bytes);
}

// Requests come from any thread while the generator is at work.
TEST_F(ScheduleTest, TakesRequestsFromThreads) {
  make();
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<Asked>> all(40);
  std::atomic<int> left{4};
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = t; i < all.size(); i += 4) {
        all[i] = std::make_unique<Asked>();
        Tokens prompt = text(5 + i, int64_t(i));
        FerriteRequestOptions options = {};
        options.size = sizeof options;
        options.prompt = prompt.data();
        options.prompt_tokens = prompt.size();
        options.max_tokens = 10;
        EXPECT_EQ(FERRITE_OK,
                  ferriteGeneratorSubmit(generator, &options, &all[i]->request,
                                         nullptr));
        if (i % 5 == 4)
          ferriteRequestCancel(all[i]->request);
      }
      --left;
    });
  size_t waiting = 0;
  do
    ferriteGeneratorStep(generator, &waiting, nullptr);
  while (left || waiting);
  for (std::thread &thread : threads)
    thread.join();
  run();
  for (size_t i = 0; i < all.size(); ++i)
    if (i % 5 == 4)
      EXPECT_NE(FERRITE_FINISH_NONE, all[i]->finish());
    else
      EXPECT_EQ(decoder->greedy(text(5 + i, int64_t(i)), 10), all[i]->tokens());
}

} // namespace
