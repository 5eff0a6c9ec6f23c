//===- Keep.cpp - Some tokens of a sequence, and no others ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each head of each layer keeps tokens of its own, as many as all others: they
// are gathered at the beginning, so that one page table serves all of them
// still, and what is behind is given back. Places only move up, so it is done
// where they are.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"

#include <string.h>

using namespace ferrite::rt;

/// For %lld: int64_t is `long` here.
static long long ll(int64_t value) { return value; }

/// An element of each of `lines` lines, `step` elements apart.
template <typename T>
static void copyElements(uint8_t *to, const uint8_t *from, int64_t lines,
                         int64_t step) {
  auto *target = reinterpret_cast<T *>(to);
  const auto *source = reinterpret_cast<const T *>(from);
  for (int64_t i = 0; i < lines; ++i)
    target[i * step] = source[i * step];
}

/// One token of a head's page; places are within pages.
static void copyToken(const FerriteAbiState &state, uint8_t *to, int64_t place,
                      const uint8_t *from, int64_t at) {
  size_t element = ferriteDTypeSize(state.dtype);
  auto width = static_cast<size_t>(state.width);
  if (state.kind != FERRITE_STATE_KEYS) {
    memmove(to + static_cast<size_t>(place) * width * element,
            from + static_cast<size_t>(at) * width * element, width * element);
    return;
  }
  to += static_cast<size_t>(place) * element;
  from += static_cast<size_t>(at) * element;
  if (element == 1)
    copyElements<uint8_t>(to, from, state.width, pageTokens);
  else if (element == 2)
    copyElements<uint16_t>(to, from, state.width, pageTokens);
  else
    copyElements<uint32_t>(to, from, state.width, pageTokens);
}

/// Moves tokens of a head up; those before `first` stay where they are.
static void gather(FerriteSequence &sequence, uint32_t s, int64_t head,
                   const int32_t *kept, int64_t first, int64_t count) {
  const FerriteCache &cache = *sequence.cache;
  for (int64_t i = first; i < count;) {
    int64_t index = i / pageTokens, end = (index + 1) * pageTokens;
    if (end > count)
      end = count;
    HeadPage to(cache, s, head, sequence.pages[index], /*writes=*/true);
    while (i < end) {
      int64_t source = kept[i] / pageTokens;
      HeadPage from(cache, s, head, sequence.pages[source], /*writes=*/false,
                    1);
      for (; i < end && kept[i] / pageTokens == source; ++i)
        if (kept[i] != i)
          copyToken(cache.states[s], to.data, i % pageTokens, from.data,
                    kept[i] % pageTokens);
    }
  }
}

/// Which of the heads in order is the first of the keys of a layer; -1: none.
static int64_t rowOf(const FerriteCache &cache, int32_t layer) {
  int64_t row = 0;
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    if (cache.states[s].kind != FERRITE_STATE_KEYS)
      continue;
    if (cache.states[s].layer == layer)
      return row;
    row += cache.states[s].heads;
  }
  return -1;
}

/// Where the first token that moves, of any head, goes to; -1: the lists are
/// none.
static int64_t checkLists(const int32_t *kept, size_t rows, int64_t count,
                          int64_t length) {
  int64_t first = count;
  for (size_t r = 0; r < rows; ++r, kept += count) {
    int64_t before = -1;
    for (int64_t i = 0; i < count; ++i) {
      if (kept[i] <= before || kept[i] >= length)
        return -1;
      before = kept[i];
      if (before != i && i < first)
        first = i;
    }
  }
  return first;
}

FerriteStatus ferriteSequenceKeep(FerriteSequence *sequence,
                                  const int32_t *kept, size_t rows,
                                  int64_t count, FerriteError *error) {
  if (!sequence || count < 0 || count > sequence->length || (count && !kept))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "keep %lld tokens of a sequence of %lld", ll(count),
                ll(sequence ? sequence->length : 0));
  FerriteCache &cache = *sequence->cache;
  if (hasWindows(cache))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "tokens cannot be removed where a state has a window");
  int64_t heads = 0;
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    const FerriteAbiState &state = cache.states[s];
    if (state.kind == FERRITE_STATE_KEYS)
      heads += state.heads;
    else if (rowOf(cache, state.layer) < 0)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "state '%s' has no keys to go by", state.name);
  }
  if (rows != static_cast<size_t>(heads))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "lists of %zu heads, where the states have %lld", rows,
                ll(heads));
  int64_t first = checkLists(kept, rows, count, sequence->length);
  if (first < 0)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a list of tokens to keep does not ascend within %lld tokens",
                ll(sequence->length));
  int64_t copies = 0;
  for (int64_t p = first / pageTokens; first < count && p < pagesOf(count); ++p)
    copies += cache.counts[sequence->pages[p]] > 1;
  if (copies > cache.pages - cache.used)
    return fail(error, FERRITE_OUT_OF_PAGES,
                "%lld pages that others hold would have to be copied, and %lld "
                "are free",
                ll(copies), ll(cache.pages - cache.used));
  for (int64_t p = first / pageTokens; first < count && p < pagesOf(count); ++p)
    if (cache.counts[sequence->pages[p]] > 1)
      copyPage(*sequence, p); // a page was counted for it
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    if (isSummary(cache.states[s]))
      continue;
    int64_t row = rowOf(cache, cache.states[s].layer);
    for (int64_t h = 0; h < cache.states[s].heads; ++h)
      gather(*sequence, s, h, kept + (row + h) * count, first, count);
  }
  shorten(*sequence, count);
  summarize(*sequence, first);
  return pagesStatus(cache.device, error);
}
