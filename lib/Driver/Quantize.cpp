//===- Quantize.cpp - The quantize phase ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Quantize.h"

#include "lib/Driver/QuantizeBudget.h"
#include "lib/Driver/QuantizeExperts.h"
#include "lib/Driver/QuantizeRotate.h"
#include "lib/Driver/QuantizeScale.h"
#include "lib/Driver/QuantizeScores.h"
#include "lib/Driver/QuantizeTables.h"
#include "passes/Analysis/AttentionScores.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/Passes.h"
#include "passes/Quantization/ScaleInputs.h"

#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ferrite;

namespace {
class Quantizer {
public:
  Quantizer(ModuleOp module, const DriverOptions &options,
            CompileRecord &record, const WorkFolder &work, SideFile &file,
            Location loc)
      : module(module), options(options), record(record), work(work), loc(loc),
        fileName(sideFileName(options)), file(file) {}
  LogicalResult run();

private:
  LogicalResult chooseFormats();
  /// Layers that read one input in the entry that calibration runs.
  struct Shared : SharedInput {
    SmallVector<QuantLayer *> layers;
    std::vector<float> factors; ///< that the input is divided by
  };
  void findShared();
  LogicalResult scale(Shared &shared);
  /// Null, or why the input of some layers cannot be divided by factors.
  const char *whyNotScaled(const Shared &shared) const;
  LogicalResult store(Shared &shared);
  LogicalResult storeAll();
  LogicalResult keepBudget();
  LogicalResult rewrite();
  bool hasData() const { return !batches.empty(); }
  bool wantsMoments() const {
    return method == QuantMethod::GPTQ || method == QuantMethod::AWQ ||
           (method == QuantMethod::Rotate && hasData());
  }
  LogicalResult report(StringRef what, uint64_t done, uint64_t total) {
    if (options.progress && !options.progress(what, done, total))
      return emitError(loc) << "stopped";
    return success();
  }
  /// The input of a layer in the entry that calibration runs.
  Value inputOf(const QuantLayer &layer) const;

  ModuleOp module;
  const DriverOptions &options;
  CompileRecord &record;
  const WorkFolder &work;
  Location loc;
  std::string fileName;
  QuantSpec spec;
  QuantMethod method = QuantMethod::Nearest;
  std::vector<QuantLayer> layers;
  bool hasExperts = false; ///< that are to be quantized
  SideFile &file;
  std::unique_ptr<ModelFolder> folder;
  func::FuncOp entry; ///< that calibration runs
  std::vector<Batch> batches;
  std::vector<Shared> inputs;
  std::optional<ModelRotation> rotation;
};
} // namespace

LogicalResult Quantizer::chooseFormats() {
  PassManager pm(module.getContext());
  ChooseFormatsOptions passOptions;
  passOptions.spec = options.quantize;
  pm.addPass(createChooseFormats(passOptions));
  if (failed(pm.run(module)))
    return failure();
  layers = findLayers(module);
  module.walk([&](ExpertLinearOp op) {
    if (!op->hasAttr(kFormatAttr))
      return;
    hasExperts = true;
    if (method != QuantMethod::Nearest ||
        options.accuracyBudget.find("kld") == 0)
      remark::missed(op.getLoc(),
                     remark::RemarkOpts::name("experts").category("quantize"))
          << remark::reason("weights of experts are rounded to the nearest, in "
                            "the format that was asked for, whatever the "
                            "method and a budget of divergence");
  });
  if (layers.empty() && !hasExperts && spec.hasWeights() &&
      spec.tables.isWide())
    return emitError(loc) << "--quantize=" << options.quantize
                          << ": the model has no product that can be "
                             "quantized; --report says why";
  return success();
}

Value Quantizer::inputOf(const QuantLayer &layer) const {
  for (LinearOp op : layer.ops)
    if (entry && op->getParentOfType<func::FuncOp>() == entry)
      return op.getInput();
  return {};
}

void Quantizer::findShared() {
  llvm::MapVector<Value, size_t> known;
  for (QuantLayer &layer : layers) {
    Value input = inputOf(layer);
    if (!input && hasData())
      remark::missed(LinearOp(layer.ops.front()).getLoc(),
                     remark::RemarkOpts::name("calibrate").category("quantize"))
          << remark::reason("the entry that --calib is for does not have it: "
                            "rounded to the nearest");
    auto [found, isNew] = known.try_emplace(input, inputs.size());
    if (isNew || !input) {
      inputs.emplace_back();
      inputs.back().input = input;
      inputs.back().depth = layer.depth();
      inputs.back().wantsMoments = wantsMoments();
      inputs.back().layers.push_back(&layer);
    } else {
      inputs[found->second].layers.push_back(&layer);
    }
  }
}

//===--- weights ----------------------------------------------------------===//

const char *Quantizer::whyNotScaled(const Shared &shared) const {
  llvm::DenseSet<Operation *> own;
  for (QuantLayer *layer : shared.layers)
    for (LinearOp op : layer->ops)
      own.insert(op);
  for (QuantLayer *layer : shared.layers)
    for (LinearOp op : layer->ops) {
      if (const char *why = ferrite::whyNotScaled(op.getInput()))
        return why;
      for (OpOperand &use : op.getInput().getUses())
        if (!own.contains(use.getOwner()) || use.getOperandNumber() != 0)
          return "its input has other uses";
    }
  return nullptr;
}

LogicalResult Quantizer::scale(Shared &shared) {
  if (!shared.input ||
      (method != QuantMethod::AWQ && method != QuantMethod::SmoothQuant))
    return success();
  if (const char *why = whyNotScaled(shared)) {
    for (QuantLayer *layer : shared.layers)
      remark::missed(
          LinearOp(layer->ops.front()).getLoc(),
          remark::RemarkOpts::name("scale-inputs").category("quantize"))
          << remark::reason("{0}", why);
    return success();
  }
  FailureOr<std::vector<float>> factors =
      method == QuantMethod::AWQ
          ? findAwqFactors(shared.layers, shared.facts, *folder,
                           options.threads)
          : findSmoothFactors(shared.layers, shared.facts, *folder,
                              options.threads);
  if (failed(factors))
    return failure();
  shared.factors = std::move(*factors);
  shared.facts.most = 0;
  for (size_t k = 0; k < shared.factors.size(); ++k)
    shared.facts.most = std::max<double>(
        shared.facts.most, shared.facts.largest[k] / shared.factors[k]);
  return success();
}

LogicalResult Quantizer::store(Shared &shared) {
  if (failed(scale(shared)))
    return failure();
  const double *factor = nullptr;
  std::vector<float> importance;
  // How much an error of each row of the weight matters.
  for (size_t k = 0; k < shared.facts.squares.size(); ++k) {
    double by = shared.factors.empty() ? 1 : shared.factors[k];
    importance.push_back(
        float(shared.facts.squares[k] / double(shared.facts.rows) / (by * by)));
  }
  // One part in a hundred of the mean is added, as the paper has it.
  if (shared.facts.moments &&
      (method == QuantMethod::GPTQ || method == QuantMethod::Rotate) &&
      factorInverse(*shared.facts.moments, 0.01, options.threads))
    factor = shared.facts.moments->sums.data();
  for (QuantLayer *layer : shared.layers) {
    if (failed(report("quantize", layer - layers.data(), layers.size())))
      return failure();
    if (rotation)
      layer->change = rotation->changeOf(*layer);
    if (!shared.factors.empty())
      layer->change.rowScale = shared.factors;
    if (layer->format.isStatic)
      layer->inputMost = shared.facts.most;
    if (failed(storeLayer(*layer, factor,
                          importance.empty() ? nullptr : importance.data(),
                          *folder, file, fileName, options.threads)))
      return failure();
  }
  shared.facts.moments.reset();
  return success();
}

LogicalResult Quantizer::storeAll() {
  folder = std::make_unique<ModelFolder>(
      openModelFolder(module, options, file.path()));
  if (method == QuantMethod::Rotate)
    rotation.emplace(module, layers);
  findShared();
  std::vector<float> changed;
  auto change = [&](SharedInput &shared, const float *rows, int64_t count) {
    if (!rotation)
      return rows;
    changed.assign(rows, rows + count * shared.depth);
    rotation->changeInput(*static_cast<Shared &>(shared).layers.front(),
                          changed.data(), count);
    return const_cast<const float *>(changed.data());
  };
  auto use = [&](SharedInput &shared) {
    return store(static_cast<Shared &>(shared));
  };
  SmallVector<SharedInput *> all;
  for (Shared &shared : inputs)
    all.push_back(&shared);
  return findInputFacts(entry, batches, options, loc, all, change, use);
}

LogicalResult Quantizer::keepBudget() {
  if (options.accuracyBudget.empty())
    return success();
  AccuracyBudget budget =
      llvm::cantFail(AccuracyBudget::parse(options.accuracyBudget));
  auto storeAgain = [&](QuantLayer &layer) {
    return storeLayer(layer, nullptr, nullptr, *folder, file, fileName,
                      options.threads);
  };
  auto tell = [&](uint64_t done, uint64_t total) {
    return report("accuracy budget", done, total);
  };
  std::unique_ptr<BudgetMeter> meter;
  if (budget.isKld) {
    auto path = module->getAttrOfType<StringAttr>(kModelPathAttr);
    FailureOr<std::unique_ptr<BudgetMeter>> made = BudgetMeter::make(
        entry, batches, options,
        llvm::sys::path::parent_path(path ? path.getValue()
                                          : StringRef(options.model)),
        fileName, file.path(), work, loc);
    if (failed(made))
      return failure();
    meter = std::move(*made);
  }
  return spendBudget(budget, layers, meter.get(), storeAgain, tell);
}

//===--- the model --------------------------------------------------------===//

LogicalResult Quantizer::rewrite() {
  for (Shared &shared : inputs) {
    llvm::SetVector<Value> values;
    for (QuantLayer *layer : shared.layers)
      for (LinearOp op : layer->ops)
        values.insert(op.getInput());
    if (!shared.factors.empty())
      for (Value value : values)
        divideBy(value, shared.factors);
  }
  if (rotation &&
      failed(rotation->apply(*folder, file, fileName, options.threads)))
    return failure();
  for (auto func : module.getOps<func::FuncOp>()) {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return failure();
    LinearRewriter rewriter(*dims);
    for (QuantLayer &layer : layers)
      // A product of bytes is another op: those of this function are done with.
      llvm::erase_if(layer.ops, [&](LinearOp op) {
        bool isHere = op->getParentOfType<func::FuncOp>() == func;
        if (isHere && layer.format.isWide())
          rewriter.keepWide(op, layer.stored);
        else if (isHere)
          rewriter.rewrite(op, layer.stored, layer.inputMost);
        return isHere;
      });
  }
  module->setAttr(kSideFileAttr,
                  StringAttr::get(module.getContext(), fileName));
  for (const QuantLayer &layer : layers)
    record.layers.push_back({layer.node, layer.name, layer.format.str(),
                             layer.why, layer.error, layer.kld, layer.wideBytes,
                             layer.storedBytes});
  if (spec.tables.isWide() && !hasExperts)
    return success();
  // What a rotation made of them lies in the file.
  ModelFolder withFile = openModelFolder(module, options, file.path());
  if (failed(quantizeTables(module, withFile, file, fileName, options.threads,
                            record.layers)))
    return failure();
  double mostError = std::numeric_limits<double>::infinity();
  if (!options.accuracyBudget.empty()) {
    AccuracyBudget budget =
        llvm::cantFail(AccuracyBudget::parse(options.accuracyBudget));
    if (!budget.isKld)
      mostError = budget.limit;
  }
  return quantizeExperts(module, withFile, file, fileName, mostError,
                         options.threads, record.layers);
}

LogicalResult Quantizer::run() {
  llvm::Expected<QuantSpec> parsed = QuantSpec::parse(options.quantize);
  if (!parsed) // read before: a bug
    return emitError(loc) << "bug: " << llvm::toString(parsed.takeError());
  spec = std::move(*parsed);
  method = spec.method.value_or(QuantMethod::Nearest);
  if (!options.calib.empty()) {
    entry = findEntry(module, options.calib);
    FailureOr<std::vector<Batch>> made =
        makeBatches(entry, options.calib, "--calib", loc);
    record.userFault = failed(made);
    if (failed(made))
      return failure();
    batches = std::move(*made);
  }
  record.userFault = true;
  if (failed(chooseFormats()))
    return failure();
  if (!spec.byteScores.empty()) {
    func::FuncOp scored = entry;
    for (auto func : module.getOps<func::FuncOp>())
      if (!scored && llvm::any_of(func.getOps<AttentionOp>(), [](auto op) {
            return op->hasAttr(kScoresAttr);
          }))
        scored = func;
    if (failed(measureScores(scored, batches, options, loc, record.layers)))
      return failure();
  }
  if (!spec.hasWeights() && !options.accuracyBudget.empty())
    return emitError(loc) << "--accuracy-budget chooses formats of weights, "
                             "and --quantize="
                          << options.quantize << " has none";
  if (!spec.hasWeights()) {
    record.userFault = false;
    return success();
  }
  if (failed(storeAll()) || failed(keepBudget()))
    return failure();
  record.userFault = false;
  return rewrite();
}

std::string ferrite::sideFileName(const DriverOptions &options) {
  return options.name + (options.quantize.empty() ? ".pruned" : ".quantized");
}

LogicalResult ferrite::quantize(ModuleOp module, const DriverOptions &options,
                                CompileRecord &record, const WorkFolder &work,
                                SideFile &file, Location loc) {
  return Quantizer(module, options, record, work, file, loc).run();
}
