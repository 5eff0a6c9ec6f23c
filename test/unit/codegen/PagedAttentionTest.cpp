//===- PagedAttentionTest.cpp - Paged attention against doubles -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The file is longer than others because each way to see a part of the keys is
// one more case of the same kernel.
//
// Decodes, chunks and trees over scattered pages against the formula in double,
// and the promise on bits: how a sequence is cut into runs, what else is in the
// call, and how units are dealt out change no bit of a token's result.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/PagedCase.h"

#include "gtest/gtest.h"

#include <array>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

namespace {

class PagedAttention : public testing::TestWithParam<std::string> {
protected:
  /// Both ways, in one piece and in several: near the reference, one way and
  /// cut as the other.
  void check(const PagedCase &c, double tolerance, const std::string &what) {
    std::vector<float> whole = run(GetParam(), c, true, 1);
    EXPECT_LT(worst(whole, reference(c)), tolerance) << what;
    EXPECT_EQ(whole, run(GetParam(), c, true, 5)) << what << ", in pieces";
    EXPECT_EQ(whole, run(GetParam(), c, false, 3)) << what << ", not split";
  }
};

PagedCase decode(std::vector<int64_t> contexts) {
  PagedCase c;
  c.spec.scale = 0.125;
  for (int64_t context : contexts)
    c.runs.push_back({uint32_t(c.runs.size() + 1), context, 1, {}});
  return c;
}

// Every edge of pages and blocks. 3e-6: 64 products in f32, times 1/8.
TEST_P(PagedAttention, Contexts) {
  check(decode({0, 1, 15, 16, 62, 63, 64, 65, 127, 200}), 3e-6, "short");
  check(decode({510, 511, 512, 513, 575, 576, 1023, 1024, 1500}), 3e-6, "long");
  check(decode({4097}), 3e-6, "one");
}

TEST_P(PagedAttention, Groups) {
  for (auto [heads, keyHeads] : {std::pair<int64_t, int64_t>{1, 1},
                                 {6, 2},
                                 {4, 1},
                                 {7, 1},
                                 {16, 1},
                                 {71, 1}}) {
    PagedCase c = decode({0, 70, 600});
    c.heads = heads;
    c.keyHeads = keyHeads;
    c.runs.push_back({9, 100, 5, {}});
    check(c, 3e-6, std::to_string(heads) + "/" + std::to_string(keyHeads));
  }
}

TEST_P(PagedAttention, Depths) {
  for (auto [depth, valueDepth] : {std::pair<int64_t, int64_t>{16, 16},
                                   {80, 80},
                                   {72, 40},
                                   {3, 5},
                                   {192, 128},
                                   {256, 256}}) {
    PagedCase c = decode({5, 300});
    c.heads = 4;
    c.depth = depth;
    c.valueDepth = valueDepth;
    c.runs.push_back({9, 60, 70, {}});
    check(c, 1e-5, std::to_string(depth) + ", " + std::to_string(valueDepth));
  }
}

TEST_P(PagedAttention, Chunks) {
  for (auto [context, length] : {std::pair<int64_t, int64_t>{0, 2},
                                 {0, 47},
                                 {0, 200},
                                 {0, 700},
                                 {63, 2},
                                 {100, 64},
                                 {500, 30},
                                 {512, 385},
                                 {1000, 100}}) {
    PagedCase c = decode({});
    c.heads = 2;
    c.keyHeads = 1;
    c.runs.push_back({3, context, length, {}});
    check(c, 3e-6, std::to_string(context) + "+" + std::to_string(length));
  }
}

TEST_P(PagedAttention, Mixes) {
  PagedCase c = decode({5, 800});
  c.runs.push_back({3, 130, 67, {}});
  c.runs.push_back({4, 64, 0, {}});
  c.runs.push_back({5, 700, 1, {}});
  c.runs.push_back({6, 0, 520, {}});
  c.runs.push_back({7, 1030, 4, {}});
  c.spareTable = 5;
  check(c, 3e-6, "mix");
}

TEST_P(PagedAttention, Windows) {
  for (int64_t left : {0, 1, 40, 64, 511, 600}) {
    PagedCase c = decode({0, 39, 40, 41, 130, 1300});
    c.spec.left = left;
    c.runs.push_back({8, 500, 130, {}});
    c.runs.push_back({9, 0, 250, {}});
    check(c, 3e-6, std::to_string(left));
  }
}

// Parts of a sequence: those before a token, those behind one but for the last,
// and the last of them. A part may hold nothing.
TEST_P(PagedAttention, Parts) {
  struct Part {
    int64_t left, from, until, gap;
  };
  for (Part part :
       {Part{-1, 4, 0, 64}, Part{-1, 0, 4, 0}, Part{63, 4, 0, 0},
        Part{-1, 600, 0, 100}, Part{-1, 0, 600, 0}, Part{99, 600, 0, 0},
        Part{-1, 0, 0, 512}, Part{700, 70, 0, 64}, Part{-1, 64, 512, 0}}) {
    PagedCase c = decode({0, 1, 3, 4, 5, 63, 64, 130, 511, 512, 1300});
    c.spec.left = part.left;
    c.spec.from = part.from;
    c.spec.until = part.until;
    c.spec.gap = part.gap;
    c.runs.push_back({11, 500, 130, {}});
    c.runs.push_back({12, 0, 720, {}});
    c.runs.push_back({13, 2, 4, {1, 3, 5, 13}});
    c.runs.push_back({14, 598, 4, {1, 3, 5, 13}});
    check(c, 3e-6,
          std::to_string(part.left) + " " + std::to_string(part.from) + " " +
              std::to_string(part.until) + " " + std::to_string(part.gap));
  }
}

// A root with branches, siblings that do not see each other, and a block whose
// tokens all see each other; bits behind the run mean nothing.
TEST_P(PagedAttention, Trees) {
  for (int64_t context : {0, 37, 60, 500, 511}) {
    PagedCase c = decode({3});
    c.heads = 4;
    c.runs.push_back({2, context, 5, {1, 3, 5, 11, 21}});
    c.runs.push_back({3, context, 64, std::vector<int64_t>(64, -1)});
    c.runs.push_back({4, context, 3, {0, 2, 7 | int64_t(1) << 40}});
    c.runs.push_back({5, context, 1, {1}});
    check(c, 3e-6, std::to_string(context));
    c.spec.left = 20;
    check(c, 3e-6, std::to_string(context) + " in a window");
  }
}

TEST_P(PagedAttention, Addends) {
  for (bool sinks : {false, true})
    for (double softcap : {0.0, 3.0})
      for (auto [slopes, bias] :
           {std::pair{true, false}, {false, true}, {true, true}}) {
        PagedCase c = decode({0, 40, 700});
        c.heads = 4;
        c.runs.push_back({8, 100, 70, {}});
        c.runs.push_back({9, 61, 3, {5, 7, 4}});
        c.spec.hasSinks = sinks;
        c.spec.softcap = softcap;
        c.spec.hasSlopes = slopes;
        c.spec.hasBias = bias;
        check(c, 1e-5, "addends");
      }
}

// Distances are those on a token's way, and so are the bits: branches of a tree
// that lies in one block are as if each were alone.
TEST_P(PagedAttention, TreesAsTheirWays) {
  const std::vector<std::vector<int64_t>> ways = {
      {0}, {0, 1}, {0, 2}, {0, 1, 3}, {0, 2, 4}, {0, 1, 3, 5}};
  for (int64_t context : {0, 61, 500})
    for (int64_t left : {-1, 2, 40})
      for (auto [slopes, bias] : {std::pair{false, false}, {true, true}}) {
        PagedCase c = decode({});
        c.heads = 4;
        c.spec.left = left;
        c.spec.hasSlopes = slopes;
        c.spec.hasBias = bias;
        PagedRun tree{2, context, 6, {}, {}};
        for (int64_t t = 0; t < 6; ++t) {
          int64_t bits = 0;
          for (int64_t on : ways[t])
            bits |= int64_t(1) << on;
          tree.visible.push_back(bits);
          tree.ids.push_back(1000 + t);
        }
        c.runs = {tree};
        check(c, 1e-5, "tree");
        std::vector<float> whole = run(GetParam(), c);
        size_t row = c.heads * c.valueDepth;
        for (size_t t = 0; t < ways.size(); ++t) {
          PagedCase alone = c;
          alone.runs = {{2, context, int64_t(ways[t].size()), {}, {}}};
          for (int64_t on : ways[t])
            alone.runs[0].ids.push_back(1000 + on);
          std::vector<float> way = run(GetParam(), alone);
          EXPECT_EQ(
              0, std::memcmp(&whole[t * row], &way[way.size() - row], row * 4))
              << "token " << t << " behind " << context << ", left " << left;
        }
      }
}

// What moves up to before the window's first page counts as nothing.
TEST_P(PagedAttention, GapsInWindows) {
  PagedCase c = decode({});
  c.spec.left = 2;
  PagedRun run{2, 30, 64, {}, {}};
  int64_t gap = ((int64_t(1) << 31) - 1) | ~((int64_t(1) << 50) - 1);
  for (int64_t t = 0; t < 64; ++t)
    run.visible.push_back(gap & (t == 63 ? -1 : (int64_t(2) << t) - 1));
  for (int64_t t = 31; t < 50; ++t)
    run.visible[t] = int64_t(1) << t;
  c.runs = {run};
  check(c, 3e-6, "gap");
}

TEST_P(PagedAttention, LogSumExp) {
  for (bool sinks : {false, true}) {
    PagedCase c = decode({0, 40, 700});
    c.heads = 4;
    c.runs.push_back({8, 100, 70, {}});
    c.runs.push_back({9, 61, 3, {5, 7, 4}});
    c.spec.hasSinks = sinks;
    c.spec.hasLse = true;
    check(c, 1e-5, "with sums");
  }
}

TEST_P(PagedAttention, Cross) {
  PagedCase c = decode({0, 1, 64, 700});
  c.runs.push_back({8, 65, 30, {}});
  c.runs.push_back({9, 0, 3, {}});
  c.spec.cross = true;
  check(c, 3e-6, "cross");
  c.spec.hasSinks = true;
  check(c, 3e-6, "cross with sinks");
}

TEST_P(PagedAttention, HalfPrecisionPools) {
  for (Storage storage : {Storage::F16, Storage::BF16})
    for (int64_t depth : {64, 72}) {
      PagedCase c = decode({3, 600});
      c.heads = 8;
      c.depth = c.valueDepth = depth;
      c.pool = storage;
      c.runs.push_back({9, 60, 70, {}});
      check(c, 3e-6, std::to_string(depth));
    }
}

// One sequence of 1200 tokens at once, in chunks, among others, token by token.
TEST_P(PagedAttention, Bits) {
  for (int64_t left : {-1, 300}) {
    PagedCase whole = decode({});
    whole.heads = 4;
    whole.spec.left = left;
    whole.spec.hasSinks = true;
    PagedCase none = whole;
    whole.runs = {{1, 0, 1200, {}}};
    std::vector<float> expected = run(GetParam(), whole);
    size_t row = whole.heads * whole.valueDepth;
    auto same = [&](const PagedCase &c, size_t at, size_t token, size_t count) {
      std::vector<float> got = run(GetParam(), c, true, 2);
      EXPECT_EQ(0, std::memcmp(&got[at * row], &expected[token * row],
                               count * row * 4))
          << "tokens " << token << " + " << count;
    };
    for (size_t token : {0, 1, 63, 64, 300, 511, 512, 513, 1023, 1024, 1199}) {
      PagedCase c = none;
      c.runs = {{7, 33, 40, {}}, {1, int64_t(token), 1, {}}, {8, 700, 1, {}}};
      same(c, 40, token, 1);
    }
    for (auto [from, length] : {std::pair<size_t, size_t>{0, 100},
                                {100, 7},
                                {107, 420},
                                {527, 2},
                                {529, 671}}) {
      PagedCase c = none;
      c.runs = {{1, int64_t(from), int64_t(length), {}}, {7, 9, 1, {}}};
      same(c, 0, from, length);
    }
    // A chain of drafts as a tree.
    PagedCase c = none;
    c.runs = {{1, 510, 4, {1, 3, 7, 15}}};
    same(c, 0, 510, 4);
  }
}

// Runs that begin with the same pages, all of them or some blocks, beside each
// other or not: each has the bits of one with pages of its own.
TEST_P(PagedAttention, SharedPages) {
  auto begin = [](PagedCase c, const std::vector<std::array<int64_t, 3>> &of) {
    for (auto [parent, inherited, context] : of) {
      c.runs.push_back({uint32_t(c.runs.size() + 10), context, 1, {}});
      c.runs.back().inherited = inherited;
      c.runs.back().parent = parent;
    }
    return c;
  };
  const std::vector<std::vector<std::array<int64_t, 3>>> families = {
      {{1, 512, 512}, {1, 512, 700}},
      {{1, 1100, 1100}, {1, 1100, 1099}, {1, 511, 900}, {1, 1024, 1023}},
      {{1, 600, 700}, {2, 600, 600}, {1, 600, 800}, {1, 600, 601}},
      {{1, 1500, 1600}, {1, 1500, 1510}, {1, 1100, 1500}, {1, 1500, 1500}},
      {{1, 512, 20}, {1, 512, 512}, {2, 700, 699}, {2, 700, 3000}}};
  for (auto [heads, keyHeads] :
       {std::pair<int64_t, int64_t>{2, 2}, {8, 2}, {15, 1}})
    for (const auto &family : families) {
      PagedCase c = decode({});
      c.heads = heads;
      c.keyHeads = keyHeads;
      c.spec.hasSlopes = heads == 8;
      c = begin(c, family);
      // Longer runs between do not share, and are not mistaken for those.
      if (heads == 15)
        c.runs.insert(c.runs.begin() + 2, {7, 513, 2, {}, {}, 513, 1});
      std::vector<float> expected = run(GetParam(), c);
      c.shares = true;
      check(c, 1e-5, "shared");
      EXPECT_EQ(expected, run(GetParam(), c, true, 3)) << heads;
    }
  // More rows than a tile, of records, and under a window (where none share).
  for (int bits : {0, 8, 4}) {
    PagedCase c = decode({});
    c.heads = 8;
    c.recordBits = bits;
    c = begin(c, std::vector<std::array<int64_t, 3>>(9, {1, 600, 640}));
    c.keyHeads = 1;
    for (int64_t left : {-1, 530}) {
      c.spec.left = left;
      c.shares = false;
      std::vector<float> expected = run(GetParam(), c);
      c.shares = true;
      EXPECT_EQ(expected, run(GetParam(), c, true, 4)) << bits << ", " << left;
    }
  }
  PagedCase c = decode({});
  c.spec.cross = true;
  c.shares = true;
  check(begin(c, {{1, 1024, 1024}, {1, 1024, 1024}, {1, 1024, 700}}), 3e-6,
        "cross");
}

TEST_P(PagedAttention, InnerLoops) {
  for (int64_t heads : {1, 4, 8, 16})
    for (int64_t depth : {64, 128}) {
      PagedCase c = decode({});
      c.heads = heads;
      c.keyHeads = 1;
      c.depth = c.valueDepth = depth;
      for (bool partials : {true, false})
        EXPECT_EQ("",
                  checkInnerLoops(
                      pagedKernel(GetParam(), c, partials, true).assembly()))
            << heads << " heads of " << depth << ", partials " << partials;
    }
}

TEST(PagedAttentionKernel, Refusals) {
  PagedCase c = decode({1});
  c.heads = 300;
  c.keyHeads = 1;
  KernelJit jit(
      hostLevels().front(),
      [&](mlir::MLIRContext &context) {
        mlir::Type f32 = mlir::Float32Type::get(&context);
        cpu::KernelLayout layout;
        for (int i = 0; i < 8; ++i)
          layout.operands.push_back(contiguous(f32, {1, 4, 300, 65}));
        return layout;
      },
      [&](cpu::KernelBuilder &kb) { return emitPagedAttention(kb, c.spec); });
  EXPECT_FALSE(jit.ok());
  EXPECT_NE(jit.error().find("pools of pages"), std::string::npos)
      << jit.error();
}

// Pages of bytes are the f32 pages that their records mean, in decodes, chunks
// and trees; what follows a record that no token has is garbage.
TEST_P(PagedAttention, Records) {
  for (int bits : {8, 4})
    for (auto [depth, valueDepth] :
         {std::pair<int64_t, int64_t>{64, 64}, {32, 96}}) {
      PagedCase c = decode({0, 63, 64, 600, 1025});
      c.heads = 6;
      c.keyHeads = 2;
      c.depth = depth;
      c.valueDepth = valueDepth;
      c.recordBits = bits;
      c.runs.push_back({8, 70, 130, {}});
      c.runs.push_back({9, 500, 3, {1, 3, 5}});
      check(c, 3e-6,
            std::to_string(bits) + " bits of " + std::to_string(depth));
    }
  PagedCase odd = decode({130});
  odd.recordBits = 8;
  odd.depth = 72;
  odd.valueDepth = 5;
  odd.runs.push_back({4, 3, 7, {}});
  check(odd, 3e-6, "odd sizes");
}

INSTANTIATE_TEST_SUITE_P(Levels, PagedAttention,
                         testing::ValuesIn(hostLevels()));

} // namespace
