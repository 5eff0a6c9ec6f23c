//===- SelectPagesTest.cpp - Parts of pages that a token reads ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The three kernels of a step that selects, one after the other as in a model:
// summaries against loops in double, lists against the formula on these
// summaries, and attention against attention in double over what the lists say.
// A run of several tokens gives what its tokens alone do, bit by bit. The file
// is longer than others because all three share one memory and one formula.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/EmitPages.h"
#include "runtime/cache/Record.h"
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

namespace {

class SelectPages : public testing::TestWithParam<std::string> {};

constexpr int64_t kPage = 64, kPart = 16, any = ShapedType::kDynamic;

struct Case {
  int64_t heads = 4, keyHeads = 2, depth = 64, left = -1;
  int recordBits = 0; ///< of pools: 0 for f32, or 8 or 4
  double share = 0.25, softcap = 0;
  int64_t tokens = 0;
  struct Run {
    int64_t context, length;
    std::vector<int64_t> visible = {};
  };
  std::vector<Run> runs;
  float poison = 0; ///< in place of a key of each page

  int64_t width() const {
    return recordBits ? record::widthOf(recordBits == 4, depth) : depth;
  }
};

/// What is in memory: sequence r has its own pages, in no order.
struct Memory {
  std::vector<float> q, keys, values, summaries;
  std::vector<uint8_t> keyBytes, valueBytes;
  std::vector<int32_t> begins = {0}, contexts, tables, lists;
  std::vector<int64_t> visible;
  int64_t pages = 0, width = 0, row = 0;

  explicit Memory(const Case &c) {
    for (const Case::Run &r : c.runs) {
      begins.push_back(begins.back() + int32_t(r.length));
      contexts.push_back(int32_t(r.context));
      width = std::max(width, (r.context + r.length + kPage - 1) / kPage);
      for (int64_t t = 0; t < r.length; ++t)
        visible.push_back(r.visible.empty() ? 0 : r.visible[t]);
    }
    width += 1;
    pages = width * int64_t(c.runs.size()) + 2;
    tables.resize(width * c.runs.size());
    std::vector<int32_t> order(pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    std::copy_n(order.begin(), tables.size(), tables.begin());
    q = randomFloats(begins.back() * c.heads * c.depth, 1);
    for (float &x : q)
      x *= 4;
    size_t count = pages * c.keyHeads * kPage;
    keys = randomFloats(count * c.depth, 2);
    values = randomFloats(count * c.depth, 3);
    // Pages of which some are like each other, as those of texts are.
    for (size_t i = 0; i < keys.size(); ++i)
      keys[i] += randomFloats(1, uint32_t(100 + i / (kPage * c.depth)))[0];
    if (c.poison != 0)
      for (size_t i = 5; i < keys.size(); i += kPage * c.depth)
        keys[i] = c.poison;
    if (c.recordBits) {
      keyBytes.resize(count * c.width());
      valueBytes.resize(count * c.width());
      std::vector<uint8_t> bytes(c.width());
      std::vector<float> numbers(c.depth);
      bool isNibbles = c.recordBits == 4;
      for (size_t head = 0; head < count / kPage; ++head)
        for (int64_t t = 0; t < kPage; ++t) {
          auto keyAt = [&](int64_t d) -> float & {
            return keys[(head * c.depth + d) * kPage + t];
          };
          auto valueAt = [&](int64_t d) -> float & {
            return values[(head * kPage + t) * c.depth + d];
          };
          for (int64_t d = 0; d < c.depth; ++d)
            numbers[d] = keyAt(d);
          record::pack(isNibbles, numbers.data(), c.depth, bytes.data());
          for (int64_t w = 0; w < c.width(); ++w)
            keyBytes[(head * c.width() + w) * kPage + t] = bytes[w];
          for (int64_t d = 0; d < c.depth; ++d)
            keyAt(d) = record::numberOf(isNibbles, bytes.data(), 1, c.depth, d);
          for (int64_t d = 0; d < c.depth; ++d)
            numbers[d] = valueAt(d);
          record::pack(isNibbles, numbers.data(), c.depth, bytes.data());
          std::copy(bytes.begin(), bytes.end(),
                    valueBytes.begin() + (head * kPage + t) * c.width());
          for (int64_t d = 0; d < c.depth; ++d)
            valueAt(d) =
                record::numberOf(isNibbles, bytes.data(), 1, c.depth, d);
        }
    }
    summaries.assign(count * ((c.depth + 7) / 8), NAN);
    row = 8 * width + 16;
    lists.assign(c.runs.size() * 16 * c.keyHeads * row, -77);
  }

  float key(const Case &c, int64_t page, int64_t h, int64_t place,
            int64_t d) const {
    return keys[((page * c.keyHeads + h) * c.depth + d) * kPage + place];
  }
};

mlir::Type poolType(mlir::MLIRContext &context, const Case &c) {
  mlir::Builder b(&context);
  if (!c.recordBits)
    return b.getF32Type();
  return c.recordBits == 4 ? b.getIntegerType(8, false)
                           : mlir::Type(b.getI8Type());
}

struct Tensors {
  JitTensor q, keys, values, begins, contexts, visible, tables, summaries,
      lists;
  Tensors(const Case &c, Memory &m)
      : q(m.q.data(), {1, m.begins.back(), c.heads, c.depth}),
        keys(c.recordBits ? (const void *)m.keyBytes.data() : m.keys.data(),
             {m.pages, c.keyHeads, c.width(), kPage}),
        values(c.recordBits ? (const void *)m.valueBytes.data()
                            : m.values.data(),
               {m.pages, c.keyHeads, kPage, c.width()}),
        begins(m.begins.data(), {int64_t(m.begins.size())}),
        contexts(m.contexts.data(), {int64_t(m.contexts.size())}),
        visible(m.visible.data(), {int64_t(m.visible.size())}),
        tables(m.tables.data(), {int64_t(m.contexts.size()), m.width}),
        summaries(m.summaries.data(),
                  {m.pages, c.keyHeads, kPage, (c.depth + 7) / 8}),
        lists(m.lists.data(),
              {16 * int64_t(m.contexts.size()), c.keyHeads, m.row}) {}
};

struct Kernels {
  std::unique_ptr<KernelJit> summarize, select, partials, merge;
};

/// Those of the case, built once.
const Kernels &kernelsOf(const std::string &level, const Case &c) {
  using namespace cpu;
  static std::map<std::string, Kernels> all;
  std::string key = level;
  for (double part :
       {double(c.heads), double(c.keyHeads), double(c.depth), double(c.left),
        double(c.recordBits), c.share, c.softcap, double(c.tokens)})
    key += "/" + std::to_string(part);
  Kernels &kernels = all[key];
  if (kernels.merge)
    return kernels;
  auto types = [&](mlir::MLIRContext &context) {
    mlir::Builder b(&context);
    struct {
      mlir::Type f32, i32, i64, pool;
    } t = {b.getF32Type(), b.getI32Type(), b.getI64Type(),
           poolType(context, c)};
    return t;
  };
  kernels.summarize.reset(new KernelJit(
      level,
      [&](mlir::MLIRContext &context) {
        auto t = types(context);
        auto pool =
            contiguous(t.f32, {any, c.keyHeads, kPage, (c.depth + 7) / 8});
        pool.mayAlias = true;
        return KernelLayout{
            {contiguous(t.pool, {any, c.keyHeads, c.width(), kPage}),
             contiguous(t.i32, {any}), contiguous(t.i32, {any}),
             contiguous(t.i32, {any, any}), pool, pool}};
      },
      [&](KernelBuilder &kb) { return emitSummarizePages(kb); },
      /*keepAssembly=*/true));
  kernels.select.reset(new KernelJit(
      level,
      [&](mlir::MLIRContext &context) {
        auto t = types(context);
        return KernelLayout{
            {contiguous(t.f32, {1, any, c.heads, c.depth}),
             contiguous(t.f32, {any, c.keyHeads, kPage, (c.depth + 7) / 8}),
             contiguous(t.i32, {any}), contiguous(t.i32, {any}),
             contiguous(t.i64, {any}), contiguous(t.i32, {any, any}),
             contiguous(t.i32, {any, c.keyHeads, any})}};
      },
      [&](KernelBuilder &kb) {
        return emitSelectPages(kb, {0.125, c.share, c.tokens, c.left});
      },
      /*keepAssembly=*/true));
  auto attention = [&](bool partials) {
    return new KernelJit(
        level,
        [&](mlir::MLIRContext &context) {
          auto t = types(context);
          KernelLayout layout{
              {contiguous(t.f32, {1, any, c.heads, c.depth}),
               contiguous(t.pool, {any, c.keyHeads, c.width(), kPage}),
               contiguous(t.pool, {any, c.keyHeads, kPage, c.width()}),
               contiguous(t.i32, {any}), contiguous(t.i32, {any}),
               contiguous(t.i64, {any}), contiguous(t.i32, {any, any})}};
          auto lists = contiguous(t.i32, {any, c.keyHeads, any});
          auto parts = contiguous(t.f32, {any, c.heads, any});
          if (!partials)
            layout.operands.push_back(parts);
          layout.operands.push_back(lists);
          layout.operands.push_back(
              partials ? parts : contiguous(t.f32, {1, any, c.heads, c.depth}));
          return layout;
        },
        [&](KernelBuilder &kb) {
          PagedSpec spec;
          spec.scale = 0.125;
          spec.left = c.left;
          spec.softcap = c.softcap;
          spec.hasSelected = true;
          spec.isPartials = partials;
          spec.hasPartials = !partials;
          return emitPagedAttention(kb, spec);
        },
        /*keepAssembly=*/true);
  };
  kernels.partials.reset(attention(true));
  kernels.merge.reset(attention(false));
  for (const auto &jit :
       {&kernels.summarize, &kernels.select, &kernels.partials, &kernels.merge})
    EXPECT_TRUE((*jit)->ok()) << (*jit)->error();
  EXPECT_EQ("", checkInnerLoops(kernels.select->assembly()));
  // Decoding records of few bits needs more than 16 registers.
  const std::string &text = kernels.summarize->assembly();
  EXPECT_EQ(std::string::npos, checkInnerLoops(text).find("call in a loop"));
  EXPECT_NE(std::string::npos, text.find("vmaxps"));
  return kernels;
}

std::vector<float> runKernels(const std::string &level, const Case &c,
                              Memory &m, int64_t pieces) {
  const Kernels &kernels = kernelsOf(level, c);
  Tensors t(c, m);
  int64_t runs = c.runs.size(), tokens = m.begins.back();
  int64_t row = (c.depth + 2 + 15) / 16 * 16,
          partialRow = row / 8 * m.width + row;
  std::vector<float> parts(runs * c.heads * partialRow, NAN);
  std::vector<float> result(tokens * c.heads * c.depth, -77);
  JitTensor p(parts.data(), {runs, c.heads, partialRow});
  JitTensor out(result.data(), {1, tokens, c.heads, c.depth});
  auto launch = [&](const KernelJit &jit, std::vector<JitTensor> tensors) {
    jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
  };
  launch(*kernels.summarize,
         {t.keys, t.begins, t.contexts, t.tables, t.summaries, t.summaries});
  launch(*kernels.select, {t.q, t.summaries, t.begins, t.contexts, t.visible,
                           t.tables, t.lists});
  std::vector<JitTensor> first = {t.q,        t.keys,    t.values, t.begins,
                                  t.contexts, t.visible, t.tables};
  std::vector<JitTensor> second = first;
  first.insert(first.end(), {t.lists, p});
  second.insert(second.end(), {p, t.lists, out});
  launch(*kernels.partials, first);
  launch(*kernels.merge, second);
  return result;
}

/// As the text of ferrite.summarize_pages says, of all full pages.
void checkSummaries(const Case &c, const Memory &m) {
  for (size_t r = 0; r < c.runs.size(); ++r) {
    const Case::Run &run = c.runs[r];
    int64_t first = std::max<int64_t>(run.context / kPage - 1, 0);
    for (int64_t i = first; i < (run.context + run.length) / kPage; ++i)
      for (int64_t h = 0; h < c.keyHeads; ++h) {
        int64_t page = m.tables[r * m.width + i];
        const float *at =
            &m.summaries[(page * c.keyHeads + h) * kPage * ((c.depth + 7) / 8)];
        for (int64_t part = 0; part < 4; ++part)
          for (int64_t d = 0; d < c.depth; ++d) {
            double sum = 0, low = INFINITY, high = -INFINITY;
            for (int64_t t = part * kPart; t < (part + 1) * kPart; ++t) {
              double key = m.key(c, page, h, t, d);
              sum += key;
              low = std::min(low, key);
              high = std::max(high, key);
            }
            ASSERT_NEAR(sum / kPart, at[2 * part * c.depth + d], 1e-6);
            ASSERT_NEAR((high - low) / 2, at[(2 * part + 1) * c.depth + d],
                        1e-6);
          }
      }
  }
}

/// All pages of the sequences summarized, as calls before would have.
void fillSummaries(const Case &c, Memory &m) {
  for (int64_t head = 0; head < m.pages * c.keyHeads; ++head)
    for (int64_t part = 0; part < 4; ++part)
      for (int64_t d = 0; d < c.depth; ++d) {
        float sum = 0, low = INFINITY, high = -INFINITY;
        for (int64_t t = part * kPart; t < (part + 1) * kPart; ++t) {
          float key = m.keys[(head * c.depth + d) * kPage + t];
          sum += key;
          low = std::min(low, key);
          high = std::max(high, key);
        }
        float *at = &m.summaries[head * kPage * ((c.depth + 7) / 8)];
        at[2 * part * c.depth + d] = sum / kPart;
        at[(2 * part + 1) * c.depth + d] = (high - low) / 2;
      }
}

/// The lists by the formula, and attention over what the kernel's lists say.
/// A kernel's list may differ where scores differ by rounding alone: then what
/// it took must score as much as what it left, but for 1e-4 of it.
void check(const std::string &level, const Case &c) {
  Memory m(c);
  fillSummaries(c, m);
  std::vector<float> result = runKernels(level, c, m, 1);
  if (c.poison == 0)
    checkSummaries(c, m);
  int64_t group = c.heads / c.keyHeads;
  for (size_t r = 0; r < c.runs.size(); ++r) {
    const Case::Run &run = c.runs[r];
    for (int64_t t = 0; t < run.length; ++t) {
      int64_t token = m.begins[r] + t;
      uint64_t bits = uint64_t(m.visible[token]);
      auto sees = [&](int64_t u) {
        return bits == 0 ? u <= t : (bits >> u & 1) != 0;
      };
      int64_t index = run.context;
      for (int64_t u = 0; u < t; ++u)
        index += sees(u);
      int64_t end = (run.context + run.length + kPage - 1) / kPage * 4;
      int64_t first =
          c.left < 0 ? 0 : std::max<int64_t>(index - c.left, 0) / kPart;
      int64_t own = (bits == 0 ? index : run.context) / kPage * 4;
      int64_t count = std::max<int64_t>(own - first, 0);
      int64_t seen = index / kPart + 1 - first;
      int64_t most = c.tokens ? (c.tokens + kPart - 1) / kPart
                              : int64_t(std::ceil(float(c.share) * seen));
      int64_t keep = std::max<int64_t>(most, 12) - (seen - count);
      keep = std::min(count, std::max<int64_t>(keep, 4));
      bool selects = run.length <= 16;
      for (int64_t k = 0; k < c.keyHeads; ++k) {
        std::vector<char> isRead(end, !selects);
        if (selects) {
          const int32_t *list =
              &m.lists[((r * 16 + t) * c.keyHeads + k) * m.row];
          ASSERT_EQ(first + count - keep, list[0]);
          // Back from entries to parts of the sequence.
          int64_t from = first;
          for (int64_t i = 0; i < keep + end - std::max(own, first); ++i) {
            auto entryOf = [&](int64_t part) {
              return m.tables[r * m.width + part / 4] * 4 + part % 4;
            };
            while (from < end && entryOf(from) != list[16 + i])
              ++from;
            ASSERT_LT(from, end) << "an entry is none, or not in order";
            isRead[from++] = 1;
          }
          for (int64_t i = 0; i < std::min<int64_t>(count, 4); ++i)
            EXPECT_TRUE(isRead[first + i]);
          std::vector<double> scores(count);
          for (int64_t g = 0; g < group; ++g) {
            std::vector<double> guesses(count);
            double total = 0, top = -INFINITY;
            for (int64_t i = 0; i < count; ++i) {
              int64_t page = m.tables[r * m.width + (first + i) / 4];
              const float *at = &m.summaries[(page * c.keyHeads + k) * kPage *
                                                 ((c.depth + 7) / 8) +
                                             (first + i) % 4 * 2 * c.depth];
              for (int64_t d = 0; d < c.depth; ++d) {
                double q = m.q[(token * c.heads + k * group + g) * c.depth + d];
                guesses[i] +=
                    0.125 * (q * at[d] + std::abs(q) / 2 * at[c.depth + d]);
              }
              top = std::max(top, guesses[i]);
            }
            for (double &guess : guesses)
              total += guess = std::exp(guess - top);
            for (int64_t i = 0; i < count; ++i)
              scores[i] += guesses[i] / total;
          }
          double worst = INFINITY, best = 0;
          for (int64_t i = 4; i < count; ++i)
            if (isRead[first + i])
              worst = std::min(worst, scores[i]);
            else
              best = std::max(best, scores[i]);
          if (c.poison == 0 && keep > 4) {
            EXPECT_GE(worst, best * (1 - 1e-4)) << "token " << t;
          }
        }
        for (int64_t h = k * group; h < (k + 1) * group; ++h) {
          double total = 0;
          std::vector<double> sums(c.depth);
          for (int64_t j = 0; j < run.context + run.length; ++j) {
            int64_t place = j;
            if (j >= run.context) {
              place = run.context;
              for (int64_t u = 0; u < j - run.context; ++u)
                place += sees(u);
            }
            if (!isRead[j / kPart] ||
                (j >= run.context && !sees(j - run.context)) ||
                (c.left >= 0 && place < index - c.left))
              continue;
            int64_t page = m.tables[r * m.width + j / kPage];
            double score = 0;
            for (int64_t d = 0; d < c.depth; ++d)
              score += double(m.q[(token * c.heads + h) * c.depth + d]) *
                       m.key(c, page, k, j % kPage, d);
            score *= 0.125;
            if (c.softcap != 0)
              score = c.softcap * std::tanh(score / c.softcap);
            double weight = std::exp(score);
            total += weight;
            for (int64_t d = 0; d < c.depth; ++d)
              sums[d] +=
                  weight *
                  m.values[((page * c.keyHeads + k) * kPage + j % kPage) *
                               c.depth +
                           d];
          }
          for (int64_t d = 0; d < c.depth && c.poison == 0; ++d)
            ASSERT_NEAR(sums[d] / total,
                        result[(token * c.heads + h) * c.depth + d], 2e-5)
                << "run " << r << ", token " << t << ", head " << h;
        }
      }
    }
  }
  if (c.poison != 0)
    return; // NaNs are not equal
  Memory again(c);
  fillSummaries(c, again);
  EXPECT_EQ(result, runKernels(level, c, again, 5)) << "in pieces";
}

Case decode(std::vector<int64_t> contexts) {
  Case c;
  for (int64_t context : contexts)
    c.runs.push_back({context, 1});
  return c;
}

TEST_P(SelectPages, Contexts) {
  check(GetParam(), decode({0, 63, 64, 191, 192, 255, 256, 700}));
  check(GetParam(), decode({511, 512, 1023, 2100}));
}

TEST_P(SelectPages, Budgets) {
  for (double share : {0.01, 1.0}) {
    Case c = decode({900, 1500});
    c.share = share;
    check(GetParam(), c);
  }
  for (int64_t tokens : {500, 100000}) {
    Case c = decode({900, 1500});
    c.share = 0;
    c.tokens = tokens;
    check(GetParam(), c);
  }
}

TEST_P(SelectPages, Shapes) {
  for (auto [heads, keyHeads, depth] :
       {std::tuple<int64_t, int64_t, int64_t>{5, 1, 64},
        {2, 2, 16},
        {3, 1, 72},
        {2, 1, 256}}) {
    Case c = decode({70, 800});
    c.heads = heads;
    c.keyHeads = keyHeads;
    c.depth = depth;
    check(GetParam(), c);
  }
}

TEST_P(SelectPages, WindowsAndSoftcap) {
  for (int64_t left : {256, 600}) {
    Case c = decode({100, 1000, 1490});
    c.left = left;
    c.runs.push_back({1000, 7});
    check(GetParam(), c);
  }
  Case c = decode({1000});
  c.softcap = 5;
  check(GetParam(), c);
}

TEST_P(SelectPages, Records) {
  for (int bits : {8, 4}) {
    Case c = decode({100, 900});
    c.recordBits = bits;
    c.runs.push_back({950, 20});
    check(GetParam(), c);
  }
}

/// Short runs select, token by token; long ones read all.
TEST_P(SelectPages, Runs) {
  Case c = decode({800});
  c.runs.push_back({1000, 16});
  c.runs.push_back({1000, 17});
  c.runs.push_back({600, 0});
  c.runs.push_back({1020, 8}); // over the end of a page
  c.runs.push_back({700, 5, {1, 3, 5, 9, 19}});
  c.runs.push_back({0, 200});
  check(GetParam(), c);
}

/// A run of guesses gives the bits that its tokens give one by one.
TEST_P(SelectPages, RunsAreTokens) {
  Case whole;
  whole.runs = {{1020, 8}};
  Memory m(whole);
  fillSummaries(whole, m);
  std::vector<float> together = runKernels(GetParam(), whole, m, 1);
  int64_t row = whole.heads * whole.depth;
  for (int64_t t = 0; t < 8; ++t) {
    Case one;
    one.runs = {{1020 + t, 1}};
    Memory alone(whole);
    fillSummaries(whole, alone);
    alone.begins = {0, 1};
    alone.contexts = {int32_t(1020 + t)};
    alone.q =
        std::vector<float>(m.q.begin() + t * row, m.q.begin() + (t + 1) * row);
    alone.visible = {0};
    EXPECT_EQ(std::vector<float>(together.begin() + t * row,
                                 together.begin() + (t + 1) * row),
              runKernels(GetParam(), one, alone, 1))
        << t;
  }
}

/// Keys that are no numbers: lists are lists all the same.
TEST_P(SelectPages, NoNumbers) {
  for (float poison : {NAN, -NAN, INFINITY, -INFINITY, 3e38f}) {
    Case c = decode({900, 2000});
    c.poison = poison;
    check(GetParam(), c);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, SelectPages, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
