//===- FaultTest.cpp - What goes wrong for one goes wrong for it alone ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each fault happens to one request while others are under way. These get what
// they would get alone, and all pages come back.
//
//===----------------------------------------------------------------------===//
#include "GenerateFixture.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

using namespace ferrite::test;

namespace {

class FaultTest : public GenerateTest {
protected:
  void begin(std::function<void(FerriteGeneratorOptions &)> more = {}) {
    make(more);
    for (size_t i = 0; i < 3; ++i)
      others.push_back(ask(text(15 + 30 * i, int64_t(i)), 60));
    step(5);
  }
  void step(int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(FERRITE_OK, ferriteGeneratorStep(generator, nullptr, &error))
          << error.message;
  }
  void finish() {
    run();
    for (size_t i = 0; i < others.size(); ++i)
      EXPECT_EQ(decoder->greedy(text(15 + 30 * i, int64_t(i)), 60),
                others[i]->tokens())
          << "the neighbour " << i;
    EXPECT_EQ(0, usage().used_pages);
  }

  std::vector<std::unique_ptr<Asked>> others;
};

TEST_F(FaultTest, ATextThatNeedsMorePagesThanThereAre) {
  begin([](auto &o) {
    o.cache_pages = 9;
    o.max_tokens = 4096;
  });
  // Four beams of 400 shared tokens and 150 of their own.
  auto asked = ask(text(400, 9), 150, [](auto &o) { o.beams = 4; });
  finish();
  EXPECT_EQ(FERRITE_FINISH_FAILED, asked->finish());
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, ferriteRequestError(asked->request, &error));
  EXPECT_NE(std::string(error.message).find("9 pages"), std::string::npos)
      << error.message;
}

TEST_F(FaultTest, PromptsThatAreTooLong) {
  begin([](auto &o) { o.max_tokens = 200; });
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused(text(201, 9), [](auto &) {}));
  EXPECT_NE(std::string(error.message).find("201"), std::string::npos)
      << error.message;
  finish();
}

TEST_F(FaultTest, TokensThatThereAreNot) {
  begin();
  for (int64_t token : {FakeDecoder::vocabulary, int64_t(-1),
                        std::numeric_limits<int64_t>::max(),
                        std::numeric_limits<int64_t>::min()}) {
    Tokens prompt = text(10, 9);
    prompt[4] = token;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, refused(prompt, [](auto &) {}));
  }
  finish();
}

// A client that is gone lets go of its request, or not even that: its callback
// says so with the next token.
TEST_F(FaultTest, ClientsThatGo) {
  begin();
  auto released = ask(text(40, 9), 300, [](auto &o) { o.on_token = nullptr; });
  auto hungUp = ask(text(41, 10), 300);
  hungUp->cancelAfter = 3;
  step(4);
  ferriteRequestRelease(released->request);
  released->request = nullptr;
  finish();
  EXPECT_EQ(FERRITE_FINISH_CANCELLED, hungUp->finish());
  EXPECT_EQ(3u, hungUp->tokens().size());
}

// From another thread, at any moment.
TEST_F(FaultTest, ClientsThatCancelWheneverTheyLike) {
  begin();
  std::vector<std::unique_ptr<Asked>> victims;
  for (int64_t i = 0; i < 8; ++i)
    victims.push_back(
        ask(text(30, 20 + i), 400, [](auto &o) { o.on_token = nullptr; }));
  std::atomic<int> steps{0};
  std::thread client([&] {
    for (size_t i = 0; i < victims.size(); ++i) {
      while (steps.load() < int(3 * i))
        std::this_thread::yield();
      ferriteRequestCancel(victims[i]->request);
    }
  });
  size_t left = 1;
  while (left) {
    ASSERT_EQ(FERRITE_OK, ferriteGeneratorStep(generator, &left, &error));
    ++steps;
  }
  steps = 1000;
  client.join();
  finish();
  for (auto &victim : victims)
    EXPECT_EQ(FERRITE_FINISH_CANCELLED, victim->finish());
}

// A mask that leaves nothing, or writes NaN everywhere.
TEST_F(FaultTest, MasksThatAreWrong) {
  begin();
  auto asked = ask(text(33, 9), 50, [](auto &o) {
    o.mask_logits = [](void *, FerriteRequest *, int32_t, const int64_t *,
                       size_t count, size_t, float *logits,
                       int64_t vocabulary) {
      for (int64_t i = 0; count > 40 && i < vocabulary; ++i)
        logits[i] = std::nanf("");
    };
  });
  finish();
  EXPECT_EQ(FERRITE_FINISH_FAILED, asked->finish());
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteRequestError(asked->request, &error));
  EXPECT_EQ(8u, asked->tokens().size());
}

} // namespace
