//===- VerifyNormalize.cpp - The contract after normalization -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Verify/Passes.h"

namespace ferrite {
#define GEN_PASS_DEF_VERIFYNORMALIZE
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// What normalize would have taken away, and says so; null when nothing.
static const char *whyNotNormal(Operation &op, DimAnalysis &dims) {
  if (isa<ViewOp>(op) && op.getOperand(0).getDefiningOp<ViewOp>())
    return "a view of a view";
  if (isa<TransposeOp>(op) && op.getOperand(0).getDefiningOp<TransposeOp>())
    return "a transpose of a transpose";
  if (isa<ViewOp, BroadcastOp, CastOp>(op) &&
      op.getOperand(0).getType() == op.getResult(0).getType() &&
      dims.haveSameDims(op.getOperand(0), op.getResult(0)))
    return "an op that changes nothing";
  return nullptr;
}

namespace {
struct VerifyNormalizePass final
    : ferrite::impl::VerifyNormalizeBase<VerifyNormalizePass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    for (Operation &op : getOperation().getBody().getOps())
      if (const char *reason = whyNotNormal(op, *dims)) {
        InFlightDiagnostic error = op.emitError("the graph has ") << reason;
        error.attachNote(op.getLoc())
            << "after phase normalize; --ferrite-normalize left it";
        signalPassFailure();
      }
    markAllAnalysesPreserved();
  }
};
} // namespace
