//===- FusedLayout.h - Domains of fused kernels -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A fused kernel reads its operands in the space of its loops: per loop a
// stride, 0 where the operand does not move. Fewer, longer loops are better, so
// loops that every operand walks end to end are merged first.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_FUSEDLAYOUT_H
#define FERRITE_PASSES_SELECT_FUSEDLAYOUT_H

#include "passes/Select/PlanBuilder.h"

namespace ferrite {

struct FusedLayout {
  Dims sizes;                        ///< of the loops
  llvm::SmallVector<bool> reduction; ///< per loop
  std::vector<StridedView> operands; ///< in loop space; the result is last

  /// The loops of `op` over `inputs` and `result`, merged where possible.
  static FusedLayout of(FusedOp op, llvm::ArrayRef<StridedView> inputs,
                        const StridedView &result);
  /// A copy of `from` to `to`, of equal dims.
  static FusedLayout copy(const StridedView &from, const StridedView &to);

  /// Launches the loops with the body and finish of `op`, or as a copy.
  void launch(PlanBuilder &plan, mlir::Location loc, llvm::StringRef stem,
              FusedOp op) const;

private:
  void merge();
};

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_FUSEDLAYOUT_H
