//===- BindingTest.cpp - What a run refuses before it touches memory ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

using namespace ferrite::test;

namespace {

class Binding : public ::testing::Test {
protected:
  void SetUp() override {
    buildSums(model);
    session = std::make_unique<Scoped>(model.open());
    tensors = inputs.tensors();
  }
  /// The message of a run that must fail with `status`.
  std::string refused(FerriteStatus status = FERRITE_INVALID_ARGUMENT) {
    FerriteError error = {};
    EXPECT_EQ(status, ferriteSessionRun(*session, tensors.data(),
                                        tensors.size(), nullptr, 0, &error));
    EXPECT_EQ(status, error.status);
    return error.message;
  }
  void accepted() {
    FerriteError error = {};
    EXPECT_EQ(FERRITE_OK, ferriteSessionRun(*session, tensors.data(),
                                            tensors.size(), nullptr, 0, &error))
        << error.message;
  }

  FakeModel model;
  std::unique_ptr<Scoped> session;
  SumsInputs inputs{2, 3};
  std::vector<FerriteTensor> tensors;
};

// Inputs in another order would be read as one another.
TEST_F(Binding, MatchesByName) {
  tensors[0].name = "ids";
  tensors[1].name = "mask";
  tensors[2].name = "gain";
  std::swap(tensors[0], tensors[2]);
  accepted();
  FerriteTensor sums = {};
  ASSERT_EQ(FERRITE_OK, ferriteSessionOutput(*session, 0, &sums, nullptr));
  const float *values = static_cast<const float *>(sums.data);
  EXPECT_EQ(inputs.expected(), std::vector<float>(values, values + 8));
}

TEST_F(Binding, NamesTheMissingInput) {
  tensors.pop_back();
  EXPECT_EQ("input 'gain' is missing: the entry 'main' takes 3 inputs (ids, "
            "mask, gain)",
            refused());
}

TEST_F(Binding, RefusesTooManyInputs) {
  tensors.push_back(tensors[2]);
  EXPECT_EQ("4 inputs: the entry 'main' takes 3 (ids, mask, gain)", refused());
}

TEST_F(Binding, RefusesUnknownName) {
  tensors[1].name = "attention_mask";
  EXPECT_EQ("no input 'attention_mask': the entry 'main' takes ids, mask, gain",
            refused());
}

TEST_F(Binding, RefusesTheSameInputTwice) {
  tensors[1].name = "ids";
  EXPECT_EQ("input 'ids' is given twice", refused());
}

TEST_F(Binding, RefusesNullInputs) {
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(*session, nullptr, 3, nullptr, 0, nullptr));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(nullptr, tensors.data(), 3, nullptr, 0, nullptr));
}

TEST_F(Binding, ChecksDtype) {
  tensors[0].dtype = FERRITE_I32;
  EXPECT_EQ("input 'ids' has dtype i32, expected i64", refused());
  tensors[0].dtype = 99;
  EXPECT_EQ("input 'ids' has dtype unknown, expected i64", refused());
}

TEST_F(Binding, ChecksRank) {
  tensors[1].rank = 1;
  EXPECT_EQ("input 'mask' has rank 1 [2], expected rank 2 [batch, sequence]",
            refused());
  // A rank that is no rank must not be used to read `shape`.
  tensors[1].rank = 1000;
  EXPECT_EQ("input 'mask' has rank 1000 , expected rank 2 [batch, sequence]",
            refused());
}

TEST_F(Binding, ChecksConstantDims) {
  tensors[2].shape[0] = 3;
  EXPECT_EQ("dimension 0 of input 'gain' is 3, expected 4", refused());
}

// Kernels read both tensors with one size.
TEST_F(Binding, ChecksThatDimsOfOneSymbolAgree) {
  tensors[1].shape[1] = 2;
  EXPECT_EQ("'sequence' is 3 in dimension 1 of input 'ids', but 2 in dimension "
            "1 of input 'mask'",
            refused());
}

TEST_F(Binding, ChecksLimitsOfSymbols) {
  tensors[0].shape[1] = tensors[1].shape[1] = 513;
  EXPECT_EQ("dimension 1 of input 'ids' (sequence) is 513, outside of 2 to 512",
            refused());
  tensors[0].shape[1] = tensors[1].shape[1] = 1;
  EXPECT_EQ("dimension 1 of input 'ids' (sequence) is 1, outside of 2 to 512",
            refused());
  tensors[0].shape[1] = 3;
  tensors[0].shape[0] = 0;
  EXPECT_EQ("dimension 0 of input 'ids' (batch) is 0, less than 1", refused());
  tensors[0].shape[0] = -1;
  EXPECT_EQ("dimension 0 of input 'ids' is -1", refused());
}

// Products of such sizes wrap around, and then small buffers look large enough.
TEST_F(Binding, RefusesAbsurdSizes) {
  tensors[0].shape[0] = tensors[1].shape[0] = INT64_C(1) << 61;
  EXPECT_EQ("input 'ids' of shape [2305843009213693952, 3] is larger than any "
            "memory",
            refused());
}

TEST_F(Binding, RefusesNullData) {
  tensors[1].data = nullptr;
  EXPECT_EQ("the data of input 'mask' is NULL", refused());
}

TEST_F(Binding, RefusesShortBuffers) {
  tensors[1].bytes = 20;
  EXPECT_EQ("input 'mask' has 20 bytes, its shape needs 24", refused());
  tensors[1].bytes = 0; // the caller vouches
  accepted();
}

TEST_F(Binding, RefusesUnalignedData) {
  tensors[1].data = static_cast<char *>(tensors[1].data) + 2;
  EXPECT_NE(std::string::npos, refused().find("'mask' at 0x"));
}

// Ids index a table: one beyond it is a read out of bounds.
TEST_F(Binding, ChecksRangesOfIds) {
  inputs.ids[4] = 100;
  EXPECT_EQ("input 'ids' holds 100 at [1, 1], outside of [-100, 100)",
            refused());
  inputs.ids[4] = -101;
  EXPECT_EQ("input 'ids' holds -101 at [1, 1], outside of [-100, 100)",
            refused());
  inputs.ids[4] = -100;
  accepted();
  inputs.ids[4] = 99;
  accepted();
}

// Each width of id is read as what it is.
TEST(BindingIds, ChecksEveryWidth) {
  for (int32_t dtype = FERRITE_I8; dtype <= FERRITE_BOOL; ++dtype) {
    FakeModel m;
    m.inputs = {
        m.tensor("ids", static_cast<FerriteDType>(dtype), {m.constant(2)}, 1)};
    Scoped session(m.open());
    std::vector<uint8_t> bytes(2 * ferriteDTypeSize(dtype), 0);
    FerriteTensor ids = {};
    ids.data = bytes.data();
    ids.dtype = dtype;
    ids.rank = 1;
    ids.shape[0] = 2;
    FerriteError error = {};
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionRun(session, &ids, 1, nullptr, 0, &error))
        << ferriteDTypeName(dtype) << ": " << error.message;
    bytes[ferriteDTypeSize(dtype)] = 1;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSessionRun(session, &ids, 1, nullptr, 0, &error));
    EXPECT_STREQ("input 'ids' holds 1 at [1], outside of [-1, 1)",
                 error.message);
  }
}

TEST_F(Binding, ChecksOutputs) {
  std::vector<float> sums(7);
  std::vector<FerriteTensor> outputs = {view(FERRITE_F32, sums, {})};
  auto refusedOutput = [&] {
    FerriteError error = {};
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSessionRun(*session, tensors.data(), tensors.size(),
                                outputs.data(), outputs.size(), &error));
    return std::string(error.message);
  };
  EXPECT_EQ("output 'sums' has room for 28 bytes, its shape [2, 4] needs 32",
            refusedOutput());
  outputs[0].name = "total";
  EXPECT_EQ("no output 'total': the entry 'main' gives sums, length",
            refusedOutput());
  outputs.assign(3, FerriteTensor{});
  EXPECT_EQ("3 outputs: the entry 'main' gives 2 (sums, length)",
            refusedOutput());
  outputs.resize(2);
  outputs[1].name = "sums";
  EXPECT_EQ("output 'sums' is given twice", refusedOutput());
}

// Kernels are compiled on the promise that results lie apart from inputs.
TEST_F(Binding, RefusesOverlap) {
  std::vector<float> memory(24, 1.0f);
  tensors[1].data = memory.data() + 7;
  FerriteTensor outputs[2] = {};
  outputs[0].data = memory.data();
  outputs[0].bytes = 32;
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(*session, tensors.data(), 3, outputs, 2, &error));
  EXPECT_STREQ("output 'sums' overlaps input 'mask' in memory", error.message);

  tensors[1].data = memory.data() + 16;
  outputs[1].data = memory.data() + 6;
  outputs[1].bytes = 8;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(*session, tensors.data(), 3, outputs, 2, &error));
  EXPECT_STREQ("output 'length' overlaps output 'sums' in memory",
               error.message);
  outputs[1].data = memory.data() + 8;
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(*session, tensors.data(), 3, outputs, 2, &error));
}

// The session's own result as its next input would be freed or overwritten.
TEST_F(Binding, RefusesItsOwnResultAsInput) {
  accepted();
  FerriteTensor sums = {};
  ASSERT_EQ(FERRITE_OK, ferriteSessionOutput(*session, 0, &sums, nullptr));
  tensors[1].data = sums.data;
  EXPECT_EQ("input 'mask' lies in memory that the session owns, in its earlier "
            "result 'sums': copy it, or give that output a buffer",
            refused());
}

// After a refusal the session must be as good as new.
TEST_F(Binding, WorksAfterARefusal) {
  tensors[1].shape[1] = 2;
  refused();
  tensors[1].shape[1] = 3;
  accepted();
}

} // namespace
