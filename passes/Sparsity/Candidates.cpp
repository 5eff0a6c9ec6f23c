//===- Candidates.cpp - Attention that an item may change -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/Candidates.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace ferrite;

std::string ferrite::whyNotSparse(AttentionOp op, DimAnalysis &dims) {
  // Distances mean something between tokens of one sequence.
  if (op.getRight() != 0 &&
      dims.getDims(op.getQuery())[1] != dims.getDims(op.getKey())[1])
    return "its queries and keys are not the same tokens";
  if (op.hasBlocks())
    return "it has a block list";
  return "";
}

void ferrite::reportItem(Operation *op, StringRef name, StringRef item,
                         StringRef why) {
  auto opts =
      remark::RemarkOpts::name(name).category("ferrite-sparsify-attention");
  if (why.empty())
    remark::passed(op->getLoc(), opts) << item;
  else
    remark::missed(op->getLoc(), opts) << remark::reason("{0}: {1}", item, why);
}

LogicalResult ferrite::checkItem(Location loc, const SparsityItem &item,
                                 int64_t attentions, bool isTaken) {
  if (item.layers.largest() >= attentions)
    return emitError(loc) << "--sparsify: '" << item.text << "' is for layer "
                          << item.layers.largest() << ", but the model has "
                          << attentions << " attentions";
  if (!isTaken)
    return emitError(loc) << "--sparsify: no attention of the model can take '"
                          << item.text << "'; the report says why";
  return success();
}
