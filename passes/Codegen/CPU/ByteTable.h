//===- ByteTable.h - Bodies that are functions of one byte ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A graph that rounds to bytes on both sides of a GELU computes, for each sum
// of a product, one of 256 numbers: what follows the first rounding is a table.
// AVX-512 looks 16 of its entries up in about ten instructions.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_BYTETABLE_H
#define FERRITE_PASSES_CODEGEN_CPU_BYTETABLE_H

#include "passes/Codegen/CPU/KernelBuilder.h"

#include <array>
#include <optional>

namespace ferrite::cpu {

struct ByteTable {
  /// A whole number of f32 from `least` to least + 255.
  mlir::Value source;
  int64_t least;
  /// What the body yields, of 8 bits, for each of them.
  std::array<uint8_t, 256> codes;
  /// They are the low bits of the numbers.
  bool isIdentity;
};

/// If `body` yields one value of 8 bits that is a function of a whole number
/// rounded on the way and of constants, and costs more than a table. What
/// cannot be computed now has none.
std::optional<ByteTable> findByteTable(mlir::Block &body);

/// The codes of registers of numbers, of i8.
mlir::Value emitByteTable(KernelBuilder &kb, const ByteTable &table,
                          mlir::Value numbers);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_BYTETABLE_H
