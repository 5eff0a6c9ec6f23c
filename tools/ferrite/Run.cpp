//===- Run.cpp - ferrite run ----------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"
#include "Measure.h"
#include "npz/Npz.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <memory>

namespace ferrite::cli {

namespace {
struct RunOptions {
  ModelOptions model;
  InputOptions inputs;
  std::string outputs;
  int32_t threads = 0;
  bool profile = false;
  bool json = false;
};
} // namespace

/// Element `i` of a tensor of any type as a number.
static double elementOf(const FerriteTensor &tensor, uint64_t i) {
  const void *data = tensor.data;
  switch (tensor.dtype) {
  case FERRITE_F32:
    return static_cast<const float *>(data)[i];
  case FERRITE_F16:
    return static_cast<const _Float16 *>(data)[i];
  case FERRITE_BF16: {
    uint32_t bits = uint32_t(static_cast<const uint16_t *>(data)[i]) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  case FERRITE_F64:
    return static_cast<const double *>(data)[i];
  case FERRITE_I8:
    return static_cast<const int8_t *>(data)[i];
  case FERRITE_I16:
    return static_cast<const int16_t *>(data)[i];
  case FERRITE_I32:
    return static_cast<const int32_t *>(data)[i];
  case FERRITE_I64:
    return static_cast<const int64_t *>(data)[i];
  case FERRITE_U16:
    return static_cast<const uint16_t *>(data)[i];
  case FERRITE_U32:
    return static_cast<const uint32_t *>(data)[i];
  case FERRITE_U64:
    return static_cast<const uint64_t *>(data)[i];
  default: // u8, bool
    return static_cast<const uint8_t *>(data)[i];
  }
}

/// For someone who only wants to see that the model answers.
static void printOutput(const FerriteTensor &tensor) {
  printf("%s: %s %s", tensor.name, ferriteDTypeName(tensor.dtype),
         shapeString(tensor.rank, tensor.shape).c_str());
  uint64_t count = tensor.bytes / ferriteDTypeSize(tensor.dtype);
  double low = INFINITY, high = -INFINITY, sum = 0;
  uint64_t odd = 0;
  for (uint64_t i = 0; i < count; ++i) {
    double value = elementOf(tensor, i);
    if (!std::isfinite(value)) {
      ++odd;
      continue;
    }
    low = std::min(low, value);
    high = std::max(high, value);
    sum += value;
  }
  if (count > odd)
    printf(", from %.6g to %.6g, mean %.6g", low, high, sum / (count - odd));
  if (odd)
    printf(", %llu not finite", static_cast<unsigned long long>(odd));
  printf("\n  ");
  for (uint64_t i = 0; i < std::min<uint64_t>(count, 8); ++i)
    printf("%.6g ", elementOf(tensor, i));
  printf(count > 8 ? "...\n" : "\n");
}

static int run(const RunOptions &options) {
  ModelPtr model = loadModel(options.model);
  size_t entry = findEntry(model.get(), options.model.entry);
  std::vector<Array> arrays = makeInputs(model.get(), entry, options.inputs);
  SessionPtr session =
      createSession(model.get(), options.model.entry, options.threads,
                    options.profile, options.model.device);
  double seconds = timedRun(session.get(), tensorsOf(arrays));
  std::vector<FerriteTensor> outputs = lastOutputs(session.get());
  if (!options.outputs.empty())
    writeNpz(options.outputs, outputs);
  if (options.json) {
    nlohmann::ordered_json answer = {
        {"seconds", seconds},
        {"level", ferriteModelLevel(model.get())},
        {"device", options.model.device},
        {"threads", ferriteSessionThreads(session.get())},
        {"peak_rss_bytes", peakRssBytes()},
        {"outputs", tensorsJson(outputs)}};
    if (options.profile)
      answer["profile"] = profileJson(session.get());
    printf("%s\n", answer.dump().c_str());
    return 0;
  }
  if (options.outputs.empty())
    for (const FerriteTensor &output : outputs)
      printOutput(output);
  if (options.profile)
    printProfile(session.get());
  return 0;
}

void addRun(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand("run", "Run a compiled model once");
  addModelOptions(*command, options->model);
  addDeviceOption(*command, options->model);
  addInputOptions(*command, options->inputs);
  command->add_option("--outputs", options->outputs,
                      "write the results to this .npz file (default: print "
                      "a summary)");
  command
      ->add_option("--threads", options->threads,
                   "how many threads compute (default: the CPUs of this "
                   "process)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--profile", options->profile,
                    "print the time of each launch");
  command->add_flag("--json", options->json, "print one JSON object");
  command->footer(examples({"run $MODEL --inputs in.npz --outputs out.npz",
                            "run $MODEL --shape input_ids=1x16 --profile"}));
  command->callback([options, &exitCode] { exitCode = run(*options); });
}

} // namespace ferrite::cli
