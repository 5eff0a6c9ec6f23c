//===- Compile.cpp - From an ONNX file to an artifact ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"

#include "dialects/Plan/IR/Plan.h"
#include "lib/Artifact/HostProgram.h"
#include "lib/Artifact/Link.h"
#include "lib/Artifact/WeightFile.h"
#include "lib/Driver/OutputFile.h"
#include "lib/Driver/Summary.h"
#include "lib/Target/CPU/Compile.h"
#include "passes/Codegen/CPU/KernelBuilder.h"
#include "passes/Codegen/EmitKernels.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <chrono>
#include <thread>

using namespace mlir;
using namespace ferrite;

void ferrite::registerAll(DialectRegistry &registry) {
  registry.insert<FerriteDialect, plan::PlanDialect, func::FuncDialect>();
  cpu::KernelBuilder::registerDialects(registry);
  cpu::registerTranslations(registry);
}

namespace {
class Driver {
public:
  Driver(MLIRContext &context, const DriverOptions &options,
         CompileRecord &record)
      : context(context), options(options), record(record),
        loc(FileLineColLoc::get(&context, options.model, 0, 0)) {}

  LogicalResult run(OwningOpRef<ModuleOp> &module);

private:
  using Clock = std::chrono::steady_clock;

  LogicalResult begin(Phase phase);
  void end(Phase phase, Clock::time_point start);
  LogicalResult load(OwningOpRef<ModuleOp> &module);
  LogicalResult runPasses(Phase phase, ModuleOp module);
  LogicalResult dump(Phase phase, ModuleOp module);
  LogicalResult chooseLevels();
  LogicalResult codegen(ModuleOp plan, const WorkFolder &work);
  LogicalResult link(ModuleOp plan, const WorkFolder &work);
  LogicalResult writeText(StringRef text);
  LogicalResult writeListing(ModuleOp plan);

  MLIRContext &context;
  const DriverOptions &options;
  CompileRecord &record;
  Location loc;
  std::vector<const cpu::CpuLevel *> levels; ///< best first
  std::vector<std::string> objects;
  std::string llvmText;
  int64_t scratchBytes = 0;
  llvm::StringMap<Location> listingOf; ///< a kernel's line in the listing
  std::string kernelPrefix;
};
} // namespace

//===--- phases -----------------------------------------------------------===//

LogicalResult Driver::begin(Phase phase) {
  if (options.progress && !options.progress(phaseName(phase)))
    return emitError(loc) << "stopped";
  return success();
}

void Driver::end(Phase phase, Clock::time_point start) {
  record.seconds.push_back(
      {phase, std::chrono::duration<double>(Clock::now() - start).count()});
}

LogicalResult Driver::dump(Phase phase, ModuleOp module) {
  if (options.dumpFolder.empty())
    return success();
  if (std::error_code error =
          llvm::sys::fs::create_directories(options.dumpFolder))
    return emitError(loc) << "cannot write to '" << options.dumpFolder
                          << "': " << error.message();
  SmallString<256> path(options.dumpFolder);
  llvm::sys::path::append(path, options.name + "." +
                                    std::to_string(static_cast<int>(phase)) +
                                    "." + phaseName(phase) + ".mlir");
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (error)
    return emitError(loc) << "cannot write '" << path
                          << "': " << error.message();
  module->print(stream, OpPrintingFlags().enableDebugInfo(true, false));
  stream << '\n';
  return success();
}

LogicalResult Driver::load(OwningOpRef<ModuleOp> &module) {
  Clock::time_point start = Clock::now();
  if (failed(begin(Phase::Import)))
    return failure();
  if (options.compileFrom) {
    module = parseSourceFile<ModuleOp>(options.model, ParserConfig(&context));
    if (!module || failed(verifyContract(*options.compileFrom, *module, loc)))
      return failure();
  } else {
    FailureOr<OwningOpRef<ModuleOp>> imported = importOnnxModel(
        &context, options.model, options.import, &record.import);
    if (failed(imported))
      return failure();
    module = std::move(*imported);
  }
  end(Phase::Import, start);
  return options.compileFrom ? success() : dump(Phase::Import, *module);
}

LogicalResult Driver::runPasses(Phase phase, ModuleOp module) {
  Clock::time_point start = Clock::now();
  if (failed(begin(phase)))
    return failure();
  PassManager pm(&context);
  buildPipeline(phase, pm);
  if (failed(pm.run(module)))
    return failure();
  end(phase, start);
  return dump(phase, module);
}

/// A model's name as a C identifier.
static std::string identifier(StringRef name) {
  std::string result;
  for (char c : name)
    result += llvm::isAlnum(c) ? c : '_';
  return llvm::isDigit(result.empty() ? '0' : result[0]) ? "_" + result
                                                         : result;
}

//===--- codegen ----------------------------------------------------------===//

LogicalResult Driver::chooseLevels() {
  for (const std::string &name : options.levels)
    if (!cpu::findCpuLevel(name)) {
      InFlightDiagnostic error = emitError(loc) << "unknown CPU level '" << name
                                                << "'; known:";
      for (const cpu::CpuLevel &level : cpu::cpuLevels())
        error << " " << level.name;
      record.userFault = true;
      return error;
    }
  for (const cpu::CpuLevel &level : llvm::reverse(cpu::cpuLevels()))
    if (options.levels.empty() ||
        llvm::is_contained(options.levels, level.name.str()))
      levels.push_back(&level);
  for (const cpu::CpuLevel *level : levels)
    record.levels.push_back(level->name.str());
  return success();
}

/// Line tables need a text to point into: the plan, with the ONNX node names
/// that gdb then shows beside a kernel's code.
LogicalResult Driver::writeListing(ModuleOp plan) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  plan->print(stream,
              OpPrintingFlags().elideLargeElementsAttrs(16).enableDebugInfo(
                  true, /*prettyForm=*/true));
  std::string path = options.output + ".plan.mlir";
  unsigned number = 0;
  SmallVector<StringRef> lines;
  StringRef(text).split(lines, '\n');
  for (StringRef line : lines) {
    ++number;
    if (line.ltrim().consume_front("plan.kernel @"))
      listingOf.try_emplace(line.ltrim().drop_front(13).split(' ').first,
                            FileLineColLoc::get(&context, path, number, 1));
  }
  FailureOr<WorkFolder> work = WorkFolder::create(path, loc);
  if (failed(work) || failed(work->write("out", text, loc)))
    return failure();
  return work->keep("out", path, loc);
}

LogicalResult Driver::codegen(ModuleOp plan, const WorkFolder &work) {
  Clock::time_point start = Clock::now();
  if (failed(begin(Phase::Codegen)) ||
      (options.debug && failed(writeListing(plan))))
    return failure();
  // Libraries of several models may be linked into one program.
  if (options.emit == FERRITE_EMIT_STATIC || options.emit == FERRITE_EMIT_OBJ)
    kernelPrefix = identifier(options.name) + ".";
  auto locationOf = [&](plan::KernelOp kernel) {
    auto line = listingOf.find(kernel.getSymName());
    return line == listingOf.end() ? kernel.getLoc() : line->second;
  };
  // Emission shares the context, so it goes level by level; LLVM does not, and
  // is where the time is.
  std::vector<OwningOpRef<ModuleOp>> modules;
  for (const cpu::CpuLevel *level : levels) {
    FailureOr<EmittedKernels> emitted =
        emitKernels(plan, *level, kernelPrefix, locationOf);
    if (failed(emitted))
      return failure();
    scratchBytes = std::max(scratchBytes, emitted->scratchBytes);
    modules.push_back(std::move(emitted->module));
  }
  std::vector<FailureOr<cpu::CompiledObject>> compiled(levels.size(),
                                                       failure());
  cpu::CompileOptions compileOptions;
  compileOptions.llvmIR = options.emit == FERRITE_EMIT_LLVM;
  compileOptions.lineTables = options.debug;
  auto compileLevel = [&](size_t i) {
    compiled[i] = cpu::compile(*modules[i], *levels[i], compileOptions);
  };
  std::vector<std::thread> helpers;
  bool parallel = options.threads > 1;
  for (size_t i = 1; parallel && i < levels.size(); ++i)
    helpers.emplace_back(compileLevel, i);
  for (size_t i = 0; i < (parallel ? 1 : levels.size()); ++i)
    compileLevel(i);
  for (std::thread &helper : helpers)
    helper.join();
  for (size_t i = 0; i < levels.size(); ++i) {
    if (failed(compiled[i]))
      return failure();
    std::string name = ("kernels." + levels[i]->name + ".o").str();
    StringRef bytes(compiled[i]->object.data(), compiled[i]->object.size());
    if (failed(work.write(name, bytes, loc)))
      return failure();
    objects.push_back(work.file(name));
    llvmText += compiled[i]->llvmIR;
  }
  end(Phase::Codegen, start);
  return success();
}

//===--- link -------------------------------------------------------------===//

static std::string libraryHeader(StringRef name, StringRef symbol) {
  return ("/* The model '" + name +
          "', compiled by ferrite " FERRITE_VERSION
          ". Link the library beside this header and\n"
          " * libferrite_rt, and pass &" +
          symbol +
          " to ferriteModelOpen. */\n#pragma once\n"
          "#include \"ferrite/abi.h\"\n\n#ifdef __cplusplus\nextern "
          "\"C\"\n#else\nextern\n#endif\n"
          "const FerriteAbiModel " +
          symbol + ";\n")
      .str();
}

/// Above this the weights go to a file of their own (design.md section 7).
static constexpr int64_t kMostEmbeddedWeights = int64_t(1) << 30;

LogicalResult Driver::link(ModuleOp plan, const WorkFolder &work) {
  Clock::time_point start = Clock::now();
  if (failed(begin(Phase::Link)))
    return failure();
  auto modelPath = plan->getAttrOfType<StringAttr>(kModelPathAttr);
  ModelFolder folder(llvm::sys::path::parent_path(
      modelPath ? modelPath.getValue() : StringRef(options.model)));
  bool shared = options.emit == FERRITE_EMIT_SO;
  HostProgramOptions host;
  host.symbol = shared ? FERRITE_MODEL_SYMBOL
                       : "ferrite_model_" + identifier(options.name);
  host.kernelPrefix = kernelPrefix;
  host.name = options.name;
  host.compiler = "ferrite " FERRITE_VERSION " (" FERRITE_COMMIT ")";
  host.levels = levels;
  host.scratchBytes = scratchBytes;
  host.weightsBytes = record.weightsBytes = weightBytes(plan);
  bool toFile = options.weightsMode == FERRITE_WEIGHTS_FILE ||
                (options.weightsMode == FERRITE_WEIGHTS_AUTO &&
                 host.weightsBytes > kMostEmbeddedWeights);
  SmallString<256> weightsPath(options.weightsPath);
  if (weightsPath.empty()) {
    weightsPath = options.output;
    llvm::sys::path::replace_extension(weightsPath, ".weights");
  }
  if (toFile && llvm::sys::path::parent_path(weightsPath) !=
                    llvm::sys::path::parent_path(options.output))
    return emitError(loc) << "weights file '" << weightsPath
                          << "' does not lie in the folder of '"
                          << options.output << "'";
  if (toFile) {
    auto hash =
        writeWeightFile(plan, folder, work.file("weights"), options.threads);
    if (failed(hash))
      return failure();
    host.weightsHash = *hash;
    host.weightsFile = record.weightsFile =
        llvm::sys::path::filename(weightsPath).str();
  } else if (host.weightsBytes > 0) {
    host.weightsSymbol = host.symbol + ".weights";
    if (failed(writeWeightObject(plan, folder, work.file("weights.o"),
                                 host.weightsSymbol, options.threads)))
      return failure();
    objects.push_back(work.file("weights.o"));
  }
  llvm::raw_string_ostream(host.description) << llvm::json::Value(
      summarize(plan, options, record, SummaryKind::Description));
  FailureOr<SmallVector<char, 0>> object = makeHostProgram(plan, host);
  if (failed(object) ||
      failed(
          work.write("host.o", StringRef(object->data(), object->size()), loc)))
    return failure();
  objects.push_back(work.file("host.o"));
  std::string out = work.file("out");
  LogicalResult linked = shared ? linkShared(objects, out, loc)
                         : options.emit == FERRITE_EMIT_OBJ
                             ? linkRelocatable(objects, out, loc)
                             : writeLibrary(objects, out, loc);
  if (failed(linked))
    return failure();
  uint64_t bytes = 0;
  record.artifactBytes = llvm::sys::fs::file_size(out, bytes) ? 0 : bytes;
  if (toFile && failed(work.keep("weights", weightsPath, loc)))
    return failure();
  if (options.emit == FERRITE_EMIT_STATIC) {
    SmallString<256> header(options.output);
    llvm::sys::path::replace_extension(header, ".h");
    if (failed(work.write("header", libraryHeader(options.name, host.symbol),
                          loc)) ||
        failed(work.keep("header", header, loc)))
      return failure();
  }
  if (failed(work.keep("out", options.output, loc)))
    return failure();
  end(Phase::Link, start);
  return success();
}

LogicalResult Driver::writeText(StringRef text) {
  FailureOr<WorkFolder> work = WorkFolder::create(options.output, loc);
  record.userFault = failed(work);
  if (failed(work) || failed(work->write("out", text, loc)))
    return failure();
  record.artifactBytes = text.size();
  return work->keep("out", options.output, loc);
}

LogicalResult Driver::run(OwningOpRef<ModuleOp> &module) {
  if (failed(chooseLevels()) || failed(load(module)))
    return failure();
  Phase last = options.compileTo.value_or(
      options.emit == FERRITE_EMIT_MLIR ? Phase::Plan : Phase::Link);
  for (Phase phase :
       {Phase::Normalize, Phase::Fuse, Phase::Select, Phase::Plan}) {
    if (phase > last || (options.compileFrom && phase <= *options.compileFrom))
      continue;
    if (failed(runPasses(phase, *module)))
      return failure();
    if (phase == Phase::Fuse &&
        failed(checkGates(options, record.remarks, loc)))
      return failure();
  }
  if (last <= Phase::Plan) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    (*module)->print(stream,
                     OpPrintingFlags().enableDebugInfo(options.debug, false));
    stream << '\n';
    return writeText(text);
  }
  FailureOr<WorkFolder> work = WorkFolder::create(options.output, loc);
  record.userFault = failed(work);
  if (failed(work) || failed(codegen(*module, *work)))
    return failure();
  if (options.emit == FERRITE_EMIT_LLVM)
    return writeText(llvmText);
  if (last == Phase::Codegen) {
    if (failed(linkRelocatable(objects, work->file("out"), loc)))
      return failure();
    return work->keep("out", options.output, loc);
  }
  return link(*module, *work);
}

LogicalResult ferrite::checkGates(const DriverOptions &options,
                                  const RemarkLog &remarks, Location loc) {
  for (StringRef gate : options.requireFusion) {
    auto [kind, wanted] = gate.split(':');
    int64_t fused = 0, candidates = 0, least = 0;
    std::string misses;
    for (const RemarkRecord &record : remarks.records()) {
      if (record.pass != ("ferrite-fuse-" + kind).str())
        continue;
      fused += record.passed;
      candidates += record.passed || record.missed;
      if (record.missed && misses.size() < 400)
        misses += "; " + record.node + ": " + record.reason;
    }
    bool known = wanted == "all" || wanted == "none" ||
                 (!wanted.getAsInteger(10, least) && least >= 0);
    if (kind.empty() || !known)
      return emitError(loc)
             << "--require-fusion takes KIND:all, KIND:none or KIND:N, not '"
             << gate << "'";
    bool holds = wanted == "all"    ? fused == candidates && fused > 0
                 : wanted == "none" ? fused == 0
                                    : fused >= least;
    if (!holds)
      return emitError(loc)
             << "--require-fusion=" << gate << ": " << fused << " of "
             << candidates << " candidates fused" << misses;
  }
  return success();
}

LogicalResult ferrite::compile(MLIRContext &context,
                               const DriverOptions &options,
                               CompileRecord &record,
                               OwningOpRef<ModuleOp> &module) {
  auto start = std::chrono::steady_clock::now();
  if (failed(record.remarks.attach(context)))
    return failure();
  LogicalResult result = Driver(context, options, record).run(module);
  record.totalSeconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return result;
}
