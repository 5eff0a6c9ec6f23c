//===- SnapshotTest.cpp - Sequences as bytes and tensors ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CacheFixture.h"

#include <cstdio>
#include <cstring>
#include <numeric>

using namespace ferrite::test;

namespace {

// States of two windows: each part is a snapshot, and all or none is taken.
TEST(MixedSnapshotTest, KeepsWhatEachGroupHas) {
  FakeDecoder decoder(1, 70, /*isMixed=*/true);
  FerriteError error = {};
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = 10;
  FerriteCache *cache = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                           &cache, &error))
      << error.message;
  FerriteSequence *sequence = nullptr, *back = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &sequence, &error));
  ASSERT_EQ(FERRITE_OK, ferriteSequenceAppend(sequence, 300, nullptr, &error));
  EXPECT_EQ(3, ferriteSequenceEvict(sequence, 300));
  size_t count = 0;
  EXPECT_EQ(-1, ferriteSequenceGroupPages(sequence, 2, &count)[2]);
  EXPECT_LE(0, ferriteSequenceGroupPages(sequence, 0, &count)[2]);
  EXPECT_EQ(nullptr, ferriteSequenceGroupPages(sequence, 1, &count));
  FerriteCacheUsage usage;
  ferriteCacheUsage(cache, &usage);
  EXPECT_EQ(usage.used_bytes, (5 + 2) * usage.kept_page_bytes);
  EXPECT_EQ(usage.page_bytes, 2 * usage.kept_page_bytes);
  std::vector<uint64_t> data(ferriteSequenceSnapshotBytes(sequence) / 8 + 1);
  uint64_t bytes = ferriteSequenceSnapshotBytes(sequence);
  ASSERT_EQ(FERRITE_OK,
            ferriteSequenceSnapshot(sequence, data.data(), bytes, &error))
      << error.message;
  ASSERT_EQ(FERRITE_OK,
            ferriteSequenceRestore(cache, data.data(), bytes, &back, &error))
      << error.message;
  EXPECT_EQ(300, ferriteSequenceLength(back));
  EXPECT_EQ(-1, ferriteSequenceGroupPages(back, 2, &count)[2]);
  EXPECT_EQ(bytes, ferriteSequenceSnapshotBytes(back));
  ferriteSequenceDestroy(back);
  for (uint64_t cut : {uint64_t(0), uint64_t(40), bytes / 2, bytes - 1})
    EXPECT_EQ(FERRITE_INCOMPATIBLE,
              ferriteSequenceRestore(cache, data.data(), cut, &back, &error))
        << cut;
  data[bytes / 8 - 2] ^= 1;
  EXPECT_EQ(FERRITE_INCOMPATIBLE,
            ferriteSequenceRestore(cache, data.data(), bytes, &back, &error));
  // What was evicted cannot be gone back to, in either.
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceTruncate(sequence, 200, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceFork(sequence, 100, &back, &error));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceTruncate(sequence, 290, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceRemove(sequence, 64, 128, &error));
  ferriteSequenceDestroy(sequence);
  ferriteCacheUsage(cache, &usage);
  EXPECT_EQ(0, usage.used_bytes);
  EXPECT_EQ(0, usage.sequences);
  ferriteCacheDestroy(cache);
}

// Pages at the beginning that a window passes by: they stay, and come back.
TEST(MixedSnapshotTest, KeepsSinks) {
  FakeDecoder decoder(1, 70, /*isMixed=*/true);
  decoder.states[2].sinks = decoder.states[3].sinks = 10;
  FerriteError error = {};
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = 12;
  FerriteCache *cache = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                           &cache, &error))
      << error.message;
  FerriteSequence *sequence = nullptr, *back = nullptr, *fork = nullptr;
  const int64_t heads = decoder.states[2].heads,
                depth = decoder.states[2].width;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &sequence, &error));
  std::vector<float> numbers(size_t(heads * depth * 300));
  std::iota(numbers.begin(), numbers.end(), 1.0f);
  FerriteTensor tensors[4] = {};
  for (FerriteTensor &tensor : tensors) {
    tensor.data = numbers.data();
    tensor.bytes = numbers.size() * sizeof(float);
    tensor.dtype = FERRITE_F32;
    tensor.rank = 4;
    const int64_t shape[] = {1, heads, 300, depth};
    std::copy(shape, shape + 4, tensor.shape);
  }
  ASSERT_EQ(FERRITE_OK, ferriteSequenceImport(sequence, tensors, 4, 0, &error))
      << error.message;
  EXPECT_EQ(2, ferriteSequenceEvict(sequence, 300));
  EXPECT_EQ(0, ferriteSequenceEvict(sequence, 300));
  auto pagesOf = [](FerriteSequence *of) {
    size_t count = 0;
    const int32_t *pages = ferriteSequenceGroupPages(of, 2, &count);
    std::vector<bool> there;
    for (size_t i = 0; i < count; ++i)
      there.push_back(pages[i] >= 0);
    return there;
  };
  const std::vector<bool> kept = {true, false, false, true, true};
  EXPECT_EQ(kept, pagesOf(sequence));
  uint64_t bytes = ferriteSequenceSnapshotBytes(sequence);
  std::vector<uint64_t> data(bytes / 8 + 1);
  ASSERT_EQ(FERRITE_OK,
            ferriteSequenceSnapshot(sequence, data.data(), bytes, &error))
      << error.message;
  ASSERT_EQ(FERRITE_OK,
            ferriteSequenceRestore(cache, data.data(), bytes, &back, &error))
      << error.message;
  EXPECT_EQ(kept, pagesOf(back));
  EXPECT_EQ(bytes, ferriteSequenceSnapshotBytes(back));
  for (auto [begin, end] : {std::pair(0, 64), std::pair(192, 300)}) {
    size_t size = size_t(heads * depth * (end - begin));
    std::vector<float> one(size), other(size);
    for (FerriteSequence *of : {sequence, back})
      EXPECT_EQ(FERRITE_OK,
                ferriteSequenceExport(of, 2, begin, end,
                                      of == back ? other.data() : one.data(),
                                      size * sizeof(float), &error));
    EXPECT_EQ(one, other);
    EXPECT_EQ(one[0], numbers[size_t(begin * depth)]);
  }
  std::vector<float> none(numbers.size());
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceExport(sequence, 2, 60, 70, none.data(),
                                  none.size() * sizeof(float), &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceTruncate(back, 200, &error));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceFork(back, 64, &fork, &error));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceTruncate(back, 60, &error));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceAppend(back, 100, nullptr, &error));
  EXPECT_EQ((std::vector<bool>{true, true, true}), pagesOf(back));
  for (FerriteSequence *of : {sequence, back, fork})
    ferriteSequenceDestroy(of);
  FerriteCacheUsage usage;
  ferriteCacheUsage(cache, &usage);
  EXPECT_EQ(0, usage.used_bytes);
  ferriteCacheDestroy(cache);
}

class SnapshotTest : public CacheTest {
protected:
  std::vector<uint64_t> snapshot(FerriteSequence *of) {
    std::vector<uint64_t> bytes(ferriteSequenceSnapshotBytes(of) / 8);
    EXPECT_EQ(FERRITE_OK, ferriteSequenceSnapshot(of, bytes.data(),
                                                  bytes.size() * 8, &error))
        << error.message;
    return bytes;
  }
  FerriteStatus restore(const std::vector<uint64_t> &bytes,
                        FerriteSequence **result) {
    return ferriteSequenceRestore(cache, bytes.data(), bytes.size() * 8, result,
                                  &error);
  }
};

TEST_F(SnapshotTest, ComesBackElsewhere) {
  make(16);
  Tokens all = text(130, 1), more = text(3, 2);
  FerriteSequence *s = sequence(), *back = nullptr;
  step(s, all);
  std::vector<uint64_t> bytes = snapshot(s);
  // Drafts that were taken back leave no trace in it.
  step(s, more);
  ferriteSequenceTruncate(s, 130, &error);
  EXPECT_EQ(bytes, snapshot(s));
  ferriteSequenceDestroy(s);
  EXPECT_EQ(FERRITE_OK, append(sequence(), 64)); // other pages than before
  ASSERT_EQ(FERRITE_OK, restore(bytes, &back)) << error.message;
  EXPECT_EQ(130, ferriteSequenceLength(back));
  EXPECT_EQ(bytes, snapshot(back));
  Tokens both = all;
  both.insert(both.end(), more.begin(), more.end());
  EXPECT_EQ(decoder->logitsOf(both), step(back, more));
}

TEST_F(SnapshotTest, OfAWindowAndOfNothing) {
  make(6, 1000, 70);
  Tokens all = text(300, 3);
  FerriteSequence *s = sequence(), *back = nullptr;
  step(s, all);
  EXPECT_EQ(3, ferriteSequenceEvict(s, 300));
  std::vector<uint64_t> bytes = snapshot(s);
  ferriteSequenceDestroy(s);
  ASSERT_EQ(FERRITE_OK, restore(bytes, &back)) << error.message;
  EXPECT_EQ(2, usage().used_pages);
  all.push_back(1);
  EXPECT_EQ(decoder->logitsOf(all), step(back, {1}));
  s = sequence();
  bytes = snapshot(s);
  ASSERT_EQ(FERRITE_OK, restore(bytes, &back)) << error.message;
  EXPECT_EQ(0, ferriteSequenceLength(back));
}

// No byte of it may be changed, none may be missing.
TEST_F(SnapshotTest, RefusesWhatWasChanged) {
  make(4, 200);
  FerriteSequence *s = sequence(), *back = nullptr;
  step(s, text(65, 4));
  const std::vector<uint64_t> good = snapshot(s);
  FerriteCacheUsage before = usage();
  for (size_t i = 0; i < good.size() * 8; i += i < 64 ? 1 : 97) {
    std::vector<uint64_t> bad = good;
    reinterpret_cast<uint8_t *>(bad.data())[i] ^= 0x41;
    EXPECT_NE(FERRITE_OK, restore(bad, &back)) << i;
    EXPECT_EQ(nullptr, back);
  }
  for (size_t size = 1; size < good.size(); size += 5)
    EXPECT_EQ(FERRITE_INCOMPATIBLE,
              restore({good.begin(), good.begin() + size}, &back));
  std::vector<uint64_t> longer = good;
  longer.push_back(0);
  EXPECT_EQ(FERRITE_INCOMPATIBLE, restore(longer, &back));
  // Of a model with other weights.
  FakeDecoder other(2);
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = 4;
  FerriteCache *otherCache = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(other.open(), nullptr, &options,
                                           &otherCache, &error));
  EXPECT_EQ(FERRITE_INCOMPATIBLE,
            ferriteSequenceRestore(otherCache, good.data(), good.size() * 8,
                                   &back, &error));
  EXPECT_STREQ("not a snapshot of this model: it is of another model or entry",
               error.message);
  ferriteCacheDestroy(otherCache);
  EXPECT_EQ(before.used_pages, usage().used_pages);
  EXPECT_EQ(before.sequences, usage().sequences);
}

TEST_F(SnapshotTest, NeedsPages) {
  make(3);
  FerriteSequence *s = sequence(), *back = nullptr;
  step(s, text(128, 5));
  std::vector<uint64_t> bytes = snapshot(s);
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, restore(bytes, &back));
  EXPECT_EQ(1, usage().sequences);
}

TEST_F(SnapshotTest, GoesThroughFiles) {
  make(8);
  Tokens all = text(70, 6);
  FerriteSequence *s = sequence(), *back = nullptr;
  step(s, all);
  std::string path = ::testing::TempDir() + "ferrite-snapshot-test";
  ASSERT_EQ(FERRITE_OK, ferriteSequenceSave(s, path.c_str(), &error))
      << error.message;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceLoad(cache, path.c_str(), &back, &error))
      << error.message;
  all.push_back(9);
  EXPECT_EQ(decoder->logitsOf(all), step(back, {9}));
  remove(path.c_str());
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteSequenceLoad(cache, path.c_str(), &back, &error));
  EXPECT_EQ(FERRITE_IO, ferriteSequenceSave(s, "/nowhere/at/all", &error));
  EXPECT_EQ(FERRITE_INCOMPATIBLE,
            ferriteSequenceLoad(cache, "/dev/null", &back, &error));
}

TEST_F(SnapshotTest, TakesTensorsOfThePast) {
  make(8);
  FerriteSequence *s = sequence();
  Tokens all = text(100, 7);
  step(s, all);
  const size_t H = FakeDecoder::heads, D = FakeDecoder::width, n = 100;
  // Two sequences: zeros, and what was computed.
  std::vector<float> keys(2 * H * n * D), values = keys;
  for (size_t state : {0, 1})
    ASSERT_EQ(FERRITE_OK,
              ferriteSequenceExport(s, state, 0, 100,
                                    (state ? values : keys).data() + H * n * D,
                                    H * n * D * 4, &error));
  std::vector<int64_t> shape = {2, int64_t(H), int64_t(n), int64_t(D)};
  FerriteTensor pasts[] = {view(FERRITE_F32, keys, shape),
                           view(FERRITE_F32, values, shape)};
  FerriteSequence *filled = sequence();
  ASSERT_EQ(FERRITE_OK, ferriteSequenceImport(filled, pasts, 2, 1, &error))
      << error.message;
  all.push_back(3);
  EXPECT_EQ(decoder->logitsOf(all), step(filled, {3}));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceImport(filled, pasts, 2, 2, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceImport(filled, pasts, 1, 0, &error));
  pasts[1].shape[2] = 99;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceImport(filled, pasts, 2, 0, &error));
  EXPECT_STREQ("'past.value' has 99 tokens, an earlier one 100", error.message);
}

} // namespace
