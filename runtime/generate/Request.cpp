//===- Request.cpp - What is asked for, and what came of it ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

using namespace ferrite::gen;

/// Of prompt, text and guesses: room for all where that is little; a long limit
/// is seldom reached.
static size_t roomFor(const FerriteGenerator &generator,
                      const FerriteRequest &request) {
  int64_t text = textLimit(generator, request);
  return request.options.prompt_tokens + maxDrafts +
         static_cast<size_t>(text < 4096 ? text : 4096);
}

//===--- streams ----------------------------------------------------------===//

static void freeStream(Stream *stream) {
  stream->~Stream();
  free(stream);
}

Stream *ferrite::gen::makeStream(FerriteGenerator &, FerriteRequest &request) {
  if (request.spare.empty())
    return nullptr; // there is one for each that there can be: makeSpares
  Stream *stream = request.spare.back();
  request.spare.shrink(request.spare.size() - 1);
  stream->score = 0;
  stream->finish = FERRITE_FINISH_NONE;
  stream->draftCount = stream->leafCount = 0;
  stream->draftLength = 4;
  stream->planned = 0;
  stream->weighed = -1;
  stream->request = &request;
  return stream;
}

/// All streams that a request can have at once, so that no step allocates: of a
/// search the beams, those that they become, and the texts that are done.
static bool makeSpares(const FerriteGenerator &generator,
                       FerriteRequest &request) {
  size_t count = request.isBeams()
                     ? 3 * static_cast<size_t>(request.options.beams) + 1
                     : static_cast<size_t>(request.samples);
  if (!request.spare.reserve(count) ||
      !request.hypotheses.reserve(static_cast<size_t>(request.options.beams) +
                                  1))
    return false;
  for (size_t i = 0; i < count; ++i) {
    void *memory = malloc(sizeof(Stream));
    if (!memory)
      return false;
    request.spare.push(new (memory) Stream);
    if (!request.spare.back()->tokens.reserve(roomFor(generator, request)))
      return false;
  }
  return true;
}

void ferrite::gen::stopStream(FerriteGenerator &, Stream &stream) {
  ferriteSequenceDestroy(stream.sequence);
  ferriteSequenceDestroy(stream.draftSequence);
  stream.sequence = stream.draftSequence = nullptr;
  stream.removed = 0;
  stream.weights.shrink(0);
  stream.planned = 0;
  stream.draftCount = stream.leafCount = 0;
}

void ferrite::gen::dropStream(FerriteGenerator &generator, Stream *stream) {
  stopStream(generator, *stream);
  stream->tokens.shrink(0);
  stream->request->spare.push(stream); // where it came from
}

int64_t ferrite::gen::textLimit(const FerriteGenerator &generator,
                                const FerriteRequest &request) {
  // The last token is not looked at again: it needs no place.
  int64_t most = generator.target.maxTokens + 1 - request.promptTokens();
  int64_t wanted = request.options.max_tokens;
  return wanted && wanted < most ? wanted : most;
}

void ferrite::gen::endStream(FerriteGenerator &generator, Stream &stream,
                             FerriteFinish finish) {
  FerriteRequest &request = *stream.request;
  if (stream.finish == FERRITE_FINISH_NONE)
    stream.finish = finish;
  stopStream(generator, stream);
  for (Stream *other : request.streams)
    if (other->finish == FERRITE_FINISH_NONE)
      return;
  // The worst of its samples' ends stands for all.
  int32_t worst = FERRITE_FINISH_STOP;
  for (Stream *other : request.streams)
    if (other->finish > worst)
      worst = other->finish;
  request.finish.store(worst, std::memory_order_release);
}

void ferrite::gen::endRequest(FerriteGenerator &generator,
                              FerriteRequest &request, FerriteFinish finish) {
  for (Stream *stream : request.streams) {
    if (stream->finish != FERRITE_FINISH_NONE)
      continue;
    endStream(generator, *stream, finish);
    if (!request.options.on_token || request.isBeams())
      continue;
    FerriteTokenEvent event = {};
    event.request = &request;
    event.sample = stream->sample;
    event.finish = finish;
    event.token = -1;
    event.index = stream->length() - request.promptTokens();
    request.options.on_token(request.options.on_token_data, &event);
  }
  request.finish.store(finish, std::memory_order_release);
}

void ferrite::gen::failRequest(FerriteGenerator &generator,
                               FerriteRequest &request,
                               const FerriteError &error) {
  request.error = error;
  endRequest(generator, request, FERRITE_FINISH_FAILED);
}

void ferrite::gen::dropReference(FerriteRequest *request) {
  if (request->references.fetch_sub(1, std::memory_order_acq_rel) != 1)
    return;
  for (Stream *stream : request->streams)
    freeStream(stream);
  for (Hypothesis &hypothesis : request->hypotheses)
    freeStream(hypothesis.stream);
  for (Stream *stream : request->spare)
    freeStream(stream);
  request->~FerriteRequest();
  free(request);
}

//===--- submission -------------------------------------------------------===//

static FerriteStatus checkOptions(const FerriteGenerator &generator,
                                  const FerriteRequestOptions &o,
                                  FerriteError *error) {
  auto bad = [&](const char *what) {
    return fail(error, FERRITE_INVALID_ARGUMENT, "%s", what);
  };
  const Stepper &target = generator.target;
  if (!o.prompt || o.prompt_tokens == 0)
    return bad("the prompt is empty: it needs at least one token");
  // Of a text whose keys are evicted later all of the prompt has room.
  int64_t mostPrompt = target.maxTokens;
  if (generator.eviction.kind != Eviction::None)
    lower(mostPrompt, ferriteCacheMaxTokens(target.cache));
  if (o.prompt_tokens > static_cast<size_t>(mostPrompt))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a prompt of %zu tokens: the most is %lld", o.prompt_tokens,
                ll(mostPrompt));
  for (size_t i = 0; i < o.prompt_tokens; ++i)
    if (o.prompt[i] < 0 || o.prompt[i] >= target.idLimit)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "token %lld at [%zu] of the prompt: the model has %lld",
                  ll(o.prompt[i]), i, ll(target.idLimit));
  if (target.encoder.isOpen()) {
    if (FerriteStatus status =
            target.encoder.check(o.source, o.source_count, error))
      return status;
  } else if (o.source_count) {
    return bad("the model reads no source: it is no encoder-decoder");
  }
  if (o.max_tokens < 0)
    return bad("max_tokens is negative");
  if ((o.stop_token_count && !o.stop_tokens) ||
      (o.stop_string_count && !o.stop_strings))
    return bad("the stop tokens or strings are NULL");
  if (o.stop_string_count && !o.detokenize)
    return bad("stop_strings need the callback `detokenize`");
  for (size_t i = 0; i < o.stop_string_count; ++i)
    if (!o.stop_strings[i] || !*o.stop_strings[i])
      return bad("a stop string is empty");
  if (o.samples < 0 || o.beams < 0 || o.samples > generator.options.streams ||
      o.beams > generator.options.streams)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%d samples and %d beams: the generator has %d streams",
                o.samples, o.beams, generator.options.streams);
  if (o.logprobs < 0 || o.logprobs > target.vocabulary)
    return fail(error, FERRITE_INVALID_ARGUMENT, "%d logprobs of %lld tokens",
                o.logprobs, ll(target.vocabulary));
  if (o.speculation < FERRITE_SPECULATE_NONE ||
      o.speculation > FERRITE_SPECULATE_DRAFT)
    return bad("speculation is no FerriteSpeculation");
  if (o.speculation == FERRITE_SPECULATE_DRAFT && !generator.options.draft)
    return bad("the generator has no draft model");
  if (o.beams > 1 && (o.speculation || o.logprobs || o.samples > o.beams))
    return bad("beams go without speculation and logprobs, and give no more "
               "samples than beams");
  if (generator.eviction.kind == Eviction::H2O &&
      (o.beams > 1 || o.speculation))
    return bad("kv_evict=h2o goes without beams and speculation: what a token "
               "attends to counts once, and it stays");
  if (o.beams > 1 && o.sampling && o.sampling->temperature != 0)
    return bad("beams are searched, not sampled: the temperature must be 0");
  if (target.blockCount < 64 && o.leave_out >> target.blockCount)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "leave_out has bits of more than the %d blocks of layers that "
                "the entry lets runs leave out",
                target.blockCount);
  if (!(o.length_penalty > -100 && o.length_penalty < 100))
    return bad("length_penalty is outside of -100 to 100");
  return FERRITE_OK;
}

/// Copies all that the options point to.
static bool keep(FerriteRequest &request) {
  FerriteRequestOptions &o = request.options;
  FerriteSampling &s = request.sampling;
  if (!request.biasTokens.assign(s.bias_tokens, s.bias_count) ||
      !request.biasValues.assign(s.bias_values, s.bias_count) ||
      !request.stopTokens.assign(o.stop_tokens, o.stop_token_count) ||
      !request.logprobs.reserve(static_cast<size_t>(o.logprobs)) ||
      !request.source.copy(o.source, o.source_count))
    return false;
  for (size_t i = 0; i < o.stop_string_count; ++i) {
    size_t size = strlen(o.stop_strings[i]), end = request.stopText.size();
    if (!request.stopText.reserve(end + size) ||
        !request.stopEnds.add(end + size))
      return false;
    memcpy(request.stopText.data() + end, o.stop_strings[i], size);
    request.stopText.shrink(end + size);
  }
  s.bias_tokens = request.biasTokens.data();
  s.bias_values = request.biasValues.data();
  o.prompt = nullptr;
  o.sampling = nullptr;
  o.stop_tokens = nullptr;
  o.stop_strings = nullptr;
  o.source = nullptr;
  size_t streams = static_cast<size_t>(
      o.beams > request.samples ? o.beams : request.samples);
  return request.streams.reserve(streams);
}

FerriteStatus ferriteGeneratorSubmit(FerriteGenerator *generator,
                                     const FerriteRequestOptions *given,
                                     FerriteRequest **result,
                                     FerriteError *error) {
  if (!generator || !given || !result)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the generator, options or request pointer is NULL");
  *result = nullptr;
  if (given->size < sizeof(size_t))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "FerriteRequestOptions::size is not set");
  FerriteRequestOptions options = {};
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  if (FerriteStatus status = checkOptions(*generator, options, error))
    return status;
  FerriteSampling sampling = {};
  if (const FerriteSampling *s = options.sampling)
    memcpy(&sampling, s, s->size < sizeof sampling ? s->size : sizeof sampling);
  if (FerriteStatus status =
          checkSampling(sampling, generator->target.vocabulary, error))
    return status;

  void *memory = malloc(sizeof(FerriteRequest));
  if (!memory)
    return noMemory(error);
  auto *request = new (memory) FerriteRequest;
  request->generator = generator;
  request->options = options;
  request->sampling = sampling;
  request->samples = options.samples ? options.samples : 1;
  bool ok = keep(*request) && makeSpares(*generator, *request);
  if (ok) {
    Stream *stream = makeStream(*generator, *request);
    request->streams.push(stream); // there is room: keep()
    ok = stream->tokens.assign(options.prompt, options.prompt_tokens);
  }
  if (!ok) {
    request->references.store(1);
    dropReference(request);
    return noMemory(error);
  }
  *result = request;
  pthread_mutex_lock(&generator->mutex);
  request->next = generator->incoming;
  generator->incoming = request;
  pthread_mutex_unlock(&generator->mutex);
  return FERRITE_OK;
}

//===--- answers ----------------------------------------------------------===//

void ferriteRequestCancel(FerriteRequest *request) {
  request->cancelled.store(1, std::memory_order_relaxed);
}

FerriteFinish ferriteRequestFinish(const FerriteRequest *request) {
  return static_cast<FerriteFinish>(
      request->finish.load(std::memory_order_acquire));
}

int32_t ferriteRequestSamples(const FerriteRequest *request) {
  int32_t count = static_cast<int32_t>(request->streams.size());
  return count < request->samples ? count : request->samples;
}

static const Stream *streamOf(const FerriteRequest *request, int32_t sample) {
  if (sample < 0 || sample >= ferriteRequestSamples(request))
    return nullptr;
  return request->streams[static_cast<size_t>(sample)];
}

const int64_t *ferriteRequestTokens(const FerriteRequest *request,
                                    int32_t sample, size_t *count) {
  const Stream *stream = streamOf(request, sample);
  size_t prompt = request->options.prompt_tokens;
  if (count)
    *count = stream ? stream->tokens.size() - prompt : 0;
  return stream ? stream->tokens.data() + prompt : nullptr;
}

FerriteFinish ferriteRequestSampleFinish(const FerriteRequest *request,
                                         int32_t sample) {
  const Stream *stream = streamOf(request, sample);
  return stream ? stream->finish : FERRITE_FINISH_NONE;
}

double ferriteRequestScore(const FerriteRequest *request, int32_t sample) {
  const Stream *stream = streamOf(request, sample);
  return stream ? stream->score : 0;
}

FerriteStatus ferriteRequestError(const FerriteRequest *request,
                                  FerriteError *error) {
  if (error && request->error.status)
    *error = request->error;
  return request->error.status;
}

void ferriteRequestRelease(FerriteRequest *request) {
  if (!request)
    return;
  ferriteRequestCancel(request);
  dropReference(request);
}
