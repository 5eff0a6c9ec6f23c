//===- QuantizeScale.h - Factors between inputs and weights -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZESCALE_H
#define FERRITE_LIB_DRIVER_QUANTIZESCALE_H

#include "lib/Driver/InputFacts.h"
#include "lib/Driver/QuantizeLayers.h"

namespace ferrite {

/// Lin et al., AWQ (2023): factors of the weights' rows, of the mean magnitude
/// of the input to a power that is searched for the least error of the
/// products.
mlir::FailureOr<std::vector<float>>
findAwqFactors(llvm::ArrayRef<QuantLayer *> layers, InputFacts &facts,
               ModelFolder &folder, unsigned threads);

/// Xiao et al., SmoothQuant (2022): the square root of the largest input over
/// that of the largest weight, so that both are as hard to round.
mlir::FailureOr<std::vector<float>>
findSmoothFactors(llvm::ArrayRef<QuantLayer *> layers, const InputFacts &facts,
                  ModelFolder &folder, unsigned threads);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZESCALE_H
