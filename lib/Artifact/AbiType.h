//===- AbiType.h - Element types in the ABI ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_ABITYPE_H
#define FERRITE_LIB_ARTIFACT_ABITYPE_H

#include "mlir/IR/Location.h"
#include "mlir/IR/Types.h"
#include "mlir/Support/LLVM.h"

namespace ferrite {

/// The FERRITE_ number of an element type; an error at `loc` for one that the
/// ABI has not.
mlir::FailureOr<int32_t> abiType(mlir::Type type, mlir::Location loc);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_ABITYPE_H
