//===- AttentionCase.h - Attention, its kernel and reference ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the tests of the attention emitter share: random operands of one case, a
// kernel for it, and the op's formula as plain loops in double.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_ATTENTIONCASE_H
#define FERRITE_TEST_UNIT_CODEGEN_ATTENTIONCASE_H

#include "passes/Codegen/CPU/EmitAttention.h"
#include "test/unit/codegen/KernelJit.h"

#include <functional>
#include <limits>

namespace ferrite::test {

inline constexpr float kLowest = -3.4028234663852886e38f;
inline constexpr float kInf = std::numeric_limits<float>::infinity();

/// The forms that addends take, in the order of the operands.
enum class AddendForm {
  KeyBias,  ///< f32 [B, 1, 1, Sk]
  FullBias, ///< f32 [1, H, Sq, Sk]
  KeyMask,  ///< i1 [B, Sk]
  FullMask, ///< i1 [B, 1, Sq, Sk]
};

/// Of q, k, v and the result.
enum class Storage { F32, F16, BF16 };

struct AttentionCase {
  int64_t batch = 1, queries = 1, keys = 1, heads = 1, keyHeads = 1, depth = 64,
          valueDepth = 64;
  double scale = 0.125;
  std::vector<AddendForm> addends;
  float fill = kLowest; ///< of masks
  Storage storage = Storage::F32;
  /// The rest; its scale and addends are set from the above.
  cpu::AttentionSpec spec;

  cpu::AttentionSpec fullSpec() const;
  /// With as many queries as keys of one number.
  AttentionCase sized(int64_t tokens) const;
  size_t resultSize() const { return batch * queries * heads * valueDepth; }
};

/// The operands of a case. Nothing is masked yet.
struct AttentionData {
  std::vector<float> q, k, v, keyBias, fullBias, sinks;
  std::vector<uint8_t> keep, fullKeep;
  std::vector<int64_t> offsets, lengths, prefix, querySegments, keySegments;
  /// Block lists of so many layouts, for all batches, and what packerFor()'s
  /// kernel writes.
  int64_t layouts = 1;
  std::vector<int32_t> blockRows, blockColumns;
  mutable std::vector<float> panels;

  explicit AttentionData(const AttentionCase &c, uint32_t seed = 1);
  /// Masks a key for all queries of a batch: in the bias, and in the mask.
  void mask(const AttentionCase &c, int64_t b, int64_t j);
  /// Masks the last 5 keys of batch 1, 10 of batch 2, and one in between.
  void maskSome(const AttentionCase &c);
  void maskFor(const AttentionCase &c, int64_t b, int64_t i, int64_t j) {
    fullKeep[(b * c.queries + i) * c.keys + j] = 0;
  }
  std::vector<JitTensor> tensors(const AttentionCase &c,
                                 std::vector<float> &result) const;
};

/// The kernel for a case: of its sizes, it knows the depths, and where heads
/// are to be grouped their numbers. Compiled once; compiling is most of the
/// time.
const KernelJit &kernelFor(const std::string &level, const AttentionCase &c,
                           bool knowsHeads = false, int64_t layouts = 1);

/// The kernel that packs keys and values for lists of blocks.
const KernelJit &packerFor(const std::string &level, const AttentionCase &c);

/// The result, in so many pieces.
std::vector<float> run(const KernelJit &jit, const AttentionCase &c,
                       const AttentionData &d, int64_t pieces = 1);
/// The result by loops. Of sums in f32 it keeps what they lose: a score that is
/// added to the lowest fill, or a second fill that makes it -inf.
/// `product`: another product of query i of head h and key j of batch b.
using ProductFn =
    std::function<double(int64_t b, int64_t h, int64_t i, int64_t j)>;
std::vector<double> reference(const AttentionCase &c, const AttentionData &d,
                              const ProductFn &product = nullptr);
/// The largest difference; a NaN is infinitely far from a number, and equal to
/// a NaN.
double worst(const std::vector<float> &got, const std::vector<double> &want);
/// Of the kernel at that level, run in three pieces, from the reference.
double worstOfThree(const std::string &level, const AttentionCase &c,
                    const AttentionData &d, bool knowsHeads = false);
/// Two batches, four heads of 32 over two of keys.
AttentionCase groupedCase(int64_t queries, int64_t keys);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_ATTENTIONCASE_H
