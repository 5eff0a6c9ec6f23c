//===- ByteLinearTest.cpp - The kernel for packed bytes -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against sums of integers, which have one right answer, at every level of this
// machine: tails of rows, columns and k, zero points, extremes of both signs.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinear.h"

#include "lib/Support/PanelLayout.h"
#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t any = ShapedType::kDynamic;

namespace {
enum class Finish {
  Sums,    ///< i32, as they are
  Scaled,  ///< f32(sum) * scale[n] + bias[m]
  Rounded, ///< u8: clamp(round(sum * scale[n]))
};

struct Case {
  std::string level;
  int64_t depth, columns;
  bool hasZero = false;
  Finish finish = Finish::Sums;
};

class ByteLinear {
public:
  ByteLinear(const Case &c, bool extremes = false)
      : c(c), layout(c.depth, c.columns), weights(c.depth * c.columns),
        scale(randomFloats(c.columns, 3)),
        jit(
            c.level, [&](mlir::MLIRContext &context) { return lay(context); },
            [&](cpu::KernelBuilder &kb) {
              auto body = makeBody(kb);
              return emitLinear(kb, {c.depth, c.columns, kb.getI8Type(),
                                     body.get(), c.hasZero});
            },
            /*keepAssembly=*/true) {
    std::vector<float> random = randomFloats(weights.size(), 1);
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = extremes ? (i % 3 ? -128 : 127) : int8_t(random[i] * 128);
    for (float &s : scale)
      s = std::fabs(s) * 0.01f;
    memory.resize(layout.bytes() + 64);
    panels =
        memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
    packPanels({weights.data(), c.columns, 1, 1}, layout.layout, panels);
    writeColumnSums(layout, panels);
  }

  /// Runs `rows` rows in `pieces` pieces and compares every result.
  void check(int64_t rows, int64_t pieces, bool extremes = false) {
    // Rows end where the memory does: what reads past one is a fault or a
    // foreign byte.
    std::vector<uint8_t> x(rows * c.depth);
    std::vector<float> random = randomFloats(x.size(), 2),
                       bias = randomFloats(rows, 4);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = extremes ? (i % 5 ? 255 : 0) : uint8_t(random[i] * 128 + 128);
    int32_t zero = 117;
    size_t width = c.finish == Finish::Rounded ? 1 : 4;
    std::vector<char> y(rows * c.columns * width + 64, char(0x5a));
    std::vector<JitTensor> tensors{{x.data(), {rows, c.depth}}, {panels, {1}}};
    if (c.hasZero)
      tensors.push_back({&zero, {}});
    if (c.finish != Finish::Sums)
      tensors.push_back({scale.data(), {rows, c.columns}, {0, 1}});
    if (c.finish == Finish::Scaled)
      tensors.push_back({bias.data(), {rows, c.columns}, {1, 0}});
    tensors.push_back({y.data(), {rows, c.columns}});
    jit.runSplit(tensors, pieces);
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t n = 0; n < c.columns; ++n) {
        int32_t sum = 0;
        for (int64_t k = 0; k < c.depth; ++k)
          sum += (int32_t(x[m * c.depth + k]) - (c.hasZero ? zero : 0)) *
                 weights[k * c.columns + n];
        const char *at = &y[(m * c.columns + n) * width];
        float scaled = float(sum) * scale[n];
        if (c.finish == Finish::Sums) {
          int32_t got;
          std::memcpy(&got, at, 4);
          ASSERT_EQ(sum, got) << "row " << m << " column " << n;
        } else if (c.finish == Finish::Scaled) {
          float got, wanted = scaled + bias[m];
          std::memcpy(&got, at, 4);
          ASSERT_EQ(wanted, got) << "row " << m << " column " << n;
        } else {
          float wanted =
              std::fmin(std::fmax(std::nearbyint(scaled), 0.0f), 255.0f);
          ASSERT_EQ(int(wanted), int(uint8_t(*at)))
              << "row " << m << " column " << n;
        }
      }
    for (size_t i = rows * c.columns * width; i < y.size(); ++i)
      ASSERT_EQ(char(0x5a), y[i]) << "wrote behind the result";
  }

  int64_t units(int64_t rows) const {
    return jit.units({{nullptr, {rows, c.depth}},
                      {panels, {1}},
                      {nullptr, {rows, c.columns}}});
  }

private:
  cpu::KernelLayout lay(mlir::MLIRContext &context) {
    mlir::Builder b(&context);
    mlir::Type u8 = b.getIntegerType(8, /*isSigned=*/false);
    cpu::KernelLayout layout;
    layout.operands = {contiguous(u8, {any, c.depth}),
                       contiguous(b.getI8Type(), {1})};
    if (c.hasZero)
      layout.operands.push_back(contiguous(b.getI32Type(), {}));
    if (c.finish != Finish::Sums)
      layout.operands.push_back(
          strided(b.getF32Type(), {any, c.columns}, {0, 1}));
    if (c.finish == Finish::Scaled)
      layout.operands.push_back(
          strided(b.getF32Type(), {any, c.columns}, {any, 0}));
    mlir::Type result = c.finish == Finish::Sums      ? b.getI32Type()
                        : c.finish == Finish::Rounded ? u8
                                                      : b.getF32Type();
    layout.operands.push_back(contiguous(result, {any, c.columns}));
    return layout;
  }

  std::unique_ptr<mlir::Block> makeBody(cpu::KernelBuilder &kb) {
    if (c.finish == Finish::Sums)
      return nullptr;
    auto block = std::make_unique<mlir::Block>();
    mlir::OpBuilder b(kb.getContext());
    mlir::Location loc = kb.getLoc();
    mlir::Value acc = block->addArgument(kb.getI32Type(), loc);
    mlir::Value scale = block->addArgument(kb.f32(), loc);
    b.setInsertionPointToEnd(block.get());
    auto constant = [&](float v) -> mlir::Value {
      return mlir::arith::ConstantOp::create(b, loc, b.getF32FloatAttr(v));
    };
    mlir::Value v = mlir::arith::SIToFPOp::create(b, loc, kb.f32(), acc);
    v = mlir::arith::MulFOp::create(b, loc, v, scale);
    if (c.finish == Finish::Scaled) {
      mlir::Value bias = block->addArgument(kb.f32(), loc);
      v = mlir::arith::AddFOp::create(b, loc, v, bias);
    } else {
      v = mlir::math::RoundEvenOp::create(b, loc, v);
      v = mlir::arith::MaximumFOp::create(b, loc, v, constant(0));
      v = mlir::arith::MinimumFOp::create(b, loc, v, constant(255));
      v = mlir::arith::FPToUIOp::create(b, loc, b.getI8Type(), v);
    }
    mlir::LLVM::ReturnOp::create(b, loc, v);
    return block;
  }

public:
  Case c;
  BytePanels layout;
  std::vector<int8_t> weights;
  std::vector<float> scale;
  std::vector<char> memory;
  char *panels;
  KernelJit jit;
};
} // namespace

static void checkCase(const Case &c, std::vector<int64_t> rowCounts,
                      bool extremes = false) {
  SCOPED_TRACE(c.level + " K=" + std::to_string(c.depth) +
               " N=" + std::to_string(c.columns));
  ByteLinear linear(c, extremes);
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  for (int64_t rows : rowCounts)
    for (int64_t pieces : {1, 4})
      linear.check(rows, pieces, extremes);
}

TEST(ByteLinear, EveryRowCount) {
  std::vector<int64_t> rows{0};
  for (int64_t m = 1; m <= 20; ++m)
    rows.push_back(m);
  rows.insert(rows.end(), {47, 48, 50, 97, 131});
  for (const std::string &level : hostDotLevels())
    checkCase({level, 37, 100, /*hasZero=*/true}, rows);
}

TEST(ByteLinear, EveryWidth) {
  for (const std::string &level : hostDotLevels())
    for (int64_t columns : {1, 8, 9, 31, 48, 64, 65, 127})
      checkCase({level, 13, columns, /*hasZero=*/columns % 2 == 0}, {1, 6, 17});
}

TEST(ByteLinear, EveryDepth) {
  for (const std::string &level : hostDotLevels())
    for (int64_t depth : {1, 2, 3, 5, 8, 18, 1001})
      checkCase({level, depth, 72, /*hasZero=*/depth % 2 == 0}, {1, 11});
}

// Sums that vpmaddubsw, or 16 bits, could not hold.
TEST(ByteLinear, Extremes) {
  for (const std::string &level : hostDotLevels())
    for (int64_t depth : {3, 64, 1021})
      checkCase({level, depth, 80, /*hasZero=*/true}, {1, 13}, true);
}

TEST(ByteLinear, Epilogues) {
  for (const std::string &level : hostDotLevels())
    for (Finish finish : {Finish::Scaled, Finish::Rounded})
      for (int64_t columns : {40, 64, 200})
        checkCase({level, 35, columns, /*hasZero=*/true, finish},
                  {1, 2, 6, 7, 61});
}

// What the tile instructions do, on any machine with AVX-512.
TEST(ByteLinear, TilesAsLoops) {
  if (!cpu::hostHasLevel(*cpu::findCpuLevel("avx512")))
    GTEST_SKIP() << "needs AVX-512";
  for (int64_t depth : {1, 3, 4, 63, 64, 65, 200})
    for (int64_t columns : {7, 40, 64, 129})
      checkCase({"~amx", depth, columns, /*hasZero=*/depth % 2 == 0},
                {1, 5, 16, 17, 32, 33, 61});
  checkCase({"~amx", 67, 100, true, Finish::Scaled}, {1, 6, 61});
  checkCase({"~amx", 130, 80, true}, {1, 40}, /*extremes=*/true);
}

// The instructions themselves: no tile goes through memory within a loop.
TEST(ByteLinear, TilesStayInRegisters) {
  ByteLinear linear({"amx", 768, 200, true, Finish::Scaled});
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  EXPECT_EQ("", checkTiles(linear.jit.assembly(), "tdpbusd"));
}

// Widened, or not: where they meet, and K that is no block of words.
TEST(ByteLinear, FewAndManyRows) {
  for (const std::string &level : hostLevels())
    for (int64_t depth : {30, 31, 33, 64, 129, 770})
      checkCase({level, depth, 152, /*hasZero=*/true}, {23, 24, 25, 60});
}

// Units are counted once, by the lowest level of an artifact: the others have
// to finish with so many.
TEST(ByteLinear, LowestLevelCountsUnits) {
  for (auto [depth, columns] :
       {std::pair<int64_t, int64_t>{768, 3072}, {3072, 768}}) {
    ByteLinear lowest({"avx2", depth, columns});
    for (const std::string &level : hostDotLevels()) {
      ByteLinear other({level, depth, columns});
      for (int64_t rows = 0; rows < 600; ++rows)
        ASSERT_LE(other.units(rows), lowest.units(rows))
            << level << ": " << rows << " x " << depth << " x " << columns;
    }
  }
}

TEST(ByteLinear, LargeMatrices) {
  for (const std::string &level : hostDotLevels())
    checkCase({level, 768, 384, true, Finish::Scaled}, {128});
}

TEST(ByteLinear, InnerLoopsStayInRegisters) {
  for (const std::string &level : hostDotLevels()) {
    ByteLinear linear({level, 768, 200, true, Finish::Scaled});
    ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
    const std::string &text = linear.jit.assembly();
    const cpu::CpuLevel *row = cpu::findCpuLevel(level);
    bool fours = row->byteDot() == cpu::ByteDot::Fours;
    std::string name = row->isAvx512() ? "%zmm" : "%ymm";
    EXPECT_NE(std::string::npos,
              text.find((fours ? "vpdpbusd\t" : "vpmaddwd\t") + name))
        << level;
    EXPECT_EQ(std::string::npos, text.find("vpmaddubsw")) << level;
    EXPECT_EQ("", checkInnerLoops(text)) << level;
  }
}

TEST(ByteLinear, RefusesWhatItCannotDo) {
  auto build = [](bool isUnsigned, int64_t stride, bool hasZero) {
    return KernelJit(
        "avx2",
        [&](mlir::MLIRContext &context) {
          mlir::Builder b(&context);
          mlir::Type x = b.getIntegerType(8, /*isSigned=*/!isUnsigned);
          cpu::KernelLayout layout;
          layout.operands = {strided(x, {any, 8}, {16, stride}),
                             contiguous(b.getI8Type(), {1})};
          if (hasZero)
            layout.operands.push_back(contiguous(x, {}));
          layout.operands.push_back(contiguous(b.getI32Type(), {any, 8}));
          return layout;
        },
        [&](cpu::KernelBuilder &kb) {
          return emitLinear(kb, {8, 8, kb.getI8Type(), nullptr, hasZero});
        });
  };
  EXPECT_TRUE(build(true, 1, false).ok());
  EXPECT_NE(std::string::npos,
            build(false, 1, false).error().find("unsigned bytes"));
  EXPECT_NE(std::string::npos,
            build(true, 2, false).error().find("columns are adjacent"));
  EXPECT_NE(std::string::npos,
            build(true, 1, true).error().find("zero point of i32"));
}

TEST(BytePanels, LieInGroups) {
  BytePanels bytes(6, 70);
  const PanelLayout &layout = bytes.layout;
  EXPECT_EQ(8, layout.storedDepth());
  EXPECT_EQ(8 * 64 + 8 * 16, bytes.sumsOffset());
  EXPECT_EQ(80, bytes.storedColumns());
  std::vector<int8_t> source(6 * 70);
  for (size_t i = 0; i < source.size(); ++i)
    source[i] = int8_t(i * 7);
  std::vector<int8_t> out(bytes.bytes(), 99);
  packPanels({source.data(), 70, 1, 1}, layout, out.data());
  writeColumnSums(bytes, out.data());
  for (int n = 0; n < 80; ++n) {
    int32_t sum = 0, got;
    for (int k = 0; k < 8; ++k) {
      int8_t wanted = n < 70 && k < 6 ? source[k * 70 + n] : 0;
      ASSERT_EQ(wanted, out[layout.offset(k, n)]);
      sum += wanted;
    }
    std::memcpy(&got, &out[bytes.sumsOffset() + n * 4], 4);
    ASSERT_EQ(sum, got);
  }
}
