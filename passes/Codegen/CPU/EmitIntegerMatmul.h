//===- EmitIntegerMatmul.h - A matrix product of integers -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Operands as of EmitMatmul.h, without sides: a [batch..., M, K], b [batch...,
// K, N] and a result [batch..., M, N], whose last strides are 1 but that of a,
// which may be any. Elements are extended to the result type, whose arithmetic
// wraps.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITINTEGERMATMUL_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITINTEGERMATMUL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Which operands have unsigned elements: layouts do not say it.
struct IntegerMatmulSpec {
  bool unsignedA = false, unsignedB = false;
};

/// Fails, with a diagnostic, on a layout it cannot do.
llvm::LogicalResult emitIntegerMatmul(KernelBuilder &kb,
                                      const IntegerMatmulSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITINTEGERMATMUL_H
