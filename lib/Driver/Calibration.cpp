//===- Calibration.cpp - What flows into the products of a model ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Calibration.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Quantization/Passes.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"

#include <set>
#include <unistd.h>

using namespace mlir;
using namespace ferrite;

FailureOr<std::unique_ptr<FloatArtifact>>
FloatArtifact::make(ModuleOp module, const DriverOptions &options,
                    Location loc) {
  FailureOr<WorkFolder> work =
      WorkFolder::create(options.output + ".float", loc);
  if (failed(work))
    return failure();
  std::unique_ptr<FloatArtifact> artifact(
      new FloatArtifact(std::move(*work), loc));
  std::string text;
  llvm::raw_string_ostream(text) << module;
  if (failed(artifact->work.write("fused.mlir", text, loc)))
    return failure();
  DriverOptions driver;
  driver.model = artifact->work.file("fused.mlir");
  driver.output = artifact->work.file("float.so");
  driver.name = "float";
  driver.compileFrom = Phase::Fuse;
  driver.levels = {"native"};
  driver.threads = options.threads;
  driver.sideFile = options.sideFile;
  // Other bytes may be put into its weights (QuantizeBudget.cpp).
  driver.sparseProducts = false;
  // The weights are mapped either way; a file of their own is not linked.
  driver.weightsMode = FERRITE_WEIGHTS_FILE;
  std::string problem;
  {
    // A context of its own: a compile leaves its remarks in it.
    DialectRegistry registry;
    registerAll(registry);
    artifact->context = std::make_unique<MLIRContext>(
        registry, MLIRContext::Threading::DISABLED);
    MLIRContext &own = *artifact->context;
    own.loadAllAvailableDialects();
    own.printOpOnDiagnostic(false);
    ScopedDiagnosticHandler handler(&own, [&](Diagnostic &diagnostic) {
      if (problem.empty() &&
          diagnostic.getSeverity() == DiagnosticSeverity::Error)
        problem = diagnostic.str();
      return success();
    });
    if (failed(ferrite::compile(own, driver, artifact->record, artifact->plan)))
      return emitError(loc)
             << "the model cannot be compiled in float: " << problem;
  }
  FerriteError error;
  FerriteModelOptions modelOptions = {};
  modelOptions.size = sizeof modelOptions;
  FerriteSessionOptions sessionOptions = {};
  sessionOptions.size = sizeof sessionOptions;
  sessionOptions.threads = options.threads;
  if (ferriteModelLoadFile(driver.output.c_str(), &modelOptions,
                           &artifact->model, &error) ||
      ferriteSessionCreate(artifact->model, nullptr, &sessionOptions,
                           &artifact->session, &error))
    return emitError(loc) << error.message;
  return std::move(artifact);
}

FloatArtifact::~FloatArtifact() {
  ferriteSessionDestroy(session);
  ferriteModelRelease(model);
}

LogicalResult FloatArtifact::run(const Batch &batch) {
  FerriteError error;
  if (ferriteSessionRun(session, batch.inputs.data(), batch.inputs.size(),
                        nullptr, 0, &error))
    return emitError(loc) << error.message;
  return success();
}

LogicalResult FloatArtifact::overwriteWeights(int64_t offset,
                                              ArrayRef<char> bytes) {
  // The runtime maps the file shared: a run reads what is written.
  int fd = -1;
  std::string path = work.file("float.weights");
  bool isWritten = !llvm::sys::fs::openFileForReadWrite(
      path, fd, llvm::sys::fs::CD_OpenExisting, llvm::sys::fs::OF_None);
  if (fd >= 0) {
    for (size_t done = 0; isWritten && done < bytes.size();) {
      ssize_t count = ::pwrite(fd, bytes.data() + done, bytes.size() - done,
                               offset + int64_t(done));
      isWritten = count > 0;
      done += count;
    }
    ::close(fd);
  }
  if (!isWritten)
    return emitError(loc) << "cannot write '" << path << "'";
  return success();
}

std::optional<Value> ferrite::findLogits(func::FuncOp func) {
  std::optional<Value> found;
  Operation *end = func.getBody().front().getTerminator();
  for (unsigned i = 0; i < func.getNumResults(); ++i) {
    auto type = cast<RankedTensorType>(end->getOperand(i).getType());
    if (!type.getElementType().isF32() || type.getRank() < 2 ||
        type.isDynamicDim(type.getRank() - 1))
      continue;
    auto name = func.getResultAttrOfType<StringAttr>(i, kNameAttr);
    if (!found || (name && name.getValue() == "logits"))
      found = end->getOperand(i);
  }
  return found;
}

FailureOr<FerriteTensor> FloatArtifact::output(size_t index) {
  FerriteTensor tensor = {};
  FerriteError error;
  if (ferriteSessionOutput(session, index, &tensor, &error))
    return emitError(loc) << error.message;
  return tensor;
}

/// The limits of a function's symbols, from 0 on for those of `empty`.
static ArrayAttr limitsWith(func::FuncOp func, ArrayRef<std::string> empty) {
  MLIRContext *context = func.getContext();
  SmallVector<Attribute> limits;
  if (auto known = func->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    for (Attribute attr : known)
      if (!llvm::is_contained(empty, cast<SymbolAttr>(attr).getName()))
        limits.push_back(attr);
  for (const std::string &name : empty)
    limits.push_back(SymbolAttr::get(context, name, 0, INT64_MAX));
  return ArrayAttr::get(context, limits);
}

OwningOpRef<ModuleOp> ferrite::copyWithResults(func::FuncOp func,
                                               ArrayRef<Value> results,
                                               ArrayRef<Batch> batches) {
  auto parent = func->getParentOfType<ModuleOp>();
  OwningOpRef<ModuleOp> module = ModuleOp::create(parent.getLoc());
  (*module)->setAttrs(parent->getAttrDictionary());
  IRMapping mapping;
  OpBuilder builder(module->getBodyRegion());
  auto copy = cast<func::FuncOp>(builder.clone(*func, mapping));
  SmallVector<Value> mapped;
  SmallVector<Type> types;
  SmallVector<Attribute> names;
  for (auto [i, value] : llvm::enumerate(results)) {
    mapped.push_back(mapping.lookup(value));
    types.push_back(value.getType());
    names.push_back(builder.getDictionaryAttr(builder.getNamedAttr(
        kNameAttr, builder.getStringAttr("tap." + std::to_string(i)))));
  }
  Operation *end = copy.getBody().front().getTerminator();
  end->setOperands(mapped);
  copy.setType(builder.getFunctionType(copy.getArgumentTypes(), types));
  copy.setAllResultAttrs(names);
  std::set<std::string> empty;
  for (const Batch &batch : batches)
    empty.insert(batch.emptySymbols.begin(), batch.emptySymbols.end());
  if (!empty.empty())
    copy->setAttr(
        kSymbolsAttr,
        limitsWith(func, SmallVector<std::string>(empty.begin(), empty.end())));
  copy.walk([](Operation *op) { op->removeAttr(kFormatAttr); });
  return module;
}

/// Outputs of one run of a group of taps.
static constexpr int64_t kTapBytes = int64_t(256) << 20;

LogicalResult ferrite::runWithTaps(func::FuncOp func, ArrayRef<Value> taps,
                                   ArrayRef<Batch> batches,
                                   const DriverOptions &options, Location loc,
                                   RowsFn rows) {
  int64_t mostRows = 1;
  for (const Batch &batch : batches) {
    int64_t count = 1;
    const FerriteTensor &first = batch.inputs.front();
    for (int32_t d = 0; d < first.rank; ++d)
      count *= first.shape[d];
    mostRows = std::max(mostRows, count);
  }
  for (size_t begin = 0; begin < taps.size();) {
    size_t end = begin;
    for (int64_t bytes = 0; end < taps.size(); ++end) {
      bytes += cast<RankedTensorType>(taps[end].getType()).getShape().back() *
               mostRows * 4;
      if (bytes > kTapBytes && end > begin)
        break;
    }
    OwningOpRef<ModuleOp> copy =
        copyWithResults(func, taps.slice(begin, end - begin), batches);
    auto artifact = FloatArtifact::make(*copy, options, loc);
    if (failed(artifact))
      return failure();
    for (auto [i, batch] : llvm::enumerate(batches)) {
      if (options.progress &&
          !options.progress("calibrate", begin * batches.size() + i,
                            taps.size() * batches.size()))
        return emitError(loc) << "stopped";
      if (failed((*artifact)->run(batch)))
        return failure();
      for (size_t tap = begin; tap < end; ++tap) {
        FailureOr<FerriteTensor> tensor = (*artifact)->output(tap - begin);
        if (failed(tensor))
          return failure();
        int64_t depth = tensor->shape[tensor->rank - 1], count = 1;
        for (int32_t d = 0; d + 1 < tensor->rank; ++d)
          count *= tensor->shape[d];
        rows(tap, static_cast<const float *>(tensor->data), count, depth);
      }
    }
    begin = end;
  }
  return success();
}
