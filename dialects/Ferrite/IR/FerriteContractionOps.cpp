//===- FerriteContractionOps.cpp - Products -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

static bool agree(int64_t a, int64_t b) {
  return a == b || ShapedType::isDynamic(a) || ShapedType::isDynamic(b);
}

static bool broadcastsTo(RankedTensorType from, RankedTensorType to) {
  if (from.getRank() > to.getRank())
    return false;
  for (int64_t i = 0; i < from.getRank(); ++i) {
    int64_t size = from.getDimSize(i);
    if (size != 1 &&
        !agree(size, to.getDimSize(to.getRank() - from.getRank() + i)))
      return false;
  }
  return true;
}

//===--- matmul -----------------------------------------------------------===//

LogicalResult MatmulOp::verify() {
  auto lhs = cast<RankedTensorType>(getLhs().getType());
  auto rhs = cast<RankedTensorType>(getRhs().getType());
  if (lhs.getRank() < 2 || rhs.getRank() < 2) // C1
    return emitOpError("expects operands of rank 2 or more, but got ")
           << lhs << " and " << rhs;
  bool fits = agree(lhs.getShape().back(), rhs.getShape()[rhs.getRank() - 2]);
  for (int64_t i = 3; i <= std::min(lhs.getRank(), rhs.getRank()); ++i) {
    int64_t a = lhs.getDimSize(lhs.getRank() - i),
            b = rhs.getDimSize(rhs.getRank() - i);
    fits &= a == 1 || b == 1 || agree(a, b);
  }
  if (!fits) // C2
    return emitOpError("expects sizes that agree, but got ")
           << lhs << " and " << rhs;
  auto type = cast<RankedTensorType>(getType());
  Type element = type.getElementType();
  auto extends = [&](Type from) {
    return from == element ||
           (isa<IntegerType>(from) && isa<IntegerType>(element) &&
            from.getIntOrFloatBitWidth() <= element.getIntOrFloatBitWidth());
  };
  if (!extends(lhs.getElementType()) || !extends(rhs.getElementType())) // C3
    return emitOpError("expects one element type, but got ")
           << lhs << ", " << rhs << " and " << type;
  return success();
}

LogicalResult MatmulOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  ArrayRef<DimExpr> lhs = operands[0], rhs = operands[1];
  std::optional<Dims> dims = broadcastDims(lhs.drop_back(2), rhs.drop_back(2));
  if (!dims)
    return emitError("leading dims of the product neither agree nor broadcast");
  dims->push_back(lhs[lhs.size() - 2]);
  dims->push_back(rhs.back());
  results.push_back(*dims);
  return success();
}

//===--- linear -----------------------------------------------------------===//

static bool isByte(Type element) {
  return isa<IntegerType>(element) && element.getIntOrFloatBitWidth() == 8;
}

bool LinearOp::isOfBytes() { return isByte(getElementTypeOrSelf(getWeight())); }

void LinearOp::build(OpBuilder &builder, OperationState &state, Type result,
                     Value input, Value weight) {
  build(builder, state, result, input, weight, Value(), Value(), ValueRange(),
        /*inputBlock=*/0);
  Region *region = state.regions.front().get();
  OpBuilder::InsertionGuard guard(builder);
  Type sum = builder.getF32Type();
  if (isByte(getElementTypeOrSelf(weight)))
    sum = builder.getI32Type();
  Block *block = builder.createBlock(region, {}, {sum}, {state.location});
  Value value = block->getArgument(0);
  Type element = cast<RankedTensorType>(result).getElementType();
  if (element != sum)
    value = arith::TruncFOp::create(builder, state.location, element, value);
  YieldOp::create(builder, state.location, value);
}

void LinearOp::build(OpBuilder &builder, OperationState &state, Type result,
                     Value input, Value weight, Value inputZero,
                     Value weightZero, ValueRange sides, int64_t inputBlock) {
  build(builder, state, result, input, weight, inputZero, weightZero, sides,
        inputBlock, SparseAttr());
}

void LinearOp::build(OpBuilder &builder, OperationState &state, Type result,
                     LinearOp like, Value input, Value weight,
                     ValueRange sides) {
  build(builder, state, result, input, weight, like.getInputZero(),
        like.getWeightZero(), sides, like.getInputBlock());
}

LogicalResult LinearOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto weight = cast<RankedTensorType>(getWeight().getType());
  auto type = cast<RankedTensorType>(getType());
  int64_t rank = weight.getRank();
  bool fits = rank >= 2 && input.getRank() >= 1 &&
              agree(input.getShape().back(), weight.getDimSize(rank - 2)) &&
              type.getRank() == input.getRank() &&
              agree(type.getShape().back(), weight.getDimSize(rank - 1));
  if (fits && rank > 2)
    fits = isOfBytes() && rank == input.getRank() &&
           llvm::all_of_zip(input.getShape().drop_back(2),
                            weight.getShape().drop_back(2), agree);
  if (!fits) // C1
    return emitOpError(
               "expects a weight of [inputs, outputs] that fits, but got ")
           << input << ", " << weight << " and " << type;
  for (Value side : getSides()) // C2
    if (!broadcastsTo(cast<RankedTensorType>(side.getType()), type))
      return emitOpError("expects sides that broadcast to ")
             << type << ", but got " << side.getType();
  Block &block = getEpilogue().front();
  bool ofBytes = isOfBytes();
  Type from = input.getElementType();
  if (ofBytes ? !from.isUnsignedInteger(8)
              : !isa<FloatType>(from) ||
                    !isa<FloatType>(weight.getElementType())) // C4
    return emitOpError(
               "expects floats, or unsigned bytes times bytes, but got ")
           << input << " and " << weight;
  for (Value zero : {getInputZero(), getWeightZero()}) { // C5
    if (!zero)
      continue;
    auto shape = cast<RankedTensorType>(zero.getType()).getShape();
    bool isColumns = zero == getWeightZero() && shape.size() == 1 &&
                     rank == 2 && shape[0] == weight.getDimSize(1);
    if (!ofBytes || (!shape.empty() && !isColumns))
      return emitOpError("expects zero points of bytes, one or (of the weight) "
                         "one for each column, but got ")
             << zero.getType();
  }
  if (int64_t(getInputBlock()) < 0 || (ofBytes && getInputBlock())) // C6
    return emitOpError(
               "expects an input_block of floats of 0 or more, but got ")
           << getInputBlock();
  if (std::optional<SparseAttr> sparse = getSparse()) { // C7
    Type element = weight.getElementType();
    fits = rank == 2 && weight.hasStaticShape() &&
           (element.isF32() || element.isSignlessInteger(8)) &&
           weight.getDimSize(0) % sparse->getDepth() == 0;
    if (!fits || getWeightZero() || getInputBlock())
      return emitOpError("expects a static matrix of f32 or i8, its rows a "
                         "multiple of ")
             << sparse->getDepth() << ", without weight_zero and input_block, "
             << "where it is sparse, but got " << weight;
  }
  Type sum = ofBytes ? Type(IntegerType::get(getContext(), 32))
                     : Float32Type::get(getContext());
  fits = block.getNumArguments() == getSides().size() + 1 &&
         block.getArgument(0).getType() == sum;
  for (size_t i = 0; fits && i < getSides().size(); ++i)
    fits = block.getArgument(i + 1).getType() ==
           getBodyType(getElementTypeOrSelf(getSides()[i].getType()));
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!fits || !yield ||
      yield.getValue().getType() != getBodyType(type.getElementType())) // C3
    return emitOpError("expects an epilogue from ")
           << (ofBytes ? "i32" : "f32") << " and an element of each side to "
           << type.getElementType();
  return success();
}

LogicalResult LinearOp::inferDims(ArrayRef<Dims> operands,
                                  SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  dims.back() = operands[1].back();
  results.push_back(dims);
  return success();
}
