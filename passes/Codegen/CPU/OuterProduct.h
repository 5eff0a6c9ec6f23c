//===- OuterProduct.h - Registers of a step, multiplied ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_OUTERPRODUCT_H
#define FERRITE_PASSES_CODEGEN_CPU_OUTERPRODUCT_H

#include "passes/Codegen/CPU/MicroKernel.h"

namespace ferrite::cpu {

/// One step of a tile: each row's value, in all lanes, times each register of
/// columns. `loadB(c)` and `broadcastA(r)` load an operand, `multiplyAdd(a, b,
/// sum)` makes the new sum. What is held is the side of fewer registers;
/// columns, where both have as many.
template <typename LoadB, typename BroadcastA, typename MultiplyAdd>
void emitOuterProduct(const ProductTile &tile, LoadB loadB,
                      BroadcastA broadcastA, MultiplyAdd multiplyAdd,
                      llvm::SmallVector<mlir::Value> &sums) {
  auto multiply = [&](unsigned r, unsigned c, const auto &a, const auto &b) {
    mlir::Value &sum = sums[r * tile.columns + c];
    sum = multiplyAdd(a, b, sum);
  };
  if (tile.rows < tile.columns) {
    llvm::SmallVector<decltype(broadcastA(0u))> wide;
    for (unsigned r = 0; r < tile.rows; ++r)
      wide.push_back(broadcastA(r));
    for (unsigned c = 0; c < tile.columns; ++c) {
      auto loaded = loadB(c);
      for (unsigned r = 0; r < tile.rows; ++r)
        multiply(r, c, wide[r], loaded);
    }
    return;
  }
  llvm::SmallVector<decltype(loadB(0u))> loaded;
  for (unsigned c = 0; c < tile.columns; ++c)
    loaded.push_back(loadB(c));
  for (unsigned r = 0; r < tile.rows; ++r) {
    auto wide = broadcastA(r);
    for (unsigned c = 0; c < tile.columns; ++c)
      multiply(r, c, wide, loaded[c]);
  }
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_OUTERPRODUCT_H
