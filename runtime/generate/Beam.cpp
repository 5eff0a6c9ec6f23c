//===- Beam.cpp - The most likely texts -----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// As in Hugging Face transformers: each step the 2B best continuations of B
// beams are ranked; of the first B those that end a text become hypotheses, and
// the best B that do not end are the beams of the next step.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

#include <math.h>

using namespace ferrite::gen;

namespace {
class Search {
public:
  Search(FerriteGenerator &generator, FerriteRequest &request)
      : generator(generator), request(request),
        beams(static_cast<size_t>(request.options.beams)),
        ranked(generator.ranked), chosen(generator.chosen),
        next(generator.next) {
    ranked.shrink(0);
    chosen.shrink(0);
    next.shrink(0);
  }

  /// False: out of memory.
  bool step() {
    if (!rank())
      return false;
    request.forked = true;
    if (!choose())
      return false;
    if (isDone())
      return finish();
    return follow();
  }

private:
  double normalised(double score, int64_t tokens) const {
    return score / pow(static_cast<double>(tokens),
                       static_cast<double>(request.options.length_penalty));
  }
  int64_t textLength() const {
    return request.streams[0]->length() - request.promptTokens();
  }

  /// The 2B best continuations, best first; of equal ones the first found.
  bool rank() {
    size_t most = 2 * beams;
    if (!ranked.reserve(most + 1))
      return false;
    for (size_t b = 0; b < request.streams.size(); ++b) {
      Stream &stream = *request.streams[b];
      const float *logits = adjusted(generator, stream, stream.row);
      for (int64_t token = 0; token < generator.target.vocabulary; ++token) {
        double score = stream.score + static_cast<double>(logits[token]);
        if (!(score > -INFINITY) ||
            (ranked.size() == most && score <= ranked.back().score))
          continue;
        if (ranked.size() == most)
          ranked.shrink(most - 1);
        ranked.push({score, b, token});
        for (size_t i = ranked.size() - 1;
             i > 0 && ranked[i].score > ranked[i - 1].score; --i) {
          Continuation lower = ranked[i - 1];
          ranked[i - 1] = ranked[i];
          ranked[i] = lower;
        }
      }
    }
    return true;
  }

  Stream *extend(const Continuation &from) {
    Stream *stream = makeStream(generator, request);
    const List<int64_t> &parent = request.streams[from.beam]->tokens;
    if (!stream)
      return nullptr;
    if (!stream->tokens.assign(parent.data(), parent.size()) ||
        !stream->tokens.add(from.token)) {
      dropStream(generator, stream);
      return nullptr;
    }
    stream->score = from.score;
    return stream;
  }

  bool addHypothesis(Stream *stream) {
    int64_t tokens = stream->length() - request.promptTokens();
    if (!request.hypotheses.reserve(request.hypotheses.size() + 1)) {
      dropStream(generator, stream);
      return false;
    }
    request.hypotheses.push({stream, normalised(stream->score, tokens)});
    for (size_t i = request.hypotheses.size() - 1;
         i > 0 && request.hypotheses[i].score > request.hypotheses[i - 1].score;
         --i) {
      Hypothesis lower = request.hypotheses[i - 1];
      request.hypotheses[i - 1] = request.hypotheses[i];
      request.hypotheses[i] = lower;
    }
    if (request.hypotheses.size() > beams) {
      dropStream(generator, request.hypotheses.back().stream);
      request.hypotheses.shrink(beams);
    }
    return true;
  }

  bool choose() {
    if (!chosen.reserve(beams))
      return false;
    for (size_t i = 0; i < ranked.size() && chosen.size() < beams; ++i) {
      Stream *stream = extend(ranked[i]);
      if (!stream)
        return false;
      if (!isStop(request, *stream)) {
        chosen.push(ranked[i]);
        dropStream(generator, stream);
        continue;
      }
      stream->finish = FERRITE_FINISH_STOP;
      if (i >= beams) // too unlikely to be one
        dropStream(generator, stream);
      else if (!addHypothesis(stream))
        return false;
    }
    return true;
  }

  bool isDone() {
    int64_t tokens = textLength() + 1;
    // No beam can become better than the worst hypothesis.
    converged = request.hypotheses.size() == beams &&
                (request.options.early_stopping ||
                 request.hypotheses.back().score >=
                     normalised(ranked[0].score, tokens));
    return converged || chosen.empty() ||
           tokens >= textLimit(generator, request);
  }

  bool finish() {
    // Beams that the limit ends are texts, too.
    if (!converged)
      for (const Continuation &continuation : chosen) {
        Stream *stream = extend(continuation);
        if (!stream)
          return false;
        stream->finish = FERRITE_FINISH_LENGTH;
        if (!addHypothesis(stream))
          return false;
      }
    for (Stream *stream : request.streams)
      dropStream(generator, stream);
    request.streams.shrink(0);
    for (size_t i = 0; i < request.hypotheses.size(); ++i) {
      Stream *stream = request.hypotheses[i].stream;
      if (i >= static_cast<size_t>(request.samples)) {
        dropStream(generator, stream);
        continue;
      }
      stream->sample = static_cast<int32_t>(i);
      stream->score = request.hypotheses[i].score;
      request.streams.push(stream);
    }
    request.hypotheses.shrink(0);
    tell();
    return true;
  }

  void tell() {
    const FerriteRequestOptions &o = request.options;
    int32_t worst =
        request.streams.empty() ? FERRITE_FINISH_FAILED : FERRITE_FINISH_STOP;
    for (Stream *stream : request.streams) {
      size_t count = stream->tokens.size() - o.prompt_tokens;
      generator.stats.text_tokens += static_cast<int64_t>(count);
      if (stream->finish > worst)
        worst = stream->finish;
      for (size_t i = 0; o.on_token && i < count; ++i) {
        FerriteTokenEvent event = {};
        event.request = &request;
        event.sample = stream->sample;
        event.finish = i + 1 < count ? FERRITE_FINISH_NONE : stream->finish;
        event.token = stream->tokens[o.prompt_tokens + i];
        event.index = static_cast<int64_t>(i);
        o.on_token(o.on_token_data, &event);
      }
    }
    if (worst == FERRITE_FINISH_FAILED)
      fail(&request.error, FERRITE_INVALID_ARGUMENT,
           "no token is possible behind any beam");
    request.finish.store(worst, std::memory_order_release);
  }

  /// The beams of the next step, each from its parent's pages.
  bool follow() {
    size_t old = request.streams.size();
    bool ok = next.reserve(beams) && request.streams.reserve(beams);
    for (size_t i = 0; ok && i < chosen.size(); ++i) {
      Stream *stream = extend(chosen[i]);
      ok = stream != nullptr;
      if (!ok)
        break;
      const Stream &parent = *request.streams[chosen[i].beam];
      ok =
          ferriteSequenceFork(parent.sequence, parent.length() - parent.removed,
                              &stream->sequence, nullptr) == FERRITE_OK;
      stream->removed = parent.removed;
      stream->sample = static_cast<int32_t>(i);
      next.push(stream);
    }
    for (size_t i = 0; ok && i < old; ++i)
      dropStream(generator, request.streams[i]);
    if (ok)
      request.streams.swap(next);
    for (size_t i = 0; !ok && i < next.size(); ++i)
      dropStream(generator, next[i]);
    for (Stream *stream : request.streams)
      ferriteSequenceEvict(stream->sequence,
                           stream->length() - 1 - stream->removed);
    return ok;
  }

  FerriteGenerator &generator;
  FerriteRequest &request;
  size_t beams;
  bool converged = false;
  List<Continuation> &ranked, &chosen;
  List<Stream *> &next;
};
} // namespace

void ferrite::gen::acceptBeams(FerriteGenerator &generator,
                               FerriteRequest &request) {
  if (Search(generator, request).step()) {
    for (Stream *stream : request.streams)
      stream->planned = 0;
    return;
  }
  FerriteError error;
  noMemory(&error);
  failRequest(generator, request, error);
}
