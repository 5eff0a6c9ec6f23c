//===- MergeTokensTest.cpp - Kernels that make tokens one -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each kernel against loops over the text of its op, in double where it sums.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitMergeTokens.h"
#include "test/unit/codegen/FusedCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <numeric>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;
using Shape = std::vector<int64_t>;

namespace {

constexpr int64_t any = mlir::ShapedType::kDynamic;

/// Where tokens go, said from the text of ferrite.match_tokens.
std::vector<int32_t> matchOf(const float *rows, int64_t tokens, int64_t size,
                             int64_t removed, int64_t fixed) {
  std::vector<std::pair<double, int64_t>> best;
  std::vector<int64_t> to(tokens, -1);
  for (int64_t i = 0; i < tokens; i += 2) {
    double most = -INFINITY;
    for (int64_t j = 1; j < tokens && i >= fixed; j += 2) {
      double score = 0;
      for (int64_t d = 0; d < size; ++d)
        score += double(rows[i * size + d]) * rows[j * size + d];
      if (j >= fixed && score > most)
        most = score, to[i] = j;
    }
    if (i >= fixed)
      best.push_back({-most, i});
  }
  std::sort(best.begin(), best.end());
  std::vector<bool> gone(tokens);
  for (int64_t r = 0; r < removed; ++r)
    gone[best[r].second] = true;
  std::vector<int32_t> numbers(tokens);
  int32_t next = 0;
  for (int64_t i = 0; i < tokens; i += 2)
    if (!gone[i])
      numbers[i] = next++;
  for (int64_t j = 1; j < tokens; j += 2)
    numbers[j] = next + j / 2;
  for (int64_t i = 0; i < tokens; i += 2)
    if (gone[i])
      numbers[i] = numbers[to[i]];
  return numbers;
}

/// Runs whole and in pieces; the same bits.
template <typename T>
void runBoth(const KernelJit &jit, std::vector<JitTensor> tensors,
             std::vector<T> &result) {
  jit.run(tensors);
  std::vector<T> whole = result;
  std::fill(result.begin(), result.end(), T(77));
  jit.runSplit(tensors, std::max<int64_t>(1, jit.units(tensors)));
  EXPECT_TRUE(
      std::memcmp(whole.data(), result.data(), whole.size() * sizeof(T)) == 0);
}

class MergeTokens : public testing::TestWithParam<std::string> {};

TEST_P(MergeTokens, Metric) {
  for (auto [heads, size] :
       {std::pair<int64_t, int64_t>{3, 64}, {1, 18}, {4, 5}}) {
    int64_t batch = 2, tokens = 7, wide = heads * size + 9;
    // Keys as a projection of three leaves them: rows lie apart.
    KernelJit jit(
        GetParam(),
        [&, heads = heads, size = size](mlir::MLIRContext &context) {
          KernelLayout layout;
          mlir::Type f32 = elementType(context, "f32");
          layout.operands = {
              strided(f32, {any, any, heads, size}, {any, wide, size, 1}),
              contiguous(f32, {any, any, size})};
          return layout;
        },
        [](KernelBuilder &kb) { return emitTokenMetric(kb); });
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> keys = randomFloats(batch * tokens * wide, 3);
    std::fill(keys.begin() + wide, keys.begin() + 2 * wide, 0); // no direction
    std::vector<float> result(batch * tokens * size, 77);
    runBoth(jit,
            {{keys.data(),
              {batch, tokens, heads, size},
              {tokens * wide, wide, size, 1}},
             {result.data(), {batch, tokens, size}}},
            result);
    for (int64_t t = 0; t < batch * tokens; ++t) {
      std::vector<double> sum(size);
      double squares = 0;
      for (int64_t d = 0; d < size; ++d) {
        for (int64_t h = 0; h < heads; ++h)
          sum[d] += keys[t * wide + h * size + d];
        squares += sum[d] * sum[d];
      }
      for (int64_t d = 0; d < size; ++d)
        EXPECT_NEAR(result[t * size + d],
                    squares > 0 ? sum[d] / std::sqrt(squares) : 0, 1e-6);
    }
  }
}

TEST_P(MergeTokens, Match) {
  struct Case {
    int64_t tokens, size, removed, fixed;
  };
  for (Case c : {Case{197, 64, 16, 1}, Case{9, 5, 4, 1}, Case{8, 18, 4, 0},
                 Case{17, 32, 3, 2}, Case{24, 16, 5, 3}, Case{2, 8, 1, 0}}) {
    KernelJit jit(
        GetParam(),
        [&](mlir::MLIRContext &context) {
          KernelLayout layout;
          layout.operands = {
              contiguous(elementType(context, "f32"), {any, any, c.size}),
              contiguous(elementType(context, "i32"), {any, any})};
          return layout;
        },
        [&](KernelBuilder &kb) {
          return emitMatchTokens(kb, c.removed, c.fixed);
        });
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> rows = randomFloats(2 * c.tokens * c.size, 5);
    // The second sequence has tokens that are equal.
    float *second = rows.data() + c.tokens * c.size;
    for (int64_t i = c.size; i < c.tokens * c.size; ++i)
      second[i] = second[i % c.size];
    std::vector<int32_t> result(2 * c.tokens, 77);
    runBoth(
        jit,
        {{rows.data(), {2, c.tokens, c.size}}, {result.data(), {2, c.tokens}}},
        result);
    std::vector<int32_t> want =
        matchOf(rows.data(), c.tokens, c.size, c.removed, c.fixed);
    std::vector<int32_t> equal =
        matchOf(second, c.tokens, c.size, c.removed, c.fixed);
    want.insert(want.end(), equal.begin(), equal.end());
    EXPECT_EQ(result, want) << c.tokens << " " << c.fixed;
    // No number, of whatever keys, is one outside.
    std::fill(rows.begin(), rows.end(), NAN);
    jit.run(
        {{rows.data(), {2, c.tokens, c.size}}, {result.data(), {2, c.tokens}}});
    for (int32_t number : result)
      EXPECT_TRUE(number >= 0 && number < c.tokens - c.removed) << number;
  }
}

TEST_P(MergeTokens, MergeAndUnmerge) {
  int64_t batch = 2, tokens = 9, left = 6;
  std::vector<int32_t> to = {0, 3, 1, 4, 3, 5, 4, 2, 4, //
                             0, 1, 2, 3, 4, 5, 5, 5, 5};
  std::vector<float> sizes = {1, 2, 1, 3, 1, 1, 5, 1, 1, //
                              1, 1, 1, 1, 1, 1, 1, 1, 2};
  for (int64_t size : {1, 18, 64})
    for (const char *type : {"f32", "f16", "bf16"})
      for (bool sized : {false, true})
        for (bool sum : {false, true}) {
          auto layout = [&](mlir::MLIRContext &context) {
            mlir::Type element = elementType(context, type);
            KernelLayout layout;
            layout.operands = {
                contiguous(element, {any, any, size}),
                contiguous(elementType(context, "i32"), {any, any})};
            if (sized)
              layout.operands.push_back(
                  contiguous(elementType(context, "f32"), {any, any}));
            layout.operands.push_back(contiguous(element, {any, any, size}));
            return layout;
          };
          KernelJit merge(GetParam(), layout, [&](KernelBuilder &kb) {
            return emitMergeTokens(kb, sized, sum);
          });
          ASSERT_TRUE(merge.ok()) << merge.error();
          Elements input(type, batch * tokens * size),
              result(type, batch * left * size);
          input.fill(11);
          std::vector<JitTensor> tensors = {
              {input.data(), {batch, tokens, size}},
              {to.data(), {batch, tokens}}};
          if (sized)
            tensors.push_back({sizes.data(), {batch, tokens}});
          tensors.push_back({result.data(), {batch, left, size}});
          merge.runSplit(tensors, merge.units(tensors));
          double off = type == std::string("f32") ? 1e-6 : 2e-2;
          for (int64_t b = 0; b < batch; ++b)
            for (int64_t o = 0; o < left; ++o)
              for (int64_t c = 0; c < size; ++c) {
                double total = 0, weight = 0;
                for (int64_t i = 0; i < tokens; ++i)
                  if (to[b * tokens + i] == o) {
                    double w = sized ? sizes[b * tokens + i] : 1;
                    total += w * input.get((b * tokens + i) * size + c);
                    weight += w;
                  }
                double want = sum ? total : total / weight;
                EXPECT_NEAR(result.get((b * left + o) * size + c), want,
                            off * (1 + std::abs(want)));
              }
          if (sized || sum)
            continue;
          KernelJit back(GetParam(), layout, emitUnmergeTokens);
          ASSERT_TRUE(back.ok()) << back.error();
          Elements full(type, batch * tokens * size);
          std::vector<int32_t> outside = to;
          outside[0] = -4; // the nearest inside
          outside[10] = 99;
          std::vector<JitTensor> all = {{result.data(), {batch, left, size}},
                                        {outside.data(), {batch, tokens}},
                                        {full.data(), {batch, tokens, size}}};
          back.runSplit(all, back.units(all));
          for (int64_t i = 0; i < batch * tokens; ++i)
            for (int64_t c = 0; c < size; ++c) {
              int64_t from = i == 0 ? 0 : i == 10 ? left - 1 : to[i];
              EXPECT_EQ(full.get(i * size + c),
                        result.get((i / tokens * left + from) * size + c));
            }
        }
}

INSTANTIATE_TEST_SUITE_P(Levels, MergeTokens, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });
} // namespace
