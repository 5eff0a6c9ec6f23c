//===- Accept.cpp - Tokens of logits --------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

#include <math.h>

using namespace ferrite::gen;

static bool changesLogits(const FerriteRequest &request) {
  const FerriteSampling &s = request.sampling;
  return request.options.mask_logits || s.bias_count ||
         (s.repetition_penalty != 0 && s.repetition_penalty != 1) ||
         s.presence_penalty != 0 || s.frequency_penalty != 0;
}

static void change(FerriteGenerator &generator, Stream &stream) {
  FerriteRequest &request = *stream.request;
  const FerriteRequestOptions &o = request.options;
  float *logits = generator.scratch.data();
  adjust(*generator.sampler, request.sampling, logits,
         {stream.tokens.data(), stream.tokens.size(), o.prompt_tokens});
  if (o.mask_logits)
    o.mask_logits(o.mask_logits_data, &request, stream.sample,
                  stream.tokens.data(), stream.tokens.size(), o.prompt_tokens,
                  logits, generator.target.vocabulary);
}

float *ferrite::gen::adjusted(FerriteGenerator &generator, Stream &stream,
                              size_t row) {
  float *logits = generator.scratch.data();
  memcpy(logits, generator.target.row(row),
         static_cast<size_t>(generator.target.vocabulary) * sizeof(float));
  // Of beams it is the probabilities that count, and so those that penalties
  // change.
  if (stream.request->isBeams()) {
    auto norm =
        static_cast<float>(logSumExp(logits, generator.target.vocabulary));
    for (int64_t i = 0; i < generator.target.vocabulary; ++i)
      logits[i] -= norm;
  }
  change(generator, stream);
  return logits;
}

static int64_t chooseToken(FerriteGenerator &generator, Stream &stream,
                           size_t row) {
  const FerriteRequest &request = *stream.request;
  const float *logits = changesLogits(request)
                            ? adjusted(generator, stream, row)
                            : generator.target.row(row);
  return choose(*generator.sampler, request.sampling, logits,
                static_cast<uint32_t>(stream.sample),
                stream.tokens.size() - request.options.prompt_tokens);
}

/// Tells the caller of the last token of the stream.
static void report(FerriteGenerator &generator, Stream &stream, size_t row,
                   FerriteFinish finish) {
  FerriteRequest &request = *stream.request;
  const FerriteRequestOptions &o = request.options;
  if (!o.on_token)
    return;
  FerriteTokenEvent event = {};
  event.request = &request;
  event.sample = stream.sample;
  event.finish = finish;
  event.token = stream.tokens.back();
  event.index = stream.length() - 1 - request.promptTokens();
  if (o.logprobs > 0) {
    const float *logits = generator.target.row(row);
    event.logprob = static_cast<float>(
        logits[event.token] - logSumExp(logits, generator.target.vocabulary));
    bestLogprobs(*generator.sampler, logits, static_cast<size_t>(o.logprobs),
                 request.logprobs.data());
    event.logprobs = request.logprobs.data();
    event.logprob_count = o.logprobs;
  }
  if (o.on_token(o.on_token_data, &event))
    ferriteRequestCancel(&request);
}

/// The leaf that was right about place `place` of the chain; its keys and
/// values go to that place. -1: there is none.
static int32_t takeLeaf(Stream &stream, int32_t place, int64_t token) {
  for (int32_t leaf = 0; leaf < stream.leafCount; ++leaf) {
    if (stream.leafPlaces[leaf] != place ||
        stream.drafts[stream.draftCount + leaf] != token)
      continue;
    int64_t first = stream.computed() - stream.guesses() - stream.removed;
    bool moved =
        ferriteSequenceMove(stream.sequence, first + stream.draftCount + leaf,
                            first + place, nullptr) == FERRITE_OK;
    return moved ? leaf : -1;
  }
  return -1;
}

/// One token, and one more for each guess that was right.
static void takeTokens(FerriteGenerator &generator, Stream &stream) {
  FerriteRequest &request = *stream.request;
  FerriteError error;
  int32_t accepted = 0;
  int64_t right = stream.length();
  size_t row = stream.row;
  generator.stats.drafted_tokens += stream.draftCount;
  for (int32_t i = 0; i <= stream.draftCount; ++i) {
    int64_t token = chooseToken(generator, stream, row);
    if (token < 0) {
      fail(&error, FERRITE_INVALID_ARGUMENT,
           "no token is possible behind %lld: no logit is above -infinity",
           ll(stream.length()));
      return failRequest(generator, request, error);
    }
    if (!stream.tokens.add(token)) {
      noMemory(&error);
      return failRequest(generator, request, error);
    }
    ++generator.stats.text_tokens;
    FerriteFinish finish = FERRITE_FINISH_NONE;
    if (isStop(request, stream))
      finish = FERRITE_FINISH_STOP;
    else if (stream.length() - request.promptTokens() >=
             textLimit(generator, request))
      finish = FERRITE_FINISH_LENGTH;
    // A sample that is told to be finished is, whoever asks.
    if (finish)
      stream.finish = finish;
    report(generator, stream, row, finish);
    if (finish)
      return endStream(generator, stream, finish);
    if (request.cancelled.load(std::memory_order_relaxed) ||
        right != stream.length() - 1 || i == stream.draftCount)
      break;
    if (stream.drafts[i] == token) {
      row = stream.row + 1 + static_cast<size_t>(i);
      ++right;
    } else {
      int32_t leaf = takeLeaf(stream, i, token);
      if (leaf < 0)
        break;
      row = stream.row + 1 + static_cast<size_t>(stream.draftCount + leaf);
    }
    ++accepted;
    ++generator.stats.accepted_tokens;
  }
  // What the model has seen and did not come to be.
  stream.forget(stream.length() - 1);
  ferriteSequenceEvict(stream.sequence, stream.length() - 1 - stream.removed);
  settleDrafts(stream, accepted, right);
  stream.planned = 0;
}

/// The prompt is there: samples go on from it, each with its own numbers.
static bool makeSamples(FerriteGenerator &generator, FerriteRequest &request) {
  Stream &first = *request.streams[0];
  request.forked = true;
  for (int32_t i = 1; i < request.samples; ++i) {
    Stream *stream = makeStream(generator, request);
    if (!stream)
      return false;
    if (!stream->tokens.assign(first.tokens.data(), first.tokens.size()) ||
        ferriteSequenceFork(first.sequence, first.length() - first.removed,
                            &stream->sequence, nullptr)) {
      dropStream(generator, stream);
      return false;
    }
    stream->removed = first.removed;
    stream->weightStride = first.weightStride;
    if (!stream->weights.assign(first.weights.data(), first.weights.size())) {
      dropStream(generator, stream);
      return false;
    }
    stream->sample = i;
    stream->row = first.row;
    stream->planned = 1;
    request.streams.push(stream); // there is room: Request.cpp
  }
  return true;
}

void ferrite::gen::accept(FerriteGenerator &generator,
                          FerriteRequest &request) {
  bool whole = false;
  for (Stream *stream : request.streams) {
    if (stream->planned && !evictAfterCall(generator, *stream)) {
      if (request.error.status)
        return;
      continue;
    }
    // A part of a prompt: there is nothing to choose yet.
    bool part = stream->planned &&
                stream->computed() - stream->guesses() < stream->length();
    whole |= stream->planned && !part;
    if (part) {
      stream->planned = 0;
      ferriteSequenceEvict(stream->sequence,
                           stream->computed() - stream->removed);
    }
  }
  if (!whole)
    return;
  if (request.isBeams())
    return acceptBeams(generator, request);
  if (!request.forked) {
    // Guesses behind a prompt of one token are those of the first sample.
    if (request.samples > 1) {
      Stream &first = *request.streams[0];
      first.forget(first.length());
      first.draftCount = first.leafCount = 0;
    }
    if (!makeSamples(generator, request)) {
      FerriteError error;
      noMemory(&error);
      return failRequest(generator, request, error);
    }
  }
  for (size_t i = 0; i < request.streams.size() && !request.error.status; ++i)
    if (request.streams[i]->planned)
      takeTokens(generator, *request.streams[i]);
}
