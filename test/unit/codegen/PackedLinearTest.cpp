//===- PackedLinearTest.cpp - The kernel for weights of few bits ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Bits are compared: with one FMA a product in the order of k for the blocks of
// rows of floats, with exact sums that join in order for rounded rows. So rows
// that go direct and those whose panels are expanded are the same function.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/PackedCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static float productOf(const PackedCase &c, const PackedMatrix &w,
                       const std::vector<float> &x,
                       const std::vector<char> &rounded, int64_t m, int64_t n) {
  float acc = 0;
  if (!c.inputBlock) {
    int64_t block = c.panels().blockDepth();
    for (int64_t first = 0; first < c.depth; first += block) {
      float sum = 0;
      for (int64_t k = first; k < std::min(c.depth, first + block); ++k)
        sum = std::fma(x[m * c.depth + k], w.number(k, n), sum);
      acc = std::fma(sum, w.scale(first, n), acc);
    }
    return acc;
  }
  RoundedRows layout = c.rows();
  const char *row = rounded.data() + m * layout.bytes();
  for (int64_t first = 0; first < c.depth; first += layout.sumDepth()) {
    int32_t sum = 0, total = 0;
    bool isFloat = c.zero == PackedCase::Floats;
    int64_t zero = isFloat ? 0 : int64_t(w.zero(first, n));
    for (int64_t k = first; k < std::min(c.depth, first + layout.sumDepth());
         ++k) {
      sum += (w.code(k, n) - zero) * row[k];
      total += row[k];
    }
    float number = float(sum), scale;
    if (isFloat)
      number -= w.zero(first, n) * float(total);
    std::memcpy(&scale,
                row + layout.scalesOffset() + first / layout.blockDepth() * 4,
                4);
    acc = std::fma(number * w.scale(first, n), scale, acc);
  }
  return acc;
}

static void check(const PackedCase &c, std::vector<int64_t> rowCounts) {
  SCOPED_TRACE(c.level + " bits=" + std::to_string(c.bits) + " K=" +
               std::to_string(c.depth) + " N=" + std::to_string(c.columns) +
               " block=" + std::to_string(c.block) +
               " a8=" + std::to_string(c.inputBlock));
  PackedMatrix w(c);
  std::unique_ptr<KernelJit> jit = makePackedKernel(c, w);
  ASSERT_TRUE(jit->ok()) << jit->error();
  std::vector<float> bias = randomFloats(c.columns, 9);
  for (int64_t rows : rowCounts) {
    std::vector<float> x = randomFloats(rows * c.depth, 2);
    std::vector<uint16_t> narrow;
    if (c.x != "f32")
      for (float &value : x) {
        narrow.push_back(c.x == "f16" ? toF16(value) : toBF16(value));
        value = c.x == "f16" ? fromF16(narrow.back()) : fromBF16(narrow.back());
      }
    std::vector<char> rounded;
    if (c.inputBlock)
      rounded = roundRows(x, rows, c.rows());
    const void *input = c.inputBlock ? static_cast<const void *>(rounded.data())
                        : narrow.empty() ? static_cast<const void *>(x.data())
                                         : narrow.data();
    std::vector<float> wanted(rows * c.columns);
    for (int64_t i = 0; i < rows * c.columns; ++i)
      wanted[i] = productOf(c, w, x, rounded, i / c.columns, i % c.columns) +
                  (c.bias ? bias[i % c.columns] : 0);
    for (int64_t pieces : {1, 3}) {
      std::vector<float> y(rows * c.columns + 16, -77);
      int64_t width = c.inputBlock ? c.rows().bytes() : c.depth;
      std::vector<JitTensor> tensors{{input, {rows, width}}, {w.data(), {1}}};
      if (c.bias)
        tensors.push_back({bias.data(), {rows, c.columns}, {0, 1}});
      tensors.push_back({y.data(), {rows, c.columns}});
      jit->runSplit(tensors, pieces);
      for (int64_t i = 0; i < rows * c.columns; ++i)
        ASSERT_EQ(wanted[i], y[i]) << rows << " rows, row " << i / c.columns
                                   << " column " << i % c.columns;
      for (size_t i = rows * c.columns; i < y.size(); ++i)
        ASSERT_EQ(-77, y[i]) << "wrote behind the result";
    }
  }
}

static const std::vector<int64_t> kRows = {0, 1, 2, 3, 4, 5, 7, 12, 19};

TEST(PackedLinear, EveryWidthOfCodes) {
  for (const std::string &level : hostLevels())
    for (int64_t bits : {2, 3, 4, 8}) {
      check({level, bits, 192, 100, 32}, kRows);
      check({level, bits, 192, 64, 64, 0,
             bits % 4 ? PackedCase::Bytes : PackedCase::Floats},
            {1, 3, 9});
    }
}

TEST(PackedLinear, TablesOfCodes) {
  for (const std::string &level : hostLevels())
    for (int64_t bits : {3, 4})
      check({level, bits, 128, 72, 64, 0, PackedCase::None, true, true},
            {1, 4, 6});
}

// A last block that is shorter, and a last word that is not full.
TEST(PackedLinear, DepthsThatEndAnywhere) {
  for (const std::string &level : hostLevels())
    for (auto [bits, depth] :
         {std::pair<int64_t, int64_t>{4, 1}, {8, 33}, {3, 100}, {4, 777}}) {
      check({level, bits, depth, 65, 32}, {1, 4, 7});
      check({level, bits, depth, 20, 1 << 20}, {1, 6});
    }
}

TEST(PackedLinear, ManyRowsAndChunks) {
  for (const std::string &level : hostLevels())
    check({level, 4, 320, 130, 64, 0, PackedCase::None, true, false, "f32",
           /*bias=*/true},
          {97, 150});
}

TEST(PackedLinear, ShortFloatsAreWidened) {
  for (const std::string &level : hostLevels())
    for (const char *x : {"f16", "bf16"})
      check({level, 4, 96, 64, 32, 0, PackedCase::None, true, false, x},
            {1, 5, 30});
}

TEST(PackedLinear, RoundedRowsAddUpExactly) {
  for (const std::string &level : hostDotLevels()) {
    for (int64_t bits : {2, 3, 4, 8})
      check({level, bits, 192, 100, 32, 32}, kRows);
    check({level, 4, 256, 64, 64, 64, PackedCase::Bytes}, {1, 2, 4, 9});
    check({level, 8, 160, 70, 32, 32, PackedCase::Floats, false}, {1, 2, 5});
  }
}

// Of both blocks one is a multiple of the other, or all of k.
TEST(PackedLinear, GroupsOfBothSides) {
  for (const std::string &level : hostDotLevels())
    for (auto [block, input] : {std::pair<int64_t, int64_t>{32, 128},
                                {128, 32},
                                {32, 1024},
                                {1024, 64},
                                {1024, 1024},
                                {256, 256}})
      for (int64_t depth : {256, 900})
        for (PackedCase::Zero zero : {PackedCase::None, PackedCase::Bytes})
          check({level, 4, depth, 80, block, input, zero}, {1, 3, 8});
}

TEST(PackedLinear, ManyRoundedRows) {
  for (const std::string &level : hostDotLevels())
    check({level, 4, 1152, 130, 128, 128, PackedCase::None, true, false, "f32",
           /*bias=*/true},
          {97, 150});
}

TEST(PackedLinear, InnerLoopsStayInRegisters) {
  for (const std::string &level : hostDotLevels())
    for (int64_t bits : {2, 3, 4, 8})
      for (int64_t input : {0, 128}) {
        PackedCase c{level, bits, 1024, 256, 128, input};
        PackedMatrix w(c);
        std::unique_ptr<KernelJit> jit = makePackedKernel(c, w, true);
        ASSERT_TRUE(jit->ok()) << jit->error();
        const cpu::CpuLevel *row = cpu::findCpuLevel(level);
        bool dots = row->mixedDot() == cpu::ByteDot::Fours;
        // Three words of each column: with 16 registers, or with words widened
        // to pairs, some wait on the stack.
        if (bits != 3 || (input ? dots : row->isAvx512()))
          EXPECT_EQ("", checkInnerLoops(jit->assembly()))
              << level << " bits " << bits << " a8 " << input;
        if (input && row->mixedDot() == cpu::ByteDot::Fours)
          EXPECT_NE(std::string::npos, jit->assembly().find("vpdpbusd"));
      }
}

TEST(PackedLinear, CodesOfATablePermuteIt) {
  for (const std::string &level : hostDotLevels()) {
    if (!cpu::findCpuLevel(level)->isAvx512())
      continue; // a table of 16 does not fit one register
    PackedCase c{level, 4, 1024, 256, 128};
    c.table = true;
    PackedMatrix w(c);
    std::unique_ptr<KernelJit> jit = makePackedKernel(c, w, true);
    ASSERT_TRUE(jit->ok()) << jit->error();
    EXPECT_NE(std::string::npos, jit->assembly().find("vpermps")) << level;
  }
}

//===--- rounding ---------------------------------------------------------===//

static void checkRounding(const std::string &level, int64_t columns,
                          int64_t block, int64_t sums, bool special) {
  SCOPED_TRACE(level + " " + std::to_string(columns) + " in " +
               std::to_string(block));
  constexpr int64_t rows = 5;
  RoundedRows layout{columns, block, sums};
  for (bool toBytes : {true, false}) {
    KernelJit jit(
        level,
        [&](mlir::MLIRContext &context) {
          mlir::Builder b(&context);
          cpu::KernelLayout kernel;
          mlir::Type u8 = b.getIntegerType(8, /*isSigned=*/false);
          kernel.operands = {
              contiguous(b.getF32Type(), {ShapedType::kDynamic, columns}),
              toBytes ? contiguous(u8, {ShapedType::kDynamic, layout.bytes()})
                      : contiguous(b.getF32Type(),
                                   {ShapedType::kDynamic, columns})};
          return kernel;
        },
        [&](cpu::KernelBuilder &kb) {
          return emitRoundRows(kb, block, toBytes ? sums : 0);
        });
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> x = randomFloats(rows * columns, 3);
    if (special) {
      x[0] = 0.5f; // ties
      for (int64_t k = 0; k < columns; ++k)
        x[columns + k] = 0;
    }
    std::vector<char> wanted = roundRows(x, rows, layout);
    if (toBytes) {
      std::vector<char> y(wanted.size(), 0);
      jit.runSplit(
          {{x.data(), {rows, columns}}, {y.data(), {rows, layout.bytes()}}}, 2);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(int(wanted[i]), int(y[i])) << "byte " << i;
      continue;
    }
    std::vector<float> y(x.size());
    jit.runSplit({{x.data(), {rows, columns}}, {y.data(), {rows, columns}}}, 2);
    for (size_t i = 0; i < y.size(); ++i) {
      const char *row = wanted.data() + i / columns * layout.bytes();
      float scale;
      std::memcpy(&scale,
                  row + layout.scalesOffset() +
                      i % columns / layout.blockDepth() * 4,
                  4);
      ASSERT_EQ(float(row[i % columns]) * scale, y[i]) << "element " << i;
    }
  }
}

TEST(RoundRows, EveryGroup) {
  for (const std::string &level : hostLevels()) {
    for (int64_t columns : {1, 15, 100, 256})
      for (int64_t block : {32, 1024})
        checkRounding(level, columns, block, 0, columns > 2);
    checkRounding(level, 256, 128, 32, true);
    checkRounding(level, 256, 32, 128, true);
    checkRounding(level, 200, 256, 64, true);
  }
}

// A NaN, or an infinity, shows in all that its group becomes.
TEST(RoundRows, NotANumber) {
  for (const std::string &level : hostLevels()) {
    KernelJit jit(
        level,
        [&](mlir::MLIRContext &context) {
          mlir::Type f32 = mlir::Float32Type::get(&context);
          cpu::KernelLayout kernel;
          kernel.operands = {contiguous(f32, {ShapedType::kDynamic, 64}),
                             contiguous(f32, {ShapedType::kDynamic, 64})};
          return kernel;
        },
        [&](cpu::KernelBuilder &kb) { return emitRoundRows(kb, 32, 0); });
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> x = randomFloats(128, 3), y(128);
    x[5] = std::nanf("");
    x[64 + 40] = INFINITY;
    jit.run({{x.data(), {2, 64}}, {y.data(), {2, 64}}});
    for (int64_t k = 0; k < 128; ++k)
      EXPECT_EQ(k < 32 || k >= 96, !std::isfinite(y[k])) << level << " " << k;
  }
}
