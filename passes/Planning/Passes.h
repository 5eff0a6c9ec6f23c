//===- Passes.h - Planning: memory and order -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_PLANNING_PASSES_H
#define FERRITE_PASSES_PLANNING_PASSES_H

#include "dialects/Plan/IR/Plan.h"
#include "mlir/Pass/Pass.h"

namespace ferrite {
#define GEN_PASS_DECL
#include "passes/Planning/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Planning/Passes.h.inc"
} // namespace ferrite

#endif // FERRITE_PASSES_PLANNING_PASSES_H
