//===- WeighPagesTest.cpp - What keys get of attention --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The kernel against the op's formula in double. Sums are integers: those of
// two calls are that of one, bit by bit.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPages.h"
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <numeric>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

namespace {

class WeighPages : public testing::TestWithParam<std::string> {};

constexpr int64_t kPage = 64, any = ShapedType::kDynamic;

struct Case {
  int64_t heads, keyHeads, depth;
  double softcap;
};
struct Piece {
  int64_t context, length;
};
/// Which run, and how many of its last tokens.
struct Weighed {
  int64_t run, tokens;
};

struct Memory {
  std::vector<float> q, keys;
  std::vector<int32_t> begins = {0}, contexts, tables;
  int64_t width = 0, pages = 0;

  Memory(const Case &c, const std::vector<Piece> &runs) {
    for (const Piece &run : runs) {
      begins.push_back(begins.back() + int32_t(run.length));
      contexts.push_back(int32_t(run.context));
      width = std::max(width, (run.context + run.length + kPage - 1) / kPage);
    }
    pages = width * int64_t(runs.size()) + 1;
    std::vector<int32_t> order(pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    tables.assign(order.begin(), order.begin() + width * int64_t(runs.size()));
    q = randomFloats(begins.back() * c.heads * c.depth, 1);
    for (float &x : q)
      x *= 3;
    keys = randomFloats(pages * c.keyHeads * c.depth * kPage, 2);
  }
};

std::vector<double> expected(const Case &c, const Memory &m,
                             const std::vector<Weighed> &weighed) {
  int64_t group = c.heads / c.keyHeads;
  std::vector<double> result(weighed.size() * c.keyHeads * m.width * kPage);
  for (size_t w = 0; w < weighed.size(); ++w) {
    int64_t r = weighed[w].run, length = m.begins[r + 1] - m.begins[r];
    for (int64_t t = length - weighed[w].tokens; t < length; ++t)
      for (int64_t h = 0; h < c.heads; ++h) {
        std::vector<double> row(m.contexts[r] + t + 1);
        double total = 0;
        for (size_t j = 0; j < row.size(); ++j) {
          int64_t page = m.tables[r * m.width + int64_t(j) / kPage];
          const float *key =
              &m.keys[(page * c.keyHeads + h / group) * c.depth * kPage];
          for (int64_t d = 0; d < c.depth; ++d)
            row[j] += double(key[d * kPage + int64_t(j) % kPage]) *
                      m.q[((m.begins[r] + t) * c.heads + h) * c.depth + d];
          row[j] *= 0.125;
          if (c.softcap > 0)
            row[j] = c.softcap * std::tanh(row[j] / c.softcap);
          total += row[j] = std::exp(row[j]);
        }
        for (size_t j = 0; j < row.size(); ++j)
          result[(w * c.keyHeads + h / group) * m.width * kPage + j] +=
              row[j] / total;
      }
  }
  return result;
}

TEST_P(WeighPages, GiveWhatTheFormulaSays) {
  using namespace cpu;
  const std::vector<Piece> runs = {
      {0, 5}, {130, 1}, {60, 77}, {0, 0}, {200, 9}};
  const std::vector<Weighed> weighed = {
      {2, 77}, {0, 3}, {1, 1}, {3, 0}, {4, 4}};
  for (const Case &c : {Case{4, 2, 64, 0}, {5, 1, 20, 20}}) {
    KernelJit jit(
        GetParam(),
        [&](mlir::MLIRContext &context) {
          mlir::Builder b(&context);
          mlir::Type f32 = b.getF32Type(), i32 = b.getI32Type(),
                     i64 = b.getI64Type();
          return KernelLayout{
              {contiguous(f32, {1, any, c.heads, c.depth}),
               contiguous(f32, {any, c.keyHeads, c.depth, kPage}),
               contiguous(i32, {any}), contiguous(i32, {any}),
               contiguous(i32, {any, any}), contiguous(i64, {any}),
               contiguous(i32, {any}),
               contiguous(i64, {any, c.keyHeads, any})}};
        },
        [&](KernelBuilder &kb) {
          return emitWeighPages(kb, {0.125, c.softcap});
        });
    ASSERT_TRUE(jit.ok()) << jit.error();
    Memory m(c, runs);
    auto weigh = [&](const std::vector<Weighed> &what, int64_t pieces) {
      std::vector<int64_t> which;
      std::vector<int32_t> tokens;
      for (const Weighed &w : what) {
        which.push_back(w.run);
        tokens.push_back(int32_t(w.tokens));
      }
      std::vector<int64_t> result(what.size() * c.keyHeads * m.width * kPage,
                                  -77);
      std::vector<JitTensor> tensors = {
          {m.q.data(), {1, m.begins.back(), c.heads, c.depth}},
          {m.keys.data(), {m.pages, c.keyHeads, c.depth, kPage}},
          {m.begins.data(), {int64_t(m.begins.size())}},
          {m.contexts.data(), {int64_t(m.contexts.size())}},
          {m.tables.data(), {int64_t(m.contexts.size()), m.width}},
          {which.data(), {int64_t(which.size())}},
          {tokens.data(), {int64_t(tokens.size())}},
          {result.data(),
           {int64_t(which.size()), c.keyHeads, m.width * kPage}}};
      jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
      return result;
    };
    std::vector<int64_t> got = weigh(weighed, 1);
    std::vector<double> want = expected(c, m, weighed);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(want[i], std::ldexp(double(got[i]), -32), 1e-5) << i;
    EXPECT_EQ(got, weigh(weighed, 3));
    // The 77 tokens as two runs of one sequence, its pages twice.
    Memory whole = m;
    int64_t at = m.begins[2];
    m.begins = {0, int32_t(at), int32_t(at) + 30, int32_t(at) + 77,
                whole.begins.back()};
    m.contexts = {0, 60, 90, 0};
    std::vector<int32_t> rows(m.tables.begin() + 2 * m.width,
                              m.tables.begin() + 3 * m.width);
    m.tables.clear();
    for (int i = 0; i < 4; ++i)
      m.tables.insert(m.tables.end(), rows.begin(), rows.end());
    std::vector<int64_t> parts = weigh({{1, 30}, {2, 47}}, 1);
    size_t size = parts.size() / 2;
    for (size_t i = 0; i < size; ++i)
      ASSERT_EQ(got[i], parts[i] + parts[size + i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, WeighPages, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
