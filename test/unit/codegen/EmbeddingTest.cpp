//===- EmbeddingTest.cpp - Embedding sums against plain look-ups ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitEmbedding.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;
constexpr int64_t kWords = 50, kKinds = 2, kPositions = 40;

struct Options {
  int64_t width = 48;
  bool norm = true, dynamicWidth = false, broadcastIds = false, half = false;
  int64_t offset = 2;
};

class Embedding : public testing::TestWithParam<std::string> {
protected:
  /// BERT's: words by i64 ids, kinds by i32 ids, positions from `offset` on.
  void check(const Options &o) {
    EmbeddingSpec spec;
    spec.idsCount = 2;
    spec.sources = {{0, 0}, {1, 0}, {-1, o.offset}};
    spec.hasNorm = o.norm;
    spec.epsilon = 1e-12;
    int64_t batch = 3, tokens = 11, width = o.width;
    KernelJit jit(
        GetParam(),
        [&](MLIRContext &context) {
          Type f32 = Float32Type::get(&context);
          Type table = o.half ? Type(Float16Type::get(&context)) : f32;
          int64_t d = o.dynamicWidth ? dyn : width;
          auto ids = [&](unsigned bits) {
            Type type = IntegerType::get(&context, bits);
            return o.broadcastIds && bits == 32
                       ? strided(type, {1, dyn}, {dyn, 1})
                       : contiguous(type, {dyn, dyn});
          };
          KernelLayout layout{{ids(64), ids(32), contiguous(table, {kWords, d}),
                               contiguous(table, {kKinds, d}),
                               contiguous(table, {dyn, d})}};
          if (o.norm) {
            layout.operands.push_back(contiguous(f32, {d}));
            layout.operands.push_back(contiguous(f32, {d}));
          }
          layout.operands.push_back(contiguous(f32, {dyn, dyn, d}));
          return layout;
        },
        [&](KernelBuilder &kb) { return emitEmbedding(kb, spec); },
        /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
    EXPECT_NE(std::string::npos, jit.assembly().find("vaddps"));

    auto words = randomFloats(kWords * width, 1),
         kinds = randomFloats(kKinds * width, 2),
         positions = randomFloats(kPositions * width, 3),
         w = randomFloats(width, 4), b = randomFloats(width, 5);
    std::vector<std::vector<uint16_t>> narrow;
    std::vector<void *> tables;
    for (auto *table : {&words, &kinds, &positions}) {
      std::vector<uint16_t> bits;
      if (o.half)
        for (float &x : *table) {
          bits.push_back(toF16(x));
          x = fromF16(bits.back());
        }
      narrow.push_back(std::move(bits));
    }
    for (int i = 0; i < 3; ++i) {
      std::vector<float> *table[] = {&words, &kinds, &positions};
      tables.push_back(o.half ? (void *)narrow[i].data()
                              : (void *)table[i]->data());
    }
    std::vector<int64_t> id(batch * tokens);
    std::vector<int32_t> kind(batch * tokens);
    for (size_t i = 0; i < id.size(); ++i) {
      id[i] = int64_t(i * 7) % kWords;
      kind[i] = i % 3 == 0;
    }
    id[4] = -1;                                   // the last row
    id[5] = kWords + 1000, id[6] = INT64_MIN / 2; // clamped
    std::vector<float> y(batch * tokens * width, -5);
    std::vector<JitTensor> tensors = {
        {id.data(), {batch, tokens}},
        {kind.data(), {o.broadcastIds ? 1 : batch, tokens}},
        {tables[0], {kWords, width}},
        {tables[1], {kKinds, width}},
        {tables[2], {kPositions, width}}};
    if (o.norm) {
      tensors.emplace_back(w.data(), std::vector<int64_t>{width});
      tensors.emplace_back(b.data(), std::vector<int64_t>{width});
    }
    tensors.emplace_back(y.data(), std::vector<int64_t>{batch, tokens, width});
    EXPECT_EQ(jit.units(tensors), (batch * tokens + 3) / 4);
    jit.runSplit(tensors, 3);
    // The run would fail, and say which.
    std::optional<int64_t> outside = jit.outsideIndex();
    EXPECT_TRUE(outside == id[5] || outside == id[6]);
    std::vector<int64_t> all = id;
    id[5] = -kWords, id[6] = kWords - 1;
    jit.runSplit(tensors, 2);
    EXPECT_EQ(jit.outsideIndex(), std::nullopt);
    llvm::copy(all, id.begin());
    jit.runSplit(tensors, 3);

    for (int64_t i = 0; i < batch * tokens; ++i) {
      int64_t row = id[i] < 0 ? id[i] + kWords : id[i];
      row = std::min<int64_t>(std::max<int64_t>(row, 0), kWords - 1);
      int64_t k = kind[o.broadcastIds ? i % tokens : i];
      std::vector<double> x(width);
      double mean = 0, square = 0;
      for (int64_t d = 0; d < width; ++d) {
        x[d] = double(words[row * width + d]) + kinds[k * width + d] +
               positions[(i % tokens + o.offset) * width + d];
        mean += x[d] / width;
      }
      for (double v : x)
        square += (v - mean) * (v - mean) / width;
      for (int64_t d = 0; d < width; ++d) {
        double want =
            o.norm ? (x[d] - mean) / std::sqrt(square + 1e-12) * w[d] + b[d]
                   : x[d];
        ASSERT_NEAR(y[i * width + d], want, 2e-6) << i << ", " << d;
      }
    }
  }
};

TEST_P(Embedding, Plain) {
  for (int64_t width : {4, 16, 48, 77})
    check({width, /*norm=*/false});
}

TEST_P(Embedding, Normalized) {
  for (int64_t width : {4, 16, 48, 77})
    for (bool dynamicWidth : {false, true})
      check({width, /*norm=*/true, dynamicWidth});
}

TEST_P(Embedding, BroadcastIds) {
  Options o;
  o.broadcastIds = true;
  check(o);
}

TEST_P(Embedding, HalfTables) {
  Options o;
  o.half = true;
  check(o);
  o.norm = false;
  check(o);
}

INSTANTIATE_TEST_SUITE_P(Levels, Embedding, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
