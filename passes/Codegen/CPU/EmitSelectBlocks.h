//===- EmitSelectBlocks.h - Which blocks of keys are kept -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ferrite.select_blocks and ferrite.select_run_pages, whose text has the rule.
// A unit is 64 groups of queries of one head (512 queries for a stride of 8), a
// register lane each; it walks the blocks of keys before them. A block's groups
// are rows of a product, so that maxima and sums over keys are vertical. What a
// block got is kept with the maximum that it is relative to, and becomes a
// share when all are known: one pass over the keys.
//
// Nothing is as large as the scores of all pairs: per unit a row of the list
// has a number for each block.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITSELECTBLOCKS_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITSELECTBLOCKS_H

#include "passes/Codegen/CPU/EmitAttention.h"

namespace ferrite::cpu {

/// The operands, in this order:
///   q [B, Sq, H, D], k [B, Sk, Hkv, D], thresholds [H] (f32); where the spec
///   has them: mask [B, Sk] (bool), offsets [B], lengths [B] (i32 or i64); the
///   lists [B, H, N] (i32).
/// Or of pages: q [1, T, H, D], keys [P, Hkv, D, 64], run begins [R + 1],
/// contexts [R], page tables [R, W] (i32), thresholds [H]; the lists [H, N].
/// q and k are f32, f16 or bf16, D and the heads static, innermost strides 1.
struct SelectBlocksSpec {
  double scale = 1, softcap = 0;
  int64_t block = 64, stride = 8;
  /// Rows and columns that a list has at most.
  int64_t blocks = 0;
  int64_t left = -1;
  bool causal = false, pooled = false;
  /// The position of query i is i + offset + offsets[b].
  AttentionSpec::Offset offset;
  bool hasMask = false, hasOffsets = false, hasLengths = false;
  /// The operands are those of pages.
  bool isPaged = false;

  unsigned thresholdsOperand() const { return isPaged ? 5 : 2; }
  unsigned maskOperand() const { return 3; }
  unsigned offsetsOperand() const { return 3 + hasMask; }
  unsigned lengthsOperand() const { return offsetsOperand() + hasOffsets; }
  unsigned resultOperand() const {
    return isPaged ? 6 : lengthsOperand() + hasLengths;
  }
};

/// Emits the units and the body. Failure, with a diagnostic, when the layout is
/// not as said above.
llvm::LogicalResult emitSelectBlocks(KernelBuilder &kb,
                                     const SelectBlocksSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITSELECTBLOCKS_H
