//===- ScalarCasts.h - Conversions as scalar ops ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_SCALARCASTS_H
#define FERRITE_PASSES_FUSION_SCALARCASTS_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

/// `ferrite.cast` of a held value of `from` to a held value of `to`.
mlir::Value emitCast(mlir::OpBuilder &b, mlir::Location loc, mlir::Value held,
                     mlir::Type from, mlir::Type to, bool overflows,
                     Rounding rounding);

/// The f32 that the bits of a tiny float (an i8) mean.
mlir::Value decodeTiny(mlir::OpBuilder &b, mlir::Location loc, mlir::Value bits,
                       mlir::Type element);
/// The bits of an f32 that the tiny float has.
mlir::Value encodeTiny(mlir::OpBuilder &b, mlir::Location loc,
                       mlir::Value value, mlir::Type element);
/// An i8 whose low bits are a tiny integer, extended from them.
mlir::Value extendTiny(mlir::OpBuilder &b, mlir::Location loc, mlir::Value byte,
                       mlir::Type element);

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_SCALARCASTS_H
