//===- MergeTest.cpp - Tokens that merge, in the reference evaluator ------===//
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
TEST_F(OpsTest, TokenMetric) {
  StringRef text = R"mlir(
    func.func @main(%k: tensor<1x2x2x2xf32> {ferrite.name = "k"}) -> tensor<1x2x2xf32> {
      %m = ferrite.token_metric %k : tensor<1x2x2x2xf32> -> tensor<1x2x2xf32>
      return %m : tensor<1x2x2xf32>
    })mlir";
  // 1 + 2 and 3 + 1, of length 5; then nothing.
  Values result = run(text, {floats({1, 2, 2, 2}, {1, 3, 2, 1, 4, -1, -4, 1})});
  ASSERT_EQ(result.size(), 4u) << message;
  EXPECT_NEAR(result[0], 0.6, 1e-7);
  EXPECT_NEAR(result[1], 0.8, 1e-7);
  EXPECT_EQ(result[2], 0);
  EXPECT_EQ(result[3], 0);
}

// Six tokens by angle: of those at 0 (fixed), 2 and 4 the one at 4 is the most
// alike to an odd one, that at 1.
TEST_F(OpsTest, MatchTokens) {
  StringRef text = R"mlir(
    func.func @main(%m: tensor<1x6x2xf32> {ferrite.name = "m"}) -> tensor<1x6xi32> {
      %t = ferrite.match_tokens %m removed = 1 fixed = 1 : tensor<1x6x2xf32> -> tensor<1x6xi32>
      return %t : tensor<1x6xi32>
    })mlir";
  Values angles = {0.1, 0.1, 1.2, 2.6, 0.2, 1.8}, rows;
  for (double angle : angles) {
    rows.push_back(std::cos(angle));
    rows.push_back(std::sin(angle));
  }
  EXPECT_EQ(run(text, {floats({1, 6, 2}, rows)}), (Values{0, 2, 1, 3, 2, 4}))
      << message;
}

TEST_F(OpsTest, MergeTokens) {
  StringRef text = R"mlir(
    func.func @main(%x: tensor<1x4x2xf32> {ferrite.name = "x"}, %t: tensor<1x4xi32> {ferrite.name = "t"},
                    %s: tensor<1x4xf32> {ferrite.name = "s"}) -> tensor<1x4x2xf32> {
      %y = ferrite.merge_tokens %x, %t sizes(%s : tensor<1x4xf32>) removed = 1 : tensor<1x4x2xf32>, tensor<1x4xi32> -> tensor<1x3x2xf32>
      %z = ferrite.unmerge_tokens %y, %t : tensor<1x3x2xf32>, tensor<1x4xi32> -> tensor<1x4x2xf32>
      return %z : tensor<1x4x2xf32>
    })mlir";
  // Tokens 1 and 3, sizes 3 and 1, become (3 * 3 + 7) / 4 and (3 * 4 + 8) / 4.
  EXPECT_EQ(run(text, {floats({1, 4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}),
                       integers({1, 4}, {0, 2, 1, 2}, Kind::I32),
                       floats({1, 4}, {1, 3, 2, 1})}),
            (Values{1, 2, 4, 5, 5, 6, 4, 5}))
      << message;
}
} // namespace
