//===- PackedPanels.h - How weights of few bits lie -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A K x N matrix of unsigned codes of 2, 3, 4 or 8 bits, with a scale (and
// perhaps a zero point) for each column and `block` of k, as kernels stream it:
// panels of 64 columns, and in each panel block after block
//
//   [64] scales, f32, f16 or bf16
//   [64] zero points, bytes or f32, where there are any
//   codes: [steps][64] words of 32 bits, each of one column
//
// so that a panel is one stream of bytes. A word has the codes of 4 * f
// neighbours along k, f = 8 / bits: byte i has, from its low bits up, those of
// k = i, 4 + i, 8 + i, .. A shift and a mask thus make four neighbours along k
// in the bytes of a lane, which products of bytes want, and a lane's low bits
// are one code, which tables want.
//
// Codes of 3 bits are two of such planes for 32 k: two words of two bits (k <
// 16, k >= 16) and one of the third bits, [steps][3][64]. Blocks must then be
// multiples of 32.
//
// The last block and the last panel are filled up: their codes mean nothing,
// their scales are 0.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_SUPPORT_PACKEDPANELS_H
#define FERRITE_LIB_SUPPORT_PACKEDPANELS_H

#include <algorithm>
#include <cstdint>

namespace ferrite {

struct PackedPanels {
  static constexpr int64_t kWidth = 64; ///< columns of a panel

  int64_t depth = 0, columns = 0; ///< K, N
  int64_t bits = 4;
  int64_t block = 32; ///< of k; K or more: one block
  int64_t scaleBytes = 4, zeroBytes = 0;

  /// The k of a step: a word of each column, or three.
  int64_t stepDepth() const { return bits == 3 ? 32 : 32 / bits; }
  int64_t wordsPerStep() const { return bits == 3 ? 3 : 1; }
  int64_t stepBytes() const { return wordsPerStep() * kWidth * 4; }
  int64_t blockDepth() const { return std::min(block, depth); }
  int64_t blocks() const { return (depth + blockDepth() - 1) / blockDepth(); }
  /// The k of a block, the last of which may be shorter.
  int64_t depthOf(int64_t which) const {
    return std::min(blockDepth(), depth - which * blockDepth());
  }
  static int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
  int64_t stepsOf(int64_t which) const {
    return ceilDiv(depthOf(which), stepDepth());
  }
  int64_t zerosOffset() const { return kWidth * scaleBytes; }
  int64_t codesOffset() const { return kWidth * (scaleBytes + zeroBytes); }
  /// Bytes of a whole block in a panel, and before block `which`.
  int64_t blockBytes() const {
    return codesOffset() + ceilDiv(blockDepth(), stepDepth()) * stepBytes();
  }
  int64_t panels() const { return ceilDiv(columns, kWidth); }
  int64_t panelBytes() const {
    return (blocks() - 1) * blockBytes() + codesOffset() +
           stepsOf(blocks() - 1) * stepBytes();
  }
  int64_t bytes() const { return panels() * panelBytes(); }

  /// Whether steps do not cross blocks, and widths are what code knows.
  bool isValid() const {
    return depth > 0 && columns > 0 && block > 0 &&
           (bits == 2 || bits == 3 || bits == 4 || bits == 8) &&
           (blocks() == 1 || block % stepDepth() == 0);
  }

  /// Where the code of (k, n) is: the byte of a word, and its first bit. The
  /// third of three bits lies elsewhere (thirdPlace).
  struct Place {
    int64_t byte, bit;
  };
  Place place(int64_t k, int64_t n) const {
    int64_t width = bits == 3 ? 2 : bits, word = 32 / width;
    int64_t at = wordOf(k, n), within = k % blockDepth() % stepDepth();
    at += bits == 3 ? within / word * kWidth * 4 : 0;
    within %= word;
    return {at + within % 4, within / 4 * width};
  }
  Place thirdPlace(int64_t k, int64_t n) const {
    int64_t within = k % blockDepth() % stepDepth();
    return {wordOf(k, n) + 2 * kWidth * 4 + within % 4, within / 4};
  }
  /// Where the scale of (k, n) is; its zero point lies zerosOffset() and n %
  /// kWidth elements of its own after the block's begin.
  int64_t blockOffset(int64_t k, int64_t n) const {
    return n / kWidth * panelBytes() + k / blockDepth() * blockBytes();
  }

  unsigned read(const unsigned char *data, int64_t k, int64_t n) const {
    Place at = place(k, n);
    int64_t width = bits == 3 ? 2 : bits;
    unsigned code = data[at.byte] >> at.bit & ((1u << width) - 1);
    if (bits == 3) {
      Place third = thirdPlace(k, n);
      code |= (data[third.byte] >> third.bit & 1u) << 2;
    }
    return code;
  }
  /// Into bytes that were zeros.
  void write(unsigned char *data, int64_t k, int64_t n, unsigned code) const {
    Place at = place(k, n);
    unsigned low = bits == 3 ? code & 3u : code;
    data[at.byte] = static_cast<unsigned char>(data[at.byte] | low << at.bit);
    if (bits == 3) {
      Place third = thirdPlace(k, n);
      data[third.byte] = static_cast<unsigned char>(
          data[third.byte] | (code >> 2 & 1u) << third.bit);
    }
  }

private:
  int64_t wordOf(int64_t k, int64_t n) const {
    int64_t step = k % blockDepth() / stepDepth();
    return blockOffset(k, n) + codesOffset() + step * stepBytes() +
           n % kWidth * 4;
  }
};

/// A row of activations as bytes (ferrite.round_rows).
struct RoundedRows {
  int64_t columns = 0, block = 0;
  int64_t sumBlock = 0; ///< of the sums; 0: `block`. One divides the other.

  static int64_t align(int64_t size) { return (size + 63) / 64 * 64; }
  int64_t blockDepth() const { return std::min(block, columns); }
  int64_t blocks() const {
    return PackedPanels::ceilDiv(columns, blockDepth());
  }
  int64_t scalesOffset() const { return align(columns); }
  int64_t sumDepth() const {
    return sumBlock ? std::min(sumBlock, columns) : blockDepth();
  }
  int64_t sums() const { return PackedPanels::ceilDiv(columns, sumDepth()); }
  int64_t sumsOffset() const { return scalesOffset() + 4 * blocks(); }
  int64_t bytes() const { return align(sumsOffset() + 4 * sums()); }
};

} // namespace ferrite
#endif // FERRITE_LIB_SUPPORT_PACKEDPANELS_H
