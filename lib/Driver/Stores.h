//===- Stores.h - Which launch stores which value ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_STORES_H
#define FERRITE_LIB_DRIVER_STORES_H

#include "ferrite/abi.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"

#include <string>

namespace ferrite {

/// The launch that stores the result of an op.
struct StoredValue {
  size_t launch = 0;
  unsigned argument = 0; ///< of the launch: the pointer to the result
  llvm::SmallVector<std::string>
      layout; ///< sizes, then strides, as expressions
};

/// Runs select and plan on a copy of a fused module and finds the launches of
/// an artifact's entry in the result. False when its launches are others: it
/// was compiled by another version or with other options.
bool findStores(mlir::ModuleOp fused, const FerriteAbiModel &model,
                size_t entryIndex,
                llvm::DenseMap<mlir::Value, StoredValue> &stored);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_STORES_H
