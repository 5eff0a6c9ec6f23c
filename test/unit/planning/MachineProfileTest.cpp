//===- MachineProfileTest.cpp - What a machine can do ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/CostModel.h"

#include <gtest/gtest.h>

using namespace ferrite;

namespace {

/// A profile as `ferrite tune` writes it, with `from` replaced by `to`.
std::string profile(const std::string &from = "", const std::string &to = "") {
  std::string text =
      R"({"ferrite_machine_profile": 1, "cpu": "Test", "threads": 2,
    "caches": {"l1d": 32768, "l2": 1000, "l3": 8000},
    "operations_per_second": {
      "f32_512": {"one": 200, "all": 400},
      "bf16_dot_512": {"one": 100, "all": 200}},
    "bytes_per_second": {"l2": {"one": 50, "all": 100},
      "l3": {"one": 20, "all": 40}, "memory": {"one": 10, "all": 15}}})";
  size_t at = text.find(from);
  EXPECT_NE(std::string::npos, at) << from;
  return text.replace(at, from.size(), to);
}

std::string errorOf(const std::string &text) {
  llvm::Expected<MachineProfile> parsed = MachineProfile::parse(text);
  if (parsed)
    return "";
  return llvm::toString(parsed.takeError());
}

TEST(MachineProfile, Reads) {
  llvm::Expected<MachineProfile> machine = MachineProfile::parse(profile());
  ASSERT_TRUE(bool(machine)) << llvm::toString(machine.takeError());
  EXPECT_EQ("Test", machine->name);
  EXPECT_EQ(2, machine->threads);
  EXPECT_EQ(0.5, machine->bf16DotGain());
  EXPECT_EQ(50, machine->rateOf(1000).one);
  EXPECT_EQ(20, machine->rateOf(1001).one);
  EXPECT_EQ(15, machine->rateOf(8001).all);
}

TEST(MachineProfile, RefusesWhatCannotBe) {
  EXPECT_NE(std::string::npos, errorOf("{").find("no JSON"));
  EXPECT_NE(std::string::npos, errorOf("[1]").find("ferrite tune"));
  EXPECT_NE(std::string::npos,
            errorOf(profile("profile\": 1", "profile\": 2")).find("version 1"));
  EXPECT_NE(std::string::npos,
            errorOf(std::string(1 << 17, ' ')).find("64 KiB"));
  for (auto [from, to, key] :
       {std::array{"\"threads\": 2", "\"threads\": -2", "threads"},
        {"\"threads\": 2", "\"threads\": 1e9", "threads"},
        {"\"l2\": 1000", "\"l2\": \"big\"", "l2"},
        {"\"l3\": 8000", "\"l3\": 0", "l3"},
        {"{\"one\": 200", "{\"one\": 0", "one"},
        {"\"all\": 15", "\"some\": 15", "all"}})
    EXPECT_EQ("has no number that can be for '" + std::string(key) + "'",
              errorOf(profile(from, to)));
}

TEST(MachineProfile, BuiltIn) {
  ASSERT_TRUE(MachineProfile::builtin("zen4"));
  EXPECT_FALSE(MachineProfile::builtin("zen"));
  // What codegen.md measured: dots pay on one and not on the other.
  EXPECT_GT(MachineProfile::builtin("zen4")->bf16DotGain(), 1.5);
  EXPECT_LT(MachineProfile::builtin("sapphire-rapids")->bf16DotGain(), 1);
  EXPECT_EQ(0, MachineProfile::builtin("generic")->bf16DotGain());
}

TEST(CostModel, TakesWhatIsSlower) {
  MachineProfile machine = llvm::cantFail(MachineProfile::parse(profile()));
  LaunchCost cost;
  cost.weightBytes = 400;
  // 400 bytes of weights out of L3, 100 of L2, beside 20 s of products.
  EXPECT_DOUBLE_EQ(
      22, leastSeconds(4000, 500, cost, 5000, "avx512", false, machine));
  EXPECT_DOUBLE_EQ(
      40, leastSeconds(8000, 500, cost, 5000, "avx512", false, machine));
  EXPECT_DOUBLE_EQ(
      20, leastSeconds(8000, 500, cost, 5000, "avx512", true, machine));
  // The level decides about the instruction; a machine may lack it.
  cost.arithmetic = "bf16";
  EXPECT_EQ("f32_512", instructionOf("bf16", "avx512", machine));
  EXPECT_EQ("bf16_dot_512", instructionOf("bf16", "avx512_bf16", machine));
  EXPECT_EQ("", instructionOf("f32", "avx2", machine));
  EXPECT_EQ(0, leastSeconds(8000, 500, cost, 5000, "avx2", true, machine));
}

} // namespace

// Strips take the time of what they keep; half the blocks of 16 columns that
// need a load for each product are hardly worth it, and what was timed on the
// machine decides.
TEST(CostModel, ProductsThatSkipBlocks) {
  MachineProfile machine = *MachineProfile::builtin("zen5");
  ProductShape dense{128, 768, 3072, /*isBytes=*/true};
  auto seconds = [&](int64_t strip, double kept) {
    ProductShape shape = dense;
    shape.strip = strip;
    shape.kept =
        int64_t(kept * double(768 / 4 * 3072 / std::max<int64_t>(strip, 1)));
    return productSeconds(shape, /*isWide=*/true, /*hasDots=*/true, 1 << 20,
                          machine);
  };
  double whole = productSeconds(dense, true, true, 1 << 20, machine);
  EXPECT_NEAR(2, whole / seconds(32, 0.5), 0.01);
  EXPECT_NEAR(1, whole / seconds(32, 1), 0.01);
  EXPECT_LT(seconds(16, 0.75), whole);
  EXPECT_GT(seconds(16, 0.9), whole);
  EXPECT_EQ("i8_strip16_512", stripRate({1, 4, 16, true, 16}, true));
  machine.operations["i8_strip16_512"] = machine.operations["i8_dot_512"];
  EXPECT_LT(seconds(16, 0.9), whole);
  // One row waits for its weights.
  dense.rows = 1;
  double rate = machine.rateOf(int64_t(1) << 30).one;
  EXPECT_DOUBLE_EQ(
      768 * 3072 / rate,
      productSeconds(dense, true, true, int64_t(1) << 30, machine));
}
