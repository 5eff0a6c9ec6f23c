//===- SelectBench.cpp - What choosing blocks costs and keeps -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ferrite-attention-bench --select=TOKENS: the time of ferrite.select_blocks
// against that of dense causal attention of the same heads, that of attention
// over the lists, and the share of the attention that the lists hold, of random
// queries and keys with structure: sinks, a band at the diagonal, verticals and
// slashes. Thresholds are those that hold 98.5 % of another draw.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitSelectBlocks.h"
#include "tools/dev/bench/AttentionBench.h"
#include "tools/dev/bench/KernelTime.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t kHeads = 4, kBlock = 64;
static constexpr double kMass = 0.985;

/// Waves whose products add up to a peak where the angles of both sides are
/// equal: cosines and sines of a position's.
template <typename Angle>
static void addWaves(float *row, int64_t waves, double size, Angle angle) {
  for (int64_t i = 0; i < waves; ++i) {
    row[2 * i] += float(size * std::cos(angle(double(i))));
    row[2 * i + 1] += float(size * std::sin(angle(double(i))));
  }
}

/// Rows [tokens, heads, depth] of noise and structure. Head 1 has a band, head
/// 2 verticals besides, head 3 slashes besides; all have sinks.
static std::vector<float> makeRows(int64_t tokens, int64_t depth, bool isKey,
                                   uint32_t draw) {
  std::vector<float> rows =
      randomFloats(tokens * kHeads * depth, 2 * draw + isKey);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < kHeads; ++h) {
      float *row = &rows[(t * kHeads + h) * depth];
      row[depth - 1] = isKey ? (t < 4 ? 12.f : 0.f) : 8.f;
      bool isVertical = t % 1237 < 3;
      row[depth - 2] = !isKey ? 8.f : h >= 2 && isVertical ? 12.f : 0.f;
      // As rotary embeddings have them: near positions.
      if (h >= 1)
        addWaves(row, 8, 3.6,
                 [&](double i) { return double(t) * std::pow(1000, -i / 8); });
      // Harmonics: distances that are multiples of 1024.
      if (h == 3)
        addWaves(row + 16, 8, 3.6, [&](double i) {
          return 2 * M_PI * (i + 1) * double(t) / 1024;
        });
    }
  return rows;
}

/// What the lists hold of the attention of every 16th query, the worst head.
static double massOf(const std::vector<float> &q, const std::vector<float> &k,
                     const std::vector<int32_t> &lists, int64_t tokens,
                     int64_t depth, double scale, int64_t head) {
  int64_t blocks = (tokens + kBlock - 1) / kBlock;
  const int32_t *list = &lists[head * int64_t(lists.size()) / kHeads];
  double kept = 0, rows = 0;
  std::vector<double> mass(blocks);
  std::vector<double> scores(tokens);
  for (int64_t i = 7; i < tokens; i += 16) {
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      float dot = 0;
      for (int64_t d = 0; d < depth; ++d)
        dot += q[(i * kHeads + head) * depth + d] *
               k[(j * kHeads + head) * depth + d];
      scores[j] = dot * scale;
      most = std::max(most, scores[j]);
    }
    std::fill(mass.begin(), mass.end(), 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      double weight = std::exp(scores[j] - most);
      mass[j / kBlock] += weight;
      sum += weight;
    }
    int64_t row = i / kBlock;
    for (int32_t e = list[row]; e < list[row + 1]; ++e)
      if (int32_t column = list[blocks + 1 + e]; column < blocks)
        kept += mass[column] / sum;
    ++rows;
  }
  return kept / rows;
}

static void expectOk(const KernelJit &jit) {
  if (jit.ok())
    return;
  std::fprintf(stderr, "%s\n", jit.error().c_str());
  std::exit(1);
}

void ferrite::benchSelection(llvm::StringRef level, int64_t depth,
                             int64_t tokens) {
  constexpr int64_t any = ShapedType::kDynamic;
  int64_t blocks = (tokens + kBlock - 1) / kBlock,
          width = 2 * ((depth + 15) & ~15);
  auto typeOf = [](mlir::MLIRContext &context) {
    return mlir::Type(mlir::Float32Type::get(&context));
  };
  auto headsOf = [&](mlir::MLIRContext &context) {
    return contiguous(typeOf(context), {any, any, kHeads, depth});
  };
  cpu::AttentionSpec dense;
  dense.scale = 1 / std::sqrt(double(depth));
  dense.right = 0;
  cpu::AttentionSpec listed = dense;
  listed.block = kBlock;
  KernelJit whole(
      level,
      [&](mlir::MLIRContext &context) {
        return cpu::KernelLayout{{headsOf(context), headsOf(context),
                                  headsOf(context), headsOf(context)}};
      },
      [&](cpu::KernelBuilder &kb) { return emitAttention(kb, dense); });
  auto panelsOf = [&](mlir::MLIRContext &context) {
    return contiguous(typeOf(context), {any, kHeads, any, width});
  };
  auto listOf = [&](mlir::MLIRContext &context) {
    return strided(mlir::IntegerType::get(&context, 32), {any, kHeads, any},
                   {any, any, 1});
  };
  KernelJit sparse(
      level,
      [&](mlir::MLIRContext &context) {
        return cpu::KernelLayout{{headsOf(context), headsOf(context),
                                  headsOf(context), listOf(context),
                                  listOf(context), panelsOf(context),
                                  headsOf(context)}};
      },
      [&](cpu::KernelBuilder &kb) { return emitAttention(kb, listed); });
  KernelJit packer(
      level,
      [&](mlir::MLIRContext &context) {
        return cpu::KernelLayout{
            {headsOf(context), headsOf(context), panelsOf(context)}};
      },
      cpu::emitPackKeysKernel);
  std::vector<float> q = makeRows(tokens, depth, false, 1),
                     k = makeRows(tokens, depth, true, 1),
                     q2 = makeRows(tokens, depth, false, 2),
                     k2 = makeRows(tokens, depth, true, 2),
                     v = randomFloats(q.size(), 3), y(q.size()),
                     panels(kHeads * (tokens + 64) * width);
  std::vector<float> thresholds(kHeads);
  int64_t size = blocks + 1 + blocks * blocks;
  std::vector<int32_t> lists(kHeads * size);
  using Sizes = std::vector<int64_t>;
  Sizes shape = {1, tokens, kHeads, depth};
  for (const KernelJit *jit : {&whole, &sparse, &packer})
    expectOk(*jit);
  std::vector<FerriteArg> denseArgs = whole.arguments({{q.data(), shape},
                                                       {k.data(), shape},
                                                       {v.data(), shape},
                                                       {y.data(), shape}});
  std::printf("%s, %ld heads of %ld, %ld tokens, blocks of %ld\n",
              level.str().c_str(), long(kHeads), long(depth), long(tokens),
              long(kBlock));
  for (auto [stride, pooled] : {std::pair<int64_t, bool>{8, false},
                                {16, false},
                                {8, true},
                                {64, true}}) {
    cpu::SelectBlocksSpec spec;
    spec.scale = dense.scale / 0.5;
    spec.stride = stride;
    spec.blocks = blocks;
    spec.causal = true;
    spec.pooled = pooled;
    KernelJit select(
        level,
        [&](mlir::MLIRContext &context) {
          return cpu::KernelLayout{
              {headsOf(context), headsOf(context),
               contiguous(typeOf(context), {kHeads}),
               contiguous(mlir::IntegerType::get(&context, 32),
                          {any, kHeads, any})}};
        },
        [&](cpu::KernelBuilder &kb) { return emitSelectBlocks(kb, spec); });
    expectOk(select);
    auto choose = [&](const std::vector<float> &queries,
                      const std::vector<float> &keys) {
      select.run({{queries.data(), shape},
                  {keys.data(), shape},
                  {thresholds.data(), Sizes{kHeads}},
                  {lists.data(), Sizes{1, kHeads, size}}});
    };
    std::fill(thresholds.begin(), thresholds.end(), 0.f);
    for (int step = 1; step < 30; ++step) {
      choose(q2, k2);
      for (int64_t h = 0; h < kHeads; ++h)
        if (massOf(q2, k2, lists, tokens, depth, dense.scale, h) < kMass)
          thresholds[h] = float(1 - std::pow(10, -step / 4.0));
    }
    choose(q, k);
    std::vector<FerriteArg> args =
        select.arguments({{q.data(), shape},
                          {k.data(), shape},
                          {thresholds.data(), Sizes{kHeads}},
                          {lists.data(), Sizes{1, kHeads, size}}});
    double before = timeKernel(whole, denseArgs, 0.3);
    double chosen = timeKernel(select, args, 0.3);
    Sizes steps = {kHeads * size, size, 1};
    JitTensor begins{lists.data(), Sizes{1, kHeads, blocks + 1}, steps},
        entries{lists.data() + blocks + 1, Sizes{1, kHeads, blocks * blocks},
                steps};
    JitTensor packed{panels.data(), Sizes{1, kHeads, tokens + 64, width}};
    double taken = timeKernel(
        packer,
        packer.arguments({{k.data(), shape}, {v.data(), shape}, packed}), 0.1);
    taken += timeKernel(sparse,
                        sparse.arguments({{q.data(), shape},
                                          {k.data(), shape},
                                          {v.data(), shape},
                                          begins,
                                          entries,
                                          packed,
                                          {y.data(), shape}}),
                        0.3);
    before = std::min(before, timeKernel(whole, denseArgs, 0.3));
    std::printf(
        "  %s of %2ld: %4.1f%% of dense attention's time, then %4.1f%%; "
        "%.2f times as fast\n",
        pooled ? "means        " : "antidiagonals", long(stride),
        100 * chosen / before, 100 * taken / before, before / (chosen + taken));
    for (int64_t h = 0; h < kHeads; ++h) {
      const int32_t *list = &lists[h * size];
      double kept = 0;
      for (int64_t r = 0; r < blocks; ++r)
        for (int32_t e = list[r]; e < list[r + 1]; ++e)
          kept += list[blocks + 1 + e] < blocks;
      std::printf("    head %ld, %.6f: keeps %5.1f%% of the blocks and %6.2f%% "
                  "of the attention\n",
                  long(h), double(thresholds[h]),
                  200 * kept / double(blocks * (blocks + 1)),
                  100 * massOf(q, k, lists, tokens, depth, dense.scale, h));
    }
    std::fflush(stdout);
  }
}
