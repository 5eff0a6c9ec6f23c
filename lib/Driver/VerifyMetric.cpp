//===- VerifyMetric.cpp - How much worse an artifact predicts -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/VerifyMetric.h"

#include "lib/Driver/Calibration.h"
#include "lib/Driver/VerifiedArtifact.h"
#include "lib/Driver/VerifyImport.h"
#include "lib/Reference/Parallel.h"

#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

double Predictions::perplexity() const {
  return tokens ? std::exp(loss / double(tokens)) : 0;
}
double Predictions::floatPerplexity() const {
  return tokens ? std::exp(floatLoss / double(tokens)) : 0;
}

/// log(sum(exp)) of a row.
static double logSum(const float *row, int64_t count) {
  float most = row[0];
  for (int64_t i = 1; i < count; ++i)
    most = std::max(most, row[i]);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += std::exp(double(row[i]) - most);
  return most + std::log(sum);
}

void Predictions::add(const float *expected, const float *got, int64_t count,
                      int64_t vocabulary, const int64_t *next,
                      const bool *counts, unsigned threads) {
  std::vector<double> rows(3 * count, 0.0);
  reference::parallelFor(count, threads, [&](int64_t i) {
    if (counts && !counts[i])
      return;
    const float *p = expected + i * vocabulary, *q = got + i * vocabulary;
    double sumP = logSum(p, vocabulary), sumQ = logSum(q, vocabulary), kl = 0;
    for (int64_t v = 0; v < vocabulary; ++v) {
      double logP = p[v] - sumP;
      kl += std::exp(logP) * (logP - (q[v] - sumQ));
    }
    rows[3 * i] = kl;
    if (next[i] >= 0 && next[i] < vocabulary) {
      rows[3 * i + 1] = sumP - p[next[i]];
      rows[3 * i + 2] = sumQ - q[next[i]];
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    if (counts && !counts[i])
      continue;
    ++positions;
    divergence += rows[3 * i];
    isFinite &= std::isfinite(rows[3 * i]);
    if (next[i] < 0 || next[i] >= vocabulary)
      continue;
    ++tokens;
    floatLoss += rows[3 * i + 1];
    loss += rows[3 * i + 2];
  }
}

static int64_t integerAt(const FerriteTensor &tensor, int64_t i) {
  return tensor.dtype == FERRITE_I32 ? static_cast<int32_t *>(tensor.data)[i]
                                     : static_cast<int64_t *>(tensor.data)[i];
}

static bool isOfTokens(const FerriteTensor &tensor) {
  return tensor.rank == 2 &&
         (tensor.dtype == FERRITE_I64 || tensor.dtype == FERRITE_I32);
}

Targets ferrite::findTargets(const Batch &batch, const FerriteTensor &labels,
                             int64_t row) {
  Targets targets;
  const FerriteTensor &ids = batch.inputs.front();
  if (!isOfTokens(ids))
    return targets;
  int64_t rows = ids.shape[0], length = ids.shape[1];
  targets.next.assign(rows * length, -1);
  for (int64_t i = 0; i < rows * length; ++i) {
    if (labels.data)
      targets.next[i] = integerAt(labels, row * length + i);
    else if ((i + 1) % length != 0)
      targets.next[i] = integerAt(ids, i + 1);
  }
  for (const FerriteTensor &input : batch.inputs) {
    if (StringRef(input.name) != "attention_mask" || !isOfTokens(input) ||
        input.shape[0] != rows || input.shape[1] != length)
      continue;
    targets.counts = std::make_unique<bool[]>(rows * length);
    for (int64_t i = 0; i < rows * length; ++i)
      targets.counts[i] = integerAt(input, i) != 0;
  }
  return targets;
}

namespace {
class Meter {
public:
  Meter(MLIRContext &context, const FerriteVerifyOptions &options,
        ImportSummary &import, llvm::json::Object &summary)
      : context(context), options(options), import(import), summary(summary),
        loc(FileLineColLoc::get(&context, options.model, 0, 0)),
        threads(options.threads > 0 ? options.threads
                                    : ferriteDefaultThreads()) {}
  LogicalResult run();

private:
  LogicalResult makeFloat();
  LogicalResult readData();
  LogicalResult compare();
  LogicalResult judge();
  LogicalResult report(const char *phase, uint64_t done, uint64_t total) {
    return reportProgress(options, loc, phase, done, total);
  }

  MLIRContext &context;
  const FerriteVerifyOptions &options;
  ImportSummary &import;
  llvm::json::Object &summary;
  Location loc;
  const unsigned threads;
  VerifiedArtifact artifact;
  OwningOpRef<ModuleOp> fused;
  func::FuncOp func;
  std::unique_ptr<FloatArtifact> floats;
  std::vector<Batch> batches;
  FerriteTensor labels = {};
  size_t logits = 0; ///< the output's number
  Predictions sums;
};
} // namespace

LogicalResult Meter::readData() {
  std::vector<FerriteTensor> arrays;
  for (size_t i = 0; i < options.input_count; ++i)
    if (StringRef(options.inputs[i].name) == "labels")
      labels = options.inputs[i];
    else
      arrays.push_back(options.inputs[i]);
  auto made = makeBatches(func, arrays, "--data", loc);
  if (failed(made))
    return failure();
  batches = std::move(*made);
  if (!labels.data)
    return success();
  int64_t tokens = 0, all = 1;
  for (const Batch &batch : batches)
    tokens += batch.inputs[0].shape[0] *
              (batch.inputs[0].rank > 1 ? batch.inputs[0].shape[1] : 1);
  for (int32_t d = 0; d < labels.rank; ++d)
    all *= labels.shape[d];
  if (!isOfTokens(labels) || all != tokens || !isOfTokens(batches[0].inputs[0]))
    return emitError(loc) << "--data: the array 'labels' is not of integers, "
                             "one for each token of the first input";
  return success();
}

LogicalResult Meter::makeFloat() {
  ImportOptions importOptions;
  auto module =
      importForArtifact(&context, options.model, artifact.abi(),
                        readBindings(options.bindings, options.binding_count),
                        import, importOptions);
  if (failed(module))
    return failure();
  fused = std::move(*module);
  StringRef name = artifact.abi().name;
  PassManager pm(&context);
  buildPipeline(Phase::Normalize, pm);
  buildPipeline(Phase::Fuse, pm);
  if (failed(pm.run(*fused)))
    return failure();
  for (auto each : fused->getOps<func::FuncOp>())
    if (!func || each.getSymName() == name)
      func = each;
  if (failed(readData()))
    return failure();
  Operation *end = func.getBody().front().getTerminator();
  std::optional<Value> wanted = findLogits(func);
  if (!wanted)
    return emitError(loc) << "--metric compares logits of float32, [.., "
                             "vocabulary], and the model has no such output";
  logits = llvm::find(end->getOperands(), *wanted) - end->operand_begin();
  DriverOptions driver;
  driver.model = options.model;
  driver.output = options.artifact;
  driver.threads = threads;
  OwningOpRef<ModuleOp> copy = copyWithResults(func, *wanted, batches);
  auto made = FloatArtifact::make(*copy, driver, loc);
  if (failed(made))
    return failure();
  floats = std::move(*made);
  return success();
}

LogicalResult Meter::compare() {
  int64_t row = 0;
  for (auto [i, batch] : llvm::enumerate(batches)) {
    if (failed(report("metric", i, batches.size())))
      return failure();
    FailureOr<FerriteTensor> expected = floats->outputOf(batch);
    if (failed(expected))
      return failure();
    FerriteError error;
    FerriteTensor got = {};
    if (ferriteSessionRun(artifact.session, batch.inputs.data(),
                          batch.inputs.size(), nullptr, 0, &error) ||
        ferriteSessionOutput(artifact.session, logits, &got, &error))
      return emitError(loc) << error.message;
    if (got.dtype != FERRITE_F32 || got.bytes != expected->bytes)
      return emitError(loc) << "output '" << got.name
                            << "' of the artifact has another shape or type "
                               "than the model's";
    int64_t vocabulary = got.shape[got.rank - 1], count = 1;
    for (int32_t d = 0; d + 1 < got.rank; ++d)
      count *= got.shape[d];
    Targets targets = findTargets(batch, labels, row);
    bool isOfAll = int64_t(targets.next.size()) == count;
    targets.next.resize(count, -1);
    sums.add(static_cast<float *>(expected->data),
             static_cast<float *>(got.data), count, vocabulary,
             targets.next.data(), isOfAll ? targets.counts.get() : nullptr,
             threads);
    row += batch.inputs[0].shape[0];
  }
  return success();
}

LogicalResult Meter::judge() {
  bool isKld = StringRef(options.metric) == "kld";
  if (!isKld && sums.tokens == 0)
    return emitError(loc) << "--metric=perplexity needs tokens that follow "
                             "others, and the data has none";
  double value = isKld ? sums.kld() : sums.perplexity();
  summary["values"] = llvm::json::Array();
  auto number = [](double x) {
    return std::isfinite(x) ? llvm::json::Value(x) : llvm::json::Value(nullptr);
  };
  summary["metric"] =
      llvm::json::Object{{"name", options.metric},
                         {"value", number(value)},
                         {"kld", number(sums.kld())},
                         {"perplexity", number(sums.perplexity())},
                         {"float_perplexity", number(sums.floatPerplexity())},
                         {"positions", sums.positions}};
  if (!sums.isFinite)
    return emitError(loc) << "predictions of the artifact are not finite";
  if (options.max_metric > 0 && value > options.max_metric)
    return emitError(loc) << llvm::formatv("{0} is {1:f6}, more than {2:f6}",
                                           options.metric, value,
                                           options.max_metric)
                                 .str();
  summary["passed"] = true;
  return success();
}

LogicalResult Meter::run() {
  summary["source"] = options.model;
  summary["artifact"] = options.artifact;
  summary["passed"] = false;
  StringRef metric = options.metric;
  if (metric != "kld" && metric != "perplexity")
    return emitError(loc) << "unknown metric '" << metric
                          << "'; known: kld, perplexity";
  if (failed(report("float code", 0, 0)) ||
      failed(artifact.open(options, loc, summary)) || failed(makeFloat()) ||
      failed(compare()))
    return failure();
  return judge();
}

LogicalResult ferrite::verifyMetric(MLIRContext &context,
                                    const FerriteVerifyOptions &options,
                                    ImportSummary &import,
                                    llvm::json::Object &summary) {
  return Meter(context, options, import, summary).run();
}
