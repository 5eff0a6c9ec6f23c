//===- QuantizeScores.h - What scores of bytes lose -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZESCORES_H
#define FERRITE_LIB_DRIVER_QUANTIZESCORES_H

#include "lib/Driver/Calibration.h"

namespace ferrite {

/// Adds a record for each attention of `entry` whose scores are of bytes
/// (kScoresAttr): how far its result is from that of float code, with those
/// before it of bytes, too. Without batches the records say that nobody knows.
mlir::LogicalResult measureScores(mlir::func::FuncOp entry,
                                  llvm::ArrayRef<Batch> batches,
                                  const DriverOptions &options,
                                  mlir::Location loc,
                                  std::vector<LayerRecord> &records);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZESCORES_H
