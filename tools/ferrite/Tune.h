//===- Tune.h - The profile of this machine ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `ferrite tune` writes one JSON object:
//
//   { "ferrite_machine_profile": 1,
//     "cpu": "AMD EPYC 9R45",
//     "threads": 2,                          // "all" below
//     "caches": {"l1d": 49152, "l2": 1048576, "l3": 33554432}, // bytes; l1d
//                                    // and l2 of a core, l3 (or none) of all
//     "operations_per_second":       // a multiply-add is two
//       {"f32_512": {"one": 2.5e11, "all": 4.9e11}, ...},
//     "bytes_per_second":            // read, one stream each thread
//       {"l2": {"one": 2.5e11, "all": 4.8e11}, "l3": ..., "memory": ...} }
//
// Instructions: those of machine/Probes.cpp that the machine has, and loops of
// products that skip blocks ("i8_strip32_512"). The reader is
// lib/Support/MachineProfile.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_TUNE_H
#define FERRITE_TOOLS_FERRITE_TUNE_H

#include <string>

namespace ferrite::cli {

/// Where `tune` writes, and `compile` looks, when not told:
/// $XDG_CONFIG_HOME/ferrite/machine.json, else ~/.config/ferrite/machine.json;
/// "" without a home.
std::string defaultProfile();

/// defaultProfile(), when there is such a file; else "".
std::string tunedProfile();

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_TUNE_H
