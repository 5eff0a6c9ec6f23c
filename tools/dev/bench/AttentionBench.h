//===- AttentionBench.h - Parts of ferrite-attention-bench ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_DEV_BENCH_ATTENTIONBENCH_H
#define FERRITE_TOOLS_DEV_BENCH_ATTENTIONBENCH_H

#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace ferrite {

/// --select=TOKENS.
void benchSelection(llvm::StringRef level, int64_t depth, int64_t tokens);

} // namespace ferrite
#endif // FERRITE_TOOLS_DEV_BENCH_ATTENTIONBENCH_H
