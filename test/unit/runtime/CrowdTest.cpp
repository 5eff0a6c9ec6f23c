//===- CrowdTest.cpp - More threads than CPUs, and busy neighbours --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A team whose members spin for each other collapses when they do not all have
// a CPU: the one that is waited for does not run while others wait for it, and
// a run takes a time slice (milliseconds) a stage. So runs of many short stages
// are compared with runs of one thread in the same crowd, in turn. The bound is
// far above what a crowd may cost and far below a collapse, which is a factor
// of 20 and more here.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

#include <algorithm>
#include <chrono>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace ferrite::test;

namespace {

constexpr int kStages = 60;
constexpr int64_t kUnits = 16;
constexpr double kMost = 6; ///< times the time of one thread

/// Some microseconds of arithmetic that nobody can skip.
void work(int64_t units) {
  for (int64_t i = 0; i < units * 1500; ++i)
    asm volatile("" ::: "memory");
}

void build(FakeModel &model) {
  uint32_t kernel = model.kernel(
      "work", [](const FerriteArg *) -> int64_t { return kUnits; },
      [](const FerriteArg *, int64_t begin, int64_t end, void *) {
        work(end - begin);
      });
  for (int i = 0; i < kStages; ++i)
    model.launch("work", kernel, {}, i % 2 ? FERRITE_LAUNCH_CLAIMED : 0u);
}

double secondsOf(FerriteSession *session) {
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr));
  std::chrono::duration<double> taken =
      std::chrono::steady_clock::now() - begin;
  return taken.count();
}

double median(std::vector<double> samples) {
  std::nth_element(samples.begin(), samples.begin() + samples.size() / 2,
                   samples.end());
  return samples[samples.size() / 2];
}

/// The median time of a run of `threads` by that of one thread, in turn.
double ratio(FakeModel &model, int32_t threads) {
  Scoped alone(model.open(), 1), team(model.open(), threads);
  std::vector<double> one, many;
  for (int run = 0; run < 31; ++run) {
    one.push_back(secondsOf(alone));
    many.push_back(secondsOf(team));
  }
  return median(many) / median(one);
}

/// Processes that compute until the end of the scope.
class Neighbours {
public:
  explicit Neighbours(int count) {
    for (int i = 0; i < count; ++i) {
      pid_t child = fork();
      if (child == 0)
        for (;;)
          work(1);
      if (child > 0)
        children.push_back(child);
    }
  }
  ~Neighbours() {
    for (pid_t child : children) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }
  std::vector<pid_t> children;
};

TEST(Crowd, MoreThreadsThanCpus) {
  FakeModel model;
  build(model);
  for (int32_t times : {2, 4, 16})
    EXPECT_LT(ratio(model, times * ferriteDefaultThreads()), kMost)
        << times << " threads for each CPU";
}

TEST(Crowd, BusyNeighbours) {
  FakeModel model;
  build(model);
  Neighbours neighbours(ferriteDefaultThreads());
  ASSERT_FALSE(neighbours.children.empty());
  EXPECT_LT(ratio(model, ferriteDefaultThreads()), kMost);
}

/// Neighbour and team on two CPUs, so that members trade places all the time;
/// their masks are whole afterwards.
TEST(Crowd, OneNeighbourOnTwoCpus) {
  cpu_set_t all, two;
  ASSERT_EQ(0, sched_getaffinity(0, sizeof all, &all));
  CPU_ZERO(&two);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; ++cpu)
    if (CPU_ISSET(cpu, &all))
      CPU_SET(cpu, &two);
  if (CPU_COUNT(&two) < 2)
    GTEST_SKIP() << "one CPU";
  // In a thread, so that this one keeps its mask; what it makes inherits.
  std::thread([&] {
    ASSERT_EQ(0, sched_setaffinity(0, sizeof two, &two));
    FakeModel model;
    build(model);
    Neighbours neighbours(1);
    ASSERT_FALSE(neighbours.children.empty());
    EXPECT_LT(ratio(model, 2), kMost);
    cpu_set_t after;
    ASSERT_EQ(0, sched_getaffinity(0, sizeof after, &after));
    EXPECT_TRUE(CPU_EQUAL(&two, &after));
  }).join();
}

} // namespace
