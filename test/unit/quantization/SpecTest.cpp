//===- SpecTest.cpp - What --quantize takes -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Quantization/Spec.h"

#include <gtest/gtest.h>

using namespace ferrite;

static std::string formatOf(llvm::StringRef text) {
  llvm::Expected<QuantFormat> format = QuantFormat::parse(text);
  if (format)
    return format->str();
  return "refused: " + llvm::toString(format.takeError());
}

TEST(Spec, FormatsHaveDefaults) {
  EXPECT_EQ(formatOf("w8"), "w8pc");
  EXPECT_EQ(formatOf("w4"), "w4g64");
  EXPECT_EQ(formatOf("w8a8"), "w8a8pc");
  EXPECT_EQ(formatOf("w4a8g32"), "w4a8g32");
  EXPECT_EQ(formatOf("w4pc"), "w4pc");
  EXPECT_EQ(formatOf("w3g128-asym-bf16"), "w3g128-asym-bf16");
  EXPECT_EQ(formatOf("w4g64nf"), "w4g64nf");
  EXPECT_EQ(formatOf("wide"), "wide");
}

TEST(Spec, OtherFormatsAreRefused) {
  for (const char *text :
       {"",           "4",      "w",         "w1",
        "w5g32",      "w4g",    "w4g31",     "w4g512",
        "w4x",        "w4a",    "w4a3",      "w8nf",
        "w4nf-asym",  "w4a4pc", "w4-static", "w8a8-asym",
        "w4-f16-f16", "w4-",    "w4g32pc",   "w99999999999999999999"})
    EXPECT_EQ(formatOf(text).substr(0, 7), "refused") << text;
}

TEST(Spec, LastOverrideAndMethodAreKept) {
  llvm::Expected<QuantSpec> spec =
      QuantSpec::parse("w4g32, layers.*.down=w8pc,lm_head=wide ,gptq");
  ASSERT_TRUE(bool(spec)) << llvm::toString(spec.takeError());
  EXPECT_EQ(spec->base.str(), "w4g32");
  ASSERT_EQ(spec->overrides.size(), 2u);
  EXPECT_EQ(spec->overrides[0].glob, "layers.*.down");
  EXPECT_TRUE(spec->overrides[1].format.isWide());
  EXPECT_EQ(spec->method, QuantMethod::GPTQ);
  for (const char *text :
       {"", "gptq", "w4,,w8", "w4,w8", "gptq,awq,w4", "=w4"}) {
    llvm::Expected<QuantSpec> bad = QuantSpec::parse(text);
    EXPECT_FALSE(bool(bad)) << text;
    llvm::consumeError(bad.takeError());
  }
}

TEST(Spec, NamesMatchWholeWords) {
  EXPECT_TRUE(matchesName("lm_head", "model.lm_head.weight.f16"));
  EXPECT_TRUE(matchesName("layers.1", "model.layers.1.mlp"));
  EXPECT_FALSE(matchesName("layers.1", "model.layers.10.mlp"));
  EXPECT_FALSE(matchesName("ayers.1", "model.layers.1.mlp"));
  EXPECT_TRUE(
      matchesName("layers.*.down_proj", "/model/layers.3/x.down_proj/MatMul"));
  EXPECT_TRUE(matchesName("layers.?.mlp", "layers.7.mlp"));
  EXPECT_FALSE(matchesName("layers.?.mlp", "layers.17.mlp"));
  EXPECT_TRUE(matchesName("*", "anything"));
}
