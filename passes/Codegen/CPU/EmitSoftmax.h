//===- EmitSoftmax.h - Softmax of rows --------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITSOFTMAX_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITSOFTMAX_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// The operands, in this order:
///   x [.., D], addend if hasAddend; result [.., D].
/// result = softmax(scale * x + addend) over the innermost dimension. The
/// addend's dimensions align with the result's at the innermost; those of
/// static size 1 or stride 0 are broadcast. f32, f16 or bf16 each, f32
/// arithmetic, innermost strides 1 (0 in an addend that is broadcast there).
/// The result may alias x, index by index.
struct SoftmaxSpec {
  double scale = 1;
  bool hasAddend = false;
  /// What a row of -inf gives: 0, or else NaN as in ONNX.
  bool zeroFullyMasked = false;
};

llvm::LogicalResult emitSoftmax(KernelBuilder &kb, const SoftmaxSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITSOFTMAX_H
