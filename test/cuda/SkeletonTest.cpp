//===- SkeletonTest.cpp - Products and attention of tensor cores ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The skeletons on the emulated machine, against sums in double: sizes that are
// no multiple of anything, rows that begin at no multiple of 16 bytes.
//
//===----------------------------------------------------------------------===//
#include "SkeletonTest.h"

#include "ferrite/attention_mma.cuh"
#include "ferrite/blocks.cuh"
#include "ferrite/paged.cuh"
#include "ferrite/product_mma.cuh"

extern "C" {
FerriteMachine *ferriteMachine;
}

std::function<void()> kernel;

void launch(unsigned grid, unsigned threads, size_t sharedBytes) {
  EXPECT_EQ("", emulateLaunch({[] { kernel(); }, grid, threads, sharedBytes,
                               nullptr, &ferriteMachine}));
}

using namespace ferrite;

/// Where lib/Support/PanelLayout.h puts element (k, n).
static size_t place(i64 k, i64 n, i64 depth, i64 columns, i64 group) {
  i64 stored = (depth + group - 1) / group * group, panel = n / 64;
  i64 width = std::min<i64>(64, (columns - panel * 64 + 15) / 16 * 16);
  return size_t(panel * stored * 64 + k / group * group * width +
                n % 64 * group + k % group);
}

static size_t panelElements(i64 depth, i64 columns, i64 group) {
  return size_t((depth + group - 1) / group * group * ((columns + 15) / 16) *
                16);
}

/// The error of an m x n product of depth k by tiles of M_TILE x N_TILE.
template <class T, int GROUP, int M_TILE, int N_TILE, int WARPS_M>
static double productError(i64 m, i64 k, i64 n) {
  std::vector<T> x = normal<T>(size_t(m * k), 1), w(panelElements(k, n, GROUP));
  std::vector<T> plain = normal<T>(size_t(k * n), 2);
  for (i64 i = 0; i < k; ++i)
    for (i64 j = 0; j < n; ++j)
      w[place(i, j, k, n, GROUP)] = plain[size_t(i * n + j)];
  std::vector<float> y(size_t(m * n));
  const i64 across = (n + N_TILE - 1) / N_TILE;
  kernel = [&] {
    const MmaProduct<T, T, float, GROUP, M_TILE, N_TILE, WARPS_M, 4> product = {
        x.data(),
        m,
        k,
        w.data(),
        k,
        n,
        block() / across * M_TILE,
        block() % across * N_TILE,
        k % 8 == 0};
    product.run([&](i64 i, i64 j, float sum) { y[size_t(i * n + j)] = sum; });
  };
  launch(unsigned((m + M_TILE - 1) / M_TILE * across), 256,
         4 * (M_TILE + N_TILE) * 64);
  std::vector<double> want(y.size());
  for (i64 i = 0; i < m; ++i)
    for (i64 l = 0; l < k; ++l)
      for (i64 j = 0; j < n; ++j)
        want[size_t(i * n + j)] +=
            double(x[size_t(i * k + l)]) * double(plain[size_t(l * n + j)]);
  return relative(want, y);
}

TEST(MmaProduct, pairs) {
  EXPECT_LT((productError<bf16, 2, 128, 128, 2>(100, 64, 192)), 1e-6);
  EXPECT_LT((productError<bf16, 2, 16, 64, 1>(9, 96, 80)), 1e-6);
  EXPECT_LT((productError<bf16, 2, 128, 128, 2>(33, 37, 100)), 1e-6);
}

TEST(MmaProduct, rows_of_halves) {
  EXPECT_LT((productError<f16, 1, 128, 128, 2>(130, 72, 208)), 1e-6);
  EXPECT_LT((productError<f16, 1, 16, 64, 1>(17, 40, 96)), 1e-6);
  EXPECT_LT((productError<f16, 1, 16, 64, 1>(5, 37, 70)), 1e-6);
}

TEST(MmaProduct, bytes_are_exact) {
  const i64 m = 70, k = 93, n = 144;
  std::mt19937 engine(3);
  std::vector<u8> x(size_t(m * k));
  std::vector<i8> w(panelElements(k, n, 4)), plain(size_t(k * n));
  for (u8 &value : x)
    value = u8(engine());
  for (i64 i = 0; i < k; ++i)
    for (i64 j = 0; j < n; ++j)
      w[place(i, j, k, n, 4)] = plain[size_t(i * n + j)] = i8(engine());
  std::vector<int> y(size_t(m * n)), want(y.size());
  kernel = [&] {
    const MmaProduct<u8, i8, int, 4, 128, 128, 2, 4> product = {
        x.data(), m, k, w.data(), k, n, 0, block() * 128, false};
    product.run([&](i64 i, i64 j, int sum) { y[size_t(i * n + j)] = sum; });
  };
  launch(2, 256, 4 * 256 * 64);
  for (i64 i = 0; i < m; ++i)
    for (i64 l = 0; l < k; ++l)
      for (i64 j = 0; j < n; ++j)
        want[size_t(i * n + j)] +=
            x[size_t(i * k + l)] * plain[size_t(l * n + j)];
  EXPECT_EQ(want, y);
}

/// Causal attention of one head over its own `tokens`.
template <int D>
static double attentionError(i64 tokens, bool aligned) {
  auto q = normal<f16>(size_t(tokens * D), 4),
       k = normal<f16>(size_t(tokens * D), 5),
       v = normal<f16>(size_t(tokens * D), 6);
  std::vector<float> y(size_t(tokens * D));
  kernel = [&] {
    const i64 first = block() * 64;
    const int count = int(std::min<i64>(64, tokens - first));
    attentionMma<f16, D, D>(
        count, 0, first + count, 0.0f, -FERRITE_INFINITY, aligned,
        [&](int row) { return q.data() + (first + row) * D; },
        [&](i64 key) { return k.data() + key * D; },
        [&](i64 key) { return v.data() + key * D; },
        [&](i64 row, i64 key, float product) {
          return key <= first + row ? product * 0.125f : -FERRITE_INFINITY;
        },
        [](int) { return -FERRITE_INFINITY; },
        [&](int row, int d, float value) {
          y[size_t((first + row) * D + d)] = value;
        },
        EveryTile());
  };
  launch(unsigned((tokens + 63) / 64), 128, size_t(2 * 64 * 5 * (D + 8)));
  return relative(causalAttention(q, k, v, tokens, D, D), y);
}

// Weights are rounded to 11 bits before they meet the values.
TEST(AttentionMma, causal) {
  for (bool aligned : {false, true}) {
    EXPECT_LT(attentionError<16>(70, aligned), 5e-4);
    EXPECT_LT(attentionError<64>(150, aligned), 5e-4);
    EXPECT_LT(attentionError<128>(64, aligned), 5e-4);
  }
}

// A token of a tree: it sees 600 keys before its run and some of the run, by
// the places that those have among the seen. Blocks of 512 keys that others
// have computed give the same bits.
TEST(Paged, blocks_of_a_tree) {
  constexpr int D = 20, DV = 36, PAGES = 11;
  const i64 context = 600, own = 9, length = context + 12;
  const i64 mask = 0b1010011001;
  auto keys = normal<f16>(PAGES * D * 64, 7),
       values = normal<f16>(PAGES * 64 * DV, 8), q = normal<f16>(D, 9);
  std::vector<int> table(PAGES);
  for (int i = 0; i < PAGES; ++i)
    table[size_t(i)] = (i * 7 + 3) % PAGES;
  const i64 index = placeAmong(mask, context, own), left = 550;
  EXPECT_EQ(604, index); // bits 0, 3, 4 and 7 are before it
  auto placed = [&](i64 j) {
    return j < context ? j : placeAmong(mask, context, j - context);
  };
  auto seen = [&](i64 j) {
    return (j < context || (mask >> (j - context) & 1) != 0) &&
           index - left <= placed(j);
  };
  auto score = [&](i64 j, float product) {
    return product * 0.25f + 0.01f * float(placed(j) - index);
  };
  std::vector<float> whole(DV), parts(DV), partials(2 * 48);
  float sum = 0;
  kernel = [&] {
    auto query = [&](int d) { return float(q[size_t(d)]); };
    PagedBlock<DV> all, merged, next;
    all.begin(-FERRITE_INFINITY);
    merged.begin(-FERRITE_INFINITY);
    for (i64 b = 0; b < 2; ++b) {
      pagedBlock<D, DV>(next, b * 512, minOf(length, b * 512 + 512),
                        table.data(), keys.data(), values.data(), 1, 0, query,
                        score, seen);
      all.add(next);
      writePartial(next, partials.data() + b * 48);
      syncWarp();
      readPartial(next, partials.data() + b * 48);
      merged.add(next);
    }
    all.finish([&](int d, float v) { whole[size_t(d)] = v; });
    merged.finish([&](int d, float v) { parts[size_t(d)] = v; });
    if (lane() == 0)
      sum = all.logSum();
  };
  launch(1, 32, 0);
  EXPECT_EQ(whole, parts);
  std::vector<double> want(DV);
  double total = 0;
  for (i64 j = 0; j < length; ++j) {
    if (!seen(j))
      continue;
    const i64 page = table[size_t(j / 64)];
    double product = 0;
    for (int d = 0; d < D; ++d)
      product += double(q[size_t(d)]) *
                 double(keys[size_t((page * D + d) * 64 + j % 64)]);
    const double weight =
        ::exp(product * 0.25 + 0.01 * double(placed(j) - index));
    total += weight;
    for (int d = 0; d < DV; ++d)
      want[size_t(d)] +=
          weight * double(values[size_t((page * 64 + j % 64) * DV + d)]);
  }
  for (double &value : want)
    value /= total;
  EXPECT_LT(relative(want, whole), 1e-5);
  EXPECT_NEAR(::log(total), sum, 1e-4);
}

TEST(Emulation, a_barrier_that_some_never_reach_is_an_error) {
  kernel = [] {
    if (thread() < 32)
      ferrite::sync();
  };
  EXPECT_NE("", emulateLaunch(
                    {[] { kernel(); }, 1, 64, 0, nullptr, &ferriteMachine}));
}
