//===- EmitRope.h - Rotary position embedding -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITROPE_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITROPE_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// The operands, in this order:
///   x [B, S, H, D], cos [B, S, R/2], sin [B, S, R/2]; result [B, S, H, D].
/// The pair (x[i], x[R/2 + i]), or (x[2i], x[2i + 1]) when interleaved, is
/// turned by the angle of its token; elements from R on are copied. Tables may
/// have strides of 0. f32, f16 or bf16 each, f32 arithmetic, innermost strides
/// 1. The result may alias x, index by index.
struct RopeSpec {
  bool interleaved = false;
};

llvm::LogicalResult emitRope(KernelBuilder &kb, const RopeSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITROPE_H
