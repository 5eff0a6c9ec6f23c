//===- CpuLevel.h - The instruction sets we make code for -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One row per ISA level. The emitters are the same for every level: all that
// they may ask is in the row. An artifact holds the code of several levels and
// the runtime takes the best one that the machine has.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_CPULEVEL_H
#define FERRITE_PASSES_CODEGEN_CPU_CPULEVEL_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace ferrite::cpu {

/// The triple and the data layout of every kernel module. Without them LLVM
/// expands memset into a loop of bytes (codegen.md 3.4).
inline constexpr llvm::StringLiteral kTargetTriple = "x86_64-unknown-linux-gnu";
inline constexpr llvm::StringLiteral kDataLayout =
    "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64"
    "-S128";

struct CpuLevel {
  /// What FERRITE_CPU and `--levels` call it, and FerriteAbiLevel::name.
  llvm::StringRef name;
  /// FERRITE_CPU_ bits of abi.h that the machine must have.
  uint64_t features;
  /// The `target-cpu`, `tune-cpu` and `target-features` of each function.
  llvm::StringRef cpu;
  llvm::StringRef tuneCpu;
  llvm::StringRef targetFeatures;
  /// f32 values in one vector register, and the number of such registers.
  unsigned lanes;
  unsigned registers;
  /// The largest register tile of a matrix product: rows, and columns counted
  /// in registers. rows * columns accumulators, `columns` registers of B and
  /// one broadcast of A fit the register file.
  unsigned rows;
  unsigned columns;
  /// The cache a core has to itself, for the choice of tiles.
  int64_t l1Bytes;
  int64_t l2Bytes;
  /// How far ahead a kernel that streams its weights once prefetches them.
  int64_t prefetchBytes;

  unsigned vectorBits() const { return lanes * 32; }
  bool isAvx512() const { return lanes == 16; }
};

/// All levels, worst first.
llvm::ArrayRef<CpuLevel> cpuLevels();

/// The level of that name, or null.
const CpuLevel *findCpuLevel(llvm::StringRef name);

/// The FERRITE_CPU_ bits of the machine we run on.
uint64_t hostCpuFeatures();

/// Whether this machine can run code of the level.
inline bool hostHasLevel(const CpuLevel &level) {
  return (level.features & ~hostCpuFeatures()) == 0;
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_CPULEVEL_H
