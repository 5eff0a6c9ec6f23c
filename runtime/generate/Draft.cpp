//===- Draft.cpp - Guesses ------------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A guess costs one more token in a step that is bound by memory, and is right
// or dropped: Accept.cpp chooses each token as it would without guesses, and
// goes on for as long as the guesses are what was chosen.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

#include <math.h>

using namespace ferrite::gen;

int32_t ferrite::gen::lookUp(const List<int64_t> &tokens, int64_t *drafts,
                             int32_t most) {
  // Three words that occurred before are rarely followed by something else; one
  // often is, but is better than no guess.
  for (size_t words = 3; words > 0; --words) {
    if (tokens.size() < words + 1)
      continue;
    const int64_t *last = tokens.end() - words;
    for (const int64_t *at = last - 1; at >= tokens.begin(); --at) {
      if (memcmp(at, last, words * sizeof(int64_t)) != 0)
        continue;
      int32_t count = 0;
      for (const int64_t *next = at + words;
           next < tokens.end() && count < most; ++next)
        drafts[count++] = *next;
      return count;
    }
  }
  return 0;
}

void ferrite::gen::treeBits(const Stream &stream, int64_t *bits) {
  auto upTo = [](int32_t token) { return (UINT64_C(2) << token) - 1; };
  for (int32_t i = 0; i <= stream.draftCount; ++i)
    bits[i] = static_cast<int64_t>(upTo(i));
  for (int32_t leaf = 0; leaf < stream.leafCount; ++leaf) {
    int32_t own = 1 + stream.draftCount + leaf;
    bits[own] = static_cast<int64_t>(upTo(stream.leafPlaces[leaf]) |
                                     UINT64_C(1) << own);
  }
}

void ferrite::gen::settleDrafts(Stream &stream, int32_t accepted,
                                int64_t right) {
  if (right > stream.length() - 1)
    right = stream.length() - 1;
  if (stream.draftSequence &&
      ferriteSequenceLength(stream.draftSequence) > right)
    (void)ferriteSequenceTruncate(stream.draftSequence, right, nullptr);
  stream.leafCount = 0;
  if (stream.draftCount == 0)
    return;
  // Longer guesses while they come true, shorter ones when they do not.
  if (accepted == stream.draftCount)
    stream.draftLength = stream.draftCount + 2;
  else if (stream.draftLength > accepted + 1)
    --stream.draftLength;
  if (stream.draftLength > maxDrafts)
    stream.draftLength = maxDrafts;
  stream.draftCount = 0;
}

namespace {
/// Guesses lie behind the text in stream.tokens until they are done.
class Drafting {
public:
  explicit Drafting(FerriteGenerator &generator) : generator(generator) {}

  FerriteStatus run(FerriteError *error) {
    FerriteStatus status = FERRITE_OK;
    while (!status && plan()) {
      status = generator.draft.run(error);
      for (Stream *stream : generator.planned)
        if (!status && stream->row != none)
          guess(*stream);
    }
    return status;
  }

private:
  static constexpr size_t none = SIZE_MAX;

  static bool wants(const Stream &stream) {
    return stream.request->options.speculation == FERRITE_SPECULATE_DRAFT &&
           stream.draftCount > 0;
  }
  /// Guesses so far: the planned tokens are those of the text and draftCount.
  static int64_t made(const Stream &stream) {
    return stream.length() - (stream.computed() - stream.draftCount);
  }
  void enough(Stream &stream) {
    int32_t guesses = static_cast<int32_t>(made(stream));
    int32_t missing = stream.draftCount - guesses;
    stream.forget(stream.computed() - missing);
    stream.planned -= missing;
    stream.draftCount = guesses;
    while (stream.leafCount &&
           stream.leafPlaces[stream.leafCount - 1] >= guesses)
      --stream.leafCount;
  }

  /// Describes the next call of the draft model; false: nothing is left to do.
  bool plan() {
    Stepper &draft = generator.draft;
    draft.begin();
    int64_t budget = draft.stepTokens, runs = draft.runLimit;
    for (Stream *stream : generator.planned) {
      stream->row = none;
      if (!wants(*stream) || made(*stream) == stream->draftCount ||
          budget == 0 || runs == 0)
        continue;
      if (!stream->draftSequence &&
          ferriteSequenceCreate(draft.cache, &stream->draftSequence, nullptr)) {
        enough(*stream);
        continue;
      }
      int64_t seen = ferriteSequenceLength(stream->draftSequence);
      int64_t count = stream->length() - seen;
      bool whole = count <= budget;
      if (!whole)
        count = budget;
      if (ferriteSequenceAppend(stream->draftSequence, count, nullptr,
                                nullptr)) {
        enough(*stream); // no pages, or longer than the draft model reads
        continue;
      }
      size_t row = draft.add(stream->draftSequence, nullptr,
                             stream->tokens.data() + seen, count, whole);
      if (whole)
        stream->row = row;
      budget -= count;
      --runs;
    }
    return draft.hasRuns();
  }

  void guess(Stream &stream) {
    const FerriteRequest &request = *stream.request;
    const float *row = generator.draft.row(stream.row);
    auto bytes =
        static_cast<size_t>(generator.target.vocabulary) * sizeof(float);
    memcpy(generator.scratch.data(), row, bytes);
    Text text = {stream.tokens.data(), stream.tokens.size(),
                 request.options.prompt_tokens};
    adjust(*generator.sampler, request.sampling, generator.scratch.data(),
           text);
    // The number that will choose the token itself.
    int64_t token = choose(
        *generator.sampler, request.sampling, generator.scratch.data(),
        static_cast<uint32_t>(stream.sample), text.count - text.promptCount);
    if (token < 0)
      return enough(stream);
    auto place = static_cast<uint8_t>(made(stream));
    if (!stream.tokens.add(token))
      return enough(stream);
    addLeaves(stream, place, token);
  }

  /// Other tokens for the same place, where the draft model is in doubt.
  void addLeaves(Stream &stream, uint8_t place, int64_t token) {
    // In natural logarithms: a token of a twentieth of the best one's
    // probability is right too rarely for what it costs.
    const float leastLogit = -3;
    float *logits = generator.scratch.data();
    auto count = generator.target.vocabulary;
    int64_t best = argmax(logits, count);
    float least = best < 0 ? INFINITY : logits[best] + leastLogit;
    for (int32_t i = 1; i < generator.options.draft_width; ++i) {
      logits[token] = -INFINITY;
      token = argmax(logits, count);
      if (token < 0 || logits[token] < least ||
          stream.draftCount + stream.leafCount >= maxDrafts)
        return;
      stream.leafPlaces[stream.leafCount] = place;
      stream.leaves[stream.leafCount++] = token;
    }
  }

  FerriteGenerator &generator;
};

/// Makes room for the leaves of a stream, or does without some.
void planLeaves(FerriteGenerator &generator, Stream &stream, int64_t &budget) {
  // Results are those of plain decoding where the run lies in one of the
  // blocks in which attention adds up, or of those that it selects parts of.
  const int64_t block = generator.target.selects ? FERRITE_PAGE_TOKENS : 512;
  int64_t context = stream.computed() - stream.planned - stream.removed;
  auto fits = [&] {
    int64_t end = context + stream.planned + stream.leafCount;
    FerriteCacheUsage usage;
    ferriteCacheUsage(generator.target.cache, &usage);
    return stream.leafCount <= budget &&
           stream.planned == 1 + stream.draftCount &&
           context / block == (end - 1) / block &&
           end - context <= generator.target.mostAlike &&
           end <= ferriteCacheMaxTokens(generator.target.cache) &&
           ferriteSequencePagesFor(stream.sequence, stream.leafCount) <=
               usage.pages - usage.used_pages;
  };
  while (stream.leafCount && !fits())
    --stream.leafCount;
  if (stream.leafCount &&
      ferriteSequenceAppend(stream.sequence, stream.leafCount, nullptr,
                            nullptr))
    stream.leafCount = 0;
  stream.planned += stream.leafCount;
  budget -= stream.leafCount;
}
} // namespace

FerriteStatus ferrite::gen::draftTokens(FerriteGenerator &generator,
                                        FerriteError *error) {
  FerriteStatus status = Drafting(generator).run(error);
  int64_t budget = generator.target.stepTokens;
  for (const Stream *stream : generator.planned)
    budget -= stream->planned;
  for (Stream *stream : generator.planned) {
    if (stream->request->options.speculation != FERRITE_SPECULATE_DRAFT ||
        stream->draftCount == 0)
      continue;
    // Guesses become those of the stream, its tokens the text again.
    int64_t text = stream->computed() - stream->draftCount;
    int64_t guesses = stream->length() - text;
    if (guesses <= 0)
      continue;
    memcpy(stream->drafts, stream->tokens.data() + text,
           static_cast<size_t>(guesses) * sizeof(int64_t));
    stream->tokens.shrink(static_cast<size_t>(text));
    if (status)
      stream->leafCount = 0;
    planLeaves(generator, *stream, budget);
    if (stream->leafCount)
      memcpy(stream->drafts + stream->draftCount, stream->leaves,
             static_cast<size_t>(stream->leafCount) * sizeof(int64_t));
  }
  return status;
}
