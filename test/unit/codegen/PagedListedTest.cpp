//===- PagedListedTest.cpp - Runs whose rows keep some pages --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Lists of pages against those of the kernel for keys in one piece, whose test
// has the rule, and attention over them against loops in doubles.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/EmitSelectBlocks.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t kAny = mlir::ShapedType::kDynamic;
constexpr int64_t kPage = 64, kHeads = 4, kKeyHeads = 2, kDepth = 40,
                  kMostPages = 6;

struct ListedRun {
  int64_t context, length;
  int64_t end() const { return context + length; }
};

/// Runs over scattered pages, in which NaNs are where no token is.
struct ListedCase {
  std::vector<ListedRun> runs;
  std::vector<float> q, thresholds{0.4, 0.8, 0.95, 2};
  std::vector<std::vector<float>> keys, values; ///< of runs: [token, head, d]
  std::vector<float> keyPool, valuePool;
  std::vector<int32_t> begins{0}, contexts, tables, lists;
  std::vector<int64_t> visible;
  int64_t width = 0, pages = 0;

  explicit ListedCase(std::vector<ListedRun> all) : runs(std::move(all)) {
    for (const ListedRun &run : runs) {
      begins.push_back(begins.back() + run.length);
      contexts.push_back(run.context);
      width = std::max(width, (run.end() + kPage - 1) / kPage);
      keys.push_back(randomFloats(run.end() * kKeyHeads * kDepth, pages + 5));
      values.push_back(randomFloats(run.end() * kKeyHeads * kDepth, pages + 9));
      ++pages;
    }
    q = randomFloats(tokens() * kHeads * kDepth, 1);
    for (float &x : q)
      x *= 3;
    visible.assign(tokens(), 0);
    pages = width * runs.size() + 1;
    tables.assign(width * runs.size(), -1000000);
    keyPool.assign(pages * kKeyHeads * kDepth * kPage, NAN);
    valuePool.assign(keyPool.size(), NAN);
    int64_t next = pages - 1;
    for (size_t r = 0; r < runs.size(); ++r)
      for (int64_t j = 0; j < runs[r].end(); ++j) {
        int32_t &page = tables[r * width + j / kPage];
        if (j % kPage == 0)
          page = next--;
        for (int64_t h = 0; h < kKeyHeads; ++h)
          for (int64_t d = 0; d < kDepth; ++d) {
            int64_t from = (j * kKeyHeads + h) * kDepth + d,
                    to = page * kKeyHeads + h;
            keyPool[(to * kDepth + d) * kPage + j % kPage] = keys[r][from];
            valuePool[(to * kPage + j % kPage) * kDepth + d] = values[r][from];
          }
      }
    lists.assign(kHeads * listSize(), -7);
  }

  int64_t tokens() const { return begins.back(); }
  int64_t listSize() const {
    return (tokens() / kPage + 2 * int64_t(runs.size())) * (kMostPages + 1);
  }
  /// The list of row `row` of run `r`, counted from its first.
  const int32_t *listOf(int64_t r, int64_t row, int64_t head) const {
    return &lists[head * listSize() +
                  (begins[r] / kPage + 2 * r + row) * (kMostPages + 1)];
  }
  std::vector<JitTensor> chooser() {
    int64_t count = runs.size();
    return {{q.data(), {1, tokens(), kHeads, kDepth}},
            {keyPool.data(), {pages, kKeyHeads, kDepth, kPage}},
            {begins.data(), {count + 1}},
            {contexts.data(), {count}},
            {tables.data(), {count, width}},
            {thresholds.data(), {kHeads}},
            {lists.data(), {kHeads, listSize()}}};
  }
  std::vector<JitTensor> attention(std::vector<float> &result) {
    int64_t count = runs.size();
    return {{q.data(), {1, tokens(), kHeads, kDepth}},
            {keyPool.data(), {pages, kKeyHeads, kDepth, kPage}},
            {valuePool.data(), {pages, kKeyHeads, kPage, kDepth}},
            {begins.data(), {count + 1}},
            {contexts.data(), {count}},
            {visible.data(), {tokens()}},
            {tables.data(), {count, width}},
            {lists.data(), {kHeads, listSize()}},
            {result.data(), {1, tokens(), kHeads, kDepth}}};
  }
};

SelectBlocksSpec chooserSpec(bool isPaged) {
  SelectBlocksSpec spec;
  spec.scale = 0.4;
  spec.blocks = isPaged ? kMostPages : 32;
  spec.causal = true;
  spec.isPaged = isPaged;
  spec.hasOffsets = !isPaged;
  return spec;
}

KernelLayout chooserLayout(mlir::MLIRContext &context, bool isPaged) {
  mlir::Builder b(&context);
  mlir::Type f32 = b.getF32Type(), i32 = b.getI32Type();
  auto q = contiguous(f32, {1, kAny, kHeads, kDepth});
  auto thresholds = contiguous(f32, {kHeads});
  if (isPaged)
    return {{q, contiguous(f32, {kAny, kKeyHeads, kDepth, kPage}),
             contiguous(i32, {kAny}), contiguous(i32, {kAny}),
             contiguous(i32, {kAny, kAny}), thresholds,
             contiguous(i32, {kHeads, kAny})}};
  return {{q, contiguous(f32, {1, kAny, kKeyHeads, kDepth}), thresholds,
           contiguous(b.getI64Type(), {1}),
           contiguous(i32, {1, kHeads, kAny})}};
}

class PagedListed : public testing::TestWithParam<std::string> {
protected:
  void choose(ListedCase &c, int64_t pieces = 3) {
    KernelJit kernel(
        GetParam(),
        [](mlir::MLIRContext &context) { return chooserLayout(context, true); },
        [](KernelBuilder &kb) {
          return emitSelectBlocks(kb, chooserSpec(true));
        });
    ASSERT_TRUE(kernel.ok()) << kernel.error();
    std::vector<JitTensor> tensors = c.chooser();
    int64_t units = kernel.units(tensors);
    if (units > 0)
      kernel.runSplit(tensors, std::min(pieces, units));
  }

  /// The blocks of each row, by the kernel for keys in one piece.
  std::vector<int32_t> chooseInOnePiece(const ListedCase &c, size_t r) {
    KernelJit kernel(
        GetParam(),
        [](mlir::MLIRContext &context) {
          return chooserLayout(context, false);
        },
        [](KernelBuilder &kb) {
          return emitSelectBlocks(kb, chooserSpec(false));
        });
    EXPECT_TRUE(kernel.ok()) << kernel.error();
    const ListedRun &run = c.runs[r];
    std::vector<int32_t> lists(kHeads * 33 * 40, -7);
    std::vector<int64_t> offset{run.context};
    kernel.run(
        {{&c.q[c.begins[r] * kHeads * kDepth], {1, run.length, kHeads, kDepth}},
         {c.keys[r].data(), {1, run.end(), kKeyHeads, kDepth}},
         {c.thresholds.data(), {kHeads}},
         {offset.data(), {1}},
         {lists.data(), {1, kHeads, 33 * 40}}});
    return lists;
  }
};

TEST_P(PagedListed, Lists) {
  ListedCase c({{0, 200}, {300, 1}, {70, 300}, {10, 64}, {128, 128}});
  choose(c);
  int64_t kept = 0, seen = 0;
  for (size_t r : {0, 2, 4}) {
    std::vector<int32_t> whole = chooseInOnePiece(c, r);
    const ListedRun &run = c.runs[r];
    int64_t blocks = (run.end() + kPage - 1) / kPage;
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t row = run.context / kPage; row < blocks; ++row) {
        const int32_t *list = c.listOf(r, row - run.context / kPage, h);
        seen += row + 1;
        kept += list[0];
        if (row < kMostPages) {
          const int32_t *columns = &whole[h * 33 * 40 + 33 + row * blocks];
          ASSERT_GE(list[0], 1);
          for (int64_t i = 0; i < list[0]; ++i)
            EXPECT_EQ(list[1 + i], c.tables[r * c.width + columns[i]]);
          // No column behind is one of the row.
          EXPECT_TRUE(list[0] == blocks || columns[list[0]] > row);
        }
      }
  }
  EXPECT_LT(kept, seen * 0.95);
  std::vector<int32_t> lists = c.lists;
  choose(c, 9);
  EXPECT_EQ(c.lists, lists) << "in pieces";
}

TEST_P(PagedListed, TooManyPages) {
  ListedCase c({{0, 500}});
  choose(c);
  for (int64_t row = 0; row < 8; ++row)
    EXPECT_EQ(c.listOf(0, row, 3)[0], row < kMostPages ? row + 1 : 0);
}

/// A step that decodes has nothing to choose.
TEST_P(PagedListed, ShortRuns) {
  ListedCase c({{90, 1}, {10, 64}, {0, 30}});
  std::vector<int32_t> before = c.lists;
  choose(c);
  EXPECT_EQ(c.lists, before);
}

TEST_P(PagedListed, Attention) {
  ListedCase c({{0, 200}, {300, 1}, {70, 500}, {10, 64}});
  choose(c);
  PagedSpec spec;
  spec.scale = 0.3;
  spec.keptPages = kMostPages;
  KernelJit kernel(
      GetParam(),
      [](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type f32 = b.getF32Type(), i32 = b.getI32Type();
        auto q = contiguous(f32, {1, kAny, kHeads, kDepth});
        return KernelLayout{
            {q, contiguous(f32, {kAny, kKeyHeads, kDepth, kPage}),
             contiguous(f32, {kAny, kKeyHeads, kPage, kDepth}),
             contiguous(i32, {kAny}), contiguous(i32, {kAny}),
             contiguous(b.getI64Type(), {kAny}), contiguous(i32, {kAny, kAny}),
             contiguous(i32, {kHeads, kAny}), q}};
      },
      [&](KernelBuilder &kb) { return emitPagedAttention(kb, spec); });
  ASSERT_TRUE(kernel.ok()) << kernel.error();
  std::vector<float> result(c.q.size(), -77), again = result;
  std::vector<JitTensor> tensors = c.attention(result);
  kernel.run(tensors);
  kernel.runSplit(c.attention(again),
                  std::min<int64_t>(7, kernel.units(tensors)));
  EXPECT_EQ(result, again) << "in pieces";
  for (size_t r = 0; r < c.runs.size(); ++r)
    for (int64_t t = 0; t < c.runs[r].length; ++t)
      for (int64_t h = 0; h < kHeads; ++h) {
        const ListedRun &run = c.runs[r];
        int64_t at = run.context + t, kh = h / (kHeads / kKeyHeads);
        const int32_t *list = c.listOf(r, at / kPage - run.context / kPage, h);
        bool keepsAll = run.length <= 64 || list[0] == 0;
        const float *query = &c.q[((c.begins[r] + t) * kHeads + h) * kDepth];
        std::vector<double> want(kDepth);
        double sum = 0;
        for (int64_t j = 0; j <= at; ++j) {
          int32_t page = c.tables[r * c.width + j / kPage];
          if (!keepsAll && std::find(list + 1, list + 1 + list[0], page) ==
                               list + 1 + list[0])
            continue;
          double dot = 0;
          for (int64_t d = 0; d < kDepth; ++d)
            dot +=
                double(query[d]) * c.keys[r][(j * kKeyHeads + kh) * kDepth + d];
          double weight = std::exp(dot * spec.scale);
          sum += weight;
          for (int64_t d = 0; d < kDepth; ++d)
            want[d] += weight * c.values[r][(j * kKeyHeads + kh) * kDepth + d];
        }
        for (int64_t d = 0; d < kDepth; ++d)
          ASSERT_NEAR(result[((c.begins[r] + t) * kHeads + h) * kDepth + d],
                      want[d] / sum, 4e-6)
              << "token " << t << " of run " << r << ", head " << h;
      }
}

INSTANTIATE_TEST_SUITE_P(Levels, PagedListed, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
