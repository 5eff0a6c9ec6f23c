//===- ArenaPlanTest.cpp - The arena, at sizes of all kinds ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A plan is made once, of symbols, and must be right for every shape: each test
// plans first and looks at several shapes after.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/ArenaPlan.h"

#include "gtest/gtest.h"

#include <numeric>
#include <random>

using namespace ferrite;

namespace {
struct Shape {
  int64_t batch, sequence;
};
constexpr Shape kShapes[] = {{1, 1},  {1, 128}, {8, 512},
                             {3, 37}, {64, 1},  {1, 4096}};

int64_t at(const DimExpr &expr, Shape shape) {
  std::optional<int64_t> value =
      expr.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
        return name == "batch" ? shape.batch : shape.sequence;
      });
  EXPECT_TRUE(value) << expr.str();
  return value.value_or(-1);
}

/// What the elements of a buffer may need: they divide each coefficient.
int64_t alignmentOf(const ArenaBuffer &buffer) {
  int64_t factor = 0;
  for (const auto &[monomial, coefficient] : buffer.bytes.terms())
    factor = std::gcd(factor, coefficient);
  return factor == 0 ? 1 : std::min<int64_t>(factor & -factor, 8);
}

/// No two buffers that live at once share a byte; all are aligned and inside.
void expectSound(llvm::ArrayRef<ArenaBuffer> buffers, const DimExpr &total) {
  for (Shape shape : kShapes) {
    int64_t end = at(total, shape);
    for (const ArenaBuffer &a : buffers) {
      int64_t begin = at(a.offset, shape), size = at(a.bytes, shape);
      ASSERT_EQ(begin % alignmentOf(a), 0) << a.offset.str();
      ASSERT_GE(begin, 0);
      ASSERT_LE(begin + size, end) << a.bytes.str() << " at " << a.offset.str();
      for (const ArenaBuffer &b : buffers) {
        if (&a == &b || a.last < b.first || b.last < a.first)
          continue;
        int64_t other = at(b.offset, shape);
        ASSERT_TRUE(begin + size <= other ||
                    other + at(b.bytes, shape) <= begin)
            << a.bytes.str() << " at " << a.offset.str() << " and "
            << b.bytes.str() << " at " << b.offset.str() << " for batch "
            << shape.batch << ", sequence " << shape.sequence;
      }
    }
  }
}

DimExpr randomBytes(std::mt19937 &random) {
  DimExpr b = DimExpr::symbol("batch"), s = DimExpr::symbol("sequence");
  DimExpr factor(static_cast<int64_t>(1 + random() % 3000));
  switch (random() % 8) {
  case 0:
    return factor;
  case 1:
    return factor * b;
  case 2:
    return factor * b * s * s;
  case 3:
    return factor * b * (s + 1); // a class token before the patches
  case 4:
    return DimExpr(0);
  default:
    return factor * b * s;
  }
}
} // namespace

TEST(ArenaPlan, NoTwoLiveBuffersOverlapAtAnyShape) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<ArenaBuffer> buffers(1 + random() % 40);
    for (ArenaBuffer &buffer : buffers) {
      buffer.bytes = randomBytes(random);
      buffer.first = random() % 50;
      buffer.last = buffer.first + random() % 12;
    }
    DimExpr total = planArena(buffers);
    expectSound(buffers, total);
    if (HasFatalFailure())
      FAIL() << "seed " << seed;
    auto bytes =
        measureArena(buffers, total, [](llvm::StringRef) { return 16; });
    ASSERT_TRUE(bytes);
    EXPECT_LE(bytes->lowerBound, bytes->planned);
    EXPECT_LE(bytes->lowerBound, bytes->naive);
  }
}

// A buffer is read by the launch that writes the next one: both live then.
TEST(ArenaPlan, TwoThatMeetAtOneLaunchAreApart) {
  DimExpr size = DimExpr::symbol("batch") * 64;
  std::vector<ArenaBuffer> buffers = {
      {size, 0, 1, {}}, {size, 1, 2, {}}, {size, 2, 3, {}}};
  DimExpr total = planArena(buffers);
  expectSound(buffers, total);
  EXPECT_NE(buffers[0].offset, buffers[1].offset);
  EXPECT_NE(buffers[1].offset, buffers[2].offset);
  EXPECT_EQ(buffers[0].offset, buffers[2].offset) << "the first is free again";
  EXPECT_EQ(total, size * 2);
}

// The layers of an encoder: the arena must not grow with them.
TEST(ArenaPlan, EqualLayersShareOnePlace) {
  DimExpr token = DimExpr::symbol("batch") * DimExpr::symbol("sequence") * 64;
  auto planLayers = [&](int64_t layers) {
    std::vector<ArenaBuffer> buffers;
    for (int64_t t = 0; t < layers * 4; t += 4) {
      buffers.push_back({token * 18, t, t + 1, {}});    // queries, keys, values
      buffers.push_back({token * 6, t + 1, t + 2, {}}); // heads
      buffers.push_back({token * 6, t + 2, t + 4, {}}); // residual
      buffers.push_back({token * 24, t + 3, t + 4, {}}); // hidden
    }
    DimExpr total = planArena(buffers);
    expectSound(buffers, total);
    return total;
  };
  DimExpr twelve = planLayers(12);
  EXPECT_EQ(planLayers(48), twelve);
  // At the launch where a layer ends: residual, hidden, and the next one's
  // projections.
  EXPECT_EQ(twelve, token * 48);
}

// The smallest gap that holds a buffer, not the first: the large one stays
// whole.
TEST(ArenaPlan, FillsGaps) {
  DimExpr b = DimExpr::symbol("batch");
  std::vector<ArenaBuffer> buffers = {{b * 640, 0, 9, {}},
                                      {b * 256, 0, 3, {}},
                                      {b * 192, 2, 9, {}},
                                      {b * 128, 4, 9, {}}};
  DimExpr total = planArena(buffers);
  expectSound(buffers, total);
  // 128 goes where 256 was; nothing is appended for it.
  EXPECT_EQ(total, b * (640 + 256 + 192));
}

TEST(ArenaPlan, ClassesDoNotMeet) {
  DimExpr b = DimExpr::symbol("batch"), s = DimExpr::symbol("sequence");
  std::vector<ArenaBuffer> buffers = {{b * s * 64, 0, 1, {}},
                                      {b * 64, 0, 1, {}},
                                      {DimExpr(64), 0, 1, {}},
                                      {b * s * 64, 2, 3, {}}};
  DimExpr total = planArena(buffers);
  expectSound(buffers, total);
  EXPECT_EQ(total, b * s * 64 + b * 64 + 64);
  EXPECT_EQ(buffers[0].offset, buffers[3].offset);
}

TEST(ArenaPlan, NothingNeedsNothing) {
  std::vector<ArenaBuffer> buffers;
  EXPECT_EQ(planArena(buffers), DimExpr(0));
}

// A mask of one byte for each pair of tokens takes that, and not a line of 64.
// What follows it is small as well, and lies on its element's size.
TEST(ArenaPlan, SmallSizesAreNotRounded) {
  DimExpr b = DimExpr::symbol("batch"), s = DimExpr::symbol("sequence");
  std::vector<ArenaBuffer> buffers = {{b * s * s, 0, 1, {}},
                                      {b * s * 8, 0, 1, {}},
                                      {b * s * 1536, 0, 1, {}},
                                      {b * s * 4, 0, 1, {}}};
  DimExpr total = planArena(buffers);
  expectSound(buffers, total);
  EXPECT_EQ(total, b * s * s + b * s * (1536 + 8 + 4));
  EXPECT_EQ(buffers[2].offset, DimExpr(0));
}

TEST(ArenaPlan, MeasuresWhatLives) {
  DimExpr b = DimExpr::symbol("batch");
  std::vector<ArenaBuffer> buffers = {
      {b * 64, 0, 1, {}}, {b * 128, 1, 2, {}}, {b * 64, 3, 3, {}}};
  DimExpr total = planArena(buffers);
  auto bytes = measureArena(buffers, total, [](llvm::StringRef) { return 10; });
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->naive, 2560);
  EXPECT_EQ(bytes->lowerBound, 1920);
  EXPECT_EQ(bytes->planned, 1920);
  // Three values, one written over the other, would else have three places.
  buffers[2].values = 3;
  bytes = measureArena(buffers, total, [](llvm::StringRef) { return 10; });
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->naive, 2560 + 1280);
  auto overflow = [](llvm::StringRef) { return INT64_MAX; };
  EXPECT_FALSE(measureArena(buffers, total, overflow));
  auto unknown = [](llvm::StringRef) { return std::optional<int64_t>(); };
  EXPECT_FALSE(measureArena(buffers, total, unknown));
}
