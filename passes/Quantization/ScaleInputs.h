//===- ScaleInputs.h - Change what a product is fed -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_SCALEINPUTS_H
#define FERRITE_PASSES_QUANTIZATION_SCALEINPUTS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Analysis/DimAnalysis.h"

namespace ferrite {

/// Why nothing but the op that makes `value` can divide it by a factor for each
/// innermost index; null when it can at no cost: in the weight of a norm, or in
/// the epilogue of a product.
const char *whyNotScaled(mlir::Value value);
/// Divides `value` by `factors` there.
void divideBy(mlir::Value value, llvm::ArrayRef<float> factors);

/// The elements of a constant of floats, as many as `count`; empty if it is
/// none.
std::vector<float> floatsOf(mlir::Value value, int64_t count);
mlir::Value makeFloats(mlir::OpBuilder &builder, mlir::Location loc,
                       llvm::ArrayRef<float> values);

/// `input` times an orthogonal symmetric matrix of `size` in each block of as
/// many innermost elements: a product of its own.
mlir::Value multiplyBlocks(mlir::OpBuilder &builder, mlir::Value input,
                           llvm::ArrayRef<float> matrix, int64_t size,
                           DimAnalysis &dims);

} // namespace ferrite
#endif // FERRITE_PASSES_QUANTIZATION_SCALEINPUTS_H
