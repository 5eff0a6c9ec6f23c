//===- PrintDims.cpp - Report what DimAnalysis knows ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Passes.h"

#include "llvm/ADT/StringExtras.h"

namespace ferrite {
#define GEN_PASS_DEF_PRINTDIMS
#include "passes/Analysis/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct PrintDimsPass final : ferrite::impl::PrintDimsBase<PrintDimsPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    for (Operation &op : getOperation().getBody().getOps())
      for (Value result : op.getResults())
        if (isa<RankedTensorType>(result.getType()))
          op.emitRemark("[")
              << llvm::join(llvm::map_range(
                                dims->getDims(result),
                                [](const DimExpr &dim) { return dim.str(); }),
                            ", ")
              << "]";
    markAllAnalysesPreserved();
  }
};
} // namespace
