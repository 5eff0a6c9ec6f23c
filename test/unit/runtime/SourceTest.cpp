//===- SourceTest.cpp - States of what a decoder reads --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeDecoder.h"

#include "ferrite/cache.h"

#include <numeric>

using namespace ferrite::test;

namespace {

/// A decoder with two states of a source. Its kernel does not read them: here
/// it is about who keeps them, and what is checked.
struct SourceTest : ::testing::Test {
  static constexpr int64_t H = 3, D = 2, P = FERRITE_PAGE_TOKENS;
  FakeDecoder decoder;
  FerriteError error = {};
  FerriteCache *own = nullptr, *source = nullptr;
  FerriteSession *session = nullptr;

  SourceTest() {
    const int64_t bytes = H * D * P * int64_t(sizeof(float));
    decoder.symbols.push_back({"source_table", 1, INT64_MAX});
    decoder.inputs.push_back(decoder.tensor("source_lengths", FERRITE_I32,
                                            {FakeModel::symbolic(1)}));
    decoder.inputs.push_back(
        decoder.tensor("source_tables", FERRITE_I32,
                       {FakeModel::symbolic(1), FakeModel::symbolic(5)}));
    decoder.states.push_back({"source.key", FERRITE_F32, FERRITE_STATE_KEYS, 0,
                              FERRITE_STATE_SOURCE, H, D, P, bytes, -1, 0});
    decoder.states.push_back({"source.value", FERRITE_F32, FERRITE_STATE_VALUES,
                              0, FERRITE_STATE_SOURCE, H, D, P, bytes, -1, 0});
  }
  void open() {
    own = cache(FERRITE_STATE_OWN, 4);
    source = cache(FERRITE_STATE_SOURCE, 3);
    FerriteSessionOptions one = {};
    one.size = sizeof one;
    one.threads = 1;
    ASSERT_EQ(FERRITE_OK, ferriteSessionCreate(decoder.open(), nullptr, &one,
                                               &session, &error));
  }
  FerriteCache *cache(int32_t group, int64_t pages) {
    FerriteCacheOptions options = {sizeof options, pages, 0, group, 0, nullptr};
    FerriteCache *made = nullptr;
    EXPECT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                             &made, &error))
        << error.message;
    return made;
  }
  FerriteSequence *encoded(int64_t tokens, float first) {
    std::vector<float> keys(size_t(H * tokens * D)), values(keys.size());
    std::iota(keys.begin(), keys.end(), first);
    std::iota(values.begin(), values.end(), -first);
    FerriteTensor tensors[] = {view(FERRITE_F32, keys, {1, H, tokens, D}),
                               view(FERRITE_F32, values, {1, H, tokens, D})};
    FerriteSequence *sequence = nullptr;
    EXPECT_EQ(FERRITE_OK, ferriteSequenceCreate(source, &sequence, &error));
    EXPECT_EQ(FERRITE_OK,
              ferriteSequenceImport(sequence, tensors, 2, 0, &error))
        << error.message;
    return sequence;
  }
  static std::vector<float> rowsOf(FerriteSequence *sequence, size_t state) {
    int64_t tokens = ferriteSequenceLength(sequence);
    std::vector<float> rows(size_t(H * tokens * D));
    EXPECT_EQ(FERRITE_OK,
              ferriteSequenceExport(sequence, state, 0, tokens, rows.data(),
                                    rows.size() * sizeof(float), nullptr));
    return rows;
  }
  FerriteCacheUsage usage(const FerriteCache *of) {
    FerriteCacheUsage result = {};
    ferriteCacheUsage(of, &result);
    return result;
  }
  void TearDown() override {
    ferriteSessionDestroy(session);
    ferriteCacheDestroy(own);
    ferriteCacheDestroy(source);
  }
};

TEST_F(SourceTest, EachGroupHasPagesOfItsOwn) {
  open();
  FerriteSequence *a = encoded(70, 1);
  EXPECT_EQ(2, usage(source).used_pages);
  EXPECT_EQ(2 * H * D * P * 4, usage(source).page_bytes);
  EXPECT_EQ(0, usage(own).used_pages);
  FerriteSequence *b = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceFork(a, 70, &b, &error));
  EXPECT_EQ(2, usage(source).used_pages);
  EXPECT_EQ(2, usage(source).shared_pages);
  std::vector<float> keys = rowsOf(a, 0), values = rowsOf(a, 1);
  EXPECT_EQ(1, keys[0]);
  EXPECT_EQ(-1, values[0]);
  ferriteSequenceDestroy(a);
  EXPECT_EQ(keys, rowsOf(b, 0));
  std::vector<char> bytes(ferriteSequenceSnapshotBytes(b) + 8);
  ASSERT_EQ(FERRITE_OK,
            ferriteSequenceSnapshot(b, bytes.data(), bytes.size(), &error));
  ferriteSequenceDestroy(b);
  EXPECT_EQ(0, usage(source).used_pages);
  bytes.resize(bytes.size() - 8);
  // A snapshot of a source is none of the sequence itself.
  EXPECT_EQ(
      FERRITE_INCOMPATIBLE,
      ferriteSequenceRestore(own, bytes.data(), bytes.size(), &a, &error));
  ASSERT_EQ(FERRITE_OK, ferriteSequenceRestore(source, bytes.data(),
                                               bytes.size(), &a, &error))
      << error.message;
  EXPECT_EQ(keys, rowsOf(a, 0));
  EXPECT_EQ(values, rowsOf(a, 1));
  FerriteSequence *large = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSequenceCreate(source, &large, &error));
  EXPECT_EQ(FERRITE_OUT_OF_PAGES,
            ferriteSequenceAppend(large, 65, nullptr, &error));
}

TEST_F(SourceTest, NamesOfGroups) {
  FerriteCacheOptions options = {sizeof options, 1, 0, 2, 0, nullptr};
  FerriteCache *made = nullptr;
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteCacheCreate(decoder.open(), nullptr,
                                                  &options, &made, &error));
  EXPECT_STREQ("the entry 'main' has no states of group 2", error.message);
}

TEST_F(SourceTest, LooksAtTablesOfSources) {
  open();
  FerriteSequence *text = nullptr, *read = encoded(70, 1);
  ASSERT_EQ(FERRITE_OK, ferriteSequenceCreate(own, &text, &error));
  std::vector<int64_t> ids = {1, 2}, positions = {0, 1}, slots(2),
                       visible = {0, 0}, rows = {1};
  ASSERT_EQ(FERRITE_OK, ferriteSequenceAppend(text, 2, slots.data(), &error));
  std::vector<int32_t> begins = {0, 2}, contexts = {0}, tables = {0},
                       lengths = {70}, sources = {0, 1};
  sources[0] = ferriteSequencePages(read, nullptr)[0];
  sources[1] = ferriteSequencePages(read, nullptr)[1];
  tables[0] = ferriteSequencePages(text, nullptr)[0];
  auto run = [&] {
    std::vector<FerriteTensor> inputs = {
        view(FERRITE_I64, ids, {2}),       view(FERRITE_I64, positions, {2}),
        view(FERRITE_I64, slots, {2}),     view(FERRITE_I32, begins, {2}),
        view(FERRITE_I32, contexts, {1}),  view(FERRITE_I64, visible, {2}),
        view(FERRITE_I32, tables, {1, 1}), view(FERRITE_I64, rows, {1}),
        view(FERRITE_I32, lengths, {1}),   view(FERRITE_I32, sources, {1, 2})};
    return ferriteSessionRun(session, inputs.data(), inputs.size(), nullptr, 0,
                             &error);
  };
  ASSERT_EQ(FERRITE_OK, ferriteCacheBind(own, session, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run()) << "one group is not bound";
  ASSERT_EQ(FERRITE_OK, ferriteCacheBind(source, session, &error));
  ASSERT_EQ(FERRITE_OK, run()) << error.message;
  lengths[0] = 129;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
  EXPECT_STREQ("'source_lengths' holds 129 at [0]: it must fit into 2 pages of "
               "its table",
               error.message);
  lengths[0] = 70;
  sources[1] = 3;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
  EXPECT_STREQ("'source_tables' holds 3 at [0, 1], outside of 3 pages",
               error.message);
  sources[1] = -1;
  lengths[0] = 64; // the second page is not read
  EXPECT_EQ(FERRITE_OK, run()) << error.message;
}

TEST_F(SourceTest, RefusesTablesOfABrokenCompiler) {
  std::swap(decoder.states[1], decoder.states[2]);
  FerriteModel *model = nullptr;
  EXPECT_EQ(FERRITE_INTERNAL,
            ferriteModelOpen(&decoder.link(), nullptr, &model, &error));
  std::swap(decoder.states[1], decoder.states[2]);
  decoder.inputs.pop_back();
  EXPECT_EQ(FERRITE_INTERNAL,
            ferriteModelOpen(&decoder.link(), nullptr, &model, &error));
}

} // namespace
