//===- SelectBlocksTest.cpp - Which blocks of keys are kept ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against loops in doubles that follow the op's text. A block whose share
// decides by a float's rounding may go either way, and no other.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitSelectBlocks.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t kAny = mlir::ShapedType::kDynamic;

struct SelectCase {
  int64_t batch = 1, queries = 200, keys = 200, heads = 4, keyHeads = 2,
          depth = 24;
  SelectBlocksSpec spec;

  int64_t size() const {
    return spec.blocks + 1 + (spec.blocks + 1) * (keys / spec.block + 2);
  }
};

SelectCase selectCase(int64_t queries, int64_t keys) {
  SelectCase c;
  c.queries = queries;
  c.keys = keys;
  c.spec.scale = 0.7;
  c.spec.block = 32;
  c.spec.stride = 8;
  c.spec.blocks = 40;
  c.spec.causal = true;
  c.spec.offset.keys = 1;
  c.spec.offset.queries = -1;
  return c;
}

struct SelectData {
  std::vector<float> q, k, thresholds{0.5, 0.9, 0.98, 2};
  std::vector<uint8_t> mask;
  std::vector<int64_t> offsets, lengths;
  std::vector<int32_t> lists;

  explicit SelectData(const SelectCase &c)
      : q(randomFloats(c.batch * c.queries * c.heads * c.depth, 1)),
        k(randomFloats(c.batch * c.keys * c.keyHeads * c.depth, 2)),
        mask(c.batch * c.keys, 1), offsets(c.batch, 3),
        lengths(c.batch, c.keys - 5) {
    for (float &x : q)
      x *= 3;
    for (int64_t j = 0; j < c.keys; ++j)
      mask[j] = j >= 70 || j < 20;
  }

  std::vector<JitTensor> tensors(const SelectCase &c) {
    lists.assign(c.batch * c.heads * c.size(), -7);
    using Sizes = std::vector<int64_t>;
    std::vector<JitTensor> all = {
        {q.data(), Sizes{c.batch, c.queries, c.heads, c.depth}},
        {k.data(), Sizes{c.batch, c.keys, c.keyHeads, c.depth}},
        {thresholds.data(), Sizes{c.heads}}};
    if (c.spec.hasMask)
      all.emplace_back(mask.data(), Sizes{c.batch, c.keys});
    if (c.spec.hasOffsets)
      all.emplace_back(offsets.data(), Sizes{c.batch});
    if (c.spec.hasLengths)
      all.emplace_back(lengths.data(), Sizes{c.batch});
    all.emplace_back(lists.data(), Sizes{c.batch, c.heads, c.size()});
    return all;
  }
};

/// One kernel for a spec and its heads.
const KernelJit &kernelOf(const std::string &level, const SelectCase &c) {
  static std::map<std::string, std::unique_ptr<KernelJit>> made;
  const SelectBlocksSpec &s = c.spec;
  std::string key = level;
  for (double part : {double(s.block), double(s.stride), double(s.blocks),
                      double(s.left), s.softcap, double(s.causal),
                      double(s.pooled), double(s.hasMask), double(s.hasOffsets),
                      double(s.hasLengths), double(c.depth), double(c.heads)})
    key += " " + std::to_string(part);
  auto &kernel = made[key];
  if (kernel)
    return *kernel;
  kernel = std::make_unique<KernelJit>(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        KernelLayout layout;
        auto rows = [&](int64_t heads) {
          layout.operands.push_back(
              contiguous(b.getF32Type(), {kAny, kAny, heads, c.depth}));
        };
        rows(c.heads);
        rows(c.keyHeads);
        layout.operands.push_back(contiguous(b.getF32Type(), {c.heads}));
        if (s.hasMask)
          layout.operands.push_back(contiguous(b.getI1Type(), {kAny, kAny}));
        for (bool has : {s.hasOffsets, s.hasLengths})
          if (has)
            layout.operands.push_back(contiguous(b.getI64Type(), {kAny}));
        layout.operands.push_back(
            contiguous(b.getI32Type(), {kAny, c.heads, kAny}));
        return layout;
      },
      [&](KernelBuilder &kb) { return emitSelectBlocks(kb, s); },
      /*keepAssembly=*/true);
  EXPECT_TRUE(kernel->ok()) << kernel->error();
  // With 16 registers some invariants lie on the stack.
  std::string problems = checkInnerLoops(kernel->assembly());
  EXPECT_EQ(std::string::npos, problems.find("call in a loop")) << problems;
  if (findCpuLevel(level)->isAvx512()) {
    EXPECT_EQ("", problems);
  }
  EXPECT_NE(std::string::npos, kernel->assembly().find("vfmadd"));
  return *kernel;
}

/// What each block gets of a row, by the text of the op.
std::vector<double> sharesOf(const SelectCase &c, const SelectData &d,
                             int64_t b, int64_t h, int64_t row) {
  const SelectBlocksSpec &s = c.spec;
  int64_t origin = s.offset.constant + s.offset.queries * c.queries +
                   s.offset.keys * c.keys + (s.hasOffsets ? d.offsets[b] : 0);
  int64_t blocks = (c.keys + s.block - 1) / s.block;
  int64_t length = s.hasLengths ? d.lengths[b] : c.keys;
  auto query = [&](int64_t p, int64_t e) -> double {
    int64_t i = p - origin;
    return i < 0 || i >= c.queries
               ? 0
               : d.q[((b * c.queries + i) * c.heads + h) * c.depth + e];
  };
  auto key = [&](int64_t j, int64_t e) -> double {
    int64_t kh = h / (c.heads / c.keyHeads);
    return j >= c.keys
               ? 0
               : d.k[((b * c.keys + j) * c.keyHeads + kh) * c.depth + e];
  };
  std::vector<double> shares(blocks);
  for (int64_t a = row * s.block / s.stride; a < (row + 1) * s.block / s.stride;
       ++a) {
    if (std::min((a + 1) * s.stride, origin + c.queries) <=
        std::max(a * s.stride, origin))
      continue;
    std::vector<double> weights;
    double sum = 0;
    for (int64_t g = 0; g * s.stride < c.keys; ++g) {
      bool counts = false;
      for (int64_t j = g * s.stride; j < std::min(c.keys, (g + 1) * s.stride);
           ++j)
        counts |= j < length && (!s.hasMask || d.mask[b * c.keys + j]);
      counts &= !s.causal || g <= a;
      counts &= s.left < 0 || (g + 1) * s.stride - 1 >= a * s.stride - s.left;
      double dot = 0;
      for (int64_t t = 0; t < s.stride; ++t)
        for (int64_t e = 0; e < c.depth; ++e)
          if (!s.pooled)
            dot += query(a * s.stride + s.stride - 1 - t, e) *
                   key(g * s.stride + t, e);
      for (int64_t e = 0; s.pooled && e < c.depth; ++e) {
        double left = 0, right = 0;
        for (int64_t t = 0; t < s.stride; ++t) {
          left += query(a * s.stride + t, e) / s.stride;
          right += key(g * s.stride + t, e) / s.stride;
        }
        dot += left * right * s.stride;
      }
      double score = dot * s.scale / s.stride;
      if (s.softcap > 0)
        score = s.softcap * std::tanh(score / s.softcap);
      weights.push_back(counts ? std::exp(score) : 0);
      sum += weights.back();
    }
    for (size_t g = 0; g < weights.size() && sum > 0; ++g)
      shares[g * s.stride / s.block] += weights[g] / sum;
  }
  return shares;
}

class SelectBlocks : public testing::TestWithParam<std::string> {
protected:
  /// How many blocks are kept of those seen, after each list is what it may be.
  double check(const SelectCase &c, SelectData &d, int64_t pieces = 3) {
    const KernelJit &kernel = kernelOf(GetParam(), c);
    std::vector<JitTensor> tensors = d.tensors(c);
    if (!kernel.ok())
      return 0;
    kernel.runSplit(tensors, std::min(pieces, kernel.units(tensors)));
    double keptOfAll = 0, seenOfAll = 0;
    const SelectBlocksSpec &s = c.spec;
    int64_t allBlocks = (c.keys + s.block - 1) / s.block,
            blocks = std::min(allBlocks, s.blocks);
    for (int64_t b = 0; b < c.batch; ++b) {
      int64_t origin = s.offset.queries * c.queries + s.offset.keys * c.keys +
                       (s.hasOffsets ? d.offsets[b] : 0);
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t row = origin / s.block;
             row < s.blocks && row * s.block < origin + c.queries; ++row) {
          const int32_t *list = &d.lists[(b * c.heads + h) * c.size()];
          if (!s.causal && allBlocks > s.blocks) {
            EXPECT_EQ(list[row], list[row + 1]);
            continue;
          }
          EXPECT_EQ(list[row], row * blocks);
          EXPECT_EQ(list[row + 1], (row + 1) * blocks);
          const int32_t *entries = list + s.blocks + 1 + list[row];
          int64_t count = s.causal ? std::min(row + 1, blocks) : blocks;
          std::vector<bool> kept(count);
          for (int64_t i = 0; i < blocks; ++i) {
            EXPECT_TRUE(i == 0 || entries[i - 1] < entries[i]) << i;
            EXPECT_TRUE(entries[i] < count || entries[i] >= allBlocks);
            if (entries[i] >= 0 && entries[i] < count)
              kept[entries[i]] = true;
          }
          checkRow(c, d, b, h, row, kept);
          keptOfAll += std::count(kept.begin(), kept.end(), true);
          seenOfAll += count;
        }
    }
    return keptOfAll / seenOfAll;
  }

  void checkRow(const SelectCase &c, const SelectData &d, int64_t b, int64_t h,
                int64_t row, const std::vector<bool> &kept) {
    int64_t count = kept.size(), own = std::min(row, count - 1);
    std::vector<double> shares = sharesOf(c, d, b, h, row);
    double all = std::accumulate(shares.begin(), shares.begin() + count, 0.0);
    auto isFirst = [&](int64_t j) { return j == 0 || j == own; };
    for (int64_t j = 0; j < count; ++j) {
      double before = 0, near = 0;
      for (int64_t i = 0; i < count; ++i) {
        before +=
            i != j && (isFirst(i) || shares[i] > shares[j]) ? shares[i] : 0;
        // Which of two such is first, rounding decides.
        if (i != j && std::abs(shares[i] - shares[j]) < 1e-5 * all)
          near += shares[i] + 1e-5 * all;
      }
      double limit = d.thresholds[h] * all, slack = near + 1e-5 * all;
      if (isFirst(j) || before < limit - slack)
        EXPECT_TRUE(kept[j]) << "row " << row << " of head " << h << ": " << j;
      else if (before > limit + slack)
        EXPECT_FALSE(kept[j]) << "row " << row << " of head " << h << ": " << j;
    }
  }
};

TEST_P(SelectBlocks, Sizes) {
  for (int64_t tokens : {1, 31, 64, 333, 1100}) {
    SelectCase c = selectCase(tokens, tokens);
    SelectData d(c);
    double kept = check(c, d);
    if (tokens > 300) {
      EXPECT_LT(kept, 0.9) << tokens;
      EXPECT_GT(kept, 0.2) << tokens;
    }
  }
}

TEST_P(SelectBlocks, BlocksAndGroups) {
  for (auto [block, stride, pooled] :
       {std::tuple<int64_t, int64_t, bool>{64, 8, false},
        {64, 64, true},
        {16, 2, false},
        {48, 4, true},
        {512, 4, false}}) {
    SelectCase c = selectCase(600, 600);
    c.spec.block = block;
    c.spec.stride = stride;
    c.spec.pooled = pooled;
    SelectData d(c);
    check(c, d);
  }
}

TEST_P(SelectBlocks, BehindAPast) {
  for (auto [queries, keys] :
       {std::pair<int64_t, int64_t>{1, 500}, {70, 523}, {200, 777}})
    for (int64_t left : {-1, 150}) {
      SelectCase c = selectCase(queries, keys);
      c.spec.left = left;
      SelectData d(c);
      check(c, d);
    }
}

TEST_P(SelectBlocks, WithAllElse) {
  SelectCase c = selectCase(300, 400);
  c.batch = 2;
  c.spec.softcap = 2;
  c.spec.hasMask = c.spec.hasOffsets = c.spec.hasLengths = true;
  SelectData d(c);
  d.lengths = {400, 350};
  d.offsets = {0, -100};
  check(c, d);
}

TEST_P(SelectBlocks, BothWays) {
  SelectCase c = selectCase(300, 300);
  c.spec.causal = false;
  SelectData d(c);
  double kept = check(c, d);
  EXPECT_LT(kept, 0.9);
  // More keys than lists are for: all are kept.
  c.spec.blocks = 8;
  check(c, d);
  // A causal row behind the lists has none.
  c.spec.causal = true;
  check(c, d);
}

/// A head's lists are the same bits in any batch and split, and those of a part
/// of the queries that begins with a row are a part of them.
TEST_P(SelectBlocks, SameBits) {
  SelectCase c = selectCase(448, 448);
  SelectData d(c);
  check(c, d, 1);
  std::vector<int32_t> whole = d.lists;
  check(c, d, 7);
  EXPECT_EQ(d.lists, whole);

  SelectCase two = c;
  two.batch = 2;
  SelectData both(two);
  std::copy(d.q.begin(), d.q.end(), both.q.begin() + d.q.size());
  std::copy(d.k.begin(), d.k.end(), both.k.begin() + d.k.size());
  check(two, both);
  EXPECT_TRUE(std::equal(whole.begin(), whole.end(),
                         both.lists.begin() + whole.size()));

  SelectCase part = c;
  part.queries = 128;
  SelectData last(part);
  last.k = d.k;
  int64_t skipped = (c.queries - part.queries) * c.heads * c.depth;
  std::copy(d.q.begin() + skipped, d.q.end(), last.q.begin());
  check(part, last);
  int64_t blocks = c.keys / c.spec.block, from = 320 / c.spec.block * blocks;
  for (int64_t h = 0; h < c.heads; ++h)
    for (int64_t i = from; i < blocks * blocks; ++i) {
      int64_t at = h * c.size() + c.spec.blocks + 1 + i;
      EXPECT_EQ(last.lists[at], whole[at]);
    }
}

INSTANTIATE_TEST_SUITE_P(Levels, SelectBlocks, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
