//===- Record.h - Keys and values as bytes ----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a state of bytes keeps of the `depth` numbers of a token's head, in
// plain C++: imports use it, and the reference evaluator of the compiler. The
// kernels that append and read pages compute the same bits
// (passes/Codegen/CPU/KvRecord.cpp).
//
//   i8   depth codes in [-127, 127], then a scale (f32): code * scale
//   u8   for each 32 numbers 16 bytes, the codes in [0, 15] of numbers i (low
//        half) and i + 16 (high half), then a scale and a least number (bf16):
//        code * scale + least
//
//   i8, depth 64: 68 bytes         u8, depth 64: 40 bytes
//
// The scale is that of the largest number of the token's head (i8) or of the
// range of the group (u8). All is little-endian.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CACHE_RECORD_H
#define FERRITE_RUNTIME_CACHE_RECORD_H

#include <stdint.h>
#include <string.h>

namespace ferrite::record {

constexpr int64_t kGroup = 32, kGroupBytes = 20, kScaleBytes = 4;

/// The bytes of a record, and how many numbers one of so many bytes holds; 0:
/// there is none.
constexpr int64_t widthOf(bool isNibbles, int64_t depth) {
  return !isNibbles            ? depth + kScaleBytes
         : depth % kGroup == 0 ? depth / kGroup * kGroupBytes
                               : 0;
}
constexpr int64_t depthOf(bool isNibbles, int64_t width) {
  return !isNibbles ? (width > kScaleBytes ? width - kScaleBytes : 0)
         : width % kGroupBytes == 0 ? width / kGroupBytes * kGroup
                                    : 0;
}

/// To the nearest, halves to even, within [least, most]; a NaN is `least`.
inline float roundTo(float x, float least, float most) {
  constexpr float magic = 12582912; // 1.5 * 2^23
  x = x > least ? x : least;
  x = x < most ? x : most;
  return (x + magic) - magic;
}

inline uint16_t toShort(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (x != x)
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float fromShort(const uint8_t *bytes) {
  uint32_t bits = uint32_t(bytes[1]) << 24 | uint32_t(bytes[0]) << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/// As f16: to the nearest even, beyond 65519 infinity.
inline uint16_t toHalf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00);
  if (size >= 0x477ff000)
    return static_cast<uint16_t>(sign | 0x7c00);
  if (size < 0x38800000) {
    // Denormal: 0.5 has the step of the smallest, so the sum is rounded.
    float sum;
    memcpy(&sum, &size, 4);
    sum += 0.5f;
    memcpy(&size, &sum, 4);
    return static_cast<uint16_t>(sign | (size - 0x3f000000));
  }
  size += 0xc8000fff + (size >> 13 & 1); // another bias, and to the even one
  return static_cast<uint16_t>(sign | size >> 13);
}

inline float fromHalf(const uint8_t *bytes) {
  uint32_t half = uint32_t(bytes[1]) << 8 | bytes[0], size = half & 0x7fff;
  uint32_t bits = size << 13;
  float x;
  if (size >= 0x7c00)
    bits += 0x70000000; // infinity or NaN, the exponent of f32
  else if (size >= 0x400)
    bits += 0x38000000;
  else { // denormal: so many times 2^-24
    x = static_cast<float>(size) * 0x1p-24f;
    memcpy(&bits, &x, 4);
  }
  bits |= (half & 0x8000) << 16;
  memcpy(&x, &bits, 4);
  return x;
}

inline void packBytes(const float *numbers, int64_t depth, uint8_t *to) {
  float highest = 0;
  for (int64_t d = 0; d < depth; ++d) {
    float size = numbers[d] < 0 ? -numbers[d] : numbers[d];
    highest = size > highest ? size : highest;
  }
  float scale = highest / 127;
  float divisor = scale == 0 ? 1 : scale;
  for (int64_t d = 0; d < depth; ++d)
    to[d] = static_cast<uint8_t>(
        static_cast<int8_t>(roundTo(numbers[d] / divisor, -127, 127)));
  memcpy(to + depth, &scale, 4);
}

inline void packNibbles(const float *numbers, int64_t depth, uint8_t *to) {
  for (int64_t g = 0; g < depth / kGroup; ++g, to += kGroupBytes) {
    const float *group = numbers + g * kGroup;
    float low = group[0], high = group[0];
    for (int64_t i = 1; i < kGroup; ++i) {
      low = group[i] < low ? group[i] : low;
      high = group[i] > high ? group[i] : high;
    }
    uint16_t leastBits = toShort(low + 0.0f); // one of the two zeros
    memcpy(to + 18, &leastBits, 2);
    float least = fromShort(to + 18);
    uint16_t scaleBits = toShort((high - least) / 15);
    memcpy(to + 16, &scaleBits, 2);
    float scale = fromShort(to + 16);
    float divisor = scale > 0 ? scale : 1;
    auto code = [&](int64_t i) {
      return static_cast<uint8_t>(roundTo((group[i] - least) / divisor, 0, 15));
    };
    for (int64_t i = 0; i < kGroup / 2; ++i)
      to[i] = static_cast<uint8_t>(code(i) | code(i + kGroup / 2) << 4);
  }
}

inline void pack(bool isNibbles, const float *numbers, int64_t depth,
                 uint8_t *to) {
  isNibbles ? packNibbles(numbers, depth, to) : packBytes(numbers, depth, to);
}

/// Number `d` of a record whose bytes lie `stride` apart.
inline float numberOf(bool isNibbles, const uint8_t *from, int64_t stride,
                      int64_t depth, int64_t d) {
  uint8_t bytes[4];
  if (!isNibbles) {
    for (int64_t i = 0; i < 4; ++i)
      bytes[i] = from[(depth + i) * stride];
    float scale;
    memcpy(&scale, bytes, 4);
    return static_cast<float>(static_cast<int8_t>(from[d * stride])) * scale;
  }
  const uint8_t *group = from + d / kGroup * kGroupBytes * stride;
  for (int64_t i = 0; i < 4; ++i)
    bytes[i] = group[(16 + i) * stride];
  int64_t i = d % kGroup;
  uint8_t both = group[i % 16 * stride];
  float code = static_cast<float>(i < 16 ? both & 15 : both >> 4);
  // Exact product: one rounding, as an FMA has.
  return code * fromShort(bytes) + fromShort(bytes + 2);
}

} // namespace ferrite::record

#endif // FERRITE_RUNTIME_CACHE_RECORD_H
