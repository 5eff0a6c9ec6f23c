//===- IntegerMatmulTest.cpp - The kernel for integers --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Extreme bytes among random ones, so that a product or sum in 16 bits, or one
// that saturates, would show.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitIntegerMatmul.h"

#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cstring>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int32_t untouched = -12345;

namespace {
struct Case {
  std::string level;
  int64_t batch, rows, depth, columns;
  bool unsignedA = true, unsignedB = false;
  bool wideA = false; ///< i32, as it is once a zero point was taken away
  bool sharedB = false;
  bool staticSizes = false;
};
} // namespace

static std::vector<int8_t> randomBytes(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> bytes(count);
  for (int8_t &byte : bytes) {
    unsigned draw = random();
    byte = draw % 3 == 0 ? (draw % 2 ? int8_t(-128) : int8_t(-1))
                         : static_cast<int8_t>(draw >> 8);
  }
  return bytes;
}

static int64_t valueOf(int8_t byte, bool isUnsigned) {
  return isUnsigned ? static_cast<uint8_t>(byte) : byte;
}

static void checkCase(const Case &c) {
  SCOPED_TRACE(c.level + " " + std::to_string(c.rows) + "x" +
               std::to_string(c.depth) + "x" + std::to_string(c.columns));
  int64_t aLd = c.depth + 3, bLd = c.columns + 5, yLd = c.columns + 2;
  std::vector<int64_t> aStrides{c.rows * aLd, aLd, 1};
  std::vector<int64_t> bStrides{c.sharedB ? 0 : c.depth * bLd, bLd, 1};
  std::vector<int64_t> yStrides{c.rows * yLd, yLd, 1};
  auto layoutOf = [&](mlir::Type type, std::vector<int64_t> shape,
                      std::vector<int64_t> strides) {
    if (!c.staticSizes)
      for (size_t d = 0; d < 3; ++d) {
        shape[d] = ShapedType::kDynamic;
        if (d < 2 && strides[d] != 0)
          strides[d] = ShapedType::kDynamic;
      }
    return strided(type, shape, strides);
  };
  KernelJit jit(
      c.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder builder(&context);
        mlir::Type i8 = builder.getI8Type(), i32 = builder.getI32Type();
        cpu::KernelLayout layout;
        layout.operands = {
            layoutOf(c.wideA ? i32 : i8, {c.batch, c.rows, c.depth}, aStrides),
            layoutOf(i8, {c.batch, c.depth, c.columns}, bStrides),
            layoutOf(i32, {c.batch, c.rows, c.columns}, yStrides)};
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        return emitIntegerMatmul(kb, {c.unsignedA, c.unsignedB});
      },
      /*keepAssembly=*/true);
  ASSERT_TRUE(jit.ok()) << jit.error();
  EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
  // LLVM multiplies widened bytes in 16 bits.
  if (!c.staticSizes && c.depth >= 300) {
    EXPECT_TRUE(checkAllLoops(jit.assembly(), {"vpmulld"}).empty() ||
                checkAllLoops(jit.assembly(), {"vpmaddwd"}).empty());
  }

  std::vector<int8_t> a = randomBytes(c.batch * aStrides[0], 1);
  std::vector<int8_t> b = randomBytes(c.batch * c.depth * bLd, 2);
  std::vector<int32_t> wide;
  for (int8_t byte : a)
    wide.push_back(static_cast<int32_t>(valueOf(byte, c.unsignedA)));
  std::vector<int32_t> y(c.batch * yStrides[0] + 16, untouched);
  std::vector<JitTensor> tensors{
      {c.wideA ? static_cast<void *>(wide.data()) : a.data(),
       {c.batch, c.rows, c.depth},
       aStrides},
      {b.data(), {c.batch, c.depth, c.columns}, bStrides},
      {y.data(), {c.batch, c.rows, c.columns}, yStrides}};
  jit.run(tensors);
  std::vector<int32_t> whole = y;
  std::fill(y.begin(), y.end(), untouched);
  jit.runSplit(tensors, 7);
  ASSERT_EQ(whole, y) << "units are not independent";

  for (int64_t i = 0; i < c.batch; ++i)
    for (int64_t m = 0; m < c.rows; ++m)
      for (int64_t n = 0; n < yLd; ++n) {
        int32_t got = y[i * yStrides[0] + m * yLd + n];
        if (n >= c.columns) {
          ASSERT_EQ(untouched, got) << "wrote between rows";
          continue;
        }
        int64_t sum = 0;
        for (int64_t k = 0; k < c.depth; ++k)
          sum += valueOf(a[i * aStrides[0] + m * aLd + k], c.unsignedA) *
                 valueOf(b[i * bStrides[0] + k * bLd + n], c.unsignedB);
        ASSERT_EQ(sum, got) << i << "," << m << "," << n;
      }
  for (size_t i = c.batch * yStrides[0]; i < y.size(); ++i)
    ASSERT_EQ(untouched, y[i]) << "wrote behind the result";
}

TEST(IntegerMatmul, Signs) {
  for (const std::string &level : hostLevels())
    for (bool unsignedA : {false, true})
      for (bool unsignedB : {false, true})
        for (bool wideA : {false, true}) {
          Case c{level, 2, 5, 300, 40};
          c.unsignedA = unsignedA;
          c.unsignedB = unsignedB;
          c.wideA = wideA;
          checkCase(c);
        }
}

TEST(IntegerMatmul, Sizes) {
  for (const std::string &level : hostLevels())
    for (bool staticSizes : {false, true})
      for (auto [m, k, n] : {std::tuple<int, int, int>{1, 1, 1},
                             {1, 64, 128},
                             {49, 5, 65},
                             {96, 33, 64},
                             {7, 20, 16},
                             {3, 4, 31}}) {
        Case c{level, 2, m, k, n};
        c.staticSizes = staticSizes;
        c.sharedB = m == 7;
        checkCase(c);
      }
}

TEST(IntegerMatmul, NoDepthIsZero) {
  for (const std::string &level : hostLevels())
    checkCase({level, 1, 3, 0, 20});
}
