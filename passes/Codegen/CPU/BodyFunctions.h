//===- BodyFunctions.h - The elementary functions of bodies -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_BODYFUNCTIONS_H
#define FERRITE_PASSES_CODEGEN_CPU_BODYFUNCTIONS_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

using BodyFunction = mlir::Value (*)(KernelBuilder &, mlir::Value);

/// What a `math` op of one operand is on registers of f32. Null for other ops,
/// and for those that only exist on f64.
BodyFunction narrowFunctionOf(mlir::Operation *op);
/// The same on registers of f64.
BodyFunction wideFunctionOf(mlir::Operation *op);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_BODYFUNCTIONS_H
