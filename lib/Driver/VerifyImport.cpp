//===- VerifyImport.cpp - A model as an artifact took it ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/VerifyImport.h"

#include "dialects/Ferrite/IR/Ferrite.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace ferrite;

FailureOr<OwningOpRef<ModuleOp>> ferrite::importForArtifact(
    MLIRContext *context, const std::string &path, const FerriteAbiEntry &entry,
    const std::vector<InputBinding> &bindings, ImportSummary &summary,
    ImportOptions &importOptions) {
  Location loc = FileLineColLoc::get(context, path, 0, 0);
  OwningOpRef<ModuleOp> imported;
  // With the limits that the artifact was compiled for, which steer the passes.
  importOptions = {};
  importOptions.bindings = bindings;
  auto load = [&]() -> LogicalResult {
    summary = {};
    auto module = importOnnxModel(context, path, importOptions, &summary);
    if (failed(module))
      return failure();
    imported = std::move(*module);
    // Of several entries, the one that is verified.
    SmallVector<func::FuncOp> others;
    for (auto each : imported->getOps<func::FuncOp>())
      if (each.getSymName() != entry.name)
        others.push_back(each);
    auto all = imported->getOps<func::FuncOp>();
    if (static_cast<size_t>(std::distance(all.begin(), all.end())) >
        others.size())
      for (func::FuncOp each : others)
        each.erase();
    return success();
  };
  if (failed(load()))
    return failure();
  auto func = *imported->getOps<func::FuncOp>().begin();
  if (func.getNumArguments() != entry.input_count)
    return emitError(loc) << "the artifact takes " << entry.input_count
                          << " inputs and the model " << func.getNumArguments();
  bool differs = false;
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
    auto dims = parseDims(func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr));
    const FerriteAbiTensor &input = entry.inputs[i];
    if (name.getValue() != input.name ||
        static_cast<int32_t>(dims->size()) != input.rank)
      return emitError(loc)
             << "the artifact's input '" << input.name
             << "' is not the model's '" << name.getValue() << "'";
    for (auto [d, dim] : llvm::enumerate(*dims)) {
      // Of an expression there is no limit to hand on.
      if (dim.constant() || input.dims[d].check)
        continue;
      int64_t low = input.dims[d].size, high = low;
      if (int32_t symbol = input.dims[d].symbol; symbol >= 0) {
        low = entry.symbols[symbol].min;
        high = entry.symbols[symbol].max;
      }
      bool isLimited = low != 1 || high != INT64_MAX;
      if (isLimited)
        importOptions.dims[dim.str()] = {low, high};
      differs |= isLimited;
    }
  }
  // With --last-logits the artifact has one position where the model has all.
  for (uint32_t i = 0; i < entry.output_count; ++i) {
    const FerriteAbiTensor &output = entry.outputs[i];
    if (StringRef(output.name) != "logits" || output.rank != 3 ||
        output.dims[1].symbol >= 0 || output.dims[1].size != 1 ||
        i >= func.getNumResults())
      continue;
    auto type = cast<RankedTensorType>(func.getResultTypes()[i]);
    if (type.getRank() == 3 && type.getDimSize(1) != 1)
      differs = importOptions.lastLogits = true;
  }
  if (differs && failed(load()))
    return failure();
  return std::move(imported);
}
