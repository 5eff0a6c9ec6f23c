//===- QuantizeExperts.h - Weights of experts in few bits -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZEEXPERTS_H
#define FERRITE_LIB_DRIVER_QUANTIZEEXPERTS_H

#include "lib/Driver/QuantizeLayers.h"

namespace ferrite {

/// Rounds the weights of the products of experts that --ferrite-choose-formats
/// has marked to the nearest, into `file`, one expert after the other, and lets
/// the products read them; inputs are rounded as the formats say. Those whose
/// relative error is above `mostError` become eight bits, and then wide. What
/// became of each is added to `records`.
mlir::LogicalResult quantizeExperts(mlir::ModuleOp module, ModelFolder &folder,
                                    SideFile &file, mlir::StringRef fileName,
                                    double mostError, unsigned threads,
                                    std::vector<LayerRecord> &records);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZEEXPERTS_H
