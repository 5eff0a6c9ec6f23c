//===- PrintMasks.cpp - Report what MaskAnalysis knows --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/MaskAnalysis.h"
#include "passes/Analysis/Passes.h"

#include "llvm/Support/Format.h"
#include <cmath>

namespace ferrite {
#define GEN_PASS_DEF_PRINTMASKS
#include "passes/Analysis/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// Classifies `mask`, of rank 4, as if it were added to scores of its own dims.
static std::string describe(Value mask, DimAnalysis &dims, ArrayAttr symbols) {
  CoordSpace space([&](Value v) { return Dims(dims.getDims(v)); }, symbols);
  Dims sizes(dims.getDims(mask));
  ScoreCoords scores =
      ScoreCoords::make(space, sizes[0], sizes[1], sizes[2], sizes[3]);
  MaskAnalysis masks(space, scores);
  FailureOr<MaskClass> found =
      masks.classify({{MaskTerm::Sum, masks.evaluate(mask, scores.all())}});
  if (failed(found))
    return "nothing is kept";
  std::string text = masks.describe(*found);
  llvm::raw_string_ostream out(text);
  const KeyWindow &window = found->window;
  if (window.prefix)
    out << ", prefix of " << window.prefix->str();
  if (window.querySegments)
    out << ", segments " << window.querySegments->str() << " and "
        << window.keySegments->str();
  for (const MaskNode *keep : found->keeps)
    out << ", keeps where " << keep->str();
  for (const MaskNode *bias : found->biases)
    out << ", adds " << bias->str();
  if (found->hasWindow() && std::isfinite(found->windowFill))
    out << (found->joined ? ", window joined" : ", window")
        << " with fill = " << llvm::format("%g", found->windowFill);
  if (found->fill != 0)
    out << ", fill = " << llvm::format("%g", found->fill);
  return text;
}

namespace {
struct PrintMasksPass final : ferrite::impl::PrintMasksBase<PrintMasksPass> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return signalPassFailure();
    auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
    func.walk([&](func::ReturnOp op) {
      for (Value mask : op.getOperands()) {
        auto type = dyn_cast<RankedTensorType>(mask.getType());
        if (type && type.getRank() == 4)
          op.emitRemark(describe(mask, *dims, symbols));
      }
    });
    markAllAnalysesPreserved();
  }
};
} // namespace
