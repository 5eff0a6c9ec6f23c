//===- cache.h - The memory of decoders between calls -----------*- C -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A step entry (FERRITE_ENTRY_STEP in abi.h) keeps what it has seen of each
// sequence in pages of 64 tokens. A cache is the pool of such pages for one
// entry; a sequence is a list of pages of it:
//
//   ferriteCacheCreate(model, NULL, &options, &cache, &error);
//   ferriteCacheBind(cache, session, &error);       // as many sessions as
//   wanted ferriteSequenceCreate(cache, &sequence, &error);
//   ferriteSequenceAppend(sequence, 5, slots, &error); // room for five tokens
//   ... run the entry with these slots and ferriteSequencePages ...
//   ferriteSequenceTruncate(sequence, 3, &error);   // two were drafts: forget
//   ferriteSequenceDestroy(sequence);
//   ferriteCacheDestroy(cache);
//
// Sequences that begin alike share pages (ferriteSequenceFork); one that is
// about to write into a shared page gets a copy of it.
//
// A cache and its sequences serve one thread at a time. The rules of runtime.h
// hold. A function that fails leaves cache and sequences as they were, so a
// full pool harms nobody but the one who asked.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_CACHE_H
#define FERRITE_CACHE_H

#include "ferrite/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct FerriteCache FerriteCache;
typedef struct FerriteSequence FerriteSequence;

/// Zero-initialise and set `size`.
typedef struct FerriteCacheOptions {
  size_t size;        /* sizeof(FerriteCacheOptions) */
  int64_t pages;      /* the most that there will be; address space is reserved
                         for all, memory is taken as they are first used */
  int64_t max_tokens; /* of one sequence; 0: as many as all pages hold */
  int32_t group;      /* FerriteStateGroup: whose states; a decoder that reads
                         an encoder's has one cache of each */
  int32_t reserved;
  /// "cuda:N": the pages are memory of that GPU, all of it taken at once, for
  /// sessions there; what is imported and exported stays the caller's memory.
  /// NULL or "cpu": here.
  const char *device;
} FerriteCacheOptions;

/// A pool for the step entry of that name; NULL: the model's first step entry.
/// It retains the model. FERRITE_NOT_FOUND: the model has no such entry.
FERRITE_API FerriteStatus ferriteCacheCreate(FerriteModel *model,
                                             const char *entry,
                                             const FerriteCacheOptions *options,
                                             FerriteCache **cache,
                                             FerriteError *error);

/// Frees the pool and all sequences that are left. No session that it is bound
/// to may run afterwards. NULL: nothing.
FERRITE_API void ferriteCacheDestroy(FerriteCache *cache);

/// Binds the pool's memory to a session of the cache's entry. Pages never move:
/// once is enough.
FERRITE_API FerriteStatus ferriteCacheBind(FerriteCache *cache,
                                           FerriteSession *session,
                                           FerriteError *error);

/// The name of the entry, and the most tokens of a sequence.
FERRITE_API const char *ferriteCacheEntry(const FerriteCache *cache);
FERRITE_API int64_t ferriteCacheMaxTokens(const FerriteCache *cache);

typedef struct FerriteCacheUsage {
  int64_t pages;        /* of the pool */
  int64_t used_pages;   /* held by sequences; a shared page counts once */
  int64_t shared_pages; /* held by more than one */
  int64_t peak_pages;   /* the most that were used at once */
  int64_t page_bytes;   /* of one page in all states together */
  int64_t memory_pages; /* that have memory: used, or used before */
  int64_t sequences;
  int64_t tokens; /* of all sequences; shared ones count for each */
  /// Where only some layers have windows their pages are counted apart, and
  /// dropped when no window reaches them: never more than those above.
  int64_t used_bytes;      /* of all pages that sequences hold, exactly */
  int64_t memory_bytes;    /* of all that have memory */
  int64_t kept_page_bytes; /* the share of page_bytes that eviction leaves */
} FerriteCacheUsage;

/// Exact at every moment. Never fails.
FERRITE_API void ferriteCacheUsage(const FerriteCache *cache,
                                   FerriteCacheUsage *usage);

/// Bytes that the GPU of the pages has left; -1: they are in this memory.
FERRITE_API int64_t ferriteCacheRoom(const FerriteCache *cache);

/// Gives the memory of unused pages back to the system.
FERRITE_API void ferriteCacheTrim(FerriteCache *cache);

//===- Sequences ----------------------------------------------------------===//
/// An empty sequence. It lives until it, or the cache, is destroyed.
FERRITE_API FerriteStatus ferriteSequenceCreate(FerriteCache *cache,
                                                FerriteSequence **sequence,
                                                FerriteError *error);

/// A sequence that begins with the first `tokens` tokens of another, sharing
/// their pages. Takes no page.
FERRITE_API FerriteStatus ferriteSequenceFork(const FerriteSequence *parent,
                                              int64_t tokens,
                                              FerriteSequence **child,
                                              FerriteError *error);

/// Drops its pages. NULL: nothing.
FERRITE_API void ferriteSequenceDestroy(FerriteSequence *sequence);

/// Its tokens, whether computed or only made room for.
FERRITE_API int64_t ferriteSequenceLength(const FerriteSequence *sequence);

/// Makes room for `tokens` more and fills slots[0 ... tokens - 1] (may be NULL)
/// with where the next run must put them. FERRITE_OUT_OF_PAGES: the pool is
/// full. FERRITE_INVALID_ARGUMENT: the sequence would exceed max_tokens.
FERRITE_API FerriteStatus ferriteSequenceAppend(FerriteSequence *sequence,
                                                int64_t tokens, int64_t *slots,
                                                FerriteError *error);

/// The pages that ferriteSequenceAppend would take from the pool.
FERRITE_API int64_t ferriteSequencePagesFor(const FerriteSequence *sequence,
                                            int64_t tokens);

/// Forgets all but the first `tokens` tokens. FERRITE_INVALID_ARGUMENT: there
/// are fewer, or these were evicted.
FERRITE_API FerriteStatus ferriteSequenceTruncate(FerriteSequence *sequence,
                                                  int64_t tokens,
                                                  FerriteError *error);

/// Drops the pages that no state reads any more when the next token to come has
/// the index `next` or a higher one: those out of every state's window. Where
/// one state sees everything that is none. Returns how many were dropped.
FERRITE_API int64_t ferriteSequenceEvict(FerriteSequence *sequence,
                                         int64_t next);

/// Drops the tokens [begin, end), whole pages, wherever they are: those behind
/// move up, with the keys and values that they have. Who counts positions
/// remembers how many are gone. FERRITE_INVALID_ARGUMENT: these are not whole
/// pages of the sequence, or a state has a window, whose distances would be
/// wrong.
FERRITE_API FerriteStatus ferriteSequenceRemove(FerriteSequence *sequence,
                                                int64_t begin, int64_t end,
                                                FerriteError *error);

/// Keeps `count` tokens of each head of each state and forgets all others:
/// those kept move up, in order, with the keys and values that they have, and
/// pages that nothing is left in are dropped. Heads are those of the states of
/// keys, one state after the other, `rows` in all: the places of head r are
/// kept[r * count ...], ascending. Summaries are made anew. Who counts
/// positions remembers how many tokens are gone. FERRITE_INVALID_ARGUMENT:
/// these are no such lists, or a state has a window. FERRITE_OUT_OF_PAGES: a
/// page that others hold would have to be copied, and there is none.
FERRITE_API FerriteStatus ferriteSequenceKeep(FerriteSequence *sequence,
                                              const int32_t *kept, size_t rows,
                                              int64_t count,
                                              FerriteError *error);

/// Moves the token at `from` to the place `to`: both exist. With it, the
/// accepted path of a tree of drafts is put in order before the rest is
/// forgotten.
FERRITE_API FerriteStatus ferriteSequenceMove(FerriteSequence *sequence,
                                              int64_t from, int64_t to,
                                              FerriteError *error);

/// The same of the states of a group, for `page_tables_GROUP`: those of a
/// narrower window than group 0. NULL: there is no such group.
FERRITE_API const int32_t *
ferriteSequenceGroupPages(const FerriteSequence *sequence, int32_t group,
                          size_t *count);

/// Its row of `page_tables`: `*count` page numbers, -1 for evicted ones. Valid
/// until the sequence changes.
FERRITE_API const int32_t *ferriteSequencePages(const FerriteSequence *sequence,
                                                size_t *count);

//===- In and out ---------------------------------------------------------===//
/// Appends tokens whose keys and values are known: `tensors[i]` is that of
/// state i, of the state's dtype and of shape [batch, heads, tokens, width], as
/// ONNX models name their past; sequence `batch` of them is taken. `count` is
/// the number of states but for FERRITE_STATE_SUMMARY, which are computed.
/// Where the state is of another dtype, f32 is taken, too, and rounded as the
/// entry itself would.
FERRITE_API FerriteStatus ferriteSequenceImport(FerriteSequence *sequence,
                                                const FerriteTensor *tensors,
                                                size_t count, int64_t batch,
                                                FerriteError *error);

/// Writes tokens [begin, end) of state `state` to `data`, [heads, end - begin,
/// width], which has `bytes` bytes.
FERRITE_API FerriteStatus ferriteSequenceExport(const FerriteSequence *sequence,
                                                size_t state, int64_t begin,
                                                int64_t end, void *data,
                                                uint64_t bytes,
                                                FerriteError *error);

/// The bytes of a snapshot of the sequence now.
FERRITE_API uint64_t
ferriteSequenceSnapshotBytes(const FerriteSequence *sequence);

/// Writes all of the sequence to `data`, which has `bytes` bytes. A snapshot is
/// the same bytes for the same tokens, wherever they lay.
FERRITE_API FerriteStatus
ferriteSequenceSnapshot(const FerriteSequence *sequence, void *data,
                        uint64_t bytes, FerriteError *error);

/// A sequence from a snapshot. Everything in it is checked: its length, hash,
/// and that it comes from this model and entry. FERRITE_INCOMPATIBLE: it is
/// none, was cut or changed, or is of another model.
FERRITE_API FerriteStatus ferriteSequenceRestore(FerriteCache *cache,
                                                 const void *data,
                                                 uint64_t bytes,
                                                 FerriteSequence **sequence,
                                                 FerriteError *error);

/// The same with a file. A file that could not be written whole is removed.
FERRITE_API FerriteStatus ferriteSequenceSave(const FerriteSequence *sequence,
                                              const char *path,
                                              FerriteError *error);
FERRITE_API FerriteStatus ferriteSequenceLoad(FerriteCache *cache,
                                              const char *path,
                                              FerriteSequence **sequence,
                                              FerriteError *error);

#ifdef __cplusplus
} // extern "C"
#endif
#endif // FERRITE_CACHE_H
