//===- CpuLevel.cpp - The table of instruction sets -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A row is a promise to the runtime (the features) and advice to the emitters
// (all else). The tile sizes are measured: README.md has the figures.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/CpuLevel.h"

#include "ferrite/abi.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

using namespace ferrite::cpu;

// The tuning is znver4 at both levels: its scheduling model has two FMA pipes
// and no preference for 256 bits, which LLVM's generic v4 tuning has.
static const CpuLevel levels[] = {
    {"avx2", FERRITE_CPU_AVX2, "x86-64-v3", "znver4", "+prefer-256-bit",
     /*lanes=*/8, /*registers=*/16, /*rows=*/6, /*columns=*/2,
     /*l1Bytes=*/32 << 10, /*l2Bytes=*/512 << 10, /*prefetchBytes=*/8 << 10},
    {"avx512", FERRITE_CPU_AVX2 | FERRITE_CPU_AVX512, "x86-64-v4", "znver4",
     "-prefer-256-bit",
     /*lanes=*/16, /*registers=*/32, /*rows=*/6, /*columns=*/4,
     /*l1Bytes=*/32 << 10, /*l2Bytes=*/1 << 20, /*prefetchBytes=*/8 << 10},
};

llvm::ArrayRef<CpuLevel> ferrite::cpu::cpuLevels() { return levels; }

const CpuLevel *ferrite::cpu::findCpuLevel(llvm::StringRef name) {
  for (const CpuLevel &level : levels)
    if (level.name == name)
      return &level;
  return nullptr;
}

uint64_t ferrite::cpu::hostCpuFeatures() {
  llvm::StringMap<bool> found = llvm::sys::getHostCPUFeatures();
  auto all = [&](std::initializer_list<llvm::StringRef> names) {
    for (llvm::StringRef name : names)
      if (!found.lookup(name))
        return false;
    return true;
  };
  uint64_t bits = 0;
  if (all({"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"}))
    bits |= FERRITE_CPU_AVX2;
  if (all({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}))
    bits |= FERRITE_CPU_AVX512;
  if (all({"avx512vnni"}))
    bits |= FERRITE_CPU_AVX512_VNNI;
  if (all({"avx512bf16"}))
    bits |= FERRITE_CPU_AVX512_BF16;
  if (all({"avx512fp16"}))
    bits |= FERRITE_CPU_AVX512_FP16;
  if (all({"amx-tile", "amx-int8"}))
    bits |= FERRITE_CPU_AMX_INT8;
  if (all({"amx-tile", "amx-bf16"}))
    bits |= FERRITE_CPU_AMX_BF16;
  if (all({"avxvnni"}))
    bits |= FERRITE_CPU_AVX_VNNI;
  return bits;
}
