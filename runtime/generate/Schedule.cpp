//===- Schedule.cpp - Who goes on in this step ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Texts that are under way come first, one token each (and their guesses), then
// prompts that were begun, then requests that wait, in order of arrival, until
// the tokens of a step are spent. So a long prompt never stops the others: it
// takes what they leave. When pages run out the youngest stream gives up its
// own and begins again later, from its tokens; what it computes then is the
// same bits, so nobody can tell.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

using namespace ferrite::gen;

static int64_t freePages(const FerriteGenerator &generator) {
  FerriteCacheUsage usage;
  ferriteCacheUsage(generator.target.cache, &usage);
  return usage.pages - usage.used_pages;
}

void ferrite::gen::preempt(FerriteGenerator &generator, Stream &stream) {
  stopStream(generator, stream);
  ++generator.stats.preemptions;
}

/// The youngest stream that has pages and is not planned, behind `than` in
/// order of arrival.
static Stream *findVictim(FerriteGenerator &generator, const Stream &than) {
  for (size_t r = generator.requests.size(); r-- > 0;) {
    FerriteRequest &request = *generator.requests[r];
    for (size_t s = request.streams.size(); s-- > 0;) {
      Stream *stream = request.streams[s];
      if (stream == &than)
        return nullptr;
      if (stream->sequence && stream->planned == 0 &&
          !(request.isBeams() && request.forked && request.streams[0]->planned))
        return stream;
    }
  }
  return nullptr;
}

/// Room for `count` tokens, at the cost of younger streams if need be.
static FerriteStatus makeRoom(FerriteGenerator &generator, Stream &stream,
                              int64_t count) {
  FerriteError error;
  for (;;) {
    FerriteStatus status =
        ferriteSequenceAppend(stream.sequence, count, nullptr, &error);
    if (status != FERRITE_OUT_OF_PAGES)
      return status;
    Stream *victim = findVictim(generator, stream);
    if (!victim)
      return status;
    preempt(generator, *victim);
  }
}

FerriteStatus ferrite::gen::keepTokens(FerriteGenerator &generator,
                                       Stream &stream, const int32_t *kept,
                                       int64_t count, FerriteError *error) {
  auto heads = static_cast<size_t>(generator.target.keyHeads);
  for (;;) {
    FerriteStatus status =
        ferriteSequenceKeep(stream.sequence, kept, heads, count, error);
    if (status != FERRITE_OUT_OF_PAGES)
      return status;
    Stream *victim = findVictim(generator, stream);
    if (!victim)
      return status;
    preempt(generator, *victim);
  }
}

/// The longest beginning of a text that another stream has computed. At least
/// a page: below that there is nothing to gain.
static void shareBeginning(FerriteGenerator &generator, Stream &stream) {
  Stream *best = nullptr;
  int64_t most = FERRITE_PAGE_TOKENS - 1, own = firstWeighed(generator, stream);
  for (FerriteRequest *request : generator.requests)
    for (Stream *other : request->streams) {
      if (!other->sequence || other == &stream || other->removed ||
          request->options.leave_out != stream.request->options.leave_out ||
          !request->source.equals(stream.request->source))
        continue;
      // What this step is about to compute is not there yet; the last token of
      // a text is always computed, for its logits.
      int64_t limit = other->computed() - other->planned;
      lower(limit, stream.length() - 1);
      lower(limit, own);
      int64_t equal = 0;
      while (equal < limit && other->tokens[static_cast<size_t>(equal)] ==
                                  stream.tokens[static_cast<size_t>(equal)])
        ++equal;
      if (equal > most) {
        most = equal;
        best = other;
      }
    }
  if (best) // a refusal costs time alone
    (void)ferriteSequenceFork(best->sequence, most, &stream.sequence, nullptr);
}

/// Keys and values of the request's source, those of another request where it
/// has the same.
static FerriteStatus encode(FerriteGenerator &generator,
                            FerriteRequest &request, FerriteError *error) {
  Encoder &encoder = generator.target.encoder;
  if (!encoder.isOpen() || request.encoded)
    return FERRITE_OK;
  if (!generator.options.no_sharing)
    for (FerriteRequest *other : generator.requests)
      if (other->encoded && other->source.equals(request.source))
        return ferriteSequenceFork(other->encoded,
                                   ferriteSequenceLength(other->encoded),
                                   &request.encoded, error);
  // Without a page given back since it would be computed in vain.
  FerriteCacheUsage usage;
  ferriteCacheUsage(encoder.cache, &usage);
  if (usage.used_pages >= request.sourcePages)
    return FERRITE_OUT_OF_PAGES;
  FerriteStatus status = encoder.run(request.source, &request.encoded, error);
  request.sourcePages =
      status == FERRITE_OUT_OF_PAGES ? usage.used_pages : INT64_MAX;
  return status;
}

/// Others hold pages of sources, and will give them back.
static bool mayWaitForSource(const FerriteGenerator &generator) {
  FerriteCacheUsage usage;
  ferriteCacheUsage(generator.target.encoder.cache, &usage);
  return usage.sequences > 0;
}

static bool begin(FerriteGenerator &generator, Stream &stream) {
  if (!generator.options.no_sharing)
    shareBeginning(generator, stream);
  return stream.sequence ||
         ferriteSequenceCreate(generator.target.cache, &stream.sequence,
                               nullptr) == FERRITE_OK;
}

/// How many of its tokens a stream goes on with. Beams that begin again leave
/// their last token for the step in which all of them go on together.
static int64_t chunkOf(const FerriteGenerator &generator, const Stream &stream,
                       int64_t budget) {
  int64_t pending = stream.length() - stream.computed();
  if (stream.request->isBeams() && stream.request->forked)
    --pending;
  int64_t most = mostAtOnce(generator, stream);
  if (budget > most)
    budget = most;
  return pending < budget ? pending : budget;
}

int64_t ferrite::gen::mostAtOnce(const FerriteGenerator &generator,
                                 const Stream &stream) {
  if (generator.windowPages == 0)
    return mostBeforeEviction(generator, stream);
  const int64_t page = FERRITE_PAGE_TOKENS;
  int64_t whole = (generator.sinkPages + generator.windowPages + 1) * page -
                  stream.computed();
  return whole > 0 ? whole : page - stream.computed() % page;
}

/// Drops the pages between sinks and window that tokens to come do not see. By
/// the place of the next token alone, so that chunks and preemption change
/// nothing.
static void dropBeforeWindow(FerriteGenerator &generator, Stream &stream) {
  const int64_t page = FERRITE_PAGE_TOKENS;
  if (generator.windowPages == 0)
    return;
  int64_t first = stream.computed() / page - generator.windowPages;
  int64_t drop = first * page - generator.sinkPages * page - stream.removed;
  int64_t sinks = generator.sinkPages * page;
  if (drop > 0 && ferriteSequenceRemove(stream.sequence, sinks, sinks + drop,
                                        nullptr) == FERRITE_OK)
    stream.removed += drop;
}

/// Plans `count` tokens; false when there is no room for them.
static bool planStream(FerriteGenerator &generator, Stream &stream,
                       int64_t count) {
  dropBeforeWindow(generator, stream);
  if (makeRoom(generator, stream, count) == FERRITE_OK) {
    stream.planned = count;
    generator.planned.push(&stream);
    return true;
  }
  return false;
}

/// How many tokens the stream wants to guess.
static int32_t wantedDrafts(const FerriteGenerator &generator,
                            const Stream &stream, int64_t budget) {
  const FerriteRequest &request = *stream.request;
  if (request.options.speculation == FERRITE_SPECULATE_NONE)
    return 0;
  int64_t most = stream.draftLength;
  lower(most, generator.target.mostAlike - 1);
  int64_t text = stream.length() - request.promptTokens();
  int64_t left = textLimit(generator, request) - text - 1;
  const int64_t limits[] = {
      left, budget - 1, generator.target.maxTokens - stream.length(),
      static_cast<int64_t>(generator.options.draft_tokens),
      mostAtOnce(generator, stream) - 1};
  for (int64_t limit : limits)
    if (limit < most)
      most = limit;
  return most > 0 ? static_cast<int32_t>(most) : 0;
}

/// One token, and guesses where there is room for them.
static bool planText(FerriteGenerator &generator, Stream &stream,
                     int64_t &budget) {
  int32_t wanted = wantedDrafts(generator, stream, budget);
  stream.draftCount = stream.leafCount = 0;
  if (stream.request->options.speculation == FERRITE_SPECULATE_LOOKUP && wanted)
    wanted = lookUp(stream.tokens, stream.drafts, wanted);
  if (wanted && ferriteSequencePagesFor(stream.sequence, 1 + wanted) >
                    freePages(generator))
    wanted = 0;
  if (!planStream(generator, stream, 1 + wanted))
    return false;
  stream.draftCount = wanted;
  budget -= 1 + wanted;
  return true;
}

/// All beams of a request, or none: they are compared with one another.
static bool planBeams(FerriteGenerator &generator, FerriteRequest &request,
                      int64_t &budget) {
  auto count = static_cast<int64_t>(request.streams.size());
  auto planned = static_cast<int64_t>(generator.planned.size());
  if (budget < count || planned + count > generator.target.runLimit)
    return true; // another step has room
  size_t before = generator.planned.size();
  for (Stream *stream : request.streams)
    if (!planStream(generator, *stream, 1)) {
      for (size_t i = before; i < generator.planned.size(); ++i) {
        Stream &undone = *generator.planned[i];
        undone.forget(undone.computed() - 1);
        undone.planned = 0;
      }
      generator.planned.shrink(before);
      return false;
    }
  budget -= count;
  return true;
}

/// Nothing else holds pages and yet they do not suffice.
static void giveUp(FerriteGenerator &generator, FerriteRequest &request) {
  FerriteError error;
  FerriteCacheUsage usage;
  ferriteCacheUsage(generator.target.cache, &usage);
  fail(&error, FERRITE_OUT_OF_PAGES,
       "the text needs more than the %lld pages of the cache", ll(usage.pages));
  failRequest(generator, request, error);
}

/// A text that cannot go on while older ones hold the pages waits.
static void yield(FerriteGenerator &generator, FerriteRequest &request,
                  Stream &stream) {
  bool alone = generator.planned.empty();
  for (FerriteRequest *other : generator.requests)
    for (Stream *s : other->streams)
      alone &= s == &stream || !s->sequence ||
               (other == &request && request.isBeams());
  if (alone)
    return giveUp(generator, request);
  if (request.isBeams() && request.forked) {
    for (Stream *beam : request.streams)
      if (beam->sequence)
        preempt(generator, *beam);
  } else {
    preempt(generator, stream);
  }
}

void ferrite::gen::plan(FerriteGenerator &generator) {
  int64_t budget = generator.target.stepTokens;
  int64_t runs = generator.target.runLimit;
  generator.planned.shrink(0);
  // Of what there is: pass 0 texts, pass 1 prompts (or texts that were
  // preempted and begin again).
  for (int pass = 0; pass < 2; ++pass)
    for (size_t r = 0; r < generator.requests.size(); ++r) {
      FerriteRequest &request = *generator.requests[r];
      for (size_t s = 0; s < request.streams.size(); ++s) {
        Stream &stream = *request.streams[s];
        int64_t pending = stream.length() - stream.computed();
        bool full = budget <= 0 ||
                    static_cast<int64_t>(generator.planned.size()) >= runs;
        if (full || stream.finish || !stream.sequence || stream.planned ||
            (pass == 0) != (pending == 1))
          continue;
        if (request.isBeams() && request.forked && pending == 1) {
          bool together = s == 0; // once for all of them
          for (Stream *beam : request.streams)
            together &=
                beam->sequence && beam->length() - beam->computed() == 1;
          if (together && !planBeams(generator, request, budget))
            yield(generator, request, stream);
          continue;
        }
        if (pending == 1) {
          if (!planText(generator, stream, budget))
            yield(generator, request, stream);
          continue;
        }
        int64_t count = chunkOf(generator, stream, budget);
        if (planStream(generator, stream, count))
          budget -= count;
        else
          yield(generator, request, stream);
      }
    }
  // Those that wait, while there is room for all of what they have to compute.
  int64_t active = 0;
  for (FerriteRequest *request : generator.requests)
    for (Stream *stream : request->streams)
      active += stream->sequence != nullptr;
  for (FerriteRequest *request : generator.requests)
    for (Stream *stream : request->streams) {
      if (stream->finish || stream->sequence)
        continue;
      // Room for what it becomes after its prompt.
      int64_t becomes = request->forked      ? 1
                        : request->isBeams() ? request->options.beams
                                             : request->samples;
      if (budget <= 0 ||
          static_cast<int64_t>(generator.planned.size()) >= runs ||
          (active && active + becomes > generator.options.streams))
        return;
      FerriteError error;
      if (FerriteStatus status = encode(generator, *request, &error)) {
        if (status == FERRITE_OUT_OF_PAGES && mayWaitForSource(generator))
          return;
        failRequest(generator, *request, error);
        break;
      }
      if (!begin(generator, *stream))
        return;
      int64_t shared = stream->computed();
      int64_t needed =
          ferriteSequencePagesFor(stream->sequence, stream->length() - shared);
      if (needed > generator.target.heldPages)
        needed = generator.target.heldPages;
      int64_t count = chunkOf(generator, *stream, budget);
      bool fits = active == 0 || needed <= freePages(generator);
      if (!fits || (count && !planStream(generator, *stream, count))) {
        ferriteSequenceDestroy(stream->sequence);
        stream->sequence = nullptr;
        stream->removed = 0;
        if (active == 0)
          giveUp(generator, *request);
        return; // the next one does not overtake it
      }
      generator.stats.shared_tokens += shared;
      budget -= count;
      active += becomes;
    }
}

/// Whether `a` comes before `b`.
static bool isBefore(const Stream &a, const Stream &b) {
  if ((a.planned == 1) != (b.planned == 1))
    return a.planned == 1;
  size_t count = 0, countB = 0;
  const int32_t *pages = ferriteSequencePages(a.sequence, &count);
  const int32_t *pagesB = ferriteSequencePages(b.sequence, &countB);
  for (size_t i = 0; i < count && i < countB; ++i)
    if (pages[i] != pagesB[i])
      return pages[i] < pagesB[i];
  return count < countB;
}

void ferrite::gen::orderByPages(FerriteGenerator &generator) {
  // Mostly in order already: what was planned first took its pages first.
  Stream **planned = generator.planned.data();
  for (size_t i = 1; i < generator.planned.size(); ++i) {
    Stream *stream = planned[i];
    size_t at = i;
    for (; at > 0 && isBefore(*stream, *planned[at - 1]); --at)
      planned[at] = planned[at - 1];
    planned[at] = stream;
  }
}
