//===- Generator.h - Requests, and the texts they become --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A request becomes one stream, or after its prompt several: samples or beams.
// A stream is its tokens, and a sequence of the cache that has seen some of
// them. What a stream needs can always be made again from its tokens, so a
// sequence can be taken away from it at any moment.
//
// A step has four parts, each in a file of its own: Schedule.cpp decides which
// streams go on with how many tokens, Draft.cpp guesses some, the model
// computes, and Accept.cpp (Beam.cpp) makes tokens of its logits.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_GENERATE_GENERATOR_H
#define FERRITE_RUNTIME_GENERATE_GENERATOR_H

#include "generate/Sampler.h"
#include "generate/Stepper.h"

#include <atomic>
#include <pthread.h>

namespace ferrite::gen {

constexpr int32_t maxDrafts = 63;

struct Stream {
  FerriteRequest *request = nullptr;
  int32_t sample = 0;
  FerriteFinish finish = FERRITE_FINISH_NONE;
  List<int64_t> tokens; ///< of prompt and text
  FerriteSequence *sequence = nullptr;
  /// Tokens that the sequence has no more.
  int64_t removed = 0;
  /// What the keys of each head got so far, `weightStride` for each, where what
  /// is evicted depends on it.
  List<int64_t> weights;
  int64_t weightStride = 0;
  int32_t weighed = -1; ///< which of those that this call weighs
  double score = 0;     ///< of a beam: the sum of its logprobs

  // Guesses behind the last token, in this step: a chain, and behind it leaves,
  // each another token for a place of the chain.
  int64_t drafts[maxDrafts];
  int32_t draftCount = 0; ///< of the chain
  int32_t leafCount = 0;
  int64_t leaves[maxDrafts];     ///< while the chain grows
  uint8_t leafPlaces[maxDrafts]; ///< leaf i may come in place of drafts[this]
  int32_t draftLength = 4;       ///< how many to guess: as many as proved right
  FerriteSequence *draftSequence = nullptr;

  // Of this step.
  int64_t planned = 0; ///< tokens that the model computes
  size_t row = 0;      ///< its first logits

  int32_t guesses() const { return draftCount + leafCount; }
  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  /// Tokens that the model has seen.
  int64_t computed() const {
    return sequence ? removed + ferriteSequenceLength(sequence) : 0;
  }
  /// What the model has seen of tokens from the `first` on is forgotten.
  void forget(int64_t first) {
    (void)ferriteSequenceTruncate(sequence, first - removed, nullptr);
  }
};

/// What is evicted of texts by what keys got (Evict.cpp).
struct Eviction {
  enum Kind : int32_t { None, SnapKV, H2O };
  Kind kind = None;
  int64_t budget = 0; ///< tokens that are kept for what they got
  int64_t window = 0; ///< and of the last ones
  int64_t kept() const { return budget + window; }
};

/// A beam and a token that may follow it.
struct Continuation {
  double score;
  size_t beam;
  int64_t token;
};

/// A finished beam.
struct Hypothesis {
  Stream *stream;
  double score;
};

} // namespace ferrite::gen

struct FerriteRequest {
  FerriteGenerator *generator = nullptr; ///< null: finished
  FerriteRequest *next = nullptr;        ///< of those not yet seen by a step
  std::atomic<int32_t> cancelled{0};
  /// Written by the thread of the generator, read by any.
  std::atomic<int32_t> finish{FERRITE_FINISH_NONE};
  std::atomic<int32_t> references{2}; ///< the caller's and the generator's

  FerriteRequestOptions options = {};
  FerriteSampling sampling = {};
  ferrite::gen::List<int64_t> biasTokens, stopTokens;
  ferrite::gen::List<float> biasValues;
  ferrite::gen::List<char> stopText; ///< strings, one behind the other
  ferrite::gen::List<size_t> stopEnds;
  ferrite::gen::List<char> text; ///< scratch of the search for them
  ferrite::gen::List<FerriteLogprob> logprobs;
  ferrite::gen::Source source;        ///< what the encoder reads
  FerriteSequence *encoded = nullptr; ///< and its keys and values, once there
  int64_t sourcePages = INT64_MAX; ///< in use when there was no room for them
  ferrite::gen::List<ferrite::gen::Stream *> streams;
  ferrite::gen::List<ferrite::gen::Stream *> spare; ///< streams to be
  ferrite::gen::List<ferrite::gen::Hypothesis> hypotheses;
  int32_t samples = 1;
  bool forked = false; ///< the prompt is computed and the streams are made
  FerriteError error = {};

  int64_t promptTokens() const {
    return static_cast<int64_t>(options.prompt_tokens);
  }
  bool isBeams() const { return options.beams > 1; }
};

struct FerriteGenerator {
  FerriteGeneratorOptions options = {};
  FerriteModel *model = nullptr;
  ferrite::gen::Stepper target, draft;
  /// Pages that texts keep; windowPages 0: all.
  int64_t sinkPages = 0, windowPages = 0;
  ferrite::gen::Eviction eviction;
  ferrite::gen::List<int32_t> kept; ///< of all heads, scratch of Evict.cpp
  ferrite::gen::List<int64_t> pooled;
  FerriteSampler *sampler = nullptr;
  ferrite::gen::List<float> scratch; ///< logits that sampling may change

  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  FerriteRequest *incoming = nullptr; ///< newest first; under the mutex

  /// In order of arrival: the first are served first and preempted last.
  ferrite::gen::List<FerriteRequest *> requests;
  ferrite::gen::List<ferrite::gen::Stream *> planned;
  /// Of the search with beams at work.
  ferrite::gen::List<ferrite::gen::Continuation> ranked, chosen;
  ferrite::gen::List<ferrite::gen::Stream *> next;
  FerriteGeneratorStats stats = {};
};

namespace ferrite::gen {

//===--- Request.cpp ------------------------------------------------------===//
/// A stream of the request with room for all tokens it can have; null: out of
/// memory.
Stream *makeStream(FerriteGenerator &generator, FerriteRequest &request);
/// Gives its pages back.
void stopStream(FerriteGenerator &generator, Stream &stream);
void dropStream(FerriteGenerator &generator, Stream *stream);
/// Tokens of the text that there may be.
int64_t textLimit(const FerriteGenerator &generator,
                  const FerriteRequest &request);
/// Ends all that is left of a request.
void endRequest(FerriteGenerator &generator, FerriteRequest &request,
                FerriteFinish finish);
void failRequest(FerriteGenerator &generator, FerriteRequest &request,
                 const FerriteError &error);
/// Ends one sample; the request with the last one.
void endStream(FerriteGenerator &generator, Stream &stream,
               FerriteFinish finish);
void dropReference(FerriteRequest *request);

//===--- Schedule.cpp -----------------------------------------------------===//
/// Chooses streams and makes room for their tokens: generator.planned.
void plan(FerriteGenerator &generator);
void preempt(FerriteGenerator &generator, Stream &stream);
/// ferriteSequenceKeep, at the cost of younger streams if need be.
FerriteStatus keepTokens(FerriteGenerator &generator, Stream &stream,
                         const int32_t *kept, int64_t count,
                         FerriteError *error);
/// Orders generator.planned: single tokens first, those whose sequences begin
/// with the same pages beside each other, where attention reads them once.
void orderByPages(FerriteGenerator &generator);
/// The most tokens that the stream may go on with at once: all of them see the
/// same pages.
int64_t mostAtOnce(const FerriteGenerator &generator, const Stream &stream);

//===--- Evict.cpp
//---------------------------------------------------------===//
/// Reads options.kv_evict; what it says of windows becomes those of options.
FerriteStatus readEviction(FerriteGeneratorOptions &options, Eviction &eviction,
                           FerriteError *error);
/// Whether the model can do what was asked for.
FerriteStatus checkEviction(const FerriteGenerator &generator,
                            FerriteError *error);
/// The most tokens that a stream may go on with before some are evicted.
int64_t mostBeforeEviction(const FerriteGenerator &generator,
                           const Stream &stream);
/// The first token of the text that must be computed for itself, as what keys
/// got of it counts.
int64_t firstWeighed(const FerriteGenerator &generator, const Stream &stream);
/// How many of the last planned tokens count in this call.
int64_t tokensToWeigh(const FerriteGenerator &generator, const Stream &stream);
/// After a call: adds up what keys got, and evicts when it is time. False: it
/// failed or gave its pages back, and has nothing to go on with.
bool evictAfterCall(FerriteGenerator &generator, Stream &stream);

//===--- Draft.cpp --------------------------------------------------------===//
/// What followed the last words when they occurred before.
int32_t lookUp(const List<int64_t> &tokens, int64_t *drafts, int32_t most);
/// Guesses for all streams that want some of the draft model.
FerriteStatus draftTokens(FerriteGenerator &generator, FerriteError *error);
/// What each token of a run with leaves sees of it: a bit for each.
void treeBits(const Stream &stream, int64_t *bits);
/// After a step: what the draft model has seen and did not come to be, which is
/// all but the first `right` tokens of the text.
void settleDrafts(Stream &stream, int32_t accepted, int64_t right);

//===--- Accept.cpp -------------------------------------------------------===//
/// Makes tokens of the logits of all planned streams of one request.
void accept(FerriteGenerator &generator, FerriteRequest &request);
/// Logits of row `row` that may be changed, bias, penalties and mask applied.
float *adjusted(FerriteGenerator &generator, Stream &stream, size_t row);

//===--- Beam.cpp ---------------------------------------------------------===//
void acceptBeams(FerriteGenerator &generator, FerriteRequest &request);

//===--- Stop.cpp ---------------------------------------------------------===//
/// The last token ends the text.
bool isStop(FerriteRequest &request, const Stream &stream);

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_GENERATOR_H
