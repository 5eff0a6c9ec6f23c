//===- LinearTest.cpp - The kernel for packed weights ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against sums in double, at every level of this machine. The order of sums is
// part of the contract, so rows are also compared bit by bit: between row
// counts, between splits of the units, and with f32 sums in the order of k. The
// file is longer than others because every kind of tile goes through one check.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinear.h"
#include "passes/Codegen/CPU/HalfProduct.h"

#include "lib/Support/PanelLayout.h"
#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t any = ShapedType::kDynamic;
// What memory holds that a kernel must not write.
static constexpr float untouched = -12345.5f;

static mlir::Type typeOf(mlir::MLIRContext &context, const std::string &name) {
  mlir::Builder builder(&context);
  return name == "f16"    ? mlir::Type(builder.getF16Type())
         : name == "bf16" ? mlir::Type(builder.getBF16Type())
                          : mlir::Type(builder.getF32Type());
}

/// Floats as they are stored, and the values they then have.
struct Stored {
  std::vector<char> bytes;
  std::vector<float> values;
  unsigned width;

  Stored(std::vector<float> source, const std::string &type)
      : values(std::move(source)), width(type == "f32" ? 4 : 2) {
    bytes.resize(values.size() * width);
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t bits = 0;
      if (type == "f16")
        values[i] = fromF16(bits = toF16(values[i]));
      else if (type == "bf16")
        values[i] = fromBF16(bits = toBF16(values[i]));
      std::memcpy(&bytes[i * width],
                  width == 4 ? static_cast<void *>(&values[i]) : &bits, width);
    }
  }
};

/// (acc + bias) * scale + residual, where scale is one for each row.
static std::unique_ptr<mlir::Block> makeEpilogue(cpu::KernelBuilder &kb) {
  auto block = std::make_unique<mlir::Block>();
  mlir::OpBuilder builder(kb.getContext());
  mlir::Location loc = kb.getLoc();
  for (int i = 0; i < 4; ++i)
    block->addArgument(kb.f32(), loc);
  builder.setInsertionPointToEnd(block.get());
  mlir::Value v = mlir::arith::AddFOp::create(
      builder, loc, block->getArgument(0), block->getArgument(1));
  v = mlir::arith::MulFOp::create(builder, loc, v, block->getArgument(2));
  v = mlir::arith::AddFOp::create(builder, loc, v, block->getArgument(3));
  mlir::LLVM::ReturnOp::create(builder, loc, v);
  return block;
}

struct Case {
  std::string level;
  int64_t depth, columns;
  std::string type = "f32";
  bool epilogue = false;
  bool dynamicStrides = false;
  std::string inputType = "f32";
};

class Linear {
public:
  explicit Linear(const Case &c)
      : c(c), weights(randomFloats(c.depth * c.columns, 7), c.type),
        bias(randomFloats(c.columns, 8)),
        jit(
            c.level,
            [&](mlir::MLIRContext &context) {
              mlir::Type f32 = typeOf(context, "f32");
              int64_t xLd = c.dynamicStrides ? any : c.depth;
              int64_t yLd = c.dynamicStrides ? any : c.columns;
              cpu::KernelLayout layout;
              layout.operands = {strided(typeOf(context, c.inputType),
                                         {any, c.depth}, {xLd, 1}),
                                 contiguous(typeOf(context, c.type), {1})};
              if (c.epilogue) {
                layout.operands.push_back(
                    strided(f32, {any, c.columns}, {0, 1}));
                layout.operands.push_back(
                    strided(f32, {any, c.columns}, {any, 0}));
                layout.operands.push_back(
                    strided(f32, {any, c.columns}, {yLd, 1}));
              }
              layout.operands.push_back(
                  strided(f32, {any, c.columns}, {yLd, 1}));
              return layout;
            },
            [&](cpu::KernelBuilder &kb) {
              auto body = c.epilogue ? makeEpilogue(kb) : nullptr;
              return emitLinear(kb,
                                {c.depth, c.columns,
                                 typeOf(*kb.getContext(), c.type), body.get()});
            },
            /*keepAssembly=*/true) {
    PanelLayout packed{c.depth, c.columns, c.type == "bf16" ? 2 : 1};
    memory.resize(packed.elements() * weights.width + 64);
    panels =
        memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
    packPanels({weights.bytes.data(), c.columns, 1, weights.width}, packed,
               panels);
  }

  /// Whether sums are those of tiles.
  bool isTile() const { return c.level == "amx" || c.level == "~amx"; }

  /// Whether sums are of f16, block by block.
  bool isHalf() const {
    return c.level == "~avx512_fp16" && c.type == "f16" && c.inputType == "f16";
  }

  /// Whether pairs of k go through a dot instruction: the odd one first.
  bool isDot() const {
    return c.type == "bf16" && c.inputType == "bf16" && !isTile() &&
           !isHalf() &&
           cpu::findCpuLevel(c.level)->has(cpu::Instruction::DotBF16);
  }

  /// Rows of `ld` values, so that what lies between them can be checked.
  std::vector<float> run(int64_t rows, int64_t pieces = 1) {
    xLd = c.dynamicStrides ? c.depth + 5 : c.depth;
    ld = c.dynamicStrides ? c.columns + 3 : c.columns;
    Stored stored(randomFloats(rows * xLd, 3), c.inputType);
    x = stored.values;
    residual = randomFloats(rows * ld, 4);
    scale = randomFloats(rows, 5);
    std::vector<float> y(rows * ld + 16, untouched);
    std::vector<JitTensor> tensors{
        {stored.bytes.data(), {rows, c.depth}, {xLd, 1}}, {panels, {1}}};
    if (c.epilogue) {
      tensors.push_back({bias.data(), {rows, c.columns}, {0, 1}});
      tensors.push_back({scale.data(), {rows, c.columns}, {1, 0}});
      tensors.push_back({residual.data(), {rows, c.columns}, {ld, 1}});
    }
    tensors.push_back({y.data(), {rows, c.columns}, {ld, 1}});
    jit.runSplit(tensors, pieces);
    return y;
  }

  void check(int64_t rows, const std::vector<float> &y) {
    double worst = 0;
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t n = 0; n < c.columns; ++n) {
        double sum = 0, size = 0;
        float inOrder = 0;
        for (int64_t k = 0; k < c.depth; ++k) {
          float a = x[m * xLd + k], b = weights.values[k * c.columns + n];
          sum += double(a) * b;
          size += std::fabs(double(a) * b);
          if (!isDot() && !isHalf())
            inOrder = std::fma(a, b, inOrder);
        }
        for (int64_t k = 0; isHalf() && k < c.depth;) {
          float block = 0;
          int64_t end = std::min(k + cpu::kHalfBlock, c.depth);
          for (; k < end; ++k)
            block = fromF16(toF16(std::fma(
                x[m * xLd + k], weights.values[k * c.columns + n], block)));
          inOrder += block;
        }
        for (int64_t k = 0; isDot() && k < c.depth; k += 2)
          for (int64_t of : {k + 1, k})
            if (of < c.depth)
              inOrder = std::fma(x[m * xLd + of],
                                 weights.values[of * c.columns + n], inOrder);
        if (c.epilogue) {
          sum = (sum + bias[n]) * scale[m] + residual[m * ld + n];
          size += 2;
        } else if (!isTile()) {
          ASSERT_EQ(inOrder, y[m * ld + n])
              << "sums are not in the order of k: row " << m << " column " << n;
        }
        worst = std::max(worst, std::fabs(sum - y[m * ld + n]) / size);
      }
    // 128 roundings to eleven bits have a standard deviation of
    // sqrt(128 / 12) * 2^-11 = 1.6e-3 of the sum of magnitudes at most.
    EXPECT_LT(worst, isHalf() ? 3.2e-3 : 1e-6) << rows << " rows";
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t n = c.columns; n < ld; ++n)
        ASSERT_EQ(untouched, y[m * ld + n]) << "wrote between rows, row " << m;
    for (size_t i = rows * ld; i < y.size(); ++i)
      ASSERT_EQ(untouched, y[i]) << "wrote behind the result";
  }

  Case c;
  Stored weights;
  std::vector<float> bias, x, residual, scale;
  std::vector<char> memory;
  char *panels;
  int64_t xLd = 0, ld = 0;
  KernelJit jit;
};

static void checkCase(const Case &c, std::vector<int64_t> rowCounts) {
  SCOPED_TRACE(c.level + " " + c.type + " K=" + std::to_string(c.depth) +
               " N=" + std::to_string(c.columns));
  Linear linear(c);
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  for (int64_t rows : rowCounts) {
    std::vector<float> y = linear.run(rows);
    linear.check(rows, y);
    std::vector<float> split = linear.run(rows, 5);
    ASSERT_EQ(0, std::memcmp(y.data(), split.data(), y.size() * 4))
        << "units are not independent at " << rows << " rows";
  }
}

TEST(Linear, EveryRowCount) {
  std::vector<int64_t> rows{0};
  for (int64_t m = 1; m <= 20; ++m)
    rows.push_back(m);
  rows.insert(rows.end(), {47, 48, 50, 97, 131, 403});
  for (const std::string &level : hostLevels())
    checkCase({level, 37, 100}, rows);
}

TEST(Linear, EveryWidth) {
  for (const std::string &level : hostLevels())
    for (int64_t columns : {1,  7,  8,  9,  15, 16, 17, 31,  32,  40, 48,
                            56, 63, 64, 65, 72, 80, 96, 127, 128, 384})
      checkCase({level, 13, columns}, {1, 6, 17});
}

TEST(Linear, EveryDepth) {
  for (const std::string &level : hostLevels())
    for (int64_t depth : {1, 2, 3, 4, 5, 7, 8, 64, 255, 1001})
      checkCase({level, depth, 72}, {1, 11});
}

TEST(Linear, EpilogueWithSides) {
  for (const std::string &level : hostLevels())
    for (int64_t columns : {40, 64, 200})
      checkCase({level, 33, columns, "f32", true, true}, {1, 2, 5, 6, 7, 61});
}

TEST(Linear, ShortWeights) {
  for (const std::string &level : hostLevels())
    for (const char *type : {"f16", "bf16"})
      for (int64_t columns : {24, 64, 136})
        checkCase({level, 35, columns, type}, {1, 6, 19, 130});
}

TEST(Linear, ShortActivations) {
  for (const std::string &level : hostDotLevels())
    for (const char *type : {"f16", "bf16"})
      for (bool dynamicStrides : {false, true})
        checkCase({level, 37, 100, type, false, dynamicStrides, type},
                  {1, 2, 6, 19, 61});
}

// Whole blocks of k, and a last one that is shorter (SkinnyPanel.h).
TEST(Linear, FewRows) {
  std::vector<int64_t> rows;
  for (int64_t m = 1; m <= 17; ++m)
    rows.push_back(m);
  for (const std::string &level : hostLevels())
    for (int64_t depth : {192, 130}) {
      checkCase({level, depth, 128}, rows);
      checkCase({level, depth, 128, "bf16", true, false, "f16"}, rows);
    }
}

// Panels that are read block by block: equal blocks, a shorter last one, a last
// panel of few columns, several chunks.
TEST(Linear, DeepPanels) {
  for (const std::string &level : hostLevels()) {
    checkCase({level, 2050, 72}, {17, 100, 301});
    checkCase({level, 2048, 64, "f32", true, true}, {19, 97});
    checkCase({level, 4101, 65, "bf16"}, {40});
  }
}

// An artifact counts units once, at its lowest level: no level may need more.
TEST(Linear, UnitsOfTheLowestLevelAreEnough) {
  std::vector<std::string> levels = hostDotLevels();
  for (auto [type, depth] :
       {std::pair("f32", 384), {"f32", 1536}, {"f32", 2048}, {"bf16", 4096}}) {
    std::vector<std::vector<int64_t>> counts;
    for (const std::string &level : levels) {
      KernelJit jit(
          level,
          [&, type = type, depth = depth](mlir::MLIRContext &context) {
            mlir::Type element = typeOf(context, type);
            return cpu::KernelLayout{{contiguous(element, {any, depth}),
                                      contiguous(element, {1}),
                                      contiguous(element, {any, 64})}};
          },
          [&, type = type, depth = depth](cpu::KernelBuilder &kb) {
            return emitLinear(
                kb, {depth, 64, typeOf(*kb.getContext(), type), nullptr});
          });
      ASSERT_TRUE(jit.ok()) << jit.error();
      counts.emplace_back();
      std::vector<float> x(1);
      for (int64_t rows = 0; rows < 600; ++rows)
        counts.back().push_back(jit.units({{x.data(), {rows, depth}},
                                           {x.data(), {1}},
                                           {x.data(), {rows, 64}}}));
    }
    for (const std::vector<int64_t> &count : counts)
      for (size_t i = 0; i < count.size(); ++i)
        ASSERT_LE(count[i], counts[0][i]) << type << " " << depth;
  }
}

// Pairs and what is left of them, at every width of a slice.
TEST(Linear, PairsOfShortFloats) {
  for (const std::string &level : hostDotLevels()) {
    for (int64_t depth : {1, 2, 7, 9, 64})
      for (int64_t columns : {7, 64, 129})
        checkCase({level, depth, columns, "bf16", false, false, "bf16"},
                  {1, 5, 6, 19});
    // Leading dimensions known at run time, and an epilogue.
    checkCase({level, 23, 100, "bf16", true, true, "bf16"}, {1, 6, 61});
  }
}

// What the tile instructions do, on any machine with AVX-512.
TEST(Linear, TilesAsLoops) {
  if (!cpu::hostHasLevel(*cpu::findCpuLevel("avx512")))
    GTEST_SKIP() << "needs AVX-512";
  for (int64_t depth : {1, 2, 31, 32, 33, 100})
    for (int64_t columns : {7, 40, 64, 129})
      checkCase({"~amx", depth, columns, "bf16", false, false, "bf16"},
                {1, 5, 16, 17, 32, 33, 61});
  checkCase({"~amx", 67, 100, "bf16", true, true, "bf16"}, {1, 6, 61});
  Linear linear({"~amx", 129, 192, "bf16", false, false, "bf16"});
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  std::vector<float> all = linear.run(200);
  for (int64_t rows : {1, 15, 16, 33, 70}) {
    std::vector<float> some = linear.run(rows); // the same first rows of x
    ASSERT_EQ(0, std::memcmp(all.data(), some.data(), rows * 192 * 4)) << rows;
  }
}

// The instructions themselves: no tile goes through memory within a loop.
TEST(Linear, TilesStayInRegisters) {
  Linear linear({"amx", 768, 200, "bf16", true, false, "bf16"});
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  EXPECT_EQ("", checkTiles(linear.jit.assembly(), "tdpbf16ps"));
}

// What FMAs of f16 do, on any machine with AVX-512; the order of k, the blocks.
TEST(Linear, HalvesAsFloats) {
  if (!cpu::hostHasLevel(*cpu::findCpuLevel("avx512")))
    GTEST_SKIP() << "needs AVX-512";
  for (int64_t depth : {1, 3, 4, 127, 128, 129, 300})
    for (int64_t columns : {7, 16, 40, 64, 129})
      checkCase({"~avx512_fp16", depth, columns, "f16", false, false, "f16"},
                {1, 5, 6, 19, 61});
  checkCase({"~avx512_fp16", 67, 100, "f16", true, true, "f16"}, {1, 6, 61});
}

// The instructions themselves: twins are broadcast with 32 bits, which needs no
// shuffle.
TEST(Linear, HalvesStayInRegisters) {
  Linear linear({"avx512_fp16", 768, 200, "f16", true, false, "f16"});
  ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
  const std::string &text = linear.jit.assembly();
  EXPECT_NE(std::string::npos, text.find("vfmadd231ph"));
  EXPECT_EQ(std::string::npos, text.find("vpbroadcastw"));
  EXPECT_EQ("", checkInnerLoops(text));
  // f32 x beside f16 weights keeps its bits.
  Linear wide({"avx512_fp16", 768, 200, "f16"});
  ASSERT_TRUE(wide.jit.ok()) << wide.jit.error();
  EXPECT_EQ(std::string::npos, wide.jit.assembly().find("vfmadd231ph"));
}

// f32 keeps its bits beside bf16 weights, so there is no dot.
TEST(Linear, DotsAreForTwoShortFloats) {
  for (const cpu::CpuLevel &level : cpu::cpuLevels())
    for (const char *x : {"f32", "bf16"}) {
      if (!cpu::hostHasLevel(level))
        continue;
      Linear linear({level.name.str(), 768, 200, "bf16", false, false, x});
      ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
      EXPECT_EQ(linear.isDot(), linear.jit.assembly().find("vdpbf16ps\t%zmm") !=
                                    std::string::npos)
          << level.name.str() << " " << x;
      EXPECT_EQ("", checkInnerLoops(linear.jit.assembly())) << level.name.str();
    }
}

TEST(Linear, LargeMatrices) {
  for (const std::string &level : hostLevels()) {
    checkCase({level, 384, 384}, {128, 1000});
    checkCase({level, 3072, 136}, {100});
  }
}

// A token's result must not depend on its company.
TEST(Linear, RowsDoNotKnowEachOther) {
  for (const std::string &level : hostLevels()) {
    Linear linear({level, 129, 192});
    ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
    std::vector<float> all = linear.run(1024);
    for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 13, 50, 128, 600}) {
      std::vector<float> some = linear.run(rows); // the same first rows of x
      ASSERT_EQ(0, std::memcmp(all.data(), some.data(), rows * 192 * 4))
          << level << ", " << rows << " rows";
    }
  }
}

TEST(Linear, InnerLoopsStayInRegisters) {
  for (const std::string &level : hostLevels())
    for (bool epilogue : {false, true}) {
      Linear linear({level, 768, 200, "f32", epilogue});
      ASSERT_TRUE(linear.jit.ok()) << linear.jit.error();
      EXPECT_NE(std::string::npos,
                linear.jit.assembly().find(level == "avx512"
                                               ? "vfmadd231ps\t%zmm"
                                               : "vfmadd231ps\t%ymm"));
      EXPECT_EQ("", checkInnerLoops(linear.jit.assembly())) << level;
    }
}

// The checker itself must see what it looks for.
TEST(Linear, InnerLoopCheckerSees) {
  EXPECT_EQ("", checkInnerLoops("a:\n\tvaddps\t%zmm0, %zmm1\n\tjne\ta\n"));
  EXPECT_NE("", checkInnerLoops("a:\n\tcallq\texpf\n\tjne\ta\n"));
  EXPECT_NE("", checkInnerLoops("a:\n\tvmovups\t64(%rsp), %zmm1\n"
                                "\tvfmadd231ps\t%zmm1, %zmm2, %zmm3\n"
                                "\tjne\ta\n"));
}

TEST(Linear, RefusesWhatItCannotDo) {
  auto build = [](int64_t columnStride, int64_t depth, bool side) {
    return KernelJit(
        "avx2",
        [&](mlir::MLIRContext &context) {
          mlir::Type f32 = typeOf(context, "f32");
          cpu::KernelLayout layout;
          layout.operands = {contiguous(f32, {any, 8}), contiguous(f32, {1})};
          if (side)
            layout.operands.push_back(contiguous(f32, {any, 8}));
          layout.operands.push_back(strided(f32, {any, 8}, {16, columnStride}));
          return layout;
        },
        [&](cpu::KernelBuilder &kb) {
          return emitLinear(kb, {depth, 8, kb.f32(), nullptr});
        });
  };
  EXPECT_TRUE(build(1, 8, false).ok());
  EXPECT_NE(std::string::npos,
            build(2, 8, false).error().find("column stride 2"));
  EXPECT_NE(std::string::npos, build(1, 0, false).error().find("at least 1"));
  EXPECT_NE(std::string::npos, build(1, 8, true).error().find("no epilogue"));
}

TEST(PanelLayout, PacksGroups) {
  for (int64_t group : {2, 4}) {
    PanelLayout layout{5, 70, group};
    int64_t padded = group == 2 ? 6 : 8;
    EXPECT_EQ(padded * 64 + padded * 16, layout.elements());
    std::vector<float> source = randomFloats(5 * 70, 1);
    std::vector<float> packed(layout.elements(), 1);
    packPanels({source.data(), 70, 1, 4}, layout, packed.data());
    float all = 0, sum = 0;
    for (int k = 0; k < 5; ++k)
      for (int n = 0; n < 70; ++n) {
        ASSERT_EQ(source[k * 70 + n], packed[layout.offset(k, n)]);
        sum += std::fabs(source[k * 70 + n]);
      }
    for (float value : packed)
      all += std::fabs(value);
    EXPECT_NEAR(sum, all, 1e-3) << "padding is not zero";
    // k, k + 1, ... of a column are neighbours.
    EXPECT_EQ(layout.offset(0, 3) + 1, layout.offset(1, 3));
    EXPECT_EQ(layout.offset(0, 3) + group, layout.offset(0, 4));
  }
}

TEST(PanelLayout, PacksEveryStrideAlike) {
  PanelLayout layout{5, 70};
  EXPECT_EQ(2, layout.panels());
  EXPECT_EQ(16, layout.width(1));
  EXPECT_EQ(5 * 64 + 5 * 16, layout.elements());
  std::vector<float> rowMajor = randomFloats(5 * 70, 1), columnMajor(5 * 70);
  for (int k = 0; k < 5; ++k)
    for (int n = 0; n < 70; ++n)
      columnMajor[n * 5 + k] = rowMajor[k * 70 + n];
  std::vector<float> a(layout.elements(), 1), b(layout.elements(), 2);
  packPanels({rowMajor.data(), 70, 1, 4}, layout, a.data());
  packPanels({columnMajor.data(), 1, 5, 4}, layout, 0, 1, b.data());
  packPanels({columnMajor.data(), 1, 5, 4}, layout, 1, 2,
             b.data() + layout.offset(1));
  EXPECT_EQ(a, b);
  for (int k = 0; k < 5; ++k)
    for (int n = 0; n < 80; ++n)
      if (n < 70)
        ASSERT_EQ(rowMajor[k * 70 + n], a[layout.offset(k, n)]);
      else
        ASSERT_EQ(0, a[layout.offset(1) + k * 16 + n - 64]);
}
