//===- FuseAttentionOperand.h - Queries, keys, values ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEATTENTIONOPERAND_H
#define FERRITE_PASSES_FUSION_FUSEATTENTIONOPERAND_H

#include "passes/Fusion/FuseAttentionMatch.h"

namespace ferrite {

/// The constant that a value is everywhere, computed ones included.
std::optional<double> getScale(mlir::Value value, unsigned depth = 0);

/// The scalar that `op`, a mul or div, multiplies its other operand with.
struct Scaling {
  mlir::Value scaled;
  double factor;
};
std::optional<Scaling> getScaling(mlir::Operation *op);

/// What the dims of an operand stand for.
struct OperandRoles {
  enum Role { Batch, Token, Head, Size };
  /// Coordinate and extent by role.
  Coords coords;
  Dims extents;
  /// Heads may be fewer than the extent: each is read by a group of queries'.
  bool grouped = false;
  /// Scales on the way are the attention's.
  bool scalable = true;
  mlir::Type element;
};

/// Traces element `coords` of `value` to the best value that is
/// [batch, tokens, heads, size], in this or another order; adds the locations
/// of what it passes.
std::optional<AttentionOperand>
traceOperand(CoordSpace &space, mlir::Value value, Coords coords,
             const OperandRoles &roles,
             llvm::SmallVectorImpl<mlir::Location> &locs);

/// The operand as a value of rank 4.
mlir::Value buildOperand(mlir::OpBuilder &builder, mlir::Location loc,
                         DimAnalysis &dims, const AttentionOperand &operand);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONOPERAND_H
