//===- Places.cpp - Which thread has which CPU ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A mask of more than CPU_SETSIZE (1024) CPUs does not fit and is refused by
// the system: on such a machine nobody trades.
//
//===----------------------------------------------------------------------===//
#include "core/Places.h"

#include <time.h>

using namespace ferrite::rt;

/// One thread at a time gives others masks, so that none takes the narrow mask
/// of another trade for the real one.
static std::atomic<uint32_t> trading{0};

int64_t Place::cpuTime() const {
  clockid_t clock;
  timespec time;
  if (pthread_getcpuclockid(thread, &clock) != 0 ||
      clock_gettime(clock, &time) != 0)
    return -1;
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static bool setMask(pthread_t thread, const cpu_set_t &mask) {
  return pthread_setaffinity_np(thread, sizeof mask, &mask) == 0;
}

/// Sends `thread` to the CPU `to`. Its mask has to be set again.
static bool send(pthread_t thread, int to) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(to, &only);
  return setMask(thread, only);
}

static bool allows(const cpu_set_t &mask, int cpu) {
  return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &mask);
}

/// Another thread brings the worker, which waits for a CPU, to the CPU `to`.
bool Place::pull(int to) {
  uint32_t before = moves.load(std::memory_order_acquire);
  cpu_set_t mask;
  if (before % 2 == 1)
    mask = home;
  else if (pthread_getaffinity_np(thread, sizeof mask, &mask) != 0)
    return false;
  if (!allows(mask, to) || !send(thread, to))
    return false;
  setMask(thread, mask);
  // It got a CPU after all, and went elsewhere meanwhile.
  if (moves.load(std::memory_order_acquire) != before)
    setMask(thread, home);
  return true;
}

void Place::move(int to) {
  cpu_set_t mask;
  if (pthread_getaffinity_np(thread, sizeof mask, &mask) != 0 ||
      !allows(mask, to))
    return;
  home = mask;
  moves.fetch_add(1, std::memory_order_acq_rel);
  if (send(thread, to)) {
    note();
    setMask(thread, mask);
  }
  moves.fetch_add(1, std::memory_order_acq_rel);
}

int Place::makeWay(Place &other, const cpu_set_t &taken) {
  int here = sched_getcpu(), there = other.lastCpu();
  cpu_set_t mask;
  if (pthread_getaffinity_np(thread, sizeof mask, &mask) != 0)
    return -1;
  if (here == there) {
    for (int to = 0; to < CPU_SETSIZE; ++to)
      if (to != here && allows(mask, to) && !CPU_ISSET(to, &taken))
        return to;
    return -1;
  }
  if (!allows(mask, there) || trading.exchange(1, std::memory_order_acquire))
    return -1;
  bool pulled = other.pull(here);
  trading.store(0, std::memory_order_release);
  return pulled ? there : -1;
}

void Place::forget() { trading.store(0, std::memory_order_relaxed); }
