//===- SoakTest.cpp - A long day of a server ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// FERRITE_SOAK_SECONDS makes it as long as one likes.
//
//===----------------------------------------------------------------------===//
#include "AllocationHook.h"
#include "GenerateFixture.h"

#include <chrono>
#include <cstdlib>
#include <malloc.h>

using namespace ferrite::test;

namespace {

/// Bytes that malloc has given out.
size_t allocated() { return mallinfo2().uordblks; }

// Once the texts are under way no step allocates.
TEST_F(GenerateTest, StepsAllocateNothing) {
  draft = std::make_unique<FakeDecoder>(0.8f);
  make([&](auto &o) { o.draft = draft->open(); });
  std::vector<std::unique_ptr<Asked>> all;
  for (size_t i = 0; i < 12; ++i)
    all.push_back(ask(text(20 + i, int64_t(i)), 300, [&](auto &o) {
      o.speculation = int32_t(i % 3);
      o.on_token = nullptr; // its lists grow
    }));
  for (int i = 0; i < 25; ++i)
    ferriteGeneratorStep(generator, nullptr, nullptr);
  size_t bytes = allocated(), calls = allocations();
  for (int i = 0; i < 25; ++i)
    ferriteGeneratorStep(generator, nullptr, nullptr);
  EXPECT_EQ(bytes, allocated());
  EXPECT_EQ(calls, allocations());
  if (countsAllocations())
    EXPECT_GT(calls, 0u);
  run();
}

TEST_F(GenerateTest, SoaksWithoutLeaks) {
  const char *given = getenv("FERRITE_SOAK_SECONDS");
  double wanted = given ? atof(given) : 2;
  draft = std::make_unique<FakeDecoder>(0.8f);
  make([&](auto &o) {
    o.draft = draft->open();
    o.cache_pages = 24;
    o.step_tokens = 96;
    o.streams = 12;
  });
  std::vector<std::unique_ptr<Asked>> all;
  uint64_t random = 1;
  auto below = [&](uint64_t limit) {
    random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (random >> 33) % limit;
  };
  auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start)
        .count();
  };
  size_t finished = 0, after = 0, lateSteps = 0, lateAllocating = 0;
  while (elapsed() < wanted) {
    while (all.size() < 16) {
      FerriteSampling sampling = warm(below(1000), below(2) ? 1.0f : 0.0f);
      uint64_t kind = below(8);
      all.push_back(ask(text(1 + below(200), int64_t(below(5))),
                        int64_t(1 + below(80)), [&](auto &o) {
                          o.on_token = nullptr;
                          o.speculation = int32_t(below(3));
                          o.sampling = &sampling;
                          if (kind == 0)
                            o.samples = 3;
                          if (kind == 1) {
                            o.speculation = 0;
                            sampling.temperature = 0;
                            o.beams = 3;
                          }
                        }));
    }
    if (below(10) == 0)
      ferriteRequestCancel(all[below(all.size())]->request);
    size_t calls = allocations();
    ASSERT_EQ(FERRITE_OK, ferriteGeneratorStep(generator, nullptr, &error));
    if (elapsed() > wanted / 2) {
      ++lateSteps;
      lateAllocating += allocations() != calls;
    }
    for (size_t i = 0; i < all.size();)
      if (all[i]->finish() == FERRITE_FINISH_NONE) {
        ++i;
      } else {
        EXPECT_NE(FERRITE_FINISH_FAILED, all[i]->finish());
        all.erase(all.begin() + long(i));
        ++finished;
      }
    // What 100 more requests leave behind is what 100 did.
    if (finished >= 100 && !after) {
      for (auto &asked : all)
        ferriteRequestCancel(asked->request);
      all.clear();
      run();
      EXPECT_EQ(0, usage().used_pages);
      after = allocated();
    }
  }
  all.clear();
  run();
  EXPECT_EQ(0, usage().used_pages);
  EXPECT_GT(finished, 100u);
  EXPECT_GT(stats().preemptions, 0);
  // Lists of reused streams may have grown to the largest request's size.
  EXPECT_LT(allocated(), after + (size_t(1) << 20));
  // Requests come and go, with lists of their own: what was given back serves
  // the next ones, but for one now and then that is longer than any before.
  EXPECT_LE(lateAllocating, lateSteps / 50);
  printf("%zu requests, %zu of %zu late steps allocated, %lld steps, %lld "
         "tokens\n",
         finished, lateAllocating, lateSteps,
         static_cast<long long>(stats().steps),
         static_cast<long long>(stats().text_tokens));
}

} // namespace
