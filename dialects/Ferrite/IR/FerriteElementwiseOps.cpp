//===- FerriteElementwiseOps.cpp - Folds of elementwise ops ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

OpFoldResult CastOp::fold(FoldAdaptor) {
  if (getInput().getType() == getType())
    return getInput();
  return {};
}

LogicalResult BitcastOp::verify() {
  Type from = getElementTypeOrSelf(getInput().getType()),
       to = getElementTypeOrSelf(getType());
  if (from.getIntOrFloatBitWidth() != to.getIntOrFloatBitWidth()) // C1
    return emitOpError("expects types of as many bits, but got ")
           << from << " and " << to;
  return success();
}
