//===- DescribeTest.cpp - What a model takes and gives -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

using namespace ferrite::test;

namespace {

TEST(Describing, TellsTheSignature) {
  FakeModel m;
  buildSums(m);
  FerriteModel *model = m.open();
  ASSERT_EQ(1u, ferriteModelEntryCount(model));
  FerriteEntryInfo entry;
  ASSERT_EQ(FERRITE_OK, ferriteModelEntry(model, 0, &entry, nullptr));
  EXPECT_STREQ("main", entry.name);
  EXPECT_EQ(2u, entry.symbol_count);
  EXPECT_EQ(3u, entry.input_count);
  EXPECT_EQ(2u, entry.output_count);
  EXPECT_EQ(3u, entry.launch_count);

  FerriteSymbolInfo symbol;
  ASSERT_EQ(FERRITE_OK, ferriteModelSymbol(model, 0, 1, &symbol, nullptr));
  EXPECT_STREQ("sequence", symbol.name);
  EXPECT_EQ(2, symbol.min);
  EXPECT_EQ(512, symbol.max);

  FerriteTensorInfo ids, sums;
  ASSERT_EQ(FERRITE_OK, ferriteModelInput(model, 0, 0, &ids, nullptr));
  EXPECT_STREQ("ids", ids.name);
  EXPECT_EQ(FERRITE_I64, ids.dtype);
  EXPECT_EQ(2, ids.rank);
  EXPECT_STREQ("batch", ids.dims[0].symbol);
  EXPECT_EQ(-1, ids.dims[0].size);
  EXPECT_EQ(100, ids.id_limit);
  ASSERT_EQ(FERRITE_OK, ferriteModelOutput(model, 0, 0, &sums, nullptr));
  EXPECT_EQ(-1, sums.dims[0].size);
  EXPECT_EQ(nullptr, sums.dims[0].symbol);
  EXPECT_EQ(4, sums.dims[1].size);

  size_t size = 0;
  const char *description = ferriteModelDescription(model, &size);
  EXPECT_EQ("{\"plan\": []}", std::string(description, size));
  EXPECT_EQ(&m.abi, ferriteModelAbi(model));

  FerriteError error = {};
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelEntry(model, 1, &entry, &error));
  EXPECT_STREQ("no entry 1: the model has 1", error.message);
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelInput(model, 0, 3, &ids, &error));
  EXPECT_STREQ("no input 3: the entry 'main' has 3", error.message);
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelOutput(model, 0, 2, &ids, &error));
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteModelSymbol(model, 0, 2, &symbol, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelInput(model, 0, 0, nullptr, &error));
}

TEST(Describing, NamesStatusAndTypes) {
  EXPECT_STREQ("ok", ferriteStatusName(FERRITE_OK));
  EXPECT_STREQ("internal error", ferriteStatusName(FERRITE_INTERNAL));
  EXPECT_STREQ("bf16", ferriteDTypeName(FERRITE_BF16));
  EXPECT_STREQ("unknown", ferriteDTypeName(-1));
  EXPECT_EQ(2u, ferriteDTypeSize(FERRITE_BF16));
  EXPECT_EQ(8u, ferriteDTypeSize(FERRITE_U64));
  EXPECT_EQ(0u, ferriteDTypeSize(99));
}

} // namespace
