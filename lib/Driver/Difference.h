//===- Difference.h - How far two tensors are apart -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_DIFFERENCE_H
#define FERRITE_LIB_DRIVER_DIFFERENCE_H

#include <cmath>
#include <limits>

namespace ferrite {

/// How far `got` is from `expected`, elements as doubles.
struct Difference {
  double relativeL2 = 0, maxAbs = 0; ///< NaN: something is not finite
  /// Equal elements that are no numbers count as no error.
  void add(double expected, double got) {
    bool isSame = expected == got || (std::isnan(expected) && std::isnan(got));
    if (std::isfinite(expected))
      squares += expected * expected;
    if (isSame)
      return;
    double error = got - expected;
    isFinite = isFinite && std::isfinite(error);
    errors += error * error;
    maxAbs = std::fmax(maxAbs, std::abs(error));
  }
  void finish() {
    relativeL2 =
        errors == 0 ? 0 : std::sqrt(errors / squares); // of nothing: infinite
    if (!isFinite || !std::isfinite(relativeL2))
      relativeL2 = maxAbs = std::numeric_limits<double>::quiet_NaN();
  }

private:
  double squares = 0, errors = 0;
  bool isFinite = true;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_DIFFERENCE_H
