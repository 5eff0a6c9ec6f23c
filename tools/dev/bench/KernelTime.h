//===- KernelTime.h - The time of one call of a kernel ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_DEV_BENCH_KERNELTIME_H
#define FERRITE_TOOLS_DEV_BENCH_KERNELTIME_H

#include "test/unit/codegen/KernelJit.h"
#include "tools/dev/bench/FmaPeak.h"

#include <cstdlib>

/// The shortest of the calls of a kernel, all its units on this thread, that
/// fit in `budget`, in seconds.
inline double timeKernel(const ferrite::test::KernelJit &jit,
                         const std::vector<FerriteArg> &args, double budget) {
  int64_t units = jit.unitsFunction()(args.data());
  auto *scratch = static_cast<char *>(
      std::aligned_alloc(64, (jit.scratchBytes() + 191) / 64 * 64));
  double seconds = 1e9, spent = 0;
  while (spent < budget) {
    double start = now();
    jit.function()(args.data(), 0, units, scratch + 64);
    double taken = now() - start;
    seconds = std::min(seconds, taken);
    spent += taken;
  }
  std::free(scratch);
  return seconds;
}

/// Adds the [K, N] of an argument like 768x3072; false of another argument.
inline bool readShape(llvm::StringRef argument,
                      std::vector<std::pair<int64_t, int64_t>> &shapes) {
  int64_t depth, columns;
  auto [k, n] = argument.split('x');
  if (k.getAsInteger(10, depth) || n.getAsInteger(10, columns))
    return false;
  shapes.push_back({depth, columns});
  return true;
}

#endif // FERRITE_TOOLS_DEV_BENCH_KERNELTIME_H
