//===- VerifyTaps.cpp - The first value that differs ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/VerifyTaps.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Artifact/NodeNames.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/DiagnosticSink.h"
#include "lib/Driver/OutputFile.h"
#include "lib/Driver/VerifyTable.h"
#include "lib/Reference/Evaluator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <thread>

using namespace mlir;
using namespace ferrite;
using reference::Tensor;

namespace {
class Taps {
public:
  Taps(MLIRContext &context, const TapsRequest &request,
       llvm::json::Object &summary)
      : context(context), request(request), summary(summary),
        loc(FileLineColLoc::get(&context, request.options.model, 0, 0)) {}
  ~Taps() {
    ferriteSessionDestroy(session);
    ferriteModelRelease(model);
  }

  FailureOr<std::string> run(bool &differs);

private:
  LogicalResult report(const char *phase) {
    if (request.options.progress &&
        request.options.progress(request.options.progress_data, phase, 0, 0))
      return emitError(loc) << "stopped";
    return success();
  }
  LogicalResult compileAndRun(const WorkFolder &work);
  LogicalResult runReference();
  FailureOr<std::string> compare(bool &differs);

  MLIRContext &context;
  const TapsRequest &request;
  llvm::json::Object &summary;
  Location loc;
  FerriteModel *model = nullptr;
  FerriteSession *session = nullptr;
  OwningOpRef<ModuleOp> imported;
  func::FuncOp func;
  SmallVector<Tensor> results;
};
} // namespace

LogicalResult Taps::compileAndRun(const WorkFolder &work) {
  if (failed(report("taps: compile")))
    return failure();
  DriverOptions driver;
  driver.model = request.options.model;
  driver.output = work.file("taps.so");
  driver.name = "taps";
  driver.levels = {request.level};
  driver.import = request.import;
  driver.threads = std::max(1u, std::thread::hardware_concurrency());
  {
    // A context of its own: a compile leaves its remarks in it.
    DialectRegistry registry;
    registerAll(registry);
    MLIRContext own(registry);
    own.loadAllAvailableDialects();
    own.printOpOnDiagnostic(false);
    DiagnosticSink sink(own, request.options.diagnostic,
                        request.options.diagnostic_data);
    CompileRecord record;
    OwningOpRef<ModuleOp> plan;
    if (failed(ferrite::compile(own, driver, record, plan)))
      return failure();
  }

  if (failed(report("taps: artifact")))
    return failure();
  FerriteError error;
  FerriteModelOptions modelOptions = {};
  modelOptions.size = sizeof modelOptions;
  modelOptions.level = request.level.c_str();
  FerriteSessionOptions sessionOptions = {};
  sessionOptions.size = sizeof sessionOptions;
  sessionOptions.threads = request.options.threads;
  if (ferriteModelLoadFile(driver.output.c_str(), &modelOptions, &model,
                           &error) ||
      ferriteSessionCreate(model, request.entry.c_str(), &sessionOptions,
                           &session, &error) ||
      ferriteSessionRun(session, request.inputs.data(), request.inputs.size(),
                        nullptr, 0, &error))
    return emitError(loc) << error.message;
  return success();
}

LogicalResult Taps::runReference() {
  if (failed(report("taps: reference")))
    return failure();
  ImportSummary unused;
  auto module =
      importOnnxModel(&context, request.options.model, request.import, &unused);
  if (failed(module))
    return failure();
  imported = std::move(*module);
  for (auto each : imported->getOps<func::FuncOp>())
    if (!func || each.getSymName() == request.entry)
      func = each;
  ModelFolder folder(llvm::sys::path::parent_path(request.options.model));
  return reference::evaluate(
      func, request.reference, folder,
      [](Value, const Tensor &) { return success(); }, results,
      request.options.threads);
}

FailureOr<std::string> Taps::compare(bool &differs) {
  Operation *end = func.getBody().front().getTerminator();
  llvm::json::Array rows;
  std::string found;
  size_t count = 0;
  // Values of the graph first, in its order; its own outputs come before them.
  SmallVector<size_t> order;
  for (bool wantsTaps : {true, false})
    for (size_t i = 0; i < results.size(); ++i)
      if (static_cast<bool>(func.getResultAttr(i, kTapAttr)) == wantsTaps)
        order.push_back(i);
  for (size_t i : order) {
    FerriteTensor output = {};
    FerriteError error;
    if (ferriteSessionOutput(session, i, &output, &error))
      return emitError(loc) << error.message;
    const Tensor &expected = results[i];
    ArrayRef<int64_t> shape(output.shape, output.rank);
    if (shape != expected.shape())
      return emitError(loc) << "value '" << output.name
                            << "' has another shape than the model's";
    Difference difference = compareTensors(
        expected, Tensor::borrow(expected.kind(), shape, output.data));
    ++count;
    if (difference.relativeL2 <= request.limit)
      continue;
    differs = true;
    std::string node = nodeNames(end->getOperand(i).getLoc());
    llvm::json::Value error2 = std::isfinite(difference.relativeL2)
                                   ? llvm::json::Value(difference.relativeL2)
                                   : llvm::json::Value(nullptr);
    rows.push_back(llvm::json::Object{{"name", std::string(output.name)},
                                      {"node", node},
                                      {"relative_l2", error2}});
    if (found.empty())
      found =
          llvm::formatv("with every value stored, the first that differs "
                        "is '{0}' (node '{1}'): its relative L2 error is "
                        "{2:e2}, more than {3:e2}",
                        output.name, node, difference.relativeL2, request.limit)
              .str();
  }
  summary["taps"] =
      llvm::json::Object{{"compared", count}, {"differing", std::move(rows)}};
  if (found.empty())
    found = llvm::formatv("with every value stored, all {0} are right: a "
                          "difference comes from fusion, or from how the "
                          "artifact was compiled",
                          count)
                .str();
  return found;
}

FailureOr<std::string> Taps::run(bool &differs) {
  // Beside the artifact: the weights are copied, and there they had room.
  FailureOr<WorkFolder> work =
      WorkFolder::create(std::string(request.options.artifact) + ".taps", loc);
  if (failed(work) || failed(compileAndRun(*work)) || failed(runReference()))
    return failure();
  return compare(differs);
}

FailureOr<std::string> ferrite::findFirstDifference(MLIRContext &context,
                                                    const TapsRequest &request,
                                                    llvm::json::Object &summary,
                                                    bool &differs) {
  differs = false;
  return Taps(context, request, summary).run(differs);
}
