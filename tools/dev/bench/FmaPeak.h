//===- FmaPeak.h - The f32 peak of a core -----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
#define FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H

#include "machine/Probes.h"

/// Seconds this thread has run: a neighbour that takes the core is not counted
/// (one that takes the cache is).
inline double now() { return ferrite::machine::threadSeconds(); }

/// FLOP/s of one core with registers of so many lanes.
inline double peak(unsigned lanes) {
  return ferrite::machine::peak(*ferrite::machine::findInstruction(
      lanes == 16 ? "f32_512" : "f32_256"));
}

#endif // FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
