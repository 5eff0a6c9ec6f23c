//===- Quantize.cpp - What handlers of quantized ops share ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Quantize.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace ferrite::frontend {

static bool isOne(const Dims &dims) { return product(dims).isConstant(1); }

FailureOr<Scaling> bindScaling(OpBinder &b, unsigned scale, unsigned zero,
                               const Dims &dims, int64_t axis, int64_t block) {
  TensorValue &given = b.input(scale);
  FailureOr<Value> data = b.data(scale);
  if (failed(data))
    return failure();
  if (!isa<FloatType>(given.element))
    return b.error("its scale is no float");
  Scaling result;
  result.scaleType = given.element;
  result.axis = axis;
  if (isOne(given.dims)) {
    result.axis = 0;
  } else if (block > 0) {
    Dims expected = dims;
    DimExpr size = dims[axis];
    std::optional<int64_t> known = size.constant();
    if (known)
      expected[axis] = DimExpr(static_cast<int64_t>(
          llvm::divideCeil(static_cast<uint64_t>(*known), block)));
    if (!known || given.dims != expected)
      return b.error("its scale of " + printDims(given.dims) +
                     " is none for blocks of " + Twine(block) + " of dim " +
                     Twine(axis) + " of " + printDims(dims));
    result.block = block;
  } else if (given.rank() != 1 || dims.empty() || given.dims[0] != dims[axis]) {
    return b.error("its scale of " + printDims(given.dims) +
                   " does not fit dim " + Twine(axis) + " of " +
                   printDims(dims));
  }
  result.dims = isOne(given.dims) ? Dims() : given.dims;
  result.scale = b.view(*data, given.dims, result.dims);
  if (!b.hasInput(zero))
    return result;
  TensorValue &point = b.input(zero);
  data = b.data(zero);
  if (failed(data))
    return failure();
  result.zeroType = point.element;
  if (!isOne(point.dims) && point.dims != given.dims)
    return b.error("its zero point of " + printDims(point.dims) +
                   " does not fit its scale of " + printDims(given.dims));
  if (point.dims == given.dims || result.dims.empty()) {
    result.zero = b.view(*data, point.dims, result.dims);
    return result;
  }
  result.zero = b.create<BroadcastOp>(result.dims, point.element,
                                      b.view(*data, point.dims, Dims()),
                                      b.dimsAttr(result.dims));
  return result;
}

Value quantize(OpBinder &b, Value number, const Dims &dims, Type element,
               const Scaling &scaling, Type precision, bool overflows) {
  return b.create<QuantizeOp>(dims, element, number, scaling.scale,
                              scaling.zero, scaling.axis, scaling.block,
                              overflows, precision);
}

Value dequantize(OpBinder &b, Value bits, const Dims &dims, Type element,
                 const Scaling &scaling) {
  return b.create<DequantizeOp>(dims, element, bits, scaling.scale,
                                scaling.zero, scaling.axis, scaling.block,
                                /*codes=*/DenseF32ArrayAttr(), /*bits=*/0);
}

FailureOr<Value> dequantizeInput(OpBinder &b, unsigned i) {
  TensorValue &input = b.input(i);
  FailureOr<Scaling> scaling = bindScaling(b, i + 1, i + 2, input.dims);
  FailureOr<Value> data = b.data(i);
  if (failed(scaling) || failed(data))
    return failure();
  if (!scaling->dims.empty())
    return b.unsupported("with more than one scale for input " + Twine(i) +
                         " is not supported");
  if (!isa<IntegerType>(input.element) ||
      (scaling->zero && scaling->zeroType != input.element))
    return b.error("its input " + Twine(i) +
                   " is not of integers with a zero point of their type");
  return dequantize(b, *data, input.dims, b.builder().getF32Type(), *scaling);
}

LogicalResult setQuantized(OpBinder &b, Value number, const Dims &dims,
                           unsigned scale, Type element) {
  FailureOr<Scaling> scaling = bindScaling(b, scale, scale + 1, dims);
  if (failed(scaling))
    return failure();
  if (!scaling->dims.empty())
    return b.error("its result has more than one scale");
  if (scaling->zero)
    element = scaling->zeroType;
  return b.setData(
      quantize(b, number, dims, element, *scaling, b.builder().getF32Type()),
      dims);
}

bool isKnownZero(Value value) {
  if (!value)
    return true;
  DenseElementsAttr attr;
  while (isa_and_nonnull<ViewOp, BroadcastOp, CastOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  if (!matchPattern(value, m_Constant(&attr)) ||
      !isa<IntegerType>(attr.getElementType()))
    return false;
  return llvm::all_of(attr.getValues<APInt>(),
                      [](const APInt &element) { return element.isZero(); });
}

//===--- products ---------------------------------------------------------===//

FailureOr<Product> multiplyIntegers(OpBinder &b, Centred lhs, Centred rhs) {
  Type i32 = b.builder().getI32Type();
  for (const Centred &side : {lhs, rhs})
    if (!isa<IntegerType>(side.element) ||
        side.element.getIntOrFloatBitWidth() != 8)
      return b.error("its operands are not of bytes");
  if (lhs.dims.empty() || rhs.dims.empty())
    return b.error("one of its operands is a scalar");
  // A vector is a row on the left, a column on the right, and leaves no dim.
  bool isRow = lhs.dims.size() == 1, isColumn = rhs.dims.size() == 1;
  auto widen = [&](Centred &side, bool front) {
    Dims dims = side.dims;
    dims.insert(front ? dims.begin() : dims.end(), DimExpr(1));
    side.data = b.view(side.data, dims);
    side.dims = dims;
    if (front || side.zeroDims.empty())
      return;
    Dims zero = side.zeroDims;
    zero.push_back(DimExpr(1));
    side.zero = b.view(side.zero, zero);
    side.zeroDims = zero;
  };
  if (isRow)
    widen(lhs, true);
  if (isColumn)
    widen(rhs, false);
  if (lhs.dims.back() != rhs.dims[rhs.dims.size() - 2])
    return b.errorUnlessEqual(
        lhs.dims.back(), rhs.dims[rhs.dims.size() - 2],
        "it multiplies " + lhs.dims.back().str() + " columns by " +
            rhs.dims[rhs.dims.size() - 2].str() + " rows");
  FailureOr<Dims> dims = b.broadcast(ArrayRef(lhs.dims).drop_back(2),
                                     ArrayRef(rhs.dims).drop_back(2));
  if (failed(dims))
    return failure();
  dims->push_back(lhs.dims[lhs.dims.size() - 2]);
  dims->push_back(rhs.dims.back());
  // The left side is centred before: it is small. The right side, which may be
  // a weight, is read as it is: sum(a * (b - z)) = sum(a * b) - z * sum(a).
  Value left = lhs.data;
  if (!isKnownZero(lhs.zero)) {
    left = b.create<SubOp>(lhs.dims, i32, b.cast(left, lhs.dims, i32),
                           b.cast(lhs.zero, lhs.zeroDims, i32));
  }
  Value value = b.create<MatmulOp>(*dims, i32, left, rhs.data);
  if (!isKnownZero(rhs.zero)) {
    Dims sums = lhs.dims;
    sums.back() = DimExpr(1);
    int64_t last = static_cast<int64_t>(lhs.dims.size()) - 1;
    Value sum = b.create<ReduceOp>(sums, i32, b.cast(left, lhs.dims, i32),
                                   ReduceKind::Sum, ArrayRef<int64_t>(last),
                                   /*keepDims=*/true);
    FailureOr<Dims> wide = b.broadcast(sums, rhs.zeroDims);
    if (failed(wide))
      return failure();
    Value excess =
        b.create<MulOp>(*wide, i32, sum, b.cast(rhs.zero, rhs.zeroDims, i32));
    value = b.create<SubOp>(*dims, i32, value, excess);
  }
  Dims full = *dims, left0 = full;
  if (isColumn)
    left0.pop_back();
  if (isRow)
    left0.erase(left0.end() - (isColumn ? 1 : 2));
  return Product{b.view(value, full, left0), left0};
}

//===--- dynamic quantization ---------------------------------------------===//

Dynamic quantizeDynamically(OpBinder &b, Value input, const Dims &dims) {
  Type f32 = b.builder().getF32Type();
  Type byte =
      IntegerType::get(b.builder().getContext(), 8, IntegerType::Unsigned);
  Value zero = b.scalar(0, f32), most = b.scalar(255, f32);
  // Rows first: they are shared out to threads, and what is left is short.
  auto reach = [&](ReduceKind kind) {
    Value part = input;
    int64_t rank = dims.size();
    if (rank > 1)
      part = b.create<ReduceOp>(Dims(ArrayRef(dims).drop_back()), f32, part,
                                kind, SmallVector<int64_t>{--rank},
                                /*keepDims=*/false);
    SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    return b.create<ReduceOp>({}, f32, part, kind, axes, /*keepDims=*/false);
  };
  Value high = b.create<MaxOp>({}, f32, reach(ReduceKind::Max), zero);
  Value low = b.create<MinOp>({}, f32, reach(ReduceKind::Min), zero);
  Value range = b.create<SubOp>({}, f32, high, low);
  Value isFlat = b.create<CompareOp>({}, b.builder().getI1Type(), high, low,
                                     Predicate::Eq);
  range = b.create<WhereOp>({}, f32, isFlat, b.scalar(1, f32), range);
  Dynamic result;
  result.scale = b.create<DivOp>({}, f32, range, most);
  Value point = b.create<SubOp>({}, f32, zero,
                                b.create<DivOp>({}, f32, low, result.scale));
  point = b.create<MinOp>({}, f32, b.create<MaxOp>({}, f32, point, zero), most);
  result.zero = b.cast(b.create<RoundOp>({}, f32, point), {}, byte);
  Scaling scaling;
  scaling.scale = result.scale;
  scaling.zero = result.zero;
  result.bits = quantize(b, input, dims, byte, scaling, f32);
  return result;
}

} // namespace ferrite::frontend
