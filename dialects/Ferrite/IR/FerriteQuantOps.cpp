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
  return ferrite::detail::verifyCodes( // C4, C5
      [&] { return emitOpError(); }, element, getCodesAttr(), getBits(),
      bool(getZeroPoint()));
}

LogicalResult
ferrite::detail::verifyCodes(function_ref<InFlightDiagnostic()> emitError,
                             Type type, DenseF32ArrayAttr codes, int64_t bits,
                             bool hasZero) {
  int64_t width = type.getIntOrFloatBitWidth();
  if (bits < 0 || bits > width || (bits > 0 && !isa<IntegerType>(type)))
    return emitError() << "expects no more bits than " << type
                       << " has, but got " << bits;
  if (!codes)
    return success();
  if (bits > 0)
    width = bits;
  if (!type.isUnsignedInteger() || width > 8 || hasZero ||
      codes.size() != int64_t(1) << width)
    return emitError() << "expects unsigned elements of 8 bits or fewer, a "
                          "code for each of their values and no zero point, "
                          "but got "
                       << codes.size() << " codes for " << type;
  return success();
}

//===--- what select makes ------------------------------------------------===//

/// Elements of a row of the result.
static int64_t rowLength(RoundRowsOp op) {
  int64_t columns =
      cast<RankedTensorType>(op.getInput().getType()).getDimSize(1);
  return getElementTypeOrSelf(op.getType()).isF32()
             ? columns
             : RoundedRows{columns, int64_t(op.getBlock()),
                           int64_t(op.getSumBlock())}
                   .bytes();
}

LogicalResult RoundRowsOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto type = cast<RankedTensorType>(getType());
  int64_t block = getBlock(), sums = getSumBlock();
  if (block < 1 || sums < 0 ||
      (sums > 0 && block % sums != 0 && sums % block != 0)) // C2
    return emitOpError("expects a block of 1 or more and sums that fit it, but "
                       "got ")
           << block << " and " << sums;
  bool fits = input.getRank() == 2 && type.getRank() == 2 &&
              !input.isDynamicDim(1) && input.getDimSize(1) > 0;
  if (fits)
    fits = type.getDimSize(1) == rowLength(*this);
  if (!fits) // C1
    return emitOpError("expects rows, and bytes of their rounded length, but "
                       "got ")
           << input << " and " << type;
  return success();
}

LogicalResult RoundRowsOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0], DimExpr(rowLength(*this))});
  return success();
}

LogicalResult PackedLinearOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto weight = cast<RankedTensorType>(getWeight().getType());
  auto type = cast<RankedTensorType>(getType());
  PackedAttr packed = getPacked();
  int64_t block = getInputBlock(), row = packed.getDepth();
  if (block > 0)
    row = packed.getRows(block).bytes();
  bool rounded = input.getElementType().isUnsignedInteger(8);
  if (input.getRank() != 2 || type.getRank() != 2 ||
      input.getDimSize(1) != row || block < 0 || rounded != (block > 0) ||
      (!rounded && !isa<FloatType>(input.getElementType())) ||
      type.getDimSize(1) != packed.getColumns()) // C1
    return emitOpError("expects rows of ")
           << row << " and a result of " << packed.getColumns()
           << " columns, but got " << input << " and " << type;
  for (Value side : getSides()) { // C2
    auto own = cast<RankedTensorType>(side.getType());
    bool fits = own.getRank() <= 2;
    for (int64_t i = 0; fits && i < own.getRank(); ++i) {
      int64_t size = own.getDimSize(i),
              of = type.getDimSize(2 - own.getRank() + i);
      fits = size == 1 || size == of || ShapedType::isDynamic(size) ||
             ShapedType::isDynamic(of);
    }
    if (!fits)
      return emitOpError("expects sides that broadcast to ")
             << type << ", but got " << own;
  }
  Block &body = getEpilogue().front();
  bool fits = body.getNumArguments() == getSides().size() + 1 &&
              body.getArgument(0).getType().isF32();
  for (size_t i = 0; fits && i < getSides().size(); ++i)
    fits = body.getArgument(i + 1).getType() ==
           getBodyType(getElementTypeOrSelf(getSides()[i].getType()));
  auto yield = body.empty() ? YieldOp() : dyn_cast<YieldOp>(body.back());
  if (!fits || !yield ||
      yield.getValue().getType() != type.getElementType()) // C3
    return emitOpError("expects an epilogue from f32 and an element of each "
                       "side to ")
           << type.getElementType();
  if (weight.getRank() != 1 ||
      weight.getDimSize(0) != packed.getPanels().bytes()) // C4
    return emitOpError("expects ") << packed.getPanels().bytes()
                                   << " bytes of weight, but got " << weight;
  return success();
}

LogicalResult PackedLinearOp::inferDims(ArrayRef<Dims> operands,
                                        SmallVectorImpl<Dims> &results) {
  results.push_back({operands[0][0], DimExpr(getPacked().getColumns())});
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
