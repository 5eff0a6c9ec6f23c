//===- EmitLinear.h - A matrix product with packed weights ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// result[m, n] = epilogue(sum over k of x[m, k] * w[k, n], sides[m, n]...)
//
// or, of bytes, exactly in i32 (wrapping):
//
// result[m, n] = epilogue(sum over k of (x[m, k] - zero) * w[k, n], ...)
//
// Operands, all seen as matrices:
//   0        x        [M, K]; strides (any, 1) are fast; unsigned bytes must
//                     have them
//   1        weights  in the layout of lib/Support/PanelLayout.h (BytePanels
//                     for signed bytes), 64-byte aligned; only the pointer of
//                     this operand is used
//   2        zero     one i32, if there is one
//   ...      sides    [M, N], strides (row or 0, 1 or 0): bias (0, 1),
//                     residual (ld, 1), one value for each row (ld, 0)
//   last     result   [M, N], strides (any, 1)
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITLINEAR_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITLINEAR_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct LinearSpec {
  int64_t depth = 0;     ///< K
  int64_t columns = 0;   ///< N
  mlir::Type weightType; ///< f32, f16, bf16 or a byte
  /// Arguments (product f32 or i32, one for each side), a terminator with the
  /// result.
  /// Null: the result is the product.
  mlir::Block *epilogue = nullptr;
  /// Of bytes alone: operand 2 is the zero point of x.
  bool hasZero = false;
  /// Above 0: weights, f32 or signed bytes, lie without their blocks of zeros
  /// (lib/Support/SparsePanels.h), in strips of so many columns.
  int64_t stripColumns = 0;
};

/// Fails, with a diagnostic, on a layout or an epilogue it cannot do.
llvm::LogicalResult emitLinear(KernelBuilder &kb, const LinearSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITLINEAR_H
