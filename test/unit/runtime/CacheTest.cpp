//===- CacheTest.cpp - Pages and sequences --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CacheFixture.h"

#include <cmath>

using namespace ferrite::test;

namespace {

Tokens operator+(Tokens a, const Tokens &b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(CacheTest, ComputesWhatOneLongCallComputes) {
  make(16);
  Tokens all = text(150, 1);
  FerriteSequence *whole = sequence(), *parts = sequence();
  std::vector<float> expected = decoder->logitsOf(all);
  EXPECT_EQ(expected, step(whole, all));
  // In chunks that begin and end anywhere in a page, beside another sequence.
  size_t at = 0;
  std::vector<float> last;
  for (size_t size : {1u, 62u, 1u, 1u, 63u, 22u}) {
    Tokens chunk(all.begin() + at, all.begin() + at + size);
    FerriteSequence *other = sequence();
    last = step({{other, text(3, int64_t(at))}, {parts, chunk}}).back();
    ferriteSequenceDestroy(other);
    at += size;
  }
  ASSERT_EQ(all.size(), at);
  EXPECT_EQ(expected, last);
  EXPECT_EQ(6, usage().used_pages);
  EXPECT_EQ(300, usage().tokens);
  EXPECT_EQ(2, usage().sequences);
}

TEST_F(CacheTest, SharesPrefixesUntilSomebodyWrites) {
  make(16);
  Tokens prefix = text(100, 2), a = text(5, 3), b = text(40, 4);
  FerriteSequence *parent = sequence(), *child = nullptr;
  step(parent, prefix);
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(parent, 100, &child, &error));
  EXPECT_EQ(2, usage().used_pages);
  EXPECT_EQ(2, usage().shared_pages);
  EXPECT_EQ(1, ferriteSequencePagesFor(child, 1)); // the copy
  EXPECT_EQ(2, ferriteSequencePagesFor(child, 29));
  // Both go on, in one call; neither sees the other's tokens.
  auto rows = step({{parent, a}, {child, b}});
  EXPECT_EQ(decoder->logitsOf(prefix + a), rows[a.size() - 1]);
  EXPECT_EQ(decoder->logitsOf(prefix + b), rows.back());
  EXPECT_EQ(1, usage().shared_pages);
  EXPECT_EQ(4, usage().used_pages); // one shared, one each, one more of b
  // From the middle of a page, while its owner has more in it.
  FerriteSequence *middle = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(parent, 70, &middle, &error));
  Tokens begin(prefix.begin(), prefix.begin() + 70);
  EXPECT_EQ(decoder->logitsOf(begin + b), step(middle, b));
  EXPECT_EQ(decoder->logitsOf(prefix + a + a), step(parent, a));
  ferriteSequenceDestroy(parent);
  EXPECT_EQ(decoder->logitsOf(prefix + b + b), step(child, b));
  ferriteSequenceDestroy(child);
  ferriteSequenceDestroy(middle);
  EXPECT_EQ(0, usage().used_pages);
  EXPECT_EQ(0, usage().shared_pages);
  EXPECT_EQ(0, usage().tokens);
}

TEST_F(CacheTest, ForgetsDrafts) {
  make(8);
  Tokens prefix = text(63, 5), drafts = text(9, 6), rest = text(4, 7);
  FerriteSequence *s = sequence();
  step(s, prefix);
  step(s, drafts);
  EXPECT_EQ(2, usage().used_pages);
  ASSERT_EQ(FERRITE_OK, ferriteSequenceTruncate(s, 63, &error));
  EXPECT_EQ(1, usage().used_pages);
  EXPECT_EQ(decoder->logitsOf(prefix + rest), step(s, rest));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, ferriteSequenceTruncate(s, 68, &error));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceTruncate(s, 0, &error));
  EXPECT_EQ(0, usage().used_pages);
}

// Two drafts behind one token, of which the second is taken: its keys move to
// where the first lay.
TEST_F(CacheTest, KeepsThePathOfATree) {
  make(8);
  Tokens prefix = text(63, 8);
  FerriteSequence *s = sequence();
  step(s, prefix);
  auto rows = step({{s, {7, 11, 12, 13}, {1, 3, 5, 13}, {63, 64, 64, 65}}});
  EXPECT_EQ(decoder->logitsOf(prefix + Tokens{7, 11}), rows[1]);
  EXPECT_EQ(decoder->logitsOf(prefix + Tokens{7, 12}), rows[2]);
  EXPECT_EQ(decoder->logitsOf(prefix + Tokens{7, 12, 13}), rows[3]);
  ASSERT_EQ(FERRITE_OK, ferriteSequenceMove(s, 65, 64, &error));
  ASSERT_EQ(FERRITE_OK, ferriteSequenceMove(s, 66, 65, &error));
  ASSERT_EQ(FERRITE_OK, ferriteSequenceTruncate(s, 66, &error));
  EXPECT_EQ(decoder->logitsOf(prefix + Tokens{7, 12, 13, 20}), step(s, {20}));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, ferriteSequenceMove(s, 67, 0, &error));
}

TEST_F(CacheTest, SaysWhenItIsFullAndHarmsNobody) {
  make(3);
  Tokens a = text(64, 9), more = text(2, 10);
  FerriteSequence *s = sequence(), *other = sequence();
  step(s, a);
  EXPECT_EQ(FERRITE_OK, append(other, 128));
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, append(s, 1));
  EXPECT_STREQ("1 tokens more need 1 pages, of 3 in the cache 0 are free",
               error.message);
  EXPECT_EQ(64, ferriteSequenceLength(s));
  EXPECT_EQ(FERRITE_OUT_OF_PAGES, append(other, 64));
  EXPECT_EQ(3, usage().peak_pages);
  ferriteSequenceDestroy(other);
  EXPECT_EQ(1, usage().used_pages);
  EXPECT_EQ(decoder->logitsOf(a + more), step(s, more));
}

TEST_F(CacheTest, LimitsSequences) {
  make(8, 100);
  FerriteSequence *s = sequence();
  EXPECT_EQ(FERRITE_OK, append(s, 99));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, append(s, 2));
  EXPECT_STREQ("a sequence of 99 tokens and 2 more: the most is 100",
               error.message);
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, append(s, -1));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, append(s, INT64_MAX));
  EXPECT_EQ(FERRITE_OK, append(s, 1));
}

// What a sequence leaves behind, NaN for one, must not reach the next one.
TEST_F(CacheTest, ClearsPagesThatAreUsedAgain) {
  make(2);
  FerriteSequence *s = sequence();
  int64_t slot = -1;
  ASSERT_EQ(FERRITE_OK, append(s, 1, &slot));
  EXPECT_EQ(0, slot);
  std::vector<float> bad(2 * 4, NAN);
  FerriteTensor past = view(FERRITE_F32, bad, {1, 2, 1, 4});
  FerriteTensor pasts[] = {past, past};
  ASSERT_EQ(FERRITE_OK, ferriteSequenceImport(s, pasts, 2, 0, &error));
  ferriteSequenceDestroy(s);
  s = sequence();
  ASSERT_EQ(FERRITE_OK, append(s, 64));
  std::vector<float> page(2 * 64 * 4, 1);
  for (size_t state : {0, 1}) {
    ASSERT_EQ(FERRITE_OK, ferriteSequenceExport(s, state, 0, 64, page.data(),
                                                page.size() * 4, &error));
    EXPECT_EQ(std::vector<float>(page.size()), page);
  }
  EXPECT_EQ(1, usage().memory_pages);
}

TEST_F(CacheTest, PutsNeighboursSideBySide) {
  make(16);
  FerriteSequence *a = sequence(), *b = sequence();
  EXPECT_EQ(FERRITE_OK, append(a, 200));
  EXPECT_EQ(FERRITE_OK, append(b, 200));
  size_t count = 0;
  const int32_t *pages = ferriteSequencePages(a, &count);
  EXPECT_EQ((std::vector<int32_t>{0, 1, 2, 3}),
            std::vector<int32_t>(pages, pages + count));
  pages = ferriteSequencePages(b, &count);
  EXPECT_EQ((std::vector<int32_t>{4, 5, 6, 7}),
            std::vector<int32_t>(pages, pages + count));
  ferriteSequenceDestroy(a);
  EXPECT_EQ(FERRITE_OK, append(b, 64));
  EXPECT_EQ(8, ferriteSequencePages(b, &count)[4]);
  ferriteCacheTrim(cache);
  EXPECT_EQ(5, usage().used_pages);
}

TEST_F(CacheTest, DropsPagesOutOfTheWindow) {
  make(4, 1000, 100);
  Tokens all = text(400, 11);
  FerriteSequence *s = sequence();
  for (size_t at = 0; at < all.size(); at += 8) {
    Tokens chunk(all.begin() + at, all.begin() + at + 8);
    std::vector<float> last = step(s, chunk); // 400 tokens in 4 pages
    EXPECT_EQ(decoder->logitsOf(Tokens(all.begin(), all.begin() + at + 8)),
              last);
    ferriteSequenceEvict(s, int64_t(at) + 8);
  }
  size_t count = 0;
  EXPECT_EQ(-1, ferriteSequencePages(s, &count)[0]);
  EXPECT_EQ(7u, count);
  EXPECT_EQ(3, usage().used_pages);
  FerriteSequence *child = nullptr;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSequenceFork(s, 300, &child, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, ferriteSequenceTruncate(s, 300, &error));
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(s, 390, &child, &error));
  Tokens begin(all.begin(), all.begin() + 390);
  EXPECT_EQ(decoder->logitsOf(begin + Tokens{5}), step(child, {5}));
  EXPECT_EQ(FERRITE_OK, ferriteSequenceTruncate(s, 0, &error));
  EXPECT_EQ(decoder->logitsOf({5}), step(s, {5}));
}

TEST_F(CacheTest, KeepsWhatAllLayersSee) {
  make(4);
  FerriteSequence *s = sequence();
  EXPECT_EQ(FERRITE_OK, append(s, 200));
  EXPECT_EQ(0, ferriteSequenceEvict(s, 200));
}

TEST_F(CacheTest, RefusesModelsOfOtherKinds) {
  FakeModel plain;
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = 1;
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteCacheCreate(plain.open(), nullptr,
                                                  &options, &cache, &error));
  EXPECT_EQ(nullptr, cache);
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteCacheCreate(plain.open(), "main", &options, &cache, &error));
  make(1);
  FerriteCache *none = nullptr;
  options.pages = INT64_MAX;
  EXPECT_EQ(
      FERRITE_INVALID_ARGUMENT,
      ferriteCacheCreate(decoder->open(), nullptr, &options, &none, &error));
  Scoped other(plain.open());
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, ferriteCacheBind(cache, other, &error));
}

} // namespace
