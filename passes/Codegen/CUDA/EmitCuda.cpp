//===- EmitCuda.cpp - CUDA C++ of a plan ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/EmitCuda.h"

#include "passes/Codegen/CUDA/Emit.h"
#include "passes/Codegen/EmitKernels.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

ArrayRef<Arch> cuda::knownArchs() {
  static const Arch archs[] = {{"compute_80", 8, 0, false, /*isPtx=*/true},
                               {"sm_80", 8, 0, false},
                               {"sm_86", 8, 6, false},
                               {"sm_89", 8, 9, false},
                               {"sm_90", 9, 0, false},
                               {"sm_90a", 9, 0, true},
                               {"sm_100", 10, 0, false}};
  return archs;
}

const Arch *cuda::findArch(StringRef name) {
  for (const Arch &arch : knownArchs())
    if (arch.name == name)
      return &arch;
  return nullptr;
}

/// The text of a kernel says what it computes: the op, as the plan prints it.
static std::string commentOf(plan::KernelOp kernel) {
  std::string op, text;
  llvm::raw_string_ostream stream(op);
  kernel.getComputation()->print(
      stream, OpPrintingFlags().elideLargeElementsAttrs(16).useLocalScope());
  StringRef line = StringRef(op).split('\n').first;
  return ("// " + line + "\n").str();
}

FailureOr<EmittedCuda> cuda::emitCuda(ModuleOp plan, const Arch &arch,
                                      StringRef prefix) {
  EmittedCuda result;
  llvm::raw_string_ostream source(result.source);
  source << "// Kernels for " << arch.name << ", made by ferrite.\n";
  for (const auto &[name, text] : skeletonHeaders())
    if (name != "ferrite/device.cuh" &&
        (arch.hasWarpgroups() ||
         !(name.contains("wgmma") || name.contains("warpgroup"))))
      source << "#include \"" << name << "\"\n";
  source << "\n";
  // Weights of bf16 lie in pairs where CPUs read them too.
  bool hasPairs = llvm::any_of(plan.getOps<plan::WeightOp>(), [](auto weight) {
    return weight.getFormat() == plan::WeightFormat::Pairs;
  });
  for (auto kernel : plan.getOps<plan::KernelOp>()) {
    cpu::KernelLayout layout = layoutOf(kernel);
    KernelText kt((prefix + kernel.getSymName()).str(), layout, arch, hasPairs,
                  kernel.getLoc());
    LogicalResult emitted =
        TypeSwitch<Operation *, LogicalResult>(kernel.getComputation())
            .Case<LinearOp, MatmulOp, AttentionOp, NormOp, SoftmaxOp,
                  EmbeddingOp, RopeOp, FusedOp, GatherOp, GatherNDOp, CumSumOp,
                  CumProdOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp,
                  ArgReduceOp, TopKOp, LinearAttentionOp, KvAppendOp,
                  PagedAttentionOp, PagedPartialsOp, RouteOp, GroupedLinearOp,
                  PackedLinearOp, RoundRowsOp, PackKeysOp>(
                [&](auto op) { return cuda::emit(kt, op); })
            .Default([](Operation *op) {
              return op->emitError("no CUDA emitter makes code for ")
                     << op->getName();
            });
    if (failed(emitted))
      return failure();
    result.kernels.push_back(kt.take());
    source << commentOf(kernel) << result.kernels.back().text;
  }
  return result;
}

static void expand(StringRef source, llvm::StringSet<> &done,
                   llvm::raw_ostream &out) {
  while (!source.empty()) {
    auto [line, rest] = source.split('\n');
    source = rest;
    StringRef name = line;
    if (!name.consume_front("#include \"ferrite/")) {
      out << line << "\n";
      continue;
    }
    name = name.take_until([](char c) { return c == '"'; });
    if (!done.insert(name).second)
      continue;
    for (const auto &[header, text] : skeletonHeaders())
      if (header == ("ferrite/" + name).str())
        expand(text, done, out);
  }
}

std::string cuda::expandHeaders(StringRef source) {
  std::string result;
  llvm::raw_string_ostream out(result);
  llvm::StringSet<> done;
  expand(source, done, out);
  return result;
}
