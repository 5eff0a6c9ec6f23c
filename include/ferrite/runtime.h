//===- runtime.h - Load and run compiled models -----------------*- C -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The C API of libferrite_rt. A program loads a model that `ferrite compile`
// wrote, makes a session for each thread that runs it, and calls it:
//
//   FerriteError error;
//   FerriteModel *model = NULL;
//   FerriteSession *session = NULL;
//   if (ferriteModelLoadFile("minilm.so", NULL, &model, &error))
//     return puts(error.message);
//   ferriteSessionCreate(model, NULL, NULL, &session, &error);
//   FerriteTensor in = {ids, sizeof ids, "input_ids", FERRITE_I64, 2, {1, 16}};
//   FerriteTensor out = {0}; // no buffer: the session owns the result
//   ferriteSessionRun(session, &in, 1, &out, 1, &error);
//   // out.data, out.shape: valid until the next run of this session
//   ferriteSessionDestroy(session);
//   ferriteModelRelease(model);
//
// It is longer than other headers because it is all of the runtime but caches
// (cache.h) and generation (generate.h): a reader finds each promise here.
//
// Rules that hold for every function:
// - A `FerriteError *error` may be NULL. It is written when, and only when, the
//   function does not return FERRITE_OK; no state is kept between calls, so
//   errors of different threads never mix.
// - Nothing throws, aborts or prints. Handles may be NULL only where said.
// - Strings and structs that a function hands out belong to the model or
//   session that they came from and live as long as it does, unless said
//   otherwise. Names and messages are UTF-8.
// - Functions of a model may be called from many threads at once. A session
//   serves one call at a time (ferriteSessionCancel excepted); a call that
//   finds it at work returns FERRITE_INVALID_ARGUMENT.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_H
#define FERRITE_RUNTIME_H

#include "ferrite/abi.h"

#include <stddef.h>
#include <stdint.h>

#ifndef FERRITE_API
#define FERRITE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

//===- Version ------------------------------------------------------------===//
/// The version of the runtime, "0.1.0". Never NULL; static.
FERRITE_API const char *ferriteRuntimeVersion(void);

/// The FERRITE_ABI_VERSION that the runtime was built with: the one artifact
/// version that it runs.
FERRITE_API uint32_t ferriteRuntimeAbiVersion(void);

//===- Status -------------------------------------------------------------===//
typedef enum FerriteStatus {
  FERRITE_OK = 0,
  FERRITE_INVALID_ARGUMENT =
      1,                     /* the caller's mistake; the message says which */
  FERRITE_NOT_FOUND = 2,     /* no such file, entry, name or level */
  FERRITE_INCOMPATIBLE = 3,  /* not an artifact, another version, CPU too old */
  FERRITE_OUT_OF_MEMORY = 4, /* an allocation failed; the session is intact */
  FERRITE_CANCELLED = 5,     /* ferriteSessionCancel; outputs are undefined */
  FERRITE_IO = 6,            /* a file could not be read */
  FERRITE_INTERNAL = 7,      /* a bug of ours or of the artifact */
  FERRITE_OUT_OF_PAGES = 8   /* the cache is full; what is in it is unharmed */
} FerriteStatus;

/// Where a function leaves its message. The caller's memory, any lifetime.
typedef struct FerriteError {
  FerriteStatus status;
  char message[512]; /* one line, always terminated */
} FerriteError;

/// "ok", "invalid argument", ...; "unknown status" for another value. Static.
FERRITE_API const char *ferriteStatusName(FerriteStatus status);

//===- Element types ------------------------------------------------------===//
/// The bytes of one element, 0 for a value that is no FerriteDType.
FERRITE_API size_t ferriteDTypeSize(int32_t dtype);

/// "f32", "i64", "bool", ...; "unknown" otherwise. Static.
FERRITE_API const char *ferriteDTypeName(int32_t dtype);

//===- This machine -------------------------------------------------------===//
/// The FERRITE_CPU_* bits that CPUID reports and the operating system enables.
FERRITE_API uint64_t ferriteCpuFeatures(void);

/// The threads that a session uses when it is not told: the CPUs in this
/// process's affinity mask, limited by the cgroup's CPU quota; at least 1.
FERRITE_API int32_t ferriteDefaultThreads(void);

//===- Models -------------------------------------------------------------===//
/// A loaded model: immutable, counted, shared between threads.
typedef struct FerriteModel FerriteModel;

/// Zero-initialise and set `size`; every other field has a default of zero.
typedef struct FerriteModelOptions {
  size_t size; /* sizeof(FerriteModelOptions) */
  const char
      *level;               /* the level to use; NULL: environment variable
                               FERRITE_CPU,        and without that the best usable one */
  const char *weights_path; /* the weights file, where the model has one; NULL:
                               the file that it names, in the folder of the
                               artifact (of the executable for
                               ferriteModelOpen, the working directory for
                               ferriteModelLoadMemory) */
  int32_t verify_weights;   /* nonzero: hash the weights file (reads all of it).
                               Also set by FERRITE_VERIFY_WEIGHTS=1. Otherwise
                               its size alone is checked */
  int32_t reserved;
} FerriteModelOptions;

/// Loads the shared artifact at `path`. Before any of its code can run, the
/// file is checked: that it is a whole ELF library for this machine with a
/// Ferrite model of this ABI version in it. `options` may be NULL. On success
/// `*model` holds one reference, which the caller owns; on failure it is NULL.
/// FERRITE_NOT_FOUND: no such file, or no such level. FERRITE_INCOMPATIBLE: a
/// file of another kind, truncated, of another ABI version, or no level that
/// this CPU can run. FERRITE_IO: unreadable.
FERRITE_API FerriteStatus
ferriteModelLoadFile(const char *path, const FerriteModelOptions *options,
                     FerriteModel **model, FerriteError *error);

/// The same from `size` bytes of a shared artifact in memory. They are copied
/// (into an anonymous file, so the pages are not shared with other processes);
/// the caller may free them at once.
FERRITE_API FerriteStatus ferriteModelLoadMemory(
    const void *bytes, size_t size, const FerriteModelOptions *options,
    FerriteModel **model, FerriteError *error);

/// Opens a model that is linked into the program (`--emit=static`): pass the
/// address of the symbol that the artifact's header declares. The table is not
/// copied and must outlive the model.
FERRITE_API FerriteStatus ferriteModelOpen(const FerriteAbiModel *abi,
                                           const FerriteModelOptions *options,
                                           FerriteModel **model,
                                           FerriteError *error);

/// Adds a reference. Returns `model`. NULL: does nothing.
FERRITE_API FerriteModel *ferriteModelRetain(FerriteModel *model);

/// Drops a reference; the last one unloads the model. Sessions hold a reference
/// of their own. NULL: does nothing.
FERRITE_API void ferriteModelRelease(FerriteModel *model);

/// The name of the model and the version and build of its compiler. Never NULL.
FERRITE_API const char *ferriteModelName(const FerriteModel *model);
FERRITE_API const char *ferriteModelCompiler(const FerriteModel *model);

/// The level chosen at load: "avx512", "avx2", ...
FERRITE_API const char *ferriteModelLevel(const FerriteModel *model);

/// All levels in the model, best first: how many, the name of one (NULL when
/// out of range), and whether this machine can run it.
FERRITE_API size_t ferriteModelLevelCount(const FerriteModel *model);
FERRITE_API const char *ferriteModelLevelName(const FerriteModel *model,
                                              size_t index);
FERRITE_API int32_t ferriteModelLevelUsable(const FerriteModel *model,
                                            size_t index);

/// The bytes of the weights, and the path of their file where they lie outside
/// the artifact (else NULL).
FERRITE_API uint64_t ferriteModelWeightsBytes(const FerriteModel *model);
FERRITE_API const char *ferriteModelWeightsPath(const FerriteModel *model);

/// The compiler's description of the model (plan, report) as JSON, `*size`
/// bytes without a terminator of their own. NULL and 0 when there is none.
/// `size` may be NULL.
FERRITE_API const char *ferriteModelDescription(const FerriteModel *model,
                                                size_t *size);

/// The table itself, for tools that look inside. Never NULL.
FERRITE_API const FerriteAbiModel *ferriteModelAbi(const FerriteModel *model);

/// The code of kernel `index` at the chosen level, NULL when out of range.
FERRITE_API FerriteKernelFn ferriteModelKernel(const FerriteModel *model,
                                               size_t index);

//===- Entries: what a model takes and gives ------------------------------===//
typedef struct FerriteEntryInfo {
  const char *name;
  uint32_t symbol_count;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t launch_count;
  uint32_t state_count;
  uint32_t role; /* FerriteEntryRole */
} FerriteEntryInfo;

/// A symbolic dimension: sizes from `min` to `max` are accepted (INT64_MAX: no
/// upper limit).
typedef struct FerriteSymbolInfo {
  const char *name;
  int64_t min;
  int64_t max;
} FerriteSymbolInfo;

/// One dimension. A constant has `size` >= 0 and no symbol. A symbolic
/// dimension of an input has `size` -1 and the symbol's name. A dimension of an
/// output that is computed has `size` -1 and no symbol:
/// ferriteSessionOutputShapes tells it.
typedef struct FerriteDimInfo {
  const char *symbol;
  int64_t size;
} FerriteDimInfo;

typedef struct FerriteTensorInfo {
  const char *name;
  int32_t dtype; /* FerriteDType */
  int32_t rank;
  FerriteDimInfo dims[FERRITE_MAX_RANK];
  int64_t id_limit; /* > 0: elements must lie in [-id_limit, id_limit) */
} FerriteTensorInfo;

/// How many entries there are; at least 1.
FERRITE_API size_t ferriteModelEntryCount(const FerriteModel *model);

/// Each fills `*info`, the caller's memory. FERRITE_NOT_FOUND: an index is out
/// of range.
FERRITE_API FerriteStatus ferriteModelEntry(const FerriteModel *model,
                                            size_t entry,
                                            FerriteEntryInfo *info,
                                            FerriteError *error);
FERRITE_API FerriteStatus ferriteModelSymbol(const FerriteModel *model,
                                             size_t entry, size_t index,
                                             FerriteSymbolInfo *info,
                                             FerriteError *error);
FERRITE_API FerriteStatus ferriteModelInput(const FerriteModel *model,
                                            size_t entry, size_t index,
                                            FerriteTensorInfo *info,
                                            FerriteError *error);
FERRITE_API FerriteStatus ferriteModelOutput(const FerriteModel *model,
                                             size_t entry, size_t index,
                                             FerriteTensorInfo *info,
                                             FerriteError *error);

/// What the entry keeps between calls: FerriteAbiState in abi.h. An entry with
/// states runs once their memory is bound: ferriteSessionBindStates, or
/// cache.h, which manages it.
FERRITE_API FerriteStatus ferriteModelState(const FerriteModel *model,
                                            size_t entry, size_t index,
                                            FerriteAbiState *info,
                                            FerriteError *error);

//===- Sessions -----------------------------------------------------------===//
/// What one thread needs to run an entry: its arena, scratch memory and
/// results.
typedef struct FerriteSession FerriteSession;

/// Where a tensor lies.
typedef enum FerriteLocation {
  FERRITE_ON_HOST = 0,
  FERRITE_ON_DEVICE = 1 /* in memory of the GPU that the session runs on */
} FerriteLocation;

/// A tensor at the edge of a run: contiguous, in row-major order, aligned to
/// its element. Always the caller's struct.
typedef struct FerriteTensor {
  void *data;
  uint64_t bytes;   /* the size of the memory at `data`. Input: 0 means that the
                       caller vouches for it. Output: the capacity */
  const char *name; /* NULL: the tensor at this position of the entry's list;
                       else the one of that name */
  int32_t dtype;    /* FerriteDType */
  int32_t rank;
  int64_t shape[FERRITE_MAX_RANK];
  int32_t location; /* FerriteLocation; of an output without `data`: where the
                       session is to own it */
  int32_t reserved;
} FerriteTensor;

/// Runs task(context, 0) ... task(context, count - 1), each exactly once, in
/// any order and on any threads, and returns when all have returned. Tasks
/// never wait for one another, so running them one after the other is right
/// too. `count` is at most the session's threads.
typedef void (*FerriteParallelFor)(void *data, int32_t count,
                                   void (*task)(void *context, int32_t index),
                                   void *context);

/// Returns `bytes` bytes aligned to `alignment` (a power of two, at most 2
/// MiB), or NULL. Called by the thread that creates or runs the session, never
/// by the team.
typedef void *(*FerriteAllocate)(void *data, size_t bytes, size_t alignment);

/// Frees what FerriteAllocate returned for the same `bytes` and `alignment`.
typedef void (*FerriteDeallocate)(void *data, void *memory, size_t bytes,
                                  size_t alignment);

typedef enum FerriteLogLevel {
  FERRITE_LOG_DEBUG = 0, /* arena growth, runs that found the team busy */
  FERRITE_LOG_INFO = 1,
  FERRITE_LOG_WARNING = 2 /* works, but not as asked: fewer threads, ... */
} FerriteLogLevel;

/// Receives one line; `message` lives for the call. Called by the thread that
/// creates or runs the session. It must not call functions of that session.
typedef void (*FerriteLog)(void *data, FerriteLogLevel level,
                           const char *message);

/// Zero-initialise and set `size`; every other field has a default of zero. The
/// callbacks and their data must outlive the session.
typedef struct FerriteSessionOptions {
  size_t size;     /* sizeof(FerriteSessionOptions) */
  int32_t threads; /* how many threads a run may use, with the caller's own; 0:
                      ferriteDefaultThreads(). At most 1024 */
  int32_t profile; /* nonzero: time every launch, see ferriteSessionProfile */
  FerriteParallelFor parallel_for; /* NULL: the runtime's own team */
  void *parallel_for_data;
  FerriteAllocate
      allocate; /* both or neither; neither: the runtime's own, which
                   asks for huge pages where an arena is large */
  FerriteDeallocate deallocate;
  void *allocator_data;
  FerriteLog log; /* NULL: no logging */
  void *log_data;
  /// "cuda:N" (or "cuda": the first): the session runs on that GPU, with the
  /// model's code for it. Inputs and outputs in the host's memory are copied;
  /// those in the GPU's (FERRITE_ON_DEVICE) are read and written where they
  /// lie, or copied there if they are not aligned to 256 bytes. States are
  /// device memory. NULL or "cpu": it runs here.
  const char *device;
  /// On a GPU: a CUstream of its primary context, which outlives the session.
  /// A run comes behind what is in it, and returns when it is done. NULL: the
  /// session's own, which does not wait for the default stream.
  void *stream;
  /// On a GPU: who gives device memory for intermediate results and for inputs
  /// and outputs that are copied, aligned to 256 bytes. Both or neither;
  /// neither: the driver. Weights are the model's, which always asks the
  /// driver.
  FerriteAllocate device_allocate;
  FerriteDeallocate device_deallocate;
  void *device_allocator_data;
} FerriteSessionOptions;

/// Makes a session for the entry of that name; NULL: the model's first entry.
/// It retains the model. `options` may be NULL. The caller owns `*session`;
/// NULL on failure. FERRITE_NOT_FOUND: no such entry (the message lists them).
FERRITE_API FerriteStatus
ferriteSessionCreate(FerriteModel *model, const char *entry,
                     const FerriteSessionOptions *options,
                     FerriteSession **session, FerriteError *error);

/// Frees the session and its results. It must not be running. NULL: nothing.
FERRITE_API void ferriteSessionDestroy(FerriteSession *session);

/// The model (no reference is added), the index of the entry, and the threads.
FERRITE_API FerriteModel *ferriteSessionModel(const FerriteSession *session);
FERRITE_API size_t ferriteSessionEntry(const FerriteSession *session);
FERRITE_API int32_t ferriteSessionThreads(const FerriteSession *session);

/// Gives the states of the entry their memory, which stays the caller's:
/// `bases[i]` is that of state i, `pages` pages long, 64-byte aligned. `count`
/// is how many states the entry has. It may be called again, to give other or
/// more memory. What lies there is the model's: a run of a step entry writes
/// the slots and reads the pages that its inputs name, and nothing else. Before
/// each run these are checked: slots and pages that lie in the memory, runs
/// that are in order, fit their page tables and have masks for at most 64
/// tokens, rows of logits that are tokens.
FERRITE_API FerriteStatus ferriteSessionBindStates(FerriteSession *session,
                                                   void *const *bases,
                                                   size_t count, int64_t pages,
                                                   FerriteError *error);

/// The same for the states of one group (FerriteStateGroup), `count` of them:
/// groups may have different numbers of pages.
FERRITE_API FerriteStatus ferriteSessionBindGroup(FerriteSession *session,
                                                  int32_t group,
                                                  void *const *bases,
                                                  size_t count, int64_t pages,
                                                  FerriteError *error);

/// The CUstream that a session on a GPU runs in; NULL on the CPU.
FERRITE_API void *ferriteSessionStream(const FerriteSession *session);

/// Lets the next runs begin when all is done that is in `stream` now: a
/// CUstream of the session's GPU, which made inputs that lie there.
FERRITE_API FerriteStatus ferriteSessionAwait(FerriteSession *session,
                                              void *stream,
                                              FerriteError *error);

/// Runs the entry. `inputs` are all the inputs, in order or by name. `outputs`
/// are any of the outputs, in order or by name (NULL and 0: none); an output
/// that is not listed, or whose `data` is NULL, is owned by the session and
/// valid until its next run; one with `data` is written there and must have the
/// capacity. On success data, bytes, dtype, rank and shape of each listed
/// output are filled in. Before any memory is touched the inputs are checked:
/// names and count, dtypes, ranks, constant dims, dims of one symbol that
/// disagree, limits of symbols, `bytes`, alignment, overlap with outputs, and
/// ranges of ids (those in a GPU's memory are copied to be looked at).
/// FERRITE_INVALID_ARGUMENT: a check failed. FERRITE_CANCELLED: see
/// ferriteSessionCancel.
FERRITE_API FerriteStatus ferriteSessionRun(
    FerriteSession *session, const FerriteTensor *inputs, size_t input_count,
    FerriteTensor *outputs, size_t output_count, FerriteError *error);

/// Output `index` of the last run that succeeded, wherever it lies. The memory
/// is the session's, or the caller's where the caller gave it.
FERRITE_API FerriteStatus ferriteSessionOutput(FerriteSession *session,
                                               size_t index,
                                               FerriteTensor *output,
                                               FerriteError *error);

/// What the outputs would be for inputs of these dtypes and shapes (`data` is
/// not looked at): fills name, dtype, rank, shape and bytes of outputs[0] ...
/// outputs[output_count - 1], in the entry's order; `data` is left alone.
/// `output_count` is at most the entry's.
FERRITE_API FerriteStatus ferriteSessionOutputShapes(
    FerriteSession *session, const FerriteTensor *inputs, size_t input_count,
    FerriteTensor *outputs, size_t output_count, FerriteError *error);

typedef struct FerriteMemory {
  uint64_t arena_bytes;   /* intermediate results */
  uint64_t scratch_bytes; /* of all threads together */
  uint64_t output_bytes;  /* results, if the session owns all of them */
  uint64_t weights_bytes; /* mapped, shared by all sessions and processes */
} FerriteMemory;

/// The memory that a run needs for inputs of these shapes (`data` is not looked
/// at); with `inputs` NULL and 0, what the session holds now. Allocates
/// nothing.
FERRITE_API FerriteStatus ferriteSessionMemory(FerriteSession *session,
                                               const FerriteTensor *inputs,
                                               size_t input_count,
                                               FerriteMemory *memory,
                                               FerriteError *error);

/// Gives the arena and the session-owned results back; the next run allocates
/// again. NULL: nothing.
FERRITE_API FerriteStatus ferriteSessionTrim(FerriteSession *session,
                                             FerriteError *error);

/// Asks the run in progress, or if there is none the next one, to stop with
/// FERRITE_CANCELLED: within about the time of one launch. From any thread and
/// from signal handlers. The request is used up by the run that it stops.
FERRITE_API void ferriteSessionCancel(FerriteSession *session);

/// Takes a request back that no run has used up: for callers that go on with
/// the session after a run finished before it was stopped.
FERRITE_API void ferriteSessionClearCancel(FerriteSession *session);

/// Turns timing of launches on or off for the runs that follow.
FERRITE_API FerriteStatus ferriteSessionSetProfiling(FerriteSession *session,
                                                     int32_t enabled,
                                                     FerriteError *error);

/// The time of one launch in the last run.
typedef struct FerriteLaunchProfile {
  const char *launch; /* the ONNX nodes it computes */
  const char *kernel;
  int64_t nanoseconds;
  int64_t units; /* of work, which threads share */
} FerriteLaunchProfile;

/// The launches of the last run in order, valid until the next run. FERRITE_
/// INVALID_ARGUMENT: no run has been profiled yet.
FERRITE_API FerriteStatus ferriteSessionProfile(
    FerriteSession *session, const FerriteLaunchProfile **rows, size_t *count,
    FerriteError *error);

/// What one thread did of one launch in the last run: its first unit began
/// `begin` and its last one ended `end` nanoseconds after the run's first
/// launch did; `busy` of them it computed `units`. All 0: it did nothing of it.
typedef struct FerriteWorkerSpan {
  int64_t begin;
  int64_t end;
  int64_t busy;
  int64_t units;
} FerriteWorkerSpan;

/// The threads of the last run beside ferriteSessionProfile, valid as long:
/// spans[launch * *workers + worker], worker 0 is the caller.
FERRITE_API FerriteStatus ferriteSessionWorkers(FerriteSession *session,
                                                const FerriteWorkerSpan **spans,
                                                size_t *workers,
                                                FerriteError *error);

#ifdef __cplusplus
} // extern "C"
#endif
#endif // FERRITE_RUNTIME_H
