//===- ProductNames.h - What people call a product --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_PRODUCTNAMES_H
#define FERRITE_PASSES_QUANTIZATION_PRODUCTNAMES_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

/// The names that people may mean a product, or an attention, by: of the
/// weight, its sources' nodes and the op's.
llvm::SmallVector<llvm::StringRef> productNames(mlir::Operation *op);

} // namespace ferrite
#endif // FERRITE_PASSES_QUANTIZATION_PRODUCTNAMES_H
