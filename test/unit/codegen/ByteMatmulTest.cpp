//===- ByteMatmulTest.cpp - The kernel for two activations of bytes -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against sums of integers, which have one right answer, at every level of this
// machine: tails of every dim, blocks of k, zero points, signs and strides of
// the right side.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitByteMatmul.h"

#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "gtest/gtest.h"

#include <cstring>
#include <tuple>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t any = ShapedType::kDynamic;

namespace {
enum class Order { Rows, Columns, Strided };

struct Case {
  std::string level;
  int64_t rows, depth, columns;
  Order order = Order::Rows;
  bool isUnsigned = false, hasZeroA = false, hasZeroB = false;
  bool isDynamic = true; ///< K is known at run time alone
  bool scales = false;   ///< f32(sum) * a number for each column
};

/// Two matrices of a batch.
class ByteMatmul {
public:
  explicit ByteMatmul(const Case &c)
      : c(c),
        jit(
            c.level, [&](mlir::MLIRContext &context) { return lay(context); },
            [&](cpu::KernelBuilder &kb) {
              auto body = makeBody(kb);
              return emitByteMatmul(kb, {body.get(), c.hasZeroA, c.hasZeroB});
            },
            /*keepAssembly=*/true) {}

  void check(int64_t pieces) {
    constexpr int64_t batch = 2;
    auto bytes = [](size_t count, int seed) {
      std::vector<float> random = randomFloats(count, seed);
      std::vector<uint8_t> result(count);
      for (size_t i = 0; i < count; ++i)
        result[i] = i % 7 ? uint8_t(int(random[i] * 128 + 128)) : 255;
      return result;
    };
    int64_t kStride = 1, nStride = 1, size = c.depth * c.columns;
    if (c.order == Order::Rows)
      kStride = c.columns;
    else if (c.order == Order::Columns)
      nStride = c.depth;
    else
      kStride = 2 * c.columns, nStride = 2, size *= 2;
    // Both end where their memory does: what reads past an end is a fault or a
    // foreign byte.
    std::vector<uint8_t> a = bytes(batch * c.rows * c.depth, 1),
                         b = bytes(batch * size, 2);
    std::vector<float> scale = randomFloats(c.columns, 3);
    std::vector<char> y(batch * c.rows * c.columns * 4 + 64, char(0x5a));
    int32_t zeroA = 117, zeroB = c.isUnsigned ? 131 : -5;
    std::vector<JitTensor> tensors{
        {a.data(), {batch, c.rows, c.depth}},
        {b.data(), {batch, c.depth, c.columns}, {size, kStride, nStride}}};
    if (c.hasZeroA)
      tensors.push_back({&zeroA, {}});
    if (c.hasZeroB)
      tensors.push_back({&zeroB, {}});
    if (c.scales)
      tensors.push_back({scale.data(), {batch, c.rows, c.columns}, {0, 0, 1}});
    tensors.push_back({y.data(), {batch, c.rows, c.columns}});
    jit.runSplit(tensors, pieces);
    for (int64_t i = 0; i < batch; ++i)
      for (int64_t m = 0; m < c.rows; ++m)
        for (int64_t n = 0; n < c.columns; ++n) {
          int32_t sum = 0;
          for (int64_t k = 0; k < c.depth; ++k) {
            int32_t left = a[(i * c.rows + m) * c.depth + k];
            uint8_t bits = b[i * size + k * kStride + n * nStride];
            int32_t right = c.isUnsigned ? int32_t(bits) : int8_t(bits);
            sum += (left - (c.hasZeroA ? zeroA : 0)) *
                   (right - (c.hasZeroB ? zeroB : 0));
          }
          const char *at = &y[((i * c.rows + m) * c.columns + n) * 4];
          if (c.scales) {
            float got, wanted = float(sum) * scale[n];
            std::memcpy(&got, at, 4);
            ASSERT_EQ(wanted, got) << i << " row " << m << " column " << n;
          } else {
            int32_t got;
            std::memcpy(&got, at, 4);
            ASSERT_EQ(sum, got) << i << " row " << m << " column " << n;
          }
        }
    for (size_t i = y.size() - 64; i < y.size(); ++i)
      ASSERT_EQ(char(0x5a), y[i]) << "wrote behind the result";
  }

private:
  cpu::KernelLayout lay(mlir::MLIRContext &context) {
    mlir::Builder b(&context);
    mlir::Type u8 = b.getIntegerType(8, /*isSigned=*/false), i8 = b.getI8Type();
    int64_t k = c.isDynamic ? any : c.depth;
    cpu::KernelLayout layout;
    layout.operands.push_back(strided(u8, {2, any, k}, {any, k, 1}));
    bool rows = c.order == Order::Rows, columns = c.order == Order::Columns;
    layout.operands.push_back(
        strided(c.isUnsigned ? u8 : i8, {2, k, any},
                {any, columns ? 1 : any, rows ? 1 : any}));
    for (bool zero : {c.hasZeroA, c.hasZeroB})
      if (zero)
        layout.operands.push_back(contiguous(b.getI32Type(), {}));
    if (c.scales)
      layout.operands.push_back(
          strided(b.getF32Type(), {2, any, any}, {0, 0, 1}));
    layout.operands.push_back(
        strided(c.scales ? mlir::Type(b.getF32Type()) : b.getI32Type(),
                {2, any, any}, {any, any, 1}));
    return layout;
  }

  std::unique_ptr<mlir::Block> makeBody(cpu::KernelBuilder &kb) {
    if (!c.scales)
      return nullptr;
    auto block = std::make_unique<mlir::Block>();
    mlir::OpBuilder b(kb.getContext());
    mlir::Location loc = kb.getLoc();
    mlir::Value acc = block->addArgument(kb.getI32Type(), loc);
    mlir::Value scale = block->addArgument(kb.f32(), loc);
    b.setInsertionPointToEnd(block.get());
    mlir::Value v = mlir::arith::SIToFPOp::create(b, loc, kb.f32(), acc);
    v = mlir::arith::MulFOp::create(b, loc, v, scale);
    mlir::LLVM::ReturnOp::create(b, loc, v);
    return block;
  }

public:
  Case c;
  KernelJit jit;
};
} // namespace

static void checkCase(const Case &c) {
  SCOPED_TRACE(c.level + " " + std::to_string(c.rows) + " x " +
               std::to_string(c.depth) + " x " + std::to_string(c.columns));
  ByteMatmul matmul(c);
  ASSERT_TRUE(matmul.jit.ok()) << matmul.jit.error();
  for (int64_t pieces : {1, 3})
    matmul.check(pieces);
}

TEST(ByteMatmul, EveryTail) {
  for (const std::string &level : hostDotLevels())
    for (Order order : {Order::Rows, Order::Columns, Order::Strided})
      for (auto [rows, depth, columns] :
           {std::tuple(1, 1, 1), std::tuple(5, 3, 17), std::tuple(6, 16, 64),
            std::tuple(13, 21, 65), std::tuple(49, 64, 100)})
        checkCase({level, rows, depth, columns, order, /*isUnsigned=*/true,
                   /*hasZeroA=*/true, /*hasZeroB=*/true});
}

TEST(ByteMatmul, SignsAndZeroPoints) {
  for (const std::string &level : hostDotLevels())
    for (bool isUnsigned : {false, true})
      for (bool hasZeroA : {false, true})
        for (bool hasZeroB : {false, true})
          checkCase({level, 7, 37, 70, Order::Columns, isUnsigned, hasZeroA,
                     hasZeroB, /*isDynamic=*/false, /*scales=*/true});
}

// Rows that tiles read where they lie, and blocks of k.
TEST(ByteMatmul, DepthsOfAllKinds) {
  for (const std::string &level : hostDotLevels()) {
    for (int64_t depth : {16, 64, 512})
      checkCase({level, 50, depth, 96, Order::Columns, true, true, true,
                 /*isDynamic=*/false});
    for (int64_t depth : {511, 512, 513, 1100})
      checkCase({level, 8, depth, 64, Order::Rows, true, true, true});
    checkCase({level, 8, 1040, 64, Order::Columns, true, true, true,
               /*isDynamic=*/false});
  }
}

TEST(ByteMatmul, InnerLoopsStayInRegisters) {
  for (const std::string &level : hostDotLevels()) {
    ByteMatmul matmul({level, 48, 64, 64, Order::Columns, true, true, true,
                       /*isDynamic=*/false, /*scales=*/true});
    ASSERT_TRUE(matmul.jit.ok()) << matmul.jit.error();
    EXPECT_EQ("", checkInnerLoops(matmul.jit.assembly())) << level;
  }
}

TEST(ByteMatmul, RefusesWhatItCannotDo) {
  auto build = [](bool isUnsigned, int64_t stride) {
    return KernelJit(
        "avx2",
        [&](mlir::MLIRContext &context) {
          mlir::Builder b(&context);
          mlir::Type a = b.getIntegerType(8, /*isSigned=*/!isUnsigned);
          cpu::KernelLayout layout;
          layout.operands = {strided(a, {any, 8}, {16, stride}),
                             contiguous(b.getI8Type(), {8, 8}),
                             contiguous(b.getI32Type(), {any, 8})};
          return layout;
        },
        [&](cpu::KernelBuilder &kb) { return emitByteMatmul(kb, {}); });
  };
  EXPECT_TRUE(build(true, 1).ok());
  EXPECT_NE(std::string::npos, build(false, 1).error().find("unsigned bytes"));
  EXPECT_NE(std::string::npos, build(true, 2).error().find("adjacent"));
}
