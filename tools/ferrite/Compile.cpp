//===- Compile.cpp - ferrite compile --------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The table of flags. Each fills a field of FerriteCompileOptions; what a value
// means is the library's, so that Python and other callers get the same errors.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "CompilerLibrary.h"
#include "Model.h"
#include "Report.h"
#include "Tune.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace ferrite::cli {

namespace {
struct CompileOptions {
  std::string model, output, name;
  std::string emit = "so", target = "cpu", weights;
  std::vector<std::string> levels, gpus, dims, bind, requireFusion, with,
      stepWith, stepEntries;
  std::string profile, report, compileTo, compileFrom, dumpPhasesTo;
  std::string kv, quantize, method, calib, accuracyBudget, sparsify;
  std::vector<std::string> requireSparsity;
  int32_t threads = 0;
  bool debug = false, lastLogits = false, progress = false, quiet = false,
       json = false;
};
} // namespace

static const std::vector<std::string> targetNames = {"cpu", "cuda", "cpu+cuda"};
static const std::vector<std::string> emitNames = {
    "so", "static", "exe", "obj", "llvm", "mlir", "cuda"};

static const char *orNull(const std::string &text) {
  return text.empty() ? nullptr : text.c_str();
}

static std::vector<const char *>
pointers(const std::vector<std::string> &words) {
  std::vector<const char *> result;
  for (const std::string &word : words)
    result.push_back(word.c_str());
  return result;
}

/// The library renames over the output: that must not be the model, under
/// whatever name.
static void checkFiles(const CompileOptions &options) {
  struct stat model, output;
  if (!stat(options.model.c_str(), &model) &&
      !stat(options.output.c_str(), &output)) {
    if (model.st_dev == output.st_dev && model.st_ino == output.st_ino)
      throw Error(format("the output '%s' is the model itself",
                         options.output.c_str()));
    if (S_ISDIR(output.st_mode))
      throw Error(
          format("the output '%s' is a folder", options.output.c_str()));
  }
}

static int compile(const CompileOptions &options) {
  checkFiles(options);
  FerriteCompileOptions call = {};
  call.size = sizeof call;
  call.model = options.model.c_str();
  call.output = options.output.c_str();
  call.name = orNull(options.name);
  for (size_t i = 0; i < emitNames.size(); ++i)
    if (options.emit == emitNames[i])
      call.emit = int32_t(i);
  if (options.weights == "embed") {
    call.weights_mode = FERRITE_WEIGHTS_EMBED;
  } else if (!options.weights.empty()) {
    call.weights_mode = FERRITE_WEIGHTS_FILE;
    call.weights_path = options.weights.c_str();
  }
  for (size_t i = 0; i < targetNames.size(); ++i)
    if (options.target == targetNames[i])
      call.target = int32_t(i);
  std::vector<std::string> gpus;
  for (const std::string &text : options.gpus)
    for (std::string &gpu : splitList(text, ','))
      gpus.push_back(std::move(gpu));
  std::vector<const char *> gpuPointers = pointers(gpus);
  call.gpus = gpuPointers.data();
  call.gpu_count = gpuPointers.size();
  std::vector<std::string> levels, dimNames;
  for (const std::string &text : options.levels)
    for (std::string &level : splitList(text, ','))
      levels.push_back(std::move(level));
  std::vector<const char *> levelPointers = pointers(levels);
  call.levels = levelPointers.data();
  call.level_count = levelPointers.size();
  std::vector<FerriteDimBounds> dims = parseDims(options.dims, dimNames);
  call.dims = dims.data();
  call.dim_count = dims.size();
  Bindings bindings(options.bind);
  call.bindings = bindings.data();
  call.binding_count = bindings.size();
  std::vector<const char *> gates = pointers(options.requireFusion);
  call.require_fusion = gates.data();
  call.require_fusion_count = gates.size();
  call.report_path = orNull(options.report);
  call.compile_to = orNull(options.compileTo);
  call.compile_from = orNull(options.compileFrom);
  call.dump_phases_to = orNull(options.dumpPhasesTo);
  std::string profile =
      options.profile.empty() ? tunedProfile() : options.profile;
  call.profile = orNull(profile);
  std::vector<const char *> stepWith = pointers(options.stepWith),
                            stepEntries = pointers(options.stepEntries),
                            with = pointers(options.with);
  call.step_with = stepWith.data();
  call.step_with_count = stepWith.size();
  call.step_entries = stepEntries.data();
  call.step_entry_count = stepEntries.size();
  call.with_models = with.data();
  call.with_model_count = with.size();
  call.debug = options.debug;
  call.last_logits = options.lastLogits;
  call.kv = orNull(options.kv);
  call.threads = options.threads;
  call.quantize = orNull(options.quantize);
  call.quantize_method = orNull(options.method);
  call.accuracy_budget = orNull(options.accuracyBudget);
  call.sparsify = orNull(options.sparsify);
  std::vector<const char *> sparsityGates = pointers(options.requireSparsity);
  call.require_sparsity = sparsityGates.data();
  call.require_sparsity_count = sparsityGates.size();
  std::vector<Array> calib = readArrays(options.calib);
  std::vector<FerriteTensor> calibTensors = tensorsOf(calib);
  call.calib = calibTensors.data();
  call.calib_count = calibTensors.size();

  Reporter reporter(options.progress ? Reporter::Progress::Lines
                    : isatty(STDERR_FILENO) && !options.quiet
                        ? Reporter::Progress::Terminal
                        : Reporter::Progress::None);
  call.diagnostic = Reporter::onDiagnostic;
  call.diagnostic_data = &reporter;
  call.progress = Reporter::onProgress;
  call.progress_data = &reporter;
  const CompilerLibrary &library = openCompiler();
  Result result(library);
  int exitCode = reporter.finish(library.compile(&call, &result));
  if (options.json)
    printf("%s\n", result.summary().dump().c_str());
  else if (!exitCode && !options.quiet)
    printCompileReport(result.summary());
  return exitCode;
}

static void addGates(CLI::App &command, CompileOptions &options) {
  command.add_option("--report", options.report,
                     "write a JSON file: every candidate of every fusion and "
                     "why it did or did not fuse");
  command
      .add_option("--require-fusion", options.requireFusion,
                  "KIND:all or KIND:N, e.g. attention:all: fail when less "
                  "of it fuses")
      ->allow_extra_args(false);
  command.add_flag("--debug", options.debug,
                   "add line tables that lead perf and gdb to ONNX nodes");
  command.add_option("--compile-to", options.compileTo,
                     "stop after this phase, e.g. fuse");
  command.add_option("--compile-from", options.compileFrom,
                     "MODEL is a dump of this phase");
  command.add_option("--dump-phases-to", options.dumpPhasesTo,
                     "write the IR after each phase to this folder");
}

static void addQuantize(CLI::App &command, CompileOptions &options) {
  command.add_option(
      "--quantize", options.quantize,
      "store weights in few bits: w<2|3|4|8>[a<4|8>][g<16..256>|pc][nf][-asym]"
      "[-static][-f16|-bf16|-f32], e.g. w4g32 (inputs not rounded), w4a8g32, "
      "w8a8; then NAME=FORMAT or NAME=wide for single layers, and qk8 or "
      "NAME=qk8 for scores of attention of bytes, with commas between");
  command
      .add_option("--quantize-method", options.method,
                  "rtn: to the nearest (default); gptq, awq, smoothquant: by "
                  "what --calib flows through; rotate: spread outliers")
      ->check(CLI::IsMember({"rtn", "gptq", "awq", "smoothquant", "rotate"}));
  command.add_option(
      "--calib", options.calib,
      "an .npz file with batches of the model's inputs (NAME, or "
      "NAME.0, NAME.1, .. for several); an empty past may be "
      "left out");
  command.add_option(
      "--accuracy-budget", options.accuracyBudget,
      "kld:X (needs --calib) or rel:X, the most that --quantize may change: "
      "layers whose rounding costs most keep more bits");
}

static void addSparsify(CLI::App &command, CompileOptions &options) {
  command.add_option(
      "--sparsify", options.sparsify,
      "let attention leave out keys: window:TOKENS[,sinks=N], "
      "bigbird:window=BLOCKS[,global=BLOCKS][,random=BLOCKS], "
      "longformer:window=TOKENS[,global=TOKENS], "
      "dilated:window=TOKENS,dilation=N, strided:local=TOKENS,stride=TOKENS, "
      "search:MASS (what heads need by --calib), "
      "xattention:THRESHOLD or pooled:THRESHOLD[,stride=N] (blocks chosen at "
      "run time; THRESHOLD auto,density=D or auto,mass=M: by --calib), "
      "quest:BUDGET (what a token of a step reads of its pages: a share like "
      "0.25, or tokens), merge:TOKENS[,fixed=N] (of an encoder: how many, or "
      "what share like 0.05, become one with others in each layer), "
      "each with layers=0-3+7, heads=.., block=64, tokens=N; or "
      "blocks:FILE.json with lists; or prune weights: "
      "weights:SHARE[,blocks=32x4|16x4|32x1|16x1|1x1|2:4]"
      "[,method=magnitude|wanda|sparsegpt][,names=GLOB]; semicolons between");
  command
      .add_option("--require-sparsity", options.requireSparsity,
                  "X from 0 to 1: fail when attention leaves out less of its "
                  "scores, on average over layers and heads; weights:X: when "
                  "less of the weights of linears is zero")
      ->allow_extra_args(false);
}

static void addStepOptions(CLI::App &command, CompileOptions &options) {
  command
      .add_option("--with", options.with,
                  "NAME:FILE.onnx: another model in the same artifact, with "
                  "the entries NAME and NAME_step; one named draft is what "
                  "'ferrite generate' guesses with")
      ->allow_extra_args(false);
  command
      .add_option("--step-with", options.stepWith,
                  "what a decoder's step takes and gives besides: embeddings, "
                  "hidden:LAYER, hidden:NODE or lse:LAYER")
      ->allow_extra_args(false);
  command
      .add_option("--step-entry", options.stepEntries,
                  "NAME:skip:LAYERS, e.g. draft:skip:4-7+9: another step that "
                  "leaves these layers out; NAME:choose:LAYERS: one whose "
                  "calls say which of their runs do")
      ->allow_extra_args(false);
}

void addCompile(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<CompileOptions>();
  CLI::App *command =
      app.add_subcommand("compile", "Compile an ONNX model ahead of time");
  command->add_option("MODEL", options->model, "an .onnx file")->required();
  command->add_option("-o,--output", options->output, "the file to write")
      ->required();
  command
      ->add_option(
          "--emit", options->emit,
          "what to write: so, static, exe, obj, llvm, mlir or cuda (the "
          "kernels' source for a GPU)")
      ->check(
          CLI::IsMember({"so", "static", "exe", "obj", "llvm", "mlir", "cuda"}))
      ->capture_default_str();
  command
      ->add_option("--target", options->target,
                   "for what: cpu, cuda, or cpu+cuda in one artifact")
      ->check(CLI::IsMember({"cpu", "cuda", "cpu+cuda"}))
      ->capture_default_str();
  command
      ->add_option("--cpu", options->levels,
                   "CPU levels, e.g. avx512,avx2, or native (default: all)")
      ->allow_extra_args(false); // else it would take MODEL, too
  command
      ->add_option(
          "--gpu", options->gpus,
          "GPU architectures, e.g. sm_80,sm_89,sm_90a; compute_80: PTX "
          "for later ones (default: sm_80,sm_90a,compute_80)")
      ->allow_extra_args(false);
  command
      ->add_option("--dim", options->dims,
                   "NAME=1..512 or NAME=8: the sizes of a symbolic "
                   "dimension")
      ->allow_extra_args(false);
  addBindOption(*command, options->bind);
  command->add_flag("--last-logits", options->lastLogits,
                    "of the output 'logits' compute the last position alone; "
                    "pad on the left");
  command->add_option(
      "--kv", options->kv,
      "what a decoder's cache keeps keys and values in: f32, f16, "
      "bf16, int8 or int4 (default: what the model computes in); "
      "behind the last two ',f16-sinks=N' and ',f16-recent=W' "
      "keep the first N and the last W tokens in f16");
  command->add_option("--weights", options->weights,
                      "embed, or a file beside the output (default: embed up "
                      "to 1 GiB)");
  command->add_option("--name", options->name,
                      "the model's name (default: that of the output)");
  command->add_option("--profile", options->profile,
                      "the machine to choose kernels for: a file of 'ferrite "
                      "tune', zen4, zen5, sapphire-rapids or generic "
                      "(default: what tune found here, else this CPU's)");
  addQuantize(*command, *options);
  addSparsify(*command, *options);
  addStepOptions(*command, *options);
  addGates(*command, *options);
  command
      ->add_option("--threads", options->threads,
                   "how many threads compile (default: the CPUs of this "
                   "process)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--progress", options->progress,
                    "print each phase as it begins, also without a terminal");
  command->add_flag("--quiet", options->quiet, "print problems alone");
  command->add_flag("--json", options->json, "print the report as JSON");
  command->footer(
      "Examples:\n"
      "  ferrite compile minilm.onnx -o minilm.so\n"
      "  ferrite compile bert.onnx -o bert.so --cpu=avx512 "
      "--dim sequence=1..512\n"
      "  ferrite compile merged.onnx -o merged.so    # entries "
      "use_cache_branch_false and _true\n"
      "  ferrite compile merged.onnx -o next.so --bind "
      "use_cache_branch=true\n"
      "  ferrite compile large.onnx -o both.so --with draft:small.onnx\n"
      "  ferrite compile vit.onnx -o vit.a --emit=static\n"
      "  ferrite compile bert.onnx -o bert.so --target=cpu+cuda "
      "--gpu=sm_90a\n"
      "  ferrite compile bert.onnx -o bert.so --require-fusion=attention:all "
      "--report=bert.json\n"
      "  ferrite compile llm.onnx -o llm.so --quantize=w4a8g32,lm_head=w8pc\n"
      "  ferrite compile llm.onnx -o llm.so --quantize=w4g64,gptq "
      "--calib=text.npz\n"
      "  ferrite compile llm.onnx -o llm.so --sparsify='window:512,sinks=4;"
      "longformer:512,global=64,layers=0-3'\n"
      "Exit codes: 1 the model or an option is wrong, 2 not supported, 3 a bug "
      "of ours.\n");
  command->callback([options, &exitCode] { exitCode = compile(*options); });
}

} // namespace ferrite::cli
