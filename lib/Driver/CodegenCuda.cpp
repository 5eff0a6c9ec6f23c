//===- CodegenCuda.cpp - Cubins of a plan ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Codegen.h"
#include "lib/Target/CUDA/Compile.h"
#include "passes/Codegen/CUDA/EmitCuda.h"

#include <thread>

using namespace mlir;
using namespace ferrite;

FailureOr<std::vector<const cuda::Arch *>>
ferrite::chooseArchs(const DriverOptions &options, Location loc) {
  std::vector<const cuda::Arch *> archs;
  if (!options.hasCuda())
    return archs;
  std::vector<std::string> names = options.gpus;
  if (names.empty())
    names = {"sm_80", "sm_90a", "compute_80"};
  for (const std::string &name : names)
    if (!cuda::findArch(name)) {
      InFlightDiagnostic error = emitError(loc) << "unknown GPU architecture '"
                                                << name << "'; known:";
      for (const cuda::Arch &arch : cuda::knownArchs())
        error << " " << arch.name;
      return error;
    }
  // Known ones go from the oldest to the newest.
  for (const cuda::Arch &arch : llvm::reverse(cuda::knownArchs()))
    if (llvm::is_contained(names, arch.name))
      archs.push_back(&arch);
  return archs;
}

LogicalResult ferrite::generateCuda(ModuleOp plan, const DriverOptions &options,
                                    Location loc, GeneratedCode &code,
                                    CompileRecord &record) {
  for (const cuda::Arch *arch : code.archs) {
    FailureOr<cuda::EmittedCuda> emitted = cuda::emitCuda(plan, *arch, "");
    if (failed(emitted))
      return failure();
    if (options.emit == FERRITE_EMIT_CUDA) {
      code.cudaText = cuda::expandHeaders(emitted->source);
      return success();
    }
    FailureOr<cuda::CompiledCuda> compiled =
        cuda::compileCuda(emitted->source, *arch, options.debug, loc);
    if (failed(compiled)) {
      // No compiler is the user's to mend; one that complains is ours.
      record.userFault = !cuda::hasCompiler();
      return failure();
    }
    record.gpus.push_back({arch->name, compiled->tool, compiled->log,
                           int64_t(compiled->cubin.size())});
    code.cuda.push_back(
        {arch, std::move(compiled->cubin), std::move(emitted->kernels)});
  }
  return success();
}
