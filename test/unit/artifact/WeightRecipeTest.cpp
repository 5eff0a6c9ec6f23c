//===- WeightRecipeTest.cpp - From the model's files to bytes
//--------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "WeightRecipeFixture.h"

using namespace ferrite;
using namespace ferrite::test;
using namespace mlir;

namespace {
class WeightRecipe : public WeightRecipeFixture {};
} // namespace

//===--- rows -------------------------------------------------------------===//

TEST_F(WeightRecipe, RowsAreTheBytesAsTheyLie) {
  writeFile("m", "head" + elements("f32", 12));
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 4, shape = [3, 4],
    type = f32>] offset = 64 bytes = 48 : tensor<3x4xf32>)"))
      << errors;
  ASSERT_EQ(out.size(), 112u);
  EXPECT_EQ(get<float>(0), 0) << "nothing lies before the offset";
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(get<float>(i, 64), valueAt(i));
}

TEST_F(WeightRecipe, RowsOfATransposedSource) {
  writeFile("m", elements("f32", 24));
  ASSERT_TRUE(run(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0,
    shape = [2, 3, 4], type = f32, perm = [2, 0, 1]>] offset = 0 bytes = 96 : tensor<4x2x3xf32>)"))
      << errors;
  for (int64_t a = 0; a < 4; ++a)
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t c = 0; c < 3; ++c)
        EXPECT_EQ(get<float>((a * 2 + b) * 3 + c),
                  valueAt((b * 3 + c) * 4 + a));
}

// Some columns of a matrix, as it lies and transposed: the last row ends where
// the columns do.
TEST_F(WeightRecipe, ColumnsOfASource) {
  writeFile("m", elements("f32", 14));
  ASSERT_TRUE(run(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 8,
    shape = [3, 2], type = f32 pitch = 5>] offset = 0 bytes = 24 : tensor<3x2xf32>)"))
      << errors;
  for (int64_t i = 0; i < 6; ++i)
    EXPECT_EQ(get<float>(i), valueAt(i / 2 * 5 + i % 2 + 2));
  ASSERT_TRUE(run(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 8,
    shape = [3, 2], type = f32, perm = [1, 0] pitch = 5>] offset = 0 bytes = 24 : tensor<2x3xf32>)"))
      << errors;
  for (int64_t i = 0; i < 6; ++i)
    EXPECT_EQ(get<float>(i), valueAt(i % 3 * 5 + i / 3 + 2));
  EXPECT_FALSE(run(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 12,
    shape = [3, 2], type = f32 pitch = 5>] offset = 0 bytes = 24 : tensor<3x2xf32>)"))
      << "needs a byte more than the file has";
}

TEST_F(WeightRecipe, RowsConcatenateAlongAnyAxis) {
  writeFile("a", elements("f32", 6));
  writeFile("b", elements("f32", 8, 100));
  ASSERT_TRUE(run(R"(plan.weight @w rows "w" [
      #ferrite.source<"a", offset = 0, shape = [2, 3], type = f32>,
      #ferrite.source<"b", offset = 0, shape = [4, 2], type = f32, perm = [1, 0]>]
      axis = 1 offset = 0 bytes = 56 : tensor<2x7xf32>)"))
      << errors;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t column = 0; column < 7; ++column)
      EXPECT_EQ(get<float>(row * 7 + column),
                column < 3 ? valueAt(row * 3 + column)
                           : valueAt(100 + (column - 3) * 2 + row));
  writeFile("c", elements("f32", 3, 200));
  ASSERT_TRUE(run(R"(plan.weight @w rows "w" [
      #ferrite.source<"a", offset = 0, shape = [2, 3], type = f32>,
      #ferrite.source<"c", offset = 0, shape = [1, 3], type = f32>]
      offset = 0 bytes = 36 : tensor<3x3xf32>)"))
      << errors;
  for (int64_t i = 0; i < 9; ++i)
    EXPECT_EQ(get<float>(i), i < 6 ? valueAt(i) : valueAt(200 + i - 6));
}

TEST_F(WeightRecipe, RowsConvertBetweenFloats) {
  for (const char *type : {"f16", "bf16", "f64"}) {
    SCOPED_TRACE(type);
    writeFile("m", elements(type, 500));
    ASSERT_TRUE(
        run((Twine(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0,
      shape = [500], type = )") +
             type + ">] offset = 0 bytes = 2000 : tensor<500xf32>")
                .str()))
        << errors;
    for (int64_t i = 0; i < 500; ++i)
      ASSERT_EQ(get<float>(i), valueAt(i));
  }
  writeFile("m", elements("f32", 500));
  for (const char *type : {"f16", "bf16"}) {
    SCOPED_TRACE(type);
    ASSERT_TRUE(
        run((Twine(R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0,
      shape = [500], type = f32>] offset = 0 bytes = 1000 : tensor<500x)") +
             type + ">")
                .str()))
        << errors;
    for (int64_t i = 0; i < 500; ++i)
      ASSERT_EQ(get<uint16_t>(i), halfBits(type, valueAt(i)));
  }
}

// Half way between two halves: to even, down once and up once.
TEST_F(WeightRecipe, NarrowingRoundsToNearestEven) {
  const float values[] = {2049, 2051, 1e6f, -0.0f};
  writeFile("m",
            StringRef(reinterpret_cast<const char *>(values), sizeof values));
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0, shape = [4],
    type = f32>] offset = 0 bytes = 8 : tensor<4xf16>)"))
      << errors;
  EXPECT_EQ(get<uint16_t>(0), halfBits("f16", 2048));
  EXPECT_EQ(get<uint16_t>(1), halfBits("f16", 2052));
  EXPECT_EQ(get<uint16_t>(2), 0x7c00) << "above the largest half: infinity";
  EXPECT_EQ(get<uint16_t>(3), 0x8000);
}

TEST_F(WeightRecipe, RowsOfIntegersAndScalars) {
  writeFile("m", elements("i64", 5));
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0, shape = [5],
    type = i64>] offset = 0 bytes = 40 : tensor<5xi64>)"))
      << errors;
  for (int64_t i = 0; i < 5; ++i)
    EXPECT_EQ(get<int64_t>(i), i);
  writeFile("s", elements("f32", 1));
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"s", offset = 0, shape = [],
    type = f32>] offset = 0 bytes = 4 : tensor<f32>)"))
      << errors;
  EXPECT_EQ(get<float>(0), valueAt(0));
}

//===--- constants --------------------------------------------------------===//

TEST_F(WeightRecipe, ConstantsInBothFormats) {
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "constant" value = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
    offset = 0 bytes = 16 : tensor<2x2xf32>)"))
      << errors;
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_EQ(get<float>(i), i + 1);
  ASSERT_TRUE(run(
      R"(plan.weight @w panels "constant" value = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
    offset = 0 bytes = 128 : tensor<2x2xf32>)"))
      << errors;
  expectPanels(2, 2, [](int64_t k, int64_t n) { return k * 2 + n + 1; });
  // One value for all is stored once in the attribute, and everywhere here.
  ASSERT_TRUE(
      run(R"(plan.weight @w rows "constant" value = dense<2.5> : tensor<3x5xf32>
    offset = 0 bytes = 60 : tensor<3x5xf32>)"))
      << errors;
  for (int64_t i = 0; i < 15; ++i)
    EXPECT_EQ(get<float>(i), 2.5);
  ASSERT_TRUE(run(
      R"(plan.weight @w panels "constant" value = dense<2.5> : tensor<3x70xf32>
    offset = 0 bytes = 960 : tensor<3x70xf32>)"))
      << errors;
  expectPanels(3, 70, [](int64_t, int64_t) { return 2.5; });
}

// A bool is a byte in memory and a bit in an attribute.
TEST_F(WeightRecipe, BoolsTakeAByte) {
  ASSERT_TRUE(run(R"(plan.weight @w rows "constant"
      value = dense<[true, false, true, true, false, false, false, false, true]> : tensor<9xi1>
      offset = 0 bytes = 9 : tensor<9xi1>)"))
      << errors;
  EXPECT_EQ(out, (std::vector<char>{1, 0, 1, 1, 0, 0, 0, 0, 1}));
  ASSERT_TRUE(
      run(R"(plan.weight @w rows "constant" value = dense<true> : tensor<11xi1>
    offset = 0 bytes = 11 : tensor<11xi1>)"))
      << errors;
  EXPECT_EQ(out, std::vector<char>(11, 1));
  writeFile("m", StringRef("\1\0\1", 3));
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0, shape = [3],
    type = i1>] offset = 0 bytes = 3 : tensor<3xi1>)"))
      << errors;
  EXPECT_EQ(out, (std::vector<char>{1, 0, 1}));
}

TEST_F(WeightRecipe, NothingTakesNothing) {
  writeFile("m", "");
  ASSERT_TRUE(run(
      R"(plan.weight @w rows "w" [#ferrite.source<"m", offset = 0, shape = [0, 4],
    type = f32>] offset = 0 bytes = 0 : tensor<0x4xf32>)"))
      << errors;
  EXPECT_TRUE(out.empty());
}

//===--- many, and wrong ones ---------------------------------------------===//

TEST_F(WeightRecipe, ThreadsDoNotChangeBytes) {
  writeFile("m", elements("f32", 64 * 70));
  std::string text;
  int64_t offset = 0;
  for (int64_t i = 0; i < 40; ++i) {
    bool panels = i % 2;
    int64_t bytes = panels ? PanelLayout{64, 70}.elements() * 4 : 64 * 70 * 4;
    text += "plan.weight @w" + std::to_string(i) +
            (panels ? " panels" : " rows") +
            " \"w\" [#ferrite.source<\"m\", offset = 0, shape = [64, 70], type "
            "= f32>] offset = " +
            std::to_string(offset) + " bytes = " + std::to_string(bytes) +
            " : tensor<64x70xf32>\n";
    offset += bytes;
  }
  ASSERT_TRUE(run(text, 1)) << errors;
  std::vector<char> one = out;
  ASSERT_TRUE(run(text, 8)) << errors;
  EXPECT_EQ(out, one);
}

TEST_F(WeightRecipe, ErrorsNameTheWeightOrTheFile) {
  writeFile("m", elements("f32", 4));
  auto source = [](StringRef file, int64_t offset, StringRef shape,
                   StringRef type, StringRef result) {
    return ("plan.weight @w rows \"fc.weight\" [#ferrite.source<\"" + file +
            "\", offset = " + Twine(offset) + ", shape = [" + shape +
            "], type = " + type + ">] offset = 0 bytes = 16 : tensor<" +
            result + ">")
        .str();
  };
  EXPECT_FALSE(run(source("m", 4, "4", "f32", "4xf32")));
  EXPECT_NE(errors.find(
                "weight 'fc.weight' needs 16 bytes at 4 of 'm', which has 16"),
            std::string::npos)
      << errors;
  EXPECT_FALSE(run(source("m", 1000000, "1", "f32", "1xf32")));
  EXPECT_NE(errors.find("at 1000000 of 'm'"), std::string::npos) << errors;
  // The product of the sizes overflows.
  EXPECT_FALSE(run(source("m", 0, "4294967296, 4294967296", "f32", "4xf32")));
  EXPECT_NE(errors.find("weight 'fc.weight' needs"), std::string::npos)
      << errors;
  EXPECT_FALSE(run(source("other", 0, "4", "f32", "4xf32")));
  EXPECT_NE(errors.find("cannot read weight file"), std::string::npos)
      << errors;
  for (const char *file : {"../m", "/etc/hostname", "a/../../m"}) {
    EXPECT_FALSE(run(source(file, 0, "4", "f32", "4xf32"))) << file;
    EXPECT_NE(errors.find("lies outside the model's folder"), std::string::npos)
        << errors;
  }
  EXPECT_FALSE(run(source("m", 0, "4", "i32", "4xf32")));
  EXPECT_NE(errors.find("converts 'i32' to 'f32', which no recipe does"),
            std::string::npos)
      << errors;
}
