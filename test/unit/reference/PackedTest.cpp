//===- PackedTest.cpp - Weights and rows of few bits ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/reference/OpsTest.h"

#include <cmath>

using namespace ferrite;
using namespace ferrite::reference;

namespace {
class PackedOps : public OpsTest {};

// most is 4 and 2: q = round(x * 127 / most), to even.
TEST_F(PackedOps, ALinearRoundsItsInput) {
  const char *text = R"mlir(
    func.func @main(%x: tensor<1x4xf32> {ferrite.name = "x"},
                    %w: tensor<4x1xf32> {ferrite.name = "w"}) -> tensor<1x1xf32> {
      %y = ferrite.linear %x, %w input_block = 2 : (tensor<1x4xf32>, tensor<4x1xf32>) -> tensor<1x1xf32> {
      ^bb0(%acc: f32):
        ferrite.yield %acc : f32
      }
      return %y : tensor<1x1xf32>
    })mlir";
  Values result = run(text, {floats({1, 4}, {4, 1, -0.5, 2}),
                             floats({4, 1}, {1, 10, 100, 1000})});
  ASSERT_EQ(1u, result.size()) << message;
  float first = 4.0f / 127.0f, second = 2.0f / 127.0f;
  // 1 is 31.75, so 32; -0.5 is -31.75, so -32.
  double wanted = 127 * double(first) + 10.0 * float(32 * first) +
                  100.0 * float(-32 * second) + 1000.0 * float(127 * second);
  EXPECT_NEAR(wanted, result[0], 1e-3);
}

TEST_F(PackedOps, CodesStandForNumbers) {
  const char *text = R"mlir(
    func.func @main(%q: tensor<1x4xui4> {ferrite.name = "q"},
                    %s: tensor<1x2xf32> {ferrite.name = "s"}) -> tensor<1x4xf32> {
      %y = ferrite.dequantize %q, %s axis = 1 block = 2 codes = [-1.0, -0.25, 0.5, 2.0] bits = 2 : (tensor<1x4xui4>, tensor<1x2xf32>) -> tensor<1x4xf32>
      return %y : tensor<1x4xf32>
    })mlir";
  EXPECT_EQ(run(text, {integers({1, 4}, {0, 1, 2, 3}, Kind::U4),
                       floats({1, 2}, {2, 10})}),
            (Values{-2, -0.5, 5, 20}))
      << message;
}

// What the layout says, bit by bit: q = 1 .. 8 of one column, less 8.
TEST_F(PackedOps, APackedColumn) {
  const char *text = R"mlir(
    func.func @main(%x: tensor<1x8xf32> {ferrite.name = "x"},
                    %w: tensor<512xui8> {ferrite.name = "w"}) -> tensor<1x1xf32> {
      %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 8, columns = 1, block = 8, scale = f32 shift = 8> : (tensor<1x8xf32>, tensor<512xui8>) -> tensor<1x1xf32> {
      ^bb0(%acc: f32):
        ferrite.yield %acc : f32
      }
      return %y : tensor<1x1xf32>
    })mlir";
  Tensor weight = integers({512}, {}, Kind::U8);
  float scale = 0.5f;
  std::memcpy(weight.mutableData(), &scale, 4);
  // Byte i of the word: k = i in its low bits, 4 + i above.
  for (int64_t i = 0; i < 4; ++i)
    weight.setInteger(256 + i, (1 + i) | (5 + i) << 4);
  EXPECT_EQ(run(text, {floats({1, 8}, {1, 0, 0, 0, 0, 0, 0, 10}), weight}),
            (Values{0.5 * (1 - 8) + 10 * 0.5 * (8 - 8)}))
      << message;
  EXPECT_EQ(run(text, {floats({1, 8}, {0, 1, 0, 0, 0, 10, 0, 0}), weight}),
            (Values{0.5 * (2 - 8) + 10 * 0.5 * (6 - 8)}))
      << message;
}

TEST_F(PackedOps, RoundedRowsTimesThreeBits) {
  const char *text = R"mlir(
    func.func @main(%x: tensor<1x4xf32> {ferrite.name = "x"},
                    %w: tensor<1024xui8> {ferrite.name = "w"}) -> tensor<1x1xf32> {
      %r = ferrite.round_rows %x block = 4 : tensor<1x4xf32> -> tensor<1x128xui8>
      %y = ferrite.packed_linear %r, %w packed <bits = 3, depth = 4, columns = 1, block = 4, scale = f32 shift = 4> input_block = 4 : (tensor<1x128xui8>, tensor<1024xui8>) -> tensor<1x1xf32> {
      ^bb0(%acc: f32):
        ferrite.yield %acc : f32
      }
      return %y : tensor<1x1xf32>
    })mlir";
  Tensor weight = integers({1024}, {}, Kind::U8);
  float scale = 2;
  std::memcpy(weight.mutableData(), &scale, 4);
  // Codes 7, 2, 5, 0: two low bits in the first plane, the third in the last.
  for (auto [i, code] : llvm::enumerate(ArrayRef<int64_t>{7, 2, 5, 0})) {
    weight.setInteger(256 + i, code & 3);
    weight.setInteger(256 + 512 + i, code >> 2);
  }
  // q is 127, -64 (a tie, to even), 0, 32.
  Values result = run(text, {floats({1, 4}, {127, -63.5, 0.25, 32}), weight});
  ASSERT_EQ(1u, result.size()) << message;
  EXPECT_EQ(2.0 * (127 * 3 + 64 * 2 - 32 * 4), result[0]);
}
} // namespace
