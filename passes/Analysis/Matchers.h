//===- Matchers.h - What passes ask of values -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_MATCHERS_H
#define FERRITE_PASSES_ANALYSIS_MATCHERS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/Remarks.h"
#include <optional>

namespace ferrite {

/// Completes a match or says why there is none; always fails.
using Reject =
    llvm::function_ref<llvm::LogicalResult(const llvm::Twine &reason)>;

/// The one value that all elements of a constant have, as a double; seen
/// through views, broadcasts, transposes and float casts.
std::optional<double> getSplat(mlir::Value value);
/// Whether that value is within 1 part in 1000 of `expected` (the roundings of
/// f16 exports; no two constants of textbook formulas are that close).
bool isSplatNear(mlir::Value value, double expected);
bool isNear(double value, double expected, double tolerance = 1e-3);

/// An arith.constant or a ferrite.weight.
bool isWeightOrConstant(mlir::Value value);
/// The element type of a tensor.
mlir::Type elementTypeOf(mlir::Value value);
/// f16 or bf16.
bool isShortFloat(mlir::Type type);
mlir::RankedTensorType typeOf(mlir::Value value);

/// The other operand of a commutative or binary op whose operand is `one`.
mlir::Value otherOperand(mlir::Operation *op, mlir::Value one);

/// The locations of `root` and of all it is computed from, down to `leaves`
/// (exclusive) and to constants and weights.
mlir::Location locOf(mlir::Operation *root, mlir::ValueRange leaves);

/// Reports at the op's node that it stayed as it was, and why.
void reportMissed(mlir::Operation *op, llvm::StringRef pass,
                  const llvm::Twine &reason);
void reportPassed(mlir::Location loc, llvm::StringRef pass,
                  llvm::StringRef what);

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_MATCHERS_H
