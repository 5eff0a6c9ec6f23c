//===- ShapeValueTest.cpp - Arithmetic on symbolic sizes ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ShapeValue.h"
#include <gtest/gtest.h>

using namespace ferrite;
using namespace ferrite::frontend;

namespace {

struct ShapeValueTest : ::testing::Test {
  SymbolBounds symbols;
  DimExpr s = symbols.declare("sequence", {1, 512});
  DimExpr b = symbols.declare("batch", {});

  std::string slice(DimExpr start, DimExpr end, int64_t step, DimExpr dim) {
    auto range = resolveSlice(start, end, step, dim, symbols);
    return range ? range->offset.str() + " : " + range->size.str() : "unknown";
  }
  std::string compute(IntOp op, DimExpr x, DimExpr y) {
    auto result = evaluate(op, x, y, symbols);
    return result ? result->str() : "unknown";
  }
};

TEST_F(ShapeValueTest, OneNameIsOneSymbol) {
  EXPECT_EQ(symbols.declare("sequence", {}), s);
  EXPECT_EQ(symbols.all().size(), 2u);
}

TEST_F(ShapeValueTest, NamesThatDimExprsCannotPrintAreRenamedApart) {
  DimExpr plus = symbols.declare("past + 1", {}),
          minus = symbols.declare("past - 1", {});
  EXPECT_NE(plus, minus);
  EXPECT_EQ(DimExpr::parse(plus.str()), plus);
  EXPECT_EQ(DimExpr::parse(symbols.declare("7", {}).str()),
            symbols.declare("7", {}));
}

TEST_F(ShapeValueTest, BoundsOfPolynomials) {
  EXPECT_EQ(symbols.lower(s * DimExpr(2) + DimExpr(3)), 5);
  EXPECT_EQ(symbols.upper(s * DimExpr(2) + DimExpr(3)), 1027);
  EXPECT_EQ(symbols.lower(DimExpr(0) - s), -512);
  EXPECT_EQ(symbols.upper(b), std::nullopt);
  EXPECT_EQ(symbols.lower(b * s), 1);
}

TEST_F(ShapeValueTest, ComparisonsKnowWhatBoundsSay) {
  EXPECT_EQ(compute(IntOp::Eq, s, -1), "0");
  EXPECT_EQ(compute(IntOp::Eq, s, s), "1");
  EXPECT_EQ(compute(IntOp::Eq, s, 1), "unknown");
  EXPECT_EQ(compute(IntOp::Gt, s, 0), "1");
  EXPECT_EQ(compute(IntOp::Le, s, 512), "1");
  EXPECT_EQ(compute(IntOp::Lt, s, b), "unknown");
  EXPECT_EQ(compute(IntOp::Max, s, 1), "sequence");
  EXPECT_EQ(compute(IntOp::Min, s + DimExpr(1), s), "sequence");
}

TEST_F(ShapeValueTest, DivisionIsExactOrUnknown) {
  EXPECT_EQ(compute(IntOp::Div, s * b * DimExpr(12), b * DimExpr(4)),
            "sequence*3");
  EXPECT_EQ(compute(IntOp::Div, s, 2), "unknown");
  EXPECT_EQ(compute(IntOp::Div, -7, 2), "-3");
  EXPECT_EQ(compute(IntOp::Div, 1, 0), "unknown");
  EXPECT_EQ(compute(IntOp::Div, INT64_MIN, -1), "unknown");
  EXPECT_EQ(compute(IntOp::Mod, -7, 2), "1");
  EXPECT_EQ(compute(IntOp::Mod, s * DimExpr(4), 2), "0");
}

TEST_F(ShapeValueTest, OverflowIsNoSize) {
  EXPECT_EQ(compute(IntOp::Mul, s * DimExpr(INT64_MAX), 2), "unknown");
  EXPECT_EQ(compute(IntOp::Add, INT64_MAX, 1), "unknown");
}

TEST_F(ShapeValueTest, SliceCountsFromTheEndAndClamps) {
  EXPECT_EQ(slice(0, INT64_MAX, 1, s), "0 : sequence");
  EXPECT_EQ(slice(INT64_MIN, INT64_MAX, 1, s), "0 : sequence");
  EXPECT_EQ(slice(-1, INT64_MAX, 1, 4), "3 : 1");
  EXPECT_EQ(slice(-9, 9, 1, 4), "0 : 4");
  EXPECT_EQ(slice(3, 1, 1, 4), "0 : 0");
  EXPECT_EQ(slice(0, -1, 1, s), "0 : sequence - 1");
  EXPECT_EQ(slice(0, 4, 3, 4), "0 : 2");
  EXPECT_EQ(slice(0, s, 1, s * DimExpr(2)), "0 : sequence");
}

TEST_F(ShapeValueTest, SliceBackwards) {
  EXPECT_EQ(slice(-1, INT64_MIN, -1, 4), "3 : 4");
  EXPECT_EQ(slice(INT64_MAX, INT64_MIN, -2, 5), "4 : 3");
  EXPECT_EQ(slice(-1, INT64_MIN, -1, s), "sequence - 1 : sequence");
}

TEST_F(ShapeValueTest, TheLengthOfATableBoundsTheSymbol) {
  EXPECT_EQ(slice(2, s + DimExpr(2), 1, 130), "2 : sequence");
  EXPECT_EQ(symbols.upper(s), 128);
  EXPECT_EQ(slice(0, b, 1, 8), "0 : batch");
  EXPECT_EQ(symbols.upper(b), 8);
}

TEST_F(ShapeValueTest, ABoundThatCannotHoldIsRefused) {
  EXPECT_EQ(slice(600, INT64_MAX, 1, s), "0 : 0");
  DimExpr t = symbols.declare("tail", {10, 20});
  EXPECT_EQ(slice(0, t, 1, 4), "0 : 4"); // clamped: it is always longer
  EXPECT_FALSE(symbols.requireLessEqual(t, 4));
  EXPECT_TRUE(symbols.requireEqual(t, 12));
  EXPECT_EQ(symbols.lower(t), 12);
  EXPECT_EQ(symbols.upper(t), 12);
}

TEST_F(ShapeValueTest, NoRequirementMovesWhatDataDecides) {
  DimExpr n = symbols.declareDecided("nonzero", s * DimExpr(2));
  EXPECT_EQ(n.str(), "nonzero.0");
  EXPECT_EQ(symbols.declareDecided("nonzero", b).str(), "nonzero.1");
  EXPECT_EQ(symbols.lower(n), 0);
  EXPECT_EQ(symbols.upper(n), 1024);
  EXPECT_TRUE(symbols.requireLessEqual(n, 1024));
  EXPECT_FALSE(symbols.requireLessEqual(n, 12));
  EXPECT_FALSE(symbols.requireEqual(n, 1));
  EXPECT_EQ(symbols.upper(n), 1024);
  // A size of inputs is none that data decides.
  EXPECT_FALSE(symbols.solve(b, n));
  EXPECT_FALSE(symbols.solve(n, DimExpr(4)));
  EXPECT_EQ(symbols.all().size(), 2u);
  EXPECT_EQ(symbols.explainDecided("a view of [batch, 3*nonzero.0]"),
            "; data decides nonzero.0, how many elements are not zero");
  EXPECT_EQ(symbols.explainDecided("a view of [nonzero.05]"), "");
}

} // namespace
