//===- EmitPackedLinear.h - A product with weights of few bits --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// result[m, n] = epilogue(sum over k of x[m, k] * w[k, n], sides[m, n]...)
//
// Operands, all seen as matrices:
//   0        x        [M, K] of floats; or, with inputBlock, the rows of bytes
//                     that round_rows makes, strides (any, 1)
//   1        weights  in the layout of lib/Support/PackedPanels.h, 64-byte
//                     aligned; only the pointer of this operand is used
//   ...      sides    [M, N] as in EmitLinear.h
//   last     result   [M, N], strides (any, 1)
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITPACKEDLINEAR_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITPACKEDLINEAR_H

#include "passes/Codegen/CPU/UnpackCodes.h"

namespace ferrite::cpu {

struct PackedLinearSpec {
  PackedSpec packed;
  int64_t inputBlock = 0; ///< of the rounded rows; 0: floats
  /// As in LinearSpec, of f32.
  mlir::Block *epilogue = nullptr;
};

/// Fails, with a diagnostic, on a layout or an epilogue it cannot do.
llvm::LogicalResult emitPackedLinear(KernelBuilder &kb,
                                     const PackedLinearSpec &spec);

/// Rows of operand 0, rounded in groups of `block` into the result: bytes with
/// the sums of each `sumBlock` (0: of each group), or f32
/// (ferrite.round_rows).
llvm::LogicalResult emitRoundRows(KernelBuilder &kb, int64_t block,
                                  int64_t sumBlock);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITPACKEDLINEAR_H
