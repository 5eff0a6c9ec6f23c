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
#include "llvm/ADT/SmallPtrSet.h"

namespace ferrite {

/// The four coordinates of a score and their extents.
struct ScoreCoords {
  DimExpr batch, head, query, key;
  DimExpr batches, heads, queries, keys;

  static ScoreCoords make(CoordSpace &space, const DimExpr &batches,
                          const DimExpr &heads, const DimExpr &queries,
                          const DimExpr &keys);
  Coords all() const { return {batch, head, query, key}; }
  Dims extents() const { return {batches, heads, queries, keys}; }
};

/// What is done to scores: `node` is added, or the score kept where `node` is
/// true and replaced by `number` elsewhere, or it does not fall below `number`.
struct MaskTerm {
  enum Kind { Sum, Choice, Bound };
  Kind kind = Sum;
  const MaskNode *node = nullptr;
  double number = 0;
};

/// Scores where `keep` is false get `fill` added, or in their place.
struct MaskChoice {
  const MaskNode *keep;
  double fill;
  bool replaces = false;
};

/// k <= q + bound (right), or k >= q - bound (left).
struct MaskBound {
  bool isRight;
  DimExpr bound;
};

/// The window of an attention: q - left <= k <= q + right; k and q + offset in
/// one chunk; the first `anchors` keys, whatever is left; keys before the
/// prefix, whatever is right; and keys of the query's segment.
struct KeyWindow {
  std::optional<DimExpr> left, right;
  int64_t chunk = 0, anchors = 0;
  DimExpr chunkOffset;
  const MaskNode *prefix = nullptr; ///< of the batch alone
  const MaskNode *querySegments = nullptr, *keySegments = nullptr;
  /// The conditions that parts come from, limits included.
  const MaskNode *chunkNode = nullptr, *anchorNode = nullptr,
                 *prefixNode = nullptr, *segmentNode = nullptr;

  bool isEmpty() const {
    return !left && !right && chunk == 0 && !querySegments;
  }
};

/// What is done to the scores: those outside of the window get `windowFill`
/// added, those outside of any `keeps` get `fill`, and `biases` are added to
/// all. `joined`: a score outside of both gets the one fill once. A finite
/// `windowFill` is for windows only that may leave a row without a key: else
/// -inf is the same and takes less time.
struct MaskClass {
  KeyWindow window;
  double windowFill = -std::numeric_limits<double>::infinity();
  bool joined = false;
  llvm::SmallVector<const MaskNode *> keeps;
  double fill = 0;
  llvm::SmallVector<const MaskNode *> biases;
  /// Why the parts say something else than the graph, in a row without keys.
  std::string unfit;

  bool hasWindow() const { return !window.isEmpty(); }
};

/// A fill of this or less drops: e^-10000 is 0. One above is a bias.
inline constexpr double kMaskDrops = -1e4;

class MaskAnalysis {
public:
  MaskAnalysis(CoordSpace &space, const ScoreCoords &scores)
      : exprs(space), scores(scores) {}

  /// The element of `value` at `coords`.
  const MaskNode *evaluate(mlir::Value value, llvm::ArrayRef<DimExpr> coords);
  /// Makes `value` an element of its own: nothing above it is looked at. To be
  /// called before evaluate().
  void addLeaf(mlir::Value value) { leaves.insert(value); }
  using IndexOf = std::function<DimExpr(llvm::ArrayRef<DimExpr>)>;
  /// Takes the elements of `value`, whatever computes it, for this index. To be
  /// called before evaluate().
  void assume(mlir::Value value, IndexOf element) {
    assumed[value] = std::move(element);
  }
  /// What `terms` do to the scores, the first first. Fails when no score is
  /// left.
  llvm::FailureOr<MaskClass> classify(llvm::ArrayRef<MaskTerm> terms);
  /// In words: "causal + padding".
  std::string describe(const MaskClass &mask);
  /// Bit i: the element depends on scores.all()[i].
  unsigned dependencies(const MaskNode *node);
  /// A value of the graph that has `node` as its elements and no dim that it
  /// does not depend on; its dims are in the order of the scores'.
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
  const MaskNode *walkScatterND(ScatterNDOp op, llvm::ArrayRef<DimExpr> coords);
  std::optional<DimExpr> position(const MaskNode *index, const DimExpr &size);
  bool repeatsFrom(ConcatOp op, size_t first, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkContinued(ConcatOp op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkEqualParts(ConcatOp op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkCumSum(CumSumOp op, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *walkReduce(ReduceOp op, llvm::ArrayRef<DimExpr> coords);
  DimExpr anywhere(const DimExpr &extent);
  void noteValue(const MaskNode *node, mlir::Value value,
                 llvm::ArrayRef<DimExpr> coords);

  struct Summands {
    llvm::SmallVector<MaskChoice> choices;
    llvm::SmallVector<const MaskNode *> biases;
    std::string unfit;
  };
  void addSummand(const MaskNode *node, Summands &all);
  void replaceScores(const MaskTerm &term, Summands &all);
  void boundScores(double bound, Summands &all);
  void join(Summands &all, const MaskChoice &with);
  MaskClass combine(const Summands &all);
  bool alwaysKeepsOne(const MaskClass &mask);
  bool isBounded(const MaskNode *node);
  void addCondition(const MaskNode *node, MaskClass &mask);
  std::optional<MaskBound> asBound(const MaskNode *node);
  const MaskNode *asFirstKeys(const MaskNode *node);
  std::optional<std::pair<const MaskNode *, const MaskNode *>>
  asSegments(const MaskNode *node);
  /// Each is false, and the class as it was, where the condition is no part of
  /// a window or no further one.
  bool addToWindow(const MaskNode *node, MaskClass &mask);
  bool addBound(const MaskBound &next, MaskClass &mask);
  bool addExempt(const MaskNode *node, MaskClass &mask);
  bool addDistributed(const MaskNode *node, MaskClass &mask);
  bool isAlwaysInside(const DimExpr &key, const KeyWindow &window);
  void describeWindow(const KeyWindow &window,
                      llvm::function_ref<void(std::string)> add);
  std::string nameOf(const MaskNode *node);

  MaskExprs exprs;
  ScoreCoords scores;
  std::map<std::string, const MaskNode *> seen;
  llvm::DenseMap<const MaskNode *, mlir::Value> values;
  llvm::DenseMap<const MaskNode *, unsigned> dependenciesOf;
  llvm::SmallPtrSet<mlir::Value, 4> leaves;
  llvm::DenseMap<mlir::Value, IndexOf> assumed;
  unsigned depth = 0;
};

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_MASKANALYSIS_H
