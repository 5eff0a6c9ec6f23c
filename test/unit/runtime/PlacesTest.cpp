//===- PlacesTest.cpp - Which thread has which CPU ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Places.h"

#include <gtest/gtest.h>
#include <thread>

using namespace ferrite::rt;

namespace {

cpu_set_t maskOf(pthread_t thread) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  EXPECT_EQ(0, pthread_getaffinity_np(thread, sizeof mask, &mask));
  return mask;
}

int firstOf(const cpu_set_t &mask, int from) {
  for (int cpu = from; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &mask))
      return cpu;
  return -1;
}

cpu_set_t only(int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(cpu, &mask);
  return mask;
}

/// A thread that was seen on `cpu`, where it is allowed to be for the moment,
/// and then has no CPU until the end of the scope.
class Still {
public:
  explicit Still(int cpu) {
    std::atomic<int> state{0};
    thread = std::thread([&, cpu] {
      cpu_set_t before = maskOf(pthread_self()), narrow = only(cpu);
      pthread_setaffinity_np(pthread_self(), sizeof narrow, &narrow);
      place.enter();
      pthread_setaffinity_np(pthread_self(), sizeof before, &before);
      state.store(1);
      while (!over.load())
        sched_yield();
    });
    while (!state.load())
      sched_yield();
  }
  ~Still() {
    over.store(1);
    thread.join();
  }
  Place place;
  std::thread thread;

private:
  std::atomic<int> over{0};
};

/// The masks and CPUs of one thread of a test, which get lost with it.
template <typename Body>
void inThread(Body body) {
  std::thread(body).join();
}

TEST(Places, MovesAndLeavesTheMask) {
  inThread([] {
    cpu_set_t mask = maskOf(pthread_self());
    Place place;
    place.enter();
    for (int cpu = firstOf(mask, 0); cpu >= 0; cpu = firstOf(mask, cpu + 1)) {
      place.move(cpu);
      EXPECT_EQ(cpu, place.lastCpu());
      cpu_set_t after = maskOf(pthread_self());
      EXPECT_TRUE(CPU_EQUAL(&mask, &after));
    }
  });
}

TEST(Places, StaysWithinTheMask) {
  inThread([] {
    cpu_set_t mask = maskOf(pthread_self());
    int here = firstOf(mask, 0);
    cpu_set_t narrow = only(here);
    ASSERT_EQ(0,
              pthread_setaffinity_np(pthread_self(), sizeof narrow, &narrow));
    Place place;
    place.enter();
    place.move(here + 1);
    place.move(-1);
    place.move(CPU_SETSIZE);
    place.enter();
    EXPECT_EQ(here, place.lastCpu());
    cpu_set_t after = maskOf(pthread_self());
    EXPECT_TRUE(CPU_EQUAL(&narrow, &after));

    // Both are on one CPU, and there is no other for this one.
    cpu_set_t none;
    CPU_ZERO(&none);
    Still still(here); // inherits the narrow mask
    EXPECT_EQ(-1, place.makeWay(still.place, none));
  });
}

TEST(Places, TradesAndLeavesTheMasks) {
  inThread([] {
    cpu_set_t mask = maskOf(pthread_self());
    int here = firstOf(mask, 0), there = firstOf(mask, here + 1);
    if (there < 0)
      GTEST_SKIP() << "one CPU";
    Still still(there);
    cpu_set_t narrow = only(here);
    ASSERT_EQ(0,
              pthread_setaffinity_np(pthread_self(), sizeof narrow, &narrow));
    Place place;
    place.enter();
    cpu_set_t taken = narrow;
    CPU_SET(there, &taken);
    // It is bound to its CPU: the other could come, but this one not go.
    EXPECT_EQ(-1, place.makeWay(still.place, taken));
    ASSERT_EQ(0, pthread_setaffinity_np(pthread_self(), sizeof mask, &mask));
    place.move(here);
    int way = place.makeWay(still.place, taken);
    // The system may have moved this thread meanwhile.
    if (way >= 0) {
      EXPECT_TRUE(CPU_ISSET(way, &mask));
      place.move(way);
      EXPECT_EQ(way, place.lastCpu());
    }
    cpu_set_t after = maskOf(pthread_self());
    EXPECT_TRUE(CPU_EQUAL(&mask, &after));
    after = maskOf(still.thread.native_handle());
    EXPECT_TRUE(CPU_EQUAL(&mask, &after));
  });
}

TEST(Places, KnowsWhoHasNoCpu) {
  Place place;
  place.enter();
  int64_t before = place.cpuTime();
  ASSERT_GE(before, 0);
  for (volatile int i = 0; i < 1000000; i = i + 1)
    ;
  EXPECT_GT(place.cpuTime(), before);

  std::atomic<int> state{0};
  Place other;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  std::thread sleeper([&] {
    other.enter();
    state.store(1);
    pthread_mutex_lock(&mutex); // sleeps
    pthread_mutex_unlock(&mutex);
  });
  while (!state.load())
    sched_yield();
  // It needs a moment to fall asleep.
  int64_t last = -1;
  bool still = false;
  for (int i = 0; i < 1000 && !still; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    int64_t time = other.cpuTime();
    still = time == last;
    last = time;
  }
  EXPECT_TRUE(still);
  pthread_mutex_unlock(&mutex);
  sleeper.join();
}

} // namespace
