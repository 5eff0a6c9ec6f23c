//===- Verify.cpp - An artifact against its model -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Verify.h"

#include "lib/Artifact/HostProgram.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/RemarkLog.h"
#include "lib/Driver/Replay.h"
#include "lib/Driver/Stores.h"
#include "lib/Driver/VerifiedArtifact.h"
#include "lib/Driver/VerifyImport.h"
#include "lib/Driver/VerifyTable.h"
#include "lib/Driver/VerifyTaps.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "lib/Pipelines/Pipelines.h"
#include "lib/Reference/Evaluator.h"
#include "lib/Reference/Parallel.h"

#include "llvm/Support/Path.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using reference::Sizes;
using reference::Tensor;

namespace {
class Verifier {
public:
  Verifier(MLIRContext &context, const FerriteVerifyOptions &options,
           ImportSummary &import, llvm::json::Object &summary)
      : context(context), options(options), importSummary(import),
        summary(summary),
        loc(FileLineColLoc::get(&context, options.model, 0, 0)),
        folder(llvm::sys::path::parent_path(options.model)),
        table(options.max_error) {}

  LogicalResult run();

private:
  LogicalResult fail(const FerriteError &error) {
    return emitError(loc) << error.message;
  }
  LogicalResult report(const char *phase, uint64_t done, uint64_t total) {
    return reportProgress(options, loc, phase, done, total);
  }
  LogicalResult import();
  LogicalResult findNames();
  LogicalResult runPasses();
  LogicalResult warnOfOutputsAlone();
  LogicalResult runArtifact();
  LogicalResult runReference();
  LogicalResult runFused();
  LogicalResult compareStored(Value, const Tensor &expected, Replay &replay);
  LogicalResult compareOutputs();
  LogicalResult finishWithTaps();
  /// The last node of a location: the one whose value an op computes.
  static std::string lastNode(Location loc);
  std::string valueName(const std::string &node) {
    auto found = outputOfNode.find(node);
    return found == outputOfNode.end() ? node : found->second;
  }

  MLIRContext &context;
  const FerriteVerifyOptions &options;
  ImportSummary &importSummary;
  llvm::json::Object &summary;
  Location loc;
  ModelFolder folder;

  VerifiedArtifact artifact;
  OwningOpRef<ModuleOp> imported, fused;
  ImportOptions importOptions;       ///< as the artifact's were
  std::vector<FerriteTensor> inputs; ///< in the entry's order
  SmallVector<Tensor> inputTensors, results;
  std::map<std::string, std::string> outputOfNode;
  std::map<std::string, Tensor> kept; ///< imported values by node
  llvm::DenseMap<Value, StoredValue> stored;
  std::map<std::string, int64_t> symbols;

  VerifyTable table;
};
} // namespace

//===--- the artifact -----------------------------------------------------===//

LogicalResult Verifier::runArtifact() {
  FerriteError error;
  if (ferriteSessionRun(artifact.session, options.inputs, options.input_count,
                        nullptr, 0, &error))
    return fail(error);
  // Accepted, so each is there once, by name or by position.
  const FerriteAbiEntry &entry = artifact.abi();
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteTensor *found = nullptr;
    for (size_t j = 0; j < options.input_count; ++j)
      if (options.inputs[j].name
              ? StringRef(options.inputs[j].name) == entry.inputs[i].name
              : i == j)
        found = &options.inputs[j];
    if (!found)
      return emitError(loc)
             << "input '" << entry.inputs[i].name << "' is missing";
    inputs.push_back(*found);
  }
  return success();
}

//===--- the modules ------------------------------------------------------===//

LogicalResult Verifier::import() {
  auto module =
      importForArtifact(&context, options.model, artifact.abi(),
                        readBindings(options.bindings, options.binding_count),
                        importSummary, importOptions);
  if (failed(module))
    return failure();
  imported = std::move(*module);
  return success();
}

LogicalResult Verifier::findNames() {
  auto file = frontend::ModelFile::open(options.model);
  if (!file)
    return emitError(loc) << llvm::toString(file.takeError());
  for (const auto &node : (*file)->getModel().graph().node())
    if (node.output_size() > 0)
      outputOfNode[frontend::getNodeName(node)] = node.output(0);
  return success();
}

std::string Verifier::lastNode(Location loc) {
  std::string last;
  loc->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      last = name.getName().str();
    return WalkResult::advance();
  });
  return last;
}

LogicalResult Verifier::runPasses() {
  fused = imported->clone();
  PassManager pm(&context);
  buildPipeline(Phase::Normalize, pm);
  buildPipeline(Phase::Fuse, pm);
  if (failed(pm.run(*fused)))
    return failure();
  bool isOurs = findStores(*fused, *ferriteModelAbi(artifact.model),
                           artifact.entry, stored);
  return isOurs ? success() : warnOfOutputsAlone();
}

LogicalResult Verifier::warnOfOutputsAlone() {
  stored.clear();
  if (options.diagnostic)
    options.diagnostic(
        options.diagnostic_data, FERRITE_SEVERITY_WARNING,
        "the artifact was not compiled as this compiler does it; its outputs "
        "alone are compared");
  return success();
}

//===--- the comparison ---------------------------------------------------===//

LogicalResult Verifier::runReference() {
  auto func = *imported->getOps<func::FuncOp>().begin();
  for (auto [i, input] : llvm::enumerate(inputs)) {
    auto type = cast<RankedTensorType>(func.getArgument(i).getType());
    std::optional<Kind> kind = kindOf(type.getElementType());
    FailureOr<int32_t> dtype = abiType(type.getElementType(), loc);
    if (!kind || failed(dtype) || *dtype != input.dtype)
      return emitError(loc) << "input '" << input.name
                            << "' has another type than the model's";
    ArrayRef<int64_t> shape(input.shape, input.rank);
    inputTensors.push_back(Tensor::borrow(*kind, shape, input.data));
    auto dims = parseDims(func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr));
    for (auto [dim, size] : llvm::zip(*dims, shape))
      symbols[dim.str()] = size;
  }
  std::map<std::string, bool> wanted;
  for (auto &[value, store] : stored)
    wanted[lastNode(value.getLoc())] = true;
  uint64_t done = 0, total = func.getBody().front().getOperations().size();
  auto observe = [&](Value value, const Tensor &tensor) {
    std::string node = lastNode(value.getLoc());
    if (wanted.count(node))
      kept[node] = tensor;
    return report("reference", ++done, total);
  };
  return reference::evaluate(func, inputTensors, folder, observe, results,
                             options.threads);
}

LogicalResult Verifier::compareStored(Value value, const Tensor &expected,
                                      Replay &replay) {
  auto found = stored.find(value);
  if (found == stored.end())
    return report("artifact", replay.done(), replay.launches());
  const StoredValue &store = found->second;
  replay.runTo(store.launch);
  Sizes layout;
  for (const std::string &text : store.layout) {
    auto size = DimExpr::parse(text)->evaluate(
        [&](StringRef name) -> std::optional<int64_t> {
          auto known = symbols.find(name.str());
          return known == symbols.end() ? std::nullopt
                                        : std::optional(known->second);
        });
    if (!size)
      return emitError(value.getLoc())
             << "bug: the size " << text << " is not known";
    layout.push_back(*size);
  }
  ArrayRef<int64_t> sizes =
      ArrayRef<int64_t>(layout).take_front(layout.size() / 2);
  Sizes strides(ArrayRef<int64_t>(layout).drop_front(layout.size() / 2));
  // A part of a concat is compared with the whole, as far as it is stored:
  // skipped.
  if (reference::countOf(sizes) != expected.count())
    return report("artifact", replay.done(), replay.launches());
  auto *data = static_cast<const char *>(
      replay.arguments(store.launch)[store.argument].ptr);
  Difference difference;
  reference::walkStrided(
      sizes, strides, 0, expected.count(),
      [&](int64_t i, const Sizes &offsets) {
        bool isFloat = ferrite::isFloat(expected.kind());
        double got = isFloat ? readFloat(expected.kind(), data, offsets[0])
                             : static_cast<double>(readInteger(
                                   expected.kind(), data, offsets[0]));
        difference.add(expected.asDouble(i), got);
      });
  difference.finish();
  std::string node = lastNode(value.getLoc());
  Difference fusion;
  auto same = kept.find(node);
  bool hasSame = same != kept.end() &&
                 same->second.shape() == expected.shape() &&
                 same->second.kind() == expected.kind();
  if (hasSame)
    fusion = compareTensors(same->second, expected);
  table.add({valueName(node), nodeNames(value.getLoc()), false}, expected,
            difference, hasSame ? &fusion : nullptr);
  return report("artifact", replay.done(), replay.launches());
}

LogicalResult Verifier::runFused() {
  if (stored.empty())
    return success();
  FailureOr<Replay> replay =
      Replay::create(artifact.model, artifact.entry, inputs, loc);
  if (failed(replay))
    return failure();
  // Outputs have rows of their own, against the reference.
  auto func = *fused->getOps<func::FuncOp>().begin();
  for (Value output : func.getBody().front().getTerminator()->getOperands())
    stored.erase(output);
  SmallVector<Tensor> ignored;
  auto observe = [&](Value value, const Tensor &tensor) {
    return compareStored(value, tensor, *replay);
  };
  return reference::evaluate(func, inputTensors, folder, observe, ignored,
                             options.threads);
}

LogicalResult Verifier::compareOutputs() {
  auto func = *imported->getOps<func::FuncOp>().begin();
  Operation *end = func.getBody().front().getTerminator();
  for (auto [i, expected] : llvm::enumerate(results)) {
    if (failed(report("compare", i, results.size())))
      return failure();
    FerriteTensor output = {};
    FerriteError error;
    if (ferriteSessionOutput(artifact.session, i, &output, &error))
      return fail(error);
    ArrayRef<int64_t> shape(output.shape, output.rank);
    FailureOr<int32_t> dtype =
        abiType(getElementTypeOrSelf(end->getOperand(i).getType()), loc);
    if (failed(dtype) || *dtype != output.dtype || shape != expected.shape())
      return emitError(loc) << "output '" << output.name
                            << "' of the artifact has another shape "
                            << "or type than the model's";
    std::string node = lastNode(end->getOperand(i).getLoc());
    table.add({output.name, node, true}, expected,
              compareTensors(expected, Tensor::borrow(expected.kind(), shape,
                                                      output.data)),
              nullptr);
  }
  return success();
}

LogicalResult Verifier::finishWithTaps() {
  // Errors of kernels are of this size in float32; of bugs they seldom are.
  double limit = options.max_error > 0 ? options.max_error : 1e-4;
  bool differs = false;
  const FerriteAbiEntry &entry = artifact.abi();
  importOptions.taps = true;
  auto found = findFirstDifference(context,
                                   {options, importOptions, entry.name,
                                    ferriteModelLevel(artifact.model), inputs,
                                    inputTensors, limit},
                                   summary, differs);
  if (failed(found))
    return failure();
  table.setNote(*found);
  if (succeeded(table.finish(summary, loc)) && !differs) {
    if (options.diagnostic)
      options.diagnostic(options.diagnostic_data, FERRITE_SEVERITY_NOTE,
                         found->c_str());
    return success();
  }
  if (!summary.getBoolean("passed").value_or(false))
    return failure();
  // The artifact is right, and its ops one by one are not.
  summary["passed"] = false;
  return emitError(loc) << *found;
}

LogicalResult Verifier::run() {
  summary["source"] = options.model;
  summary["artifact"] = options.artifact;
  summary["passed"] = false;
  if (failed(report("artifact", 0, 0)) ||
      failed(artifact.open(options, loc, summary)) || failed(runArtifact()) ||
      failed(report("reference", 0, 0)) || failed(import()) ||
      failed(findNames()) || failed(runPasses()) || failed(runReference()) ||
      failed(runFused()) || failed(compareOutputs()))
    return failure();
  return options.taps ? finishWithTaps() : table.finish(summary, loc);
}

LogicalResult ferrite::verify(MLIRContext &context,
                              const FerriteVerifyOptions &options,
                              ImportSummary &import,
                              llvm::json::Object &summary) {
  return Verifier(context, options, import, summary).run();
}
