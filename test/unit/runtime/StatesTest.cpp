//===- StatesTest.cpp - What is checked before a step ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeDecoder.h"

#include <functional>

using namespace ferrite::test;

namespace {

/// Two runs, of 3 and 1 tokens, in a pool of 4 pages.
struct StatesTest : ::testing::Test {
  std::vector<int64_t> ids = {1, 2, 3, 4}, positions = {0, 1, 2, 70},
                       slots = {0, 1, 2, 134}, visible = {0, 0, 0, 0},
                       rows = {2, 3};
  std::vector<int32_t> begins = {0, 3, 4}, contexts = {0, 70},
                       tables = {0, -1, 1, 2};
  FakeDecoder decoder;
  Scoped session{decoder.open()};
  FerriteError error = {};
  std::vector<float> keys, values;

  FerriteStatus bind(int64_t pages = 4) {
    const size_t page = FakeDecoder::heads * FakeDecoder::width * 64;
    keys.resize(page * 4 + 16);
    values.resize(page * 4 + 16);
    auto aligned = [](std::vector<float> &block) -> void * {
      auto address = reinterpret_cast<uintptr_t>(block.data());
      return reinterpret_cast<void *>((address + 63) & ~uintptr_t(63));
    };
    void *bases[] = {aligned(keys), aligned(values)};
    return ferriteSessionBindStates(session, bases, 2, pages, &error);
  }
  FerriteStatus run() {
    int64_t n = int64_t(ids.size()), r = int64_t(contexts.size());
    std::vector<FerriteTensor> inputs = {
        view(FERRITE_I64, ids, {n}),
        view(FERRITE_I64, positions, {n}),
        view(FERRITE_I64, slots, {n}),
        view(FERRITE_I32, begins, {int64_t(begins.size())}),
        view(FERRITE_I32, contexts, {r}),
        view(FERRITE_I64, visible, {n}),
        view(FERRITE_I32, tables, {r, int64_t(tables.size()) / r}),
        view(FERRITE_I64, rows, {int64_t(rows.size())})};
    return ferriteSessionRun(session, inputs.data(), inputs.size(), nullptr, 0,
                             &error);
  }
  /// One thing at a time is wrong.
  template <typename T>
  void refuses(T &place, T value, const char *message) {
    T kept = place;
    place = value;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
    EXPECT_STREQ(message, error.message);
    place = kept;
    EXPECT_EQ(FERRITE_OK, run()) << error.message;
  }
};

TEST_F(StatesTest, NeedsMemory) {
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
  EXPECT_STREQ("the entry 'main' keeps a state between calls: bind its memory "
               "first (ferriteSessionBindStates)",
               error.message);
  void *odd[] = {&error, reinterpret_cast<void *>(66)};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionBindStates(session, odd, 1, 4, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionBindStates(session, nullptr, 2, 4, &error));
  odd[0] = reinterpret_cast<void *>(64);
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionBindStates(session, odd, 2, 4, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, bind(INT64_MAX));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, bind(0));
  EXPECT_EQ(FERRITE_OK, bind());
  EXPECT_EQ(FERRITE_OK, run()) << error.message;
}

TEST_F(StatesTest, LooksAtEachNumber) {
  ASSERT_EQ(FERRITE_OK, bind());
  ASSERT_EQ(FERRITE_OK, run()) << error.message;
  refuses(slots[1], int64_t(256),
          "'slots' holds 256 at [1], outside of 4 pages of 64");
  refuses(slots[0], int64_t(-1),
          "'slots' holds -1 at [0], outside of 4 pages of 64");
  refuses(begins[0], 1,
          "'run_begins' goes from 1 to 4, the tokens from 0 to 4");
  refuses(begins[2], 5,
          "'run_begins' goes from 0 to 5, the tokens from 0 to 4");
  refuses(begins[1], 5, "'run_begins' falls from 5 to 4 at [2]");
  refuses(contexts[1], 128,
          "run 1: 1 tokens behind 128 do not fit into 2 pages of its table");
  refuses(contexts[1], INT32_MAX,
          "run 1: 1 tokens behind 2147483647 do not fit into 2 pages of its "
          "table");
  refuses(contexts[0], -1, "'contexts' holds -1 at [0]");
  refuses(tables[0], -1,
          "'page_tables' holds -1 at [0, 0], outside of 4 pages");
  refuses(tables[3], 4, "'page_tables' holds 4 at [1, 1], outside of 4 pages");
  refuses(rows[1], int64_t(4),
          "'logit_rows' holds 4 at [1], outside of 4 tokens");
  refuses(rows[0], int64_t(-1),
          "'logit_rows' holds -1 at [0], outside of 4 tokens");
  begins.push_back(4);
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
  EXPECT_STREQ("'run_begins' has 4 elements, for 2 runs it needs 3",
               error.message);
}

TEST_F(StatesTest, MasksAreForShortRuns) {
  ASSERT_EQ(FERRITE_OK, bind());
  ids.assign(65, 1);
  positions.assign(65, 0);
  slots.assign(65, 5);
  visible.assign(65, 0);
  begins = {0, 64, 65};
  visible[3] = 1;
  EXPECT_EQ(FERRITE_OK, run()) << error.message;
  begins = {0, 65, 65};
  tables[1] = 3;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, run());
  EXPECT_STREQ("'visible' holds a mask at [3], of a run of 65 tokens: the most "
               "is 64",
               error.message);
}

TEST_F(StatesTest, OutputsLieElsewhere) {
  ASSERT_EQ(FERRITE_OK, bind());
  FerriteAbiState info = {};
  EXPECT_EQ(FERRITE_OK, ferriteModelState(decoder.open(), 0, 1, &info, &error));
  EXPECT_STREQ("past.value", info.name);
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteModelState(decoder.open(), 0, 2, &info, &error));
  FerriteEntryInfo entry = {};
  ferriteModelEntry(decoder.open(), 0, &entry, &error);
  EXPECT_EQ(2u, entry.state_count);
  EXPECT_EQ(uint32_t(FERRITE_ENTRY_STEP), entry.role);
}

/// What `spoil` changes must be found when the model is opened.
void expectBroken(const std::function<void(FakeDecoder &)> &spoil,
                  const char *message) {
  FakeDecoder bad;
  spoil(bad);
  FerriteModel *model = nullptr;
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INTERNAL,
            ferriteModelOpen(&bad.link(), nullptr, &model, &error));
  EXPECT_TRUE(strstr(error.message, message)) << error.message;
}

TEST(StatesTables, MustAgree) {
  expectBroken([](FakeDecoder &d) { d.states[0].page_bytes = 100; },
               "a page of state 'past.key' has 100 bytes");
  expectBroken([](FakeDecoder &d) { d.states[0].heads = INT64_MAX; },
               "a page of state 'past.key'");
  expectBroken([](FakeDecoder &d) { d.states[1].kind = 3; },
               "state 'past.value' has kind 3");
  // Of keys that are not there.
  expectBroken(
      [](FakeDecoder &d) {
        d.states[1].kind = FERRITE_STATE_SUMMARY;
        d.states[1].layer = 7;
      },
      "is a summary of keys that are not there");
  expectBroken([](FakeDecoder &d) { d.states[1].window = 0; }, "window 0");
  expectBroken([](FakeDecoder &d) { d.states.pop_back(); },
               "argument 10 of launch '/step' has index 1 of 1");
  expectBroken([](FakeDecoder &d) { d.arguments[9].offset = 1 << 30; },
               "launch '/step' reads state 'past.key' at 1073741824");
  expectBroken([](FakeDecoder &d) { d.inputs[2].name = "places"; },
               "has no input 'slots' of dtype i64 and rank 1");
  expectBroken([](FakeDecoder &d) { d.inputs[3].dtype = FERRITE_I64; },
               "has no input 'run_begins' of dtype i32 and rank 1");
  expectBroken([](FakeDecoder &d) { d.inputs[5].dims = d.inputs[7].dims; },
               "inputs 'visible' and 'slots' of the step entry 'main' differ");
  expectBroken([](FakeDecoder &d) { d.role = FerriteEntryRole(3); },
               "has role 3");
  // Of a block of layers that runs may leave out all inputs or none.
  auto with = [](std::vector<std::pair<const char *, int32_t>> more) {
    return [more](FakeDecoder &d) {
      for (auto [name, dtype] : more) {
        d.inputs.push_back(d.inputs[7]);
        d.inputs.back().name = name;
        d.inputs.back().dtype = dtype;
      }
    };
  };
  expectBroken(with({{"layer_rows_4", FERRITE_I64}}),
               "has 'layer_rows_4' and not all of what belongs to it");
  expectBroken(with({{"layer_rows_4", FERRITE_I64},
                     {"layer_runs_4", FERRITE_I64},
                     {"layer_begins_4", FERRITE_I64}}),
               "has 'layer_rows_4' and not all of what belongs to it");
  expectBroken(with({{"layer_runs_4", FERRITE_I64},
                     {"layer_begins_4", FERRITE_I32},
                     {"layer_rows_44", FERRITE_I64}}),
               "has 'layer_runs_4' and not all of what belongs to it");
  // Of runs that are weighed both or none.
  expectBroken(with({{"weigh_runs", FERRITE_I64}}),
               "has no input 'weigh_tokens' of dtype i32 and rank 1");
  expectBroken(with({{"weigh_tokens", FERRITE_I32}}),
               "has no input 'weigh_runs' of dtype i64 and rank 1");
  expectBroken(
      with({{"weigh_runs", FERRITE_I64}, {"weigh_tokens", FERRITE_I64}}),
      "has no input 'weigh_tokens' of dtype i32 and rank 1");
}

} // namespace
