//===- Codegen.cpp - Object code of a plan --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Codegen.h"

#include "dialects/Plan/IR/Plan.h"
#include "lib/Target/CPU/Compile.h"
#include "passes/Codegen/EmitKernels.h"

#include "llvm/ADT/MapVector.h"

#include <atomic>
#include <thread>

using namespace mlir;
using namespace ferrite;

std::string ferrite::identifier(StringRef name) {
  std::string result;
  for (char c : name)
    result += llvm::isAlnum(c) ? c : '_';
  return llvm::isDigit(result.empty() ? '0' : result[0]) ? "_" + result
                                                         : result;
}

/// Whether a level is better than the next one below it. Dot products of bf16
/// are, unless the machine's are slower than f32 (Emerald Rapids): then bf16 is
/// widened, as at every other level.
static bool isWorthIt(const cpu::CpuLevel &level,
                      const MachineProfile &machine) {
  constexpr double gain = 1.1; // below that, the rounding is not worth it
  return !level.has(cpu::Instruction::DotBF16) || machine.bf16DotGain() == 0 ||
         machine.bf16DotGain() >= gain;
}

FailureOr<std::vector<const cpu::CpuLevel *>>
ferrite::chooseLevels(const DriverOptions &options, Location loc) {
  for (const std::string &name : options.levels)
    if (name != "native" && !cpu::findCpuLevel(name)) {
      InFlightDiagnostic error = emitError(loc) << "unknown CPU level '" << name
                                                << "'; known:";
      for (const cpu::CpuLevel &level : cpu::cpuLevels())
        error << " " << level.name;
      error << " native";
      return error;
    }
  // Without names: the usual levels of the machine we run on.
  const cpu::CpuMachine &host = cpu::hostMachine();
  bool native = llvm::is_contained(options.levels, "native");
  std::vector<const cpu::CpuLevel *> levels;
  for (const cpu::CpuLevel &level : llvm::reverse(cpu::cpuLevels())) {
    bool wanted = options.levels.empty()
                      ? level.isFor(host) && level.byDefault &&
                            isWorthIt(level, options.machine)
                      : llvm::is_contained(options.levels, level.name.str());
    if (native && cpu::hostHasLevel(level) &&
        isWorthIt(level, options.machine)) {
      wanted = true;
      native = false; // the best alone
    }
    if (wanted)
      levels.push_back(&level);
  }
  if (levels.empty())
    return emitError(loc) << "this machine has none of the CPU levels that "
                             "code can be generated for; name one with --cpu";
  for (const cpu::CpuLevel *level : levels)
    if (level->machine != levels.front()->machine)
      return emitError(loc)
             << "CPU level '" << levels.front()->name << "' is for "
             << levels.front()->machine->name << " and '" << level->name
             << "' for " << level->machine->name
             << ": an artifact has code for one of them";
  if (options.emit == FERRITE_EMIT_EXE && !levels.front()->isFor(host))
    return emitError(loc) << "--emit=exe links the C library of this machine, "
                             "which is "
                          << host.name << ": level '" << levels.front()->name
                          << "' needs --emit=so or --emit=static";
  return levels;
}

void ferrite::dropEqualLevels(ModuleOp plan, const DriverOptions &options,
                              std::vector<const cpu::CpuLevel *> &levels) {
  if (llvm::any_of(plan.getOps<plan::KernelOp>(), hasLowBitProducts))
    return;
  llvm::erase_if(levels, [&](const cpu::CpuLevel *level) {
    return options.levels.empty() && !level->refines.empty();
  });
}

//===--- the listing ------------------------------------------------------===//

namespace {
/// Line tables need a text to point into: the plan, with the ONNX node names
/// that gdb then shows beside a kernel's code.
struct Listing {
  std::string text;
  llvm::StringMap<unsigned> kernelLines;
  PlanListing plan;

  Listing(ModuleOp module, StringRef output);
};
} // namespace

Listing::Listing(ModuleOp module, StringRef output) {
  plan.path = (output + ".plan.mlir").str();
  llvm::raw_string_ostream stream(text);
  module->print(stream,
                OpPrintingFlags().elideLargeElementsAttrs(16).enableDebugInfo(
                    true, /*prettyForm=*/true));
  unsigned number = 0;
  SmallVector<StringRef> lines;
  StringRef(text).split(lines, '\n');
  for (StringRef line : lines) {
    ++number;
    line = line.ltrim();
    if (line.consume_front("plan.kernel @"))
      kernelLines.try_emplace(line.take_until([](char c) { return c == ' '; }),
                              number);
    else if (line.starts_with("plan.launch @"))
      plan.launchLines.push_back(number);
  }
}

//===--- kernels ----------------------------------------------------------===//

/// Kernels that are compiled together: a third of a second for LLVM (Zen 5).
static constexpr size_t kPartKernels = 12;

namespace {
struct Part {
  const cpu::CpuLevel *level;
  OwningOpRef<ModuleOp> module;
  std::string name; ///< of the object file
  FailureOr<cpu::CompiledObject> compiled = failure();
};
} // namespace

static void compileParts(MutableArrayRef<Part> parts,
                         const cpu::CompileOptions &options, size_t threads) {
  std::atomic<size_t> next(0);
  auto work = [&] {
    for (size_t i; (i = next++) < parts.size();) {
      parts[i].compiled =
          cpu::compile(*parts[i].module, *parts[i].level, options);
      parts[i].module = nullptr; // larger than the object
    }
  };
  threads = std::min(threads, parts.size());
  if (threads < 2)
    return work();
  // The driver's context has no locks: it serves one thread, but here.
  MLIRContext *context = parts.front().module->getContext();
  context->enableMultithreading();
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < threads; ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();
  context->disableMultithreading();
}

/// For each level the kernels whose code is its own. A kernel that uses nothing
/// of what a level adds has the code of the level below there too: what a level
/// costs in time and bytes is what it makes faster.
static void shareCode(ModuleOp plan, GeneratedCode &code,
                      llvm::MapVector<const cpu::CpuLevel *,
                                      SmallVector<plan::KernelOp>> &kernelsOf) {
  // Best first, as the levels are, those that nobody named behind them.
  for (const cpu::CpuLevel *level : code.levels)
    kernelsOf[level];
  for (auto kernel : plan.getOps<plan::KernelOp>()) {
    SmallPtrSet<const cpu::CpuLevel *, 4> seen;
    for (const cpu::CpuLevel *level : code.levels) {
      const cpu::CpuLevel *own = level;
      if (!level->refines.empty()) {
        ScopedDiagnosticHandler quiet(plan.getContext(),
                                      [](Diagnostic &) { return success(); });
        FailureOr<EmittedKernels> emitted = emitKernels(
            plan, kernel, *level, [](plan::KernelOp) { return "k"; },
            [](plan::KernelOp kernel) { return kernel.getLoc(); });
        // What fails, fails again below, and says why.
        if (succeeded(emitted))
          own = &cpu::codeLevel(*level, emitted->instructions);
      }
      code.names->share(kernel, *level, *own);
      if (seen.insert(own).second)
        kernelsOf[own].push_back(kernel);
    }
  }
  for (const auto &[level, kernels] : kernelsOf) {
    if (level->refines.empty())
      continue;
    auto &own = code.ownKernels.emplace_back(level->name.str(),
                                             std::vector<std::string>());
    for (plan::KernelOp kernel : kernels)
      own.second.push_back(kernel.getSymName().str());
  }
}

LogicalResult ferrite::generateCode(ModuleOp plan, const DriverOptions &options,
                                    const WorkFolder &work, Location loc,
                                    GeneratedCode &code) {
  // Libraries of several models may be linked into one program.
  bool meetsOthers =
      options.emit == FERRITE_EMIT_STATIC || options.emit == FERRITE_EMIT_OBJ;
  code.names.emplace(plan, meetsOthers ? identifier(options.name) + "." : "");
  std::optional<Listing> listing;
  if (options.debug) {
    listing.emplace(plan, options.output);
    code.listing = listing->plan;
    if (failed(work.write("listing", listing->text, loc)) ||
        failed(work.keep("listing", code.listing.path, loc)))
      return failure();
  }
  auto locationOf = [&](plan::KernelOp kernel) -> Location {
    if (!listing)
      return kernel.getLoc();
    return FileLineColLoc::get(plan.getContext(), code.listing.path,
                               listing->kernelLines.lookup(kernel.getSymName()),
                               1);
  };
  // Emission shares the context, so it goes part by part; LLVM does not, and is
  // where the time is. Parts are as large for any number of threads: so is the
  // artifact the same.
  llvm::MapVector<const cpu::CpuLevel *, SmallVector<plan::KernelOp>> kernelsOf;
  shareCode(plan, code, kernelsOf);
  bool isText = options.emit == FERRITE_EMIT_LLVM;
  std::vector<Part> parts;
  for (const auto &[level, kernels] : kernelsOf) {
    auto symbolOf = [&, level = level](plan::KernelOp kernel) {
      return code.names->code(kernel, *level);
    };
    size_t most = isText ? std::max<size_t>(kernels.size(), 1) : kPartKernels;
    for (size_t first = 0; first < kernels.size(); first += most) {
      FailureOr<EmittedKernels> emitted = emitKernels(
          plan, ArrayRef(kernels).drop_front(first).take_front(most), *level,
          symbolOf, locationOf);
      if (failed(emitted))
        return failure();
      code.scratchBytes = std::max(code.scratchBytes, emitted->scratchBytes);
      std::string name =
          ("kernels." + level->name + "." + Twine(first / most) + ".o").str();
      parts.push_back({level, std::move(emitted->module), name});
    }
  }
  cpu::CompileOptions compileOptions;
  compileOptions.llvmIR = isText;
  compileOptions.lineTables = options.debug;
  compileParts(parts, compileOptions, options.threads);
  for (Part &part : parts) {
    if (failed(part.compiled))
      return failure();
    StringRef bytes(part.compiled->object.data(), part.compiled->object.size());
    if (failed(work.write(part.name, bytes, loc)))
      return failure();
    code.objects.push_back(work.file(part.name));
    code.llvmText += part.compiled->llvmIR;
  }
  return success();
}
