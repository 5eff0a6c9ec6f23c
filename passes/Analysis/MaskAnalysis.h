//===- MaskAnalysis.h - What an attention mask keeps -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters compute the mask of an encoder in thirty nodes of index arithmetic
// that come down to "attention_mask[b, k] != 0". This analysis asks for the
// mask at a symbolic (batch, head, query, key), walks back through whatever
// computes it, and looks at the expression that is left. A node that it does
// not understand is an element loaded from that node's result: less is known
// then, and nothing is wrong.
//
// One instance serves all scores of the same extents; what it learned of a
// value is kept, so a mask that twelve layers share is walked once. Values must
// stay alive as long as the analysis: a pass erases after it is done.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_MASKANALYSIS_H
#define FERRITE_PASSES_ANALYSIS_MASKANALYSIS_H

#include "passes/Analysis/MaskExpr.h"
#include "llvm/ADT/DenseMap.h"

namespace ferrite {

/// The four coordinates of a score and their extents.
struct ScoreCoords {
  DimExpr batch, head, query, key;
  DimExpr batches, heads, queries, keys;

  static ScoreCoords make(CoordSpace &space, const DimExpr &batches,
                          const DimExpr &heads, const DimExpr &queries,
                          const DimExpr &keys);
  Coords all() const { return {batch, head, query, key}; }
};

/// What is added to the scores.
struct MaskClass {
  MaskKind kind = MaskKind::Bias;
  /// Of `keep`: an i1 over batch and key alone, and what is added where it is
  /// false.
  const MaskNode *keep = nullptr;
  double fill = 0;
  /// Of `bias`: why it is no `keep`.
  std::string reason;
};

class MaskAnalysis {
public:
  MaskAnalysis(CoordSpace &space, const ScoreCoords &scores)
      : exprs(space), scores(scores) {}

  /// The element of `value` at `coords`.
  const MaskNode *evaluate(mlir::Value value, llvm::ArrayRef<DimExpr> coords);
  /// What a mask that adds `additive` to the scores is.
  MaskClass classify(const MaskNode *additive);
  /// A value of [batch, keys] whose element (b, k) is `node`, if the graph has
  /// one.
  mlir::Value findValue(const MaskNode *node) const {
    return values.lookup(node);
  }

  MaskExprs &getExprs() { return exprs; }
  const ScoreCoords &getScores() const { return scores; }

private:
  const MaskNode *walk(mlir::Value value, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkOp(mlir::Operation *op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkConstant(mlir::Value value,
                               llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkElementwise(mlir::Operation *op,
                                  llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkConcat(ConcatOp op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkGather(GatherOp op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkGatherND(GatherNDOp op, llvm::ArrayRef<DimExpr> coords);
  std::optional<DimExpr> position(const MaskNode *index, const DimExpr &size);
  std::string whyNotPerKey(const MaskNode *node);

  MaskExprs exprs;
  ScoreCoords scores;
  std::map<std::string, const MaskNode *> seen;
  llvm::DenseMap<const MaskNode *, mlir::Value> values;
  unsigned depth = 0;
};

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_MASKANALYSIS_H
