//===- Sampler.cpp - A token from logits ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One random number decides on a token: it is found on the candidates laid end
// to end, best first. Two models that nearly agree, a draft and its target,
// then nearly always choose alike from the same number, which is why a draft
// can be verified by comparing tokens, and why speculation changes no text.
//
//===----------------------------------------------------------------------===//
#include "generate/Sampler.h"

#include <algorithm>
#include <math.h>

using namespace ferrite::gen;

double ferrite::gen::uniform(uint64_t seed, uint32_t stream, uint64_t counter) {
  // Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
  uint32_t x[4] = {static_cast<uint32_t>(counter),
                   static_cast<uint32_t>(counter >> 32), stream, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed),
                     static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    uint64_t a = UINT64_C(0xD2511F53) * x[0], b = UINT64_C(0xCD9E8D57) * x[2];
    uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ key[0],
                        static_cast<uint32_t>(b),
                        static_cast<uint32_t>(a >> 32) ^ x[3] ^ key[1],
                        static_cast<uint32_t>(a)};
    memcpy(x, next, sizeof x);
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  uint64_t bits = static_cast<uint64_t>(x[0]) << 32 | x[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int64_t ferrite::gen::argmax(const float *logits, int64_t count) {
  float best = -INFINITY;
  int64_t token = -1;
  for (int64_t i = 0; i < count; ++i)
    if (logits[i] > best) { // NaN is never better
      best = logits[i];
      token = i;
    }
  return token;
}

double ferrite::gen::logSumExp(const float *logits, int64_t count) {
  int64_t best = argmax(logits, count);
  if (best < 0)
    return -INFINITY;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += exp(static_cast<double>(logits[i]) - logits[best]);
  return logits[best] + log(sum);
}

FerriteStatus ferrite::gen::checkSampling(const FerriteSampling &s,
                                          int64_t vocabulary,
                                          FerriteError *error) {
  auto bad = [&](const char *name, double value, const char *range) {
    return fail(error, FERRITE_INVALID_ARGUMENT, "%s is %g, outside of %s",
                name, value, range);
  };
  if (!(s.temperature >= 0 && s.temperature <= 1e6f))
    return bad("temperature", static_cast<double>(s.temperature),
               "0 to 1000000");
  if (s.top_k < 0)
    return bad("top_k", s.top_k, "0 and above");
  if (!(s.top_p >= 0 && s.top_p <= 1))
    return bad("top_p", static_cast<double>(s.top_p), "0 to 1");
  if (!(s.min_p >= 0 && s.min_p <= 1))
    return bad("min_p", static_cast<double>(s.min_p), "0 to 1");
  if (!(s.repetition_penalty >= 0 && s.repetition_penalty <= 1e6f))
    return bad("repetition_penalty", static_cast<double>(s.repetition_penalty),
               "0 to 1000000");
  if (!isfinite(s.presence_penalty) || !isfinite(s.frequency_penalty))
    return fail(error, FERRITE_INVALID_ARGUMENT, "a penalty is not finite");
  if (s.bias_count && (!s.bias_tokens || !s.bias_values))
    return fail(error, FERRITE_INVALID_ARGUMENT, "the biases are NULL");
  for (size_t i = 0; i < s.bias_count; ++i) {
    if (s.bias_tokens[i] < 0 || s.bias_tokens[i] >= vocabulary)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "a bias of token %lld, the vocabulary has %lld",
                  ll(s.bias_tokens[i]), ll(vocabulary));
    if (isnan(s.bias_values[i]) || s.bias_values[i] == INFINITY)
      return bad("a bias", static_cast<double>(s.bias_values[i]),
                 "what can be added");
  }
  return FERRITE_OK;
}

void ferrite::gen::adjust(FerriteSampler &sampler, const FerriteSampling &s,
                          float *logits, const Text &text) {
  for (size_t i = 0; i < s.bias_count; ++i)
    logits[s.bias_tokens[i]] += s.bias_values[i];
  bool repeats = s.repetition_penalty != 0 && s.repetition_penalty != 1;
  bool counts = s.presence_penalty != 0 || s.frequency_penalty != 0;
  if (!repeats && !counts)
    return;
  if (++sampler.mark == 0) {
    memset(sampler.marks.data(), 0, sampler.marks.size() * sizeof(uint32_t));
    sampler.mark = 1;
  }
  for (size_t i = 0; i < text.count; ++i) {
    auto token = static_cast<size_t>(text.tokens[i]);
    if (sampler.marks[token] != sampler.mark) {
      sampler.marks[token] = sampler.mark;
      sampler.counts[token] = 0;
      float &logit = logits[token];
      if (repeats)
        logit = logit > 0 ? logit / s.repetition_penalty
                          : logit * s.repetition_penalty;
    }
    if (i < text.promptCount)
      continue;
    if (sampler.counts[token]++ == 0)
      logits[token] -= s.presence_penalty;
    logits[token] -= s.frequency_penalty;
  }
}

namespace {
using Candidate = FerriteSampler::Candidate;

/// A heap has the best candidate in front; of equal ones the first token.
struct Worse {
  bool operator()(const Candidate &a, const Candidate &b) const {
    return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
  }
};

/// Candidates in order of falling weight, found one by one: mostly few are
/// looked at, so sorting all would be a waste.
class Ranking {
public:
  Ranking(Candidate *begin, size_t count)
      : begin(begin), end(begin + count), last(end) {
    std::make_heap(begin, end, Worse());
  }
  bool empty() const { return begin == end; }
  /// It stays readable, behind those that are left.
  const Candidate &next() {
    std::pop_heap(begin, end, Worse());
    return *--end;
  }
  /// The i-th that next() gave.
  const Candidate &given(size_t i) const { return *(last - 1 - i); }

private:
  Candidate *begin, *end, *last;
};
} // namespace

int64_t ferrite::gen::choose(FerriteSampler &sampler, const FerriteSampling &s,
                             const float *logits, uint32_t stream,
                             uint64_t counter) {
  int64_t best = argmax(logits, sampler.vocabulary);
  if (best < 0 || s.temperature == 0 || s.top_k == 1)
    return best;
  double temperature = static_cast<double>(s.temperature);
  double top = logits[best];
  Candidate *all = sampler.candidates.data();
  size_t count = 0;
  double total = 0, minP = static_cast<double>(s.min_p);
  bool nucleus = s.top_p > 0 && s.top_p < 1;
  // The share that top_p wants is one of what min_p would remove, too.
  bool minFirst = !nucleus && s.top_k == 0;
  for (int64_t i = 0; i < sampler.vocabulary; ++i) {
    // exp(-800) is 0 in a double; NaN fails the comparison.
    double distance = (logits[i] - top) / temperature;
    if (!(distance > -800))
      continue;
    double weight =
        top == INFINITY ? (logits[i] == INFINITY ? 1 : 0) : exp(distance);
    if (weight == 0 || (minFirst && weight < minP))
      continue;
    total += weight;
    all[count++] = {weight, i};
  }
  if (count == 0) // an infinite logit among others
    return best;
  size_t limit = s.top_k && static_cast<size_t>(s.top_k) < count
                     ? static_cast<size_t>(s.top_k)
                     : count;
  Ranking ranking(all, count);
  double u = uniform(s.seed, stream, counter);
  size_t given = 0;
  if (!nucleus && limit == count) { // of all: stop where the number points to
    double sum = 0, wanted = u * total;
    int64_t token = best;
    while (given < count) {
      const Candidate &candidate = ranking.next();
      ++given;
      token = candidate.token;
      sum += candidate.weight;
      if (sum > wanted)
        break;
    }
    return token;
  }
  if (limit < count) { // shares of top_p are those among the top k
    total = 0;
    for (; given < limit; ++given)
      total += ranking.next().weight;
  }
  size_t kept = limit;
  double sum = 0, wanted = static_cast<double>(s.top_p) * total;
  for (size_t i = 0; nucleus && i < limit; ++i) {
    if (i >= given) {
      ranking.next();
      ++given;
    }
    sum += ranking.given(i).weight;
    kept = i + 1;
    if (sum >= wanted)
      break;
  }
  while (kept > given) {
    ranking.next();
    ++given;
  }
  while (kept > 1 && ranking.given(kept - 1).weight < minP)
    --kept;
  double keptSum = 0;
  for (size_t i = 0; i < kept; ++i)
    keptSum += ranking.given(i).weight;
  double at = 0;
  for (size_t i = 0; i < kept; ++i) {
    at += ranking.given(i).weight;
    if (at > u * keptSum)
      return ranking.given(i).token;
  }
  return ranking.given(kept - 1).token;
}

void ferrite::gen::bestLogprobs(FerriteSampler &sampler, const float *logits,
                                size_t count, FerriteLogprob *best) {
  double norm = logSumExp(logits, sampler.vocabulary);
  Candidate *all = sampler.candidates.data();
  size_t size = 0;
  for (int64_t i = 0; i < sampler.vocabulary; ++i)
    if (!isnan(logits[i]))
      all[size++] = {logits[i], i};
  Ranking ranking(all, size);
  for (size_t i = 0; i < count; ++i) {
    if (ranking.empty()) {
      best[i] = {-1, -INFINITY};
      continue;
    }
    const Candidate &candidate = ranking.next();
    best[i] = {candidate.token, static_cast<float>(candidate.weight - norm)};
  }
}

FerriteStatus ferriteSamplerCreate(int64_t vocabulary, FerriteSampler **result,
                                   FerriteError *error) {
  if (!result || vocabulary < 1 || vocabulary > INT32_MAX)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a sampler of %lld tokens at %p", ll(vocabulary),
                static_cast<void *>(result));
  *result = nullptr;
  auto *sampler = static_cast<FerriteSampler *>(malloc(sizeof(FerriteSampler)));
  if (!sampler)
    return noMemory(error);
  new (sampler) FerriteSampler;
  sampler->vocabulary = vocabulary;
  auto count = static_cast<size_t>(vocabulary);
  bool ok = sampler->candidates.reserve(count) &&
            sampler->marks.reserve(count) && sampler->counts.reserve(count);
  for (size_t i = 0; ok && i < count; ++i) {
    sampler->marks.push(0);
    sampler->counts.push(0);
  }
  if (!ok) {
    ferriteSamplerDestroy(sampler);
    return noMemory(error);
  }
  *result = sampler;
  return FERRITE_OK;
}

void ferriteSamplerDestroy(FerriteSampler *sampler) {
  if (!sampler)
    return;
  sampler->~FerriteSampler();
  free(sampler);
}

FerriteStatus ferriteSamplerChoose(FerriteSampler *sampler,
                                   const FerriteSampling *given, float *logits,
                                   const int64_t *tokens, size_t tokenCount,
                                   size_t promptTokens, uint32_t stream,
                                   int64_t *token, FerriteError *error) {
  if (!sampler || !logits || !token || (tokenCount && !tokens) ||
      promptTokens > tokenCount)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the sampler, logits, tokens or token pointer is NULL, or the "
                "prompt longer than the text");
  FerriteSampling sampling = {};
  if (given)
    memcpy(&sampling, given,
           given->size < sizeof sampling ? given->size : sizeof sampling);
  if (FerriteStatus status =
          checkSampling(sampling, sampler->vocabulary, error))
    return status;
  for (size_t i = 0; i < tokenCount; ++i)
    if (tokens[i] < 0 || tokens[i] >= sampler->vocabulary)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "token %lld at %zu, the vocabulary has %lld", ll(tokens[i]),
                  i, ll(sampler->vocabulary));
  adjust(*sampler, sampling, logits, {tokens, tokenCount, promptTokens});
  *token =
      choose(*sampler, sampling, logits, stream, tokenCount - promptTokens);
  if (*token >= 0)
    return FERRITE_OK;
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "no token is possible: no logit is above -infinity");
}
