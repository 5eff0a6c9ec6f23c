//===- VectorMath64.h - Elementary functions of f64 -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The functions of VectorMath.h for f64 scalars and registers, and the ones
// that are too rare to have an f32 form: those of f32, f16 and bf16 are
// computed here and rounded once. Infinities, NaN and overflow behave as in
// libm. The errors are tested (VectorMath64Test.cpp) against libm in long
// double, in units in the last place of the f64 result.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_VECTORMATH64_H
#define FERRITE_PASSES_CODEGEN_CPU_VECTORMATH64_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"

namespace ferrite::cpu::wide {

using mlir::Location;
using mlir::OpBuilder;
using mlir::Value;

/// Within 1.1 ulp; denormal results are rounded twice.
Value emitExp(OpBuilder &b, Location loc, Value x);
/// e^x - 1 and log(1 + x), small for small x, within 3 ulp.
Value emitExpm1(OpBuilder &b, Location loc, Value x);
Value emitLog1p(OpBuilder &b, Location loc, Value x);
/// Within 1.5 ulp.
Value emitLog(OpBuilder &b, Location loc, Value x);
/// Within 3 ulp.
Value emitErf(OpBuilder &b, Location loc, Value x);
/// Within 2.5e-16 for |x| <= 1e9; without meaning, but at most 1, beyond 1e15.
Value emitSin(OpBuilder &b, Location loc, Value x);
Value emitCos(OpBuilder &b, Location loc, Value x);
Value emitTan(OpBuilder &b, Location loc, Value x);
/// Within 5 ulp.
Value emitAsin(OpBuilder &b, Location loc, Value x);
Value emitAcos(OpBuilder &b, Location loc, Value x);
Value emitAtan(OpBuilder &b, Location loc, Value x);
Value emitSinh(OpBuilder &b, Location loc, Value x);
Value emitCosh(OpBuilder &b, Location loc, Value x);
Value emitTanh(OpBuilder &b, Location loc, Value x);
Value emitAsinh(OpBuilder &b, Location loc, Value x);
Value emitAcosh(OpBuilder &b, Location loc, Value x);
Value emitAtanh(OpBuilder &b, Location loc, Value x);
/// Within 3 ulp. Negative x needs an integer y.
Value emitPow(OpBuilder &b, Location loc, Value x, Value y);
/// x - trunc(x / y) * y, exactly, with the sign of x: C's fmod. A loop, of one
/// turn where |x / y| < 2^52.
Value emitRemainder(OpBuilder &b, Location loc, Value x, Value y);

} // namespace ferrite::cpu::wide
#endif // FERRITE_PASSES_CODEGEN_CPU_VECTORMATH64_H
