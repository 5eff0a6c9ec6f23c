//===- QuantizeScale.h - Factors between inputs and weights -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZESCALE_H
#define FERRITE_LIB_DRIVER_QUANTIZESCALE_H

#include "lib/Driver/QuantizeLayers.h"

namespace ferrite {

/// What calibration has found out about the input of some products.
struct InputFacts {
  double most = 0; ///< magnitude
  int64_t rows = 0;
  std::vector<float> largest;  ///< magnitude, of each k
  std::vector<double> sums;    ///< of magnitudes, of each k
  std::vector<double> squares; ///< the sums of them, of each k
  std::optional<SecondMoments> moments;
  bool isFinite = true;

  void add(const float *data, int64_t count, int64_t depth, bool wantsMoments,
           unsigned threads);
};

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
