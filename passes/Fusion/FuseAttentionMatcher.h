//===- FuseAttentionMatcher.h - The state of one match ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to FuseAttentionMatch.cpp (extents, probabilities, operands) and
// FuseAttentionScores.cpp (what is done to the scores).
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEATTENTIONMATCHER_H
#define FERRITE_PASSES_FUSION_FUSEATTENTIONMATCHER_H

#include "passes/Fusion/FuseAttentionMatch.h"

namespace ferrite {

// Between product and softmax real exports have six nodes, between softmax and
// product four.
inline constexpr unsigned kMaxAttentionChain = 64;

class AttentionMatcher {
public:
  AttentionMatcher(MatmulOp root, ScoreSpaces &spaces, AttentionMatch &match,
                   Reject reject)
      : root(root), spaces(spaces), match(match), reject(reject) {}

  llvm::LogicalResult run();

private:
  llvm::LogicalResult setExtents();
  int64_t findHeads(int64_t rank);
  llvm::LogicalResult walkProbabilities();
  llvm::LogicalResult walkLogits();
  llvm::LogicalResult walkScores();
  llvm::LogicalResult walkSoftcap(mlir::Operation *op);
  llvm::LogicalResult walkChoice(WhereOp where);
  llvm::LogicalResult walkSum(mlir::Operation *op);
  llvm::LogicalResult walkOperands();
  Coords operandCoords(mlir::Value operand, llvm::ArrayRef<DimExpr> lead,
                       const DimExpr &row, const DimExpr &column);
  std::optional<AttentionOperand>
  trace(mlir::Value value, llvm::ArrayRef<DimExpr> lead, bool grouped,
        bool scalable, bool isTransposed, const DimExpr &token,
        const DimExpr &tokens, const DimExpr &size, const DimExpr &extent);
  llvm::LogicalResult go(mlir::Value next, std::optional<Coords> at,
                         const char *reason);

  MatmulOp root, product;
  ScoreSpaces &spaces;
  AttentionMatch &match;
  Reject reject;
  Coords lead;
  // Where the walk is, and the scale between there and the softmax.
  mlir::Value value;
  Coords coords;
  double outerScale = 1;
  /// A column of the probabilities, that of the sinks, is dropped.
  bool dropsSink = false;
};

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONMATCHER_H
