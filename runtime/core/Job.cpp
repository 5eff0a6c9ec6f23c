//===- Job.cpp - A run alone, or on the caller's threads ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Job.h"

using namespace ferrite::rt;

int64_t ferrite::rt::runClaimed(const Job &job, uint32_t index,
                                int32_t worker) {
  const Stage &stage = job.stages[index];
  // Claimed units are few or large, so one at a time costs nothing; where there
  // are very many, 64 claims a worker still level the end well.
  int64_t step = 1 + stage.units / (INT64_C(64) * job.threads);
  int64_t computed = 0;
  while (!job.cancelled()) {
    int64_t begin = job.next[index].fetch_add(step, std::memory_order_relaxed);
    if (begin >= stage.units)
      break;
    int64_t end = begin + step < stage.units ? begin + step : stage.units;
    job.compute(index, begin, end, worker);
    computed += end - begin;
  }
  return computed;
}

JobResult ferrite::rt::runAlone(const Job &job) {
  StageClock clock(job);
  for (uint32_t i = 0; i < job.count; ++i) {
    if (job.cancelled())
      return JobResult::Cancelled;
    const Stage &stage = job.stages[i];
    if (stage.units > 0)
      job.compute(i, 0, stage.units, 0);
    clock.stop(i);
  }
  return JobResult::Done;
}

namespace {

/// One stage on the caller's threads.
struct Parallel {
  const Job &job;
  uint32_t stage;
  int32_t shares;
  std::atomic<int64_t> computed{0};

  static void task(void *context, int32_t index) {
    Parallel &self = *static_cast<Parallel *>(context);
    if (index < 0 || index >= self.shares)
      return;
    const Stage &stage = self.job.stages[self.stage];
    int64_t units = 0;
    if (stage.claimed) {
      units = runClaimed(self.job, self.stage, index);
    } else {
      Share share(stage.units, index, self.shares);
      self.job.compute(self.stage, share.begin, share.end, index);
      units = share.end - share.begin;
    }
    self.computed.fetch_add(units, std::memory_order_acq_rel);
  }
};

} // namespace

JobResult ferrite::rt::runWithParallelFor(const Job &job,
                                          FerriteParallelFor parallelFor,
                                          void *data) {
  StageClock clock(job);
  for (uint32_t i = 0; i < job.count; ++i) {
    if (job.cancelled())
      return JobResult::Cancelled;
    const Stage &stage = job.stages[i];
    int32_t shares = job.shares(stage);
    if (shares == 1) {
      job.compute(i, 0, stage.units, 0);
    } else if (shares > 1) {
      Parallel parallel{job, i, shares};
      parallelFor(data, shares, Parallel::task, &parallel);
      if (parallel.computed.load(std::memory_order_acquire) != stage.units)
        return job.cancelled() ? JobResult::Cancelled : JobResult::Incomplete;
    }
    clock.stop(i);
  }
  return JobResult::Done;
}
