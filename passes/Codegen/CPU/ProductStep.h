//===- ProductStep.h - How one step of a product multiplies -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The rows of the table of arithmetic: a step takes `group` neighbours along k
// of a register of columns and of one row of A, and adds their products to a
// register of sums.
//
//   element types     group   sums   instructions
//   floats            1       f32    FMA
//   bytes, Fours      4       i32    vpdpbusd
//   bytes, Signed     4       i32    sdot; A's were flipped (emitByteRows)
//   words             2       i32    vpmaddwd, vpaddd (WordProduct.h)
//   bytes, Pairs      4       i32    2 x the same of bytes widened on the way
//   bytes, Ones       4       i32    4 x (multiply, add) of 32-bit lanes
//
// Bytes are unsigned on the side of A and signed on that of B, where they lie
// in groups (PanelLayout.h). Their sums are exact: 2^31 / (255 * 128) is a K of
// 65793, and sums wrap beyond as i32 does.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_PRODUCTSTEP_H
#define FERRITE_PASSES_CODEGEN_CPU_PRODUCTSTEP_H

#include "passes/Codegen/CPU/KernelBuilder.h"

#include <memory>

namespace ferrite::cpu {

class ProductStep {
public:
  /// The machine registers that a register of columns, or a row, takes.
  using Registers = llvm::SmallVector<mlir::Value, 2>;

  static std::unique_ptr<ProductStep> make(KernelBuilder &kb, mlir::Type aType,
                                           mlir::Type bType);
  /// Bytes the other way around: those of rows are signed, of columns unsigned.
  static std::unique_ptr<ProductStep> makeSigned(KernelBuilder &kb);
  virtual ~ProductStep() = default;

  /// Values of k in a step.
  virtual int64_t group() const { return 1; }
  /// Steps in one iteration of the loop: enough that its add, compare and jump
  /// vanish beside 24 FMAs each.
  virtual int64_t unroll() const { return 4; }
  virtual mlir::Type sumType() const = 0;
  virtual Registers loadColumns(mlir::Value pointer, mlir::Value mask) = 0;
  /// The same of lanes of 32 bits, group() bytes each, that are loaded already.
  virtual Registers columnsOf(mlir::Value bits) { return {bits}; }
  /// `count` neighbours of a row, in all lanes: group(), or fewer at the end of
  /// K, which is the constant `depth`. Nothing past them is read.
  virtual Registers loadRow(mlir::Value pointer, int64_t count,
                            int64_t depth) = 0;
  virtual mlir::Value multiplyAdd(const Registers &row,
                                  const Registers &columns,
                                  mlir::Value sum) = 0;
};

/// Bytes times bytes, for which A is unsigned and B signed; or those widened.
/// (As integers: i16 also holds the bits of short floats.)
inline bool isByteProduct(mlir::Type aType, mlir::Type bType) {
  return (aType.isInteger(8) && bType.isInteger(8)) ||
         (aType.isInteger(16) && bType.isInteger(16));
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_PRODUCTSTEP_H
