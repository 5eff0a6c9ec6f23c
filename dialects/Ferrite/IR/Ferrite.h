//===- Ferrite.h - The one header of the ferrite dialect --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_FERRITE_IR_FERRITE_H
#define FERRITE_DIALECTS_FERRITE_IR_FERRITE_H

#include "dialects/Ferrite/IR/DimExpr.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Traits.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Ferrite/IR/FerriteDialect.h.inc"
#include "dialects/Ferrite/IR/FerriteEnums.h.inc"
#include "dialects/Ferrite/IR/FerriteInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Ferrite/IR/FerriteAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Ferrite/IR/FerriteOps.h.inc"

namespace ferrite {

/// Discardable attributes of an entry function (see the dialect's description).
inline constexpr llvm::StringLiteral kSymbolsAttr = "ferrite.symbols";
inline constexpr llvm::StringLiteral kNameAttr = "ferrite.name";
inline constexpr llvm::StringLiteral kDimsAttr = "ferrite.dims";
/// On a function: it is a step. On its arguments: a #ferrite.state.
inline constexpr llvm::StringLiteral kStepAttr = "ferrite.step";
/// On a function: its results are the states of group 1 of the step.
inline constexpr llvm::StringLiteral kEncodeAttr = "ferrite.encode";
inline constexpr llvm::StringLiteral kStateAttr = "ferrite.state";

//===--- element types (ElementTypes.cpp) ---------------------------------===//

/// A float of 8 bits or fewer: stored, moved and converted, computed in never.
bool isTinyFloat(mlir::Type element);
/// An integer of 2 or 4 bits. A file packs them, low bits first; everywhere
/// else each has a byte, in which the high bits mean nothing when it is read
/// and extend the value when it is written.
bool isTinyInteger(mlir::Type element);
/// Whether arithmetic on `element` is that of unsigned integers; i1 counts.
bool isUnsignedElement(mlir::Type element);
/// The type under which the bodies of `fused` and `linear` know an element: no
/// integer has a sign there, tiny integers are i8, and tiny floats are the i8
/// of their bits, which the body decodes.
mlir::Type getBodyType(mlir::Type element);

namespace detail {
/// Dims of an elementwise op: NumPy broadcasting of all operands.
llvm::LogicalResult inferBroadcast(mlir::Operation *op,
                                   llvm::ArrayRef<Dims> operands,
                                   llvm::SmallVectorImpl<Dims> &results);
/// Whether a result type agrees with inferred static sizes.
llvm::LogicalResult verifyElementwise(mlir::Operation *op);
/// The dims of a tensor type as far as the type alone knows them; a `?` becomes
/// the unnamed symbol `?`, which equals only itself in position.
Dims dimsOfType(mlir::Type type);
} // namespace detail
} // namespace ferrite

#endif // FERRITE_DIALECTS_FERRITE_IR_FERRITE_H
