//===- MakeStepPass.cpp - Which function becomes a step -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"
#include "passes/Fusion/MakeStepParts.h"
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

private:
  LogicalResult readParts(SmallVectorImpl<StepParts> &steps);
  LogicalResult makeSteps(StringRef prefix, ArrayRef<StepParts> steps,
                          bool isAsked);
  LogicalResult makeOne(func::FuncOp func, const StepParts &parts,
                        bool isAsked);
};
} // namespace

static StringRef prefixOf(func::FuncOp func) {
  auto prefix = func->getAttrOfType<StringAttr>(kModelPrefixAttr);
  return prefix ? prefix.getValue() : "";
}

/// The function to make a step of: one that computes its source, so that all
/// of an encoder-decoder comes of one graph; then one with a past; and any
/// other decoder, whose positions then count from the first token.
static func::FuncOp chooseFunction(ModuleOp module, StringRef prefix) {
  func::FuncOp chosen;
  int best = 0;
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<AttentionOp> others;
    if (prefixOf(func) != prefix)
      continue;
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

/// The step, and those that leave layers out.
LogicalResult MakeStepPass::readParts(SmallVectorImpl<StepParts> &steps) {
  ModuleOp module = getOperation();
  auto forTexts = [&](StringRef name,
                      function_ref<std::string(StringRef)> add) {
    auto attr = module->getAttrOfType<ArrayAttr>(name);
    for (Attribute text : attr ? attr.getValue() : ArrayRef<Attribute>()) {
      auto string = dyn_cast<StringAttr>(text);
      std::string problem = string ? add(string.getValue()) : "expects strings";
      if (!problem.empty())
        return LogicalResult(module.emitError() << problem);
    }
    return success();
  };
  StepParts whole;
  if (failed(forTexts(kStepWithAttr,
                      [&](StringRef text) { return whole.addWith(text); })))
    return failure();
  steps.push_back(whole);
  return forTexts(kStepEntriesAttr, [&](StringRef text) {
    StepParts less; // what was named is of the whole model
    std::string problem = less.addEntry(text);
    less.embeddings = whole.embeddings;
    steps.push_back(less);
    return problem;
  });
}

/// Fails where there is no step although it was asked for.
LogicalResult MakeStepPass::makeOne(func::FuncOp func, const StepParts &parts,
                                    bool isAsked) {
  SymbolTable table(getOperation());
  SmallVector<AttentionOp> others;
  func::FuncOp step = func.clone();
  StringRef prefix = prefixOf(func);
  auto nameOf = [&](StringRef name) {
    return prefix.empty() ? name.str() : (prefix + "_" + name).str();
  };
  step.setName(nameOf(parts.name));
  SmallVector<CachedAttention> attentions = findCachedAttentions(step, others);
  std::string reason = "keys or values without a past";
  Operation *at = others.empty() ? nullptr : others.front();
  if (others.empty() &&
      succeeded(makeStep(step, attentions, parts, reason, at))) {
    reportPassed(func.getLoc(), DEBUG_TYPE,
                 "an entry for tokens of many sequences");
    if (parts.skipped.empty() &&
        computesSource(findCachedAttentions(func, others))) {
      func::FuncOp encode = makeEncode(func);
      encode.setName(nameOf("encode"));
      table.insert(encode);
    }
    table.insert(step);
    return success();
  }
  reportMissed(at, DEBUG_TYPE, reason);
  if (isAsked)
    emitError(at->getLoc()) << "there is no entry '" << step.getName()
                            << "' as it was asked for: " << reason;
  step.erase();
  return failure(isAsked);
}

/// Of one model of the module.
LogicalResult MakeStepPass::makeSteps(StringRef prefix,
                                      ArrayRef<StepParts> steps, bool isAsked) {
  func::FuncOp func = chooseFunction(getOperation(), prefix);
  if (!func)
    return isAsked ? getOperation().emitError()
                         << "is no decoder: there is no step entry that could "
                            "be as it was asked for"
                   : success();
  for (const StepParts &parts : steps)
    if (failed(makeOne(func, parts, isAsked)))
      return failure();
  return success();
}

void MakeStepPass::runOnOperation() {
  ModuleOp module = getOperation();
  SmallVector<StepParts> steps;
  if (failed(readParts(steps)))
    return signalPassFailure();
  auto kv = module->getAttrOfType<StringAttr>(kKvAttr);
  bool isAsked =
      kv || module->hasAttr(kStepWithAttr) || module->hasAttr(kStepEntriesAttr);
  StepParts plain;
  if (std::string problem = plain.kv.parse(kv ? kv.getValue() : "");
      !problem.empty()) {
    module.emitError() << problem;
    return signalPassFailure();
  }
  for (StepParts &parts : steps)
    parts.kv = plain.kv;
  llvm::SmallSetVector<StringRef, 4> prefixes;
  prefixes.insert("");
  for (auto func : module.getOps<func::FuncOp>())
    prefixes.insert(prefixOf(func));
  // What was asked for is of the first model alone.
  for (StringRef prefix : prefixes)
    if (failed(prefix.empty() ? makeSteps(prefix, steps, isAsked)
                              : makeSteps(prefix, plain, /*isAsked=*/false)))
      return signalPassFailure();
}
