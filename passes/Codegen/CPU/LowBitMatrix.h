//===- LowBitMatrix.h - An expert's matrix of few bits ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A panel of bytes [K * bits / 8][width], low bits first, with panels of scales
// and of packed zero points [K / block][width]. Each element is
// (q - zero) * scale, rounded to f32 once, whichever way it is used.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_LOWBITMATRIX_H
#define FERRITE_PASSES_CODEGEN_CPU_LOWBITMATRIX_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct LowBitMatrix {
  using Value = mlir::Value;

  int64_t depth, block, bits;   ///< bits 4 or 8
  int64_t width;                ///< columns of the panel in memory
  Value weights, scales, zeros; ///< pointers; zeros null: 2^(bits - 1)
  mlir::Type scaleType;

  /// All of it as f32, [K][width], at `to`.
  void expand(KernelBuilder &kb, Value to) const;
  /// The sums of rows of f32 at `rows` times `registers` registers of columns
  /// from `column` on, row by row: one FMA each in order of k, as tiles of the
  /// expanded panel have them.
  llvm::SmallVector<Value> multiply(KernelBuilder &kb,
                                    llvm::ArrayRef<Value> rows, Value column,
                                    unsigned registers) const;

private:
  int64_t perByte() const { return 8 / bits; }
  /// What the columns from `column` on have in a block.
  struct Block {
    Value zero, scale;
  };
  Block blockOf(KernelBuilder &kb, Value block, Value column) const;
  /// A row of bytes, and element `i` of each.
  Value bytes(KernelBuilder &kb, Value base, Value row, Value column) const;
  Value field(KernelBuilder &kb, Value packed, Value i) const;
  Value number(KernelBuilder &kb, Value packed, int64_t i,
               const Block &block) const;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_LOWBITMATRIX_H
