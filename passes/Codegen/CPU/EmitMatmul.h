//===- EmitMatmul.h - A matrix product of two activations -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// result[..., m, n] =
//     epilogue(sum over k of a[..., m, k] * b[..., k, n], sides[..., m, n]...)
//
// Operands, all of the result's rank (2 or more):
//   0        a        [batch..., M, K]
//   1        b        [batch..., K, N]
//   2 ...    sides    [batch..., M, N]; last stride 0 or 1
//   last     result   [batch..., M, N]; last stride 1
//
// A batch dimension that an operand does not have has stride 0 in its layout.
// Every size and stride may be dynamic, but for the last strides above. A b
// whose last stride is the constant 1 is read in place, any other is packed.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITMATMUL_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITMATMUL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct MatmulSpec {
  /// Arguments (product f32, one for each side), a terminator with the result.
  /// Null: the result is the product.
  mlir::Block *epilogue = nullptr;
};

/// Fails, with a diagnostic, on a layout or an epilogue it cannot do.
llvm::LogicalResult emitMatmul(KernelBuilder &kb, const MatmulSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITMATMUL_H
