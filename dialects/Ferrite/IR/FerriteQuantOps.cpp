//===- FerriteQuantOps.cpp - Between numbers and few bits -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

/// C1 and C2, which both ops have.
template <typename OpTy>
static LogicalResult verifyScale(OpTy op) {
  auto input = cast<RankedTensorType>(op.getInput().getType());
  auto scale = cast<RankedTensorType>(op.getScale().getType());
  int64_t axis = op.getAxis(), block = op.getBlock();
  if (axis < 0 || axis >= std::max<int64_t>(input.getRank(), 1)) // C1
    return op.emitOpError("expects an axis of ")
           << input << ", but got " << axis;
  auto agree = [](int64_t a, int64_t b) {
    return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b;
  };
  bool fits = block >= 0;
  if (block > 0) {
    fits &= scale.getRank() == input.getRank();
    for (int64_t i = 0; fits && i < input.getRank(); ++i) {
      int64_t size = input.getDimSize(i);
      if (i == axis && !ShapedType::isDynamic(size))
        size = llvm::divideCeil(size, block);
      fits = agree(size, scale.getDimSize(i));
    }
  } else if (scale.getRank() != 0) {
    fits &= scale.getRank() == 1 && input.getRank() > 0 &&
            agree(scale.getDimSize(0), input.getDimSize(axis));
  }
  Type element = scale.getElementType();
  bool number = isa<FloatType>(element) || element.isInteger(32);
  if (!fits || !number) // C2
    return op.emitOpError("expects a scale that fits axis ")
           << axis << " and block " << block << " of " << input << ", but got "
           << scale;
  if (Value zero = op.getZeroPoint())
    if (failed(verifyCompatibleShape(scale, zero.getType()))) // C3
      return op.emitOpError(
                 "expects a zero point of the scale's shape, but got ")
             << zero.getType();
  auto result = cast<RankedTensorType>(op.getType());
  if (failed(verifyCompatibleShape(input, result)))
    return op.emitOpError("expects a result of the input's shape, but got ")
           << result;
  return success();
}

LogicalResult QuantizeOp::verify() {
  if (failed(verifyScale(*this)))
    return failure();
  Type element = cast<RankedTensorType>(getType()).getElementType();
  if (Value zero = getZeroPoint())
    if (getElementTypeOrSelf(zero.getType()) != element) // C3
      return emitOpError("expects a zero point of the result's type, but got ")
             << zero.getType();
  Type precision = getPrecision();
  if (!isa<Float16Type, BFloat16Type, Float32Type, Float64Type>(
          precision)) // C4
    return emitOpError("expects a precision to divide in, but got ")
           << precision;
  if (element.isInteger(1) ||
      (isa<FloatType>(element) && !isTinyFloat(element)))
    return emitOpError(
               "expects to quantize to integers or tiny floats, but got ")
           << element;
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (failed(verifyScale(*this)))
    return failure();
  Type element = cast<RankedTensorType>(getInput().getType()).getElementType();
  if (Value zero = getZeroPoint()) {
    Type type = getElementTypeOrSelf(zero.getType());
    if (type != element && (!isa<FloatType>(type) || isTinyFloat(type))) // C3
      return emitOpError("expects a zero point of the input's type, but got ")
             << zero.getType();
  }
  if (element.isInteger(1) ||
      (isa<FloatType>(element) && !isTinyFloat(element)))
    return emitOpError("expects integers or tiny floats, but got ") << element;
  return success();
}

LogicalResult QuantizeOp::inferDims(ArrayRef<Dims> operands,
                                    SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}

LogicalResult DequantizeOp::inferDims(ArrayRef<Dims> operands,
                                      SmallVectorImpl<Dims> &results) {
  results.push_back(operands[0]);
  return success();
}
