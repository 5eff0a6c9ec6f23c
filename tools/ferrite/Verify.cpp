//===- Verify.cpp - ferrite verify ----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "CompilerLibrary.h"
#include "Model.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <unistd.h>

namespace ferrite::cli {

namespace {
struct VerifyOptions {
  std::string source;
  ModelOptions model;
  InputOptions inputs;
  std::vector<std::string> bind;
  std::string taps, metric, data;
  double maxError = 0, maxMetric = 0;
  int32_t threads = 0;
  bool json = false, all = false;
};
} // namespace

using Json = nlohmann::ordered_json;

/// An error that is not finite is null in JSON; it sorts above all numbers.
static double errorOf(const Json &row, const char *key) {
  auto found = row.find(key);
  return found != row.end() && found->is_number() ? found->get<double>()
                                                  : 1e300;
}

static std::string errorText(double error) {
  return error < 1e300 ? format("%.2e", error) : "not finite";
}

static void printValues(const Json &summary, bool all) {
  std::vector<Json> rows;
  if (summary.contains("values") && summary["values"].is_array())
    for (const Json &row : summary["values"])
      if (row.is_object())
        rows.push_back(row);
  size_t count = rows.size();
  // In the order of the graph all are shown, since errors grow along it; else
  // outputs and the worst.
  constexpr size_t shown = 10; // fits a terminal
  if (!all)
    std::stable_sort(rows.begin(), rows.end(), [](auto &a, auto &b) {
      bool outputA = a.value("output", false),
           outputB = b.value("output", false);
      if (outputA != outputB)
        return outputA;
      return errorOf(a, "relative_l2") > errorOf(b, "relative_l2");
    });
  printf("%12s %12s  value\n", "relative L2", "largest");
  for (size_t i = 0; i < count; ++i) {
    bool output = rows[i].value("output", false);
    if (!all && i >= shown && !output)
      break;
    printf("%12s %12s  %s%s\n",
           errorText(errorOf(rows[i], "relative_l2")).c_str(),
           errorText(errorOf(rows[i], "max_abs")).c_str(),
           rows[i].value("name", "?").c_str(), output ? " (output)" : "");
  }
  if (!all && count > shown)
    printf("%zu values compared; --all shows each\n", count);
}

static void printMetric(const Json &metric) {
  auto number = [&](const char *key) {
    auto found = metric.find(key);
    return found != metric.end() && found->is_number() ? found->get<double>()
                                                       : NAN;
  };
  printf("Kullback-Leibler divergence %.6f nats over %lld positions\n",
         number("kld"), (long long)number("positions"));
  double own = number("perplexity"), wide = number("float_perplexity");
  if (wide > 0)
    printf("perplexity %.6f, of float code %.6f (%+.4f %%)\n", own, wide,
           100 * (own / wide - 1));
}

static int verify(const VerifyOptions &options) {
  // Inputs are made for the artifact's signature, which is the model's.
  std::vector<Array> arrays;
  if (options.metric.empty() != options.data.empty())
    throw Error("--metric and --data belong together");
  if (!options.metric.empty()) {
    arrays = readArrays(options.data);
  } else {
    ModelPtr model = loadModel(options.model);
    size_t entry = findEntry(model.get(), options.model.entry);
    arrays = makeInputs(model.get(), entry, options.inputs);
  }
  std::vector<FerriteTensor> inputs = tensorsOf(arrays);
  Bindings bindings(options.bind);
  Reporter reporter(isatty(STDERR_FILENO) ? Reporter::Progress::Terminal
                                          : Reporter::Progress::None);
  FerriteVerifyOptions call = {};
  call.size = sizeof call;
  call.model = options.source.c_str();
  call.artifact = options.model.artifact.c_str();
  call.entry =
      options.model.entry.empty() ? nullptr : options.model.entry.c_str();
  call.level =
      options.model.level.empty() ? nullptr : options.model.level.c_str();
  call.weights_path = options.model.weightsPath.empty()
                          ? nullptr
                          : options.model.weightsPath.c_str();
  call.inputs = inputs.data();
  call.input_count = inputs.size();
  call.bindings = bindings.data();
  call.binding_count = bindings.size();
  call.max_error = options.maxError;
  call.threads = options.threads;
  call.taps = options.taps == "all";
  call.metric = options.metric.empty() ? nullptr : options.metric.c_str();
  call.max_metric = options.maxMetric;
  call.diagnostic = Reporter::onDiagnostic;
  call.diagnostic_data = &reporter;
  call.progress = Reporter::onProgress;
  call.progress_data = &reporter;
  const CompilerLibrary &library = openCompiler();
  Result result(library);
  int exitCode = reporter.finish(library.verify(&call, &result));
  Json summary = result.summary();
  if (options.json)
    printf("%s\n", summary.dump().c_str());
  else if (summary.contains("metric"))
    printMetric(summary["metric"]);
  else if (!summary.empty())
    printValues(summary, options.all);
  return exitCode;
}

void addVerify(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App *command = app.add_subcommand(
      "verify", "Compare an artifact with its model, value by value");
  command->add_option("MODEL", options->source, "the .onnx file")->required();
  addModelOptions(*command, options->model);
  addInputOptions(*command, options->inputs);
  addBindOption(*command, options->bind);
  command
      ->add_option("--max-error", options->maxError,
                   "fail when a relative L2 error is above this, e.g. 2e-5")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--taps", options->taps,
                   "all: compile again with every value stored, and name the "
                   "first that differs (by 1e-4, or --max-error)")
      ->check(CLI::IsMember({"all"}));
  command
      ->add_option("--metric", options->metric,
                   "kld or perplexity: compare predictions with those of float "
                   "code on --data, instead of values")
      ->check(CLI::IsMember({"kld", "perplexity"}));
  command->add_option("--data", options->data,
                      "an .npz file with batches of inputs, as --calib of "
                      "compile takes it; 'labels' are next tokens (default: "
                      "those of the first input, one on)");
  command
      ->add_option("--max-metric", options->maxMetric,
                   "fail when the metric is above this, e.g. 0.02")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--threads", options->threads,
                   "how many threads compute (default: the CPUs of this "
                   "process)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--all", options->all,
                    "show every value, in the order of the graph");
  command->add_flag("--json", options->json, "print one JSON object");
  command->footer(
      "Examples:\n"
      "  ferrite verify minilm.onnx minilm.so --inputs in.npz\n"
      "  ferrite verify minilm.onnx minilm.so --shape input_ids=2x16 "
      "--max-error 2e-5\n"
      "  ferrite verify minilm.onnx minilm.so --inputs in.npz --taps=all\n"
      "  ferrite verify llm.onnx llm.so --metric=kld --data text.npz "
      "--max-metric 0.02\n");
  command->callback([options, &exitCode] { exitCode = verify(*options); });
}

} // namespace ferrite::cli
