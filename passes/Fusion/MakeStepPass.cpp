//===- MakeStepPass.cpp - Which function becomes a step -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"
#include "passes/Fusion/Passes.h"

#define DEBUG_TYPE "ferrite-make-step"

namespace ferrite {
#define GEN_PASS_DEF_MAKESTEP
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct MakeStepPass final : ferrite::impl::MakeStepBase<MakeStepPass> {
  void runOnOperation() override;
};
} // namespace

/// The function to make a step of: one that computes its source, so that all
/// of an encoder-decoder comes of one graph; then one with a past; and any
/// other decoder, whose positions then count from the first token.
static func::FuncOp chooseFunction(ModuleOp module) {
  func::FuncOp chosen;
  int best = 0;
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<AttentionOp> others;
    if (func->hasAttr(kStepAttr) || func->hasAttr(kEncodeAttr))
      return {};
    SmallVector<CachedAttention> attentions =
        findCachedAttentions(func, others);
    int rank = computesSource(attentions) && isDecoder(attentions) ? 3
               : hasOwnPast(attentions)                            ? 2
               : isDecoder(attentions)                             ? 1
                                                                   : 0;
    if (rank > best) {
      best = rank;
      chosen = func;
    }
  }
  return chosen;
}

void MakeStepPass::runOnOperation() {
  ModuleOp module = getOperation();
  SymbolTable table(module);
  func::FuncOp func = chooseFunction(module);
  if (!func)
    return;
  SmallVector<AttentionOp> others;
  func::FuncOp step = func.clone();
  step.setName("step");
  SmallVector<CachedAttention> attentions = findCachedAttentions(step, others);
  std::string reason = "keys or values without a past";
  Operation *at = others.empty() ? nullptr : others.front();
  if (others.empty() && succeeded(makeStep(step, attentions, reason, at))) {
    reportPassed(func.getLoc(), DEBUG_TYPE,
                 "an entry for tokens of many sequences");
    if (computesSource(findCachedAttentions(func, others)))
      table.insert(makeEncode(func));
    table.insert(step);
    return;
  }
  reportMissed(at, DEBUG_TYPE, reason);
  step.erase();
}
