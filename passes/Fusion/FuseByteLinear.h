//===- FuseByteLinear.h - Products of bytes with a weight -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H
#define FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"

#include "mlir/IR/PatternMatch.h"

namespace ferrite {

/// Turn products of bytes with a weight into linears.
void populateByteLinearPatterns(mlir::RewritePatternSet &patterns,
                                DimAnalysis &dims);

/// Take quantization before views and transposes (QuantizeMoves.cpp).
void populateQuantizeMovePatterns(mlir::RewritePatternSet &patterns);

/// Whether they do so with a product of integers, or of dequantized numbers;
/// says why not.
llvm::LogicalResult matchByteProduct(MatmulOp matmul, Reject reject);
llvm::LogicalResult matchQuantizedProduct(MatmulOp matmul, Reject reject);
/// The same of two activations.
llvm::LogicalResult matchQuantizedBatch(MatmulOp matmul, DimAnalysis &dims,
                                        Reject reject);

/// The weight of a product as [K, N], without leading dims of 1.
mlir::Value asMatrix(mlir::PatternRewriter &b, mlir::Location loc,
                     mlir::Value weight);
/// A view or transpose of another input of the same dims, of its type.
mlir::Value moveAgain(mlir::PatternRewriter &b, mlir::Operation *move,
                      mlir::Value input);
/// Whether a tensor has one element: what it says is for all.
bool isOne(mlir::Value value);
/// Whether elements are bytes.
bool isOfBytes(mlir::Value value);
/// Whether the numbers of a right side are stored as few bits.
bool isOfQuantizedWeight(mlir::Value rhs);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H
