//===- Team.cpp - The worker threads of the process -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Team.h tells the idea. Orders here: a sleeper writes `parked` and then reads
// `progress`; a waker raises `progress` and then reads `parked`. Both are
// sequentially consistent, so one of them sees the other, and no wake-up is
// lost.
//
//===----------------------------------------------------------------------===//
#include "core/Team.h"
#include "core/TeamState.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

using namespace ferrite::rt;

// All zero, so it lies in .bss and costs no memory until members exist.
Team ferrite::rt::team;

namespace {

/// How far a member looks for shares that nobody took. Looking at all slots of
/// a large team at each stage would cost as many cache misses; the caller does
/// look at all, so that none is forgotten.
constexpr int32_t stealReach = 8;

int64_t now() { return StageClock::now(); }

void *memberMain(void *self) {
  team.live(static_cast<int32_t>(reinterpret_cast<intptr_t>(self)));
  return nullptr;
}

/// In a child after fork no member exists, whatever the parent was doing.
void forgetTeam() {
  team.hired = 0;
  team.current = nullptr;
  team.gate.store(0, std::memory_order_relaxed);
  team.done.store(0, std::memory_order_relaxed);
  for (Member &member : team.members)
    if (member.parked.load(std::memory_order_relaxed))
      member.parked.store(0, std::memory_order_relaxed);
  Place::forget();
  team.release();
}

} // namespace

/// Makes sure that there are `threads` members, as far as the system allows;
/// returns how many may be used.
int32_t Team::recruit(int32_t threads) {
  if (hired >= threads - 1)
    return threads;
  if (!forkHandled) {
    if (pthread_atfork(nullptr, nullptr, forgetTeam) != 0)
      return hired + 1;
    forkHandled = true;
  }
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (hired < threads - 1) {
      pthread_t thread;
      intptr_t self = hired + 1;
      if (pthread_create(&thread, &attributes, memberMain,
                         reinterpret_cast<void *>(self)) != 0)
        break;
      char name[16];
      snprintf(name, sizeof name, "ferrite-%d", static_cast<int>(self));
      pthread_setname_np(thread, name);
      ++hired;
    }
    pthread_attr_destroy(&attributes);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return hired + 1;
}

void Team::wake(int32_t member) {
  std::atomic<uint32_t> &parked = members[member].parked;
  if (parked.load() && parked.exchange(0))
    futexWake(parked);
}

/// Wakes up to two of the members [from, to) that sleep. They wake others in
/// turn: a system call each is too much for one thread of a large team.
void Team::wakeSome(int32_t from, int32_t to) {
  int32_t woken = 0;
  for (int32_t i = from; i < to && woken < 2; ++i) {
    if (!members[i].parked.load())
      continue;
    wake(i);
    ++woken;
  }
}

bool Team::join(int32_t self) {
  uint64_t value = gate.load(std::memory_order_relaxed);
  for (;;) {
    int32_t threads =
        static_cast<int32_t>(value >> gateThreadsShift & 0x7fffffff);
    if (!(value & gateOpen) || self >= threads)
      return false;
    if (gate.compare_exchange_weak(value, value + 1, std::memory_order_acquire,
                                   std::memory_order_relaxed))
      return true;
  }
}

void Team::leave() {
  // The caller may wait for the last one to leave: to return from its run, or
  // to see that nobody will finish a stage that was cancelled.
  if ((gate.fetch_sub(1) & gateMembers) == 1)
    wake(0);
}

/// The current stage is complete. Only its last finisher calls this.
void Team::advance(int32_t self) {
  done.store(0, std::memory_order_relaxed);
  progress.fetch_add(1);
  if (self != 0)
    wake(0);
}

bool Team::takeShare(uint32_t stage, int32_t slot) {
  std::atomic<uint32_t> &taken = members[slot].taken;
  uint32_t value = taken.load(std::memory_order_relaxed);
  // A stage with fewer shares leaves the slots of the others behind.
  while (value <= stage)
    if (taken.compare_exchange_weak(value, stage + 1,
                                    std::memory_order_relaxed))
      return true;
  return false;
}

/// Computes the own share, and the `reach` next to it that nobody took.
int64_t Team::takeShares(const Job &job, uint32_t index, int32_t shares,
                         int32_t self, int32_t reach) {
  const Stage &stage = job.stages[index];
  int64_t computed = 0;
  for (int32_t k = 0; k < shares && k <= reach; ++k) {
    if (job.cancelled())
      break;
    int32_t slot = (self + k) % shares;
    if (!takeShare(index, slot))
      continue;
    Share share(stage.units, slot, shares);
    job.compute(index, share.begin, share.end, self);
    ++computed;
  }
  return computed;
}

/// Does what `self` can of a stage of several shares; returns how many shares
/// or units that was.
int64_t Team::runStage(const Job &job, uint32_t index, int32_t shares,
                       int32_t self) {
  const Stage &stage = job.stages[index];
  int64_t total = stage.claimed ? stage.units : shares;
  Member &member = members[self];
  member.place.note();
  member.holds.store(index + 1, std::memory_order_release);
  int64_t computed = stage.claimed
                         ? runClaimed(job, index, self)
                         : takeShares(job, index, shares, self, stealReach);
  if (computed &&
      done.fetch_add(computed, std::memory_order_acq_rel) + computed == total)
    advance(self);
  member.holds.store(0, std::memory_order_relaxed);
  return computed;
}

/// Runs the open job as member `self`, who has joined, until it is over or
/// there was nothing to do until the deadline, which work puts off, or it has
/// to go to the CPU `way` to make way for another. True when it did some work
/// and did not run out of patience.
bool Team::runMember(int32_t self, int64_t &deadline, int &way) {
  const Job &job = *current;
  bool worked = false;
  for (;;) {
    uint32_t seen = progress.load(std::memory_order_acquire);
    uint32_t index = seen - base;
    bool over = index >= job.count;
    if (job.cancelled() || (over && !worked))
      return worked;
    int32_t shares = over ? 0 : job.shares(job.stages[index]);
    if (shares > 1 && runStage(job, index, shares, self) > 0) {
      worked = true;
      deadline = 0; // unknown: the clock is read when there is a wait
      if (progress.load(std::memory_order_acquire) != seen)
        continue;
    }
    if (deadline == 0)
      deadline = now() + spinNanoseconds;
    // At the end of the job the caller has to see it.
    auto moved = [&] {
      return progress.load(std::memory_order_acquire) != seen ||
             !(gate.load(std::memory_order_relaxed) & gateOpen) ||
             job.cancelled();
    };
    if (!spin(job.oversubscribed,
              deadline - spinNanoseconds + patienceNanoseconds, moved)) {
      way = makeWay(job, index, self);
      if (way >= 0)
        return worked;
    }
    if (!spin(job.oversubscribed, deadline, moved))
      return false;
    if (over)
      return worked;
  }
}

/// The life of member `self`.
void Team::live(int32_t self) {
  bool oversubscribed = self >= affinityCpus();
  Place &place = members[self].place;
  place.enter();
  int64_t deadline = now() + spinNanoseconds;
  bool slept = true; // a new member wakes others as one that slept does
  for (;;) {
    uint32_t seen = progress.load();
    if (join(self)) {
      if (slept)
        wakeSome(self + 1, current->threads);
      slept = false;
      int way = -1;
      bool worked = runMember(self, deadline, way);
      leave();
      if (way >= 0) {
        // Not in the job any more: it may end while this thread has no CPU.
        place.move(way);
        worked = true;
      }
      // The next run may follow at once.
      if (worked)
        deadline = now() + spinNanoseconds;
    }
    if (spin(oversubscribed, deadline, [&] { return progress.load() != seen; }))
      continue;
    std::atomic<uint32_t> &parked = members[self].parked;
    parked.store(1);
    if (progress.load() != seen) {
      parked.store(0);
      continue;
    }
    while (parked.load() == 1)
      futexWait(parked, 1);
    slept = true;
    deadline = now() + spinNanoseconds;
  }
}

/// Waits for the stage, taking what the others left out of reach.
void Team::finishByCaller(const Job &job, uint32_t index, int32_t shares) {
  uint32_t seen = base + index;
  auto moved = [&] { return progress.load() != seen; };
  if (moved())
    return;
  if (!job.stages[index].claimed && shares > stealReach + 1) {
    for (int round = 0; round < 64 && !moved(); ++round)
      cpuRelax();
    int64_t computed = moved() ? 0 : takeShares(job, index, shares, 0, shares);
    if (computed &&
        done.fetch_add(computed, std::memory_order_acq_rel) + computed ==
            shares)
      advance(0);
  }
  if (!job.cancelled())
    callerWait(job, index);
}

JobResult Team::runCaller(const Job &job) {
  StageClock clock(job);
  for (;;) {
    uint32_t index = progress.load(std::memory_order_acquire) - base;
    if (index >= job.count)
      return JobResult::Done;
    if (job.cancelled())
      return JobResult::Cancelled;
    const Stage &stage = job.stages[index];
    int32_t shares = job.shares(stage);
    if (shares > 1) {
      wakeSome(1, shares);
      runStage(job, index, shares, 0);
      finishByCaller(job, index, shares);
    } else {
      // A stage of one unit is the caller's: to hand it over costs more.
      if (shares == 1)
        job.compute(index, 0, stage.units, 0);
      progress.fetch_add(1);
    }
    clock.stop(index);
  }
}

TeamResult ferrite::rt::runWithTeam(Job &job, int32_t *started) {
  if (!team.acquire())
    return TeamResult::Busy;
  job.threads = *started = team.recruit(job.threads);
  for (int32_t i = 0; i < job.threads; ++i)
    team.members[i].taken.store(0, std::memory_order_relaxed);
  team.done.store(0, std::memory_order_relaxed);
  team.current = &job;
  team.base = team.progress.load(std::memory_order_relaxed) + 1;
  team.members[0].place.enter();
  team.gate.store(gateOpen | static_cast<uint64_t>(job.threads)
                                 << gateThreadsShift);
  team.progress.fetch_add(1); // after the gate: whoever sees it can join

  JobResult result = team.runCaller(job);

  team.gate.fetch_and(~gateOpen);
  team.callerWait(job, job.count);
  team.release();
  return result == JobResult::Done ? TeamResult::Done : TeamResult::Cancelled;
}
