//===- QuantizeBudget.cpp - What the rounding of each weight costs --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeBudget.h"

#include "dialects/Plan/IR/Plan.h"
#include "lib/Artifact/WeightRecipe.h"
#include "lib/Driver/VerifyMetric.h"
#include "mlir/AsmParser/AsmParser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ferrite;

/// Positions that are compared for each layer: the mean over so many is known
/// to a few percent.
static constexpr int64_t kPositions = 4096;

/// The name in sources of the file at `meaningPath`.
static constexpr llvm::StringLiteral kMeaning = "ferrite.meaning";

llvm::Expected<AccuracyBudget> AccuracyBudget::parse(StringRef text) {
  AccuracyBudget budget;
  auto [kind, number] = text.split(':');
  if ((kind != "kld" && kind != "rel") || number.getAsDouble(budget.limit) ||
      !(budget.limit > 0) || budget.limit > 1e3)
    return llvm::createStringError(
        llvm::inconvertibleErrorCode(),
        "--accuracy-budget='" + text +
            "' is none: it is kld:X, of the predictions in nats, or rel:X, of "
            "each layer, with X above 0");
  budget.isKld = kind == "kld";
  return budget;
}

FailureOr<std::unique_ptr<BudgetMeter>>
BudgetMeter::make(func::FuncOp entry, ArrayRef<Batch> batches,
                  const DriverOptions &options, StringRef modelFolder,
                  StringRef fileName, const std::string &sidePath,
                  const WorkFolder &work, Location loc) {
  std::unique_ptr<BudgetMeter> meter(new BudgetMeter(options, loc));
  meter->modelFolder = modelFolder.str();
  meter->fileName = fileName.str();
  meter->sidePath = sidePath;
  meter->meaningPath = work.file("meaning");
  int64_t positions = 0;
  for (const Batch &batch : batches) {
    if (positions >= kPositions)
      break;
    meter->batches.push_back(batch);
    const FerriteTensor &first = batch.inputs.front();
    positions += first.shape[0] * (first.rank > 1 ? first.shape[1] : 1);
  }
  std::optional<Value> logits = findLogits(entry);
  if (!logits)
    return emitError(loc)
           << "--accuracy-budget=kld compares logits of float32, "
              "[.., vocabulary], and the model has no such output";
  OwningOpRef<ModuleOp> copy = copyWithResults(entry, *logits, batches);
  auto made = FloatArtifact::make(*copy, options, loc);
  if (failed(made))
    return failure();
  meter->artifact = std::move(*made);
  if (failed(meter->keepExpected(work)))
    return failure();
  return std::move(meter);
}

LogicalResult BudgetMeter::keepExpected(const WorkFolder &work) {
  std::string path = work.file("expected");
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(path, error);
    for (const Batch &batch : batches) {
      FailureOr<FerriteTensor> logits = artifact->outputOf(batch);
      if (failed(logits))
        return failure();
      stream.write(static_cast<const char *>(logits->data), logits->bytes);
    }
    stream.close();
    if (stream.has_error()) {
      stream.clear_error();
      return emitError(loc) << "cannot write '" << path << "'";
    }
  }
  auto mapped = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!mapped)
    return emitError(loc) << "cannot read '" << path << "'";
  expected = std::move(*mapped);
  return success();
}

static std::string textOf(Attribute attr) {
  std::string text;
  llvm::raw_string_ostream(text) << attr;
  return text;
}

LogicalResult BudgetMeter::overwrite(const QuantLayer &layer, bool withCodes) {
  auto weight = layer.weight().getDefiningOp<WeightOp>();
  Attribute own =
      weight ? Attribute(weight.getSourcesAttr())
             : layer.weight().getDefiningOp<arith::ConstantOp>().getValue();
  ModuleOp plan = artifact->getPlan();
  MLIRContext *context = plan.getContext();
  std::string wanted = textOf(own);
  bool isFound = false;
  for (auto each : plan.getOps<plan::WeightOp>()) {
    Attribute there = each.getSourcesAttr() ? Attribute(each.getSourcesAttr())
                                            : Attribute(each.getValueAttr());
    if (each.getFormat() == plan::WeightFormat::Rows || textOf(there) != wanted)
      continue;
    isFound = true;
    OwningOpRef<ModuleOp> alone = ModuleOp::create(each.getLoc());
    OpBuilder b(alone->getBodyRegion());
    auto copy = cast<plan::WeightOp>(b.clone(*each));
    int64_t offset = copy.getOffset();
    copy.setOffset(0);
    ModelFolder folder(modelFolder);
    addModelFolders(folder, plan);
    folder.add(fileName, sidePath);
    if (withCodes) {
      MLIRContext *own = layer.weight().getContext();
      ArrayAttr meant = dequantizedSources(own, layer.stored);
      // The float code knows nothing of factors and rotations.
      if (!layer.change.isNone()) {
        FailureOr<std::unique_ptr<SideFile>> file =
            SideFile::create(meaningPath, loc);
        if (failed(file))
          return failure();
        FailureOr<SourceAttr> made =
            storeMeaning(layer, folder, **file, kMeaning);
        if (failed(made))
          return failure();
        meant = ArrayAttr::get(own, {*made});
        folder.add(kMeaning, meaningPath);
      }
      // Attributes of another context, by way of their text.
      Attribute sources = parseAttribute(textOf(meant), context);
      if (!sources)
        return emitError(loc) << "bug: the sources of a weight do not parse";
      copy.setSourcesAttr(cast<ArrayAttr>(sources));
      copy.removeValueAttr();
      copy.setAxis(0);
    }
    std::vector<char> bytes(weightBytes(*alone), 0);
    if (failed(writeWeights(*alone, folder, bytes.data(), options.threads)) ||
        failed(artifact->overwriteWeights(offset, bytes)))
      return failure();
  }
  // Weights that are shared with a table are not found by it alone.
  return isFound
             ? success()
             : LogicalResult(emitError(loc) << "bug: weight '" << layer.name
                                            << "' is not in the float code");
}

FailureOr<double> BudgetMeter::measure(ArrayRef<const QuantLayer *> layers) {
  for (const QuantLayer *layer : layers)
    if (failed(overwrite(*layer, /*withCodes=*/true)))
      return failure();
  Predictions sums;
  const char *at = expected->getBufferStart();
  for (const Batch &batch : batches) {
    FailureOr<FerriteTensor> logits = artifact->outputOf(batch);
    if (failed(logits))
      return failure();
    int64_t vocabulary = logits->shape[logits->rank - 1];
    int64_t count = int64_t(logits->bytes) / 4 / vocabulary;
    Targets targets = findTargets(batch, {}, 0);
    bool isOfAll = int64_t(targets.next.size()) == count;
    std::vector<int64_t> none(count, -1);
    sums.add(reinterpret_cast<const float *>(at),
             static_cast<const float *>(logits->data), count, vocabulary,
             none.data(), isOfAll ? targets.counts.get() : nullptr,
             options.threads);
    at += logits->bytes;
  }
  for (const QuantLayer *layer : layers)
    if (failed(overwrite(*layer, /*withCodes=*/false)))
      return failure();
  return sums.kld();
}

//===--- who is wider -----------------------------------------------------===//

/// The same with eight bits, or wide where it has them already.
static QuantFormat widened(QuantFormat format) {
  if (format.bits >= 8)
    return QuantFormat();
  format.bits = 8;
  format.isNormalFloat = format.isAsymmetric = false;
  if (format.inputBits)
    format.inputBits = 8;
  return format;
}

static LogicalResult
widen(QuantLayer &layer, const std::string &why,
      llvm::function_ref<LogicalResult(QuantLayer &)> store) {
  layer.format = widened(layer.format);
  layer.why = why;
  return store(layer);
}

static LogicalResult
limitErrors(double limit, MutableArrayRef<QuantLayer> layers,
            llvm::function_ref<LogicalResult(QuantLayer &)> store) {
  for (QuantLayer &layer : layers)
    while (!layer.format.isWide() && layer.error > limit) {
      std::string why =
          llvm::formatv(
              "its relative error as {0} was {1:f4}, more than {2:f4}",
              layer.format.str(), layer.error, limit)
              .str();
      if (failed(widen(layer, why, store)))
        return failure();
    }
  return success();
}

LogicalResult ferrite::spendBudget(
    const AccuracyBudget &budget, MutableArrayRef<QuantLayer> layers,
    BudgetMeter *meter, llvm::function_ref<LogicalResult(QuantLayer &)> store,
    llvm::function_ref<LogicalResult(uint64_t, uint64_t)> report) {
  if (!budget.isKld)
    return limitErrors(budget.limit, layers, store);
  std::vector<size_t> order;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (failed(report(i, layers.size())))
      return failure();
    FailureOr<double> kld = meter->measure(&layers[i]);
    if (failed(kld))
      return failure();
    layers[i].kld = *kld;
    order.push_back(i);
  }
  auto costPerByte = [&](size_t i) {
    return layers[i].kld / double(std::max<int64_t>(layers[i].storedBytes, 1));
  };
  llvm::sort(order, [&](size_t a, size_t b) {
    double costA = costPerByte(a), costB = costPerByte(b);
    return costA != costB ? costA > costB : a < b;
  });
  // At most from few bits to eight, and from eight to what the model has.
  for (int step = 0; step < 2; ++step) {
    std::vector<std::optional<QuantLayer>> wider(layers.size());
    auto measureWith = [&](size_t count) -> FailureOr<double> {
      SmallVector<const QuantLayer *> used;
      for (size_t i = 0; i < order.size(); ++i) {
        QuantLayer &layer = layers[order[i]];
        if (i >= count) {
          used.push_back(&layer);
          continue;
        }
        std::optional<QuantLayer> &other = wider[order[i]];
        if (!other) {
          other = layer;
          std::string why =
              llvm::formatv("as {0} it alone costs {1:f6} nats of {2:f6}",
                            layer.format.str(), layer.kld, budget.limit)
                  .str();
          if (!layer.format.isWide() && failed(widen(*other, why, store)))
            return failure();
        }
        used.push_back(&*other);
      }
      llvm::erase_if(
          used, [](const QuantLayer *layer) { return layer->format.isWide(); });
      return meter->measure(used);
    };
    // The divergence falls as more are wider.
    size_t low = 0, high = layers.size();
    FailureOr<double> now = measureWith(0);
    if (failed(now))
      return failure();
    if (*now <= budget.limit)
      return success();
    while (low + 1 < high) {
      size_t middle = (low + high) / 2;
      if (failed(report(middle, layers.size())))
        return failure();
      now = measureWith(middle);
      if (failed(now))
        return failure();
      (*now <= budget.limit ? high : low) = middle;
    }
    now = measureWith(high);
    if (failed(now))
      return failure();
    for (size_t i = 0; i < high; ++i)
      layers[order[i]] = std::move(*wider[order[i]]);
    if (*now <= budget.limit)
      return success();
  }
  return success();
}
