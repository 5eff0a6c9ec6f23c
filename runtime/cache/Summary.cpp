//===- Summary.cpp - What keys of full pages are like ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Of keys that come in as tensors; those of a run are summarized by its kernels
// (passes/Codegen/CPU/EmitSummarizePages.cpp), with the same bits.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"
#include "cache/Record.h"

using namespace ferrite::rt;

/// The tokens of a part.
static constexpr int64_t partTokens = 16;

/// Number `d` of a token; `column` is its first element in a page of keys.
static float numberAt(const FerriteAbiState &keys, const uint8_t *column,
                      int64_t depth, int64_t d) {
  if (keys.dtype == FERRITE_I8 || keys.dtype == FERRITE_U8)
    return ferrite::record::numberOf(keys.dtype == FERRITE_U8, column,
                                     pageTokens, depth, d);
  size_t element = ferriteDTypeSize(keys.dtype);
  const uint8_t *at = column + static_cast<size_t>(d * pageTokens) * element;
  if (keys.dtype == FERRITE_BF16)
    return ferrite::record::fromShort(at);
  if (keys.dtype == FERRITE_F16)
    return ferrite::record::fromHalf(at);
  float number;
  memcpy(&number, at, 4);
  return number;
}

/// One head's page.
static void summarizePage(const FerriteAbiState &keys, const uint8_t *page,
                          float *to) {
  size_t element = ferriteDTypeSize(keys.dtype);
  bool isNibbles = keys.dtype == FERRITE_U8;
  int64_t depth = isNibbles || keys.dtype == FERRITE_I8
                      ? ferrite::record::depthOf(isNibbles, keys.width)
                      : keys.width;
  for (int64_t part = 0; part < pageTokens / partTokens; ++part)
    for (int64_t d = 0; d < depth; ++d) {
      const uint8_t *column =
          page + static_cast<size_t>(part * partTokens) * element;
      float sum = 0, low = 0, high = 0;
      for (int64_t i = 0; i < partTokens; ++i, column += element) {
        float number = numberAt(keys, column, depth, d);
        sum = i ? sum + number : number;
        low = i && low < number ? low : number;
        high = i && high > number ? high : number;
      }
      to[2 * part * depth + d] = sum * (1.0f / partTokens);
      to[(2 * part + 1) * depth + d] = (high - low) * 0.5f;
    }
}

void ferrite::rt::summarize(FerriteSequence &sequence, int64_t begin) {
  const FerriteCache &cache = *sequence.cache;
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    if (!isSummary(cache.states[s]))
      continue;
    uint32_t k = 0; // Tables.cpp has seen that there is one
    while (cache.states[k].kind != FERRITE_STATE_KEYS ||
           cache.states[k].layer != cache.states[s].layer)
      ++k;
    for (int64_t p = begin / pageTokens; p < sequence.length / pageTokens; ++p)
      for (int64_t h = 0; h < cache.states[s].heads; ++h) {
        HeadPage keys(cache, k, h, sequence.pages[p], /*writes=*/false);
        HeadPage to(cache, s, h, sequence.pages[p], /*writes=*/true, 1);
        summarizePage(cache.states[k], keys.data,
                      reinterpret_cast<float *>(to.data));
      }
  }
}
