//===- DimExprTest.cpp - Sizes as polynomials -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Two sizes are taken for equal exactly when they compare equal, so everything
// rests on the one form: arithmetic in any order must reach it, text must carry
// it, and a quotient must be the exact one or none.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/DimExpr.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

#include <random>

using namespace ferrite;

namespace {
DimExpr symbol(llvm::StringRef name) { return DimExpr::symbol(name); }

/// A polynomial of up to four terms with small coefficients, some negative.
DimExpr randomExpr(std::mt19937 &random) {
  const char *const names[] = {"a", "b", "sequence", "z"};
  DimExpr result;
  for (unsigned term = 0; term < 1 + random() % 4; ++term) {
    DimExpr product(static_cast<int64_t>(random() % 13) - 6);
    for (unsigned factor = 0; factor < random() % 4; ++factor)
      product = product * symbol(names[random() % 4]);
    result = result + product;
  }
  return result;
}

/// The value at sizes that tell symbols apart.
std::optional<int64_t> valueOf(const DimExpr &expr) {
  return expr.evaluate([](llvm::StringRef name) -> std::optional<int64_t> {
    return name == "a" ? 2 : name == "b" ? 3 : name == "sequence" ? 7 : 11;
  });
}
} // namespace

TEST(DimExpr, OrderOfArithmeticDoesNotMatter) {
  DimExpr b = symbol("batch"), s = symbol("sequence");
  EXPECT_EQ(b * s * 12 + 4, DimExpr(4) + DimExpr(12) * s * b);
  EXPECT_EQ((b + s) * (b - s), b * b - s * s);
  EXPECT_EQ((b - b) * s, DimExpr(0));
  EXPECT_TRUE((b * s - s * b).isConstant(0));
  EXPECT_NE(b * b, b);
  EXPECT_NE(b, DimExpr(1));
}

TEST(DimExpr, ConstantsAreKnown) {
  EXPECT_EQ(DimExpr(0).constant(), 0);
  EXPECT_EQ((DimExpr(3) * DimExpr(-4)).constant(), -12);
  EXPECT_EQ(symbol("b").constant(), std::nullopt);
  EXPECT_TRUE((symbol("b") + 1 - symbol("b")).isConstant(1));
}

TEST(DimExpr, PrintsOneWay) {
  DimExpr b = symbol("batch"), s = symbol("sequence");
  EXPECT_EQ(DimExpr(0).str(), "0");
  EXPECT_EQ(DimExpr(-7).str(), "-7");
  EXPECT_EQ((s * b).str(), "batch*sequence");
  EXPECT_EQ((DimExpr(4) + s * 12 * b).str(), "batch*sequence*12 + 4");
  EXPECT_EQ((DimExpr(4) - s).str(), "-sequence + 4");
  EXPECT_EQ((s - 4).str(), "sequence - 4");
  EXPECT_EQ((s * s).str(), "sequence*sequence");
}

TEST(DimExpr, WhatItPrintsItReads) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    DimExpr expr = randomExpr(random);
    std::optional<DimExpr> read = DimExpr::parse(expr.str());
    ASSERT_TRUE(read) << expr.str();
    EXPECT_EQ(*read, expr) << expr.str();
  }
  EXPECT_EQ(DimExpr::parse("9223372036854775807"), DimExpr(INT64_MAX));
  // What str() prints is read again, also at the ends of the range.
  EXPECT_EQ(DimExpr::parse("-9223372036854775808"), DimExpr(INT64_MIN));
  EXPECT_EQ(DimExpr::parse("n*9223372036854775807 - 9223372036854775808"),
            symbol("n") * DimExpr(INT64_MAX) + DimExpr(INT64_MIN));
  EXPECT_EQ(DimExpr::parse("-n*9223372036854775808"),
            symbol("n") * DimExpr(INT64_MIN));
  EXPECT_FALSE(DimExpr::parse("9223372036854775808"));
  EXPECT_FALSE(DimExpr::parse("-9223372036854775809"));
  // Names of ONNX: anything without a blank and an operator.
  EXPECT_EQ(DimExpr::parse("past.length_1*2"), symbol("past.length_1") * 2);
}

TEST(DimExpr, OtherTextIsRefused) {
  for (const char *text :
       {"", " ", "*", "2*", "*b", "b**s", "b +", "b + ", " + b", "b - - s",
        "b+s", "b-s", "--b", "12a", "9223372036854775808",
        "9223372036854775807 + 1", "b  + s", "1.5"})
    EXPECT_FALSE(DimExpr::parse(text)) << "'" << text << "'";
}

TEST(DimExpr, ArithmeticAgreesWithNumbers) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    DimExpr p = randomExpr(random), q = randomExpr(random);
    EXPECT_EQ(valueOf(p + q), *valueOf(p) + *valueOf(q))
        << p.str() << ", " << q.str();
    EXPECT_EQ(valueOf(p - q), *valueOf(p) - *valueOf(q))
        << p.str() << ", " << q.str();
    EXPECT_EQ(valueOf(p * q), *valueOf(p) * *valueOf(q))
        << p.str() << ", " << q.str();
  }
}

// Whatever was multiplied in comes out again, under all names: an order of
// terms that products do not keep would make it depend on the alphabet.
TEST(DimExpr, DivisionUndoesMultiplication) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    DimExpr p = randomExpr(random), q = randomExpr(random);
    if (q.isConstant(0))
      continue;
    EXPECT_EQ((p * q).dividedBy(q), p)
        << "(" << p.str() << ") * (" << q.str() << ")";
  }
  DimExpr a = symbol("a"), z = symbol("z");
  EXPECT_EQ(((a + 1) * z).dividedBy(a + 1), z);
  EXPECT_EQ(((z + 1) * a).dividedBy(z + 1), a);
  EXPECT_EQ(((a * a + a) * z).dividedBy(a * a + a), z);
}

// A quotient that is nearly right would be memory outside a buffer.
TEST(DimExpr, AQuotientIsExactOrNone) {
  DimExpr b = symbol("batch"), s = symbol("sequence");
  EXPECT_EQ((b * 12).dividedBy(4), b * 3);
  EXPECT_FALSE((b * 12).dividedBy(5));
  EXPECT_FALSE((b * 12 + 1).dividedBy(12));
  EXPECT_FALSE(b.dividedBy(s));
  EXPECT_FALSE(b.dividedBy(b * b));
  EXPECT_FALSE(b.dividedBy(0));
  EXPECT_FALSE((b * s + 1).dividedBy(s));
  EXPECT_EQ(DimExpr(0).dividedBy(s), DimExpr(0));
  // Traps as machine arithmetic.
  EXPECT_FALSE((b + INT64_MIN).dividedBy(DimExpr(-1)));
  std::mt19937 random(4);
  for (int i = 0; i < 2000; ++i) {
    DimExpr p = randomExpr(random), q = randomExpr(random);
    if (std::optional<DimExpr> quotient = p.dividedBy(q))
      EXPECT_EQ(*quotient * q, p) << p.str() << " / (" << q.str() << ")";
  }
}

// Sizes of 2^63 and more come from hostile models: such a size is no size, and
// stays none.
TEST(DimExpr, OverflowIsRemembered) {
  DimExpr big(INT64_MAX), b = symbol("batch");
  EXPECT_FALSE((big + 1).isValid());
  EXPECT_FALSE((big * 2).isValid());
  EXPECT_FALSE((b * big * 2).isValid());
  EXPECT_FALSE((big * 2 * 0).isValid());
  EXPECT_FALSE((big * 2 - big * 2).isValid());
  EXPECT_EQ((big * 2).constant(), std::nullopt);
  EXPECT_FALSE((big * 2).dividedBy(2));
  EXPECT_EQ(valueOf(big * 2), std::nullopt);
  EXPECT_NE(big * 2, DimExpr(-2));
}

TEST(DimExpr, EvaluationStopsAtOverflowAndUnknownSymbols) {
  DimExpr expr = symbol("b") * symbol("s") + 1;
  auto at = [&](int64_t b, int64_t s) {
    return expr.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
      if (name == "b")
        return b;
      return s < 0 ? std::nullopt : std::optional(s);
    });
  };
  EXPECT_EQ(at(3, 5), 16);
  EXPECT_EQ(at(0, 5), 1);
  EXPECT_EQ(at(3, -1), std::nullopt);
  EXPECT_EQ(at(INT64_MAX, 2), std::nullopt);
  EXPECT_EQ(at(INT64_MAX, 1), std::nullopt); // the sum
}

TEST(DimExpr, SymbolsAreListedOnce) {
  DimExpr expr = symbol("s") * symbol("s") + symbol("b") * symbol("s") + 1;
  EXPECT_EQ(expr.symbols(), (std::vector<std::string>{"b", "s"}));
  EXPECT_TRUE(DimExpr(4).symbols().empty());
}

TEST(DimExpr, BroadcastsByNumPysRule) {
  DimExpr b = symbol("batch"), s = symbol("sequence");
  EXPECT_EQ(broadcastDim(b, b), b);
  EXPECT_EQ(broadcastDim(b, 1), b);
  EXPECT_EQ(broadcastDim(1, b), b);
  EXPECT_EQ(broadcastDim(b, 8), DimExpr(8));
  EXPECT_FALSE(broadcastDim(4, 8));
  EXPECT_FALSE(broadcastDim(b, s)) << "either may be 1: it cannot be known";
  EXPECT_EQ(broadcastDims({b, s, DimExpr(64)}, {DimExpr(64)}),
            (Dims{b, s, DimExpr(64)}));
  EXPECT_EQ(broadcastDims({DimExpr(64)}, {b, s, DimExpr(1)}),
            (Dims{b, s, DimExpr(64)}));
  EXPECT_FALSE(broadcastDims({b, DimExpr(3)}, {DimExpr(4)}));
}

TEST(DimExpr, AttributesCarryDims) {
  mlir::MLIRContext context;
  mlir::Builder builder(&context);
  Dims dims = {symbol("batch"), DimExpr(64), symbol("batch") * symbol("s") - 1};
  EXPECT_EQ(parseDims(getDimsAttr(&context, dims)), dims);
  EXPECT_FALSE(parseDims(builder.getStrArrayAttr({"batch", "+"})));
  EXPECT_FALSE(parseDims(builder.getI64ArrayAttr({4})));
  EXPECT_EQ(getTensorType(dims, builder.getF32Type()),
            mlir::RankedTensorType::get(
                {mlir::ShapedType::kDynamic, 64, mlir::ShapedType::kDynamic},
                builder.getF32Type()));
}
