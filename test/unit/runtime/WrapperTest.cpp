//===- WrapperTest.cpp - The C++ wrapper ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"
#include "ferrite/runtime.hpp"

using namespace ferrite::test;

namespace {

std::vector<ferrite::Tensor> tensorsOf(const SumsInputs &inputs) {
  std::vector<int64_t> shape = {inputs.batch, inputs.sequence};
  return {ferrite::tensor("gain", inputs.gain, {4}),
          ferrite::tensor("ids", inputs.ids, shape),
          ferrite::tensor("mask", inputs.mask, shape)};
}

std::vector<float> values(const ferrite::Tensor &tensor) {
  const float *data = tensor.data<float>();
  return std::vector<float>(data, data + tensor.size());
}

class Wrapper : public ::testing::Test {
protected:
  void SetUp() override { buildSums(fake); }
  FakeModel fake;
};

TEST_F(Wrapper, Runs) {
  ferrite::Model model = ferrite::Model::open(fake.link());
  ferrite::Session session(model);
  SumsInputs inputs(2, 3);
  std::vector<ferrite::Tensor> outputs = session.run(tensorsOf(inputs));
  ASSERT_EQ(2u, outputs.size());
  EXPECT_STREQ("sums", outputs[0].name());
  EXPECT_EQ((std::vector<int64_t>{2, 4}), outputs[0].shape());
  EXPECT_EQ(inputs.expected(), values(outputs[0]));
  EXPECT_EQ(3, *outputs[1].data<int64_t>());
  EXPECT_THROW(outputs[1].data<float>(), std::invalid_argument);

  std::vector<float> sums(8);
  std::vector<ferrite::Tensor> given = {ferrite::tensor("sums", sums, {2, 4})};
  session.run(tensorsOf(inputs), &given);
  EXPECT_EQ(inputs.expected(), sums);
}

TEST_F(Wrapper, ThrowsWithStatus) {
  ferrite::Model model = ferrite::Model::open(fake.link());
  ferrite::Session session(model);
  try {
    session.run({});
    FAIL() << "no error";
  } catch (const ferrite::Error &error) {
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT, error.status());
    EXPECT_EQ(0u, std::string(error.what()).find("input 'ids' is missing"));
  }
  EXPECT_THROW(ferrite::Model::load("/nonexistent.so"), ferrite::Error);
  ferrite::SessionOptions options;
  options.entry = "other";
  options.log = [](FerriteLogLevel, const char *) {};
  EXPECT_THROW(ferrite::Session(model, options), ferrite::Error);
}

TEST_F(Wrapper, CopiesAndMoves) {
  ferrite::Model model = ferrite::Model::open(fake.link());
  ferrite::Model copy = model;
  ferrite::Model moved = std::move(model);
  copy = moved;
  EXPECT_EQ("fake", copy.name());
  ferrite::SessionOptions options;
  int calls = 0;
  options.threads = 3;
  options.parallelFor = [&](int count, const std::function<void(int)> &task) {
    ++calls;
    for (int i = 0; i < count; ++i)
      task(i);
  };
  ferrite::Session first(copy, options);
  ferrite::Session second = std::move(first);
  SumsInputs inputs(20, 30);
  EXPECT_EQ(inputs.expected(), values(second.run(tensorsOf(inputs))[0]));
  EXPECT_EQ(2, calls); // the third launch has one unit
  first = std::move(second);
  EXPECT_EQ(inputs.expected(), values(first.run(tensorsOf(inputs))[0]));
}

TEST_F(Wrapper, Describes) {
  ferrite::Model model = ferrite::Model::open(fake.link());
  EXPECT_EQ("generic", model.level());
  EXPECT_EQ("{\"plan\": []}", model.description());
  EXPECT_EQ(3u, model.inputs().size());
  EXPECT_STREQ("length", model.outputs()[1].name);
  EXPECT_EQ(512, model.symbols()[1].max);
  ferrite::SessionOptions options;
  options.profile = true;
  ferrite::Session session(model, options);
  SumsInputs inputs(5, 7);
  EXPECT_EQ(256u, session.memory(tensorsOf(inputs)).arena_bytes);
  EXPECT_EQ(0u, session.memory().arena_bytes);
  EXPECT_EQ((std::vector<int64_t>{5, 4}),
            session.outputShapes(tensorsOf(inputs))[0].shape());
  session.run(tensorsOf(inputs));
  EXPECT_EQ(3u, session.profile().size());
  session.trim();
  EXPECT_EQ(0u, session.memory().arena_bytes);
  session.cancel();
  EXPECT_THROW(session.run(tensorsOf(inputs)), ferrite::Error);
}

TEST(WrapperTypes, KnowsElementTypes) {
  EXPECT_EQ(FERRITE_I64, ferrite::dtypeOf<long>());
  EXPECT_EQ(FERRITE_I64, ferrite::dtypeOf<long long>());
  EXPECT_EQ(FERRITE_U8, ferrite::dtypeOf<const unsigned char>());
  EXPECT_EQ(FERRITE_BOOL, ferrite::dtypeOf<bool>());
}

} // namespace
