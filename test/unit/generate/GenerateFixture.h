//===- GenerateFixture.h - A generator over a decoder by hand ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_GENERATE_GENERATEFIXTURE_H
#define FERRITE_TEST_UNIT_GENERATE_GENERATEFIXTURE_H

#include "FakeDecoder.h"

#include "ferrite/generate.h"

#include <functional>
#include <map>
#include <memory>

namespace ferrite::test {

Tokens operator+(Tokens a, const Tokens &b);

/// A request and what came of it.
struct Asked {
  ~Asked() { ferriteRequestRelease(request); }
  Tokens tokens(int32_t sample = 0) const {
    size_t count = 0;
    const int64_t *data = ferriteRequestTokens(request, sample, &count);
    return Tokens(data, data + count);
  }
  FerriteFinish finish() const { return ferriteRequestFinish(request); }

  FerriteRequest *request = nullptr;
  std::map<int32_t, Tokens> events; ///< tokens that the callback got
  std::map<int32_t, int32_t> finishes;
  std::vector<float> logprobs;
  std::vector<std::vector<FerriteLogprob>> best;
  size_t cancelAfter = SIZE_MAX;
};

class GenerateTest : public ::testing::Test {
protected:
  void make(std::function<void(FerriteGeneratorOptions &)> more = {},
            float noise = 1, int64_t window = -1);
  void TearDown() override;

  using More = std::function<void(FerriteRequestOptions &)>;
  std::unique_ptr<Asked> ask(const Tokens &prompt, int64_t maxTokens,
                             More more = {});
  /// The status of a request that is refused.
  FerriteStatus refused(const Tokens &prompt, More more);
  void run() {
    ASSERT_EQ(FERRITE_OK, ferriteGeneratorRun(generator, &error))
        << error.message;
  }
  /// What the request gives when it is alone, in a generator of its own.
  Tokens alone(const Tokens &prompt, int64_t maxTokens, More more = {},
               int32_t sample = 0);
  FerriteGeneratorStats stats() const {
    FerriteGeneratorStats result = {};
    ferriteGeneratorStats(generator, &result);
    return result;
  }
  FerriteCacheUsage usage() const {
    FerriteCacheUsage result = {};
    ferriteGeneratorCacheUsage(generator, &result);
    return result;
  }

  std::unique_ptr<FakeDecoder> decoder, draft;
  FerriteGenerator *generator = nullptr;
  FerriteError error = {};
};

/// A sampling that is random.
FerriteSampling warm(uint64_t seed, float temperature = 1);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_GENERATE_GENERATEFIXTURE_H
