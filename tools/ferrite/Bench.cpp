//===- Bench.cpp - ferrite bench ------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Times one session, call by call. The samples are kept as they are: what to
// make of them (minimum, median) is the reader's choice.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"
#include "Measure.h"
#include "Roofline.h"
#include "Steps.h"
#include "npz/Npz.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace ferrite::cli {

namespace {
struct BenchOptions {
  ModelOptions model;
  InputOptions inputs;
  std::string outputs;
  int32_t threads = 0;
  int32_t warmup = 3; /* enough for the arena, the caches and the clock */
  double seconds = 3;
  int64_t runs = 0; /* 0: as many as fit into `seconds` */
  bool prefill = false;
  bool decode = false;
  bool profile = false;
  std::string trace;
  bool json = false;
};
} // namespace

/// The value that a share of the samples does not exceed. `sorted` is not
/// empty.
static double quantile(const std::vector<double> &sorted, double share) {
  size_t rank = size_t(std::ceil(share * double(sorted.size())));
  return sorted[std::min(std::max<size_t>(rank, 1), sorted.size()) - 1];
}

static void printTable(const std::vector<double> &samples,
                       FerriteSession *session,
                       const std::vector<FerriteTensor> &inputs) {
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (double sample : sorted)
    sum += sample;
  printf("%s", ferriteModelName(ferriteSessionModel(session)));
  for (const FerriteTensor &input : inputs)
    printf(" %s=%s", input.name, shapeString(input.rank, input.shape).c_str());
  int32_t threads = ferriteSessionThreads(session);
  printf("\nlevel %s, %d thread%s, %zu runs\n",
         ferriteModelLevel(ferriteSessionModel(session)), threads,
         threads == 1 ? "" : "s", sorted.size());
  const struct {
    const char *name;
    double seconds;
  } rows[] = {{"min", sorted.front()},
              {"median", quantile(sorted, 0.5)},
              {"mean", sum / double(sorted.size())},
              {"p90", quantile(sorted, 0.9)},
              {"p99", quantile(sorted, 0.99)},
              {"max", sorted.back()}};
  for (const auto &row : rows)
    printf("  %-8s %10.4f ms\n", row.name, row.seconds * 1e3);
  printf("  %-8s %10.1f runs/s\n", "rate", double(sorted.size()) / sum);
  FerriteMemory memory;
  FerriteError error;
  check(ferriteSessionMemory(session, nullptr, 0, &memory, &error), error);
  printf("memory: weights %s, arena %s, scratch %s; peak resident %s\n",
         bytesString(double(memory.weights_bytes)).c_str(),
         bytesString(double(memory.arena_bytes)).c_str(),
         bytesString(double(memory.scratch_bytes)).c_str(),
         bytesString(double(peakRssBytes())).c_str());
}

namespace {
/// What is timed: an entry of the model on its inputs, or a step of a decoder.
class Work {
public:
  Work(FerriteModel *model, const BenchOptions &options) {
    if (options.prefill || options.decode) {
      if (options.inputs.file.empty() || !options.model.entry.empty())
        throw Error(format("--%s needs --inputs FILE.npz, and no --entry",
                           options.decode ? "decode" : "prefill"));
      steps = std::make_unique<Steps>(model, options.inputs.file,
                                      options.decode, options.threads);
      return;
    }
    size_t entry = findEntry(model, options.model.entry);
    arrays = makeInputs(model, entry, options.inputs);
    tensors = tensorsOf(arrays);
    for (size_t i = 0; i < tensors.size(); ++i)
      tensors[i].name = arrays[i].name.c_str();
    own = createSession(model, options.model.entry, options.threads,
                        /*profile=*/false, options.model.device);
  }
  double run() { return steps ? steps->run() : timedRun(own.get(), tensors); }
  FerriteSession *session() const {
    return steps ? steps->session() : own.get();
  }
  std::vector<FerriteTensor> inputs() const {
    return steps ? steps->inputs() : tensors;
  }
  std::vector<FerriteTensor> outputs() const {
    return steps ? steps->outputs() : lastOutputs(own.get());
  }

private:
  std::unique_ptr<Steps> steps;
  std::vector<Array> arrays;
  std::vector<FerriteTensor> tensors;
  SessionPtr own;
};
} // namespace

static int bench(const BenchOptions &options) {
  ModelPtr model = loadModel(options.model);
  Work work(model.get(), options);
  for (int32_t i = 0; i < options.warmup; ++i)
    work.run();

  std::vector<double> samples;
  // Growing the list between calls would disturb the caches; this is 8 KiB.
  samples.reserve(1024);
  for (double spent = 0;
       samples.empty() || (options.runs ? int64_t(samples.size()) < options.runs
                                        : spent < options.seconds);
       spent += samples.back())
    samples.push_back(work.run());
  // Before outputs are written and launches timed: neither is part of it.
  uint64_t peak = peakRssBytes();
  FerriteSession *session = work.session();
  if (!options.outputs.empty())
    writeNpz(options.outputs, work.outputs());
  Roofline roofline;
  bool profile = options.profile || !options.trace.empty();
  if (profile)
    roofline =
        profileStages(session, work.inputs(), [&] { return work.run(); });
  if (!options.trace.empty())
    writeTrace(options.trace, ferriteModelName(model.get()), roofline);

  if (!options.json) {
    printTable(samples, session, work.inputs());
    if (profile)
      printRoofline(roofline);
    return 0;
  }
  nlohmann::ordered_json answer = {{"samples_s", samples},
                                   {"peak_rss_bytes", peak},
                                   {"level", ferriteModelLevel(model.get())},
                                   {"threads", ferriteSessionThreads(session)},
                                   {"warmup", options.warmup},
                                   {"inputs", tensorsJson(work.inputs())}};
  if (profile)
    answer["profile"] = rooflineJson(roofline);
  printf("%s\n", answer.dump().c_str());
  return 0;
}

void addBench(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command =
      app.add_subcommand("bench", "Time a compiled model, call by call");
  addModelOptions(*command, options->model);
  addDeviceOption(*command, options->model);
  addInputOptions(*command, options->inputs);
  command->add_option("--outputs", options->outputs,
                      "write what the last timed call computed to this .npz "
                      "file");
  command
      ->add_option("--threads", options->threads,
                   "how many threads compute (default: the CPUs of this "
                   "process)")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--warmup", options->warmup, "calls before the first timed")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  auto *seconds =
      command->add_option("--seconds", options->seconds, "how long to time")
          ->check(CLI::Range(0.0, 1e6))
          ->capture_default_str();
  command->add_option("--runs", options->runs, "how many calls to time")
      ->check(CLI::Range(int64_t(1), int64_t(100000000)))
      ->excludes(seconds);
  auto *prefill = command->add_flag("--prefill", options->prefill,
                                    "time a decoder's step over the prompts");
  command->add_flag("--decode", options->decode, "time a decoder's token step")
      ->excludes(prefill);
  command->add_flag("--profile", options->profile,
                    "add the least time of each launch of some more calls, "
                    "in percent of what this machine can do");
  command->add_option("--trace", options->trace,
                      "write these launches to a file that Chrome and "
                      "ui.perfetto.dev show; implies --profile");
  command->add_flag("--json", options->json,
                    "print one JSON object: samples_s, peak_rss_bytes, ...");
  command->footer(examples({"bench $MODEL --shape input_ids=1x128 --threads 2",
                            "bench $MODEL --inputs in.npz --json --runs 100"}));
  command->callback([options, &exitCode] { exitCode = bench(*options); });
}

} // namespace ferrite::cli
