//===- Session.h - What one thread needs to run an entry --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A run goes through four steps, each in a file of its own, and stops at the
// first that fails: Binding.cpp checks the inputs and finds the symbols,
// Prepare.cpp turns symbols into sizes, memory and arguments (skipped when they
// are those of the last run), Outputs.cpp places the results, and Run.cpp runs
// the stages.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_SESSION_H
#define FERRITE_RUNTIME_CORE_SESSION_H

#include "core/Job.h"
#include "core/Memory.h"
#include "core/Model.h"

namespace ferrite::rt {
struct SessionDevice;
} // namespace ferrite::rt

struct FerriteSession {
  FerriteModel *model = nullptr;
  const FerriteAbiEntry *entry = nullptr;
  size_t entryIndex = 0;
  FerriteSessionOptions options = {};
  ferrite::rt::Allocator allocator;
  ferrite::rt::SessionDevice *device = nullptr; // null: the CPU
  int32_t threads = 1;
  bool oversubscribed = false;
  bool profiling = false;

  std::atomic<uint32_t> busy{0};
  std::atomic<uint32_t> cancel{0};

  // Sizes and arguments, made for `symbols` when `prepared`.
  bool prepared = false;
  ferrite::rt::Array<int64_t> symbols;
  ferrite::rt::Array<int64_t> values;
  ferrite::rt::Array<FerriteArg> args;
  ferrite::rt::Array<ferrite::rt::Stage> stages;
  /// The arguments that point to inputs and outputs: they change in each run.
  ferrite::rt::Array<uint32_t> edgeArgs;
  /// What ferriteSessionBindStates gave.
  ferrite::rt::Array<void *> states;
  int64_t statePages[ferrite::rt::stateGroups] =
      {};                ///< of each FerriteStateGroup
  bool parallel = false; // some stage has more than one unit

  // Of the call in progress.
  ferrite::rt::Array<int64_t> newSymbols;
  ferrite::rt::Array<int64_t> newValues;
  ferrite::rt::Array<const FerriteTensor *> boundInputs;
  /// What lies in them, where it is looked at: on the host.
  ferrite::rt::Array<const void *> seenInputs;
  ferrite::rt::Array<FerriteTensor *> boundOutputs;

  // Results: the last run's, and the memory for those that the session owns.
  bool hasResults = false;
  ferrite::rt::Array<FerriteTensor> results;
  ferrite::rt::Array<ferrite::rt::Block> owned;

  ferrite::rt::Block arena;
  ferrite::rt::Block scratch;
  size_t scratchStride = 0;
  ferrite::rt::Array<std::atomic<int64_t>> next;

  bool profiled = false;
  ferrite::rt::Array<int64_t> nanoseconds;
  ferrite::rt::Array<FerriteLaunchProfile> profile;
  /// For each launch one of each thread; made when profiling is first asked
  /// for.
  ferrite::rt::Array<FerriteWorkerSpan> spans;
};

namespace ferrite::rt {

/// Sends a line to the session's log callback, if it has one.
__attribute__((format(printf, 3, 4))) void log(const FerriteSession &session,
                                               FerriteLogLevel level,
                                               const char *format, ...);

/// Finds the tensor for each input: sets session.boundInputs.
FerriteStatus bindInputs(FerriteSession &session, const FerriteTensor *inputs,
                         size_t count, FerriteError *error);

/// Checks dtypes and shapes of the bound inputs: sets session.newSymbols.
FerriteStatus checkShapes(FerriteSession &session, FerriteError *error);

/// Checks that a tensor lies where the session can have it.
FerriteStatus checkLocation(const FerriteSession &session, const char *role,
                            const char *name, int32_t location,
                            FerriteError *error);

/// Checks memory of the bound inputs, and then what lies in it: sets
/// session.seenInputs.
FerriteStatus checkData(FerriteSession &session, FerriteError *error);

/// Checks that the states are bound, and what a step entry's inputs say of
/// them.
FerriteStatus checkStates(const FerriteSession &session, FerriteError *error);

/// Computes `values` from session.newSymbols and checks what depends on them.
FerriteStatus computeValues(FerriteSession &session, int64_t *values,
                            FerriteError *error);

/// The bytes of the arena that `values` ask for.
uint64_t arenaBytes(const FerriteSession &session, const int64_t *values);

/// Sets dtype, rank, shape, bytes and name of an output from `values`.
FerriteStatus shapeOutput(const FerriteSession &session, size_t index,
                          const int64_t *values, FerriteTensor &output,
                          FerriteError *error);

/// Makes arena, arguments and stages for session.newSymbols.
FerriteStatus prepare(FerriteSession &session, FerriteError *error);

/// An input may lie in an earlier result of this session, whose memory is about
/// to be written, or freed for a larger block: that of output `index`.
FerriteStatus checkOwned(const FerriteSession &session, uint32_t index,
                         const void *data, size_t bytes, FerriteError *error);

/// Finds a place for every result: sets session.results. What the caller gave
/// is checked before anything is allocated.
FerriteStatus placeOutputs(FerriteSession &session, FerriteTensor *outputs,
                           size_t count, FerriteError *error);

/// The bytes of a contiguous tensor; false when that overflows.
bool tensorBytes(const FerriteTensor &tensor, uint64_t &bytes);

/// Holds a session for one call.
class Use {
public:
  Use(FerriteSession *session, FerriteError *error) {
    if (!session) {
      status = fail(error, FERRITE_INVALID_ARGUMENT, "the session is NULL");
    } else if (session->busy.exchange(1, std::memory_order_acquire)) {
      status = fail(error, FERRITE_INVALID_ARGUMENT,
                    "the session is at work in another thread: make a session "
                    "for each");
    } else {
      held = session;
    }
  }
  ~Use() {
    if (held)
      held->busy.store(0, std::memory_order_release);
  }
  Use(const Use &) = delete;
  Use &operator=(const Use &) = delete;

  FerriteStatus status = FERRITE_OK;

private:
  FerriteSession *held = nullptr;
};

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_SESSION_H
