//===- Lifetimes.h - When the buffers of an entry live --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_PLANNING_LIFETIMES_H
#define FERRITE_PASSES_PLANNING_LIFETIMES_H

#include "dialects/Plan/IR/Plan.h"
#include "passes/Planning/ArenaPlan.h"

namespace ferrite {

/// The buffers of an entry with their sizes, and the first and last launch that
/// names each (0 when none does); offsets are not filled in. An error at a
/// buffer whose size is none.
mlir::FailureOr<std::vector<std::pair<plan::BufferOp, ArenaBuffer>>>
findLifetimes(plan::EntryOp entry);

} // namespace ferrite
#endif // FERRITE_PASSES_PLANNING_LIFETIMES_H
