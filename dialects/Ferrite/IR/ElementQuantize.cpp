//===- ElementQuantize.cpp - One element between numbers and few bits -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"

#include <algorithm>
#include <cmath>

using namespace ferrite;

float ferrite::dequantizeElement(Kind from, Element bits, Kind zeroKind,
                                 Element zero, double scale) {
  // Of integers of 32 bits the difference needs 33.
  float difference = isFloat(from) || isFloat(zeroKind)
                         ? static_cast<float>(toDouble(from, bits)) -
                               static_cast<float>(toDouble(zeroKind, zero))
                         : static_cast<float>(bits.i - zero.i);
  return difference * static_cast<float>(scale);
}

float ferrite::dequantizeCode(llvm::ArrayRef<float> codes, Element bits,
                              double scale) {
  return codes[static_cast<uint64_t>(bits.i) & (codes.size() - 1)] *
         static_cast<float>(scale);
}

Element ferrite::quantizeElement(Kind from, Element number, Kind scaleKind,
                                 Element scale, Kind to, Element zero,
                                 Kind precision, bool overflows) {
  double dividend = roundTo(precision, toDouble(from, number));
  double divisor = roundTo(precision, toDouble(scaleKind, scale));
  // 53 bits are enough for the quotient of two f32 to round twice unseen.
  double quotient = roundTo(precision, dividend / divisor);
  if (isFloat(to)) {
    double sum =
        roundTo(Kind::F32, roundTo(Kind::F32, quotient) + toDouble(to, zero));
    Element element;
    element.f = sum;
    return castElement(Kind::F32, element, to, overflows);
  }
  Element result;
  if (std::isnan(quotient))
    return result;
  int64_t most = (int64_t(1) << (bitsOf(to) - !isUnsignedKind(to))) - 1;
  int64_t least = isUnsignedKind(to) ? 0 : -most - 1;
  double rounded = std::nearbyint(quotient) + toDouble(to, zero);
  result.i = static_cast<int64_t>(std::clamp(
      rounded, static_cast<double>(least), static_cast<double>(most)));
  return result;
}
