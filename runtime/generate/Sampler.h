//===- Sampler.h - A token from logits --------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_GENERATE_SAMPLER_H
#define FERRITE_RUNTIME_GENERATE_SAMPLER_H

#include "generate/Support.h"

struct FerriteSampler {
  /// A token and its logit, later its share of the best token's probability.
  struct Candidate {
    double weight;
    int64_t token;
  };
  int64_t vocabulary = 0;
  ferrite::gen::List<Candidate> candidates;
  /// How often a token occurs in the text, valid where marks[token] is `mark`.
  ferrite::gen::List<uint32_t> marks, counts;
  uint32_t mark = 0;
};

namespace ferrite::gen {

/// A text so far.
struct Text {
  const int64_t *tokens;
  size_t count;
  size_t promptCount;
};

/// Of [0, 1), from Philox4x32-10: a function of its arguments alone.
double uniform(uint64_t seed, uint32_t stream, uint64_t counter);

/// The first of the largest, -1 when none is above -infinity.
int64_t argmax(const float *logits, int64_t count);

FerriteStatus checkSampling(const FerriteSampling &sampling, int64_t vocabulary,
                            FerriteError *error);

/// Bias and penalties.
void adjust(FerriteSampler &sampler, const FerriteSampling &sampling,
            float *logits, const Text &text);

/// Temperature and the rest. -1: no token is possible.
int64_t choose(FerriteSampler &sampler, const FerriteSampling &sampling,
               const float *logits, uint32_t stream, uint64_t counter);

/// log(sum(exp(logits))).
double logSumExp(const float *logits, int64_t count);

/// The `count` most likely tokens to `best`, best first.
void bestLogprobs(FerriteSampler &sampler, const float *logits, size_t count,
                  FerriteLogprob *best);

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_SAMPLER_H
