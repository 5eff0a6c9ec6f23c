//===- TeamWait.cpp - How a worker of the team waits ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/TeamState.h"

using namespace ferrite::rt;

/// How long a thread is watched to see that it has no CPU: longer than the
/// clocks of threads are coarse (1 ns), and short beside a turn of the
/// scheduler (3 to 4 ms).
constexpr int64_t watchNanoseconds = 5000;
/// How long a caller that waits sleeps before it asks again.
constexpr int32_t napNanoseconds = 200000;

/// Whether a worker of the job has no CPU.
bool Team::standsStill(int32_t member) const {
  int64_t before = members[member].place.cpuTime();
  if (before < 0)
    return false;
  for (int64_t until = StageClock::now() + watchNanoseconds;
       StageClock::now() < until;)
    cpuRelax();
  return members[member].place.cpuTime() == before;
}

/// Gives the CPU of `self`, which waits, to a worker that stage `index` waits
/// for, and that has none. Returns where `self` has to go, or -1: nobody needed
/// it.
int Team::makeWay(const Job &job, uint32_t index, int32_t self) {
  if (job.oversubscribed) // waiting threads yield to all
    return -1;
  for (int32_t i = job.threads - 1; i >= 0; --i) {
    bool awaited =
        i == 0 ? callerWaits.load(std::memory_order_relaxed) != index + 1
               : members[i].holds.load(std::memory_order_acquire) == index + 1;
    if (i == self || !awaited)
      continue;
    if (progress.load(std::memory_order_acquire) != base + index)
      return -1;
    if (!standsStill(i))
      continue;
    cpu_set_t taken;
    CPU_ZERO(&taken);
    for (int32_t k = 0; k < job.threads; ++k)
      if (int cpu = members[k].place.lastCpu(); cpu >= 0 && cpu < CPU_SETSIZE)
        CPU_SET(cpu, &taken);
    return members[self].place.makeWay(members[i].place, taken);
  }
  return -1;
}

/// Whether the caller has nothing to wait for at stage `index`, or, behind the
/// last one, whether all members have left.
bool Team::isOver(const Job &job, uint32_t index) const {
  if (index == job.count)
    return (gate.load() & gateMembers) == 0;
  return progress.load() != base + index || job.cancelled();
}

/// The caller waits for its members: it spins, then it sleeps until one that
/// changes what it waits for wakes member 0, and now and then looks whether
/// they have a CPU.
void Team::callerWait(const Job &job, uint32_t index) {
  auto over = [&] { return isOver(job, index); };
  if (over())
    return;
  callerWaits.store(index + 1, std::memory_order_relaxed);
  std::atomic<uint32_t> &parked = members[0].parked;
  int64_t began = StageClock::now();
  bool ready = spin(job.oversubscribed, began + patienceNanoseconds, over);
  for (bool sleeps = false; !ready; sleeps = true) {
    if (int way = makeWay(job, index, 0); way >= 0)
      members[0].place.move(way);
    ready = !sleeps && spin(job.oversubscribed, began + spinNanoseconds, over);
    if (ready)
      break;
    parked.store(1);
    ready = over();
    if (!ready) {
      futexWait(parked, 1, napNanoseconds);
      ready = over();
    }
    parked.store(0);
  }
  callerWaits.store(0, std::memory_order_relaxed);
}
