//===- Passes.h - Passes of the family Verify -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_VERIFY_PASSES_H
#define FERRITE_PASSES_VERIFY_PASSES_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace ferrite {
#define GEN_PASS_DECL
#include "passes/Verify/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

#endif // FERRITE_PASSES_VERIFY_PASSES_H
