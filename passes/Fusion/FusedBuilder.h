//===- FusedBuilder.h - Make ferrite.fused ops ------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEDBUILDER_H
#define FERRITE_PASSES_FUSION_FUSEDBUILDER_H

#include "mlir/IR/AffineExpr.h"
#include "passes/Analysis/DimAnalysis.h"

namespace ferrite {

/// A tensor as a body reads it: its element at these loops (or 0).
struct Read {
  mlir::Value value;
  llvm::SmallVector<mlir::AffineExpr, 4> at;
  bool operator==(const Read &other) const {
    return value == other.value && at == other.at;
  }
};

/// The read of a view that adds or removes dims of 1, of a transpose or of a
/// broadcast is a read of its input: goes down to where that ends.
Read lookThrough(Read read, DimAnalysis &dims);

using BodyFn =
    llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::ValueRange)>;

/// What a `fused` is made of. `body` and `finish` emit into their blocks and
/// return what those yield.
struct FusedParts {
  mlir::RankedTensorType type;
  Dims domain;
  llvm::SmallVector<Read> reads;
  llvm::SmallVector<mlir::AffineExpr, 4> writes;
  CombineKind combine = CombineKind::None;
};
FusedOp makeFused(mlir::OpBuilder &builder, mlir::Location loc,
                  const FusedParts &parts, BodyFn body, BodyFn finish);

/// The read of input `i` of a fused.
Read readOf(FusedOp fused, unsigned i);
mlir::AffineMap resultMap(FusedOp fused);

/// `op`, an elementwise op, a reduction or a sequence, as a `fused` (or two: a
/// mean of symbolic count) before it. Null, with a reason, when it has none.
mlir::Value buildFused(mlir::Operation *op, DimAnalysis &dims,
                       const char *&reason);

/// A product that has no kernel of its own: of f64, or of wide integers.
mlir::Value buildProduct(MatmulOp op, DimAnalysis &dims);

/// Norms and softmax of f64, for which the same is true, as elementwise ops and
/// reductions.
void expandWide(mlir::Block &block);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEDBUILDER_H
