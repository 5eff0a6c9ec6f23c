//===- Pipelines.cpp - The phases of a compilation ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The only place where passes are ordered. Each phase ends in the pass that
// verifies what it promised.
//
//===----------------------------------------------------------------------===//
#include "lib/Pipelines/Pipelines.h"

#include "passes/Fusion/Passes.h"
#include "passes/Normalize/Passes.h"
#include "passes/Planning/Passes.h"
#include "passes/Select/Passes.h"
#include "passes/Sparsity/Passes.h"
#include "passes/Verify/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace ferrite;

llvm::ArrayRef<Phase> ferrite::phases() {
  static constexpr Phase all[] = {
      Phase::Import,   Phase::Normalize, Phase::Fuse,
      Phase::Quantize, Phase::Sparsify,  Phase::Select,
      Phase::Plan,     Phase::Codegen,   Phase::Link};
  return all;
}

llvm::StringRef ferrite::phaseName(Phase phase) {
  switch (phase) {
  case Phase::Import:
    return "import";
  case Phase::Normalize:
    return "normalize";
  case Phase::Fuse:
    return "fuse";
  case Phase::Quantize:
    return "quantize";
  case Phase::Sparsify:
    return "sparsify";
  case Phase::Select:
    return "select";
  case Phase::Plan:
    return "plan";
  case Phase::Codegen:
    return "codegen";
  case Phase::Link:
    return "link";
  }
  llvm_unreachable("all phases are covered");
}

std::optional<Phase> ferrite::parsePhase(llvm::StringRef name) {
  for (Phase phase : phases())
    if (phaseName(phase) == name)
      return phase;
  return std::nullopt;
}

/// Regions of one block have nothing to simplify.
static std::unique_ptr<Pass> createCanonicalize() {
  GreedyRewriteConfig config;
  config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
  return createCanonicalizerPass(config);
}

void ferrite::buildNormalizePipeline(OpPassManager &pm) {
  OpPassManager &func = pm.nest<func::FuncOp>();
  func.addPass(createCanonicalize());
  func.addPass(createCSEPass());
  func.addPass(createNormalize());
  func.addPass(createCSEPass());
  func.addPass(createVerifyNormalize());
}

/// Each function by itself, a step too.
static void buildFuseRestPipeline(OpPassManager &func) {
  // Before linear: a table is no right operand.
  func.addPass(createFuseEmbedding());
  func.addPass(createFuseLinear());
  // Before slices sink and epilogues: halves become linears that have both.
  func.addPass(createFuseGate());
  // Before epilogues: what is in them has gone with its product.
  func.addPass(createSinkSlices());
  // Before epilogues: what follows a product is quantized on its accumulators.
  func.addPass(createExpandQuantize());
  func.addPass(createFuseEpilogue());
  // After epilogues: three biases concatenate with their weights.
  func.addPass(createFuseQKV());
  func.addPass(createFuseNormResidual());
  func.addPass(createCanonicalize());
  func.addPass(createCSEPass());
  // Last: it takes whatever has no name.
  func.addPass(createFuseElementwise());
  func.addPass(createCanonicalize());
  func.addPass(createCSEPass());
  func.addPass(createVerifyFuse());
}

void ferrite::buildFusePipeline(OpPassManager &pm) {
  OpPassManager &func = pm.nest<func::FuncOp>();
  // Named ops first: attention looks for softmax, the epilogue for gelu.
  func.addPass(createFuseGelu());
  func.addPass(createFuseLayerNorm());
  // Before attention, which reads what was rotated as it lies.
  func.addPass(createFuseRope());
  func.addPass(createCanonicalize());
  func.addPass(createFuseAttention());
  func.addPass(createCanonicalize());
  // Before embedding, which would take the gathered biases of experts.
  func.addPass(createFuseMoE());
  // Between what names ops, which it tells apart, and what joins them.
  pm.addPass(createMakeStep());
  buildFuseRestPipeline(pm.nest<func::FuncOp>());
}

void ferrite::buildQuantizePipeline(OpPassManager &pm) {
  OpPassManager &func = pm.nest<func::FuncOp>();
  func.addPass(createCanonicalize());
  func.addPass(createCSEPass());
  func.addPass(createVerifyQuantize());
}

void ferrite::buildSparsifyPipeline(OpPassManager &pm, StringRef spec) {
  if (spec.empty())
    return;
  SparsifyAttentionOptions options;
  options.spec = spec.str();
  pm.addPass(createSparsifyAttention(options));
  // After those that see less: such do not merge.
  MergeTokensOptions merging;
  merging.spec = spec.str();
  pm.addPass(createMergeTokens(merging));
  pm.addNestedPass<func::FuncOp>(createFuseElementwise());
  // Layers of one pattern share its lists.
  pm.addNestedPass<func::FuncOp>(createCSEPass());
}

void ferrite::buildSelectPipeline(OpPassManager &pm, bool forCpu) {
  SelectKernelsOptions options;
  options.forCpu = forCpu;
  pm.addPass(createSelectKernels(options));
  pm.addPass(createVerifySelect());
}

void ferrite::buildPlanPipeline(OpPassManager &pm) {
  pm.addPass(createPlanMemory());
  pm.addPass(createVerifyPlan());
}

void ferrite::buildPipeline(Phase phase, OpPassManager &pm) {
  switch (phase) {
  case Phase::Normalize:
    return buildNormalizePipeline(pm);
  case Phase::Fuse:
    return buildFusePipeline(pm);
  case Phase::Quantize:
    return buildQuantizePipeline(pm);
  case Phase::Sparsify:
    return buildSparsifyPipeline(pm);
  case Phase::Select:
    return buildSelectPipeline(pm);
  case Phase::Plan:
    return buildPlanPipeline(pm);
  case Phase::Import:
  case Phase::Codegen:
  case Phase::Link:
    return;
  }
}

LogicalResult ferrite::verifyContract(Phase phase, ModuleOp module,
                                      Location loc) {
  bool planned = phase >= Phase::Select;
  if (planned ? module.getOps<plan::EntryOp>().empty()
              : module.getOps<func::FuncOp>().empty())
    return emitError(loc) << "this is no dump of phase " << phaseName(phase);
  PassManager pm(module.getContext());
  if (phase == Phase::Normalize)
    pm.addNestedPass<func::FuncOp>(createVerifyNormalize());
  if (phase == Phase::Fuse)
    pm.addNestedPass<func::FuncOp>(createVerifyFuse());
  if (phase == Phase::Quantize || phase == Phase::Sparsify)
    pm.addNestedPass<func::FuncOp>(createVerifyQuantize());
  if (phase == Phase::Select || phase == Phase::Plan)
    pm.addPass(createVerifySelect());
  if (phase == Phase::Plan)
    pm.addPass(createVerifyPlan());
  return pm.run(module);
}

void ferrite::registerPipelines() {
  PassPipelineRegistration<>("ferrite-normalize-pipeline",
                             "Bring ops to one canonical form",
                             buildNormalizePipeline);
  PassPipelineRegistration<>("ferrite-fuse-pipeline",
                             "Raise and fuse to transformer ops",
                             buildFusePipeline);
  PassPipelineRegistration<>("ferrite-quantize-pipeline",
                             "Tidy up and verify what was quantized",
                             buildQuantizePipeline);
  PassPipelineRegistration<>(
      "ferrite-select-pipeline", "Choose kernels and write the plan",
      [](OpPassManager &pm) { buildSelectPipeline(pm); });
  PassPipelineRegistration<>("ferrite-plan-pipeline",
                             "Place buffers and weights", buildPlanPipeline);
}
