//===- StoredWeights.h - Other forms of weights and constants ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A weight is a recipe, so a transposed or stacked one is another recipe of the
// same bytes; a constant is made anew. Neither leaves an op to run.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_STOREDWEIGHTS_H
#define FERRITE_PASSES_ANALYSIS_STOREDWEIGHTS_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

/// `stored` transposed by `perm`, or null where it is neither a weight nor a
/// constant, or its recipe cannot say that.
mlir::Value transposeStored(mlir::OpBuilder &builder, mlir::Location loc,
                            mlir::Value stored, llvm::ArrayRef<int64_t> perm);

/// `stored` under other static dims, or null as above.
mlir::Value viewStored(mlir::OpBuilder &builder, mlir::Location loc,
                       mlir::Value stored, llvm::ArrayRef<int64_t> shape);

/// Values of one type, each a slice of the result along a new first axis; or
/// null as above, or where weights and constants mix.
mlir::Value stackStored(mlir::OpBuilder &builder, mlir::Location loc,
                        llvm::ArrayRef<mlir::Value> stored);

/// Elements [first, first + size) of `dim` of a matrix or a row; or null as
/// above, or where they do not begin at whole bytes, or are scaled and in more
/// than one piece.
mlir::Value sliceStored(mlir::OpBuilder &builder, mlir::Location loc,
                        mlir::Value stored, int64_t dim, int64_t first,
                        int64_t size);

/// The elements of a scale or zero point of a recipe: a constant or a source.
int64_t countStored(mlir::Attribute side);

} // namespace ferrite
#endif // FERRITE_PASSES_ANALYSIS_STOREDWEIGHTS_H
