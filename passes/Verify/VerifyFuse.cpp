//===- VerifyFuse.cpp - The contract after fusion -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Verify/Passes.h"

namespace ferrite {
#define GEN_PASS_DEF_VERIFYFUSE
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct VerifyFusePass final : ferrite::impl::VerifyFuseBase<VerifyFusePass> {
  void runOnOperation() override {
    if (failed(DimAnalysis::compute(getOperation())))
      return signalPassFailure();
    for (Operation &op : getOperation().getBody().getOps()) {
      if (isa<WeightOp, ViewOp, SliceOp, TransposeOp, BroadcastOp, ConcatOp,
              LinearOp, MatmulOp, AttentionOp, NormOp, SoftmaxOp, EmbeddingOp,
              RopeOp, GatherOp, GatherNDOp, WindowsOp, PadOp, CumSumOp,
              CumProdOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp,
              ArgReduceOp, TopKOp, LinearAttentionOp, ExpertLinearOp,
              DimValuesOp, KvAppendOp, PagedAttentionOp, SummarizePagesOp,
              SelectPagesOp, FusedOp, arith::ConstantOp, func::ReturnOp>(op))
        continue;
      if (isa<NonZeroOp>(op)) {
        // --ferrite-fuse-moe takes loops over experts; its remarks say what
        // kept it from one.
        op.emitError("how many elements are not zero depends on data, and no "
                     "size may");
        signalPassFailure();
        continue;
      }
      InFlightDiagnostic error = op.emitError("no kernel exists for '")
                                 << op.getName() << "' of these types";
      error.attachNote(op.getLoc())
          << "after phase fuse; --ferrite-fuse-elementwise left it";
      signalPassFailure();
    }
    markAllAnalysesPreserved();
  }
};
} // namespace
