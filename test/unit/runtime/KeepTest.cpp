//===- KeepTest.cpp - Some tokens of each head, and no others -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CacheFixture.h"

#include <cstring>

using namespace ferrite::test;

namespace {

constexpr int64_t heads = FakeDecoder::heads, width = FakeDecoder::width;

class KeepTest : public ::testing::Test {
protected:
  void SetUp() override {
    // A summary of the keys, behind the states that the kernel knows.
    FerriteAbiState summary = decoder.states[0];
    summary.name = "past.key.summary";
    summary.kind = FERRITE_STATE_SUMMARY;
    summary.width = (width + 7) / 8;
    summary.page_bytes = heads * 64 * summary.width * 4;
    decoder.states.push_back(summary);
    FerriteCacheOptions options = {};
    options.size = sizeof options;
    options.pages = 12;
    ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                             &cache, &error))
        << error.message;
  }
  void TearDown() override { ferriteCacheDestroy(cache); }

  /// Number `d` of token `t`, of keys (state 0) or values.
  static float numberOf(int64_t state, int64_t head, int64_t t, int64_t d) {
    return float(state * 100000 + head * 10000 + t * 10 + d);
  }
  /// A sequence whose head `h` has the tokens kept[h * count ...].
  FerriteSequence *make(const std::vector<int32_t> &kept) {
    FerriteSequence *sequence = nullptr;
    EXPECT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &sequence, &error));
    int64_t count = int64_t(kept.size()) / heads;
    std::vector<float> rows[2];
    FerriteTensor tensors[2] = {};
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < count; ++i)
          for (int64_t d = 0; d < width; ++d)
            rows[s].push_back(numberOf(s, h, kept[h * count + i], d));
      tensors[s].data = rows[s].data();
      tensors[s].bytes = rows[s].size() * 4;
      tensors[s].dtype = FERRITE_F32;
      tensors[s].rank = 4;
      int64_t shape[4] = {1, heads, count, width};
      std::memcpy(tensors[s].shape, shape, sizeof shape);
    }
    EXPECT_EQ(FERRITE_OK,
              ferriteSequenceImport(sequence, tensors, 2, 0, &error))
        << error.message;
    return sequence;
  }
  FerriteSequence *makeAll(int64_t tokens) {
    std::vector<int32_t> all;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t t = 0; t < tokens; ++t)
        all.push_back(int32_t(t));
    return make(all);
  }
  /// All that a sequence holds in a state, in whole pages of summaries.
  std::vector<float> contents(FerriteSequence *sequence, size_t state) {
    int64_t length = ferriteSequenceLength(sequence);
    int64_t end = state == 2 ? length / 64 * 64 : length;
    std::vector<float> result(heads * end * (state == 2 ? 1 : width));
    EXPECT_EQ(FERRITE_OK,
              ferriteSequenceExport(sequence, state, 0, end, result.data(),
                                    result.size() * 4, &error))
        << error.message;
    return result;
  }
  FerriteStatus keep(FerriteSequence *sequence,
                     const std::vector<int32_t> &kept) {
    return ferriteSequenceKeep(sequence, kept.data(), heads,
                               int64_t(kept.size()) / heads, &error);
  }
  /// Every token of head 0 that is no multiple of `n`, as many last ones of 1.
  static std::vector<int32_t> lists(int64_t tokens, int64_t n) {
    std::vector<int32_t> result;
    for (int64_t t = 0; t < tokens; ++t)
      if (t % n)
        result.push_back(int32_t(t));
    auto count = int64_t(result.size());
    for (int64_t i = 0; i < count; ++i)
      result.push_back(int32_t(tokens - count + i));
    return result;
  }
  FerriteCacheUsage usage() const {
    FerriteCacheUsage result;
    ferriteCacheUsage(cache, &result);
    return result;
  }

  FakeDecoder decoder;
  FerriteCache *cache = nullptr;
  FerriteError error = {};
};

TEST_F(KeepTest, EachHeadHasItsOwn) {
  for (int64_t n : {2, 3, 5, 70, 200}) {
    FerriteSequence *sequence = makeAll(200);
    std::vector<int32_t> kept = lists(200, n);
    ASSERT_EQ(FERRITE_OK, keep(sequence, kept)) << error.message;
    auto count = int64_t(kept.size()) / heads;
    EXPECT_EQ(count, ferriteSequenceLength(sequence));
    EXPECT_EQ((count + 63) / 64, usage().used_pages);
    EXPECT_EQ(count, usage().tokens);
    FerriteSequence *want = make(kept);
    for (size_t state = 0; state < 3; ++state)
      EXPECT_EQ(contents(want, state), contents(sequence, state))
          << n << ", state " << state;
    ferriteSequenceDestroy(want);
    // It goes on like any other.
    EXPECT_EQ(FERRITE_OK, ferriteSequenceAppend(sequence, 70, nullptr, &error));
    EXPECT_EQ(FERRITE_OK, ferriteSequenceTruncate(sequence, 3, &error));
    ferriteSequenceDestroy(sequence);
  }
}

TEST_F(KeepTest, LeavesOthersWhatTheyShare) {
  FerriteSequence *parent = makeAll(200), *child = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(parent, 200, &child, &error));
  std::vector<float> before[3];
  for (size_t state = 0; state < 3; ++state)
    before[state] = contents(parent, state);
  std::vector<int32_t> kept = lists(200, 3);
  ASSERT_EQ(FERRITE_OK, keep(child, kept)) << error.message;
  for (size_t state = 0; state < 3; ++state)
    EXPECT_EQ(before[state], contents(parent, state));
  EXPECT_EQ(4 + 3, usage().used_pages);
  EXPECT_EQ(0, usage().shared_pages);
  // Without a page for the copies nothing changes.
  FerriteSequence *other = nullptr, *rest = makeAll(5 * 64);
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(parent, 200, &other, &error));
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, keep(other, kept));
  EXPECT_EQ(200, ferriteSequenceLength(other));
  EXPECT_EQ(before[1], contents(other, 1));
  // What stays where it is needs none.
  std::vector<int32_t> first;
  for (int64_t h = 0; h < heads; ++h)
    for (int32_t t = 0; t < 70; ++t)
      first.push_back(t);
  EXPECT_EQ(FERRITE_OK, keep(other, first));
  EXPECT_EQ(70, ferriteSequenceLength(other));
  ferriteSequenceDestroy(rest);
}

TEST_F(KeepTest, RefusesListsThatAreNone) {
  FerriteSequence *sequence = makeAll(100);
  for (std::vector<int32_t> bad : {std::vector<int32_t>{0, 1, 1, 0},
                                   {0, 100, 0, 1},
                                   {-1, 1, 0, 1},
                                   {0, 0, 0, 1}})
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, keep(sequence, bad));
  int32_t one[] = {0, 1, 2};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceKeep(sequence, one, 3, 1, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceKeep(sequence, one, 2, 101, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceKeep(nullptr, one, 2, 1, &error));
  EXPECT_EQ(100, ferriteSequenceLength(sequence));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceKeep(sequence, nullptr, 2, 0, &error));
  EXPECT_EQ(0, usage().used_pages);
}

TEST(KeepWindowTest, IsForThoseWhoSeeAll) {
  FakeDecoder decoder(1, 70);
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = 3;
  FerriteCache *cache = nullptr;
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                           &cache, &error));
  FerriteSequence *sequence = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &sequence, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceKeep(sequence, nullptr, 2, 0, &error));
  ferriteCacheDestroy(cache);
}

} // namespace
