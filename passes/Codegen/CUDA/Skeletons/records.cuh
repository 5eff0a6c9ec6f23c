// records.cuh - Keys and values of a pool, as floats or as bytes
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a pool of bytes has of one token's head is a record: that of
// runtime/cache/Record.h, whose bits these are. In a page of keys byte w of
// token t is at w * 64 + t, in one of values at t * WIDTH + w.
#ifndef FERRITE_RECORDS_CUH
#define FERRITE_RECORDS_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// DEPTH numbers of a pool of T, at a token whose elements lie STRIDE apart.
template <class T, int DEPTH, int STRIDE>
struct PoolRow {
  static constexpr int WIDTH = DEPTH;
  const T *at;
  FERRITE_DEVICE explicit PoolRow(const T *at) : at(at) {}
  FERRITE_DEVICE float operator()(int d) const {
    return (float)load(at + d * STRIDE);
  }
};

/// Four bytes STRIDE apart.
template <int STRIDE>
FERRITE_DEVICE u32 fourBytes(const u8 *at) {
  if (STRIDE == 1 && (u64)at % 4 == 0)
    return *(const u32 *)at;
  u32 all = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    all |= (u32)at[i * STRIDE] << 8 * i;
  return all;
}

template <int DEPTH, int STRIDE>
struct PoolRow<i8, DEPTH, STRIDE> {
  static constexpr int WIDTH = DEPTH + 4;
  const i8 *at;
  float scale;
  FERRITE_DEVICE explicit PoolRow(const i8 *at)
      : at(at),
        scale(bitsAs<float>(
            fourBytes<STRIDE>((const u8 *)at + DEPTH * STRIDE))) {}
  FERRITE_DEVICE float operator()(int d) const {
    return (float)at[d * STRIDE] * scale;
  }
};

/// Groups of 32: 16 bytes of two codes, a scale and a least number as bf16.
template <int DEPTH, int STRIDE>
struct PoolRow<u8, DEPTH, STRIDE> {
  static constexpr int WIDTH = DEPTH / 32 * 20;
  const u8 *at;
  FERRITE_DEVICE explicit PoolRow(const u8 *at) : at(at) {}
  FERRITE_DEVICE float operator()(int d) const {
    const u8 *group = at + d / 32 * 20 * STRIDE;
    const u32 both = fourBytes<STRIDE>(group + 16 * STRIDE);
    const int byte = group[d % 16 * STRIDE];
    return fma((float)(d % 32 < 16 ? byte & 15 : byte >> 4),
               floatOfBF16((u16)both), floatOfBF16((u16)(both >> 16)));
  }
};

/// To the nearest within [least, most]; a NaN is `least`.
FERRITE_DEVICE float roundWithin(float v, float least, float most) {
  v = v > least ? v : least;
  return roundEven(v < most ? v : most);
}

/// The record of the numbers read(d), by a warp; put(w, byte) takes its bytes.
template <int DEPTH, class Read, class Put>
FERRITE_DEVICE void packBytes(Read read, Put put) {
  float highest = 0;
  for (int d = lane(); d < DEPTH; d += 32)
    highest = maxNumber(abs(read(d)), highest);
  for (int mask = 16; mask > 0; mask >>= 1)
    highest = maxNumber(highest, shuffleXor(highest, mask));
  const float scale = highest / 127.0f, divisor = scale == 0 ? 1.0f : scale;
  for (int d = lane(); d < DEPTH; d += 32)
    put(d, (u8)(i8)(int)roundWithin(read(d) / divisor, -127.0f, 127.0f));
  if (lane() < 4)
    put(DEPTH + lane(), (u8)(bitsAs<u32>(scale) >> 8 * lane()));
}

template <int DEPTH, class Read, class Put>
FERRITE_DEVICE void packNibbles(Read read, Put put) {
  for (int g = 0; g < DEPTH / 32; ++g) {
    const float v = read(g * 32 + lane());
    float low = v, high = v;
    for (int mask = 16; mask > 0; mask >>= 1) {
      low = minNumber(low, shuffleXor(low, mask));
      high = maxNumber(high, shuffleXor(high, mask));
    }
    const u16 leastBits = bf16OfFloat(low + 0.0f);
    const float least = floatOfBF16(leastBits);
    const u16 scaleBits = bf16OfFloat((high - least) / 15.0f);
    const float scale = floatOfBF16(scaleBits),
                divisor = scale > 0 ? scale : 1.0f;
    const int code = (int)roundWithin((v - least) / divisor, 0.0f, 15.0f);
    const int other = shuffleXor(code, 16);
    if (lane() < 16)
      put(g * 20 + lane(), (u8)(code | other << 4));
    else if (lane() < 20)
      put(g * 20 + lane(), (u8)(((u32)leastBits << 16 | scaleBits) >>
                                8 * (lane() - 16)));
  }
}

} // namespace ferrite
#endif // FERRITE_RECORDS_CUH
