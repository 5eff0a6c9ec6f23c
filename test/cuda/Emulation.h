//===- Emulation.h - Blocks of a kernel as fibers ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_CUDA_EMULATION_H
#define FERRITE_TEST_CUDA_EMULATION_H

#include <stddef.h>
#include <string>

struct FerriteMachine;

struct EmulatedLaunch {
  void (*function)();
  unsigned grid, threads;
  size_t sharedBytes;
  const void *parameters;
  FerriteMachine **machine; ///< the variable that the kernels' code reads
};

/// Runs all blocks; empty, or what went wrong.
std::string emulateLaunch(const EmulatedLaunch &launch);

#endif // FERRITE_TEST_CUDA_EMULATION_H
