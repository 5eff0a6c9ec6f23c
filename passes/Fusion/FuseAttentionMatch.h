//===- FuseAttentionMatch.h - Find attention in its spellings --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The matcher of FuseAttention: from the second product upwards, since only
// there is it known where the attention ends.
//
// Operands are found by coordinates, not by the shapes of their chains: element
// (b, h, q, k) of the scores reads element (b, h, q, d) of one factor of the
// first product, and walking up through views, transposes, scales and repeated
// heads, the matcher stops where that element is [b, q, h, d]: a split
// projection, whatever lay between. See passes/Analysis/CoordSpace.h.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEATTENTIONMATCH_H
#define FERRITE_PASSES_FUSION_FUSEATTENTIONMATCH_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/MaskAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/NodeBuilder.h"
#include <map>

namespace ferrite {

/// What is known of all scores of the same extents: shared by the layers.
struct ScoreSpace {
  ScoreSpace(DimsLookup dims, mlir::ArrayAttr symbols, const Dims &extents)
      : space(std::move(dims), symbols),
        scores(ScoreCoords::make(space, extents[0], extents[1], extents[2],
                                 extents[3])),
        masks(space, scores) {}

  CoordSpace space;
  ScoreCoords scores;
  MaskAnalysis masks;
  /// The tensors that were built for masks, over [batch, keys] and over all;
  /// for windows over [batch] and [batch, queries]; for sinks over [heads].
  BuiltNodes built, builtWide, builtPrefix, builtQuery, builtSinks;
};

class ScoreSpaces {
public:
  ScoreSpaces(DimAnalysis &dims, mlir::ArrayAttr symbols)
      : dims(dims), symbols(symbols) {}
  ScoreSpace &get(const Dims &extents);
  DimAnalysis &dims;

private:
  mlir::ArrayAttr symbols;
  std::map<std::string, std::unique_ptr<ScoreSpace>> spaces;
};

/// A factor of a product, traced to a value that is [batch, tokens, heads,
/// size] after a view to `view` (none: empty) and a transposition (none:
/// empty).
struct AttentionOperand {
  mlir::Value source;
  Dims view;
  llvm::SmallVector<int64_t, 4> perm;
  double scale = 1;
};

/// What is done to the scores between product and softmax, scales aside.
struct ScoreStep {
  mlir::Operation *op;
  MaskTerm::Kind kind = MaskTerm::Sum;
  /// Added: the summand. Chosen: the condition. Of a bound: null.
  mlir::Value mask;
  Coords coords;
  /// What the summand is multiplied with before the softmax.
  double scale = 1;
  /// Of a choice: the score is kept where the condition is true, or where it is
  /// false, and is `fill` elsewhere. Of a bound: it is `fill` at least.
  bool keepsWhenTrue = true;
  double fill = 0;
};

struct AttentionMatch {
  mutable SoftmaxOp softmax; // accessors of op handles are not const
  ScoreSpace *context = nullptr;
  AttentionOperand query, key, value;
  double scale = 1;
  /// y = softcap * tanh(x / softcap) of each score before its mask; 0: none.
  double softcap = 0;
  /// The logit of each head that is in the denominator alone, or null.
  const MaskNode *sinks = nullptr;
  bool guarded = false;
  /// From the softmax to the product.
  llvm::SmallVector<ScoreStep, 1> steps;
  /// Dims of the result as [batch, tokens, heads, size].
  Dims resultDims;
  llvm::SmallVector<mlir::Location> locs;
};

/// The softmax whose result is the left factor of `product`, as it is or
/// guarded against NaN, or null.
SoftmaxOp findSoftmax(MatmulOp product);

/// Completes `match`, whose softmax is set, or says why it is no attention.
llvm::LogicalResult matchAttention(MatmulOp root, ScoreSpaces &spaces,
                                   AttentionMatch &match, Reject reject);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONMATCH_H
