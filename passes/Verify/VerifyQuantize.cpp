//===- VerifyQuantize.cpp - The contract after quantization ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/Passes.h"
#include "passes/Verify/Passes.h"

namespace ferrite {
#define GEN_PASS_DEF_VERIFYQUANTIZE
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct VerifyQuantizePass final
    : ferrite::impl::VerifyQuantizeBase<VerifyQuantizePass> {
  void runOnOperation() override {
    if (failed(DimAnalysis::compute(getOperation())))
      return signalPassFailure();
    getOperation().walk([&](Operation *op) {
      const char *problem = nullptr;
      if (op->hasAttr(kFormatAttr))
        problem = "has a format, and its weight is not of that";
      if (auto dequantize = dyn_cast<DequantizeOp>(op))
        for (Value operand : dequantize->getOperands())
          if (!isWeightOrConstant(operand))
            problem = "makes numbers of bits that are not stored";
      if (!problem)
        return;
      InFlightDiagnostic error = op->emitError(problem);
      error.attachNote(op->getLoc()) << "after phase quantize";
      signalPassFailure();
    });
    markAllAnalysesPreserved();
  }
};
} // namespace
