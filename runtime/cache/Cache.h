//===- Cache.h - Pages, and the sequences that hold them --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One table of pages serves all states of a group: page p of the pool is page p
// of each state. A page has a count of the sequences that hold it, and only
// one with a count of 1 is ever written.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CACHE_CACHE_H
#define FERRITE_RUNTIME_CACHE_CACHE_H

#include "ferrite/cache.h"

#include "core/Error.h"
#include "core/Memory.h"
#include "cuda/DevicePages.h"

struct FerriteCache {
  FerriteModel *model = nullptr;
  const FerriteAbiEntry *entry = nullptr;
  int32_t group = 0;
  const FerriteAbiState *states = nullptr; ///< of the group
  uint32_t stateCount = 0;
  int64_t pages = 0;
  int64_t maxTokens = 0;
  int64_t pageBytes = 0; ///< in all states together
  int64_t window = 0;    ///< the widest of all states; INT64_MAX: sees all
  int64_t sinkPages = 0; ///< at the beginning of a sequence: never evicted
  uint64_t identity = 0; ///< of model and entry, in snapshots

  void **bases = nullptr; ///< of each state; reserved, not all has memory
  /// Null: the pages lie in this memory. Else `bases` are of a GPU.
  ferrite::rt::DevicePages *device = nullptr;

  uint32_t *counts = nullptr; ///< sequences that hold a page
  /// Bit p: page p is free. Pages from `fresh` on were never used, and are zero
  /// without our doing.
  uint64_t *freeBits = nullptr;
  int64_t fresh = 0;
  int64_t hint = 0; ///< no page before this word of freeBits is free
  int64_t used = 0, shared = 0, peak = 0;

  /// Of the states with the next narrower window; its sequences hang on ours.
  FerriteCache *more = nullptr;

  int64_t sequences = 0, tokens = 0;
  FerriteSequence *live = nullptr;
  /// Destroyed ones, to be used again: a server allocates none in the end.
  FerriteSequence *spare = nullptr;
};

struct FerriteSequence {
  FerriteCache *cache = nullptr;
  FerriteSequence *next = nullptr, *previous = nullptr;
  FerriteSequence *more = nullptr; ///< its pages in cache->more
  int64_t length = 0;
  /// Pages at the beginning that are no more, but for cache->sinkPages.
  int64_t evicted = 0;
  int64_t pageCount = 0;
  int64_t capacity = 0;
  int32_t *pages = nullptr;
};

namespace ferrite::rt {

constexpr int64_t pageTokens = FERRITE_PAGE_TOKENS;

/// The pages that hold `tokens` tokens.
constexpr int64_t pagesOf(int64_t tokens) {
  return (tokens + pageTokens - 1) / pageTokens;
}

inline uint8_t *pageAt(const FerriteCache &cache, size_t state, int64_t page) {
  return static_cast<uint8_t *>(cache.bases[state]) +
         page * cache.states[state].page_bytes;
}

/// A free page, `wanted` itself where that is one: neighbours in a sequence are
/// then neighbours in memory. Its count becomes 1, its bytes are zero. -1:
/// none.
int64_t takePage(FerriteCache &cache, int64_t wanted);
void sharePage(FerriteCache &cache, int64_t page);
void dropPage(FerriteCache &cache, int64_t page);

/// Whether a sequence of `tokens` tokens, of those of `sequence`, lacks some
/// that the next token looks back at; an empty one looks at nothing.
inline bool lacksPages(const FerriteSequence &sequence, int64_t tokens) {
  const FerriteCache &cache = *sequence.cache;
  return sequence.evicted > cache.sinkPages &&
         tokens > cache.sinkPages * FERRITE_PAGE_TOKENS &&
         tokens - cache.window + 1 < sequence.evicted * FERRITE_PAGE_TOKENS;
}

/// Room in the page table; false: out of memory.
bool reservePages(FerriteSequence &sequence, int64_t pages);

/// Sets the length, dropping pages that it does not need.
void shorten(FerriteSequence &sequence, int64_t tokens);
/// The page at `index` of the table becomes this sequence's own; false: there
/// is no page for it.
bool copyPage(FerriteSequence &sequence, int64_t index);
/// Whether a state has a window, whose keys go by their distance.
bool hasWindows(const FerriteCache &cache);

/// What the functions of cache.h do, for the states of one group alone.
FerriteStatus createOne(FerriteCache *cache, FerriteSequence **sequence,
                        FerriteError *error);
FerriteStatus appendOne(FerriteSequence *sequence, int64_t tokens,
                        int64_t *slots, FerriteError *error);
/// `tensors` are those of the group, [1, heads, tokens, width].
FerriteStatus importOne(FerriteSequence *sequence, const FerriteTensor *tensors,
                        FerriteError *error);

/// Room for all pages of a state, zeros; null: there is none.
void *reserveState(const FerriteCache &cache, uint32_t state);
void releaseState(const FerriteCache &cache, uint32_t state);
void clearPage(const FerriteCache &cache, uint32_t state, int64_t page);

/// A head's part of a page, [width][64] or [64][width], where the host can read
/// and write it; what was written is there when this goes. `which` of two at a
/// time.
class HeadPage {
public:
  HeadPage(const FerriteCache &cache, size_t state, int64_t head, int64_t page,
           bool writes, int which = 0);
  ~HeadPage();
  HeadPage(const HeadPage &) = delete;
  HeadPage &operator=(const HeadPage &) = delete;
  uint8_t *data;

private:
  DevicePages *device;
  uint8_t *place;
  size_t bytes;
  bool writes;
};

/// The bytes of a head's part of a page.
inline size_t headBytes(const FerriteAbiState &state) {
  return static_cast<size_t>(state.page_bytes / state.heads);
}

/// Computes the summaries of the pages that tokens from `begin` on made full.
void summarize(FerriteSequence &sequence, int64_t begin);
inline bool isSummary(const FerriteAbiState &state) {
  return state.kind == FERRITE_STATE_SUMMARY;
}

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CACHE_CACHE_H
