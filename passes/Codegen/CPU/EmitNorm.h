//===- EmitNorm.h - Layer and rms normalization of rows ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One kernel per row: means in two passes over a row that stays in L1, f32
// throughout, one rounding into the result.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITNORM_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITNORM_H

#include "passes/Codegen/CPU/RowKernel.h"

namespace ferrite::cpu {

/// The operands, in this order:
///   x [.., D], weight [D], bias [D] if hasBias, residual [.., D] if
///   hasResidual, after [.., D] if hasAfter; result [.., D].
/// f32, f16 or bf16 each, of innermost stride 1; the rest may be dynamic. The
/// result may alias x or what is added, index by index.
struct NormSpec {
  NormRow::Kind kind = NormRow::Kind::Layer;
  double epsilon = 0;
  bool hasBias = false;
  /// The row that is normalized is x + residual.
  bool hasResidual = false;
  /// The result is that of the norm + after.
  bool hasAfter = false;
};

llvm::LogicalResult emitNorm(KernelBuilder &kb, const NormSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITNORM_H
