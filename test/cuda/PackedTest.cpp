//===- PackedTest.cpp - Products with weights of few bits -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Depths and widths that are no multiple of anything, against sums in double;
// few rows and many rows must have the same bits.
//
//===----------------------------------------------------------------------===//
#include "SkeletonTest.h"

#include "lib/Support/PackedPanels.h"

#include "ferrite/packed_mma.cuh"

using namespace ferrite;

namespace {

/// A matrix of random codes, and what it stands for.
template <class F>
struct Matrix {
  PackedPanels panels;
  std::vector<u8> bytes;
  std::vector<double> values;

  explicit Matrix(i64 columns) {
    panels.depth = F::depth;
    panels.columns = columns;
    panels.bits = F::bits;
    panels.block = F::block;
    panels.scaleBytes = sizeof(typename F::Scale);
    panels.zeroBytes = ZeroBytes<typename F::Zero>::value;
    EXPECT_TRUE(panels.isValid());
    EXPECT_EQ(panels.panelBytes(), F::panelBytes);
    bytes.resize(size_t(panels.bytes()));
    values.resize(size_t(F::depth * columns));
    std::mt19937 engine(7);
    for (i64 k = 0; k < F::depth; ++k)
      for (i64 n = 0; n < columns; ++n) {
        unsigned code = unsigned(engine() >> 8) % (1u << F::bits);
        panels.write(bytes.data(), k, n, code);
        u8 *block = bytes.data() + panels.blockOffset(k, n);
        typedef typename F::Scale Scale;
        Scale scale = Scale(0.01f * float(1 + (n * 5 + k / F::block) % 13));
        memcpy(block + size_t(n % 64) * sizeof scale, &scale, sizeof scale);
        double zero = writeZero(block + panels.zerosOffset(), n, k / F::block,
                                typename F::Zero());
        values[size_t(k * columns + n)] =
            (double(code) - F::shift - zero) * double(float(scale));
      }
  }

private:
  static double writeZero(u8 *, i64, i64, NoZero) { return 0; }
  static double writeZero(u8 *at, i64 n, i64 block, u8) {
    return at[n % 64] = u8((n + 3 * block) % (1 << F::bits));
  }
  static double writeZero(u8 *at, i64 n, i64 block, float) {
    float zero = 0.25f * float((n + block) % 7);
    memcpy(at + n % 64 * 4, &zero, 4);
    return zero;
  }
};

/// Results of both variants of tensor cores, which must be equal.
template <class T, class F, int PIECE>
double mmaError(i64 rows, i64 columns, bool aligned) {
  Matrix<F> matrix(columns);
  const i64 stride = F::depth + (aligned ? (8 - F::depth % 8) % 8 : 1);
  std::vector<T> x = normal<T>(size_t(rows * stride), 8);
  std::vector<float> few(size_t(rows * columns)), many(few.size());
  const i64 across = (columns + 31) / 32, groups = (rows + 15) / 16;
  kernel = [&] {
    const i64 tile = block() / groups;
    const PackedFew<T, F, PIECE, 6> product = {x.data(),
                                               rows,
                                               stride,
                                               matrix.bytes.data() +
                                                   tile / 2 * F::panelBytes,
                                               int(tile % 2) * 32,
                                               block() % groups * 16,
                                               aligned};
    product.run(columns, tile / 2 * 64, [&](i64 m, i64 n, float v) {
      few[size_t(m * columns + n)] = v;
    });
  };
  launch(unsigned(across * groups), 256,
         std::max<size_t>(PackedFew<T, F, PIECE, 6>::SHARED, 16384));
  const i64 tiles = (rows + 127) / 128;
  kernel = [&] {
    const i64 panel = block() / tiles;
    const PackedMany<T, F, PIECE, 4> product = {x.data(),
                                                rows,
                                                stride,
                                                matrix.bytes.data() +
                                                    panel * F::panelBytes,
                                                block() % tiles * 128,
                                                aligned};
    product.run(columns, panel * 64, [&](i64 m, i64 n, float v) {
      many[size_t(m * columns + n)] = v;
    });
  };
  launch(unsigned((columns + 63) / 64 * tiles), 256,
         PackedMany<T, F, PIECE, 4>::SHARED);
  EXPECT_EQ(few, many);
  std::vector<double> want(few.size());
  for (i64 m = 0; m < rows; ++m)
    for (i64 k = 0; k < F::depth; ++k)
      for (i64 n = 0; n < columns; ++n)
        want[size_t(m * columns + n)] += double(x[size_t(m * stride + k)]) *
                                         matrix.values[size_t(k * columns + n)];
  return relative(want, few);
}

} // namespace

TEST(PackedMma, codes_of_every_width) {
  EXPECT_LT((mmaError<f16, PackedFormat<4, 200, 64, 8, f16, NoZero>, 64>(19, 80,
                                                                         true)),
            1e-6);
  EXPECT_LT((mmaError<bf16, PackedFormat<4, 96, 32, 0, float, u8>, 32>(3, 101,
                                                                       false)),
            1e-6);
  EXPECT_LT((mmaError<f16, PackedFormat<3, 160, 32, 0, float, u8>, 32>(130, 64,
                                                                       true)),
            1e-6);
  EXPECT_LT((mmaError<bf16, PackedFormat<2, 112, 16, 2, bf16, NoZero>, 16>(
                5, 33, true)),
            1e-6);
  // One block of all k, in pieces of 128.
  EXPECT_LT((mmaError<f16, PackedFormat<8, 301, 301, 128, float, NoZero>, 128>(
                7, 70, false)),
            1e-6);
  EXPECT_LT((mmaError<bf16, PackedFormat<8, 128, 64, 0, float, u8>, 64>(17, 64,
                                                                        true)),
            1e-6);
}

/// One row and eight rows at a time, of floats.
template <class F, int PIECE>
static double floatError(i64 rows, i64 columns) {
  Matrix<F> matrix(columns);
  std::vector<float> x = normal<float>(size_t(rows * F::depth), 9);
  std::vector<float> one(size_t(rows * columns)), eight(one.size());
  auto left = [&](i64 m, i64 k, float (&v)[4]) {
    loadFour(x.data() + m * F::depth, k, F::depth, false, v);
  };
  auto number = [](u32 code) { return smallFloat<F::shift>(code); };
  auto into = [&](std::vector<float> &y) {
    return
        [&, columns](i64 m, i64 n, float v) { y[size_t(m * columns + n)] = v; };
  };
  const i64 panels = (columns + 63) / 64;
  kernel = [&] {
    packedFloats<F, PIECE, 1>(matrix.bytes.data(), block() % panels,
                              block() / panels, rows, columns, left, number,
                              into(one));
  };
  launch(unsigned(panels * rows), 256, 16 * 64 * 4);
  kernel = [&] {
    packedFloats<F, PIECE, 8>(matrix.bytes.data(), block() % panels,
                              block() / panels * 8, rows, columns, left, number,
                              into(eight));
  };
  launch(unsigned(panels * ((rows + 7) / 8)), 256, 16 * 8 * 64 * 4);
  EXPECT_EQ(one, eight);
  std::vector<double> want(one.size());
  for (i64 m = 0; m < rows; ++m)
    for (i64 k = 0; k < F::depth; ++k)
      for (i64 n = 0; n < columns; ++n)
        want[size_t(m * columns + n)] += double(x[size_t(m * F::depth + k)]) *
                                         matrix.values[size_t(k * columns + n)];
  return relative(want, one);
}

TEST(PackedFloats, zero_points_of_every_kind) {
  EXPECT_LT((floatError<PackedFormat<4, 77, 24, 8, f16, NoZero>, 24>(9, 70)),
            1e-6);
  EXPECT_LT((floatError<PackedFormat<2, 96, 48, 0, float, float>, 48>(2, 64)),
            1e-6);
  EXPECT_LT((floatError<PackedFormat<8, 50, 50, 0, bf16, u8>, 128>(11, 33)),
            1e-6);
}
