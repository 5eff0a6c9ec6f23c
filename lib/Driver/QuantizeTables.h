//===- QuantizeTables.h - Tables of rows as bytes ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZETABLES_H
#define FERRITE_LIB_DRIVER_QUANTIZETABLES_H

#include "lib/Driver/QuantizeLayers.h"

namespace ferrite {

/// Stores the tables of the gathers that --ferrite-choose-formats has marked as
/// bytes in `file`, and lets those read them. What became of each is added to
/// `records`.
mlir::LogicalResult quantizeTables(mlir::ModuleOp module, ModelFolder &folder,
                                   SideFile &file, mlir::StringRef fileName,
                                   unsigned threads,
                                   std::vector<LayerRecord> &records);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZETABLES_H
