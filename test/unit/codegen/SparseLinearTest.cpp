//===- SparseLinearTest.cpp - Products that skip blocks of zeros ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Bit for bit against the dense sums in order of k, zeros included, at every
// level of this machine.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinear.h"

#include "lib/Support/SparsePanels.h"
#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

static constexpr int64_t any = mlir::ShapedType::kDynamic;

namespace {
struct Case {
  std::string level;
  bool isBytes;
  int64_t depth, columns, strip;
  double kept = 0.5; ///< share of the blocks
  bool hasZero = false;
};

/// A matrix of numbers (integers where it is of bytes), and its strips.
class SparseMatrix {
public:
  explicit SparseMatrix(const Case &c)
      : panels{c.depth, c.columns, c.strip, c.isBytes ? 4 : 1},
        numbers(randomFloats(c.depth * c.columns, 1)) {
    std::vector<float> draws =
        randomFloats(panels.strips() * panels.blocksOfStrip(), 7);
    for (int64_t k = 0; k < c.depth; ++k)
      for (int64_t n = 0; n < c.columns; ++n) {
        float &number = numbers[k * c.columns + n];
        if (c.isBytes)
          number = float(int8_t(number * 128));
        int64_t block =
            n / c.strip * panels.blocksOfStrip() + k / panels.blockDepth;
        // Negative zeros are zeros, too.
        if (draws[block] * 0.5 + 0.5 >= c.kept)
          number = c.isBytes ? 0.0f : -0.0f;
      }
    for (int64_t s = 0; s < panels.strips(); ++s)
      for (bool isKept : keptBlocks(panels, strip(s).data(), width(s)))
        panels.kept += isKept;
    memory.resize(panels.bytes() + 64);
    data =
        memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
    SparsePanelWriter writer(panels, data);
    for (int64_t s = 0; s < panels.strips(); ++s)
      EXPECT_TRUE(writer.add(strip(s).data(), width(s)));
    EXPECT_TRUE(writer.isComplete());
  }

  int64_t width(int64_t s) const {
    return std::min(panels.stripColumns,
                    panels.columns - s * panels.stripColumns);
  }
  std::vector<char> strip(int64_t s) const {
    int64_t size = panels.isBytes() ? 1 : 4;
    std::vector<char> rows(panels.depth * width(s) * size);
    for (int64_t k = 0; k < panels.depth; ++k)
      for (int64_t n = 0; n < width(s); ++n) {
        float number =
            numbers[k * panels.columns + s * panels.stripColumns + n];
        char *to = &rows[(k * width(s) + n) * size];
        if (panels.isBytes())
          *to = static_cast<char>(number);
        else
          std::memcpy(to, &number, 4);
      }
    return rows;
  }

  SparsePanels panels;
  std::vector<float> numbers;
  std::vector<char> memory;
  char *data;
};

class SparseLinear {
public:
  explicit SparseLinear(const Case &c)
      : c(c), weights(c),
        jit(
            c.level,
            [&](mlir::MLIRContext &context) {
              mlir::Builder b(&context);
              cpu::KernelLayout layout;
              mlir::Type number = c.isBytes ? mlir::Type(b.getI32Type())
                                            : mlir::Type(b.getF32Type());
              layout.operands = {
                  contiguous(c.isBytes ? b.getIntegerType(8, false)
                                       : mlir::Type(b.getF32Type()),
                             {any, c.depth}),
                  contiguous(c.isBytes ? mlir::Type(b.getI8Type())
                                       : mlir::Type(b.getF32Type()),
                             {1})};
              if (c.hasZero)
                layout.operands.push_back(contiguous(b.getI32Type(), {}));
              layout.operands.push_back(contiguous(number, {any, c.columns}));
              return layout;
            },
            [&](cpu::KernelBuilder &kb) {
              return emitLinear(kb, {c.depth, c.columns,
                                     c.isBytes ? mlir::Type(kb.getI8Type())
                                               : mlir::Type(kb.f32()),
                                     nullptr, c.hasZero, c.strip});
            },
            /*keepAssembly=*/true) {}

  void check(int64_t rows, int64_t pieces) {
    std::vector<float> x = randomFloats(rows * c.depth, 2);
    std::vector<uint8_t> bytes(x.size());
    for (size_t i = 0; c.isBytes && i < x.size(); ++i)
      x[i] = bytes[i] = uint8_t(x[i] * 128 + 128);
    int32_t zero = 117;
    std::vector<int32_t> y(rows * c.columns + 16, 0x5a5a5a5a);
    std::vector<JitTensor> tensors{
        {c.isBytes ? static_cast<void *>(bytes.data()) : x.data(),
         {rows, c.depth}},
        {weights.data, {1}}};
    if (c.hasZero)
      tensors.push_back({&zero, {}});
    tensors.push_back({y.data(), {rows, c.columns}});
    jit.runSplit(tensors, pieces);
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t n = 0; n < c.columns; ++n) {
        int32_t sum = 0, got = y[m * c.columns + n];
        float exact = 0;
        for (int64_t k = 0; k < c.depth; ++k) {
          float w = weights.numbers[k * c.columns + n];
          float a = x[m * c.depth + k];
          sum += (int32_t(a) - (c.hasZero ? zero : 0)) * int32_t(w);
          exact = std::fma(a, w, exact);
        }
        if (!c.isBytes)
          std::memcpy(&sum, &exact, 4);
        ASSERT_EQ(sum, got) << "row " << m << " column " << n;
      }
    for (size_t i = rows * c.columns; i < y.size(); ++i)
      ASSERT_EQ(0x5a5a5a5a, y[i]) << "wrote behind the result";
  }

  Case c;
  SparseMatrix weights;
  KernelJit jit;
};
} // namespace

static void checkCase(const Case &c, std::vector<int64_t> rowCounts) {
  SCOPED_TRACE(c.level + (c.isBytes ? " bytes" : " f32") + " K=" +
               std::to_string(c.depth) + " N=" + std::to_string(c.columns) +
               " strips " + std::to_string(c.strip));
  SparseLinear linear(c);
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  for (int64_t rows : rowCounts)
    for (int64_t pieces : {1, 4})
      linear.check(rows, pieces);
}

TEST(SparseLinear, EveryRowCount) {
  std::vector<int64_t> rows;
  for (int64_t m = 0; m <= 34; ++m)
    rows.push_back(m);
  rows.insert(rows.end(), {47, 97, 131});
  for (const std::string &level : hostDotLevels())
    for (int64_t strip : {16, 32}) {
      checkCase({level, true, 36, 100, strip, 0.5, /*hasZero=*/true}, rows);
      checkCase({level, false, 37, 100, strip}, rows);
    }
}

TEST(SparseLinear, EveryWidth) {
  for (const std::string &level : hostDotLevels())
    for (auto [strip, columns] :
         {std::pair<int64_t, int64_t>{32, 1}, {16, 41}, {32, 90}}) {
      checkCase({level, true, 24, columns, strip, 0.5, columns % 2 == 0},
                {1, 17});
      checkCase({level, false, 11, columns, strip}, {1, 17});
    }
}

// Strips without a block, and matrices without a zero, by one kernel.
TEST(SparseLinear, EveryShare) {
  for (const std::string &level : hostDotLevels())
    for (bool isBytes : {false, true}) {
      SparseLinear linear({level, isBytes, 64, 80, 32, 0.5, isBytes});
      ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
      for (double kept : {0.0, 0.03, 0.9, 1.0}) {
        linear.c.kept = kept;
        linear.weights = SparseMatrix(linear.c);
        linear.check(30, 2);
      }
    }
}

TEST(SparseLinear, LargeMatrices) {
  for (const std::string &level : hostDotLevels()) {
    checkCase({level, true, 3072, 64, 32, 0.5, true}, {128});
    checkCase({level, false, 2304, 64, 16}, {40});
  }
}

// Units are counted once, by the lowest level of an artifact.
TEST(SparseLinear, LowestLevelCountsUnits) {
  auto units = [](SparseLinear &linear, int64_t rows) {
    return linear.jit.units({{nullptr, {rows, linear.c.depth}},
                             {linear.weights.data, {1}},
                             {nullptr, {rows, linear.c.columns}}});
  };
  for (bool isBytes : {false, true}) {
    SparseLinear lowest({"avx2", isBytes, 768, 640, 32, 0.1});
    for (const std::string &level : hostDotLevels()) {
      SparseLinear other({level, isBytes, 768, 640, 32, 0.1});
      for (int64_t rows = 0; rows < 600; ++rows)
        ASSERT_LE(units(other, rows), units(lowest, rows))
            << level << ": " << rows;
    }
  }
}

TEST(SparseLinear, InnerLoopsStayInRegisters) {
  for (const std::string &level : hostDotLevels())
    for (auto [isBytes, strip] :
         {std::pair(true, 32), {true, 16}, {false, 32}}) {
      SparseLinear linear({level, isBytes, 768, 64, strip});
      ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
      EXPECT_EQ("", checkInnerLoops(linear.jit.assembly()))
          << level << (isBytes ? " bytes " : " f32 ") << strip;
    }
}

TEST(SparseLinear, RefusesBlocksThatNoInstructionTakes) {
  SparseLinear linear({"avx2", true, 6, 32, 32, 0.5});
  EXPECT_NE(std::string::npos, linear.jit.error().find("blocks of k"));
}

// More blocks than the layout has room for are not written.
TEST(SparsePanels, RefusesMoreBlocksThanCounted) {
  SparsePanels panels{4, 16, 16, 1, 1};
  std::vector<float> rows(64, 1.0f);
  std::vector<char> out(panels.bytes() + 64, 0);
  SparsePanelWriter writer(panels, out.data());
  EXPECT_FALSE(writer.add(rows.data(), 16));
  for (int64_t i = panels.bytes(); i < int64_t(out.size()); ++i)
    EXPECT_EQ(0, out[i]);
}
