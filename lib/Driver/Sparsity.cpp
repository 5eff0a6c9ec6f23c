//===- Sparsity.cpp - What attention leaves out, and its gate -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/BlockLists.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ferrite;

/// In words: "causal, window of 512, 4 sinks, blocks of 64".
static std::string describe(AttentionOp op) {
  std::string text = op.getRight() == 0 ? "causal" : "all";
  auto add = [&](const Twine &part) { text += ", " + part.str(); };
  if (op.getLeft() >= 0)
    add("window of " +
        Twine(op.getLeft() + 1 + std::max<int64_t>(op.getRight(), 0)));
  if (op.getChunk() > 0)
    add("chunks of " + Twine(op.getChunk()));
  if (op.getAnchors() > 0)
    add(Twine(op.getAnchors()) + " sinks");
  if (op.hasBlocks())
    add((listsOf(op) ? "blocks of " : "blocks of data of ") +
        Twine(op.getBlock()));
  if (op.getQuerySegments())
    add("documents");
  if (op.getPrefix())
    add("a prefix");
  if (op.getLengths())
    add("lengths");
  if (op.getMask())
    add("a mask");
  return text;
}

LogicalResult ferrite::recordAttentions(ModuleOp module,
                                        CompileRecord &record) {
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<AttentionOp> ops(func.getOps<AttentionOp>());
    if (ops.empty())
      continue;
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return failure();
    for (auto [layer, op] : llvm::enumerate(ops)) {
      AttentionRecord row;
      row.entry = func.getName().str();
      row.node = nodeNames(op.getLoc());
      row.layer = layer;
      row.sees = describe(op);
      std::optional<BlockLists> lists = listsOf(op);
      row.tokens = lists ? lists->rows() * lists->block
                         : usualTokens(func, dims->getDims(op.getKey())[1]);
      row.density = keptScores(op, row.tokens);
      record.attentions.push_back(std::move(row));
    }
  }
  return success();
}

LogicalResult ferrite::checkSparsity(const DriverOptions &options,
                                     const CompileRecord &record,
                                     Location loc) {
  for (StringRef gate : options.requireSparsity) {
    StringRef wanted = gate;
    wanted.consume_front("attention:");
    double least = 0;
    if (wanted.getAsDouble(least) || !(least >= 0 && least <= 1))
      return emitError(loc)
             << "--require-sparsity takes X or attention:X with X from 0 to 1, "
                "not '"
             << gate << "'";
    double sum = 0, count = 0, densest = -1;
    const AttentionRecord *worst = nullptr;
    for (const AttentionRecord &row : record.attentions)
      for (double density : row.density) {
        sum += density;
        ++count;
        if (density > densest)
          worst = &row;
        densest = std::max(densest, density);
      }
    double leftOut = count > 0 ? 1 - sum / count : 0;
    if (leftOut >= least)
      continue;
    std::string text =
        llvm::formatv("--require-sparsity={0}: attention leaves out {1:f3} of "
                      "its scores",
                      gate, leftOut);
    if (worst)
      text += llvm::formatv("; layer {0} keeps most, {1:f3} ({2}): {3}",
                            worst->layer, densest, worst->sees, worst->node);
    return emitError(loc) << text;
  }
  return success();
}
