//===- MatmulTest.cpp - The kernel for two activations --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every layout is run against sums in f32 in the order of k, bit by bit: that
// order is what makes packed, unpacked, full and partial panels agree.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitMatmul.h"

#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t any = ShapedType::kDynamic;
static constexpr float untouched = -12345.5f;

namespace {
struct Case {
  std::string level;
  int64_t outer, inner, rows, depth, columns;
  bool transposedA = false;
  enum { Plain, Transposed, EveryOther } b = Plain;
  bool sharedB = false; ///< the inner batch uses one b
  bool staticSizes = false;
  bool epilogue = false; ///< product * side, side one for each row
  bool bf16 = false;
};
} // namespace

static std::unique_ptr<mlir::Block> makeScale(cpu::KernelBuilder &kb) {
  auto block = std::make_unique<mlir::Block>();
  mlir::OpBuilder builder(kb.getContext());
  mlir::Location loc = kb.getLoc();
  block->addArgument(kb.f32(), loc);
  block->addArgument(kb.f32(), loc);
  builder.setInsertionPointToEnd(block.get());
  mlir::Value v = mlir::arith::MulFOp::create(
      builder, loc, block->getArgument(0), block->getArgument(1));
  mlir::LLVM::ReturnOp::create(builder, loc, v);
  return block;
}

static void checkCase(const Case &c) {
  SCOPED_TRACE(c.level + " " + std::to_string(c.rows) + "x" +
               std::to_string(c.depth) + "x" + std::to_string(c.columns) +
               " b" + std::to_string(c.b));
  // Strides of memory that holds everything with room between rows.
  int64_t aLd = (c.transposedA ? c.rows : c.depth) + 3;
  int64_t aMatrix = aLd * (c.transposedA ? c.depth : c.rows);
  std::vector<int64_t> aStrides{c.inner * aMatrix, aMatrix,
                                c.transposedA ? 1 : aLd,
                                c.transposedA ? aLd : 1};
  int64_t bLd = c.b == Case::Transposed ? c.depth + 1 : 2 * c.columns;
  int64_t bMatrix = bLd * (c.b == Case::Transposed ? c.columns : c.depth);
  std::vector<int64_t> bStrides{c.inner * bMatrix, c.sharedB ? 0 : bMatrix,
                                c.b == Case::Transposed ? 1 : bLd,
                                c.b == Case::Transposed   ? bLd
                                : c.b == Case::EveryOther ? 2
                                                          : 1};
  int64_t yLd = c.columns + 2;
  std::vector<int64_t> yStrides{c.inner * c.rows * yLd, c.rows * yLd, yLd, 1};
  auto layoutOf = [&](mlir::Type type, std::vector<int64_t> shape,
                      std::vector<int64_t> strides, size_t fixedStrides) {
    if (!c.staticSizes)
      for (size_t d = 0; d < 4; ++d) {
        shape[d] = any;
        if (d < 4 - fixedStrides && strides[d] != 0)
          strides[d] = any;
      }
    return strided(type, shape, strides);
  };
  KernelJit jit(
      c.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder builder(&context);
        mlir::Type f32 = builder.getF32Type();
        mlir::Type input = c.bf16 ? mlir::Type(builder.getBF16Type()) : f32;
        cpu::KernelLayout layout;
        layout.operands = {
            layoutOf(input, {c.outer, c.inner, c.rows, c.depth}, aStrides, 0),
            layoutOf(input, {c.outer, c.inner, c.depth, c.columns}, bStrides,
                     c.b == Case::Plain        ? 1
                     : c.b == Case::Transposed ? 2
                                               : 0)};
        if (c.b == Case::Transposed && !c.staticSizes)
          layout.operands[1].strides[3] = any;
        if (c.epilogue)
          layout.operands.push_back(
              layoutOf(f32, {c.outer, c.inner, c.rows, c.columns},
                       {0, c.rows, 1, 0}, 1));
        layout.operands.push_back(
            layoutOf(f32, {c.outer, c.inner, c.rows, c.columns}, yStrides, 1));
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        auto body = c.epilogue ? makeScale(kb) : nullptr;
        return emitMatmul(kb, {body.get()});
      },
      /*keepAssembly=*/true);
  ASSERT_TRUE(jit.ok()) << jit.error();
  EXPECT_EQ("", checkInnerLoops(jit.assembly()));

  std::vector<float> a = randomFloats(c.outer * aStrides[0], 1);
  std::vector<float> b = randomFloats(c.outer * bStrides[0], 2);
  std::vector<float> scale = randomFloats(c.inner * c.rows, 3);
  std::vector<uint16_t> a16, b16;
  if (c.bf16) {
    for (float &v : a)
      a16.push_back(toBF16(v)), v = fromBF16(a16.back());
    for (float &v : b)
      b16.push_back(toBF16(v)), v = fromBF16(b16.back());
  }
  std::vector<float> y(c.outer * yStrides[0] + 16, untouched);
  std::vector<JitTensor> tensors{
      {c.bf16 ? static_cast<void *>(a16.data()) : a.data(),
       {c.outer, c.inner, c.rows, c.depth},
       aStrides},
      {c.bf16 ? static_cast<void *>(b16.data()) : b.data(),
       {c.outer, c.inner, c.depth, c.columns},
       bStrides}};
  if (c.epilogue)
    tensors.push_back({scale.data(),
                       {c.outer, c.inner, c.rows, c.columns},
                       {0, c.rows, 1, 0}});
  tensors.push_back(
      {y.data(), {c.outer, c.inner, c.rows, c.columns}, yStrides});
  jit.run(tensors);
  std::vector<float> whole = y;
  std::fill(y.begin(), y.end(), untouched);
  jit.runSplit(tensors, 7);
  ASSERT_EQ(0, std::memcmp(whole.data(), y.data(), y.size() * 4))
      << "units are not independent";

  for (int64_t o = 0; o < c.outer; ++o)
    for (int64_t i = 0; i < c.inner; ++i)
      for (int64_t m = 0; m < c.rows; ++m)
        for (int64_t n = 0; n < yLd; ++n) {
          float got = y[o * yStrides[0] + i * yStrides[1] + m * yLd + n];
          if (n >= c.columns) {
            ASSERT_EQ(untouched, got) << "wrote between rows";
            continue;
          }
          float sum = 0;
          for (int64_t k = 0; k < c.depth; ++k)
            sum = std::fma(a[o * aStrides[0] + i * aStrides[1] +
                             m * aStrides[2] + k * aStrides[3]],
                           b[o * bStrides[0] + i * bStrides[1] +
                             k * bStrides[2] + n * bStrides[3]],
                           sum);
          if (c.epilogue)
            sum *= scale[i * c.rows + m];
          ASSERT_EQ(sum, got) << o << "," << i << "," << m << "," << n;
        }
  for (size_t i = c.outer * yStrides[0]; i < y.size(); ++i)
    ASSERT_EQ(untouched, y[i]) << "wrote behind the result";
}

TEST(Matmul, EveryLayoutOfB) {
  for (const std::string &level : hostLevels())
    for (auto b : {Case::Plain, Case::Transposed, Case::EveryOther})
      for (bool staticSizes : {false, true})
        for (int64_t columns : {33, 64, 200}) {
          Case c{level, 2, 3, 19, 37, columns};
          c.b = b;
          c.staticSizes = staticSizes;
          checkCase(c);
        }
}

TEST(Matmul, Sizes) {
  for (const std::string &level : hostLevels())
    for (auto b : {Case::Plain, Case::Transposed}) {
      for (auto [m, k, n] : {std::tuple<int, int, int>{1, 1, 1},
                             {1, 64, 128},
                             {97, 5, 65},
                             {192, 256, 64},
                             {100, 257, 70},
                             {7, 700, 16}}) {
        Case c{level, 1, 2, m, k, n};
        c.b = b;
        checkCase(c);
      }
    }
}

// Panels of fewer registers than tiles usually have, alone and as the last one.
TEST(Matmul, NarrowMatrices) {
  for (const std::string &level : hostLevels())
    for (auto b : {Case::Plain, Case::Transposed, Case::EveryOther})
      for (bool staticSizes : {false, true})
        for (int64_t columns : {8, 17, 48, 100}) {
          if (!staticSizes && columns != 17)
            continue; // the same code
          Case c{level, 1, 3, 21, 18, columns};
          c.b = b;
          c.staticSizes = staticSizes;
          checkCase(c);
        }
  Case c{hostLevels().back(), 1, 2, 13, 300, 16};
  c.staticSizes = true; // K in blocks
  checkCase(c);
}

TEST(Matmul, BroadcastBatchTransposedAAndEpilogue) {
  for (const std::string &level : hostLevels()) {
    Case c{level, 2, 3, 17, 40, 80};
    c.sharedB = true;
    c.transposedA = true;
    c.epilogue = true;
    checkCase(c);
    c.b = Case::Transposed;
    checkCase(c);
  }
}

TEST(Matmul, ShortFloats) {
  for (const std::string &level : hostLevels())
    for (auto b : {Case::Plain, Case::Transposed, Case::EveryOther}) {
      Case c{level, 1, 2, 13, 35, 72};
      c.b = b;
      c.bf16 = true;
      checkCase(c);
    }
}

TEST(Matmul, EmptySums) {
  for (const std::string &level : hostLevels())
    for (auto b : {Case::Plain, Case::Transposed}) {
      Case c{level, 1, 1, 3, 0, 5};
      c.b = b;
      checkCase(c);
    }
}

TEST(Matmul, RefusesWhatItCannotDo) {
  auto build = [](std::vector<int64_t> resultStrides, size_t rankOfB) {
    return KernelJit(
        "avx2",
        [&](mlir::MLIRContext &context) {
          mlir::Type f32 = mlir::Builder(&context).getF32Type();
          cpu::KernelLayout layout;
          layout.operands = {
              contiguous(f32, {8, 8}),
              contiguous(f32, llvm::SmallVector<int64_t>(rankOfB, 8)),
              strided(f32, {8, 8}, resultStrides)};
          return layout;
        },
        [&](cpu::KernelBuilder &kb) { return emitMatmul(kb, {}); });
  };
  EXPECT_TRUE(build({8, 1}, 2).ok());
  EXPECT_NE(std::string::npos, build({1, 8}, 2).error().find("column stride"));
  EXPECT_NE(std::string::npos, build({8, 1}, 3).error().find("rank 3"));
}
