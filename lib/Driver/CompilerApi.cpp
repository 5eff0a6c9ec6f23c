//===- CompilerApi.cpp - The C API of libferrite_compiler -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Options from C structs, diagnostics to the caller's function, JSON to memory
// that the caller owns. What the functions do is in Compile.cpp and Check.cpp.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Check.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/DiagnosticSink.h"
#include "lib/Driver/QuantizeBudget.h"
#include "lib/Driver/Summary.h"
#include "passes/Fusion/MakeStepParts.h"
#include "passes/Quantization/Spec.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

using namespace mlir;
using namespace ferrite;

uint32_t ferriteCompilerApiVersion(void) {
  return FERRITE_COMPILER_API_VERSION;
}
const char *ferriteCompilerVersion(void) { return FERRITE_VERSION; }
const char *ferriteCompilerLLVMVersion(void) { return LLVM_VERSION_STRING; }

static char *copyString(llvm::json::Object json) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(json));
  return strdup(text.c_str());
}

static void addDims(ImportOptions &options, const FerriteDimBounds *dims,
                    size_t count) {
  for (size_t i = 0; i < count; ++i)
    options.dims[dims[i].name] = {dims[i].min, dims[i].max};
}

std::vector<InputBinding> ferrite::readBindings(const FerriteBinding *bindings,
                                                size_t count) {
  std::vector<InputBinding> result(count);
  for (size_t i = 0; i < count; ++i) {
    const FerriteBinding &from = bindings[i];
    InputBinding &to = result[i];
    to.name = from.name;
    if (from.text) {
      to.text = from.text;
      continue;
    }
    to.dtype = from.value.dtype;
    to.shape.assign(from.value.shape, from.value.shape + from.value.rank);
    to.bytes.assign(static_cast<const char *>(from.value.data),
                    from.value.bytes);
  }
  return result;
}

/// What a failure means: what the importer counted, an option, or a stated bug;
/// a pass that refuses valid IR is a limitation.
static int32_t statusOf(LogicalResult result, const ImportSummary &import,
                        bool bug, bool userFault) {
  if (succeeded(result))
    return FERRITE_COMPILE_OK;
  if (bug)
    return FERRITE_COMPILE_BUG;
  if (import.faults > 0 || userFault)
    return FERRITE_COMPILE_USER_ERROR;
  return FERRITE_COMPILE_UNSUPPORTED;
}

/// Fills `to` in from a built-in profile or a file; says what is wrong.
static std::string readProfile(StringRef name, MachineProfile &to) {
  if (const MachineProfile *known = MachineProfile::builtin(name)) {
    to = *known;
    return "";
  }
  auto file = llvm::MemoryBuffer::getFile(name, /*IsText=*/true);
  if (!file)
    return "cannot read the machine profile '" + name.str() +
           "': " + file.getError().message() +
           "; built-in ones: " + MachineProfile::builtinNames();
  llvm::Expected<MachineProfile> profile =
      MachineProfile::parse((*file)->getBuffer());
  if (!profile)
    return "the machine profile '" + name.str() + "' " +
           llvm::toString(profile.takeError());
  to = std::move(*profile);
  return "";
}

/// The same for what says how to quantize.
static std::string readQuantize(const FerriteCompileOptions &from,
                                DriverOptions &to) {
  if (!from.quantize) {
    if (from.calib_count > 0 && to.calib.empty())
      return "--calib is data for --quantize, --sparsify=search and "
             "=weights:..,method=wanda or sparsegpt, none of which is given";
    if (from.quantize_method)
      return "--quantize-method says how to do --quantize, which is not given";
    if (from.accuracy_budget)
      return "--accuracy-budget is for --quantize, which is not given";
    return "";
  }
  to.quantize = from.quantize;
  if (from.quantize_method) {
    if (!parseMethod(from.quantize_method))
      return "unknown method '" + std::string(from.quantize_method) +
             "' to quantize; known: rtn, gptq, awq, smoothquant, rotate";
    to.quantize += "," + std::string(from.quantize_method);
  }
  llvm::Expected<QuantSpec> spec = QuantSpec::parse(to.quantize);
  if (!spec)
    return llvm::toString(spec.takeError());
  if (spec->method && needsData(*spec->method) && from.calib_count == 0)
    return "the method " + methodName(*spec->method).str() +
           " needs data: give batches of inputs with --calib=FILE.npz";
  auto isStatic = [](const QuantFormat &format) { return format.isStatic; };
  bool anyStatic = isStatic(spec->base);
  for (const QuantSpec::Override &item : spec->overrides)
    anyStatic |= isStatic(item.format);
  if (anyStatic && from.calib_count == 0)
    return "static scales of inputs need data: give batches of inputs with "
           "--calib=FILE.npz";
  if (from.accuracy_budget) {
    llvm::Expected<AccuracyBudget> budget =
        AccuracyBudget::parse(from.accuracy_budget);
    if (!budget)
      return llvm::toString(budget.takeError());
    if (budget->isKld && from.calib_count == 0)
      return "--accuracy-budget=kld measures predictions: give batches of "
             "inputs with --calib=FILE.npz";
    to.accuracyBudget = from.accuracy_budget;
  }
  to.calib.assign(from.calib, from.calib + from.calib_count);
  return "";
}

/// Steps and further models.
static std::string readParts(const FerriteCompileOptions &from,
                             DriverOptions &to) {
  std::set<std::string> names = {"main", "step"};
  StepParts parts;
  for (size_t i = 0; i < from.step_with_count; ++i) {
    std::string problem =
        parts.addWith(to.stepWith.emplace_back(from.step_with[i]));
    if (!problem.empty())
      return problem;
  }
  for (size_t i = 0; i < from.step_entry_count; ++i) {
    std::string problem =
        parts.addEntry(to.stepEntries.emplace_back(from.step_entries[i]));
    if (problem.empty() && !names.insert(parts.name).second)
      problem = "two entries would be named '" + parts.name + "'";
    if (!problem.empty())
      return problem;
  }
  for (size_t i = 0; i < from.with_model_count; ++i) {
    auto [name, file] = StringRef(from.with_models[i]).split(':');
    bool isName =
        !name.empty() && !llvm::isDigit(name[0]) &&
        llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_'; });
    if (!isName || file.empty())
      return "'" + std::string(from.with_models[i]) +
             "' is no further model: NAME:FILE.onnx";
    for (const std::string &entry : {name.str(), name.str() + "_step"})
      if (!names.insert(entry).second)
        return "two entries would be named '" + entry + "'";
    to.withModels.push_back({name.str(), file.str()});
  }
  bool resumes = from.compile_from;
  if (resumes &&
      (from.step_with_count || from.step_entry_count || from.with_model_count))
    return "a dump has the steps and models that it was made with: no others "
           "can be added to it";
  return "";
}

/// Empty, or why the options cannot be taken.
static std::string readOptions(const FerriteCompileOptions &from,
                               DriverOptions &to) {
  auto text = [](const char *value) { return std::string(value ? value : ""); };
  to.model = text(from.model);
  to.output = text(from.output);
  if (to.model.empty() || to.output.empty())
    return "a model and an output are needed";
  to.name = from.name ? from.name : llvm::sys::path::stem(to.output).str();
  to.weightsPath = text(from.weights_path);
  to.reportPath = text(from.report_path);
  to.dumpFolder = text(from.dump_phases_to);
  to.kv = text(from.kv);
  if (std::string problem = KvTypes().parse(to.kv); !problem.empty())
    return problem;
  to.emit = from.emit;
  to.weightsMode = from.weights_mode;
  to.debug = from.debug;
  to.import.lastLogits = from.last_logits != 0;
  to.threads = from.threads > 0
                   ? from.threads
                   : std::max(1u, std::thread::hardware_concurrency());
  if (from.emit < FERRITE_EMIT_SO || from.emit > FERRITE_EMIT_CUDA)
    return "unknown kind of output";
  for (size_t i = 0; i < from.level_count; ++i)
    to.levels.push_back(from.levels[i]);
  if (from.target < FERRITE_TARGET_CPU || from.target > FERRITE_TARGET_CPU_CUDA)
    return "unknown target";
  to.target =
      from.emit == FERRITE_EMIT_CUDA ? FERRITE_TARGET_CUDA : from.target;
  for (size_t i = 0; i < from.gpu_count; ++i)
    to.gpus.push_back(from.gpus[i]);
  if (!to.hasCpu() && from.level_count)
    return "CPU levels are for the target cpu or cpu+cuda";
  if (!to.hasCpu() && from.emit == FERRITE_EMIT_LLVM)
    return "the target cuda has CUDA C++ (--emit=cuda) where the CPU's kernels "
           "have LLVM IR";
  if (!to.gpus.empty() && !to.hasCuda())
    return "GPU architectures are for the target cuda or cpu+cuda";
  for (size_t i = 0; i < from.require_fusion_count; ++i)
    to.requireFusion.push_back(from.require_fusion[i]);
  std::string wrong = readParts(from, to);
  if (!wrong.empty())
    return wrong;
  if (from.profile) {
    std::string problem = readProfile(from.profile, to.machine);
    if (!problem.empty())
      return problem;
  }
  if (std::string problem = readSparsity(from, to); !problem.empty())
    return problem;
  if (std::string problem = readQuantize(from, to); !problem.empty())
    return problem;
  addDims(to.import, from.dims, from.dim_count);
  to.import.bindings = readBindings(from.bindings, from.binding_count);
  for (auto [name, phase] : {std::pair(from.compile_to, &to.compileTo),
                             std::pair(from.compile_from, &to.compileFrom)}) {
    if (!name)
      continue;
    *phase = parsePhase(name);
    if (!*phase) {
      std::string message = "unknown phase '" + std::string(name) + "'; known:";
      for (Phase known : phases())
        message += " " + phaseName(known).str();
      return message;
    }
  }
  if (to.compileFrom && *to.compileFrom >= Phase::Codegen)
    return "a compile can resume after import, normalize, fuse, quantize, "
           "sparsify, select and plan";
  if (to.compileFrom && *to.compileFrom >= Phase::Quantize &&
      !to.quantize.empty())
    return "a dump of the phase '" + phaseName(*to.compileFrom).str() +
           "' is past --quantize";
  if (std::string problem = whyPastSparsity(to); !problem.empty())
    return problem;
  if (to.compileFrom && to.compileTo && *to.compileTo <= *to.compileFrom)
    return "there is nothing to do from the phase '" +
           phaseName(*to.compileFrom).str() + "' to '" +
           phaseName(*to.compileTo).str() + "'";
  return "";
}

int32_t ferriteCompile(const FerriteCompileOptions *options,
                       FerriteCompileResult *result) {
  static std::mutex mutex; // lld's state is global
  std::lock_guard<std::mutex> lock(mutex);
  if (result)
    *result = {sizeof *result, FERRITE_COMPILE_USER_ERROR, 0, nullptr};
  if (!options || options->size != sizeof *options) {
    if (options && options->diagnostic)
      options->diagnostic(
          options->diagnostic_data, FERRITE_SEVERITY_ERROR,
          "FerriteCompileOptions has another size than this library knows");
    return FERRITE_COMPILE_USER_ERROR;
  }
  DialectRegistry registry;
  registerAll(registry);
  // Passes take entry after entry: what they remark is then in one order, and
  // comes from one thread. Code generation turns threading on for itself.
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  context.printOpOnDiagnostic(false);
  DiagnosticSink sink(context, options->diagnostic, options->diagnostic_data);
  DriverOptions driver;
  std::string problem = readOptions(*options, driver);
  if (!problem.empty()) {
    sink.send(FERRITE_SEVERITY_ERROR, problem);
    return FERRITE_COMPILE_USER_ERROR;
  }
  if (options->progress)
    driver.progress = [&](StringRef phase, uint64_t done, uint64_t total) {
      return options->progress(options->progress_data, phase.str().c_str(),
                               done, total) == 0;
    };
  CompileRecord record;
  OwningOpRef<ModuleOp> module;
  LogicalResult compiled = compile(context, driver, record, module);
  bool imported = static_cast<bool>(module);
  bool gate = imported && record.gate;
  int32_t status =
      statusOf(compiled, record.import, sink.sawBug, gate || record.userFault);
  if (succeeded(compiled) || gate) {
    ModuleOp plan = succeeded(compiled) ? *module : ModuleOp();
    if (!driver.reportPath.empty()) {
      std::error_code error;
      llvm::raw_fd_ostream stream(driver.reportPath, error);
      if (error) {
        sink.send(FERRITE_SEVERITY_ERROR, "cannot write '" + driver.reportPath +
                                              "': " + error.message());
        status = FERRITE_COMPILE_USER_ERROR;
      } else {
        stream << llvm::formatv(
            "{0:2}\n", llvm::json::Value(summarize(plan, driver, record,
                                                   SummaryKind::Report)));
      }
    }
    if (result)
      result->summary =
          copyString(summarize(plan, driver, record, SummaryKind::Result));
  }
  if (result)
    result->status = status;
  return status;
}

int32_t ferriteCheck(const FerriteCheckOptions *options,
                     FerriteCompileResult *result) {
  if (result)
    *result = {sizeof *result, FERRITE_COMPILE_USER_ERROR, 0, nullptr};
  if (!options || options->size != sizeof *options || !options->model)
    return FERRITE_COMPILE_USER_ERROR;
  DialectRegistry registry;
  registerAll(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  context.printOpOnDiagnostic(false);
  DiagnosticSink sink(context, options->diagnostic, options->diagnostic_data);
  ImportOptions import;
  addDims(import, options->dims, options->dim_count);
  import.bindings = readBindings(options->bindings, options->binding_count);
  ImportSummary summary;
  LogicalResult checked = check(context, options->model, import, summary);
  int32_t status = statusOf(checked, summary, sink.sawBug, /*userFault=*/false);
  if (result) {
    result->status = status;
    result->summary = copyString(
        summarizeCheck(options->model, summary, std::move(sink.problems)));
  }
  return status;
}

void ferriteCompileResultDestroy(FerriteCompileResult *result) {
  if (!result)
    return;
  free(const_cast<char *>(result->summary));
  result->summary = nullptr;
}
