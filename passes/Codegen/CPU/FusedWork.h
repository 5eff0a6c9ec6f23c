//===- FusedWork.h - How a fused kernel is cut into units -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// An item is what one turn of the outer loop computes: a row (or a piece of it)
// along the vector loop, or a strip of register transposes. A unit is enough
// items to be worth a worker's attention. Both are computed by the same code in
// @k.units and in @k, from sizes alone.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_FUSEDWORK_H
#define FERRITE_PASSES_CODEGEN_CPU_FUSEDWORK_H

#include "passes/Codegen/CPU/FusedPoint.h"

namespace ferrite::cpu {

struct FusedWork {
  FusedWork(KernelBuilder &kb, const FusedSpec &spec, const FusedLoops &loops,
            FusedPoint &point);
  /// The indices after `indices`, without a division.
  llvm::SmallVector<mlir::Value> next(KernelBuilder &kb,
                                      mlir::ValueRange indices) const;

  /// Items have an index for each parallel loop, then the strip if they are
  /// strips, then the piece if the vector loop is cut.
  llvm::SmallVector<mlir::Value> sizes;
  mlir::Value items, perUnit;
  /// The size of a piece. Null: an item has the whole vector loop.
  mlir::Value piece;
  bool strips = false;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_FUSEDWORK_H
