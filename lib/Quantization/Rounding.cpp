//===- Rounding.cpp - Numbers as few bits ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/Rounding.h"
#include "dialects/Ferrite/IR/Elements.h"

#include <algorithm>
#include <cmath>

using namespace ferrite;

void RoundedColumns::resize(int64_t columns, int64_t depth,
                            const QuantFormat &format) {
  int64_t groups = format.group ? depth / format.group : 1;
  codes.resize(columns * depth);
  scales.resize(columns * groups);
  zeros.assign(format.isAsymmetric ? columns * groups : 0, 0);
}

/// As the scale is stored, and never 0: a group of zeros has any scale.
static float storedScale(const QuantFormat &format, double scale) {
  Kind kind = format.scale == QuantFormat::Scale::F16    ? Kind::F16
              : format.scale == QuantFormat::Scale::BF16 ? Kind::BF16
                                                         : Kind::F32;
  float stored = static_cast<float>(roundTo(kind, scale));
  if (std::isinf(stored))
    stored = std::copysign(65504.0f, stored);
  return stored == 0 ? (kind == Kind::F16 ? 0x1p-24f : 0x1p-126f) : stored;
}

static int leastCode(const QuantFormat &format) {
  return format.isAsymmetric || format.isNormalFloat
             ? 0
             : -(1 << (format.bits - 1));
}
static int mostCode(const QuantFormat &format) {
  return leastCode(format) + (1 << format.bits) - 1;
}

int ferrite::encode(const QuantFormat &format, GroupScale group, float value) {
  float quotient = value / group.scale;
  if (format.isNormalFloat) {
    llvm::ArrayRef<float> table = normalFloats();
    int code = 0;
    while (code < 15 && quotient > 0.5f * (table[code] + table[code + 1]))
      ++code;
    return code;
  }
  float code = std::nearbyint(quotient) + float(group.zero);
  // Eight symmetric bits leave -128 out: a column's scale is then that of its
  // largest number on either side.
  float least = format.bits == 8 && !format.isAsymmetric
                    ? -127.0f
                    : float(leastCode(format));
  return int(std::clamp(code, least, float(mostCode(format))));
}

float ferrite::decode(const QuantFormat &format, GroupScale group, int code) {
  if (format.isNormalFloat)
    return normalFloats()[code] * group.scale;
  return float(code - group.zero) * group.scale;
}

/// Numbers from `low` to `high` on all codes of an asymmetric format.
static GroupScale scaleOfRange(const QuantFormat &format, float low,
                               float high) {
  low = std::min(low, 0.0f);
  high = std::max(high, 0.0f);
  int most = mostCode(format);
  GroupScale group;
  group.scale = storedScale(format, (double(high) - low) / most);
  group.zero =
      int(std::clamp(std::nearbyint(-low / group.scale), 0.0f, float(most)));
  return group;
}

static void findEnds(const float *values, int64_t count, float &low,
                     float &high) {
  low = high = values[0];
  for (int64_t i = 1; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
}

GroupScale ferrite::widestScale(const QuantFormat &format, const float *values,
                                int64_t count) {
  float low, high;
  findEnds(values, count, low, high);
  if (format.isAsymmetric)
    return scaleOfRange(format, low, high);
  float most = std::max(-low, high);
  double steps = format.isNormalFloat ? 1 : mostCode(format);
  return {storedScale(format, most / steps), 0};
}

static double squaredError(const QuantFormat &format, GroupScale group,
                           const float *values, int64_t count,
                           const float *importance) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    float off =
        values[i] - decode(format, group, encode(format, group, values[i]));
    sum += double(off) * off * (importance ? importance[i] : 1.0f);
  }
  return sum;
}

#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
static float symmetricError(float scale, float least, float most,
                            const float *values, const float *importance,
                            int64_t count) {
#pragma clang fp contract(off)
  // Sixteen sums of fixed places: the order is the same on every machine.
  // Adding 1.5 * 2^23 rounds to the nearest whole number.
  constexpr float kRound = 12582912.0f;
  float sums[16] = {}, inverse = 1 / scale;
  for (int64_t i = 0; i < count; i += 16)
    for (int j = 0; j < 16; ++j) {
      float code = (values[i + j] * inverse + kRound) - kRound;
      code = code < least ? least : code;
      code = code > most ? most : code;
      float off = values[i + j] - code * scale;
      sums[j] += off * off * importance[i + j];
    }
  float sum = 0;
  for (float part : sums)
    sum += part;
  return sum;
}

GroupScale ferrite::searchScale(const QuantFormat &format, const float *values,
                                int64_t count, const float *importance) {
  GroupScale best = widestScale(format, values, count);
  // Eight bits cut nothing off: what they would save is below their step.
  if (format.bits == 8)
    return best;
  float low, high;
  findEnds(values, count, low, high);
  if (low == 0 && high == 0)
    return best;
  if (format.isAsymmetric || format.isNormalFloat) {
    double least = squaredError(format, best, values, count, importance);
    for (int i = 1; i <= 20; ++i) {
      float factor = 1 - 0.02f * i;
      GroupScale next =
          format.isAsymmetric
              ? scaleOfRange(format, low * factor, high * factor)
              : GroupScale{storedScale(format, best.scale * double(factor)), 0};
      if (double error = squaredError(format, next, values, count, importance);
          error < least) {
        least = error;
        best = next;
      }
    }
    return best;
  }
  std::vector<float> ones;
  if (!importance) {
    ones.assign(count, 1.0f);
    importance = ones.data();
  }
  float lowest = leastCode(format), highest = mostCode(format);
  auto errorOf = [&](float scale) {
    return symmetricError(scale, lowest, highest, values, importance, count);
  };
  float least = errorOf(best.scale);
  auto consider = [&](double scale) {
    float stored = storedScale(format, scale);
    if (float error = errorOf(stored); error < least) {
      least = error;
      best.scale = stored;
    }
  };
  float most = std::max(-low, high);
  // The number that is farthest from 0 can have the one code more that the
  // negative side has: then the scale is negative when it is not.
  double extreme = -low > high ? low : high;
  for (int i = 0; i < 24; ++i)
    consider(most / highest * (0.6 + i * (0.45 / 23)));
  for (int i = 0; i < 18; ++i)
    consider(extreme / lowest * (0.7 + i * (0.35 / 17)));
  return best;
}

void ferrite::roundToNearest(const float *columns, int64_t count, int64_t depth,
                             const QuantFormat &format, const float *importance,
                             bool search, RoundedColumns &to,
                             int64_t firstColumn) {
  int64_t size = format.group ? format.group : depth, groups = depth / size;
  for (int64_t n = 0; n < count; ++n) {
    const float *column = columns + n * depth;
    for (int64_t g = 0; g < groups; ++g) {
      const float *values = column + g * size;
      const float *weights = importance ? importance + g * size : nullptr;
      GroupScale scale = search ? searchScale(format, values, size, weights)
                                : widestScale(format, values, size);
      int64_t at = (firstColumn + n) * groups + g;
      to.scales[at] = scale.scale;
      if (format.isAsymmetric)
        to.zeros[at] = uint8_t(scale.zero);
      int8_t *codes = to.codes.data() + (firstColumn + n) * depth + g * size;
      for (int64_t i = 0; i < size; ++i)
        codes[i] = int8_t(encode(format, scale, values[i]));
    }
  }
}

void ferrite::decodeColumn(const RoundedColumns &from, int64_t column,
                           int64_t depth, const QuantFormat &format,
                           float *to) {
  int64_t size = format.group ? format.group : depth, groups = depth / size;
  for (int64_t k = 0; k < depth; ++k) {
    int64_t at = column * groups + k / size;
    GroupScale scale{from.scales[at], format.isAsymmetric ? from.zeros[at] : 0};
    int code = from.codes[column * depth + k];
    if (format.isAsymmetric && format.bits == 8)
      code = uint8_t(code);
    to[k] = decode(format, scale, code);
  }
}

void ferrite::addErrors(const float *columns, int64_t count, int64_t depth,
                        const QuantFormat &format, const float *importance,
                        const RoundedColumns &rounded, double &error,
                        double &norm) {
  std::vector<float> meant(depth);
  for (int64_t n = 0; n < count; ++n) {
    decodeColumn(rounded, n, depth, format, meant.data());
    for (int64_t k = 0; k < depth; ++k) {
      double value = columns[n * depth + k], off = value - meant[k];
      double weight = importance ? importance[k] : 1;
      error += weight * off * off;
      norm += weight * value * value;
    }
  }
}
