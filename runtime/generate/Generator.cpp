//===- Generator.cpp - Making generators, and their steps -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

using namespace ferrite::gen;

static FerriteStatus readOptions(const FerriteGeneratorOptions *given,
                                 FerriteGeneratorOptions &o,
                                 FerriteError *error) {
  if (given) {
    if (given->size < sizeof(size_t))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "FerriteGeneratorOptions::size is not set");
    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  }
  // 65536: streams and runs are looked through in each step.
  if (o.step_tokens < 0 || o.streams < 0 || o.streams > 65536 ||
      o.draft_tokens < 0 || o.draft_tokens > maxDrafts || o.max_tokens < 0 ||
      o.window_tokens < 0 || o.sink_tokens < 0 ||
      (o.sink_tokens && !o.window_tokens) || o.cache_pages < 0 ||
      o.draft_width < 0 || o.draft_width > 8)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "step_tokens %d, streams %d, draft_tokens %d, draft_width %d, "
                "max_tokens %lld, cache_pages %lld, window_tokens %lld or "
                "sink_tokens %lld is out of range",
                o.step_tokens, o.streams, o.draft_tokens, o.draft_width,
                ll(o.max_tokens), ll(o.cache_pages), ll(o.window_tokens),
                ll(o.sink_tokens));
  // A text has 2^40 tokens at most, and no sum of these overflows.
  const int64_t most = INT64_C(1) << 40;
  if (o.window_tokens > most || o.sink_tokens > most)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a window of %lld tokens behind %lld is longer than any text",
                ll(o.window_tokens), ll(o.sink_tokens));
  if (o.step_tokens == 0)
    o.step_tokens = 512;
  if (o.streams == 0)
    o.streams = 64;
  if (o.draft_tokens == 0)
    o.draft_tokens = 8;
  if (o.draft_width == 0)
    o.draft_width = 2;
  return FERRITE_OK;
}

static FerriteStatus openDraft(FerriteGenerator &generator,
                               StepperOptions options, FerriteError *error) {
  options.entry = generator.options.draft_entry;
  options.pages = 0;
  options.encoders = nullptr;
  options.encoderCount = 0;
  options.maxTokens = ferriteCacheMaxTokens(generator.target.cache);
  options.kept = 0;
  if (FerriteStatus status =
          generator.draft.open(generator.options.draft, options, error))
    return status;
  if (generator.draft.vocabulary == generator.target.vocabulary)
    return FERRITE_OK;
  return fail(error, FERRITE_INCOMPATIBLE,
              "the draft model has %lld tokens, the model %lld",
              ll(generator.draft.vocabulary), ll(generator.target.vocabulary));
}

/// Tokens are removed where every layer sees everything: a window of the model
/// counts them.
static FerriteStatus refuseWindows(const FerriteGenerator &generator,
                                   FerriteError *error) {
  FerriteSequence *probe = nullptr;
  FerriteStatus status =
      ferriteSequenceCreate(generator.target.cache, &probe, error);
  if (status)
    return status;
  if (ferriteSequenceRemove(probe, 0, 0, nullptr))
    status = fail(error, FERRITE_INCOMPATIBLE,
                  "what is evicted of texts: the model has windows of its "
                  "own, which do it already");
  ferriteSequenceDestroy(probe);
  return status;
}

FerriteStatus ferriteGeneratorCreate(FerriteModel *model,
                                     const FerriteGeneratorOptions *given,
                                     FerriteGenerator **result,
                                     FerriteError *error) {
  if (!model || !result)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the model or generator pointer is NULL");
  *result = nullptr;
  FerriteGeneratorOptions options = {};
  if (FerriteStatus status = readOptions(given, options, error))
    return status;
  Eviction eviction;
  if (FerriteStatus status = readEviction(options, eviction, error))
    return status;
  void *memory = malloc(sizeof(FerriteGenerator));
  if (!memory)
    return noMemory(error);
  auto *generator = new (memory) FerriteGenerator;
  generator->options = options;
  generator->options.kv_evict = nullptr; // read
  generator->eviction = eviction;
  if (options.draft_entry && !options.draft)
    generator->options.draft = options.draft = model;
  generator->model = ferriteModelRetain(model);
  ferriteModelRetain(options.draft);
  StepperOptions target = {options.entry,
                           options.threads,
                           options.step_tokens,
                           options.streams,
                           options.max_tokens,
                           0,
                           options.cache_pages,
                           options.encoders,
                           options.encoder_count,
                           options.device,
                           eviction.kind == Eviction::H2O};
  const int64_t page = FERRITE_PAGE_TOKENS;
  generator->sinkPages = (options.sink_tokens + page - 1) / page;
  generator->windowPages = (options.window_tokens + page - 1) / page;
  if (generator->windowPages) // and the page that is written
    target.kept = (generator->sinkPages + generator->windowPages + 1) * page;
  FerriteStatus status = generator->target.open(model, target, error);
  if (!status && (generator->windowPages || eviction.kind != Eviction::None))
    status = refuseWindows(*generator, error);
  if (!status)
    status = checkEviction(*generator, error);
  if (!status && options.draft)
    status = openDraft(*generator, target, error);
  if (!status)
    status = ferriteSamplerCreate(generator->target.vocabulary,
                                  &generator->sampler, error);
  auto runs = static_cast<size_t>(options.streams);
  if (!status && (!generator->scratch.reserve(
                      static_cast<size_t>(generator->target.vocabulary)) ||
                  !generator->planned.reserve(runs)))
    status = noMemory(error);
  if (status)
    ferriteGeneratorDestroy(generator);
  else
    *result = generator;
  return status;
}

/// Moves what was submitted to the end of the list, in order of arrival.
static FerriteStatus takeIncoming(FerriteGenerator &generator,
                                  FerriteError *error) {
  pthread_mutex_lock(&generator.mutex);
  size_t count = 0;
  for (FerriteRequest *r = generator.incoming; r; r = r->next)
    ++count;
  size_t first = generator.requests.size();
  bool ok = generator.requests.reserve(first + count);
  for (size_t i = 0; ok && i < count; ++i)
    generator.requests.push(nullptr);
  for (size_t i = count; ok && i-- > 0;) {
    generator.requests[first + i] = generator.incoming;
    generator.incoming = generator.incoming->next;
  }
  pthread_mutex_unlock(&generator.mutex);
  return ok ? FERRITE_OK : noMemory(error);
}

/// Lets go of requests that are finished.
static void sweep(FerriteGenerator &generator) {
  for (size_t i = 0; i < generator.requests.size();) {
    FerriteRequest *request = generator.requests[i];
    if (ferriteRequestFinish(request) == FERRITE_FINISH_NONE) {
      ++i;
      continue;
    }
    for (Stream *stream : request->streams)
      stopStream(generator, *stream);
    for (Hypothesis &hypothesis : request->hypotheses)
      dropStream(generator, hypothesis.stream);
    request->hypotheses.shrink(0);
    ferriteSequenceDestroy(request->encoded);
    request->encoded = nullptr;
    generator.requests.remove(i);
    dropReference(request);
  }
}

void ferriteGeneratorDestroy(FerriteGenerator *generator) {
  if (!generator)
    return;
  FerriteModel *model = generator->model, *draft = generator->options.draft;
  while (generator->incoming || !generator->requests.empty()) {
    bool taken = takeIncoming(*generator, nullptr) == FERRITE_OK;
    for (FerriteRequest *request : generator->requests)
      endRequest(*generator, *request, FERRITE_FINISH_CANCELLED);
    sweep(*generator);
    if (!taken && generator->requests.empty())
      break; // no memory for a list of them: they are lost, not used after
  }
  ferriteSamplerDestroy(generator->sampler);
  pthread_mutex_destroy(&generator->mutex);
  generator->~FerriteGenerator();
  free(generator);
  ferriteModelRelease(model);
  ferriteModelRelease(draft);
}

int64_t ferriteGeneratorVocabulary(const FerriteGenerator *generator) {
  return generator->target.vocabulary;
}

int64_t ferriteGeneratorMaxTokens(const FerriteGenerator *generator) {
  return generator->target.maxTokens;
}

//===--- steps ------------------------------------------------------------===//

/// Calls the model for the planned streams of one request; null: of all.
static FerriteStatus compute(FerriteGenerator &generator,
                             const FerriteRequest *only, FerriteError *error) {
  Stepper &target = generator.target;
  target.begin();
  for (Stream *stream : generator.planned) {
    if (stream->planned == 0 || (only && stream->request != only))
      continue;
    int32_t guesses = stream->guesses();
    size_t text = stream->tokens.size();
    if (!stream->tokens.reserve(text + static_cast<size_t>(guesses)))
      return noMemory(error);
    for (int32_t i = 0; i < guesses; ++i)
      stream->tokens.push(stream->drafts[i]);
    int64_t context = stream->computed() - stream->planned;
    int64_t last = stream->computed() - guesses;
    bool whole = last == static_cast<int64_t>(text);
    int64_t bits[maxDrafts + 1];
    if (stream->leafCount)
      treeBits(*stream, bits);
    stream->row =
        target.add(stream->sequence, stream->request->encoded,
                   stream->tokens.data() + context, stream->planned,
                   whole ? guesses + 1 : 0, stream->leafCount ? bits : nullptr,
                   stream->removed, stream->request->options.leave_out);
    stream->weighed = -1;
    if (int64_t count = tokensToWeigh(generator, *stream))
      stream->weighed = target.weigh(count);
    stream->tokens.shrink(text);
    int64_t prompt = stream->request->promptTokens();
    if (context < prompt) {
      generator.stats.prompt_tokens += stream->planned - guesses;
    } else {
      generator.stats.seen_tokens += stream->computed();
      generator.stats.kept_tokens += ferriteSequenceLength(stream->sequence);
    }
  }
  return target.hasRuns() ? target.run(error) : FERRITE_OK;
}

/// A call failed, so no one knows for whom: each request has one of its own.
static void computeApart(FerriteGenerator &generator) {
  for (FerriteRequest *request : generator.requests) {
    bool isPlanned = false;
    for (Stream *stream : request->streams)
      isPlanned |= stream->planned != 0;
    if (!isPlanned)
      continue;
    FerriteError error;
    if (compute(generator, request, &error))
      failRequest(generator, *request, error);
    else
      accept(generator, *request);
  }
}

static FerriteStatus step(FerriteGenerator &generator, FerriteError *error) {
  if (FerriteStatus status = takeIncoming(generator, error))
    return status;
  for (FerriteRequest *request : generator.requests)
    if (request->cancelled.load(std::memory_order_relaxed))
      endRequest(generator, *request, FERRITE_FINISH_CANCELLED);
  sweep(generator);
  plan(generator);
  if (generator.planned.empty())
    return FERRITE_OK;
  FerriteError trouble;
  double start = seconds();
  if (generator.options.draft && draftTokens(generator, &trouble))
    // Text goes on without guesses; the draft model begins anew.
    for (Stream *stream : generator.planned) {
      ferriteSequenceDestroy(stream->draftSequence);
      stream->draftSequence = nullptr;
      stream->planned -= stream->guesses();
      stream->forget(stream->computed() - stream->guesses());
      stream->draftCount = stream->leafCount = 0;
    }
  generator.stats.draft_seconds += seconds() - start;
  orderByPages(generator);
  if (compute(generator, nullptr, &trouble)) {
    computeApart(generator);
    return FERRITE_OK;
  }
  for (FerriteRequest *request : generator.requests)
    accept(generator, *request);
  return FERRITE_OK;
}

FerriteStatus ferriteGeneratorStep(FerriteGenerator *generator, size_t *left,
                                   FerriteError *error) {
  if (!generator)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the generator is NULL");
  FerriteStatus status = step(*generator, error);
  sweep(*generator);
  if (left)
    *left = generator->requests.size();
  return status;
}

FerriteStatus ferriteGeneratorRun(FerriteGenerator *generator,
                                  FerriteError *error) {
  size_t left = 0;
  do
    if (FerriteStatus status = ferriteGeneratorStep(generator, &left, error))
      return status;
  while (left);
  return FERRITE_OK;
}

void ferriteGeneratorStats(const FerriteGenerator *generator,
                           FerriteGeneratorStats *stats) {
  *stats = generator->stats;
  stats->steps = generator->target.calls;
  stats->model_seconds = generator->target.seconds;
  stats->encoder_runs = generator->target.encoder.runs;
  stats->encoder_seconds = generator->target.encoder.seconds;
}

void ferriteGeneratorCacheUsage(const FerriteGenerator *generator,
                                FerriteCacheUsage *usage) {
  ferriteCacheUsage(generator->target.cache, usage);
}

void ferriteGeneratorSourceUsage(const FerriteGenerator *generator,
                                 FerriteCacheUsage *usage) {
  *usage = {};
  if (generator->target.encoder.isOpen())
    ferriteCacheUsage(generator->target.encoder.cache, usage);
}

int32_t ferriteGeneratorTakesSource(const FerriteGenerator *generator) {
  return generator->target.encoder.isOpen();
}
