//===- Features.h - What this CPU can run -----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CPU_FEATURES_H
#define FERRITE_RUNTIME_CPU_FEATURES_H

#include "core/Error.h"

namespace ferrite::rt {

/// Whether this process may run code that needs `features`. Asks the kernel for
/// AMX state when, and only when, it is needed.
bool usableFeatures(uint64_t features);

/// Adds the names of the bits: "avx2, avx512", "none".
void addFeatures(Text &text, uint64_t features);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CPU_FEATURES_H
