//===- Gptq.cpp - Rounding that makes up for its errors -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Gptq.h"
#include "lib/Reference/Parallel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace ferrite;
using reference::parallelFor;

// All code here is to give the same bits on every machine.
#pragma clang fp contract(off)
#if defined(__x86_64__)
#define FERRITE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define FERRITE_CLONES
#endif

/// to[0..count) += factor * from[0..count)
FERRITE_CLONES
static void addScaled(double *to, const double *from, double factor,
                      int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    to[i] += factor * from[i];
}

/// The moments of row i. Four rows of inputs at a time are added in their
/// order: a sum is loaded once for them.
FERRITE_CLONES
static void addMoments(double *to, const float *rows, int64_t count,
                       int64_t depth, int64_t i) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4) {
    const float *a = rows + r * depth, *b = a + depth, *c = b + depth,
                *d = c + depth;
    double x = a[i], y = b[i], z = c[i], w = d[i];
    for (int64_t j = i; j < depth; ++j) {
      double sum = to[j] + x * a[j];
      sum += y * b[j];
      sum += z * c[j];
      to[j] = sum + w * d[j];
    }
  }
  for (; r < count; ++r) {
    const float *row = rows + r * depth;
    double x = row[i];
    for (int64_t j = i; j < depth; ++j)
      to[j] += x * row[j];
  }
}

FERRITE_CLONES
static double dot(const double *a, const double *b, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int j = 0; j < 8; ++j)
      sums[j] += a[i + j] * b[i + j];
  for (; i < count; ++i)
    sums[i % 8] += a[i] * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
         ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void SecondMoments::add(const float *from, int64_t count, unsigned threads) {
  rows += count;
  // Parts of rows that stay in the second-level cache while all i pass.
  int64_t part = std::max<int64_t>(1, (256 << 10) / (depth * 4));
  constexpr int64_t kRows = 8; // of the matrix, a piece of work
  for (int64_t first = 0; first < count; first += part) {
    int64_t size = std::min(part, count - first);
    parallelFor((depth + kRows - 1) / kRows, threads, [&](int64_t piece) {
      for (int64_t i = piece * kRows; i < std::min(depth, (piece + 1) * kRows);
           ++i)
        addMoments(sums.data() + i * depth, from + first * depth, size, depth,
                   i);
    });
  }
}

/// Rows and columns of a block. What is in one is computed one by one, what is
/// between two as products of matrices: a matrix of 8192 is half a gigabyte,
/// and is read once for each block instead of once for each row.
static constexpr int64_t kBlock = 64;

using Four = double __attribute__((vector_size(32)));

/// The products of rows a[0 .. 3] and b[0 .. 1], `stride` apart, of `count`
/// elements: to[4 * j + i].
FERRITE_CLONES
static void dots(const double *a, const double *b, int64_t stride,
                 int64_t count, double *to) {
  Four sums[8] = {};
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    Four x, y, z;
    std::memcpy(&x, b + k, sizeof x);
    std::memcpy(&y, b + stride + k, sizeof y);
    for (int i = 0; i < 4; ++i) {
      std::memcpy(&z, a + i * stride + k, sizeof z);
      sums[i] += z * x;
      sums[4 + i] += z * y;
    }
  }
  for (int i = 0; i < 8; ++i)
    to[i] = (sums[i][0] + sums[i][1]) + (sums[i][2] + sums[i][3]);
  for (; k < count; ++k)
    for (int i = 0; i < 4; ++i) {
      to[i] += a[i * stride + k] * b[k];
      to[4 + i] += a[i * stride + k] * b[stride + k];
    }
}

/// m[i, j] -= m[i, from ..] m[j, from ..]T for rows [i0, i1) and j of [j0, j1),
/// i <= j.
static void subtractProducts(double *m, int64_t n, int64_t i0, int64_t i1,
                             int64_t j0, int64_t j1, int64_t from) {
  constexpr int64_t kDepth = 1024; // a block's part stays in the second cache
  for (int64_t k = from; k < n; k += kDepth) {
    int64_t count = std::min(kDepth, n - k);
    for (int64_t i = i0; i < i1; i += 4)
      for (int64_t j = j0; j < j1; j += 2) {
        if (i + 4 <= i1 && j + 2 <= j1 && i + 3 <= j) {
          double sums[8];
          dots(m + i * n + k, m + j * n + k, n, count, sums);
          for (int64_t c = 0; c < 8; ++c)
            m[(i + c % 4) * n + j + c / 4] -= sums[c];
          continue;
        }
        for (int64_t a = i; a < std::min(i + 4, i1); ++a)
          for (int64_t b = std::max(a, j); b < std::min(j + 2, j1); ++b)
            m[a * n + b] -= dot(m + a * n + k, m + b * n + k, count);
      }
  }
}

/// H = R RT with R upper, from the last block up; in place of H's upper half.
static bool factorUpper(double *m, int64_t n, unsigned threads) {
  for (int64_t j1 = n; j1 > 0; j1 = (j1 - 1) / kBlock * kBlock) {
    int64_t j0 = (j1 - 1) / kBlock * kBlock;
    // Pieces begin at multiples of four rows, whatever the number of threads.
    constexpr int64_t kRows = 16;
    parallelFor((j1 + kRows - 1) / kRows, threads, [&](int64_t piece) {
      subtractProducts(m, n, piece * kRows, std::min(j1, (piece + 1) * kRows),
                       j0, j1, j1);
    });
    for (int64_t j = j1 - 1; j >= j0; --j) {
      const double *row = m + j * n + j + 1;
      double pivot = m[j * n + j] - dot(row, row, j1 - j - 1);
      if (!(pivot > 0))
        return false;
      m[j * n + j] = std::sqrt(pivot);
      for (int64_t i = j0; i < j; ++i)
        m[i * n + j] =
            (m[i * n + j] - dot(m + i * n + j + 1, row, j1 - j - 1)) /
            m[j * n + j];
    }
    parallelFor((j0 + kBlock - 1) / kBlock, threads, [&](int64_t piece) {
      for (int64_t i = piece * kBlock; i < std::min(j0, (piece + 1) * kBlock);
           ++i)
        for (int64_t j = j1 - 1; j >= j0; --j)
          m[i * n + j] = (m[i * n + j] - dot(m + i * n + j + 1,
                                             m + j * n + j + 1, j1 - j - 1)) /
                         m[j * n + j];
    });
  }
  return true;
}

/// U = inv(R), block by block from the last one, in place. Then
/// inv(H) = inv(RT) inv(R) = UT U.
static void invertUpper(double *m, int64_t n, unsigned threads) {
  std::vector<double> own(kBlock * n);
  for (int64_t i1 = n; i1 > 0; i1 = (i1 - 1) / kBlock * kBlock) {
    int64_t i0 = (i1 - 1) / kBlock * kBlock, rows = i1 - i0;
    for (int64_t i = i0; i < i1; ++i) {
      std::copy(m + i * n + i, m + i * n + n, own.begin() + (i - i0) * n + i);
      std::fill(m + i * n + i, m + i * n + n, 0.0);
    }
    // Row i of U is what makes R U the identity, from those below it.
    auto work = [&](int64_t first, int64_t end) {
      for (int64_t k = i1; k < end; k += kBlock)
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t r = k; r < std::min(end, k + kBlock); ++r) {
            int64_t begin = std::max(first, r);
            addScaled(m + (i0 + i) * n + begin, m + r * n + begin,
                      -own[i * n + r], end - begin);
          }
      for (int64_t i = i1 - 1; i >= i0; --i) {
        double *row = m + i * n;
        const double *factors = own.data() + (i - i0) * n;
        if (i >= first && i < end)
          row[i] = 1;
        for (int64_t k = i + 1; k < i1; ++k) {
          int64_t begin = std::max(first, k);
          if (begin < end)
            addScaled(row + begin, m + k * n + begin, -factors[k], end - begin);
        }
        for (int64_t j = std::max(first, i); j < end; ++j)
          row[j] /= factors[i];
      }
    };
    constexpr int64_t kColumns = 256;
    int64_t pieces = (n - i0 + kColumns - 1) / kColumns;
    parallelFor(pieces, threads, [&](int64_t piece) {
      int64_t first = i0 + piece * kColumns;
      work(first, std::min(n, first + kColumns));
    });
  }
}

/// In the upper half of `m`, whose lower half stays.
static bool factor(double *m, int64_t n, unsigned threads) {
  if (!factorUpper(m, n, threads))
    return false;
  invertUpper(m, n, threads);
  return true;
}

bool ferrite::factorInverse(SecondMoments &moments, double damping,
                            unsigned threads) {
  int64_t n = moments.depth;
  double *m = moments.sums.data();
  std::vector<double> diagonal(n);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) {
    diagonal[i] = m[i * n + i];
    mean += diagonal[i] / double(n);
  }
  if (!(mean > 0) || !std::isfinite(mean))
    return false;
  // The lower half keeps what the upper one was: a matrix is half a gigabyte.
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j)
      m[j * n + i] = m[i * n + j];
  for (; damping <= 1; damping *= 10) {
    for (int64_t i = 0; i < n; ++i) {
      // An input that is always 0 says nothing of its weight.
      m[i * n + i] = (diagonal[i] == 0 ? mean : diagonal[i]) + damping * mean;
      for (int64_t j = i + 1; j < n; ++j)
        m[i * n + j] = m[j * n + i];
    }
    if (factor(m, n, threads))
      return true;
  }
  return false;
}

static constexpr int64_t kPanel = kErrorPanel;

FERRITE_CLONES
static void spread(float *panel, const double *factor, const float *off,
                   int64_t k, int64_t last) {
  for (int64_t j = k + 1; j < last; ++j) {
    float share = float(factor[j]);
    float *to = panel + j * kPanel;
    for (int64_t c = 0; c < kPanel; ++c)
      to[c] -= share * off[c];
  }
}

void ferrite::spreadError(float *panel, const double *factor, const float *off,
                          int64_t k, int64_t last) {
  spread(panel, factor, off, k, last);
}

void ferrite::roundWithFactor(const float *columns, int64_t count,
                              int64_t depth, const QuantFormat &format,
                              const double *factor, RoundedColumns &to,
                              int64_t firstColumn) {
  int64_t size = format.group ? format.group : depth, groups = depth / size;
  std::vector<float> panel(depth * kPanel, 0.0f), values(size);
  for (int64_t c = 0; c < count; ++c)
    for (int64_t k = 0; k < depth; ++k)
      panel[k * kPanel + c] = columns[c * depth + k];
  GroupScale scales[kPanel];
  for (int64_t k = 0; k < depth; ++k) {
    if (k % size == 0)
      // Of what the group is now: the largest keeps its place, because an error
      // that is cut off is an error of one sign, which adds up.
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t i = 0; i < size; ++i)
          values[i] = panel[(k + i) * kPanel + c];
        scales[c] = format.bits < 4
                        ? searchScale(format, values.data(), size, nullptr)
                        : widestScale(format, values.data(), size);
        int64_t at = (firstColumn + c) * groups + k / size;
        to.scales[at] = scales[c].scale;
        if (format.isAsymmetric)
          to.zeros[at] = uint8_t(scales[c].zero);
      }
    float off[kPanel] = {};
    const double *row = factor + k * depth;
    for (int64_t c = 0; c < count; ++c) {
      float value = panel[k * kPanel + c];
      int code = encode(format, scales[c], value);
      to.codes[(firstColumn + c) * depth + k] = int8_t(code);
      off[c] = (value - decode(format, scales[c], code)) / float(row[k]);
    }
    spread(panel.data(), row, off, k, depth);
  }
}
