//===- ExpertRows.h - The rows of all turns of a loop -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What turn e of a loop over experts computes for the slots that chose e,
// computed for every slot instead: read backwards from what a turn adds, in all
// turns at once. The same ops in each, gathers that read a row by its token or
// slot, and weights, of which each turn has its own. Those are stacked, and a
// product with them is an expert_linear.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_EXPERTROWS_H
#define FERRITE_PASSES_FUSION_EXPERTROWS_H

#include "passes/Fusion/ExpertParts.h"

namespace ferrite {

/// A turn that was read.
struct ExpertTurn {
  NonZeroOp found;
  mlir::Value rows; ///< [rows.., columns]
  int64_t expert = 0;
  DimExpr slot = 0, token = 0; ///< of what `found` has
};

/// The slots of a loop.
struct ExpertSlots {
  ExpertChoices choices;
  mlir::Value experts; ///< [tokens, choices]
  mlir::Value places;  ///< the same, as places in the stacks of weights
};

class ExpertRows {
public:
  /// One for each place in the stacks. New ops go where the rewriter is.
  ExpertRows(DimAnalysis &dims, mlir::RewriterBase &rewriter,
             PartReader &reader, llvm::ArrayRef<ExpertTurn> turns,
             const ExpertSlots &slots, mlir::Location loc)
      : dims(dims), rewriter(rewriter), reader(reader), turns(turns),
        slots(slots), choices(slots.choices), loc(loc) {}

  /// The rows as [tokens, choices or 1, columns]; null where they cannot be
  /// computed so, and then reason() says why.
  mlir::Value build();
  llvm::StringRef reason() const { return why; }

private:
  using Lanes = llvm::SmallVector<mlir::Value>; ///< a value of each turn

  mlir::Value buildRows(const Lanes &lanes, unsigned depth);
  mlir::Value buildOperation(const Lanes &lanes, unsigned depth);
  mlir::Value buildGather(const Lanes &lanes);
  mlir::Value buildMatmul(const Lanes &lanes, unsigned depth);
  mlir::Value buildSlice(const Lanes &lanes, unsigned depth);
  mlir::Value buildElementwise(const Lanes &lanes, unsigned depth);
  mlir::Value buildOperand(const Lanes &lanes, bool isColumn, unsigned depth);
  /// Weights of the turns along a new first dim, or null.
  mlir::Value stack(Lanes lanes);
  /// The weight that each lane is the slice of its turn's expert of, or null.
  mlir::Value wholeOf(const Lanes &lanes);
  static Lanes operandOf(const Lanes &lanes, unsigned i);
  /// How many columns rows of a turn have; nothing: these are no rows.
  std::optional<DimExpr> columnsOf(mlir::Value value, NonZeroOp found);
  /// Whether this is one column of all rows of a matrix.
  bool isColumn(SliceOp slice);
  bool isOfRows(mlir::Value value, NonZeroOp found);
  mlir::Value view(mlir::Value value, const Dims &to);
  mlir::Value refuse(const llvm::Twine &reason);

  DimAnalysis &dims;
  mlir::RewriterBase &rewriter;
  PartReader &reader;
  llvm::ArrayRef<ExpertTurn> turns;
  const ExpertSlots &slots;
  const ExpertChoices &choices;
  mlir::Location loc;
  std::string why;
  llvm::DenseMap<mlir::Value, std::pair<Lanes, mlir::Value>> built;
};

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_EXPERTROWS_H
