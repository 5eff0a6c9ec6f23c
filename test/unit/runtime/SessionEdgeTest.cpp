//===- SessionEdgeTest.cpp - Small and odd models -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

using namespace ferrite::test;

namespace {

// A model without inputs, arena, scratch or launches is a model too.
TEST(SessionEdge, RunsAnEmptyEntry) {
  FakeModel m;
  Scoped session(m.open(), 2);
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr));
}

// An output of no elements has nothing to point to, but a pointer.
TEST(SessionEdge, RunsEmptyTensors) {
  FakeModel m;
  m.symbols = {{"n", 0, INT64_MAX}};
  m.inputs = {m.tensor("x", FERRITE_F32, {m.symbolic(0)})};
  m.outputs = {m.tensor("y", FERRITE_F32, {m.symbolic(0)})};
  m.setup = [](const int64_t *symbols, int64_t *values) {
    values[0] = symbols[0];
    values[1] = 0;
  };
  m.valueCount = 2;
  m.arenaValue = 1;
  uint32_t copy = m.kernel(
      "copy", [](const FerriteArg *args) { return args[2].i64; },
      [](const FerriteArg *args, int64_t begin, int64_t end, void *) {
        for (int64_t i = begin; i < end; ++i)
          static_cast<float *>(args[1].ptr)[i] =
              static_cast<const float *>(args[0].ptr)[i];
      });
  m.launch("copy", copy,
           {{FERRITE_ARG_INPUT, 0, 0},
            {FERRITE_ARG_OUTPUT, 0, 0},
            {FERRITE_ARG_VALUE, 0, 0}});
  Scoped session(m.open(), 2);
  FerriteTensor x = {}, y = {};
  x.dtype = FERRITE_F32;
  x.rank = 1;
  EXPECT_EQ(FERRITE_OK, ferriteSessionRun(session, &x, 1, &y, 1, nullptr));
  EXPECT_EQ(0, y.shape[0]);
  EXPECT_EQ(0u, y.bytes);
  EXPECT_NE(nullptr, y.data);
  std::vector<float> data = {1, 2, 3};
  x = view(FERRITE_F32, data, {3});
  y = {};
  EXPECT_EQ(FERRITE_OK, ferriteSessionRun(session, &x, 1, &y, 1, nullptr));
  EXPECT_EQ(data, floats(y));
}

// A size that is an expression of others: mask[past + n] beside past[past] and
// x[n]. Unequal ones would let a kernel read beyond the mask.
TEST(SessionEdge, ChecksSizesThatOthersGive) {
  FakeModel m;
  m.symbols = {
      {"past", 0, INT64_MAX}, {"n", 1, INT64_MAX}, {"past + n", 0, INT64_MAX}};
  FerriteAbiDim sum = {0, 2, 1}; // has to be values[0]
  m.inputs = {m.tensor("past", FERRITE_F32, {m.symbolic(0)}),
              m.tensor("mask", FERRITE_F32, {sum}),
              m.tensor("x", FERRITE_F32, {m.symbolic(1)})};
  m.setup = [](const int64_t *symbols, int64_t *values) {
    values[0] = symbols[0] + symbols[1];
    values[1] = 0;
  };
  m.valueCount = 2;
  m.arenaValue = 1;
  Scoped session(m.open(), 1);
  std::vector<float> past(3), right(5), wrong(6), x(2);
  FerriteTensor inputs[] = {view(FERRITE_F32, past, {3}),
                            view(FERRITE_F32, right, {5}),
                            view(FERRITE_F32, x, {2})};
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(session, inputs, 3, nullptr, 0, nullptr));
  inputs[1] = view(FERRITE_F32, wrong, {6});
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(session, inputs, 3, nullptr, 0, &error));
  EXPECT_STREQ("dimension 0 of input 'mask' is 6, expected past + n = 5",
               error.message);
}

// What a kernel reports of a computed index fails that run, by the name of the
// first launch, and no other.
TEST(SessionEdge, FailsOnAnIndexOutside) {
  for (int32_t threads : {1, 3}) {
    FakeModel m;
    m.inputs = {m.tensor("x", FERRITE_F32, {m.constant(8)})};
    uint32_t gather = m.kernel(
        "gather", [](const FerriteArg *) { return int64_t(8); },
        [](const FerriteArg *args, int64_t begin, int64_t end, void *scratch) {
          for (int64_t i = begin; i < end; ++i)
            if (static_cast<const float *>(args[0].ptr)[i] > 0) {
              static_cast<int64_t *>(scratch)[-2] = 600 + i;
              static_cast<int64_t *>(scratch)[-1] = 1;
            }
        });
    m.launch("/embeddings/Gather", gather, {{FERRITE_ARG_INPUT, 0, 0}});
    m.launch("/later/Gather", gather, {{FERRITE_ARG_INPUT, 0, 0}});
    Scoped session(m.open(), threads);
    std::vector<float> good(8), bad = {0, 0, 0, 0, 0, 1, 0, 0};
    FerriteTensor x = view(FERRITE_F32, good, {8});
    FerriteError error = {};
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionRun(session, &x, 1, nullptr, 0, &error));
    x = view(FERRITE_F32, bad, {8});
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSessionRun(session, &x, 1, nullptr, 0, &error));
    EXPECT_STREQ("node '/embeddings/Gather': the index 605, which the model "
                 "computed, is outside of what it indexes",
                 error.message);
    x = view(FERRITE_F32, good, {8});
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionRun(session, &x, 1, nullptr, 0, &error));
  }
}

// y = concat(x[n:], weights[n:]) of x and four weights: where the parts begin
// depends on the call.
TEST(SessionEdge, MovesPointersByValues) {
  FakeModel m;
  m.symbols = {{"n", 0, 4}};
  m.inputs = {m.tensor("x", FERRITE_F32, {m.constant(4)}),
              m.tensor("size", FERRITE_F32, {m.symbolic(0)})};
  FerriteAbiDim length = {0, 0, 0}; // values[0]
  m.outputs = {m.tensor("y", FERRITE_F32, {length})};
  m.weights = {10, 11, 12, 13};
  m.setup = [](const int64_t *symbols, int64_t *values) {
    values[0] = 8 - 2 * symbols[0]; // size of y
    values[1] = 4 * symbols[0];     // bytes to where x and the weights begin
    values[2] = 4 * (4 - symbols[0]);
    values[3] = 4 - symbols[0];
    values[4] = 0;
  };
  m.valueCount = 5;
  m.arenaValue = 4;
  uint32_t copy = m.kernel(
      "copy", [](const FerriteArg *args) { return args[2].i64; },
      [](const FerriteArg *args, int64_t begin, int64_t end, void *) {
        for (int64_t i = begin; i < end; ++i)
          static_cast<float *>(args[1].ptr)[i] =
              static_cast<const float *>(args[0].ptr)[i];
      });
  FerriteAbiArg count = {FERRITE_ARG_VALUE, 3, 0};
  m.launch("x", copy,
           {{FERRITE_ARG_INPUT_AT, 0, 1}, {FERRITE_ARG_OUTPUT, 0, 0}, count});
  m.launch(
      "w", copy,
      {{FERRITE_ARG_WEIGHT_AT, 1, 0}, {FERRITE_ARG_OUTPUT_AT, 0, 2}, count});
  Scoped session(m.open(), 2);
  std::vector<float> data = {1, 2, 3, 4}, size = {0};
  FerriteTensor inputs[] = {view(FERRITE_F32, data, {4}),
                            view(FERRITE_F32, size, {1})};
  FerriteTensor y = {};
  EXPECT_EQ(FERRITE_OK, ferriteSessionRun(session, inputs, 2, &y, 1, nullptr));
  EXPECT_EQ((std::vector<float>{2, 3, 4, 11, 12, 13}), floats(y));
  size = {0, 0, 0};
  inputs[1] = view(FERRITE_F32, size, {3});
  y = {};
  EXPECT_EQ(FERRITE_OK, ferriteSessionRun(session, inputs, 2, &y, 1, nullptr));
  EXPECT_EQ((std::vector<float>{4, 13}), floats(y));
}

} // namespace
