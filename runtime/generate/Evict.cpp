//===- Evict.cpp - Keys that texts give back ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// SnapKV (Li et al., 2024) and H2O (Zhang et al., 2023): each head of each
// layer keeps the keys that got most of the attention of some tokens. The step
// says what they got as integers, so that sums know no order: what is evicted
// when depends on the text alone, however its tokens were divided over calls,
// and a text that was preempted becomes the same again.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

#include <ctype.h>
#include <errno.h>

using namespace ferrite::gen;

/// Tokens between two evictions of a text.
static constexpr int64_t kEvery = FERRITE_PAGE_TOKENS;
/// What SnapKV's authors take the highest of: a key and its neighbours.
static constexpr int64_t kPooled = 7;
static constexpr int64_t kSnapWindow = 32;

//===--- options ----------------------------------------------------------===//

/// A number from `text` on; null: there is none of `least` or more.
static const char *readNumber(const char *text, int64_t least, int64_t &value) {
  char *end = nullptr;
  errno = 0;
  value = strtoll(text, &end, 10);
  bool isNumber = isdigit(static_cast<unsigned char>(*text)) && errno == 0 &&
                  value >= least && value <= INT32_MAX;
  return isNumber ? end : nullptr;
}

/// NUMBER+NUMBER, of which the second may be absent where `second` is not 0.
static bool readPair(const char *text, int64_t least, int64_t &first,
                     int64_t &second) {
  const char *end = readNumber(text, least, first);
  if (end && *end == '+')
    end = readNumber(end + 1, 1, second);
  else if (!second)
    return false;
  return end && !*end;
}

FerriteStatus ferrite::gen::readEviction(FerriteGeneratorOptions &options,
                                         Eviction &eviction,
                                         FerriteError *error) {
  const char *text = options.kv_evict;
  if (!text)
    return FERRITE_OK;
  auto is = [&](const char *name) {
    return strncmp(text, name, strlen(name)) == 0;
  };
  bool ok = false;
  if (is("streaming:")) {
    if (options.window_tokens)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "kv_evict '%.40s' says what window_tokens says", text);
    ok = readPair(text + 10, 0, options.sink_tokens, options.window_tokens);
  } else if (is("snapkv:")) {
    eviction.kind = Eviction::SnapKV;
    eviction.window = kSnapWindow;
    ok = readPair(text + 7, 1, eviction.budget, eviction.window);
  } else if (is("h2o:")) {
    eviction.kind = Eviction::H2O;
    ok = readPair(text + 4, 1, eviction.budget, eviction.window);
  }
  if (!ok)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "kv_evict takes streaming:SINKS+WINDOW, snapkv:BUDGET[+WINDOW] "
                "or h2o:BUDGET+RECENT, numbers of tokens like snapkv:1024+32, "
                "not '%.40s'",
                text);
  if (eviction.kind != Eviction::None && options.window_tokens)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "kv_evict '%.40s' does not go with window_tokens", text);
  return FERRITE_OK;
}

FerriteStatus ferrite::gen::checkEviction(const FerriteGenerator &generator,
                                          FerriteError *error) {
  if (generator.eviction.kind == Eviction::None)
    return FERRITE_OK;
  const Stepper &target = generator.target;
  bool hasAll = target.weighs;
  for (int64_t head = 0; hasAll && head < target.keyHeads; ++head)
    hasAll = target.hasWeights(head);
  if (!hasAll)
    return fail(error, FERRITE_INCOMPATIBLE,
                "kv_evict: the entry '%s' does not tell what its keys get of "
                "attention; compile the model with --sparsify=weigh",
                ferriteCacheEntry(target.cache));
  return FERRITE_OK;
}

//===--- when -------------------------------------------------------------===//

/// Where nothing would be evicted of it, nothing has to be known.
static bool isLongPrompt(const FerriteGenerator &generator,
                         const Stream &stream) {
  return stream.request->promptTokens() > generator.eviction.kept();
}

int64_t ferrite::gen::mostBeforeEviction(const FerriteGenerator &generator,
                                         const Stream &stream) {
  const Eviction &eviction = generator.eviction;
  if (eviction.kind == Eviction::None)
    return INT64_MAX;
  int64_t prompt = stream.request->promptTokens(), done = stream.computed();
  if (done < prompt)
    return prompt - done;
  return eviction.kind == Eviction::H2O
             ? eviction.kept() + kEvery - (done - stream.removed)
             : INT64_MAX;
}

int64_t ferrite::gen::firstWeighed(const FerriteGenerator &generator,
                                   const Stream &stream) {
  switch (generator.eviction.kind) {
  case Eviction::H2O:
    return 0;
  case Eviction::SnapKV:
    if (isLongPrompt(generator, stream))
      return stream.request->promptTokens() - generator.eviction.window;
    break;
  case Eviction::None:
    break;
  }
  return INT64_MAX;
}

int64_t ferrite::gen::tokensToWeigh(const FerriteGenerator &generator,
                                    const Stream &stream) {
  const Eviction &eviction = generator.eviction;
  if (eviction.kind == Eviction::H2O)
    return stream.planned;
  int64_t end = stream.computed(), prompt = stream.request->promptTokens();
  if (eviction.kind == Eviction::None || !isLongPrompt(generator, stream) ||
      stream.removed || end > prompt)
    return 0;
  int64_t count = end - (prompt - eviction.window);
  lower(count, stream.planned);
  return count > 0 ? count : 0;
}

//===--- what -------------------------------------------------------------===//

/// Room for what all keys of the stream may get until it evicts some.
static bool beginWeights(const FerriteGenerator &generator, Stream &stream) {
  if (!stream.weights.empty())
    return true;
  int64_t most = stream.request->promptTokens();
  if (generator.eviction.kind == Eviction::H2O &&
      most < generator.eviction.kept() + kEvery)
    most = generator.eviction.kept() + kEvery;
  auto size = static_cast<size_t>(most * generator.target.keyHeads);
  if (!stream.weights.reserve(size))
    return false;
  for (size_t i = 0; i < size; ++i)
    stream.weights.push(0);
  stream.weightStride = most;
  return true;
}

static void addWeights(const FerriteGenerator &generator, Stream &stream) {
  const Stepper &target = generator.target;
  int64_t length = ferriteSequenceLength(stream.sequence);
  for (int64_t head = 0; head < target.keyHeads; ++head) {
    int64_t *to = stream.weights.data() + head * stream.weightStride;
    const int64_t *from = nullptr;
    for (int32_t reader = 0;
         (from = target.weightsOf(stream.weighed, head, reader)); ++reader)
      for (int64_t i = 0; i < length; ++i)
        to[i] += from[i];
  }
}

/// Each becomes the highest of it and its neighbours.
static void pool(const int64_t *from, int64_t count, int64_t *to) {
  for (int64_t i = 0; i < count; ++i) {
    int64_t begin = i < kPooled / 2 ? 0 : i - kPooled / 2,
            end = i + kPooled / 2;
    if (end > count - 1)
      end = count - 1;
    int64_t highest = from[begin];
    for (int64_t j = begin + 1; j <= end; ++j)
      highest = from[j] > highest ? from[j] : highest;
    to[i] = highest;
  }
}

/// The places of the `wanted` highest of `count` weights, the first of equal
/// ones, ascending. They are not negative.
static void pickHighest(const int64_t *weights, int64_t count, int64_t wanted,
                        int32_t *places) {
  // The highest threshold that as many reach, bit by bit.
  int64_t threshold = 0;
  for (int bit = 62; bit >= 0; --bit) {
    int64_t next = threshold | INT64_C(1) << bit, reach = 0;
    for (int64_t i = 0; i < count; ++i)
      reach += weights[i] >= next;
    if (reach >= wanted)
      threshold = next;
  }
  int64_t equal = wanted;
  for (int64_t i = 0; i < count; ++i)
    equal -= weights[i] > threshold;
  for (int64_t i = 0; i < count; ++i)
    if (weights[i] > threshold || (weights[i] == threshold && equal-- > 0))
      *places++ = static_cast<int32_t>(i);
}

/// Lists of what each head keeps: generator.kept.
static bool choose(FerriteGenerator &generator, const Stream &stream) {
  const Eviction &eviction = generator.eviction;
  int64_t heads = generator.target.keyHeads, kept = eviction.kept();
  int64_t length = ferriteSequenceLength(stream.sequence);
  int64_t before = length - eviction.window;
  if (!generator.kept.reserve(static_cast<size_t>(heads * kept)) ||
      !generator.pooled.reserve(static_cast<size_t>(before)))
    return false;
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t *weights = stream.weights.data() + head * stream.weightStride;
    int32_t *to = generator.kept.data() + head * kept;
    if (eviction.kind == Eviction::SnapKV) {
      pool(weights, before, generator.pooled.data());
      weights = generator.pooled.data();
    }
    pickHighest(weights, before, eviction.budget, to);
    for (int64_t i = 0; i < eviction.window; ++i)
      to[eviction.budget + i] = static_cast<int32_t>(before + i);
  }
  return true;
}

/// What is left got what it got; what comes in place of the others nothing yet.
static void keepWeights(FerriteGenerator &generator, Stream &stream) {
  int64_t kept = generator.eviction.kept();
  for (int64_t head = 0; head < generator.target.keyHeads; ++head) {
    int64_t *weights = stream.weights.data() + head * stream.weightStride;
    const int32_t *places = generator.kept.data() + head * kept;
    for (int64_t i = 0; i < kept; ++i)
      weights[i] = weights[places[i]];
    for (int64_t i = kept; i < stream.weightStride; ++i)
      weights[i] = 0;
  }
}

static bool isTime(const FerriteGenerator &generator, const Stream &stream) {
  const Eviction &eviction = generator.eviction;
  int64_t length = ferriteSequenceLength(stream.sequence);
  int64_t prompt = stream.request->promptTokens();
  if (stream.computed() <= prompt)
    return stream.computed() == prompt && length > eviction.kept();
  return eviction.kind == Eviction::H2O && length == eviction.kept() + kEvery;
}

bool ferrite::gen::evictAfterCall(FerriteGenerator &generator, Stream &stream) {
  const Eviction &eviction = generator.eviction;
  if (stream.weighed < 0)
    return true;
  FerriteError error;
  if (!beginWeights(generator, stream)) {
    noMemory(&error);
    failRequest(generator, *stream.request, error);
    return false;
  }
  addWeights(generator, stream);
  stream.weighed = -1;
  if (!isTime(generator, stream))
    return true;
  int64_t length = ferriteSequenceLength(stream.sequence);
  FerriteStatus status = FERRITE_OK;
  if (!choose(generator, stream))
    status = noMemory(&error);
  else
    status = keepTokens(generator, stream, generator.kept.data(),
                        eviction.kept(), &error);
  if (status == FERRITE_OUT_OF_PAGES) {
    preempt(generator, stream); // it goes on when others gave pages back
    return false;
  }
  if (status) {
    failRequest(generator, *stream.request, error);
    return false;
  }
  stream.removed += length - eviction.kept();
  ++generator.stats.evictions;
  generator.stats.evicted_tokens += length - eviction.kept();
  if (eviction.kind == Eviction::H2O)
    keepWeights(generator, stream);
  else
    stream.weights.release();
  return true;
}
