//===- ProductFrame.h - What kernels of products have around ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The operands behind the two factors are sides of an epilogue and the result;
// batched products share a grid of matrices, chunks of rows and panels.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_PRODUCTFRAME_H
#define FERRITE_PASSES_CODEGEN_CPU_PRODUCTFRAME_H

#include "passes/Codegen/CPU/MicroKernel.h"

namespace ferrite::cpu {

/// Fails, with a diagnostic that begins with `kernel`, unless the last strides
/// of operands [firstSide, result) are 0 or 1, that of the result is 1, and
/// `body` has an argument for the product and one for each side; null: no side.
llvm::LogicalResult checkEpilogue(KernelBuilder &kb, llvm::StringRef kernel,
                                  mlir::Block *body, unsigned firstSide,
                                  unsigned result);

/// The epilogue of the operands from `firstSide` on, of the matrix at `batch`.
Epilogue makeEpilogue(KernelBuilder &kb, mlir::Block *body, unsigned firstSide,
                      unsigned result, mlir::ValueRange batch = {});

/// Defines the units of a batched product and emits each: `emit` takes its
/// matrix, chunk of `rows` rows and panel of `columns` columns.
void emitMatrixUnits(
    KernelBuilder &kb, unsigned result, int64_t rows, int64_t columns,
    llvm::function_ref<void()> begin,
    llvm::function_ref<void(llvm::ArrayRef<mlir::Value> index)> emit);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_PRODUCTFRAME_H
