//===- CpuLevel.cpp - The table of instruction sets -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A row is a promise to the runtime (the features) and advice to the emitters
// (all else). The tile sizes are measured: README.md has the figures.
//
// bf16 dots are a matter of the microarchitecture, not of CPUID's bit: AMD does
// them at twice the rate of f32 FMAs, Emerald Rapids at half of it. So the row
// avx512_bf16 asks for FAST_BF16_DOT, and Intel's machines keep bf16 in memory
// and compute in f32 (or in tiles).
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/CpuLevel.h"

#include "ferrite/abi.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

using namespace ferrite::cpu;

static const CpuMachine x86 = {
    "x86-64",
    "x86_64-unknown-linux-gnu",
    "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64"
    "-S128",
    "x86-64",
    llvm::ELF::EM_X86_64,
    "/lib64/ld-linux-x86-64.so.2",
    llvm::ELF::SHF_X86_64_LARGE,
    /*hasPairSums=*/true,
    /*hasMixedDots=*/true};
static const CpuMachine aarch64 = {
    "AArch64",
    "aarch64-unknown-linux-gnu",
    "e-m:e-p270:32:32-p271:32:32-p272:64:64-i8:8:32-i16:16:32-i64:64-i128:128"
    "-n32:64-S128-Fn32",
    "generic",
    llvm::ELF::EM_AARCH64,
    "/lib/ld-linux-aarch64.so.1",
    0,
    /*hasPairSums=*/false,
    /*hasMixedDots=*/false};

static constexpr unsigned bit(Instruction i) { return 1u << unsigned(i); }
static constexpr uint64_t kAvx512 = FERRITE_CPU_AVX2 | FERRITE_CPU_AVX512;
static constexpr uint64_t kVnni = kAvx512 | FERRITE_CPU_AVX512_VNNI;

/// What all rows with 512 bits share.
static constexpr CpuLevel wide(llvm::StringRef name, uint64_t features,
                               llvm::StringRef targetFeatures,
                               llvm::StringRef refines, unsigned instructions,
                               bool byDefault) {
  return {&x86,
          name,
          features,
          "x86-64-v4",
          "znver4",
          targetFeatures,
          /*lanes=*/16,
          /*registers=*/32,
          /*rows=*/6,
          /*columns=*/4,
          /*l1Bytes=*/32 << 10,
          /*l2Bytes=*/1 << 20,
          /*prefetchBytes=*/8 << 10,
          refines,
          instructions,
          byDefault};
}

/// What all rows of AArch64 share.
static constexpr CpuLevel neon(llvm::StringRef name, uint64_t features,
                               llvm::StringRef targetFeatures,
                               llvm::StringRef refines, unsigned instructions) {
  return {&aarch64,
          name,
          FERRITE_CPU_NEON | features,
          "generic",
          "neoverse-n1",
          targetFeatures,
          /*lanes=*/4,
          /*registers=*/32,
          /*rows=*/6,
          /*columns=*/4,
          /*l1Bytes=*/64 << 10,
          /*l2Bytes=*/512 << 10,
          /*prefetchBytes=*/8 << 10,
          refines,
          instructions};
}

// The tuning is znver4 at both levels of x86-64: its scheduling model has two
// FMA pipes and no preference for 256 bits, which LLVM's generic v4 tuning has.
// Neon has registers for 6 x 16 like AVX2, whose slices of a panel it shares:
// 24 accumulators, 4 of B, and broadcasts. Its caches are those of Arm's
// Neoverse N1, the smallest of the servers'.
static const CpuLevel levels[] = {
    {&x86, "avx2", FERRITE_CPU_AVX2, "x86-64-v3", "znver4", "+prefer-256-bit",
     /*lanes=*/8, /*registers=*/16, /*rows=*/6, /*columns=*/2,
     /*l1Bytes=*/32 << 10, /*l2Bytes=*/512 << 10, /*prefetchBytes=*/8 << 10},
    {&x86, "avx2_vnni", FERRITE_CPU_AVX2 | FERRITE_CPU_AVX_VNNI, "x86-64-v3",
     "znver4", "+prefer-256-bit,+avxvnni",
     /*lanes=*/8, /*registers=*/16, /*rows=*/6, /*columns=*/2,
     /*l1Bytes=*/32 << 10, /*l2Bytes=*/512 << 10, /*prefetchBytes=*/8 << 10,
     /*refines=*/"avx2", bit(Instruction::DotI8)},
    wide("avx512", kAvx512, "-prefer-256-bit", "", 0, true),
    wide("avx512_vnni", kVnni, "-prefer-256-bit,+avx512vnni", "avx512",
         bit(Instruction::DotI8), true),
    wide("avx512_bf16",
         kVnni | FERRITE_CPU_AVX512_BF16 | FERRITE_CPU_FAST_BF16_DOT,
         "-prefer-256-bit,+avx512vnni,+avx512bf16", "avx512_vnni",
         bit(Instruction::DotI8) | bit(Instruction::DotBF16), true),
    // Not by default: its sums have fewer bits than the model asks for.
    wide("avx512_fp16", kVnni | FERRITE_CPU_AVX512_FP16,
         "-prefer-256-bit,+avx512vnni,+avx512fp16", "avx512_vnni",
         bit(Instruction::DotI8) | bit(Instruction::FmaF16), false),
    // Not by default: it never ran on a machine that has it (README.md).
    wide("amx", kVnni | FERRITE_CPU_AMX_BF16 | FERRITE_CPU_AMX_INT8,
         "-prefer-256-bit,+avx512vnni,+amx-tile,+amx-bf16,+amx-int8",
         "avx512_vnni",
         bit(Instruction::DotI8) | bit(Instruction::TileBF16) |
             bit(Instruction::TileI8),
         false),
    neon("neon", 0, "+neon", "", 0),
    neon("neon_dot", FERRITE_CPU_NEON_DOT, "+neon,+dotprod", "neon",
         bit(Instruction::DotI8)),
    // Each CPU that multiplies matrices has the dot products.
    neon("neon_i8mm", FERRITE_CPU_NEON_DOT | FERRITE_CPU_NEON_I8MM,
         "+neon,+dotprod,+i8mm", "neon_dot",
         bit(Instruction::DotI8) | bit(Instruction::MatrixI8)),
};

const CpuMachine &ferrite::cpu::hostMachine() {
  bool arm = llvm::Triple(llvm::sys::getProcessTriple()).isAArch64();
  return arm ? aarch64 : x86;
}

llvm::ArrayRef<CpuLevel> ferrite::cpu::cpuLevels() { return levels; }

const CpuLevel *ferrite::cpu::findCpuLevel(llvm::StringRef name) {
  for (const CpuLevel &level : levels)
    if (level.name == name)
      return &level;
  return nullptr;
}

const CpuLevel &ferrite::cpu::codeLevel(const CpuLevel &level, unsigned used) {
  const CpuLevel *base = findCpuLevel(level.refines);
  return base && (used & ~base->instructions) == 0 ? codeLevel(*base, used)
                                                   : level;
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
  // As in the runtime: AMD's are fast.
  if (all({"avx512bf16"}) && llvm::sys::getHostCPUName().starts_with("znver"))
    bits |= FERRITE_CPU_FAST_BF16_DOT;
  if (all({"avx512fp16"}))
    bits |= FERRITE_CPU_AVX512_FP16;
  if (all({"amx-tile", "amx-int8"}))
    bits |= FERRITE_CPU_AMX_INT8;
  if (all({"amx-tile", "amx-bf16"}))
    bits |= FERRITE_CPU_AMX_BF16;
  if (all({"avxvnni"}))
    bits |= FERRITE_CPU_AVX_VNNI;
  if (all({"neon"}))
    bits |= FERRITE_CPU_NEON;
  if (all({"dotprod"}))
    bits |= FERRITE_CPU_NEON_DOT;
  if (all({"i8mm"}))
    bits |= FERRITE_CPU_NEON_I8MM;
  return bits;
}
