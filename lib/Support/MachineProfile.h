//===- MachineProfile.h - What a machine can do -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Throughputs of instructions and read rates of the levels of memory: measured
// by `ferrite tune` (tools/ferrite/Tune.h has the format), or a built-in row
// for a microarchitecture. The compiler chooses by them between variants that
// compute the same, and predicts how long each launch takes.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_SUPPORT_MACHINEPROFILE_H
#define FERRITE_LIB_SUPPORT_MACHINEPROFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"

#include <string>

namespace ferrite {

struct MachineProfile {
  /// With one thread, and with all of the machine's.
  struct Rate {
    double one = 0, all = 0;
  };

  std::string name;
  int64_t threads = 1;
  int64_t l1Bytes = 0, l2Bytes = 0; ///< of a core
  int64_t l3Bytes = 0;              ///< of all; 0: none
  /// Operations a second, a multiply-add being two, by the name of the
  /// instruction in tools/ferrite/machine/Probes.cpp: "f32_512". Absent: the
  /// machine lacks it.
  llvm::StringMap<Rate> operations;
  /// Bytes a second.
  Rate l2, l3, memory;

  /// Reads what `ferrite tune` wrote. The file is not trusted.
  static llvm::Expected<MachineProfile> parse(llvm::StringRef json);
  /// "zen4", "zen5", "sapphire-rapids", "generic"; null for another name.
  static const MachineProfile *builtin(llvm::StringRef name);
  static std::string builtinNames();
  /// The built-in one of the CPU that we run on, or the generic one.
  static const MachineProfile &ofHost();

  /// The rate of the smallest level that holds so many bytes; nothing where it
  /// was not measured.
  const Rate &rateOf(int64_t bytes) const;
  /// How many times as many products a second a dot product of bf16 does as
  /// f32 multiply-adds of the same width; 0 without such an instruction. Below
  /// about 1.1 (Emerald Rapids: 0.5) bf16 is better widened to f32.
  double bf16DotGain() const;
};

} // namespace ferrite
#endif // FERRITE_LIB_SUPPORT_MACHINEPROFILE_H
