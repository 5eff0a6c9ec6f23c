//===- Job.h - One run as a table of stages ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A run is a table of stages, executed in order; all units of a stage are done
// before the next begins. There are three ways to execute one: alone, with the
// caller's parallel_for, and with the team (Team.h). All give the same bits, as
// units are independent.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_JOB_H
#define FERRITE_RUNTIME_CORE_JOB_H

#include "ferrite/runtime.h"

#include <atomic>
#include <time.h>

namespace ferrite::rt {

inline int64_t monotonicNanoseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/// A launch with its arguments made.
struct Stage {
  FerriteKernelFn function;
  const FerriteArg *args;
  int64_t units;
  bool claimed;
};

/// What lies before a worker's scratch; its end is FerriteKernelFn's to tell of
/// a wrong index.
constexpr size_t kScratchHead = 64;

struct Job {
  const Stage *stages;
  uint32_t count;
  /// How many threads may work on it, the caller's own among them.
  int32_t threads;
  /// More threads than CPUs: whoever waits must give its CPU away.
  bool oversubscribed;
  /// Nonzero: stop soon.
  const std::atomic<uint32_t> *cancel;
  /// For each stage the next unit that nobody claimed; zero at the start.
  std::atomic<int64_t> *next;
  /// `threads` blocks, one for each worker, each behind kScratchHead bytes.
  uint8_t *scratch;
  size_t scratchStride;
  /// Receives the time of each stage, or null.
  int64_t *nanoseconds;
  /// Receives what each of `workers` did of each stage, from `start` on, or
  /// null.
  FerriteWorkerSpan *spans;
  int32_t workers;
  int64_t start;

  /// Set once somebody saw `cancel`: from then on every worker sees it, even if
  /// the request is taken back. Else some could stop and others wait for them.
  mutable std::atomic<uint32_t> stopped{0};

  bool cancelled() const {
    if (cancel->load(std::memory_order_relaxed))
      stopped.store(1, std::memory_order_relaxed);
    return stopped.load(std::memory_order_relaxed) != 0;
  }
  void *scratchOf(int32_t worker) const {
    return scratch + scratchStride * static_cast<size_t>(worker) + kScratchHead;
  }

  /// Of the first stage that met an index outside of what it indexes: the
  /// number of the stage plus 1. The job stops behind it.
  mutable std::atomic<uint32_t> faultStage{0};
  mutable int64_t faultIndex = 0;

  /// Units [begin, end) of a stage.
  void compute(uint32_t index, int64_t begin, int64_t end,
               int32_t worker) const {
    const Stage &stage = stages[index];
    void *own = scratchOf(worker);
    int64_t since =
        __builtin_expect(spans != nullptr, 0) ? monotonicNanoseconds() : 0;
    stage.function(stage.args, begin, end, own);
    if (__builtin_expect(spans != nullptr, 0))
      note(index, worker, since, end - begin);
    int64_t *fault = static_cast<int64_t *>(own);
    if (__builtin_expect(fault[-1] != 0, 0)) {
      fault[-1] = 0;
      uint32_t none = 0;
      if (faultStage.compare_exchange_strong(none, index + 1))
        faultIndex = fault[-2];
      stopped.store(1, std::memory_order_relaxed);
    }
  }
  /// Only the worker itself writes its span.
  void note(uint32_t index, int32_t worker, int64_t since,
            int64_t units) const {
    FerriteWorkerSpan &span =
        spans[static_cast<size_t>(index) * static_cast<size_t>(workers) +
              static_cast<size_t>(worker)];
    int64_t until = monotonicNanoseconds();
    if (span.units == 0)
      span.begin = since - start;
    span.end = until - start;
    span.busy += until - since;
    span.units += units;
  }
  /// How many workers a stage can keep busy.
  int32_t shares(const Stage &stage) const {
    return stage.units < threads ? static_cast<int32_t>(stage.units) : threads;
  }
};

/// Share `index` of `count` equal, contiguous shares of the units.
struct Share {
  int64_t begin, end;
  Share(int64_t units, int32_t index, int32_t count) {
    int64_t each = units / count, more = units % count;
    begin = each * index + (index < more ? index : more);
    end = begin + each + (index < more ? 1 : 0);
  }
};

/// Claims units of a stage until none is left or the job is cancelled; returns
/// how many it computed.
int64_t runClaimed(const Job &job, uint32_t stage, int32_t worker);

/// Measures stages, when somebody wants to know.
class StageClock {
public:
  explicit StageClock(const Job &job) : nanoseconds(job.nanoseconds) {
    if (nanoseconds)
      last = now();
  }
  /// The time since the last call goes to `stage`.
  void stop(uint32_t stage) {
    if (!nanoseconds)
      return;
    int64_t time = now();
    nanoseconds[stage] += time - last;
    last = time;
  }
  static int64_t now() { return monotonicNanoseconds(); }

private:
  int64_t *nanoseconds;
  int64_t last = 0;
};

enum class JobResult {
  Done,
  Cancelled,
  /// parallel_for returned before all its tasks had run.
  Incomplete
};

JobResult runAlone(const Job &job);
JobResult runWithParallelFor(const Job &job, FerriteParallelFor parallelFor,
                             void *data);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_JOB_H
