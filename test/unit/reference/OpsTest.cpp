//===- OpsTest.cpp - The rules of the reference evaluator -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Values worked out by hand from the ops' documentation.
//
//===----------------------------------------------------------------------===//
#include "test/unit/reference/OpsTest.h"

#include "lib/Reference/Parallel.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
TEST_F(OpsTest, LinearOfBytes) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x3xui8> {ferrite.name = "x"}, %w: tensor<3x2xi8> {ferrite.name = "w"},
                    %zx: tensor<i32> {ferrite.name = "zx"}, %zw: tensor<2xi32> {ferrite.name = "zw"}) -> tensor<2x2xi32> {
      %y = ferrite.linear %x, %w zero(%zx : tensor<i32>) weight_zero(%zw : tensor<2xi32>) : (tensor<2x3xui8>, tensor<3x2xi8>) -> tensor<2x2xi32> {
      ^bb0(%acc: i32):
        ferrite.yield %acc : i32
      }
      return %y : tensor<2x2xi32>
    })mlir";
  // (200 - 3) * (-128 - 1) + (0 - 3) * (5 - 1) + (255 - 3) * (127 - 1), ...
  EXPECT_EQ(run(text, {integers({2, 3}, {200, 0, 255, 3, 4, 5}, Kind::U8),
                       integers({3, 2}, {-128, 2, 5, -7, 127, 0}, Kind::I8),
                       integers({}, {3}, Kind::I32),
                       integers({2}, {1, -2}, Kind::I32)}),
            (Values{197 * -129 - 3 * 4 + 252 * 126, 197 * 4 + 3 * 5 + 252 * 2,
                    0 + 4 + 2 * 126, 0 - 5 + 2 * 2}))
      << message;
}

// A matrix on the right for each on the left.
TEST_F(OpsTest, LinearOfByteBatches) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x1x2xui8> {ferrite.name = "x"}, %w: tensor<2x2x2xui8> {ferrite.name = "w"},
                    %zx: tensor<i32> {ferrite.name = "zx"}, %zw: tensor<i32> {ferrite.name = "zw"}) -> tensor<2x1x2xi32> {
      %y = ferrite.linear %x, %w zero(%zx : tensor<i32>) weight_zero(%zw : tensor<i32>) : (tensor<2x1x2xui8>, tensor<2x2x2xui8>) -> tensor<2x1x2xi32> {
      ^bb0(%acc: i32):
        ferrite.yield %acc : i32
      }
      return %y : tensor<2x1x2xi32>
    })mlir";
  EXPECT_EQ(
      run(text, {integers({2, 1, 2}, {10, 200, 3, 255}, Kind::U8),
                 integers({2, 2, 2}, {1, 250, 7, 0, 9, 128, 255, 2}, Kind::U8),
                 integers({}, {3}, Kind::I32), integers({}, {100}, Kind::I32)}),
      (Values{7 * -99 + 197 * -93, 7 * 150 + 197 * -100, 252 * 155, 252 * -98}))
      << message;
}

TEST_F(OpsTest, BroadcastsAndBindsSymbols) {
  StringRef text = R"mlir(
    func.func @main(%a: tensor<?x3xf32> {ferrite.name = "a", ferrite.dims = ["batch", "3"]},
                    %b: tensor<?x1xf32> {ferrite.name = "b", ferrite.dims = ["batch", "1"]})
        -> tensor<?x3xf32> {
      %c = ferrite.sub %a, %b : (tensor<?x3xf32>, tensor<?x1xf32>) -> tensor<?x3xf32>
      %d = ferrite.relu %c : (tensor<?x3xf32>) -> tensor<?x3xf32>
      return %d : tensor<?x3xf32>
    })mlir";
  EXPECT_EQ(
      run(text, {floats({2, 3}, {1, 2, 3, 4, 5, 6}), floats({2, 1}, {2, 4})}),
      (Values{0, 0, 1, 0, 1, 2}));
  EXPECT_EQ(seen, (std::vector<int64_t>{6, 6}));
  EXPECT_TRUE(run(text, {floats({2, 3}, {}), floats({1, 1}, {})}).empty());
  EXPECT_NE(message.find("input 'b' has 1 where 2 is expected for batch"),
            std::string::npos)
      << message;
}

TEST_F(OpsTest, RoundsToTheElementType) {
  StringRef text = R"mlir(
    func.func @main(%a: tensor<4xf16>) -> tensor<4xf16> {
      %b = ferrite.add %a, %a : (tensor<4xf16>, tensor<4xf16>) -> tensor<4xf16>
      return %b : tensor<4xf16>
    })mlir";
  // 40000 + 40000 is beyond f16; 2^-24 is its least number.
  EXPECT_EQ(
      run(text, {floats({4}, {40000, 0x1p-24, 1.0009765625, -3}, Kind::F16)}),
      (Values{INFINITY, 0x1p-23, 2.001953125, -6}));
  EXPECT_EQ(roundTo(Kind::BF16, 1 + 0x1p-8), 1); // a tie, to even
  EXPECT_EQ(roundTo(Kind::BF16, 1 + 3 * 0x1p-8), 1 + 0x1p-6);
  EXPECT_EQ(roundTo(Kind::F16, 65520), INFINITY);
  EXPECT_EQ(roundTo(Kind::F16, 0x1p-25), 0); // a tie below the least number
}

TEST_F(OpsTest, ProductsBroadcastLeadingDims) {
  StringRef text = R"mlir(
    func.func @main(%a: tensor<2x2x3xf32>, %b: tensor<1x3x5xf32>) -> tensor<2x2x5xf32> {
      %c = ferrite.matmul %a, %b : (tensor<2x2x3xf32>, tensor<1x3x5xf32>) -> tensor<2x2x5xf32>
      return %c : tensor<2x2x5xf32>
    })mlir";
  Values a, b, expected(20, 0);
  for (int i = 0; i < 12; ++i)
    a.push_back(i - 4);
  for (int i = 0; i < 15; ++i)
    b.push_back(i % 7);
  for (int m = 0; m < 4; ++m)
    for (int n = 0; n < 5; ++n)
      for (int k = 0; k < 3; ++k)
        expected[m * 5 + n] += a[m * 3 + k] * b[k * 5 + n];
  EXPECT_EQ(run(text, {floats({2, 2, 3}, a), floats({1, 3, 5}, b)}), expected);
}

/// More columns than a block, rows that are no multiple of a tile.
TEST_F(OpsTest, LinearRunsItsEpilogue) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<7x9xf32>, %w: tensor<9x130xf32>, %b: tensor<130xf32>)
        -> tensor<7x130xf32> {
      %y = ferrite.linear %x, %w sides(%b : tensor<130xf32>)
          : (tensor<7x9xf32>, tensor<9x130xf32>) -> tensor<7x130xf32> {
      ^bb0(%acc: f32, %bias: f32):
        %s = arith.addf %acc, %bias : f32
        %zero = arith.constant 0.0 : f32
        %m = arith.maximumf %s, %zero : f32
        ferrite.yield %m : f32
      }
      return %y : tensor<7x130xf32>
    })mlir";
  Values x, w, b, expected;
  for (int i = 0; i < 63; ++i)
    x.push_back(i % 5 - 2);
  for (int i = 0; i < 9 * 130; ++i)
    w.push_back(i % 11 - 5);
  for (int i = 0; i < 130; ++i)
    b.push_back(i % 3);
  for (int m = 0; m < 7; ++m)
    for (int n = 0; n < 130; ++n) {
      double sum = b[n];
      for (int k = 0; k < 9; ++k)
        sum += x[m * 9 + k] * w[k * 130 + n];
      expected.push_back(std::max(sum, 0.0));
    }
  EXPECT_EQ(
      run(text, {floats({7, 9}, x), floats({9, 130}, w), floats({130}, b)}),
      expected);
}

TEST_F(OpsTest, AttentionMasks) {
  // With zero queries the kept values are averaged.
  StringRef text = R"mlir(
    func.func @main(%q: tensor<1x1x2x2xf32>, %k: tensor<1x3x1x2xf32>, %v: tensor<1x3x1x2xf32>,
                    %m: tensor<1x3xi1>) -> tensor<1x1x2x2xf32> {
      %o = ferrite.attention %q, %k, %v mask(%m : tensor<1x3xi1>) scale = 0.5
          guarded : (tensor<1x1x2x2xf32>, tensor<1x3x1x2xf32>, tensor<1x3x1x2xf32>)
          -> tensor<1x1x2x2xf32>
      return %o : tensor<1x1x2x2xf32>
    })mlir";
  Tensor q = floats({1, 1, 2, 2}, {0, 0, 0, 0}),
         k = floats({1, 3, 1, 2}, {1, 2, 3, 4, 5, 6});
  Tensor v = floats({1, 3, 1, 2}, {1, 2, 3, 6, 100, 100});
  EXPECT_EQ(run(text, {q, k, v, integers({1, 3}, {1, 1, 0}, Kind::Bool)}),
            (Values{2, 4, 2, 4}))
      << message;
  EXPECT_EQ(run(text, {q, k, v, integers({1, 3}, {0, 0, 0}, Kind::Bool)}),
            (Values{0, 0, 0, 0}));
}

TEST_F(OpsTest, NormalizesRows) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x2xf32>, %w: tensor<2xf32>, %b: tensor<2xf32>)
        -> tensor<2x2xf32> {
      %y = ferrite.norm layer %x, %w bias(%b : tensor<2xf32>) residual(%x : tensor<2x2xf32>)
          epsilon = 0.0 : tensor<2x2xf32>, tensor<2xf32>
      return %y : tensor<2x2xf32>
    })mlir";
  EXPECT_EQ(run(text, {floats({2, 2}, {1, 3, -8, -4}), floats({2}, {2, 3}),
                       floats({2}, {10, 0})}),
            (Values{8, 3, 8, 3}));
}

TEST_F(OpsTest, SoftmaxOfNothingIsNaN) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
      %y = ferrite.softmax %x : tensor<2x2xf32>
      return %y : tensor<2x2xf32>
    })mlir";
  Values y = run(text, {floats({2, 2}, {5, 5, -INFINITY, -INFINITY})});
  ASSERT_EQ(y.size(), 4u);
  EXPECT_EQ(y[0], 0.5);
  EXPECT_TRUE(std::isnan(y[2]) && std::isnan(y[3]));
}

TEST_F(OpsTest, GathersAndChecksIds) {
  StringRef text = R"mlir(
    func.func @main(%t: tensor<3x2xf32>, %i: tensor<2xi64>) -> tensor<2x2xf32> {
      %g = ferrite.gather %t, %i axis = 0 : (tensor<3x2xf32>, tensor<2xi64>) -> tensor<2x2xf32>
      return %g : tensor<2x2xf32>
    })mlir";
  Tensor table = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(text, {table, integers({2}, {-1, 0})}), (Values{5, 6, 1, 2}));
  EXPECT_TRUE(run(text, {table, integers({2}, {0, 3})}).empty());
  EXPECT_NE(message.find("index 3 is outside of [-3, 3)"), std::string::npos)
      << message;
}

TEST_F(OpsTest, MovesElements) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<?x3xi32> {ferrite.name = "x", ferrite.dims = ["n", "3"]})
        -> tensor<?x?xi32> {
      %t = ferrite.transpose %x perm = [1, 0] : tensor<?x3xi32> -> tensor<3x?xi32>
      %s = ferrite.slice %t offsets = ["2", "0"] steps = [-2, 1] dims = ["2", "n"]
          : tensor<3x?xi32> -> tensor<2x?xi32>
      %c = ferrite.concat %s, %s axis = 1 : (tensor<2x?xi32>, tensor<2x?xi32>) -> tensor<2x?xi32>
      %u = ferrite.cumsum %c axis = 1 exclusive : tensor<2x?xi32>
      %v = ferrite.view %u dims = ["n", "4"] : tensor<2x?xi32> -> tensor<?x4xi32>
      %r = ferrite.reduce max %v axes = [1] keep_dims : tensor<?x4xi32> -> tensor<?x1xi32>
      %b = ferrite.broadcast %r dims = ["n", "n"] : tensor<?x1xi32> -> tensor<?x?xi32>
      return %b : tensor<?x?xi32>
    })mlir";
  // Columns 2 and 0 of x, twice each: 3 6 3 6 and 1 4 1 4; summed 0 3 9 12, 0 1
  // 5 6.
  EXPECT_EQ(run(text, {integers({2, 3}, {1, 2, 3, 4, 5, 6}, Kind::I32)}),
            (Values{12, 12, 6, 6}))
      << message;
  EXPECT_EQ(shape, (std::vector<int64_t>{2, 2}));
}

TEST_F(OpsTest, FusedReducesAndKnowsItsLoops) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x4xf32>) -> tensor<2xf32> {
      %y = ferrite.fused (%x : tensor<2x4xf32>) domain = ["2", "4"]
          maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>]
          combine sum -> tensor<2xf32> {
      ^bb0(%a: f32):
        %i = ferrite.loop_index 1
        %f = arith.sitofp %i : i64 to f32
        %p = arith.mulf %a, %f : f32
        ferrite.yield %p : f32
      } finish {
      ^bb0(%a: f32):
        %n = arith.negf %a : f32
        ferrite.yield %n : f32
      }
      return %y : tensor<2xf32>
    })mlir";
  EXPECT_EQ(run(text, {floats({2, 4}, {9, 1, 1, 1, 9, 1, 2, 3})}),
            (Values{-6, -14}))
      << message;
}

TEST_F(OpsTest, ConvertsAndCompares) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<5xf32>) -> tensor<5xi8> {
      %n = ferrite.isnan %x : (tensor<5xf32>) -> tensor<5xi1>
      %z = arith.constant dense<7.0> : tensor<1xf32>
      %w = ferrite.where %n, %z, %x : (tensor<5xi1>, tensor<1xf32>, tensor<5xf32>) -> tensor<5xf32>
      %i = ferrite.cast %w : (tensor<5xf32>) -> tensor<5xi8>
      return %i : tensor<5xi8>
    })mlir";
  EXPECT_EQ(run(text, {floats({5}, {-1.9, NAN, 300, 2.5, -0.5})}),
            (Values{-1, 7, 127, 2, 0}))
      << message;
}

TEST(ParallelTest, AWalkBeginsAnywhere) {
  std::vector<int64_t> offsets;
  Sizes strides = {1, 10};
  walkStrided({2, 3}, strides, 2, 5,
              [&](int64_t, const Sizes &at) { offsets.push_back(at[0]); });
  EXPECT_EQ(offsets, (std::vector<int64_t>{20, 1, 11}));
}

TEST_F(OpsTest, ExpertsMultiplyTheRowsGivenToThem) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<2x1x2xf32> {ferrite.name = "x"}, %w: tensor<2x2x1xf32> {ferrite.name = "w"},
                    %e: tensor<2x2xi64> {ferrite.name = "e"}, %b: tensor<2x1xf32> {ferrite.name = "b"})
        -> tensor<2x2x1xf32> {
      %y = ferrite.expert_linear %x, %w, %e bias(%b : tensor<2x1xf32>) : tensor<2x1x2xf32>, tensor<2x2x1xf32>, tensor<2x2xi64> -> tensor<2x2x1xf32>
      return %y : tensor<2x2x1xf32>
    })mlir";
  // The third counts from the end: expert 1.
  EXPECT_EQ(
      run(text,
          {floats({2, 1, 2}, {1, 1, 2, 3}), floats({2, 2, 1}, {1, 2, 10, 20}),
           integers({2, 2}, {0, 1, -1, 0}), floats({2, 1}, {0.5, 7})}),
      (Values{3.5, 37, 87, 8.5}));
}

TEST_F(OpsTest, RoutesAreByGroupThenBySlot) {
  StringRef text = R"mlir(
    func.func @main(%e: tensor<4xi64> {ferrite.name = "e"}) -> tensor<16xi64> {
      %r = ferrite.route %e groups = 3 chunk = 2 : tensor<4xi64> -> tensor<16xi64>
      return %r : tensor<16xi64>
    })mlir";
  EXPECT_EQ(run(text, {integers({4}, {0, 2, 2, 0})}),
            (Values{0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2}));
  EXPECT_EQ(run(text, {integers({4}, {2, 2, 2, 0})}),
            (Values{0, 0, 1, 2, 1, 2, 2, 3, 1, 0, 0, 0, 3, 0, 1, 2}));
}

TEST_F(OpsTest, GroupsMultiplyLowBits) {
  auto text = [](StringRef zeros) {
    return (R"mlir(
    func.func @main(%x: tensor<1x2xf32> {ferrite.name = "x"}, %w: tensor<1x1x1xui8> {ferrite.name = "w"},
                    %s: tensor<1x1x1xf32> {ferrite.name = "s"}, %z: tensor<1x1x1xui8> {ferrite.name = "z"},
                    %e: tensor<1xi64> {ferrite.name = "e"}) -> tensor<1x1xf32> {
      %r = ferrite.route %e groups = 1 chunk = 2 : tensor<1xi64> -> tensor<4xi64>
      %y = ferrite.grouped_linear %x, %w, %r scales(%s : tensor<1x1x1xf32>) )mlir" +
            zeros +
            R"mlir( share = 1 chunk = 2 bits = 4 block = 2 : tensor<1x2xf32>, tensor<1x1x1xui8>, tensor<4xi64> -> tensor<1x1xf32>
      return %y : tensor<1x1xf32>
    })mlir")
        .str();
  };
  // q is 9 and 7, low bits first; the zero point 8, or 3.
  SmallVector<Tensor> inputs{
      floats({1, 2}, {2, 3}), integers({1, 1, 1}, {0x79}, Kind::U8),
      floats({1, 1, 1}, {0.5}), integers({1, 1, 1}, {3}, Kind::U8),
      integers({1}, {0})};
  EXPECT_EQ(run(text(""), inputs), (Values{-0.5}));
  EXPECT_EQ(run(text("zero_points(%z : tensor<1x1x1xui8>)"), inputs),
            (Values{12}));
}
} // namespace
