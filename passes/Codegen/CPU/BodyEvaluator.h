//===- BodyEvaluator.h - A scalar body on registers -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A fused region is a block of scalar `arith` and `math` ops. This file writes
// the same block once more, on registers: every scalar type T becomes
// vector<lanes x T>, constants become splats, and what LLVM would hand to libm
// becomes our own polynomials (VectorMath.h). A block means what it says in the
// types it is written in: an op on f16 rounds to f16 (it is computed in f32
// and rounded once), an op on f32 does not.
//
// One op besides arith and math is known, by name and without its dialect:
// `ferrite.loop_index`, whose property `dim` names a loop, gives an i64 that
// the emitter supplies.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_BODYEVALUATOR_H
#define FERRITE_PASSES_CODEGEN_CPU_BODYEVALUATOR_H

#include "passes/Codegen/CPU/KernelBuilder.h"

#include <functional>

namespace ferrite::cpu {

inline constexpr llvm::StringLiteral kLoopIndexOp = "ferrite.loop_index";

struct BodyContext {
  /// Lanes of every value; 1 means scalars.
  unsigned lanes = 1;
  /// The index of a loop: an i64 scalar, or a register of `lanes` i64 in which
  /// it varies. Null where the body has no ferrite.loop_index.
  std::function<mlir::Value(int64_t dim)> loopIndex;
};

/// Evaluates `body` with `args` for its arguments and returns what its
/// terminator yields. Scalar arguments of a vector evaluation are broadcast.
/// Fails, with an error that names the op, on an op it does not know.
mlir::FailureOr<llvm::SmallVector<mlir::Value>>
emitBody(KernelBuilder &kb, mlir::Block &body, llvm::ArrayRef<mlir::Value> args,
         const BodyContext &context);

/// The same with as many lanes as the widest argument.
mlir::FailureOr<llvm::SmallVector<mlir::Value>>
emitBody(KernelBuilder &kb, mlir::Block &body,
         llvm::ArrayRef<mlir::Value> args);

/// Emits the error that emitBody() would, without building anything.
mlir::LogicalResult verifyBody(mlir::Block &body);

/// The ops of a body, where one that is a polynomial counts as ten.
unsigned bodyCost(mlir::Block &body);

/// Whether the body asks for the index of loop `dim`.
bool usesLoopIndex(mlir::Block &body, int64_t dim);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_BODYEVALUATOR_H
