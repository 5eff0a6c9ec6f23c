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

/// An architecture: what all of its levels share. An artifact is for one.
struct CpuMachine {
  /// As users name it: "x86-64", "AArch64".
  llvm::StringRef name;
  /// The triple and the data layout of every module. Without them LLVM expands
  /// memset into a loop of bytes (codegen.md 3.4).
  llvm::StringRef triple;
  llvm::StringRef dataLayout;
  /// A CPU whose code runs on all of them: for tables and thunks.
  llvm::StringRef baselineCpu;
  /// e_machine of its ELF files.
  uint16_t elfMachine;
  /// The one path of the dynamic loader that its ABI knows.
  llvm::StringRef loader;
  /// sh_flags of a section that may lie further from code than a branch or an
  /// address of code reaches.
  uint64_t largeSection;
  /// Whether all of its levels multiply 16 bits and add pairs (vpmaddwd).
  bool hasPairSums;
  /// Whether its dot products are of unsigned bytes times signed ones.
  bool hasMixedDots;
};

/// How a level adds up products of bytes, unsigned by signed, exactly.
enum class ByteDot {
  Ones,   ///< one after another, in lanes of 32 bits: for any machine
  Pairs,  ///< vpmaddwd of bytes widened to 16 bits, and an addition
  Fours,  ///< vpdpbusd: four products and their sum in one instruction
  Signed, ///< sdot: the same of signed bytes alone
  Blocks, ///< usmmla: two rows times two columns, eight products each
};

/// What an emitter may use where a level has it. Kernels that ask for none of
/// them are the same at a level and at its base.
enum class Instruction : unsigned {
  DotI8,    ///< vpdpbusd; sdot
  MatrixI8, ///< usmmla
  DotBF16,  ///< vdpbf16ps on zmm, where it is faster than f32 FMAs
  FmaF16,   ///< vfmadd..ph on zmm
  TileBF16, ///< tdpbf16ps
  TileI8,   ///< tdpbusd
};

struct CpuLevel {
  const CpuMachine *machine;
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
  /// The level that this one equals but in `instructions`; empty for none.
  /// Kernels that use none of them have that level's code.
  llvm::StringRef refines = {};
  /// Bits of Instruction.
  unsigned instructions = 0;
  /// Whether an artifact has it when no levels are named. README.md says why.
  bool byDefault = true;
  /// Tiles are memory and f16 is widened for each FMA: for tests on machines
  /// without the instructions.
  bool imitates = false;

  bool has(Instruction instruction) const {
    return instructions >> unsigned(instruction) & 1;
  }

  ByteDot byteDot() const {
    if (has(Instruction::MatrixI8))
      return ByteDot::Blocks;
    if (has(Instruction::DotI8))
      return machine->hasMixedDots ? ByteDot::Fours : ByteDot::Signed;
    return machine->hasPairSums ? ByteDot::Pairs : ByteDot::Ones;
  }
  /// Of signed bytes of rows and unsigned ones of columns that fill all eight
  /// bits, which dots of signed bytes cannot take.
  ByteDot mixedDot() const {
    if (has(Instruction::DotI8) && machine->hasMixedDots)
      return ByteDot::Fours;
    return machine->hasPairSums ? ByteDot::Pairs : ByteDot::Ones;
  }
  unsigned vectorBits() const { return lanes * 32; }
  bool isAvx512() const { return lanes == 16; }
  bool isFor(const CpuMachine &other) const { return machine == &other; }
};

/// The architecture we run on.
const CpuMachine &hostMachine();

/// All levels, those of one architecture together and worst first.
llvm::ArrayRef<CpuLevel> cpuLevels();

/// The level of that name, or null.
const CpuLevel *findCpuLevel(llvm::StringRef name);

/// The lowest level whose code is the same as this one's, for a kernel that
/// uses these instructions (KernelBuilder::usedInstructions).
const CpuLevel &codeLevel(const CpuLevel &level, unsigned used);

/// The FERRITE_CPU_ bits of the machine we run on.
uint64_t hostCpuFeatures();

/// Whether this machine can run code of the level.
inline bool hostHasLevel(const CpuLevel &level) {
  return level.isFor(hostMachine()) &&
         (level.features & ~hostCpuFeatures()) == 0;
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_CPULEVEL_H
