//===- Passes.h - Weights and inputs of few bits ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_PASSES_H
#define FERRITE_PASSES_QUANTIZATION_PASSES_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ferrite {
/// Of a linear that is to be quantized: a format of the grammar of --quantize.
inline constexpr llvm::StringLiteral kFormatAttr = "ferrite.format";

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Quantization/Passes.h.inc"
} // namespace ferrite

#endif // FERRITE_PASSES_QUANTIZATION_PASSES_H
