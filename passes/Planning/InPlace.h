//===- InPlace.h - Results that take the memory of operands -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_PLANNING_INPLACE_H
#define FERRITE_PASSES_PLANNING_INPLACE_H

#include "dialects/Plan/IR/Plan.h"

namespace ferrite {

/// Whether every emitter reads element i of the operand before it writes
/// element i of the only result, reads it nowhere else, and in no other unit:
/// then both may be one memory, given equal layouts.
bool canOverwrite(plan::KernelOp kernel, unsigned operand);

/// Lets a launch write its result over a buffer that it is the last to read,
/// where it may: the residual stream of a transformer then stays in one place.
/// The layouts of such kernels are marked `alias`.
void writeInPlace(plan::EntryOp entry);

} // namespace ferrite
#endif // FERRITE_PASSES_PLANNING_INPLACE_H
