//===- ExpertsTest.cpp - Routes, and products with chosen matrices --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against loops, at every level of this machine: every element is the f32 sum
// in the order of k plus the bias, bit by bit, wherever its slot lies and
// whoever is beside it.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitExperts.h"

#include "lib/Support/PanelLayout.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

static constexpr int64_t any = mlir::ShapedType::kDynamic;

/// What emitRoute() promises.
static std::vector<int64_t> routeOf(const std::vector<int64_t> &experts,
                                    int64_t groups, int64_t chunk) {
  int64_t slots = experts.size(), chunks = 0, place = 0;
  std::vector<int64_t> route(4 * slots, 0);
  for (int64_t g = 0; g < groups; ++g) {
    int64_t begin = place;
    for (int64_t s = 0; s < slots; ++s) {
      int64_t e = experts[s] < 0 ? experts[s] + groups : experts[s];
      if (std::min(std::max<int64_t>(e, 0), groups - 1) == g)
        route[3 * slots + place++] = s;
    }
    for (int64_t at = begin; at < place; at += chunk, ++chunks) {
      route[3 * chunks] = g;
      route[3 * chunks + 1] = at;
      route[3 * chunks + 2] = std::min(chunk, place - at);
    }
  }
  return route;
}

static std::vector<int64_t> someExperts(int64_t slots, int64_t groups) {
  std::vector<int64_t> experts;
  uint32_t state = 17;
  for (int64_t i = 0; i < slots; ++i) {
    state = state * 1664525 + 1013904223;
    experts.push_back((state >> 16) % groups);
  }
  return experts;
}

TEST(Route, SortsSlotsByGroup) {
  for (const std::string &level : hostLevels()) {
    KernelJit jit(
        level,
        [](mlir::MLIRContext &context) {
          mlir::Type i64 = mlir::IntegerType::get(&context, 64);
          cpu::KernelLayout layout;
          layout.operands = {strided(i64, {any}, {1}),
                             strided(i64, {any}, {1})};
          return layout;
        },
        [](cpu::KernelBuilder &kb) { return cpu::emitRoute(kb, {5, 3}); },
        /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
    std::vector<std::vector<int64_t>> cases{{},
                                            {2},
                                            {4, 4, 4, 4, 4, 4, 4},
                                            {0, 3, 0, 3, 1},
                                            {-1, -5, 7, -9, 2},
                                            someExperts(200, 5)};
    for (std::vector<int64_t> &experts : cases) {
      int64_t slots = experts.size();
      std::vector<int64_t> route(4 * slots + 1, -7), one(1, 0);
      int64_t *in = slots ? experts.data() : one.data();
      jit.run({{in, {slots}}, {route.data(), {4 * slots}}});
      EXPECT_EQ(-7, route.back()) << "wrote behind the result";
      route.pop_back();
      EXPECT_EQ(routeOf(experts, 5, 3), route)
          << slots << " slots at " << level;
    }
  }
}

namespace {
struct Case {
  std::string level;
  int64_t groups, depth, columns;
  int64_t share = 1;
  bool hasBias = false;
  std::string type = "f32"; ///< of x and result
  int64_t bits = 0, block = 0;
  bool hasZeroPoints = false;
};

/// Bytes packed as a weight is, group after group.
template <typename T>
std::vector<T> packed(const std::vector<T> &rows, int64_t groups, int64_t depth,
                      int64_t columns, int64_t pair = 1) {
  PanelLayout layout{depth, columns, pair};
  std::vector<T> panels(groups * layout.elements());
  for (int64_t g = 0; g < groups; ++g)
    packPanels({&rows[g * depth * columns], columns, 1, sizeof(T)}, layout,
               &panels[g * layout.elements()]);
  return panels;
}

class Grouped {
public:
  // Full tiles, and two that share a rest.
  static constexpr int64_t kChunk = 19;

  explicit Grouped(const Case &c)
      : c(c), bias(randomFloats(c.groups * c.columns, 8)),
        weights(randomFloats(c.groups * c.depth * c.columns, 7)),
        jit(
            c.level,
            [&](mlir::MLIRContext &context) {
              mlir::Builder b(&context);
              mlir::Type f32 = b.getF32Type(), byte = b.getIntegerType(8),
                         x = c.type == "f16"    ? mlir::Type(b.getF16Type())
                             : c.type == "bf16" ? mlir::Type(b.getBF16Type())
                                                : f32;
              // bf16 beside bf16; f32 beside the others.
              mlir::Type w = c.bits ? byte : c.type == "bf16" ? x : f32;
              cpu::KernelLayout layout;
              layout.operands = {strided(x, {any, c.depth}, {any, 1}),
                                 contiguous(w, {1}),
                                 strided(b.getI64Type(), {any}, {1})};
              if (c.hasBias)
                layout.operands.push_back(contiguous(f32, {1}));
              if (c.bits)
                layout.operands.push_back(contiguous(f32, {1}));
              if (c.hasZeroPoints)
                layout.operands.push_back(contiguous(byte, {1}));
              layout.operands.push_back(strided(x, {any, c.columns}, {any, 1}));
              return layout;
            },
            [&](cpu::KernelBuilder &kb) {
              cpu::GroupedLinearSpec spec;
              spec.groups = c.groups;
              spec.depth = c.depth;
              spec.columns = c.columns;
              spec.share = c.share;
              spec.chunk = kChunk;
              spec.bits = c.bits;
              spec.block = c.block;
              spec.hasBias = c.hasBias;
              spec.hasZeroPoints = c.hasZeroPoints;
              return cpu::emitGroupedLinear(kb, spec);
            },
            /*keepAssembly=*/true) {
    if (c.bits)
      quantize();
    else if (c.type == "bf16")
      for (float &value : weights) {
        shortWeights.push_back(toBF16(value));
        value = fromBF16(shortWeights.back());
      }
    if (c.type == "bf16")
      shortWeights = packed(shortWeights, c.groups, c.depth, c.columns, 2);
    else if (!c.bits)
      panels = packed(weights, c.groups, c.depth, c.columns);
  }

  /// Bytes, scales and zero points at random, and the floats that they are.
  void quantize() {
    int64_t perByte = 8 / c.bits, blocks = c.depth / c.block;
    int64_t rows = c.depth / perByte,
            zeroRows = (blocks + perByte - 1) / perByte;
    std::vector<uint8_t> q, z;
    for (float value : randomFloats(c.groups * rows * c.columns, 11))
      q.push_back(static_cast<uint8_t>((value + 1) * 127));
    for (float value : randomFloats(c.groups * zeroRows * c.columns, 12))
      z.push_back(static_cast<uint8_t>((value + 1) * 127));
    std::vector<float> s = randomFloats(c.groups * blocks * c.columns, 13);
    auto field = [&](const std::vector<uint8_t> &from, int64_t g, int64_t rows,
                     int64_t i, int64_t n) {
      return from[(g * rows + i / perByte) * c.columns + n] >>
                 (i % perByte * c.bits) &
             ((1 << c.bits) - 1);
    };
    for (int64_t g = 0; g < c.groups; ++g)
      for (int64_t k = 0; k < c.depth; ++k)
        for (int64_t n = 0; n < c.columns; ++n) {
          int zero = c.hasZeroPoints ? field(z, g, zeroRows, k / c.block, n)
                                     : 1 << (c.bits - 1);
          weights[(g * c.depth + k) * c.columns + n] =
              static_cast<float>(field(q, g, rows, k, n) - zero) *
              s[(g * blocks + k / c.block) * c.columns + n];
        }
    bytes = packed(q, c.groups, rows, c.columns);
    zeros = packed(z, c.groups, zeroRows, c.columns);
    scales = packed(s, c.groups, blocks, c.columns);
  }

  /// Rows of the result have 3 values of nobody behind them.
  std::vector<float> run(const std::vector<int64_t> &experts,
                         int64_t pieces = 1) {
    int64_t slots = experts.size(), tokens = slots / c.share,
            ld = c.columns + 3, xLd = c.depth + 5;
    x = randomFloats(tokens * xLd + 1, 3);
    std::vector<int64_t> route = routeOf(experts, c.groups, kChunk);
    route.push_back(0);
    std::vector<float> y(slots * ld + 1, -12345.5f);
    std::vector<uint16_t> shortX, shortY;
    void *in = x.data(), *out = y.data();
    if (c.type != "f32") {
      for (float &value : x) {
        shortX.push_back(toShort(value));
        value = fromShort(shortX.back());
      }
      for (float value : y)
        shortY.push_back(toShort(value));
      in = shortX.data();
      out = shortY.data();
    }
    std::vector<JitTensor> tensors{
        {in, {tokens, c.depth}, {xLd, 1}},
        {c.bits             ? static_cast<void *>(bytes.data())
         : c.type == "bf16" ? static_cast<void *>(shortWeights.data())
                            : panels.data(),
         {1}},
        {route.data(), {4 * slots}}};
    if (c.hasBias)
      tensors.push_back({bias.data(), {1}});
    if (c.bits)
      tensors.push_back({scales.data(), {1}});
    if (c.hasZeroPoints)
      tensors.push_back({zeros.data(), {1}});
    tensors.push_back({out, {slots, c.columns}, {ld, 1}});
    jit.runSplit(tensors, pieces);
    for (size_t i = 0; i < shortY.size(); ++i)
      y[i] = fromShort(shortY[i]);
    return y;
  }

  void check(const std::vector<int64_t> &experts) {
    std::vector<float> y = run(experts);
    int64_t ld = c.columns + 3, xLd = c.depth + 5;
    float untouched =
        c.type == "f32" ? -12345.5f : fromShort(toShort(-12345.5f));
    // Dots add the odd k of a pair first.
    bool dots = c.type == "bf16" &&
                cpu::findCpuLevel(c.level)->has(cpu::Instruction::DotBF16);
    for (size_t s = 0; s < experts.size(); ++s) {
      for (int64_t n = 0; n < c.columns; ++n) {
        float sum = 0;
        for (int64_t i = 0; i < (c.depth + dots) / (1 + dots) * (1 + dots);
             ++i) {
          int64_t k = dots ? i ^ 1 : i;
          if (k < c.depth)
            sum = std::fma(x[s / c.share * xLd + k],
                           weights[(experts[s] * c.depth + k) * c.columns + n],
                           sum);
        }
        if (c.hasBias)
          sum += bias[experts[s] * c.columns + n];
        if (c.type != "f32")
          sum = fromShort(toShort(sum));
        ASSERT_EQ(sum, y[s * ld + n]) << "slot " << s << " column " << n;
      }
      for (int64_t n = c.columns; n < ld; ++n)
        ASSERT_EQ(untouched, y[s * ld + n]) << "wrote between rows";
    }
    ASSERT_EQ(untouched, y.back()) << "wrote behind the result";
    std::vector<float> split = run(experts, 5);
    ASSERT_EQ(0, std::memcmp(y.data(), split.data(), y.size() * 4))
        << "units are not independent";
  }

  uint16_t toShort(float value) const {
    return c.type == "f16" ? toF16(value) : toBF16(value);
  }
  float fromShort(uint16_t bits) const {
    return c.type == "f16" ? fromF16(bits) : fromBF16(bits);
  }

  Case c;
  std::vector<float> bias, weights, panels, scales, x;
  std::vector<uint16_t> shortWeights;
  std::vector<uint8_t> bytes, zeros;
  KernelJit jit;
};
} // namespace

static void checkCase(const Case &c) {
  SCOPED_TRACE(c.level + " " + c.type + " K=" + std::to_string(c.depth) +
               " N=" + std::to_string(c.columns) +
               " bits=" + std::to_string(c.bits));
  Grouped grouped(c);
  ASSERT_TRUE(grouped.jit.ok()) << grouped.jit.error();
  EXPECT_EQ("", checkInnerLoops(grouped.jit.assembly()));
  // No token, one, all to one expert, experts without tokens, many.
  grouped.check({});
  grouped.check(std::vector<int64_t>(c.share, c.groups - 1));
  grouped.check(std::vector<int64_t>(c.share * 29, 1));
  grouped.check(someExperts(c.share * 3, c.groups));
  grouped.check(someExperts(c.share * 50, c.groups));
}

TEST(GroupedLinear, EveryWidth) {
  for (const std::string &level : hostLevels())
    for (int64_t columns : {1, 16, 33, 64, 100, 192})
      checkCase({level, 4, 37, columns, 2});
}

TEST(GroupedLinear, BiasOfTheExpert) {
  for (const std::string &level : hostLevels())
    checkCase({level, 3, 24, 90, 1, true});
}

TEST(GroupedLinear, ShortFloatsRoundOnce) {
  for (const std::string &level : hostDotLevels())
    for (const char *type : {"f16", "bf16"})
      checkCase({level, 4, 35, 70, 2, true, type});
}

TEST(GroupedLinear, BitsAreExact) {
  for (const std::string &level : hostLevels())
    for (int64_t bits : {4, 8})
      for (bool zeroPoints : {false, true})
        checkCase({level, 3, 96, 72, 2, true, "f32", bits, 32, zeroPoints});
}

TEST(GroupedLinear, ManyExpertsAndFewTokens) {
  for (const std::string &level : hostLevels())
    checkCase({level, 128, 16, 24, 8});
}

// Larger than the second-level cache: full tiles fetch the next panel.
TEST(GroupedLinear, LargeMatrices) {
  for (const std::string &level : hostLevels())
    checkCase({level, 16, 256, 192, 2});
}

TEST(GroupedLinear, RefusesBlocksThatShareABlocksByte) {
  Grouped grouped({hostLevels().back(), 2, 6, 16, 1, false, "f32", 4, 3});
  EXPECT_FALSE(grouped.jit.ok());
  EXPECT_NE(std::string::npos, grouped.jit.error().find("blocks of 3"));
}
