//===- TeamBench.cpp - What a stage costs on the team ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Not a test: prints the numbers of runtime/README.md. Each case runs 400 times
// on one thread and on two; work is a count of loop rounds a unit. On a busy
// machine, give it priority for its second (`chrt -f 1`).
//
// A stage cannot cost less than about one round trip of a cache line between
// two CPUs, and on a virtual machine that is another number from one minute to
// the next, as the host moves the CPUs (0.12 to 0.55 us seen). So the round
// trip is measured before and after: a run in which the two differ says
// nothing, and from another only the ratio is worth quoting.
//
//===----------------------------------------------------------------------===//
#include "ferrite/runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

int64_t unitCount, rounds;

int64_t units(const FerriteArg *) { return unitCount; }
void work(const FerriteArg *, int64_t begin, int64_t end, void *) {
  for (int64_t i = begin; i < end; ++i)
    for (volatile int64_t k = 0; k < rounds; k = k + 1)
      ;
}

/// Nanoseconds of a stage: the median and the least of 400 runs.
void measure(const char *what, uint32_t stages, int32_t threads, uint32_t flags,
             int gapMicroseconds) {
  FerriteAbiKernel kernel = {"work", units};
  FerriteKernelFn function = work;
  FerriteAbiLevel level = {"generic", 0, &function};
  std::vector<FerriteAbiLaunch> launches(stages, {0, 0, 0, flags, "stage"});
  FerriteAbiEntry entry = {};
  entry.name = "main";
  entry.launches = launches.data();
  entry.launch_count = stages;
  FerriteAbiModel abi = {};
  abi.magic = FERRITE_ABI_MAGIC;
  abi.version = FERRITE_ABI_VERSION;
  abi.size = sizeof abi;
  abi.compiler = abi.name = "bench";
  abi.entries = &entry;
  abi.kernels = &kernel;
  abi.levels = &level;
  abi.entry_count = abi.kernel_count = abi.level_count = 1;

  FerriteModel *model = nullptr;
  FerriteSession *session = nullptr;
  FerriteSessionOptions options = {};
  options.size = sizeof options;
  options.threads = threads;
  FerriteError error;
  if (ferriteModelOpen(&abi, nullptr, &model, &error) ||
      ferriteSessionCreate(model, nullptr, &options, &session, &error)) {
    std::puts(error.message);
    return;
  }
  std::vector<double> times;
  for (int run = 0; run < 400; ++run) {
    if (gapMicroseconds)
      std::this_thread::sleep_for(std::chrono::microseconds(gapMicroseconds));
    auto start = std::chrono::steady_clock::now();
    if (ferriteSessionRun(session, nullptr, 0, nullptr, 0, &error)) {
      std::puts(error.message);
      break;
    }
    std::chrono::duration<double, std::nano> time =
        std::chrono::steady_clock::now() - start;
    times.push_back(time.count() / stages);
  }
  std::sort(times.begin(), times.end());
  if (!times.empty())
    std::printf("%-34s %d threads: median %7.0f ns a stage, least %7.0f\n",
                what, threads, times[times.size() / 2], times[0]);
  ferriteSessionDestroy(session);
  ferriteModelRelease(model);
}

alignas(128) std::atomic<unsigned> ping, pong;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void measureRoundTrip() {
  constexpr unsigned trips = 20000;
  std::vector<double> times;
  for (int repeat = 0; repeat < 9; ++repeat) {
    ping = pong = 0;
    std::thread other([] {
      for (unsigned i = 1; i <= trips; ++i) {
        while (ping.load(std::memory_order_acquire) != i)
          relax();
        pong.store(i, std::memory_order_release);
      }
    });
    auto start = std::chrono::steady_clock::now();
    for (unsigned i = 1; i <= trips; ++i) {
      ping.store(i, std::memory_order_release);
      while (pong.load(std::memory_order_acquire) != i)
        relax();
    }
    std::chrono::duration<double, std::nano> time =
        std::chrono::steady_clock::now() - start;
    times.push_back(time.count() / trips);
    other.join();
  }
  std::sort(times.begin(), times.end());
  std::printf("%-34s 2 threads: median %7.0f ns, least %7.0f\n",
              "round trip of a cache line", times[4], times[0]);
}

void measureBoth(const char *what, int64_t stageUnits, int64_t unitRounds,
                 uint32_t flags, int gapMicroseconds) {
  unitCount = stageUnits;
  rounds = unitRounds;
  for (int32_t threads : {1, 2})
    measure(what, 100, threads, flags, gapMicroseconds);
}

} // namespace

int main() {
  measureRoundTrip();
  measureBoth("empty, 2 shares", 2, 0, 0, 0);
  measureBoth("empty, 16 claimed units", 16, 0, FERRITE_LAUNCH_CLAIMED, 0);
  measureBoth("2 shares of 2000 rounds", 2, 2000, 0, 0);
  measureBoth("same, 300 us between runs", 2, 2000, 0, 300);
  measureBoth("2 shares of 8000 rounds", 2, 8000, 0, 0);
  measureBoth("16 claimed units of 250 rounds", 16, 250, FERRITE_LAUNCH_CLAIMED,
              0);
  measureRoundTrip();
}
