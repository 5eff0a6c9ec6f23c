//===- Caches.h - The sizes of the caches of this machine -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_MACHINE_CACHES_H
#define FERRITE_TOOLS_FERRITE_MACHINE_CACHES_H

#include <cstdint>
#include <string>

namespace ferrite::machine {

/// In bytes. What the system does not tell is a common core's; l3: 0.
struct Caches {
  int64_t l1d = 32 << 10, l2 = 512 << 10, l3 = 0;
};
Caches caches();

/// "AMD EPYC 9R45", or "unknown".
std::string cpuName();

} // namespace ferrite::machine
#endif // FERRITE_TOOLS_FERRITE_MACHINE_CACHES_H
