//===- Codegen.cpp - Object code of a plan --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Codegen.h"

#include "dialects/Plan/IR/Plan.h"
#include "lib/Target/CPU/Compile.h"
#include "passes/Codegen/EmitKernels.h"

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
  auto native = llvm::find_if(
      llvm::reverse(cpu::cpuLevels()),
      [](const cpu::CpuLevel &level) { return cpu::hostHasLevel(level); });
  std::vector<const cpu::CpuLevel *> levels;
  for (const cpu::CpuLevel &level : llvm::reverse(cpu::cpuLevels()))
    if (options.levels.empty() ||
        llvm::is_contained(options.levels, level.name.str()) ||
        (llvm::is_contained(options.levels, "native") && &level == &*native))
      levels.push_back(&level);
  return levels;
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
  // Emission shares the context, so it goes level by level; LLVM does not, and
  // is where the time is.
  std::vector<OwningOpRef<ModuleOp>> modules;
  for (const cpu::CpuLevel *level : code.levels) {
    auto symbolOf = [&](plan::KernelOp kernel) {
      return code.names->code(kernel, *level);
    };
    FailureOr<EmittedKernels> emitted =
        emitKernels(plan, *level, symbolOf, locationOf);
    if (failed(emitted))
      return failure();
    code.scratchBytes = std::max(code.scratchBytes, emitted->scratchBytes);
    modules.push_back(std::move(emitted->module));
  }
  std::vector<FailureOr<cpu::CompiledObject>> compiled(modules.size(),
                                                       failure());
  cpu::CompileOptions compileOptions;
  compileOptions.llvmIR = options.emit == FERRITE_EMIT_LLVM;
  compileOptions.lineTables = options.debug;
  auto compileLevel = [&](size_t i) {
    compiled[i] = cpu::compile(*modules[i], *code.levels[i], compileOptions);
  };
  std::vector<std::thread> helpers;
  bool parallel = options.threads > 1;
  for (size_t i = 1; parallel && i < modules.size(); ++i)
    helpers.emplace_back(compileLevel, i);
  for (size_t i = 0; i < (parallel ? 1 : modules.size()); ++i)
    compileLevel(i);
  for (std::thread &helper : helpers)
    helper.join();
  for (size_t i = 0; i < modules.size(); ++i) {
    if (failed(compiled[i]))
      return failure();
    std::string name = ("kernels." + code.levels[i]->name + ".o").str();
    StringRef bytes(compiled[i]->object.data(), compiled[i]->object.size());
    if (failed(work.write(name, bytes, loc)))
      return failure();
    code.objects.push_back(work.file(name));
    code.llvmText += compiled[i]->llvmIR;
  }
  return success();
}
