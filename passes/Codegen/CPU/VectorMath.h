//===- VectorMath.h - Elementary functions on registers ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// exp, erf, tanh and their kin as polynomials: a call of libm would leave the
// vector, and no library of ours is shipped. Each function takes an f32 scalar
// or 1-D vector of any length and gives the same type. `scalef` says that the
// target has vscalefps (AVX-512); it only changes how a power of two is made.
//
// Infinities, NaN and overflow behave as in libm unless a function says
// otherwise. The errors stated here are tested (VectorMathTest.cpp) against
// libm in double, in units in the last place of the f32 result.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_VECTORMATH_H
#define FERRITE_PASSES_CODEGEN_CPU_VECTORMATH_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"

namespace ferrite::cpu {

/// e^x within 1.1 ulp; denormal results are rounded once (AVX-512) or within
/// an ulp of the denormal (AVX2).
mlir::Value emitExp(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                    bool scalef);
/// 2^t for t <= 0 or NaN within 2.5 ulp, made for softmax: exactly 0 below
/// 2^-126, so a masked score has no weight at all and no denormal slows the
/// product after it.
mlir::Value emitSoftmaxExp2(mlir::OpBuilder &b, mlir::Location loc,
                            mlir::Value t, bool scalef);
/// Within 1e-7, and 2.5e-7 of the result.
mlir::Value emitErf(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                    bool scalef);
/// Within 1.5e-7, and 3e-7 of the result.
mlir::Value emitTanh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                     bool scalef);
/// 1 / (1 + e^-x) within 3 ulp.
mlir::Value emitSigmoid(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                        bool scalef);
/// Natural logarithm within 1.5 ulp.
mlir::Value emitLog(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// Within 1.5e-7 for |x| <= 1e5, the positions of rotary embeddings; without
/// meaning (but within [-1, 1]) beyond 1e6, where f32 has few angles left.
mlir::Value emitSin(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value emitCos(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// 1 / sqrt(x), correctly rounded twice.
mlir::Value emitRsqrt(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// x^y through 2^(y log2 x): relative error 2e-7 * (1 + |y|). Negative x needs
/// an integer y. Exponents known to be 2, 3 or 0.5 deserve a product or a root.
mlir::Value emitPow(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                    mlir::Value y, bool scalef);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_VECTORMATH_H
