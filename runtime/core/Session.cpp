//===- Session.cpp - Making sessions, and asking them ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "core/Options.h"
#include "cpu/Threads.h"
#include "cuda/Device.h"

#include <stdarg.h>
#include <stdio.h>

using namespace ferrite::rt;

void ferrite::rt::log(const FerriteSession &session, FerriteLogLevel level,
                      const char *format, ...) {
  if (!session.options.log)
    return;
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  session.options.log(session.options.log_data, level, message);
}

static FerriteStatus checkBoth(FerriteAllocate allocate,
                               FerriteDeallocate deallocate, const char *prefix,
                               FerriteError *error) {
  if (!allocate == !deallocate)
    return FERRITE_OK;
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "%s%s is set without %s%s: give both or neither", prefix,
              allocate ? "allocate" : "deallocate", prefix,
              allocate ? "deallocate" : "allocate");
}

static FerriteStatus readSessionOptions(const FerriteSessionOptions *given,
                                        FerriteSessionOptions &options,
                                        bool &onGpu, int &ordinal,
                                        FerriteError *error) {
  if (FerriteStatus status =
          readOptions(given, options, "FerriteSessionOptions", error))
    return status;
  if (options.threads < 0 || options.threads > maxThreads)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "threads is %d, outside of 0 to %d", options.threads,
                maxThreads);
  const char *device = options.device ? options.device : "cpu";
  onGpu = isCudaDevice(device, ordinal);
  if (!onGpu && strcmp(device, "cpu") != 0)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the device is '%s', expected cpu, cuda or cuda:N", device);
  if (!onGpu && (options.stream || options.device_allocate))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%s is set, and the session is not one of a GPU",
                options.stream ? "stream" : "device_allocate");
  if (FerriteStatus status =
          checkBoth(options.allocate, options.deallocate, "", error))
    return status;
  return checkBoth(options.device_allocate, options.device_deallocate,
                   "device_", error);
}

static FerriteStatus findEntry(const FerriteAbiModel &abi, const char *name,
                               size_t &index, FerriteError *error) {
  index = 0;
  if (!name)
    return FERRITE_OK;
  for (; index < abi.entry_count; ++index)
    if (strcmp(abi.entries[index].name, name) == 0)
      return FERRITE_OK;
  Text names;
  for (uint32_t i = 0; i < abi.entry_count; ++i)
    names.add("%s%s", i ? ", " : "", abi.entries[i].name);
  return fail(error, FERRITE_NOT_FOUND, "no entry '%s': the model has %s", name,
              names.str());
}

static bool isEdge(const FerriteAbiArg &arg) {
  return arg.kind == FERRITE_ARG_INPUT || arg.kind == FERRITE_ARG_OUTPUT ||
         arg.kind == FERRITE_ARG_INPUT_AT || arg.kind == FERRITE_ARG_OUTPUT_AT;
}

static bool allocateSpans(FerriteSession &session) {
  return session.spans.count ||
         session.spans.make(session.allocator,
                            static_cast<size_t>(session.threads) *
                                session.entry->launch_count);
}

/// Everything whose size does not depend on the inputs. False: out of memory.
static bool allocateTables(FerriteSession &session) {
  const FerriteAbiEntry &entry = *session.entry;
  const Allocator &allocator = session.allocator;
  size_t edges = 0;
  for (uint32_t i = 0; i < entry.argument_count; ++i)
    edges += isEdge(entry.arguments[i]);
  bool ok = session.symbols.make(allocator, entry.symbol_count) &&
            session.newSymbols.make(allocator, entry.symbol_count) &&
            session.values.make(allocator, entry.value_count) &&
            session.newValues.make(allocator, entry.value_count) &&
            session.args.make(allocator, entry.argument_count) &&
            session.edgeArgs.make(allocator, edges) &&
            session.states.make(allocator, entry.state_count) &&
            session.stages.make(allocator, entry.launch_count) &&
            session.boundInputs.make(allocator, entry.input_count) &&
            session.seenInputs.make(allocator, entry.input_count) &&
            session.boundOutputs.make(allocator, entry.output_count) &&
            session.results.make(allocator, entry.output_count) &&
            session.owned.make(allocator, entry.output_count) &&
            session.next.make(allocator, entry.launch_count) &&
            session.nanoseconds.make(allocator, entry.launch_count) &&
            session.profile.make(allocator, entry.launch_count);
  if (!ok)
    return false;
  edges = 0;
  for (uint32_t i = 0; i < entry.argument_count; ++i)
    if (isEdge(entry.arguments[i]))
      session.edgeArgs[edges++] = i;
  // A whole number of pairs of lines: two workers never share one.
  size_t each = static_cast<size_t>(entry.scratch_bytes);
  if (each > SIZE_MAX / 2)
    return false;
  session.scratchStride = alignUp(each + kScratchHead, 128);
  size_t threads = static_cast<size_t>(session.threads);
  if (session.profiling && !allocateSpans(session))
    return false;
  return session.scratchStride >= each &&
         session.scratchStride <= SIZE_MAX / threads &&
         session.scratch.grow(allocator, session.scratchStride * threads);
}

static void releaseAll(FerriteSession &session) {
  const Allocator &allocator = session.allocator;
  if (session.owned.data())
    for (size_t i = 0; i < session.owned.count; ++i)
      session.owned[i].release(allocator);
  Block *blocks[] = {&session.symbols.block,
                     &session.newSymbols.block,
                     &session.values.block,
                     &session.newValues.block,
                     &session.args.block,
                     &session.edgeArgs.block,
                     &session.states.block,
                     &session.stages.block,
                     &session.boundInputs.block,
                     &session.seenInputs.block,
                     &session.boundOutputs.block,
                     &session.results.block,
                     &session.owned.block,
                     &session.next.block,
                     &session.nanoseconds.block,
                     &session.profile.block,
                     &session.spans.block,
                     &session.arena,
                     &session.scratch};
  for (Block *block : blocks)
    block->release(allocator);
}

FerriteStatus ferriteSessionCreate(FerriteModel *model, const char *entry,
                                   const FerriteSessionOptions *given,
                                   FerriteSession **result,
                                   FerriteError *error) {
  if (!result)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the session pointer is NULL");
  *result = nullptr;
  if (!model)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the model is NULL");
  FerriteSessionOptions options;
  bool onGpu = false;
  int ordinal = 0;
  if (FerriteStatus status =
          readSessionOptions(given, options, onGpu, ordinal, error))
    return status;
  size_t index;
  if (FerriteStatus status = findEntry(*model->abi, entry, index, error))
    return status;

  Allocator allocator{options.allocate, options.deallocate,
                      options.allocator_data};
  void *memory = allocator.get(sizeof(FerriteSession), lineBytes);
  if (!memory)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a session");
  FerriteSession *session = new (memory) FerriteSession;
  session->entry = &model->abi->entries[index];
  session->entryIndex = index;
  session->options = options;
  session->allocator = allocator;
  session->profiling = options.profile != 0;
  int32_t cpus = ferriteDefaultThreads();
  session->threads = options.threads ? options.threads : cpus;
  session->oversubscribed = session->threads > cpus;
  session->model = ferriteModelRetain(model);
  if (!allocateTables(*session)) {
    ferriteSessionDestroy(session);
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory for a session of entry '%s'",
                model->abi->entries[index].name);
  }
  FerriteStatus status = FERRITE_OK;
  if (onGpu)
    status = openDevice(*session, ordinal, error);
  else if (!model->level)
    status = fail(error, FERRITE_INCOMPATIBLE,
                  "the model has code for GPUs alone: ask for a session on "
                  "\"cuda:0\", or compile it with --target=cpu+cuda");
  if (status) {
    ferriteSessionDestroy(session);
    return status;
  }
  *result = session;
  return FERRITE_OK;
}

void ferriteSessionDestroy(FerriteSession *session) {
  if (!session)
    return;
  Allocator allocator = session->allocator;
  FerriteModel *model = session->model;
  closeDevice(*session);
  releaseAll(*session);
  session->~FerriteSession();
  allocator.put(session, sizeof(FerriteSession), lineBytes);
  ferriteModelRelease(model);
}

FerriteModel *ferriteSessionModel(const FerriteSession *session) {
  return session->model;
}

size_t ferriteSessionEntry(const FerriteSession *session) {
  return session->entryIndex;
}

int32_t ferriteSessionThreads(const FerriteSession *session) {
  return session->threads;
}

void ferriteSessionCancel(FerriteSession *session) {
  session->cancel.store(1, std::memory_order_relaxed);
}

void ferriteSessionClearCancel(FerriteSession *session) {
  session->cancel.store(0, std::memory_order_relaxed);
}

FerriteStatus ferriteSessionTrim(FerriteSession *session, FerriteError *error) {
  if (!session)
    return FERRITE_OK;
  Use use(session, error);
  if (use.status)
    return use.status;
  session->prepared = false;
  session->hasResults = false;
  session->arena.release(session->allocator);
  if (session->device)
    trimDevice(*session);
  for (size_t i = 0; i < session->owned.count; ++i)
    session->owned[i].release(session->allocator);
  return FERRITE_OK;
}

FerriteStatus ferriteSessionSetProfiling(FerriteSession *session,
                                         int32_t enabled, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (enabled && !allocateSpans(*session)) {
    session->spans.count = 0;
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a profile");
  }
  session->profiling = enabled != 0;
  return FERRITE_OK;
}

/// Whether there is a profile to be asked for.
static FerriteStatus checkProfiled(const FerriteSession &session,
                                   FerriteError *error) {
  if (session.profiled)
    return FERRITE_OK;
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "the last run was not profiled: see "
              "FerriteSessionOptions::profile");
}

FerriteStatus ferriteSessionWorkers(FerriteSession *session,
                                    const FerriteWorkerSpan **spans,
                                    size_t *workers, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (!spans || !workers)
    return fail(error, FERRITE_INVALID_ARGUMENT, "spans or workers is NULL");
  if (FerriteStatus status = checkProfiled(*session, error))
    return status;
  *spans = session->spans.data();
  *workers = static_cast<size_t>(session->threads);
  return FERRITE_OK;
}

FerriteStatus ferriteSessionProfile(FerriteSession *session,
                                    const FerriteLaunchProfile **rows,
                                    size_t *count, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (!rows || !count)
    return fail(error, FERRITE_INVALID_ARGUMENT, "rows or count is NULL");
  if (FerriteStatus status = checkProfiled(*session, error))
    return status;
  const FerriteAbiEntry &entry = *session->entry;
  for (uint32_t i = 0; i < entry.launch_count; ++i)
    session->profile[i] = {
        entry.launches[i].name,
        session->model->abi->kernels[entry.launches[i].kernel].name,
        session->nanoseconds[i], session->stages[i].units};
  *rows = session->profile.data();
  *count = entry.launch_count;
  return FERRITE_OK;
}
