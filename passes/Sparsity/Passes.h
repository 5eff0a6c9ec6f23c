//===- Passes.h - Less of attention -----------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_PASSES_H
#define FERRITE_PASSES_SPARSITY_PASSES_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ferrite {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Sparsity/Passes.h.inc"
} // namespace ferrite

#endif // FERRITE_PASSES_SPARSITY_PASSES_H
