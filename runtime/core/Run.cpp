//===- Run.cpp - Running an entry -----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "core/Team.h"
#include "cuda/Device.h"

using namespace ferrite::rt;

static void setEdges(FerriteSession &session) {
  const FerriteAbiEntry &entry = *session.entry;
  for (size_t i = 0; i < session.edgeArgs.count; ++i) {
    uint32_t index = session.edgeArgs[i];
    const FerriteAbiArg &arg = entry.arguments[index];
    bool isInput =
        arg.kind == FERRITE_ARG_INPUT || arg.kind == FERRITE_ARG_INPUT_AT;
    bool isMoved =
        arg.kind == FERRITE_ARG_INPUT_AT || arg.kind == FERRITE_ARG_OUTPUT_AT;
    void *data = isInput ? session.boundInputs[arg.index]->data
                         : session.results[arg.index].data;
    session.args[index].ptr =
        static_cast<uint8_t *>(data) +
        (isMoved ? session.values[arg.offset] : arg.offset);
  }
}

/// Threads that take part in this run.
static int32_t jobThreads(const FerriteSession &session) {
  return session.parallel ? session.threads : 1;
}

static JobResult runJob(FerriteSession &session, Job &job) {
  if (job.threads == 1)
    return runAlone(job);
  for (size_t i = 0; i < session.next.count; ++i)
    session.next[i].store(0, std::memory_order_relaxed);
  const FerriteSessionOptions &options = session.options;
  if (options.parallel_for)
    return runWithParallelFor(job, options.parallel_for,
                              options.parallel_for_data);
  int32_t wanted = job.threads, started = 0;
  TeamResult result = runWithTeam(job, &started);
  if (result == TeamResult::Busy) {
    log(session, FERRITE_LOG_DEBUG,
        "entry '%s': another run has the team, this one goes on alone",
        session.entry->name);
    job.threads = 1;
    return runAlone(job);
  }
  if (started < wanted)
    log(session, FERRITE_LOG_WARNING,
        "entry '%s': the system gave %d threads of %d", session.entry->name,
        started, wanted);
  return result == TeamResult::Done ? JobResult::Done : JobResult::Cancelled;
}

static FerriteStatus runStages(FerriteSession &session, FerriteError *error) {
  session.profiled = false;
  if (session.profiling)
    for (size_t i = 0; i < session.nanoseconds.count; ++i)
      session.nanoseconds[i] = 0;
  Job job{};
  job.stages = session.stages.data();
  job.count = session.entry->launch_count;
  job.threads = jobThreads(session);
  job.oversubscribed = session.oversubscribed;
  job.cancel = &session.cancel;
  job.next = session.next.data();
  job.scratch = static_cast<uint8_t *>(session.scratch.data);
  job.scratchStride = session.scratchStride;
  job.nanoseconds = session.profiling ? session.nanoseconds.data() : nullptr;
  if (session.profiling) {
    for (size_t i = 0; i < session.spans.count; ++i)
      session.spans[i] = {};
    job.spans = session.spans.data();
    job.workers = session.threads;
    job.start = monotonicNanoseconds();
  }

  for (int32_t i = 0; i < session.threads; ++i)
    static_cast<int64_t *>(job.scratchOf(i))[-1] = 0;

  JobResult result = runJob(session, job);
  if (uint32_t stage = job.faultStage.load(std::memory_order_acquire))
    return fail(
        error, FERRITE_INVALID_ARGUMENT,
        "node '%s': the index %lld, which the model computed, is outside "
        "of what it indexes",
        session.entry->launches[stage - 1].name,
        static_cast<long long>(job.faultIndex));
  switch (result) {
  case JobResult::Done:
    session.profiled = session.profiling;
    return FERRITE_OK;
  case JobResult::Cancelled:
    session.cancel.store(0, std::memory_order_relaxed);
    return fail(error, FERRITE_CANCELLED, "the run was cancelled");
  case JobResult::Incomplete:
    break;
  }
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "parallel_for returned before each of its tasks had run once");
}

FerriteStatus ferriteSessionRun(FerriteSession *session,
                                const FerriteTensor *inputs, size_t inputCount,
                                FerriteTensor *outputs, size_t outputCount,
                                FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (FerriteStatus status = bindInputs(*session, inputs, inputCount, error))
    return status;
  if (FerriteStatus status = checkShapes(*session, error))
    return status;
  if (FerriteStatus status = checkData(*session, error))
    return status;
  if (FerriteStatus status = checkStates(*session, error))
    return status;
  if (FerriteStatus status = prepare(*session, error))
    return status;
  if (FerriteStatus status =
          placeOutputs(*session, outputs, outputCount, error))
    return status;
  if (session->device) {
    if (FerriteStatus status = runOnDevice(*session, error))
      return status;
  } else {
    setEdges(*session);
    if (FerriteStatus status = runStages(*session, error))
      return status;
  }
  session->hasResults = true;
  for (uint32_t i = 0; i < session->entry->output_count; ++i)
    if (FerriteTensor *given = session->boundOutputs[i]) {
      // A caller that matches by position keeps doing so.
      const char *name = given->name;
      *given = session->results[i];
      given->name = name;
    }
  return FERRITE_OK;
}
