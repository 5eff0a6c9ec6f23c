//===- HalfProduct.h - Products of f16 in f16 -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// vfmadd..ph multiplies 32 columns by one k, twice as many as f32. Its sums
// have eleven bits, so they are short: after every kHalfBlock of k, by absolute
// position, they are added to sums of f32.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_HALFPRODUCT_H
#define FERRITE_PASSES_CODEGEN_CPU_HALFPRODUCT_H

#include "passes/Codegen/CPU/MicroKernel.h"

namespace ferrite::cpu {

/// Of 64 and 128 that codegen.md 3.4 measured: 79 and 88 % of the peak, with
/// errors of 0.9e-3 and 1.2e-3.
inline constexpr int64_t kHalfBlock = 128;

/// Copies rows of f16 with each value twice, because a broadcast of 32 bits
/// needs no shuffle port and one of 16 bits does.
void emitTwinRows(KernelBuilder &kb, mlir::Value from, mlir::Value rowStride,
                  mlir::Value rows, int64_t depth, mlir::Value to,
                  int64_t toStride);

/// emitProduct() of such twins (`tile.a`, of 32 bits) and f16 columns.
llvm::SmallVector<mlir::Value> emitHalfProduct(KernelBuilder &kb,
                                               const ProductTile &tile);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_HALFPRODUCT_H
