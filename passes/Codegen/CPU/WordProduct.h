//===- WordProduct.h - Bytes prepared for a product -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Levels without a dot product of bytes multiply pairs of 16 bits. Widening in
// the tile takes the ports of its additions (76 % of their peak), so rows of x
// and the slice of a panel are widened once, into scratch.
//
// A register of bytes in groups of four along k becomes two of pairs: bytes 0
// and 2 of each group, and 1 and 3. So k lies in blocks of 4 * lanes: first the
// first pairs of all groups of a block, then the second ones. Both sides have
// this order, and sums of integers have none.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_WORDPRODUCT_H
#define FERRITE_PASSES_CODEGEN_CPU_WORDPRODUCT_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// K in whole blocks: what a row takes, and a step of two runs over.
int64_t wordDepth(const CpuLevel &level, int64_t depth);

/// Writes `rows` rows of `depth` unsigned bytes, `rowStride` apart, as 16 bits
/// to `to`, where rows are `toStride` apart; zeros behind them.
void emitWordRows(KernelBuilder &kb, mlir::Value from, mlir::Value rowStride,
                  mlir::Value rows, int64_t depth, mlir::Value to,
                  int64_t toStride);

/// Copies such rows as bytes; with `flips` less 128, as signed ones. What lies
/// behind a row's `depth` stays as it is: its weights are 0.
void emitByteRows(KernelBuilder &kb, mlir::Value from, mlir::Value rowStride,
                  mlir::Value rows, int64_t depth, mlir::Value to,
                  int64_t toStride, bool flips);

/// Writes `columns` registers of columns of a panel of signed bytes,
/// [depth / 4][width][4] from `from`, to [wordDepth / 2][columns * lanes][2].
/// What lies behind `depth` meets zeros of the rows and stays as it is.
void emitWordColumns(KernelBuilder &kb, mlir::Value from, int64_t width,
                     unsigned columns, int64_t depth, mlir::Value to);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_WORDPRODUCT_H
