//===- EmitAttention.h - Attention without a score matrix -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// result = softmax(scale * Q K^T + addends) V for every batch and head. A work
// unit is a batch, the query heads of a key head and a chunk of at most 384
// rows; it walks the keys in blocks of 512 and holds one 48 x 512 tile of
// scores. Blocks that no row of the unit sees are not read. Zen 5, f32,
// % of the FMA peak at 128, 384 and 1920 tokens: 78, 82 and 80 for D = 64, 74,
// 77 and 76 for D = 32; 12 heads of 16 tokens and D = 32 take 3.4 us.
//
// Bits: a query's result depends on its own row of Q, its addends, and the keys
// and values with a weight that is not 0. It is the same for any batch, chunk,
// or number of masked keys behind the others: blocks of keys begin at absolute
// multiples of 512, sums go by absolute position, and a masked key adds an
// exact 0 in its place (if its value is finite: 0 * inf is NaN, here as in any
// framework).
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITATTENTION_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITATTENTION_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Something that is added to the scaled scores.
struct AttentionAddend {
  enum class Kind {
    Bias, ///< a float operand (f32, f16 or bf16)
    Keep, ///< a bool or 8-bit operand: 0 adds `fill`, all else adds 0
  };
  Kind kind = Kind::Bias;
  /// Finite, as exporters write it, or -inf. With a finite fill a row whose
  /// keys are all masked weighs them alike, with -inf it has no weights.
  float fill = 0;
};

/// The operands, in this order:
///   q [B, Sq, H, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv],
///   one per addend: [B, H, Sq, Sk], or [B, Sk] for all heads and queries;
///   where the spec has them: offsets [B], lengths [B] (i32 or i64), sinks [H],
///   prefix [B], segments of queries [B, Sq] and of keys [B, Sk] (i32 or i64),
///   block lists and panels;
///   result [B, Sq, H, Dv].
/// f32, f16 or bf16 each; f32 arithmetic. D and Dv are static, Hkv divides H,
/// and the innermost stride is 1; all else may be dynamic. An addend is
/// broadcast where its size is static 1 or its stride is 0.
struct AttentionSpec {
  double scale = 1.0;
  llvm::SmallVector<AttentionAddend, 2> addends;
  /// What a row gives whose scores are all -inf: 0, or else NaN as in ONNX.
  bool zeroFullyMasked = false;
  /// softcap * tanh(score / softcap) before the addends; 0: none.
  double softcap = 0;
  /// Keys from `left` before a query's position to `right` behind it have a
  /// score; -1: unbounded.
  int64_t left = -1, right = -1;
  /// And those of the query's own `chunk` positions (0: of all). The first
  /// `anchors` keys have one whatever is before, and the keys before the prefix
  /// whatever is behind.
  int64_t chunk = 0, anchors = 0;
  /// What scores outside of the window get added, -10000 or less. Finite: a row
  /// that sees no key, by its own highest score, weighs those too. `joined`: a
  /// key that both the one Keep addend and the window drop gets this once.
  float windowFill = -std::numeric_limits<float>::infinity();
  bool joined = false;
  /// The position of query i is i + offset + offsets[b].
  struct Offset {
    int64_t constant = 0, queries = 0, keys = 0;
  } offset;
  bool hasOffsets = false, hasLengths = false, hasSinks = false,
       hasPrefix = false;
  /// Scores are of queries and keys as bytes (AttentionBytes.cpp).
  bool byteScores = false;
  /// A key of another segment than the query's is outside of the window.
  bool hasSegments = false;
  /// Not 0: keys are kept in blocks of so many, by lists (ferrite.attention has
  /// what they mean): rows [B, L, rows + 1] and columns [B, L, entries] as i32,
  /// or [1, ..], and the panels of emitPackKeysKernel.
  int64_t block = 0;

  /// The number of operands, and where the optional ones are.
  unsigned offsetsOperand() const { return 3 + addends.size(); }
  unsigned lengthsOperand() const { return offsetsOperand() + hasOffsets; }
  unsigned sinksOperand() const { return lengthsOperand() + hasLengths; }
  unsigned prefixOperand() const { return sinksOperand() + hasSinks; }
  unsigned querySegmentsOperand() const { return prefixOperand() + hasPrefix; }
  unsigned keySegmentsOperand() const { return querySegmentsOperand() + 1; }
  unsigned blockRowsOperand() const {
    return querySegmentsOperand() + (hasSegments ? 2 : 0);
  }
  unsigned blockColumnsOperand() const { return blockRowsOperand() + 1; }
  unsigned panelsOperand() const { return blockRowsOperand() + 2; }
  unsigned operands() const {
    return blockRowsOperand() + (block > 0 ? 3 : 0) + 1;
  }
};

/// Emits the units and the body. Failure, with a diagnostic, when the layout is
/// not as said above.
llvm::LogicalResult emitAttention(KernelBuilder &kb, const AttentionSpec &spec);

/// Keys and values [B, Sk, Hkv, D], [B, Sk, Hkv, Dv] into panels [B, Hkv, Sk +
/// 64, width] of f32 for an attention over block lists (ferrite.pack_keys).
llvm::LogicalResult emitPackKeysKernel(KernelBuilder &kb);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITATTENTION_H
