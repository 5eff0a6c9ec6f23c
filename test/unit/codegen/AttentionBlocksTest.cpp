//===- AttentionBlocksTest.cpp - Attention over lists of blocks -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Random lists against loops over all keys: blocks of every kind of size, rows
// that begin anywhere in the list, all that a dense attention has besides, and
// lists that are none.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

/// Packed and run at that level.
std::vector<float> runListed(const std::string &level, const AttentionCase &c,
                             const AttentionData &d, int64_t pieces) {
  const KernelJit &packer = packerFor(level, c),
                  &kernel = kernelFor(level, c, false, d.layouts);
  std::vector<float> result(c.resultSize(), -77.f);
  std::vector<JitTensor> tensors = d.tensors(c, result);
  if (!packer.ok() || !kernel.ok())
    return result;
  // What is not written has no meaning.
  std::fill(d.panels.begin(), d.panels.end(), NAN);
  packer.runSplit({tensors[1], tensors[2], tensors[tensors.size() - 2]}, 2);
  kernel.runSplit(tensors, std::min(pieces, kernel.units(tensors)));
  return result;
}

class AttentionBlocks : public testing::TestWithParam<std::string> {
protected:
  double worstOf(const AttentionCase &c, const AttentionData &d,
                 int64_t pieces = 3) {
    return worst(runListed(GetParam(), c, d, pieces), reference(c, d));
  }
};

AttentionCase listed(int64_t queries, int64_t keys, int64_t block) {
  AttentionCase c = groupedCase(queries, keys);
  c.spec.block = block;
  return c;
}

/// Lists of `rows` rows that keep so much of `blocks` columns, and always the
/// diagonal.
void fillLists(AttentionData &d, int64_t layouts, int64_t rows, int64_t blocks,
               double density, uint32_t seed = 7) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<std::vector<int32_t>> columns(layouts);
  d.layouts = layouts;
  d.blockRows.clear();
  d.blockColumns.clear();
  size_t most = 0;
  for (std::vector<int32_t> &list : columns) {
    d.blockRows.push_back(0);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t column = 0; column < blocks; ++column)
        if (column == r || unit(random) < density)
          list.push_back(column);
      d.blockRows.push_back(list.size());
    }
    most = std::max(most, list.size());
  }
  // Shorter lists end in what no row is about.
  for (std::vector<int32_t> &list : columns) {
    list.resize(most, -1);
    d.blockColumns.insert(d.blockColumns.end(), list.begin(), list.end());
  }
}

TEST_P(AttentionBlocks, Sizes) {
  for (int64_t block : {16, 64, 80, 512})
    for (int64_t tokens : {1, 63, 200, 700}) {
      AttentionCase c = listed(tokens, tokens, block);
      AttentionData d(c);
      int64_t blocks = (tokens + block - 1) / block;
      fillLists(d, 4, blocks, blocks, 0.3);
      EXPECT_LT(worstOf(c, d), 3e-6) << block << " of " << tokens;
    }
}

TEST_P(AttentionBlocks, CausalBehindAPast) {
  for (auto [queries, keys] :
       {std::pair<int64_t, int64_t>{1, 513}, {1, 64}, {70, 1000}, {200, 777}})
    for (int64_t left : {-1, 130})
      for (int64_t block : {32, 64}) {
        AttentionCase c = listed(queries, keys, block);
        c.spec.right = 0;
        c.spec.left = left;
        c.spec.offset.keys = 1;
        c.spec.offset.queries = -1;
        c.spec.zeroFullyMasked = true;
        AttentionData d(c);
        // More rows and columns than there are keys: one list for all lengths.
        fillLists(d, 2, 20, 40, 0.25);
        EXPECT_LT(worstOf(c, d), 3e-6)
            << queries << " of " << keys << ", left " << left;
      }
}

TEST_P(AttentionBlocks, WithAllElse) {
  AttentionCase c = listed(300, 300, 64);
  c.spec.right = 0;
  c.spec.hasOffsets = c.spec.hasLengths = c.spec.hasSinks = true;
  c.spec.softcap = 5;
  c.addends = {AddendForm::FullMask, AddendForm::FullBias};
  c.fill = -kInf;
  AttentionData d(c);
  d.maskSome(c);
  d.offsets = {0, -70};
  d.lengths = {300, 190};
  fillLists(d, 4, 5, 5, 0.4);
  EXPECT_LT(worstOf(c, d), 3e-6);
  AttentionCase segments = listed(300, 300, 64);
  segments.spec.hasSegments = segments.spec.zeroFullyMasked = true;
  AttentionData e(segments);
  for (int64_t i = 0; i < 600; ++i)
    e.querySegments[i] = e.keySegments[i] = i % 300 / 90;
  fillLists(e, 1, 5, 5, 0.4);
  EXPECT_LT(worstOf(segments, e), 3e-6);
}

/// A row that sees no key of its blocks weighs those outside of the window,
/// with a finite fill: of its blocks.
TEST_P(AttentionBlocks, SoftWindow) {
  AttentionCase c = listed(200, 200, 64);
  c.spec.right = 0;
  c.spec.windowFill = kLowest;
  c.addends = {AddendForm::KeyMask};
  AttentionData d(c);
  for (int64_t j = 0; j < 100; ++j)
    d.mask(c, 1, j);
  fillLists(d, 4, 4, 4, 0.3);
  EXPECT_LT(worstOf(c, d), 3e-6);
}

class ShortBlocks : public AttentionBlocks {};

/// bf16 goes through dots where a level has them, f16 is widened.
TEST_P(ShortBlocks, Storage) {
  for (Storage storage : {Storage::F16, Storage::BF16}) {
    AttentionCase c = listed(150, 333, 64);
    c.spec.right = 0;
    c.spec.offset.keys = 1;
    c.spec.offset.queries = -1;
    AttentionData d(c);
    fillLists(d, 4, 6, 6, 0.3);
    auto narrow = [&](std::vector<float> &values) {
      std::vector<uint16_t> shorts;
      for (float &x : values) {
        uint16_t s = storage == Storage::F16 ? toF16(x) : toBF16(x);
        shorts.push_back(s);
        x = storage == Storage::F16 ? fromF16(s) : fromBF16(s);
      }
      return shorts;
    };
    std::vector<std::vector<uint16_t>> kept;
    for (std::vector<float> *values : {&d.q, &d.k, &d.v})
      kept.push_back(narrow(*values));
    std::vector<double> want = reference(c, d);
    AttentionCase shortCase = c;
    shortCase.storage = storage;
    unsigned i = 0;
    for (std::vector<float> *values : {&d.q, &d.k, &d.v}) {
      std::memcpy(values->data(), kept[i].data(), 2 * kept[i].size());
      ++i;
    }
    std::vector<float> result = runListed(GetParam(), shortCase, d, 2);
    std::vector<float> wide;
    auto *shorts = reinterpret_cast<uint16_t *>(result.data());
    for (size_t at = 0; at < result.size(); ++at)
      wide.push_back(storage == Storage::F16 ? fromF16(shorts[at])
                                             : fromBF16(shorts[at]));
    double tolerance = storage == Storage::F16 ? 2e-3 : 2e-2;
    EXPECT_LT(worst(wide, want), tolerance) << int(storage);
  }
}

/// Lists in disorder; what is no row keeps all blocks. Nothing is read behind
/// the lists.
TEST_P(AttentionBlocks, NoLists) {
  AttentionCase c = listed(260, 260, 64);
  AttentionCase dense = c;
  dense.spec.block = 0;
  AttentionData d(c);
  std::vector<double> all = reference(dense, d);
  auto is = [&](std::vector<int32_t> rows, std::vector<int32_t> columns) {
    d.layouts = 1;
    d.blockRows = rows;
    d.blockColumns = columns;
    std::vector<float> got = runListed(GetParam(), c, d, 2);
    EXPECT_LT(worst(got, reference(c, d)), 3e-6);
    return worst(got, all) < 3e-6;
  };
  EXPECT_FALSE(is({0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 4}));
  // Columns in any order, several times, and some that are none.
  EXPECT_FALSE(is({0, 2, 4, 6, 8, 10}, {1, 0, 2, 2, 3, -1, -2, 4, 4, 3}));
  EXPECT_TRUE(is({0, 6, 12, 18, 24, 30},
                 {4, 3, 2, 0, 1, 1, 0, 1, 2, 3, 4, 4, 1, 0,  3,
                  2, 4, 9, 3, 1, 4, 0, 2, 2, 2, 4, 3, 1, -5, 0}));
  EXPECT_TRUE(is({0, 0, 0, 0, 0, 0}, {0}));
  EXPECT_TRUE(is({9, 3, 2, 1, 0, 0}, {0, 1}));
  EXPECT_TRUE(is({-1, 1 << 30, -5, INT32_MAX, INT32_MIN, 7}, {0, 1}));
  EXPECT_TRUE(is({0, 1, 2, 3, 4, 5}, {5, 9, 1 << 20, INT32_MAX, 77}));
  EXPECT_TRUE(is({0}, {0}));
}

/// The products run from registers, of keys and values packed before, too.
TEST_P(AttentionBlocks, InnerLoops) {
  AttentionCase c = listed(260, 260, 64);
  const KernelJit &kernel = kernelFor(GetParam(), c, false, /*layouts=*/1);
  ASSERT_TRUE(kernel.ok()) << kernel.error();
  // With 16 registers the exponential's constants are on the stack.
  if (GetParam() != "avx2")
    EXPECT_EQ("", checkInnerLoops(kernel.assembly()));
  EXPECT_EQ(std::string::npos, kernel.assembly().find("\tcallq\texp"));
  EXPECT_NE(std::string::npos, kernel.assembly().find("vfmadd231ps"));
}

/// Whatever is computed with it.
TEST_P(AttentionBlocks, SameBits) {
  AttentionCase c = listed(700, 700, 64);
  c.spec.right = 0;
  c.spec.left = 400;
  c.spec.hasOffsets = true;
  AttentionData d(c);
  fillLists(d, 4, 12, 12, 0.6);
  std::vector<float> whole = runListed(GetParam(), c, d, 1);
  EXPECT_EQ(whole, runListed(GetParam(), c, d, 9));
  // The last queries alone, which begin within a row of the list.
  AttentionCase rest = c;
  rest.queries = 333;
  AttentionData e(rest);
  e.k = d.k;
  e.v = d.v;
  e.layouts = d.layouts;
  e.blockRows = d.blockRows;
  e.blockColumns = d.blockColumns;
  e.offsets = {367, 367};
  int64_t row = c.heads * c.depth;
  for (int64_t b = 0; b < 2; ++b)
    std::copy_n(&d.q[(b * 700 + 367) * row], 333 * row, &e.q[b * 333 * row]);
  std::vector<float> part = runListed(GetParam(), rest, e, 2);
  for (int64_t b = 0; b < 2; ++b)
    EXPECT_EQ(0,
              std::memcmp(&part[b * 333 * row], &whole[(b * 700 + 367) * row],
                          333 * row * sizeof(float)));
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionBlocks,
                         testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Levels, ShortBlocks,
                         testing::ValuesIn(hostDotLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
