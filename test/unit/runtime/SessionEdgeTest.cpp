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
