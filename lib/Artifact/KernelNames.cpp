//===- KernelNames.cpp - What profilers call a kernel ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/KernelNames.h"

#include "lib/Artifact/NodeNames.h"
#include "passes/Codegen/CPU/CpuLevel.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ferrite;

/// Beyond this a name says no more, and profilers cut it.
static constexpr size_t kMostSymbol = 160;

std::string ferrite::nodeSymbol(Location loc) {
  std::string all = nodeNames(loc), result;
  SmallVector<StringRef> names;
  StringRef(all).split(names, ", ", -1, /*KeepEmpty=*/false);
  for (StringRef name : names) {
    std::string word;
    for (char c : name.trim('/'))
      word += llvm::isAlnum(c) || c == '.' ? c : '_';
    if (word.size() > kMostSymbol)
      word.resize(kMostSymbol);
    if (!result.empty() && result.size() + 1 + word.size() > kMostSymbol)
      break;
    result += (result.empty() ? "" : "+") + word;
  }
  return result;
}

KernelNames::KernelNames(ModuleOp plan, StringRef prefix)
    : prefix(prefix.str()) {
  llvm::StringMap<unsigned> launches;
  plan.walk([&](plan::LaunchOp launch) {
    if (++launches[launch.getKernel()] == 1)
      nodes[launch.getKernel()] = nodeSymbol(launch.getLoc());
    else
      nodes.erase(launch.getKernel());
  });
}

void KernelNames::share(plan::KernelOp kernel, const cpu::CpuLevel &level,
                        const cpu::CpuLevel &other) {
  shared[{kernel, &level}] = &other;
}

std::string KernelNames::code(plan::KernelOp kernel,
                              const cpu::CpuLevel &level) const {
  std::string node = nodes.lookup(kernel.getSymName());
  const cpu::CpuLevel *other = shared.lookup({kernel, &level});
  return (Twine(prefix) + kernel.getSymName() + "." +
          (other ? other->name : level.name) + (node.empty() ? "" : ":" + node))
      .str();
}
