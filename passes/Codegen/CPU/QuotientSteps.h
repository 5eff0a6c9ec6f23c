//===- QuotientSteps.h - Division before rounding to bytes ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Quantization divides by a constant and rounds to a whole number that ends in
// few bits. A division keeps its unit busy for as long as ten FMAs take;
//
//   q = x * (1/s),  q + (x - q * s) * (1/s)
//
// is the same quotient but for some that lie next to the middle of two floats.
// Whether any whole number comes out different is decided here: both are
// monotone in x, so it is enough that each step between two whole numbers has
// the same first x.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_QUOTIENTSTEPS_H
#define FERRITE_PASSES_CODEGEN_CPU_QUOTIENTSTEPS_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Whether the division rounds to a whole number that is then clamped to at
/// most `kMostSteps` from 0, by a constant for which emitQuotient() gives the
/// same number for every x.
bool isSteppedQuotient(mlir::Operation *division);

/// x / divisor of such a division, before its rounding.
mlir::Value emitQuotient(KernelBuilder &kb, mlir::Value x, float divisor);

/// What emitQuotient() computes.
float steppedQuotient(float x, float divisor);
/// Whether it rounds as x / divisor does, up to kMostSteps from 0.
bool hasEqualSteps(float divisor);

/// Enough for bytes with any zero point.
inline constexpr int kMostSteps = 256;

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_QUOTIENTSTEPS_H
