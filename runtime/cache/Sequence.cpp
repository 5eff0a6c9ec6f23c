//===- Sequence.cpp - Lists of pages --------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"

#include <stdlib.h>

using namespace ferrite::rt;

/// For %lld: int64_t is `long` here.
static long long ll(int64_t value) { return value; }

bool ferrite::rt::reservePages(FerriteSequence &sequence, int64_t pages) {
  if (pages <= sequence.capacity)
    return true;
  // As much as any sequence can need, while that is little: a sequence that is
  // used again then never allocates.
  int64_t most = pagesOf(sequence.cache->maxTokens);
  int64_t wanted = most <= 16384 ? most : pages + pages / 2;
  if (wanted < pages)
    wanted = pages;
  auto *table = static_cast<int32_t *>(
      realloc(sequence.pages, static_cast<size_t>(wanted) * sizeof(int32_t)));
  if (!table)
    return false;
  sequence.pages = table;
  sequence.capacity = wanted;
  return true;
}

FerriteStatus ferrite::rt::createOne(FerriteCache *cache,
                                     FerriteSequence **result,
                                     FerriteError *error) {
  if (!cache || !result)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the cache or sequence pointer is NULL");
  FerriteSequence *sequence = cache->spare;
  if (sequence) {
    cache->spare = sequence->next;
  } else {
    sequence = static_cast<FerriteSequence *>(malloc(sizeof(FerriteSequence)));
    if (!sequence) {
      *result = nullptr;
      return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a sequence");
    }
    new (sequence) FerriteSequence;
    sequence->cache = cache;
  }
  sequence->length = sequence->evicted = sequence->pageCount = 0;
  sequence->more = nullptr;
  sequence->previous = nullptr;
  sequence->next = cache->live;
  if (cache->live)
    cache->live->previous = sequence;
  cache->live = sequence;
  ++cache->sequences;
  *result = sequence;
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceCreate(FerriteCache *cache,
                                    FerriteSequence **result,
                                    FerriteError *error) {
  if (FerriteStatus status = createOne(cache, result, error))
    return status;
  if (!cache->more)
    return FERRITE_OK;
  FerriteSequence *sequence = *result;
  FerriteStatus status =
      ferriteSequenceCreate(cache->more, &sequence->more, error);
  if (status) {
    ferriteSequenceDestroy(sequence);
    *result = nullptr;
  }
  return status;
}

void ferrite::rt::shorten(FerriteSequence &sequence, int64_t tokens) {
  FerriteCache &cache = *sequence.cache;
  while (sequence.pageCount > pagesOf(tokens)) {
    int32_t page = sequence.pages[--sequence.pageCount];
    if (page >= 0)
      dropPage(cache, page);
  }
  cache.tokens += tokens - sequence.length;
  sequence.length = tokens;
}

void ferriteSequenceDestroy(FerriteSequence *sequence) {
  if (!sequence)
    return;
  FerriteCache &cache = *sequence->cache;
  ferriteSequenceDestroy(sequence->more);
  sequence->more = nullptr;
  shorten(*sequence, 0);
  if (sequence->previous)
    sequence->previous->next = sequence->next;
  else
    cache.live = sequence->next;
  if (sequence->next)
    sequence->next->previous = sequence->previous;
  sequence->next = cache.spare;
  cache.spare = sequence;
  --cache.sequences;
}

static FerriteStatus forkOne(const FerriteSequence *parent, int64_t tokens,
                             FerriteSequence **child, FerriteError *error) {
  if (!parent || !child)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the parent or child pointer is NULL");
  *child = nullptr;
  if (tokens < 0 || tokens > parent->length)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "fork at token %lld of a sequence of %lld", ll(tokens),
                ll(parent->length));
  if (lacksPages(*parent, tokens))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "fork at token %lld: those before %lld were evicted",
                ll(tokens), ll(parent->evicted * pageTokens));
  FerriteSequence *sequence;
  if (FerriteStatus status = createOne(parent->cache, &sequence, error))
    return status;
  int64_t pages = pagesOf(tokens);
  if (!reservePages(*sequence, pages)) {
    ferriteSequenceDestroy(sequence);
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory for a table of %lld pages", ll(pages));
  }
  for (int64_t i = 0; i < pages; ++i) {
    int32_t page = sequence->pages[i] = parent->pages[i];
    if (page >= 0)
      sharePage(*parent->cache, page);
  }
  sequence->pageCount = pages;
  sequence->evicted = parent->evicted < pages ? parent->evicted : pages;
  sequence->length = tokens;
  sequence->cache->tokens += tokens;
  *child = sequence;
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceFork(const FerriteSequence *parent, int64_t tokens,
                                  FerriteSequence **child,
                                  FerriteError *error) {
  if (FerriteStatus status = forkOne(parent, tokens, child, error))
    return status;
  if (!parent->more)
    return FERRITE_OK;
  FerriteStatus status =
      ferriteSequenceFork(parent->more, tokens, &(*child)->more, error);
  if (status) {
    ferriteSequenceDestroy(*child);
    *child = nullptr;
  }
  return status;
}

int64_t ferriteSequenceLength(const FerriteSequence *sequence) {
  return sequence->length;
}

/// The last page is begun, and others hold it too: it is copied before more is
/// written.
static bool needsCopy(const FerriteSequence &sequence) {
  return sequence.length % pageTokens != 0 &&
         sequence.pages[sequence.pageCount - 1] >= 0 &&
         sequence.cache->counts[sequence.pages[sequence.pageCount - 1]] > 1;
}

int64_t ferriteSequencePagesFor(const FerriteSequence *sequence,
                                int64_t tokens) {
  if (tokens <= 0)
    return 0;
  return pagesOf(sequence->length + tokens) - sequence->pageCount +
         needsCopy(*sequence);
}

bool ferrite::rt::copyPage(FerriteSequence &sequence, int64_t index) {
  FerriteCache &cache = *sequence.cache;
  int32_t shared = sequence.pages[index];
  int64_t page = takePage(cache, int64_t(shared) + 1);
  if (page < 0)
    return false;
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    auto bytes = static_cast<size_t>(cache.states[s].page_bytes);
    if (cache.device)
      copyBytes(*cache.device, pageAt(cache, s, page), pageAt(cache, s, shared),
                bytes);
    else
      memcpy(pageAt(cache, s, page), pageAt(cache, s, shared), bytes);
  }
  dropPage(cache, shared);
  sequence.pages[index] = static_cast<int32_t>(page);
  return true;
}

FerriteStatus ferrite::rt::appendOne(FerriteSequence *sequence, int64_t tokens,
                                     int64_t *slots, FerriteError *error) {
  if (!sequence || tokens < 0)
    return fail(error, FERRITE_INVALID_ARGUMENT, "append %lld tokens to %s",
                ll(tokens), sequence ? "a sequence" : "NULL");
  FerriteCache &cache = *sequence->cache;
  if (tokens > cache.maxTokens - sequence->length)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a sequence of %lld tokens and %lld more: the most is %lld",
                ll(sequence->length), ll(tokens), ll(cache.maxTokens));
  if (tokens == 0)
    return FERRITE_OK;
  int64_t needed = ferriteSequencePagesFor(sequence, tokens);
  int64_t unused = cache.pages - cache.used;
  if (needed > unused)
    return fail(error, FERRITE_OUT_OF_PAGES,
                "%lld tokens more need %lld pages, of %lld in the cache %lld "
                "are free",
                ll(tokens), ll(needed), ll(cache.pages), ll(unused));
  int64_t length = sequence->length + tokens;
  if (!reservePages(*sequence, pagesOf(length)))
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory for a table of %lld pages", ll(pagesOf(length)));
  // Nothing fails from here on: the pages were counted.
  if (needsCopy(*sequence))
    copyPage(*sequence, sequence->pageCount - 1);
  while (sequence->pageCount < pagesOf(length)) {
    int64_t last = sequence->pageCount
                       ? sequence->pages[sequence->pageCount - 1]
                       : INT64_C(-2);
    sequence->pages[sequence->pageCount++] =
        static_cast<int32_t>(takePage(cache, last + 1));
  }
  if (slots)
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t token = sequence->length + i;
      slots[i] = int64_t(sequence->pages[token / pageTokens]) * pageTokens +
                 token % pageTokens;
    }
  sequence->length = length;
  cache.tokens += tokens;
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceAppend(FerriteSequence *sequence, int64_t tokens,
                                    int64_t *slots, FerriteError *error) {
  if (FerriteStatus status = appendOne(sequence, tokens, slots, error))
    return status;
  for (FerriteSequence *more = sequence->more; more; more = more->more)
    if (FerriteStatus status = appendOne(more, tokens, nullptr, error)) {
      for (FerriteSequence *s = sequence; s != more; s = s->more)
        shorten(*s, s->length - tokens);
      return status;
    }
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceTruncate(FerriteSequence *sequence, int64_t tokens,
                                      FerriteError *error) {
  if (!sequence)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the sequence is NULL");
  if (tokens < 0 || tokens > sequence->length)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "truncate a sequence of %lld tokens to %lld",
                ll(sequence->length), ll(tokens));
  for (const FerriteSequence *s = sequence; s; s = s->more) {
    if (lacksPages(*s, tokens))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "truncate to %lld tokens: those before %lld were evicted",
                  ll(tokens), ll(s->evicted * pageTokens));
  }
  for (FerriteSequence *s = sequence; s; s = s->more) {
    shorten(*s, tokens);
    if (s->evicted > s->pageCount)
      s->evicted = s->pageCount;
  }
  return FERRITE_OK;
}

int64_t ferriteSequenceEvict(FerriteSequence *sequence, int64_t next) {
  FerriteCache &cache = *sequence->cache;
  int64_t dropped =
      sequence->more ? ferriteSequenceEvict(sequence->more, next) : 0;
  if (cache.window == INT64_MAX)
    return dropped;
  // A token sees `window` tokens, itself included.
  int64_t first = next - cache.window + 1;
  while (sequence->evicted < sequence->pageCount &&
         (sequence->evicted + 1) * pageTokens <= first) {
    int64_t index = sequence->evicted++;
    if (index < cache.sinkPages)
      continue;
    int32_t &page = sequence->pages[index];
    dropPage(cache, page);
    page = -1;
    ++dropped;
  }
  return dropped;
}

bool ferrite::rt::hasWindows(const FerriteCache &cache) {
  if (cache.more)
    return true;
  for (uint32_t i = 0; i < cache.stateCount; ++i)
    if (cache.states[i].window >= 0)
      return true;
  return false;
}

FerriteStatus ferriteSequenceRemove(FerriteSequence *sequence, int64_t begin,
                                    int64_t end, FerriteError *error) {
  if (!sequence || begin < 0 || begin > end || end > sequence->length ||
      begin % pageTokens || end % pageTokens)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "remove the tokens from %lld to %lld of a sequence of %lld: "
                "these are no whole pages",
                ll(begin), ll(end), ll(sequence ? sequence->length : 0));
  FerriteCache &cache = *sequence->cache;
  if (hasWindows(cache))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "tokens cannot be removed where a state has a window");
  if (begin == end)
    return FERRITE_OK; // of an empty one there is no table
  int64_t first = begin / pageTokens, last = end / pageTokens;
  for (int64_t i = first; i < last; ++i)
    dropPage(cache, sequence->pages[i]);
  memmove(sequence->pages + first, sequence->pages + last,
          static_cast<size_t>(sequence->pageCount - last) * sizeof(int32_t));
  sequence->pageCount -= last - first;
  sequence->length -= end - begin;
  cache.tokens -= end - begin;
  return FERRITE_OK;
}

static FerriteStatus moveOne(FerriteSequence *sequence, int64_t from,
                             int64_t to, FerriteError *error) {
  if (!sequence || from < 0 || to < 0 || from >= sequence->length ||
      to >= sequence->length || sequence->pages[from / pageTokens] < 0 ||
      sequence->pages[to / pageTokens] < 0)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "move token %lld to %lld of a sequence of %lld", ll(from),
                ll(to), ll(sequence ? sequence->length : 0));
  if (from == to)
    return FERRITE_OK;
  FerriteCache &cache = *sequence->cache;
  int64_t index = to / pageTokens;
  if (cache.counts[sequence->pages[index]] > 1 && !copyPage(*sequence, index))
    return fail(error, FERRITE_OUT_OF_PAGES,
                "no page is free for the copy of a shared one");
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    const FerriteAbiState &state = cache.states[s];
    size_t element = ferriteDTypeSize(state.dtype);
    bool isKeys = state.kind == FERRITE_STATE_KEYS;
    size_t stride = isKeys ? element * pageTokens : element;
    auto offset = [&](int64_t token) {
      return static_cast<size_t>(token % pageTokens *
                                 (isKeys ? 1 : state.width)) *
             element;
    };
    for (int64_t h = 0; h < state.heads; ++h) {
      HeadPage written(cache, s, h, sequence->pages[index], /*writes=*/true);
      HeadPage read(cache, s, h, sequence->pages[from / pageTokens],
                    /*writes=*/false, 1);
      uint8_t *target = written.data + offset(to);
      const uint8_t *source = read.data + offset(from);
      for (int64_t w = 0; w < state.width; ++w)
        memcpy(target + static_cast<size_t>(w) * stride,
               source + static_cast<size_t>(w) * stride, element);
    }
  }
  return pagesStatus(cache.device, error);
}

FerriteStatus ferriteSequenceMove(FerriteSequence *sequence, int64_t from,
                                  int64_t to, FerriteError *error) {
  if (FerriteStatus status = moveOne(sequence, from, to, error))
    return status;
  // The others hold as many pages or fewer: what one could do they can.
  for (FerriteSequence *more = sequence->more; more; more = more->more)
    if (FerriteStatus status = moveOne(more, from, to, error))
      return status;
  return FERRITE_OK;
}

const int32_t *ferriteSequencePages(const FerriteSequence *sequence,
                                    size_t *count) {
  if (count)
    *count = static_cast<size_t>(sequence->pageCount);
  return sequence->pages;
}

const int32_t *ferriteSequenceGroupPages(const FerriteSequence *sequence,
                                         int32_t group, size_t *count) {
  while (sequence && sequence->cache->group != group)
    sequence = sequence->more;
  return sequence ? ferriteSequencePages(sequence, count) : nullptr;
}
