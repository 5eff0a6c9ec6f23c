//===- ExpertParts.h - What one turn of a loop over experts does *- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The turn of expert e finds the slots that chose it, computes rows for them,
// and adds those to the tokens:
//
//   at = nonzero(mask), mask(slot) = (experts[slot] == e)
//   result[token(at[j])] = before[token(at[j])] + rows[j]     for each j
//
// A slot is a token and one of its choices. Exporters spell the mask and the
// positions in many ways; here each is asked for one element: which expert is
// compared with which number, and which linear function of the tuple that
// nonzero found is an index.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_EXPERTPARTS_H
#define FERRITE_PASSES_FUSION_EXPERTPARTS_H

#include "passes/Analysis/CoordSpace.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"

namespace ferrite {

/// One turn of the loop.
struct ExpertPart {
  mlir::Operation *root = nullptr; ///< what adds the rows
  mlir::Value before, rows;
  mlir::Value indices; ///< of the tokens
  int64_t depth = 1;   ///< dims of `before` that `indices` choose in
  /// Rows replace what was there, and nothing was read from there.
  bool replaces = false;

  NonZeroOp found;
  mlir::Value experts; ///< [.., choices], as topk or arg_reduce made it
  int64_t expert = 0;
};

/// The dims of the choices: experts[tokens, choices] below `count`.
struct ExpertChoices {
  DimExpr tokens = 0;
  int64_t choices = 0, count = 0;
};
/// Nothing where `experts` is not the best of a known number of each token.
std::optional<ExpertChoices> choicesOf(mlir::Value experts, DimAnalysis &dims);

/// Reads parts, and what is computed from the positions of one.
class PartReader {
public:
  explicit PartReader(DimAnalysis &dims);

  /// The last turn of a loop that ends at `op`, without its mask.
  static std::optional<ExpertPart> findPart(mlir::Operation *op);
  /// Whether an index is computed from what some nonzero found.
  static NonZeroOp findNonZero(mlir::Value index);
  /// Completes the part, or says why it is none.
  llvm::LogicalResult read(ExpertPart &part, const ExpertChoices &choices,
                           Reject reject);
  /// The experts that the mask of `found` compares; null: no such mask.
  mlir::Value findExperts(NonZeroOp found);

  /// Position of row `j` in the first `depth` dims of `data`, as a linear
  /// function of what `found` has at j; nothing where it is none.
  std::optional<DimExpr> rowIndex(NonZeroOp found, mlir::Value indices,
                                  llvm::ArrayRef<DimExpr> data, bool areTuples,
                                  std::optional<DimExpr> column = {});
  /// The same of the slot and the token that `found` has at j.
  DimExpr slot, token;

private:
  struct Compared {
    mlir::Value ids;
    Coords at;
    int64_t expert;
  };
  std::optional<Compared> readMask(mlir::Value mask, Coords at);
  std::optional<DimExpr> elementAt(NonZeroOp found, mlir::Value value,
                                   Coords at, unsigned depth = 0);
  Coords maskCoords(NonZeroOp found);

  DimAnalysis &dims;
  CoordSpace space;
};

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_EXPERTPARTS_H
