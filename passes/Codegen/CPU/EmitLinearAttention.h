//===- EmitLinearAttention.h - Attention through a state --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITLINEARATTENTION_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITLINEARATTENTION_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// The operands, in this order: query [B, T, G * H, Dk], key [B, T, H, Dk],
/// value [B, T, H, Dv]; decay [B, T, H, Dk or 1], beta [B, T, H] and state
/// [B, H, Dk, Dv], each if there; result [B, H, T * G + Dk, Dv] of f32. Floats
/// of any storage, f32 arithmetic; heads and sizes static; innermost strides of
/// value, state and result 1.
struct LinearAttentionSpec {
  float scale = 1;
  bool hasDecay = false;
  bool hasBeta = false;
  bool hasState = false;
};

llvm::LogicalResult emitLinearAttention(KernelBuilder &kb,
                                        const LinearAttentionSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITLINEARATTENTION_H
