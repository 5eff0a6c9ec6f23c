//===- RowKernel.h - Kernels that work row by row ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What norm, softmax and embedding share. A row is the innermost dimension of
// the result; rows are independent, and every sum over a row has one order that
// its length alone decides: register i goes to chain i % 4 while four whole
// registers are left, the others to chain 0, the masked rest to chain 1.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_ROWKERNEL_H
#define FERRITE_PASSES_CODEGEN_CPU_ROWKERNEL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

inline bool isFloatStorage(mlir::Type type) {
  return type.isF32() || type.isF16() || type.isBF16();
}

/// Defines units of kRowsPerUnit rows of operand `shaped`, and a body that
/// calls `row` for each with the indices of its leading dimensions.
inline constexpr int64_t kRowsPerUnit = 4;
void defineRows(KernelBuilder &kb, unsigned shaped,
                llvm::function_ref<void(mlir::ValueRange indices)> row);

/// The start of the row of operand i that belongs to the indices of a row of
/// the result: dimensions align at the innermost, as in ONNX, and those of
/// static size 1 are broadcast.
mlir::Value rowPointer(KernelBuilder &kb, unsigned i, mlir::ValueRange indices);

/// One register of a row: lanes [offset, offset + lanes()), those outside
/// `mask` (null: none) without meaning.
using LoadRow =
    llvm::function_ref<mlir::Value(mlir::Value offset, mlir::Value mask)>;

/// combine(accumulator, register) over the row from `start` on, four chains;
/// lanes outside the row are left as they were. Then `join`s the chains.
mlir::Value
reduceRow(KernelBuilder &kb, mlir::Value count, mlir::Value start, LoadRow load,
          llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine,
          llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> join);

/// The scalar sum of a row of registers.
mlir::Value sumRow(KernelBuilder &kb, mlir::Value count, LoadRow load);

/// What normalization of a row needs.
struct NormRow {
  enum class Kind { Layer, RMS } kind = Kind::Layer;
  double epsilon = 0;
  mlir::Value count;
  /// The row before normalization. Called once per register if `buffer` is
  /// there, three times otherwise.
  LoadRow load;
  /// Null, or memory for `count` floats and a register.
  mlir::Value buffer;
  mlir::Value weight, bias; ///< pointers; the bias may be null
  mlir::Type weightType, biasType;
  mlir::Value result;
  mlir::Type resultType;
  /// A row that is added to the result, or null; it may be the result's memory.
  mlir::Value after = {};
  mlir::Type afterType = {};
};
void emitNormRow(KernelBuilder &kb, const NormRow &norm);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_ROWKERNEL_H
