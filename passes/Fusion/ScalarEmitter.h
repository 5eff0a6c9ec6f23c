//===- ScalarEmitter.h - A tensor op as scalar ops --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Writes one elementwise ferrite op as scalar `arith` and `math` ops of a body.
// Inside a body an f16 or bf16 value is held in f32 from where it is read to
// where the body yields: a chain of ops is rounded once, not once per op. The
// types of the tensors are met at its edges, with load() and store(). Signs are
// the ops', not the values': a body has getBodyType() of each element type.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_SCALAREMITTER_H
#define FERRITE_PASSES_FUSION_SCALAREMITTER_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

/// The type in which a body holds elements of `element`.
mlir::Type heldType(mlir::Type element);

/// Null when `op` has a scalar form, or the reason why not.
const char *whyNotScalar(mlir::Operation *op);

/// `op` on held values, as a held value. whyNotScalar(op) is null.
mlir::Value emitScalar(mlir::OpBuilder &builder, mlir::Operation *op,
                       llvm::ArrayRef<mlir::Value> operands);

/// An argument of the body that stands for an `element`, held.
mlir::Value emitLoad(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value argument, mlir::Type element);
/// A held value as `element`, to be yielded.
mlir::Value emitStore(mlir::OpBuilder &builder, mlir::Location loc,
                      mlir::Value held, mlir::Type element);
/// A constant of the held type of `element`.
mlir::Value emitConstant(mlir::OpBuilder &builder, mlir::Location loc,
                         mlir::Type element, double value);
/// Whether emitSplat() has an answer.
bool isSplat(mlir::Value tensor);
/// The element that a splat constant has, held. Null if `tensor` is none.
mlir::Value emitSplat(mlir::OpBuilder &builder, mlir::Location loc,
                      mlir::Value tensor);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_SCALAREMITTER_H
