//===- Gptq.cpp - Rounding that makes up for its errors -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Gptq.h"
#include "lib/Reference/Parallel.h"

#include <algorithm>
#include <cmath>

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

/// In the upper half of `m`, whose lower half stays.
static bool factor(double *m, int64_t n, unsigned threads) {
  // H = R RT with R upper, from the last row up; in place of H's upper half.
  for (int64_t j = n - 1; j >= 0; --j) {
    const double *row = m + j * n;
    double pivot = m[j * n + j] - dot(row + j + 1, row + j + 1, n - j - 1);
    if (!(pivot > 0))
      return false;
    m[j * n + j] = std::sqrt(pivot);
    constexpr int64_t kRows = 64;
    auto work = [&](int64_t piece) {
      for (int64_t i = piece * kRows; i < std::min(j, (piece + 1) * kRows); ++i)
        m[i * n + j] =
            (m[i * n + j] - dot(m + i * n + j + 1, row + j + 1, n - j - 1)) /
            m[j * n + j];
    };
    // A thread costs more than little work.
    parallelFor((j + kRows - 1) / kRows, n - j > 1024 ? threads : 1, work);
  }
  // U = inv(R), row by row from the last one, each of those below it. Then
  // inv(H) = inv(RT) inv(R) = UT U.
  std::vector<double> own(n);
  for (int64_t i = n - 1; i >= 0; --i) {
    double *row = m + i * n;
    double inverse = 1 / row[i];
    std::copy(row + i, row + n, own.begin() + i);
    std::fill(row + i, row + n, 0.0);
    row[i] = inverse;
    for (int64_t k = i + 1; k < n; ++k)
      addScaled(row + k, m + k * n + k, -inverse * own[k], n - k);
  }
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
