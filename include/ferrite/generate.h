//===- generate.h - Tokens out of decoders ----------------------*- C -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The C API of libferrite_generate: sampling, batching of many requests,
// and speculation, over models with a step entry (abi.h). It knows token ids
// alone; text is its caller's.
//
//   FerriteGeneratorOptions options = {sizeof options};
//   ferriteGeneratorCreate(model, &options, &generator, &error);
//   FerriteRequestOptions wanted = {sizeof wanted};
//   wanted.prompt = ids; wanted.prompt_tokens = 5; wanted.max_tokens = 100;
//   wanted.on_token = print;
//   ferriteGeneratorSubmit(generator, &wanted, &request, &error);
//   ferriteGeneratorRun(generator, &error); // print() gets each token
//   ferriteRequestRelease(request);
//   ferriteGeneratorDestroy(generator);
//
// A generator serves one thread at a time, but for ferriteGeneratorSubmit and
// ferriteRequestCancel, which any thread may call at any time. Callbacks come
// from the thread that runs the generator; of its functions they may call these
// two. The other rules of runtime.h hold.
//
// What a request gets depends on its own prompt and options alone: not on other
// requests, on how its prompt was cut, on preemption, or on speculation.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_GENERATE_H
#define FERRITE_GENERATE_H

#include "ferrite/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

//===- Sampling -----------------------------------------------------------===//
/// How a token is chosen from the logits. Zero-initialise and set `size`: that
/// is greedy. In this order: bias, penalties, mask_logits of the request,
/// temperature, top_k, top_p, min_p.
typedef struct FerriteSampling {
  size_t size;       /* sizeof(FerriteSampling) */
  float temperature; /* 0: the most likely token, always */
  int32_t top_k;     /* of the k most likely; 0: of all */
  float top_p;       /* of the fewest that have this share; 0 or 1: all */
  float min_p;       /* of those that have this share of the best's */
  float repetition_penalty; /* of tokens of prompt and text: positive logits are
                               divided by it, others multiplied; 0 or 1: none */
  float presence_penalty;   /* taken from logits of tokens of the text */
  float frequency_penalty;  /* the same for each time they occur there */
  int32_t reserved;
  uint64_t seed;              /* the same seed, the same text */
  const int64_t *bias_tokens; /* bias_values[i] is added to their logits */
  const float *bias_values;
  size_t bias_count;
} FerriteSampling;

/// A token and the logarithm of its probability, by the model's own logits:
/// before bias, penalties, mask and temperature.
typedef struct FerriteLogprob {
  int64_t token;
  float logprob;
} FerriteLogprob;

/// The memory that sampling needs, for one thread.
typedef struct FerriteSampler FerriteSampler;

FERRITE_API FerriteStatus ferriteSamplerCreate(int64_t vocabulary,
                                               FerriteSampler **sampler,
                                               FerriteError *error);
FERRITE_API void ferriteSamplerDestroy(FerriteSampler *sampler);

/// Chooses a token from `logits` (changed in place) for the text `tokens`, of
/// which the first `prompt_tokens` are its prompt. `stream` tells samples of
/// one seed apart. The choice depends on these alone. FERRITE_INVALID_ARGUMENT:
/// an option is out of range, or no logit is a number above -infinity.
FERRITE_API FerriteStatus ferriteSamplerChoose(
    FerriteSampler *sampler, const FerriteSampling *sampling, float *logits,
    const int64_t *tokens, size_t token_count, size_t prompt_tokens,
    uint32_t stream, int64_t *token, FerriteError *error);

//===- Generators ---------------------------------------------------------===//
typedef struct FerriteGenerator FerriteGenerator;
typedef struct FerriteRequest FerriteRequest;

/// Zero-initialise and set `size`; every other field has a default of zero.
typedef struct FerriteGeneratorOptions {
  size_t size;          /* sizeof(FerriteGeneratorOptions) */
  const char *entry;    /* NULL: the model's first step entry */
  int32_t threads;      /* 0: ferriteDefaultThreads() */
  int32_t step_tokens;  /* the most tokens of one call, so how long a token of
                           one request waits for the prompt of another; 0: 512 */
  int32_t streams;      /* the most texts in work at once; others wait; 0: 64 */
  int32_t draft_tokens; /* the most tokens to guess ahead; 0: 8, at most 63 */
  int64_t max_tokens;   /* of prompt and text; 0: as many as fit the cache, or
                           as the model has positions */
  int64_t cache_pages;  /* of 64 tokens; 0: enough for `streams` texts of
                           max_tokens, within half of the machine's memory
                           and a quarter of the address space that is left
                           (ulimit -v) */
  FerriteModel *draft;  /* a smaller model of the same tokens that guesses, for
                           FERRITE_SPECULATE_DRAFT; or NULL */
  const char *draft_entry; /* its step entry; NULL: the first. Without a draft:
                              an entry of the model itself that guesses, one of
                              a smaller model in it or that leaves layers out */
  int32_t no_sharing;  /* nonzero: equal beginnings of requests are computed for
                          each */
  int32_t draft_width; /* the most guesses of the draft model for one place, a
                          tree; 0: 2, at most 8; 1: a chain */
  /// Not 0: texts of any length in a fixed number of pages, for models without
  /// windows of their own. A token sees the first `sink_tokens` and the last
  /// `window_tokens`, both in whole pages of 64: of a token in page p the pages
  /// from p - window on, and the sinks. All keep the positions that they had.
  int64_t window_tokens;
  int64_t sink_tokens;
  FerriteModel *const *encoders; /* of an encoder-decoder: models that run, in
                                    order, before the model's own entry
                                    FERRITE_ENTRY_ENCODE; none where that does
                                    all. The outputs of one are inputs of the
                                    next: by name, or as hidden states */
  size_t encoder_count;
  /// "cuda:N": calls run on that GPU, which holds the cache too: by default
  /// three quarters of what it has left. The draft and encoders do likewise.
  /// NULL or "cpu": here.
  const char *device;
  /// Which keys texts give back, whole pages of memory with them; NULL: none.
  /// In tokens:
  ///   "streaming:SINKS+WINDOW"  window_tokens and sink_tokens, as above
  ///   "snapkv:BUDGET[+WINDOW]"  once a prompt is read: of the tokens before
  ///   its
  ///     last WINDOW (32) each head of each layer keeps the BUDGET that those
  ///     attended to most, neighbours included (SnapKV)
  ///   "h2o:BUDGET+RECENT"  the last RECENT, and of those before the BUDGET
  ///   that
  ///     all tokens since attended to most (H2O); when the prompt is read, and
  ///     then whenever a text has 64 more. Without beams and speculation.
  /// The last two need a step that tells (compiler.h, sparsify=weigh) and
  /// layers without windows. All tokens keep the positions that they had.
  const char *kv_evict;
} FerriteGeneratorOptions;

/// FERRITE_NOT_FOUND: the model has no step entry. FERRITE_INCOMPATIBLE: it has
/// one that takes or gives something else than tokens and logits, or the draft
/// has another vocabulary.
FERRITE_API FerriteStatus ferriteGeneratorCreate(
    FerriteModel *model, const FerriteGeneratorOptions *options,
    FerriteGenerator **generator, FerriteError *error);

/// Cancels what is left and frees the generator. Requests that were not
/// released stay readable until they are. NULL: nothing.
FERRITE_API void ferriteGeneratorDestroy(FerriteGenerator *generator);

FERRITE_API int64_t
ferriteGeneratorVocabulary(const FerriteGenerator *generator);
FERRITE_API int64_t
ferriteGeneratorMaxTokens(const FerriteGenerator *generator);

/// One call of the model: tokens of as many requests as fit, prompts in chunks.
/// `*left` (may be NULL) becomes the number of requests that are not finished.
/// A request that fails is finished with its status; this function fails when
/// the generator itself cannot go on: every request is then as it was.
FERRITE_API FerriteStatus ferriteGeneratorStep(FerriteGenerator *generator,
                                               size_t *left,
                                               FerriteError *error);

/// Steps until no request is left.
FERRITE_API FerriteStatus ferriteGeneratorRun(FerriteGenerator *generator,
                                              FerriteError *error);

typedef struct FerriteGeneratorStats {
  int64_t steps;           /* calls of the model */
  int64_t prompt_tokens;   /* computed for prompts, again after preemption */
  int64_t shared_tokens;   /* of prompts that another request had computed */
  int64_t text_tokens;     /* given out */
  int64_t drafted_tokens;  /* places guessed */
  int64_t accepted_tokens; /* guessed right */
  int64_t preemptions;     /* texts that gave their pages back to go on later */
  double model_seconds;    /* in the model */
  double draft_seconds;    /* in the draft model and in guessing */
  int64_t encoder_runs;    /* sources computed; equal ones are shared */
  double encoder_seconds;
  int64_t evictions;      /* times that texts gave keys back */
  int64_t evicted_tokens; /* in them, of each head */
  /* For each call that a text behind its prompt was in: its tokens, and those
     of them that were in pages. */
  int64_t seen_tokens, kept_tokens;
} FerriteGeneratorStats;

FERRITE_API void ferriteGeneratorStats(const FerriteGenerator *generator,
                                       FerriteGeneratorStats *stats);
FERRITE_API void ferriteGeneratorCacheUsage(const FerriteGenerator *generator,
                                            FerriteCacheUsage *usage);

/// The same of the cache of sources; all 0 where the model reads none.
FERRITE_API void ferriteGeneratorSourceUsage(const FerriteGenerator *generator,
                                             FerriteCacheUsage *usage);
/// Whether requests need a source: the model is an encoder-decoder.
FERRITE_API int32_t
ferriteGeneratorTakesSource(const FerriteGenerator *generator);

//===- Requests -----------------------------------------------------------===//
typedef enum FerriteFinish {
  FERRITE_FINISH_NONE = 0,      /* not finished */
  FERRITE_FINISH_STOP = 1,      /* a stop token or string */
  FERRITE_FINISH_LENGTH = 2,    /* max_tokens */
  FERRITE_FINISH_CANCELLED = 3, /* ferriteRequestCancel, or by a callback */
  FERRITE_FINISH_FAILED = 4     /* ferriteRequestError says why */
} FerriteFinish;

typedef struct FerriteTokenEvent {
  FerriteRequest *request;
  int32_t sample;
  int32_t finish; /* FerriteFinish: not NONE with the last event of a sample */
  int64_t token;  /* -1: the sample ended without one */
  int64_t index;  /* of the text, from 0 */
  float logprob;  /* where logprobs were asked for, else 0 */
  int32_t logprob_count;
  const FerriteLogprob *logprobs; /* the most likely, best first */
} FerriteTokenEvent;

/// Each token of each sample. Nonzero cancels the request.
typedef int32_t (*FerriteOnToken)(void *data, const FerriteTokenEvent *event);

/// May set logits of tokens that must not follow to -INFINITY.
typedef void (*FerriteMaskLogits)(void *data, FerriteRequest *request,
                                  int32_t sample, const int64_t *tokens,
                                  size_t token_count, size_t prompt_tokens,
                                  float *logits, int64_t vocabulary);

/// Writes the text of `tokens` to `text`, at most `capacity` bytes without a
/// terminator; returns how many.
typedef size_t (*FerriteDetokenize)(void *data, const int64_t *tokens,
                                    size_t token_count, char *text,
                                    size_t capacity);

typedef enum FerriteSpeculation {
  FERRITE_SPECULATE_NONE = 0,
  FERRITE_SPECULATE_LOOKUP = 1, /* what followed the same words before */
  FERRITE_SPECULATE_DRAFT = 2   /* the draft model */
} FerriteSpeculation;

/// Zero-initialise and set `size`. All that it points to is copied.
typedef struct FerriteRequestOptions {
  size_t size; /* sizeof(FerriteRequestOptions) */
  const int64_t *prompt;
  size_t prompt_tokens;            /* at least 1 */
  int64_t max_tokens;              /* of the text; 0: as many as there can be */
  const FerriteSampling *sampling; /* NULL: greedy */
  const int64_t *stop_tokens;      /* a text ends with one of them */
  size_t stop_token_count;
  const char *const *stop_strings; /* or with a token that completes one */
  size_t stop_string_count;
  FerriteDetokenize detokenize; /* needed by stop_strings */
  void *detokenize_data;
  FerriteOnToken on_token; /* or NULL: see ferriteRequestTokens */
  void *on_token_data;
  FerriteMaskLogits mask_logits;
  void *mask_logits_data;
  int32_t samples; /* texts of one prompt, computed once; 0: 1 */
  int32_t beams; /* > 1: the most likely texts by beam search; `samples` of them
                    are given out, when all are known. Not with a temperature */
  float length_penalty;   /* of beams: scores are divided by length to this */
  int32_t early_stopping; /* of beams: end with as many texts as beams */
  int32_t logprobs;       /* > 0: report as many of the most likely tokens */
  int32_t speculation;    /* FerriteSpeculation. Not with beams */
  const FerriteTensor *source; /* of an encoder-decoder: inputs of its encoder,
                                  by name, for one sequence without padding.
                                  Masks are not needed: all is there */
  size_t source_count;
  uint64_t leave_out; /* bit i: its tokens leave out block i of the layers that
                         the entry lets each run choose (compiler.h,
                         step_entries), the first from the lowest layer on */
} FerriteRequestOptions;

/// FERRITE_INVALID_ARGUMENT: an option, a token or the length is out of range.
FERRITE_API FerriteStatus ferriteGeneratorSubmit(
    FerriteGenerator *generator, const FerriteRequestOptions *options,
    FerriteRequest **request, FerriteError *error);

/// From any thread and from signal handlers; the request is finished in the
/// next step. Its tokens so far stay.
FERRITE_API void ferriteRequestCancel(FerriteRequest *request);

/// FERRITE_FINISH_NONE while any of its samples is in work.
FERRITE_API FerriteFinish ferriteRequestFinish(const FerriteRequest *request);

/// How many samples it has, once the prompt was computed.
FERRITE_API int32_t ferriteRequestSamples(const FerriteRequest *request);

/// The tokens of a sample so far, without the prompt; NULL where there is no
/// such sample. Valid until the next step.
FERRITE_API const int64_t *ferriteRequestTokens(const FerriteRequest *request,
                                                int32_t sample, size_t *count);
FERRITE_API FerriteFinish
ferriteRequestSampleFinish(const FerriteRequest *request, int32_t sample);

/// The score of a beam: the sum of its logprobs by its length to
/// length_penalty.
FERRITE_API double ferriteRequestScore(const FerriteRequest *request,
                                       int32_t sample);

/// Why it failed; FERRITE_OK when it did not. `error` may be NULL.
FERRITE_API FerriteStatus ferriteRequestError(const FerriteRequest *request,
                                              FerriteError *error);

/// Gives the request back; one in work is cancelled first. NULL: nothing.
FERRITE_API void ferriteRequestRelease(FerriteRequest *request);

#ifdef __cplusplus
} // extern "C"
#endif
#endif // FERRITE_GENERATE_H
