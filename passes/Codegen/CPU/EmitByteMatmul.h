//===- EmitByteMatmul.h - A product of two activations of bytes -*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// result[.., m, n] = epilogue(sum over k of (a[.., m, k] - za) *
//                                           (b[.., k, n] - zb), sides...)
//
// exactly in i32 (wrapping). Operands, all of one rank of at least 2 and with
// as many leading dims as the result:
//   0        a        unsigned bytes, adjacent along k
//   1        b        bytes of either sign, any strides
//   2        za, zb   i32 of rank 0, those that there are
//   ...      sides    strides (any or 0, 1 or 0) of the last two dims
//   last     result   strides (any, 1)
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITBYTEMATMUL_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITBYTEMATMUL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct ByteMatmulSpec {
  /// Arguments (product i32, one for each side), a terminator with the result.
  /// Null: the result is the product.
  mlir::Block *epilogue = nullptr;
  bool hasZeroA = false, hasZeroB = false;
};

/// Fails, with a diagnostic, on a layout or an epilogue it cannot do.
llvm::LogicalResult emitByteMatmul(KernelBuilder &kb,
                                   const ByteMatmulSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITBYTEMATMUL_H
