//===- CacheFixture.h - A decoder, its cache and a session ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_RUNTIME_CACHEFIXTURE_H
#define FERRITE_TEST_UNIT_RUNTIME_CACHEFIXTURE_H

#include "FakeDecoder.h"

#include "ferrite/cache.h"

namespace ferrite::test {

/// Tokens of one sequence in one call.
struct Chunk {
  FerriteSequence *sequence;
  Tokens tokens;
  Tokens masks = {};     ///< of `visible`; empty: causal
  Tokens positions = {}; ///< empty: those of a text
};

class CacheTest : public ::testing::Test {
protected:
  void make(int64_t pages, int64_t maxTokens = 0, int64_t window = -1);
  void TearDown() override;

  FerriteSequence *sequence();
  FerriteCacheUsage usage() const;
  /// The status of appending `count` tokens without computing them.
  FerriteStatus append(FerriteSequence *to, int64_t count,
                       int64_t *slots = nullptr) {
    return ferriteSequenceAppend(to, count, slots, &error);
  }
  /// Runs the entry; the logits of every token.
  std::vector<std::vector<float>> step(const std::vector<Chunk> &runs);
  /// The logits of the last token of a run of its own.
  std::vector<float> step(FerriteSequence *to, const Tokens &tokens) {
    return step(std::vector<Chunk>{{to, tokens}}).back();
  }

  FakeDecoder *decoder = nullptr;
  FerriteCache *cache = nullptr;
  FerriteSession *session = nullptr;
  FerriteError error = {};
};

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_RUNTIME_CACHEFIXTURE_H
