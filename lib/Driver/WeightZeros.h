//===- WeightZeros.h - Which zeros the weights of a model have --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_WEIGHTZEROS_H
#define FERRITE_LIB_DRIVER_WEIGHTZEROS_H

#include "lib/Driver/Compile.h"
#include "lib/Quantization/StoredColumns.h"
#include "passes/Codegen/CPU/CpuLevel.h"

namespace ferrite {

struct ZeroCounts {
  int64_t numbers = 0, zeros = 0, fours = 0, fullFours = 0;
  /// Blocks of 16 and 32 columns by 4 and 1 of K, and those of zeros.
  int64_t blocks[2][2] = {}, zeroBlocks[2][2] = {};

  /// Whether 2 of each 4 along K are zeros, or more.
  bool isTwoOfFour(int64_t depth) const {
    return fours > 0 && fullFours == 0 && depth % 4 == 0;
  }
  void add(const ZeroCounts &other);
};

/// Nothing where some columns have hardly any zeros; `blocksAlone`: blocks.
ZeroCounts countZeros(const StoredColumns &weight, unsigned threads,
                      bool blocksAlone = false);

/// Lets linears skip blocks of zeros where that is predicted to be faster, with
/// code for `levels`. The record's rows of weights with zeros say what became
/// of each, and why.
mlir::LogicalResult chooseSparse(mlir::ModuleOp module,
                                 const DriverOptions &options,
                                 llvm::ArrayRef<const cpu::CpuLevel *> levels,
                                 CompileRecord &record);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_WEIGHTZEROS_H
