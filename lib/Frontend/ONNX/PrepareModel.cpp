//===- PrepareModel.cpp - A model that is ready to be imported ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What ONNX's library does to the whole model before the walk over its nodes.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Bindings.h"
#include "lib/Frontend/ONNX/GraphOrder.h"
#include "lib/Frontend/ONNX/Importer.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"

using namespace mlir;

namespace ferrite::frontend {

static void renameScans(onnx::ModelProto &model) {
  bool renames = false;
  for (auto &node : *model.mutable_graph()->mutable_node())
    if (node.op_type() == "Scan" && node.domain().empty()) {
      node.set_domain(kBatchScanDomain);
      renames = true;
    }
  if (!renames)
    return;
  auto &import = *model.add_opset_import();
  import.set_domain(kBatchScanDomain);
  import.set_version(1);
}

LogicalResult Importer::prepareModel() {
  onnx::ModelProto &model = file.getModel();
  auto reject = [&](const Twine &message) {
    report(nullptr, message.str());
    return failure();
  };
  if (model.ir_version() > getNewestIRVersion())
    return reject("has IR version " + Twine(model.ir_version()) +
                  "; the newest that Ferrite knows is " +
                  Twine(getNewestIRVersion()));
  for (const auto &import : model.opset_import())
    if (import.domain().empty() || import.domain() == "ai.onnx")
      opset =
          static_cast<int>(std::clamp<int64_t>(import.version(), 0, INT32_MAX));
  // What uses none of its ops needs no opset of it.
  bool usesStandard = llvm::any_of(model.graph().node(), [](const auto &node) {
    return node.domain().empty() || node.domain() == "ai.onnx";
  });
  if (opset <= 0 && (usesStandard || model.functions_size() != 0))
    return reject("imports no opset of ai.onnx");
  if (opset <= 0)
    opset = getNewestOpset();
  if (opset > getNewestOpset())
    return reject("uses opset " + Twine(opset) +
                  "; the newest that Ferrite knows is " +
                  Twine(getNewestOpset()));

  if (llvm::Error error = bindInputs(model, options.bindings))
    return reject(llvm::toString(std::move(error)));
  if (llvm::Error error = inlineFunctions(model))
    return reject(llvm::toString(std::move(error)));
  auto emit = [&](const onnx::NodeProto *node, StringRef message) {
    // Without collectAll the first is enough.
    if (errors == 0 || options.collectAll)
      report(node, message);
  };
  if (!orderGraph(*model.mutable_graph(), emit))
    return failure(); // nothing can be imported in no order

  // Before 11, axes and bounds of common ops were attributes throughout: the
  // converter of ONNX knows them, our handlers need not.
  sourceOpset = opset;
  if (opset < 9)
    renameScans(model);
  if (opset < 11) {
    if (llvm::Error error = convertVersion(model, 13))
      return reject(llvm::toString(std::move(error)));
    opset = 13;
    if (!orderGraph(*model.mutable_graph(), emit))
      return failure();
  }
  auto skip = [&](const onnx::NodeProto &node) {
    return (!table.find(node) && !hasFunctionBody(node, opset)) ||
           !(isKnownOp(node, opset) || isKnownOp(node, getNewestOpset()));
  };
  // A node that breaks the standard's rules is not handed to its handler.
  return goOn(checkModel(
      file, skip, [&](const onnx::NodeProto *node, StringRef message) {
        rejected.insert(node);
        if (!node || node->domain() != kBatchScanDomain)
          return emit(node, message);
        // Its body was not converted.
        report(node, "read as one of opset 13: " + message.str(),
               Fault::Limitation);
      }));
}

} // namespace ferrite::frontend
