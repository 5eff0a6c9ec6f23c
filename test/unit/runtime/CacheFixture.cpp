//===- CacheFixture.cpp - A decoder, its cache and a session --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CacheFixture.h"

#include <algorithm>

using namespace ferrite::test;

void CacheTest::make(int64_t pages, int64_t maxTokens, int64_t window) {
  decoder = new FakeDecoder(1, window);
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  options.pages = pages;
  options.max_tokens = maxTokens;
  ASSERT_EQ(FERRITE_OK, ferriteCacheCreate(decoder->open(), nullptr, &options,
                                           &cache, &error))
      << error.message;
  FerriteSessionOptions one = {};
  one.size = sizeof one;
  one.threads = 1;
  ASSERT_EQ(FERRITE_OK, ferriteSessionCreate(decoder->open(), nullptr, &one,
                                             &session, &error));
  ASSERT_EQ(FERRITE_OK, ferriteCacheBind(cache, session, &error))
      << error.message;
}

void CacheTest::TearDown() {
  ferriteSessionDestroy(session);
  ferriteCacheDestroy(cache);
  delete decoder;
}

FerriteSequence *CacheTest::sequence() {
  FerriteSequence *result = nullptr;
  EXPECT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &result, &error));
  return result;
}

FerriteCacheUsage CacheTest::usage() const {
  FerriteCacheUsage result = {};
  ferriteCacheUsage(cache, &result);
  return result;
}

std::vector<std::vector<float>>
CacheTest::step(const std::vector<Chunk> &runs) {
  Tokens ids, positions, slots, masks, rows;
  std::vector<int32_t> begins = {0}, contexts, tables;
  size_t width = 1, count = 0;
  for (const Chunk &run : runs) {
    int64_t context = ferriteSequenceLength(run.sequence);
    contexts.push_back(static_cast<int32_t>(context));
    slots.resize(ids.size() + run.tokens.size());
    EXPECT_EQ(FERRITE_OK,
              append(run.sequence, static_cast<int64_t>(run.tokens.size()),
                     slots.data() + ids.size()))
        << error.message;
    for (size_t i = 0; i < run.tokens.size(); ++i) {
      rows.push_back(static_cast<int64_t>(ids.size()));
      ids.push_back(run.tokens[i]);
      positions.push_back(run.positions.empty()
                              ? context + static_cast<int64_t>(i)
                              : run.positions[i]);
      masks.push_back(run.masks.empty() ? 0 : run.masks[i]);
    }
    begins.push_back(static_cast<int32_t>(ids.size()));
    ferriteSequencePages(run.sequence, &count);
    width = std::max(width, count);
  }
  for (const Chunk &run : runs) {
    const int32_t *pages = ferriteSequencePages(run.sequence, &count);
    tables.insert(tables.end(), pages, pages + count);
    tables.resize(tables.size() + width - count, -1);
  }
  auto n = static_cast<int64_t>(ids.size());
  auto r = static_cast<int64_t>(runs.size());
  std::vector<FerriteTensor> inputs = {
      view(FERRITE_I64, ids, {n}),
      view(FERRITE_I64, positions, {n}),
      view(FERRITE_I64, slots, {n}),
      view(FERRITE_I32, begins, {r + 1}),
      view(FERRITE_I32, contexts, {r}),
      view(FERRITE_I64, masks, {n}),
      view(FERRITE_I32, tables, {r, static_cast<int64_t>(width)}),
      view(FERRITE_I64, rows, {n})};
  FerriteTensor output = {};
  EXPECT_EQ(FERRITE_OK, ferriteSessionRun(session, inputs.data(), inputs.size(),
                                          &output, 1, &error))
      << error.message;
  std::vector<float> all = floats(output);
  std::vector<std::vector<float>> result;
  const int64_t V = FakeDecoder::vocabulary;
  for (int64_t i = 0; i < n; ++i)
    result.emplace_back(all.begin() + i * V, all.begin() + (i + 1) * V);
  return result;
}
