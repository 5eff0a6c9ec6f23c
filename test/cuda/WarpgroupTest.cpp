//===- WarpgroupTest.cpp - Products of warpgroups -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The skeletons of sm_90a on the emulated machine, whose engines work late and
// through the swizzle, against sums in double.
//
//===----------------------------------------------------------------------===//
#include "SkeletonTest.h"

#include "ferrite/attention_wgmma.cuh"
#include "ferrite/blocks.cuh"
#include "ferrite/product_wgmma.cuh"

using namespace ferrite;

/// What FakeDriver.cpp makes of a matrix.
static TensorMap mapOf(const void *data, u64 rows, u64 columns, u64 rowBytes,
                       u64 boxRows) {
  return {{reinterpret_cast<uintptr_t>(data), 2, columns, rows, rowBytes, 64,
           boxRows}};
}

/// The error of an m x n product of depth k, by `grid` blocks.
template <class T, int CONSUMERS, int N_TILE, int STAGES>
static double productError(i64 m, i64 k, i64 n, unsigned grid) {
  typedef WarpgroupProduct<T, CONSUMERS, N_TILE, STAGES> Product;
  const i64 stride = k + 8;
  auto x = normal<T>(size_t(m * stride), 1),
       plain = normal<T>(size_t(k * n), 2);
  std::vector<T> panels(size_t(k * n));
  for (i64 i = 0; i < k; ++i)
    for (i64 j = 0; j < n; ++j)
      panels[size_t(j / 64 * k * 64 + i * 64 + j % 64)] =
          plain[size_t(i * n + j)];
  const TensorMap left = mapOf(x.data(), u64(m), u64(k), u64(stride * 2),
                               64 * CONSUMERS),
                  right = mapOf(panels.data(), u64(k * n / 64), 64, 128, 64);
  std::vector<float> y(size_t(m * n), NAN);
  const u32 down = u32((m + Product::M_TILE - 1) / Product::M_TILE),
            across = u32((n + N_TILE - 1) / N_TILE);
  kernel = [&] {
    const Product product = {left, right, int(k / 64), int(n / 64),
                             m,    down,  across};
    product.run(down * across, [&](i64 i, i64 j, float first, float second) {
      y[size_t(i * n + j)] = first;
      y[size_t(i * n + j + 1)] = second;
    });
  };
  launch(grid, Product::THREADS, Product::SHARED);
  std::vector<double> want(y.size());
  for (i64 i = 0; i < m; ++i)
    for (i64 l = 0; l < k; ++l)
      for (i64 j = 0; j < n; ++j)
        want[size_t(i * n + j)] += double(x[size_t(i * stride + l)]) *
                                   double(plain[size_t(l * n + j)]);
  return relative(want, y);
}

TEST(WarpgroupProduct, tiles_of_all_sizes) {
  EXPECT_LT((productError<f16, 1, 64, 8>(70, 192, 192, 4)), 1e-6);
  EXPECT_LT((productError<bf16, 2, 128, 6>(130, 448, 192, 2)), 1e-6);
  EXPECT_LT((productError<f16, 2, 256, 4>(200, 320, 320, 1)), 1e-6);
}

// More places than there are steps, and one row.
TEST(WarpgroupProduct, a_ring_that_is_not_filled) {
  EXPECT_LT((productError<f16, 1, 64, 8>(1, 64, 64, 1)), 1e-6);
  EXPECT_LT((productError<f16, 2, 128, 6>(129, 64, 128, 1)), 1e-6);
}

// Nine rows of tiles: those that go together, and the rest.
TEST(WarpgroupProduct, order_of_tiles) {
  EXPECT_LT((productError<f16, 1, 64, 2>(9 * 64 - 3, 64, 192, 3)), 1e-6);
}

/// Causal attention of one head over its own `tokens`, two tiles of rows for a
/// block.
template <class T, int D, int DV>
static double attentionError(i64 tokens, bool aligned) {
  typedef WarpgroupAttention<T, D, DV> Attention;
  auto q = normal<T>(size_t(tokens * D), 4),
       k = normal<T>(size_t(tokens * D), 5),
       v = normal<T>(size_t(tokens * DV), 6);
  std::vector<float> y(size_t(tokens * DV), NAN);
  const i64 tiles = (tokens + 127) / 128;
  kernel = [&] {
    Attention::begin();
    Attention::run([&](auto &attention) {
      for (i64 unit = block(); unit < tiles; unit += blocks()) {
        const i64 first = unit * 128;
        const int count = int(std::min<i64>(128, tokens - first));
        attention(
            count, 0, first + count, 0.0f, -FERRITE_INFINITY, aligned,
            [&](int row) { return q.data() + (first + row) * D; },
            [&](i64 key) { return k.data() + key * D; },
            [&](i64 key) { return v.data() + key * DV; },
            [&](i64 row, i64 key, float product) {
              return key <= first + row ? product * 0.125f : -FERRITE_INFINITY;
            },
            [](int) { return -FERRITE_INFINITY; },
            [&](int row, int d, float value) {
              y[size_t((first + row) * DV + d)] = value;
            },
            EveryTile());
      }
    });
  };
  launch(unsigned((tiles + 1) / 2), 384, Attention::SHARED);
  return relative(causalAttention(q, k, v, tokens, D, DV), y);
}

// Weights are rounded to 11 bits before they meet the values.
TEST(WarpgroupAttention, causal) {
  EXPECT_LT((attentionError<f16, 64, 64>(70, true)), 5e-4);
  EXPECT_LT((attentionError<f16, 128, 128>(300, true)), 5e-4);
  EXPECT_LT((attentionError<f16, 128, 64>(257, false)), 5e-4);
  EXPECT_LT((attentionError<bf16, 64, 128>(520, true)), 4e-3);
}

// The emulation finds what would be a race on a GPU.
TEST(Emulation, boxes_come_late_and_products_read_late) {
  std::vector<f16> ones(64 * 64, f16(1.0f));
  const TensorMap map = mapOf(ones.data(), 64, 64, 128, 64);
  bool early = false;
  float unread = 0, waited = 0;
  kernel = [&] {
    auto *tile = shared<unsigned char>(0);
    auto *barrier = shared<Barrier>(8192);
    if (thread() == 0) {
      initBarrier(barrier, 1);
      arriveExpecting(barrier, 8192);
      copyBox(tile, map, 0, 0, barrier);
      early = barrier->parity == 1;
    }
    ferrite::sync();
    waitFor(barrier, 0);
    float sums[32];
    beginProducts();
    multiplyTiles<f16, 1>(sums, tileAt(tile, 1024, 0), tileAt(tile, 1024, 0),
                          false);
    commitProducts();
    unread = sums[0];
    // Overwritten before the product was waited for.
    for (int i = thread(); i < 64 * 64; i += 128)
      ((f16 *)tile)[i] = f16(2.0f);
    ferrite::sync();
    waitProducts<0>();
    waited = sums[0];
  };
  launch(1, 128, 8192 + 8);
  EXPECT_FALSE(early);
  EXPECT_NE(16.0f, unread);
  EXPECT_EQ(64.0f, waited); // of the twos
}
