//===- ElementTypes.cpp - What element types mean -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;

bool ferrite::isTinyFloat(Type element) {
  return isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 8;
}

bool ferrite::isTinyInteger(Type element) {
  auto integer = dyn_cast<IntegerType>(element);
  return integer && (integer.getWidth() == 2 || integer.getWidth() == 4);
}

bool ferrite::isUnsignedElement(Type element) {
  return element.isUnsignedInteger() || element.isInteger(1);
}

Type ferrite::getBodyType(Type element) {
  MLIRContext *context = element.getContext();
  if (isTinyFloat(element) || isTinyInteger(element))
    return IntegerType::get(context, 8);
  if (element.isUnsignedInteger())
    return IntegerType::get(context, element.getIntOrFloatBitWidth());
  return element;
}
