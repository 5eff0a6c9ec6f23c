//===- MaskSums.cpp - Sums of what is the same everywhere -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

/// Sums of one number: of zeros, packed sequences that are not packed; of ones,
/// positions.
const MaskNode *MaskAnalysis::walkCumSum(CumSumOp op,
                                         ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = exprs.getSpace().dimsOf(op.getInput());
  if (!dims)
    return nullptr;
  Coords from(coords);
  from[op.getAxis()] = anywhere((*dims)[op.getAxis()]);
  const MaskNode *node = evaluate(op.getInput(), from);
  if (node->asNumber() == 0.0)
    return node;
  if (node->kind != Kind::Int || !node->index.constant() ||
      !(node->type.isInteger(32) || node->type.isInteger(64)))
    return nullptr;
  DimExpr at = coords[op.getAxis()];
  if (op.getReverse())
    at = (*dims)[op.getAxis()] - DimExpr(1) - at;
  DimExpr count = op.getExclusive() ? at : at + DimExpr(1);
  return exprs.getInt(node->type, node->index * count);
}

/// The sum of one number: how many tokens a mask of ones has.
const MaskNode *MaskAnalysis::walkReduce(ReduceOp op,
                                         ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = exprs.getSpace().dimsOf(op.getInput());
  if (!dims || op.getKind() != ReduceKind::Sum)
    return nullptr;
  Coords from;
  DimExpr count(1);
  for (size_t i = 0, next = 0; i < dims->size(); ++i) {
    bool isReduced = llvm::is_contained(op.getAxes(), static_cast<int64_t>(i));
    from.push_back(isReduced ? anywhere((*dims)[i]) : coords[next]);
    next += !isReduced || op.getKeepDims();
    if (isReduced)
      count = count * (*dims)[i];
  }
  const MaskNode *node = evaluate(op.getInput(), from);
  if (node->kind != Kind::Int || !node->index.constant() ||
      !(node->type.isInteger(32) || node->type.isInteger(64)))
    return nullptr;
  return exprs.getInt(node->type, node->index * count);
}
