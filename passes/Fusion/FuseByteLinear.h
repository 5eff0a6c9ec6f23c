//===- FuseByteLinear.h - Products of bytes with a weight -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H
#define FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H

#include "passes/Analysis/Matchers.h"

#include "mlir/IR/PatternMatch.h"

namespace ferrite {

/// Turn products of bytes with a weight into linears.
void populateByteLinearPatterns(mlir::RewritePatternSet &patterns);

/// Whether they do so with a product of integers, or of dequantized numbers;
/// says why not.
llvm::LogicalResult matchByteProduct(MatmulOp matmul, Reject reject);
llvm::LogicalResult matchQuantizedProduct(MatmulOp matmul, Reject reject);

/// Whether elements are bytes.
bool isOfBytes(mlir::Value value);
/// Whether the numbers of a right side are stored as few bits.
bool isOfQuantizedWeight(mlir::Value rhs);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_FUSEBYTELINEAR_H
