//===- Team.h - The worker threads of the process ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One team per process. A run takes it, its caller works as member 0, and the
// members 1, 2, ... walk the same table of stages beside it:
//
//  - `progress` counts finished stages over the life of the process. It is all
//    that says which stage is next, so a member that comes late, or slept,
//    continues where the others are.
//  - A stage of even work has one share for each worker. A share is taken by
//    raising the word `taken` of its slot to the number of the stage plus one:
//    by the member it is meant for, or by one that has nothing left to do. So a
//    member that is asleep or was descheduled never holds a stage up, only one
//    that has begun a share does.
//  - Units of an uneven stage are claimed from a counter.
//  - Whoever completes the last share or unit raises `progress`.
//
//  Example, two threads, stages A (2 shares) and B (1 share): member 1 is
//  asleep. The caller wakes it, takes share 0 of A (slot 0: 0 -> 1), and then
//  share 1 (slot 1: 0 -> 1), as member 1 is not there yet; done == 2, so it
//  raises progress to base + 1 and runs B alone. Member 1 joins, reads
//  progress == base + 1, has nothing to do in B, spins, and finds the job
//  closed.
//
// Nobody waits by spinning for longer than about 30 us; then it sleeps on a
// futex of its own. Whoever waits for a thread that began a share and has no
// CPU gives it its own (Places.h). Members register in `gate` before they touch
// a job, and the caller does not return from its run while one is registered:
// the job lies on the caller's stack.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_TEAM_H
#define FERRITE_RUNTIME_CORE_TEAM_H

#include "core/Job.h"

namespace ferrite::rt {

enum class TeamResult {
  Done,
  Cancelled,
  /// Another run has the team: nothing was run.
  Busy
};

/// Runs the job on `job.threads` threads, at least 2. `*started` is how many
/// there were (fewer when the system refuses threads). Takes `job` by reference
/// because members read it; it must not change.
TeamResult runWithTeam(Job &job, int32_t *started);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_TEAM_H
