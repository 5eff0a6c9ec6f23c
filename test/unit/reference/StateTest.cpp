//===- StateTest.cpp - Pages of keys and values by the reference ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Values worked out by hand from the ops' documentation.
//
//===----------------------------------------------------------------------===//
#include "test/unit/reference/OpsTest.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
TEST_F(OpsTest, RowsGoToTheirSlots) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<1x2x1x2xf32> {ferrite.name = "x"}, %s: tensor<2xi64> {ferrite.name = "s"},
                    %p: tensor<2x1x2x64xf32> {ferrite.name = "p"}) -> tensor<2x1x2x64xf32> {
      %r = ferrite.kv_append %x, %s, %p keys : tensor<1x2x1x2xf32>, tensor<2xi64>, tensor<2x1x2x64xf32>
      return %r : tensor<2x1x2x64xf32>
    })mlir";
  Tensor rows = floats({1, 2, 1, 2}, {1, 2, 3, 4});
  Tensor pool = floats({2, 1, 2, 64}, Values(256, 9));
  Values want(256, 9);
  // Place 5 of page 1, place 63 of page 0.
  want[128 + 5] = 1, want[128 + 64 + 5] = 2;
  want[63] = 3, want[64 + 63] = 4;
  EXPECT_EQ(run(text, {rows, integers({2}, {69, 63}), pool}), want);
  EXPECT_TRUE(run(text, {rows, integers({2}, {69, 128}), pool}).empty());
  EXPECT_NE(message.find("slot 128 is in none of 2 pages"), std::string::npos)
      << message;
}

// One head of size 1. Keys are 0, so that what is seen weighs alike; values are
// their places.
TEST_F(OpsTest, RunsSeeTheirPages) {
  auto text = [](StringRef parts) {
    return (R"mlir(
    func.func @main(%q: tensor<1x4x1x1xf32> {ferrite.name = "q"}, %k: tensor<3x1x1x64xf32> {ferrite.name = "k"},
                    %v: tensor<3x1x64x1xf32> {ferrite.name = "v"}, %b: tensor<3xi32> {ferrite.name = "b"},
                    %c: tensor<2xi32> {ferrite.name = "c"}, %s: tensor<4xi64> {ferrite.name = "s"},
                    %t: tensor<2x2xi32> {ferrite.name = "t"}, %h: tensor<1xf32> {ferrite.name = "h"}) -> tensor<1x4x1x1xf32> {
      %r = ferrite.paged_attention %q, %k, %v, %b, %c, %s, %t )mlir" +
            parts +
            R"mlir( : (tensor<1x4x1x1xf32>, tensor<3x1x1x64xf32>, tensor<3x1x64x1xf32>, tensor<3xi32>, tensor<2xi32>, tensor<4xi64>, tensor<2x2xi32>) -> tensor<1x4x1x1xf32>
      return %r : tensor<1x4x1x1xf32>
    })mlir")
        .str();
  };
  Values places(192);
  for (int i = 0; i < 192; ++i)
    places[i] = i;
  // The first run has keys 0 and 1 before it, in page 2, and is a tree; the
  // second lies at 64 of a sequence of pages 0 and 1.
  SmallVector<Tensor> inputs{floats({1, 4, 1, 1}, {1, 1, 1, 1}),
                             floats({3, 1, 1, 64}, Values(192, 0)),
                             floats({3, 1, 64, 1}, places),
                             integers({3}, {0, 3, 4}, Kind::I32),
                             integers({2}, {2, 64}, Kind::I32),
                             integers({4}, {0, 2, 5, 0}),
                             integers({2, 2}, {2, -1, 0, 1}, Kind::I32),
                             floats({1}, {0})};
  EXPECT_EQ(run(text("scale = 1.0"), inputs),
            (Values{129, double(float(388 / 3.)), 129.75, 32}));
  EXPECT_EQ(
      run(text("scale = 1.0 left = 1"), inputs),
      (Values{129.5, 130, 131, 63.5})); // what it does not see is no place
  EXPECT_EQ(run(text("scale = 1.0 cross"), inputs),
            (Values{128.5, 128.5, 128.5, 31.5}));
  EXPECT_EQ(run(text("sinks(%h : tensor<1xf32>) scale = 1.0 left = 0"), inputs),
            (Values{65, 65.5, 66, 32}));
  EXPECT_EQ(run(text("scale = 1.0 from = 1"), inputs),
            (Values{129.5, 130, double(float(391 / 3.)), 32.5}));
  EXPECT_EQ(run(text("scale = 1.0 until = 2"), inputs),
            (Values{128.5, 128.5, 128.5, 0.5}));
  SmallVector<Tensor> block = inputs; // whose tokens all see each other
  block[5] = integers({4}, {7, 7, 7, 0});
  EXPECT_EQ(run(text("scale = 1.0"), block), (Values{130, 130, 130, 32}));
  std::string sums = text("scale = 1.0");
  const std::string wide = "1x4x1x2xf32>";
  for (size_t at; (at = sums.find("-> tensor<1x4x1x1xf32>")) != sums.npos;)
    sums.replace(at + 10, wide.size(), wide);
  sums.replace(sums.rfind("1x4x1x1xf32>"), wide.size(), wide);
  Values got = run(sums, inputs);
  ASSERT_EQ(got.size(), 8u) << message;
  for (auto [i, count] : llvm::enumerate(Values{3, 3, 4, 65}))
    EXPECT_NEAR(got[2 * i + 1], std::log(count), 1e-6);
  inputs[6] = integers({2, 2}, {2, -1, 0, 3}, Kind::I32);
  EXPECT_TRUE(run(text("scale = 1.0"), inputs).empty());
  EXPECT_NE(message.find("page 3 of run 1 is none of 3"), std::string::npos)
      << message;
}

// One token sees itself: the result is its values as records keep them. The
// scale of eight bits is 1 / 127 and -63.5 is a tie; a step of four bits is
// 0.5.
TEST_F(OpsTest, PoolsOfBytesHoldRecords) {
  auto resultOf = [&](const Values &row, int64_t width, bool isNibbles) {
    int64_t size = row.size();
    std::string x = "tensor<1x1x1x" + std::to_string(size) + "xf32>";
    std::string type = isNibbles ? "ui8" : "i8", w = std::to_string(width);
    std::string k = "tensor<1x1x" + w + "x64x" + type + ">",
                v = "tensor<1x1x64x" + w + "x" + type + ">";
    std::string text =
        "func.func @main(%x: " + x + " {ferrite.name = \"x\"}, " +
        "%s: tensor<1xi64> {ferrite.name = \"s\"}, %k: " + k +
        " {ferrite.name = \"k\"}, %v: " + v +
        " {ferrite.name = \"v\"}, %b: tensor<2xi32> {ferrite.name = \"b\"}, "
        "%c: tensor<1xi32> {ferrite.name = \"c\"}, %t: tensor<1x1xi32> "
        "{ferrite.name = \"t\"}) -> " +
        x + " {\n%0 = ferrite.kv_append %x, %s, %k keys : " + x +
        ", tensor<1xi64>, " + k + "\n%1 = ferrite.kv_append %x, %s, %v : " + x +
        ", tensor<1xi64>, " + v +
        "\n%r = ferrite.paged_attention %x, %0, %1, %b, %c, %s, %t scale = 1.0 "
        ": (" +
        x + ", " + k + ", " + v +
        ", tensor<2xi32>, tensor<1xi32>, tensor<1xi64>, tensor<1x1xi32>) -> " +
        x + "\nreturn %r : " + x + "\n}";
    Kind kind = isNibbles ? Kind::U8 : Kind::I8;
    std::vector<int64_t> empty(width * 64);
    return run(text,
               {floats({1, 1, 1, size}, row), integers({1}, {0}),
                integers({1, 1, width, 64}, empty, kind),
                integers({1, 1, 64, width}, empty, kind),
                integers({2}, {0, 1}, Kind::I32), integers({1}, {0}, Kind::I32),
                integers({1, 1}, {0}, Kind::I32)});
  };
  float scale = 1.0f / 127;
  EXPECT_EQ(resultOf({1, -0.5, 0.01}, 7, false),
            (Values{127 * scale, -64 * scale, 1 * scale}))
      << message;
  Values row(32, -2), want(32, -2);
  row[0] = want[0] = 5.5; // -2 + 15 * 0.5
  row[17] = 0.3, want[17] = 0.5;
  EXPECT_EQ(resultOf(row, 20, true), want) << message;
}

TEST_F(OpsTest, PartialsAreOfRunsOfOneToken) {
  StringRef text = R"mlir(
    func.func @main(%q: tensor<1x3x1x1xf32> {ferrite.name = "q"}, %k: tensor<2x1x1x64xf32> {ferrite.name = "k"},
                    %v: tensor<2x1x64x1xf32> {ferrite.name = "v"}, %b: tensor<3xi32> {ferrite.name = "b"},
                    %c: tensor<2xi32> {ferrite.name = "c"}, %s: tensor<3xi64> {ferrite.name = "s"},
                    %t: tensor<2x1xi32> {ferrite.name = "t"}, %h: tensor<1xf32> {ferrite.name = "h"}) -> tensor<2x1x18xf32> {
      %r = ferrite.paged_partials %q, %k, %v, %b, %c, %s, %t slopes(%h : tensor<1xf32>) scale = 1.0 : (tensor<1x3x1x1xf32>, tensor<2x1x1x64xf32>, tensor<2x1x64x1xf32>, tensor<3xi32>, tensor<2xi32>, tensor<3xi64>, tensor<2x1xi32>) -> tensor<2x1x18xf32>
      return %r : tensor<2x1x18xf32>
    })mlir";
  Values want(36, 0);
  // Its keys have the scores -1 and 0, the values 3 and 4.
  want[18] = std::exp(-1.) * 3 + 4;
  want[20] = 1 + std::exp(-1.);
  Values got =
      run(text, {floats({1, 3, 1, 1}, {0, 0, 0}),
                 floats({2, 1, 1, 64}, Values(128, 0)),
                 floats({2, 1, 64, 1},
                        [] {
                          Values values(128, 0);
                          values[64] = 3, values[65] = 4;
                          return values;
                        }()),
                 integers({3}, {0, 2, 3}, Kind::I32),
                 integers({2}, {0, 1}, Kind::I32), integers({3}, {0, 0, 0}),
                 integers({2, 1}, {0, 1}, Kind::I32), floats({1}, {1})});
  ASSERT_EQ(got.size(), want.size()) << message;
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 1e-6) << i;
}

// Keys are 0, so that what is seen weighs alike; one head of keys, two of
// queries. The second run's last two tokens see 2 and 3 keys.
TEST_F(OpsTest, KeysAreWeighed) {
  StringRef text = R"mlir(
    func.func @main(%q: tensor<1x4x2x1xf32> {ferrite.name = "q"}, %k: tensor<2x1x1x64xf32> {ferrite.name = "k"},
                    %b: tensor<3xi32> {ferrite.name = "b"}, %c: tensor<2xi32> {ferrite.name = "c"},
                    %t: tensor<2x1xi32> {ferrite.name = "t"}, %r: tensor<1xi64> {ferrite.name = "r"},
                    %n: tensor<1xi32> {ferrite.name = "n"}) -> tensor<1x1x64xi64> {
      %w = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 1.0 : tensor<1x4x2x1xf32>, tensor<2x1x1x64xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x1xi32>, tensor<1xi64>, tensor<1xi32> -> tensor<1x1x64xi64>
      return %w : tensor<1x1x64xi64>
    })mlir";
  SmallVector<Tensor> inputs{floats({1, 4, 2, 1}, Values(8, 1)),
                             floats({2, 1, 1, 64}, Values(128, 0)),
                             integers({3}, {0, 1, 4}, Kind::I32),
                             integers({2}, {5, 0}, Kind::I32),
                             integers({2, 1}, {0, 1}, Kind::I32),
                             integers({1}, {1}),
                             integers({1}, {2}, Kind::I32)};
  Values want(64, 0);
  double unit = std::ldexp(1., 32), third = std::round(unit / 3);
  want[0] = want[1] = unit + 2 * third; // two halves and two thirds
  want[2] = 2 * third;
  EXPECT_EQ(run(text, inputs), want) << message;
  inputs[5] = integers({1}, {2});
  EXPECT_TRUE(run(text, inputs).empty());
  EXPECT_NE(message.find("run 2 is none of 2"), std::string::npos) << message;
}
} // namespace
