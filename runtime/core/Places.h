//===- Places.h - Which thread has which CPU --------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A worker whose CPU another process took holds a stage up for a turn of the
// scheduler, some milliseconds, however little is left of its share; whoever
// waits for it has a CPU and nothing to do. So the two trade places: the one
// that waits gives its CPU to the one that has work, and takes the place in the
// queue of the other's CPU. When it gets that CPU it joins the current stage.
//
//  Example, two CPUs and a competing process P:
//
//    CPU 0:  member 1 | P ............ | caller (joins the current stage)
//    CPU 1:  caller | waits | member 1, alone with this and the next stages
//
//  Without it both CPUs did nothing for us in the turn of P: two threads beside
//  one process took as long as one (runtime/README.md has the figures).
//
// Only affinity masks can say this to Linux. They are those of before when the
// trade is over, and a CPU that a thread may not use is never asked for.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_PLACES_H
#define FERRITE_RUNTIME_CORE_PLACES_H

#include <atomic>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

namespace ferrite::rt {

/// The place of one worker. Others read it while the worker is in a job, and
/// therefore exists.
class Place {
public:
  /// By the worker itself, when a job begins for it.
  void enter() {
    thread = pthread_self();
    if (moves.load(std::memory_order_relaxed) % 2 == 1) // forked meanwhile
      moves.fetch_add(1, std::memory_order_release);
    note();
  }
  /// By the worker itself, when it begins what others may wait for.
  void note() { cpu.store(sched_getcpu(), std::memory_order_relaxed); }

  /// The CPU time that the worker has had, in nanoseconds, or -1. It stands
  /// still while the worker has no CPU.
  int64_t cpuTime() const;
  /// The CPU on which the worker was seen last.
  int lastCpu() const { return cpu.load(std::memory_order_relaxed); }

  /// The calling thread, whose place this is, makes way for `other`, which has
  /// work and no CPU: it brings it here, and says where itself has to go (see
  /// `move`): to the other's CPU or, when both are on one, to one that is not
  /// in `taken`. -1 when the masks or the system do not allow that.
  int makeWay(Place &other, const cpu_set_t &taken);
  /// The calling thread, whose place this is, goes to the CPU `to`. It comes
  /// back when it has that CPU, perhaps only after a turn of another process.
  void move(int to);
  /// In a child after fork: nobody trades.
  static void forget();

private:
  bool pull(int to);

  pthread_t thread{};
  std::atomic<int> cpu{-1};
  /// Odd while the thread has a mask of one CPU, which it set itself; then, and
  /// ever after, `home` is its real one.
  std::atomic<uint32_t> moves{0};
  cpu_set_t home;
};

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_PLACES_H
