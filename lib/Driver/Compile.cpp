//===- Compile.cpp - From an ONNX file to an artifact ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Longer than other files because each phase is a step of one driver.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "dialects/Plan/IR/Plan.h"
#include "lib/Artifact/Link.h"
#include "lib/Driver/Codegen.h"
#include "lib/Driver/LinkArtifact.h"
#include "lib/Driver/OutputFile.h"
#include "lib/Driver/PruneWeights.h"
#include "lib/Driver/Quantize.h"
#include "lib/Driver/WeightZeros.h"
#include "lib/Target/CPU/Compile.h"
#include "passes/Codegen/CPU/KernelBuilder.h"
#include "passes/Fusion/MakeStepParts.h"
#include "passes/Sparsity/Spec.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <chrono>
#include <cstdlib>

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
  LogicalResult readDump(OwningOpRef<ModuleOp> &module);
  LogicalResult findSideFile(ModuleOp module);
  LogicalResult keepSideFile(ModuleOp module, StringRef folder);
  void setStepParts(ModuleOp module);
  LogicalResult changeWeights(ModuleOp module);
  LogicalResult lookForZeros(ModuleOp module);
  LogicalResult runPasses(Phase phase, ModuleOp module);
  LogicalResult dump(Phase phase, ModuleOp module);
  LogicalResult makeArtifact(Phase last, ModuleOp plan);
  LogicalResult writeText(StringRef text);
  LogicalResult writeListing(ModuleOp plan);

  MLIRContext &context;
  const DriverOptions &options;
  CompileRecord &record;
  Location loc;
  GeneratedCode code;
  std::optional<WorkFolder> quantized; ///< holds the side file
};
} // namespace

//===--- phases -----------------------------------------------------------===//

LogicalResult Driver::begin(Phase phase) {
  if (options.progress && !options.progress(phaseName(phase), 0, 0))
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
  return phase == Phase::Quantize ? keepSideFile(module, options.dumpFolder)
                                  : success();
}

/// IR that names the side file has it beside itself.
LogicalResult Driver::keepSideFile(ModuleOp module, StringRef folder) {
  auto name = module->getAttrOfType<StringAttr>(kSideFileAttr);
  if (!name || record.sideFile.empty())
    return success();
  SmallString<256> path(folder);
  llvm::sys::path::append(path, name.getValue());
  if (llvm::sys::fs::equivalent(path, record.sideFile))
    return success();
  if (std::error_code error = llvm::sys::fs::copy_file(record.sideFile, path))
    return emitError(loc) << "cannot write '" << path
                          << "': " << error.message();
  return success();
}

LogicalResult Driver::findSideFile(ModuleOp module) {
  auto name = module->getAttrOfType<StringAttr>(kSideFileAttr);
  if (!name)
    return success();
  record.sideFile = options.sideFile;
  if (!record.sideFile.empty())
    return success();
  SmallString<256> path(llvm::sys::path::parent_path(options.model));
  llvm::sys::path::append(path, name.getValue());
  if (llvm::sys::path::filename(name.getValue()) != name.getValue() ||
      !llvm::sys::fs::exists(path))
    return emitError(loc) << "the dump needs its codes and scales, the file '"
                          << name.getValue() << "' beside it";
  record.sideFile = path.str().str();
  return success();
}

LogicalResult Driver::readDump(OwningOpRef<ModuleOp> &module) {
  auto file = llvm::MemoryBuffer::getFile(options.model);
  if (!file)
    return emitError(loc) << "cannot open '" << options.model
                          << "': " << file.getError().message();
  StringRef phase = phaseName(*options.compileFrom);
  StringRef bytes = (*file)->getBuffer();
  // A model is binary and begins with its IR version; dumps are text.
  if (bytes.take_front(4096).contains('\0') || bytes.starts_with("\b"))
    return emitError(loc) << "'" << options.model << "' is no dump of phase "
                          << phase
                          << ": it is no text; an ONNX model is compiled "
                             "without --compile-from";
  std::string problem;
  {
    // Of several messages the first is the cause; the sink shows no lines.
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      auto at = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>();
      if (problem.empty())
        problem = (at ? "line " + std::to_string(at.getLine()) + ": " : "") +
                  diagnostic.str();
      return success();
    });
    module = parseSourceString<ModuleOp>(bytes, ParserConfig(&context),
                                         options.model);
  }
  if (!module)
    return emitError(loc) << "'" << options.model << "' is no dump of phase "
                          << phase << ": " << problem;
  return success();
}

/// For the tests of verify: the results of one node get another sign. Not in
/// the import of verify itself, which it is to be compared with.
static void plantError(ModuleOp module, StringRef node) {
  module.walk([&](Operation *op) {
    auto name = dyn_cast<NameLoc>(op->getLoc());
    if (!name || name.getName() != node || op->getNumResults() != 1 ||
        isa<NegOp>(op))
      return;
    OpBuilder builder(op->getContext());
    builder.setInsertionPointAfter(op);
    Value result = op->getResult(0);
    auto wrong = NegOp::create(builder, op->getLoc(), result.getType(), result);
    result.replaceAllUsesExcept(wrong.getResult(), wrong);
  });
}

/// What steps are to have, for the pass that makes them.
void Driver::setStepParts(ModuleOp module) {
  auto set = [&](StringRef name, const std::vector<std::string> &texts) {
    SmallVector<StringRef> parts(texts.begin(), texts.end());
    if (!texts.empty())
      module->setAttr(name, Builder(&context).getStrArrayAttr(parts));
  };
  set(kStepWithAttr, options.stepWith);
  set(kStepEntriesAttr, options.stepEntries);
}

LogicalResult Driver::load(OwningOpRef<ModuleOp> &module) {
  Clock::time_point start = Clock::now();
  if (failed(begin(Phase::Import)))
    return failure();
  if (options.compileFrom) {
    record.userFault = true;
    if (failed(readDump(module)) ||
        failed(verifyContract(*options.compileFrom, *module, loc)) ||
        failed(findSideFile(*module)))
      return failure();
    record.userFault = false;
  } else {
    FailureOr<OwningOpRef<ModuleOp>> imported = importOnnxModel(
        &context, options.model, options.import, &record.import);
    if (failed(imported))
      return failure();
    module = std::move(*imported);
    if (failed(addModels(options, *module, record.import, loc)))
      return failure();
    setStepParts(*module);
    if (const char *node = getenv("FERRITE_PLANT_ERROR"))
      plantError(*module, node);
  }
  if (!options.kv.empty() && options.compileFrom >= Phase::Fuse) {
    record.userFault = true;
    return emitError(loc) << "the caches of a dump of phase '"
                          << phaseName(*options.compileFrom)
                          << "' are what they are: --kv says nothing about it";
  }
  if (!options.kv.empty())
    (*module)->setAttr(kKvAttr, StringAttr::get(&context, options.kv));
  end(Phase::Import, start);
  return options.compileFrom ? success() : dump(Phase::Import, *module);
}

/// The items of --sparsify that the pass knows; the driver did the others.
static std::string itemsOfPass(ArrayRef<SparsityItem> items) {
  std::string text;
  for (const SparsityItem &item : items)
    if (!item.isOfDriver())
      text += (text.empty() ? "" : ";") + item.text;
  return text;
}

/// Prunes, then quantizes what is left; reports the zeros between.
LogicalResult Driver::changeWeights(ModuleOp module) {
  bool prunes = prunesWeights(options);
  if (prunes || !options.quantize.empty()) {
    FailureOr<WorkFolder> work =
        WorkFolder::create(options.output + "." + kSideFile.str(), loc);
    record.userFault = failed(work);
    if (failed(work))
      return failure();
    record.sideFile = work->file(kSideFile);
    quantized.emplace(std::move(*work));
    FailureOr<std::unique_ptr<SideFile>> file =
        SideFile::create(record.sideFile, loc);
    if (failed(file) ||
        (prunes && failed(pruneWeights(module, options, record, **file,
                                       sideFileName(options), loc))) ||
        failed(lookForZeros(module)))
      return failure();
    // What runs the model in float to quantize it finds pruned weights there.
    DriverOptions own = options;
    own.sideFile = record.sideFile;
    return options.quantize.empty()
               ? success()
               : quantize(module, own, record, *quantized, **file, loc);
  }
  return lookForZeros(module);
}

/// Reading the weights takes its time: only where somebody wants to know.
LogicalResult Driver::lookForZeros(ModuleOp module) {
  if (options.reportPath.empty() && options.requireSparsity.empty())
    return success();
  if (failed(recordZeros(module, options, record)))
    return failure();
  LogicalResult holds = checkZeros(options, record, loc);
  record.gate |= failed(holds);
  return holds;
}

LogicalResult Driver::runPasses(Phase phase, ModuleOp module) {
  Clock::time_point start = Clock::now();
  if (failed(begin(phase)))
    return failure();
  // In float, as the search for formats.
  if (phase == Phase::Quantize &&
      failed(searchPatterns(module, options, record, loc))) {
    record.userFault = true;
    return failure();
  }
  if (phase == Phase::Quantize && failed(changeWeights(module)))
    return failure();
  PassManager pm(&context);
  if (phase == Phase::Sparsify)
    buildSparsifyPipeline(pm, itemsOfPass(options.sparsify));
  else if (phase == Phase::Select)
    buildSelectPipeline(pm, options.hasCpu());
  else
    buildPipeline(phase, pm);
  if (failed(pm.run(module))) {
    // Nothing but what an option asks for can fail there.
    record.gate = phase == Phase::Sparsify;
    return failure();
  }
  if (phase == Phase::Sparsify &&
      (failed(recordAttentions(module, record)) ||
       failed(chooseSparse(module, options, code.levels, record))))
    return failure();
  end(phase, start);
  return dump(phase, module);
}

LogicalResult Driver::writeText(StringRef text) {
  FailureOr<WorkFolder> work = WorkFolder::create(options.output, loc);
  record.userFault = failed(work);
  if (failed(work) || failed(work->write("out", text, loc)))
    return failure();
  record.artifactBytes = text.size();
  return work->keep("out", options.output, loc);
}

LogicalResult Driver::makeArtifact(Phase last, ModuleOp plan) {
  FailureOr<WorkFolder> work = WorkFolder::create(options.output, loc);
  record.userFault = failed(work);
  dropEqualLevels(plan, options, code.levels);
  for (const cpu::CpuLevel *level : code.levels)
    record.levels.push_back(level->name.str());
  Clock::time_point start = Clock::now();
  if (failed(work) || failed(begin(Phase::Codegen)))
    return failure();
  if (options.emit == FERRITE_EMIT_CUDA)
    return failed(generateCuda(plan, options, loc, code, record))
               ? failure()
               : writeText(code.cudaText);
  if (failed(generateCode(plan, options, *work, loc, code)) ||
      failed(generateCuda(plan, options, loc, code, record)))
    return failure();
  record.ownKernels = code.ownKernels;
  end(Phase::Codegen, start);
  if (options.emit == FERRITE_EMIT_LLVM)
    return writeText(code.llvmText);
  if (last == Phase::Codegen) {
    if (failed(linkRelocatable(code.objects, work->file("out"), loc)))
      return failure();
    return work->keep("out", options.output, loc);
  }
  start = Clock::now();
  if (failed(begin(Phase::Link)) ||
      failed(linkArtifact(plan, options, *work, loc, code, record)))
    return failure();
  end(Phase::Link, start);
  return success();
}

LogicalResult Driver::run(OwningOpRef<ModuleOp> &module) {
  FailureOr<std::vector<const cpu::CpuLevel *>> levels =
      chooseLevels(options, loc);
  record.userFault = failed(levels);
  if (failed(levels))
    return failure();
  code.levels = *levels;
  code.machine = levels->front()->machine;
  if (!options.hasCpu())
    code.levels.clear();
  FailureOr<std::vector<const cuda::Arch *>> archs = chooseArchs(options, loc);
  record.userFault = failed(archs);
  if (failed(archs))
    return failure();
  code.archs = *archs;
  if (failed(load(module)))
    return failure();
  Phase last = options.compileTo.value_or(
      options.emit == FERRITE_EMIT_MLIR ? Phase::Plan : Phase::Link);
  for (Phase phase : {Phase::Normalize, Phase::Fuse, Phase::Quantize,
                      Phase::Sparsify, Phase::Select, Phase::Plan}) {
    if (phase > last || (options.compileFrom && phase <= *options.compileFrom))
      continue;
    std::vector<Candidate> candidates;
    if (phase == Phase::Fuse)
      candidates = findCandidates(*module);
    if (failed(runPasses(phase, *module)))
      return failure();
    if (phase == Phase::Fuse)
      record.concepts = matchCandidates(*module, candidates, record.remarks);
    if (phase == Phase::Fuse)
      record.gate = failed(checkGates(options, record.remarks, loc));
    // Where it ends there, nothing is pruned.
    if (phase == Phase::Fuse && last == phase && failed(lookForZeros(*module)))
      return failure();
    if (phase == Phase::Sparsify)
      record.gate = failed(checkSparsity(options, record, loc));
    if (record.gate)
      return failure();
  }
  if (last <= Phase::Plan) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    (*module)->print(stream,
                     OpPrintingFlags().enableDebugInfo(options.debug, false));
    stream << '\n';
    if (failed(keepSideFile(*module,
                            llvm::sys::path::parent_path(options.output))))
      return failure();
    return writeText(text);
  }
  return makeArtifact(last, *module);
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
