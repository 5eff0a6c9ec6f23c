//===- ExpandQuantize.cpp - Quantization as arithmetic --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Normalize/Passes.h"

#include <cmath>

namespace ferrite {
#define GEN_PASS_DEF_EXPANDQUANTIZE
#include "passes/Normalize/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
class Expander {
public:
  Expander(Operation *op, DimAnalysis &analysis)
      : b(op), loc(op->getLoc()), dims(analysis.getDims(op->getResult(0))),
        analysis(analysis) {}

  Value expand(QuantizeOp op);
  Value expand(DequantizeOp op);

private:
  template <typename OpTy>
  Value make(ArrayRef<DimExpr> shape, Type element, ValueRange operands) {
    return OpTy::create(b, loc, TypeRange(getTensorType(shape, element)),
                        operands)
        .getResult();
  }
  template <typename OpTy>
  Value apply(Type element, ValueRange operands) {
    return make<OpTy>(dims, element, operands);
  }
  Value cast(Value value, ArrayRef<DimExpr> shape, Type element) {
    return elementTypeOf(value) == element
               ? value
               : make<CastOp>(shape, element, value);
  }
  Value view(Value value, ArrayRef<DimExpr> shape) {
    return ViewOp::create(b, loc, getTensorType(shape, elementTypeOf(value)),
                          value, getDimsAttr(b.getContext(), shape));
  }
  Value scalar(double value) {
    auto type = RankedTensorType::get({}, b.getF32Type());
    return arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::get(type, Attribute(b.getF32FloatAttr(value))));
  }
  /// A scale or zero point as `element`, so that it broadcasts to the result.
  Value side(Value value, Type element, int64_t axis, int64_t block);

  OpBuilder b;
  Location loc;
  Dims dims; ///< of the result, and of the input
  DimAnalysis &analysis;
};

struct ExpandQuantizePass final
    : ferrite::impl::ExpandQuantizeBase<ExpandQuantizePass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> analysis = DimAnalysis::compute(getOperation());
    if (failed(analysis))
      return signalPassFailure();
    for (Operation &op :
         llvm::make_early_inc_range(getOperation().getBody().getOps())) {
      Value expanded;
      if (auto quantize = dyn_cast<QuantizeOp>(op))
        expanded = Expander(&op, *analysis).expand(quantize);
      else if (auto dequantize = dyn_cast<DequantizeOp>(op)) {
        if (dequantize.getCodes()) {
          op.emitError("expects codes of a weight of the model, but got ")
              << dequantize.getInput().getType() << " that is computed";
          return signalPassFailure();
        }
        expanded = Expander(&op, *analysis).expand(dequantize);
      } else
        continue;
      op.getResult(0).replaceAllUsesWith(expanded);
      analysis->forget(&op);
      op.erase();
    }
  }
};
} // namespace

Value Expander::side(Value value, Type element, int64_t axis, int64_t block) {
  Dims own(analysis.getDims(value));
  // A constant, so that it goes into bodies.
  if (std::optional<double> splat = getSplat(value);
      splat && own.empty() && element.isF32())
    return scalar(*splat);
  value = cast(value, own, element);
  if (own.empty())
    return value;
  if (block == 0) {
    Dims column(dims.size() - axis, DimExpr(1));
    column[0] = own[0];
    return column.size() == 1 ? value : view(value, column);
  }
  // [.., blocks, ..] to [.., blocks, block, ..] to [.., blocks * block, ..]
  Dims split = own, repeated, joined = own;
  split.insert(split.begin() + axis + 1, DimExpr(1));
  repeated = split;
  repeated[axis + 1] = DimExpr(block);
  joined[axis] = own[axis] * DimExpr(block);
  value = view(value, split);
  value = BroadcastOp::create(b, loc, getTensorType(repeated, element), value,
                              getDimsAttr(b.getContext(), repeated));
  value = view(value, joined);
  if (joined[axis] == dims[axis])
    return value;
  SmallVector<int64_t> steps(dims.size(), 1);
  return SliceOp::create(
      b, loc, getTensorType(dims, element), value,
      getDimsAttr(b.getContext(), Dims(dims.size(), DimExpr(0))), steps,
      getDimsAttr(b.getContext(), dims));
}

Value Expander::expand(QuantizeOp op) {
  Type precision = op.getPrecision(), f32 = b.getF32Type();
  int64_t axis = op.getAxis(), block = op.getBlock();
  Value quotient =
      apply<DivOp>(precision, {cast(op.getInput(), dims, precision),
                               side(op.getScale(), precision, axis, block)});
  Type element = elementTypeOf(op);
  auto integer = dyn_cast<IntegerType>(element);
  if (integer)
    quotient = apply<RoundOp>(precision, quotient);
  // Whole numbers that matter are exact in f32, whatever the precision.
  quotient = cast(quotient, dims, f32);
  if (Value zero = op.getZeroPoint(); zero && getSplat(zero) != 0.0)
    quotient = apply<AddOp>(f32, {quotient, side(zero, f32, axis, block)});
  if (!integer) {
    auto result = CastOp::create(b, loc, op.getType(), quotient);
    result.setOverflows(op.getOverflows());
    return result;
  }
  // A cast to whole bytes goes to the nearest end of them.
  if (integer.getWidth() == 8 || integer.getWidth() == 16)
    return cast(quotient, dims, element);
  double count = std::ldexp(1.0, integer.getWidth());
  double least = integer.isUnsigned() ? 0 : -count / 2;
  quotient = apply<MaxOp>(f32, {quotient, scalar(least)});
  quotient = apply<MinOp>(f32, {quotient, scalar(least + count - 1)});
  return cast(quotient, dims, element);
}

Value Expander::expand(DequantizeOp op) {
  Type f32 = b.getF32Type(), element = elementTypeOf(op.getInput());
  int64_t axis = op.getAxis(), block = op.getBlock();
  Value zero = op.getZeroPoint(), number = op.getInput();
  if (zero && getSplat(zero) == 0.0)
    zero = {};
  // Of integers up to 16 bits f32 has every difference; of 32 bits i64 has.
  bool isWide = zero && element.isIntOrIndex() &&
                element.getIntOrFloatBitWidth() > 16 &&
                isa<IntegerType>(elementTypeOf(zero));
  Type between = isWide ? Type(b.getI64Type()) : Type(f32);
  number = cast(number, dims, between);
  if (zero)
    number = apply<SubOp>(between, {number, side(zero, between, axis, block)});
  number = cast(number, dims, f32);
  number = apply<MulOp>(f32, {number, side(op.getScale(), f32, axis, block)});
  return cast(number, dims, elementTypeOf(op));
}
