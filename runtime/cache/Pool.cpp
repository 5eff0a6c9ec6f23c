//===- Pool.cpp - The pages of a cache ------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"

#include "core/Model.h"
#include "core/Options.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <sys/mman.h>

using namespace ferrite::rt;

static uint64_t &wordOf(FerriteCache &cache, int64_t page) {
  return cache.freeBits[page / 64];
}

static uint64_t bitOf(int64_t page) { return UINT64_C(1) << (page % 64); }

int64_t ferrite::rt::takePage(FerriteCache &cache, int64_t wanted) {
  int64_t page = -1;
  if (wanted >= 0 && wanted < cache.pages &&
      (wordOf(cache, wanted) & bitOf(wanted)))
    page = wanted;
  int64_t words = (cache.pages + 63) / 64;
  for (int64_t w = cache.hint; page < 0 && w < words; ++w) {
    if (cache.freeBits[w])
      page = w * 64 + __builtin_ctzll(cache.freeBits[w]);
    else
      cache.hint = w + 1;
  }
  if (page < 0)
    return -1;
  wordOf(cache, page) &= ~bitOf(page);
  cache.counts[page] = 1;
  // What another sequence left here, be it NaN, must not meet a kernel that
  // multiplies what lies beyond the end by zero.
  if (page < cache.fresh)
    for (uint32_t s = 0; s < cache.stateCount; ++s)
      clearPage(cache, s, page);
  else
    cache.fresh = page + 1;
  if (++cache.used > cache.peak)
    cache.peak = cache.used;
  return page;
}

void ferrite::rt::sharePage(FerriteCache &cache, int64_t page) {
  if (++cache.counts[page] == 2)
    ++cache.shared;
}

void ferrite::rt::dropPage(FerriteCache &cache, int64_t page) {
  uint32_t left = --cache.counts[page];
  if (left == 1)
    --cache.shared;
  if (left)
    return;
  wordOf(cache, page) |= bitOf(page);
  if (page / 64 < cache.hint)
    cache.hint = page / 64;
  --cache.used;
}

/// Tells a model from another of the same shapes: names, sizes, and bytes from
/// 64 places of the weights, as reading all of them could take seconds.
static uint64_t identityOf(const FerriteModel &model,
                           const FerriteAbiEntry &entry, int32_t group) {
  const FerriteAbiModel &abi = *model.abi;
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  auto add = [&](const void *data, size_t bytes) {
    XXH3_64bits_update(&hash, data, bytes);
  };
  auto addName = [&](const char *name) { add(name, strlen(name) + 1); };
  addName(abi.name);
  add(&abi.weights_bytes, sizeof abi.weights_bytes);
  size_t bytes = static_cast<size_t>(abi.weights_bytes);
  const size_t places = 64, each = 256;
  if (bytes <= places * each)
    add(model.weights, bytes);
  else
    for (size_t i = 0; i < places; ++i)
      add(model.weights + (bytes - each) / (places - 1) * i, each);
  addName(entry.name);
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    const FerriteAbiState &state = entry.states[i];
    if (state.group != group)
      continue;
    addName(state.name);
    const int64_t fields[] = {state.dtype,  state.kind,       state.layer,
                              state.group,  state.heads,      state.width,
                              state.window, state.page_bytes, state.sinks};
    add(fields, sizeof fields);
  }
  return XXH3_64bits_digest(&hash);
}

static const FerriteAbiEntry *findStep(const FerriteModel *model,
                                       const char *name, FerriteError *error) {
  const FerriteAbiModel &abi = *model->abi;
  for (uint32_t i = 0; i < abi.entry_count; ++i) {
    const FerriteAbiEntry &entry = abi.entries[i];
    if (name ? strcmp(entry.name, name) != 0 : entry.role != FERRITE_ENTRY_STEP)
      continue;
    if (entry.role == FERRITE_ENTRY_STEP && entry.state_count > 0)
      return &entry;
    fail(error, FERRITE_NOT_FOUND,
         "the entry '%s' is no step entry: it keeps no state between calls",
         entry.name);
    return nullptr;
  }
  if (name)
    fail(error, FERRITE_NOT_FOUND, "no entry '%s' in the model '%s'", name,
         abi.name);
  else
    fail(error, FERRITE_NOT_FOUND,
         "the model '%s' has no step entry: it is not a decoder, or its report "
         "says why it has none",
         abi.name);
  return nullptr;
}

/// States of a group lie side by side.
static void findStates(FerriteCache &cache) {
  const FerriteAbiEntry &entry = *cache.entry;
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    if (entry.states[i].group != cache.group)
      continue;
    if (cache.stateCount++ == 0)
      cache.states = entry.states + i;
  }
}

static bool allocateTables(FerriteCache &cache) {
  size_t pages = static_cast<size_t>(cache.pages);
  cache.counts = static_cast<uint32_t *>(calloc(pages, sizeof(uint32_t)));
  cache.freeBits =
      static_cast<uint64_t *>(calloc((pages + 63) / 64, sizeof(uint64_t)));
  cache.bases = static_cast<void **>(calloc(cache.stateCount, sizeof(void *)));
  if (!cache.counts || !cache.freeBits || !cache.bases)
    return false;
  for (int64_t p = 0; p < cache.pages; ++p)
    wordOf(cache, p) |= bitOf(p);
  for (uint32_t i = 0; i < cache.stateCount; ++i)
    if (!(cache.bases[i] = reserveState(cache, i)))
      return false;
  return true;
}

/// The next group of a window behind `group`; 0: there is none.
static int32_t nextGroup(const FerriteAbiEntry &entry, int32_t group) {
  int32_t next = 0;
  for (uint32_t i = entry.state_count; i-- > 0;)
    if (int32_t g = entry.states[i].group;
        g > group && g > FERRITE_STATE_SOURCE)
      next = g;
  return next;
}

static FerriteStatus createOne(FerriteModel *model, const char *entryName,
                               const FerriteCacheOptions *given,
                               FerriteCache **result, FerriteError *error);

FerriteStatus ferriteCacheCreate(FerriteModel *model, const char *entryName,
                                 const FerriteCacheOptions *given,
                                 FerriteCache **result, FerriteError *error) {
  if (FerriteStatus status = createOne(model, entryName, given, result, error))
    return status;
  FerriteCache *cache = *result;
  // Never more pages than the widest has, so it runs out first.
  for (FerriteCache *last = cache; cache->group != FERRITE_STATE_SOURCE;
       last = last->more) {
    FerriteCacheOptions options = {sizeof options,
                                   cache->pages,
                                   cache->maxTokens,
                                   nextGroup(*cache->entry, last->group),
                                   0,
                                   given->size >= sizeof options ? given->device
                                                                 : nullptr};
    if (options.group == 0)
      break;
    if (FerriteStatus status = createOne(model, cache->entry->name, &options,
                                         &last->more, error)) {
      ferriteCacheDestroy(cache);
      *result = nullptr;
      return status;
    }
  }
  return FERRITE_OK;
}

FerriteStatus createOne(FerriteModel *model, const char *entryName,
                        const FerriteCacheOptions *given, FerriteCache **result,
                        FerriteError *error) {
  if (!result || !model || !given)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the model, options or cache pointer is NULL");
  *result = nullptr;
  FerriteCacheOptions options;
  if (FerriteStatus status =
          readOptions(given, options, "FerriteCacheOptions", error))
    return status;
  const FerriteAbiEntry *entry = findStep(model, entryName, error);
  if (!entry)
    return FERRITE_NOT_FOUND;
  FerriteCache found;
  found.entry = entry;
  found.group = options.group;
  findStates(found);
  if (found.stateCount == 0)
    return fail(error, FERRITE_NOT_FOUND,
                "the entry '%s' has no states of group %d", entry->name,
                options.group);
  // Page numbers are 32-bit, slots of all pages and their bytes fit into 46.
  if (options.pages < 1 || options.pages > INT32_MAX || options.max_tokens < 0)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a cache of %lld pages for sequences of %lld tokens",
                static_cast<long long>(options.pages),
                static_cast<long long>(options.max_tokens));
  int64_t pageBytes = 0;
  for (uint32_t i = 0; i < found.stateCount; ++i)
    if (__builtin_add_overflow(pageBytes, found.states[i].page_bytes,
                               &pageBytes) ||
        pageBytes > (INT64_C(1) << 46) / options.pages)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "a cache of %lld pages is larger than any memory",
                  static_cast<long long>(options.pages));
  auto *cache = static_cast<FerriteCache *>(malloc(sizeof(FerriteCache)));
  if (!cache)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a cache");
  new (cache) FerriteCache(found);
  cache->model = ferriteModelRetain(model);
  cache->pages = options.pages;
  cache->pageBytes = pageBytes;
  cache->identity = identityOf(*model, *entry, options.group);
  for (uint32_t i = 0; i < cache->stateCount; ++i) {
    int64_t window = cache->states[i].window;
    if (window < 0)
      cache->window = INT64_MAX;
    else if (window > cache->window)
      cache->window = window;
    if (pagesOf(cache->states[i].sinks) > cache->sinkPages)
      cache->sinkPages = pagesOf(cache->states[i].sinks);
  }
  // A sequence that forgets may be longer than the pool; its table has an entry
  // for each page that it ever had.
  int64_t all = options.pages * pageTokens;
  bool forgets = cache->window != INT64_MAX;
  cache->maxTokens = options.max_tokens;
  if (options.max_tokens == 0 || (options.max_tokens > all && !forgets))
    cache->maxTokens = all;
  size_t staging = 0;
  for (uint32_t i = 0; i < cache->stateCount; ++i)
    if (headBytes(cache->states[i]) > staging)
      staging = headBytes(cache->states[i]);
  if (FerriteStatus status =
          openPages(options.device, staging, cache->device, error)) {
    ferriteCacheDestroy(cache);
    return status;
  }
  if (!allocateTables(*cache)) {
    ferriteCacheDestroy(cache);
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory for a cache of %lld pages of %lld bytes",
                static_cast<long long>(options.pages),
                static_cast<long long>(pageBytes));
  }
  *result = cache;
  return FERRITE_OK;
}

static void freeSequences(FerriteSequence *list) {
  while (list) {
    FerriteSequence *next = list->next;
    free(list->pages);
    free(list);
    list = next;
  }
}

void ferriteCacheDestroy(FerriteCache *cache) {
  if (!cache)
    return;
  ferriteCacheDestroy(cache->more);
  freeSequences(cache->live);
  freeSequences(cache->spare);
  if (cache->bases)
    for (uint32_t i = 0; i < cache->stateCount; ++i)
      releaseState(*cache, i);
  closePages(cache->device);
  free(cache->bases);
  free(cache->counts);
  free(cache->freeBits);
  ferriteModelRelease(cache->model);
  free(cache);
}

const char *ferriteCacheEntry(const FerriteCache *cache) {
  return cache->entry->name;
}

int64_t ferriteCacheMaxTokens(const FerriteCache *cache) {
  return cache->maxTokens;
}

void ferriteCacheUsage(const FerriteCache *cache, FerriteCacheUsage *usage) {
  *usage = {cache->pages,
            cache->used,
            cache->shared,
            cache->peak,
            cache->pageBytes,
            cache->fresh,
            cache->sequences,
            cache->tokens,
            0,
            0,
            0};
  for (; cache; cache = cache->more) {
    usage->used_bytes += cache->used * cache->pageBytes;
    usage->memory_bytes += cache->fresh * cache->pageBytes;
    if (cache->group > FERRITE_STATE_SOURCE)
      usage->page_bytes += cache->pageBytes;
    else
      usage->kept_page_bytes = cache->pageBytes;
  }
}

void ferriteCacheTrim(FerriteCache *cache) {
  if (cache->device) // all pages have memory from the beginning
    return;
  // Runs of free pages, whole system pages of each: those read as zeros again.
  for (int64_t begin = 0; begin < cache->fresh;) {
    int64_t end = begin;
    while (end < cache->fresh && cache->counts[end] == 0)
      ++end;
    for (uint32_t s = 0; end > begin && s < cache->stateCount; ++s) {
      uintptr_t first = reinterpret_cast<uintptr_t>(pageAt(*cache, s, begin));
      uintptr_t last = reinterpret_cast<uintptr_t>(pageAt(*cache, s, end));
      first = alignUp(first, 4096);
      last &= ~uintptr_t(4095);
      if (first < last)
        (void)madvise(reinterpret_cast<void *>(first), last - first,
                      MADV_DONTNEED);
    }
    begin = end + 1;
  }
  if (cache->more)
    ferriteCacheTrim(cache->more);
  // Those behind the last used one may be less than a system page, and stay
  // non-zero: takePage clears what lies below `fresh`.
}
