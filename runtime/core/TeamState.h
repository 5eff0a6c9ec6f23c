//===- TeamState.h - What the members of the team share ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to Team.cpp (stages) and TeamWait.cpp (waiting); Team.h tells the
// idea.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_TEAMSTATE_H
#define FERRITE_RUNTIME_CORE_TEAMSTATE_H

#include "core/Futex.h"
#include "core/Job.h"
#include "core/Places.h"
#include "cpu/Threads.h"

namespace ferrite::rt {

/// How long a thread spins before it sleeps: about what a futex wake-up costs
/// (codegen.md section 10 asks for 20 to 50 us), so waiting never costs more
/// than twice the better choice.
constexpr int64_t spinNanoseconds = 30000;
/// When a thread that spins asks whether those that it waits for have a CPU.
constexpr int64_t patienceNanoseconds = 15000;

/// `gate`: whether a job is open, for how many threads, and how many members
/// are registered.
constexpr uint64_t gateOpen = UINT64_C(1) << 63;
constexpr unsigned gateThreadsShift = 32;
constexpr uint64_t gateMembers = 0xffffffff;

/// One worker. Two cache lines, as the caller reads `parked` of all members at
/// each stage while they write `taken`; 128 bytes apart for the prefetcher that
/// fetches lines in pairs.
struct alignas(128) Member {
  std::atomic<uint32_t> parked{0};
  alignas(64) std::atomic<uint32_t> taken{0};
  /// The number of the stage that it works at plus one, or 0. Released, so that
  /// who reads it may read `place`.
  std::atomic<uint32_t> holds{0};
  Place place;
};

struct Team {
  alignas(64) std::atomic<uint32_t> owned{0};
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<uint32_t> progress{0};
  alignas(64) std::atomic<int64_t> done{0};
  /// The stage that the caller has done its part of, plus one: it waits for
  /// the others. Otherwise others may have to wait for it.
  std::atomic<uint32_t> callerWaits{0};

  // Written by the owner while the gate is closed and nobody is registered.
  alignas(64) const Job *current = nullptr;
  uint32_t base = 0; // progress when the job began
  int32_t hired = 0; // threads that exist: members 1 to `hired`
  bool forkHandled = false;

  Member members[maxThreads];

  bool acquire() { return owned.exchange(1, std::memory_order_acquire) == 0; }
  void release() { owned.store(0, std::memory_order_release); }
  int32_t recruit(int32_t threads);
  void wake(int32_t member);
  void wakeSome(int32_t from, int32_t to);
  bool join(int32_t self);
  void leave();
  void advance(int32_t self);
  bool takeShare(uint32_t stage, int32_t slot);
  int64_t takeShares(const Job &job, uint32_t stage, int32_t shares,
                     int32_t self, int32_t reach);
  int64_t runStage(const Job &job, uint32_t stage, int32_t shares,
                   int32_t self);
  void finishByCaller(const Job &job, uint32_t stage, int32_t shares);
  bool runMember(int32_t self, int64_t &deadline, int &way);
  JobResult runCaller(const Job &job);
  bool standsStill(int32_t member) const;
  int makeWay(const Job &job, uint32_t stage, int32_t self);
  bool isOver(const Job &job, uint32_t stage) const;
  void callerWait(const Job &job, uint32_t stage);
  void live(int32_t self);
};

extern Team team;

/// Spins until `ready` or the deadline; true when ready. The clock is read once
/// in 32 rounds, as it costs more than they do.
template <typename Ready>
bool spin(bool oversubscribed, int64_t deadline, const Ready &ready) {
  for (unsigned round = 0;; ++round) {
    if (ready())
      return true;
    if (oversubscribed)
      sched_yield();
    else
      cpuRelax();
    if (round % 32 == 31 && StageClock::now() >= deadline)
      return false;
  }
}

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_TEAMSTATE_H
