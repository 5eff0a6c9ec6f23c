//===- MakeStepTail.h - Rows of logits that are asked for -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_MAKESTEPTAIL_H
#define FERRITE_PASSES_FUSION_MAKESTEPTAIL_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Fusion/MakeStep.h"

namespace ferrite {

/// Brings a step to its last sizes: no past, and behind its last attention the
/// rows of `logitRows` alone. Its result becomes [logits, ..].
class StepTail {
public:
  /// `rowViews` are of a past and new rows, and become views of the new ones.
  StepTail(mlir::func::FuncOp func, mlir::BlockArgument logitRows,
           const llvm::SmallPtrSetImpl<mlir::Operation *> &rowViews)
      : func(func), logitRows(logitRows), rowViews(rowViews), builder(func) {}

  /// Brings all sizes to those of a step; then run() takes the rows.
  llvm::LogicalResult settle();
  llvm::LogicalResult run();
  /// Of all values, once settled.
  llvm::DenseMap<mlir::Value, Dims> dims;
  std::string reason;
  mlir::Operation *culprit = nullptr;

private:
  llvm::LogicalResult fail(const llvm::Twine &why, mlir::Operation *at) {
    reason = why.str();
    culprit = at;
    return llvm::failure();
  }
  void findTail();
  llvm::LogicalResult selectOperands(mlir::Operation *op);
  bool isLastToken(SliceOp op);
  llvm::LogicalResult setSizes(mlir::Operation *op, bool isTail);
  bool isSums(mlir::func::ReturnOp end, mlir::OpOperand &result);
  llvm::LogicalResult returnRows();
  mlir::Value select(mlir::Value value);

  mlir::func::FuncOp func;
  mlir::BlockArgument logitRows;
  const llvm::SmallPtrSetImpl<mlir::Operation *> &rowViews;
  mlir::OpBuilder builder;
  llvm::SmallPtrSet<mlir::Operation *, 16> tail;
  llvm::DenseMap<mlir::Value, mlir::Value> selected;
};

/// Whether `op` takes the tokens that an input of the step names.
bool isRowSelection(GatherOp op, mlir::BlockArgument logitRows);
/// Whether `op` puts rows that MakeStepChosen.cpp has taken where they were.
bool isRowReturn(ScatterNDOp op);

/// The sizes in a step; fails, with the reason, where they are not those of
/// tokens of many sequences.
llvm::FailureOr<DimAnalysis> dimsOfStep(mlir::func::FuncOp func,
                                        std::string &reason);

/// Fails where an op of the step does not keep tokens apart.
llvm::LogicalResult verifyStep(mlir::func::FuncOp func,
                               mlir::BlockArgument logitRows,
                               std::string &reason, mlir::Operation *&culprit);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_MAKESTEPTAIL_H
