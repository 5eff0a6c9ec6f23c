//===- FuseByteLinear.cpp - Products of bytes with a weight ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Two spellings become a linear of bytes. Of integers, as MatMulInteger and all
// that is imported like it,
//
//   matmul(cast(x) - zx, w) - sum(cast(x) - zx) * zw      in i32
//
// and of numbers that were bytes,
//
//   matmul(dequantize(x, sx, zx), w)        w with scales in its recipe
//   matmul(dequantize(x, sx, zx), dequantize(y, sy, zy))
//
// whose sum of f32 products becomes an exact one, times sx * sw. Signed
// activations become unsigned ones with a zero point greater by 128: that is
// what the instructions multiply.
//
// This file is longer than others because both spellings share the treatment of
// zero points and signs.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseByteLinear.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Analysis/StoredWeights.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite;

static bool isByte(Type type) {
  return isa<IntegerType>(type) && type.getIntOrFloatBitWidth() == 8;
}

/// One element: its zero point is for all.
bool ferrite::isOne(Value value) {
  return typeOf(value).hasStaticShape() && typeOf(value).getNumElements() == 1;
}

bool ferrite::isOfBytes(Value value) { return isByte(elementTypeOf(value)); }

namespace {
/// Bytes and their zero point, an i32 of one element or null for 0.
struct Bytes {
  Value data, zero;
};

class Rewriter {
public:
  Rewriter(PatternRewriter &b, Location loc) : b(b), loc(loc) {}

  Value constant(ArrayRef<int32_t> values, ArrayRef<int64_t> shape) {
    auto type = RankedTensorType::get(shape, b.getI32Type());
    return arith::ConstantOp::create(b, loc,
                                     DenseElementsAttr::get(type, values));
  }
  /// A constant or computed zero point as an i32 of rank 0; null for 0.
  Value scalarZero(Value zero);
  /// The same of integers of a weight: rank 0, or one for each column.
  Value columnZeros(Value zero);
  Value addTo(Value zero, int32_t amount);
  /// The same bytes, unsigned.
  Bytes toUnsigned(Bytes bytes);

  PatternRewriter &b;
  Location loc;

private:
  RankedTensorType like(Value value, Type element) {
    return RankedTensorType::get(typeOf(value).getShape(), element);
  }
  Value cast(Value value, Type element) {
    return CastOp::create(b, loc, like(value, element), value);
  }
};
} // namespace

/// The elements of a constant, as they are or widened.
static std::optional<SmallVector<int32_t>> integersOf(Value value) {
  DenseElementsAttr attr;
  if (!value)
    return std::nullopt;
  if (auto cast = value.getDefiningOp<CastOp>();
      cast && elementTypeOf(value).isInteger(32) && isOfBytes(cast.getInput()))
    value = cast.getInput();
  if (!matchPattern(value, m_Constant(&attr)) ||
      !isa<IntegerType>(attr.getElementType()))
    return std::nullopt;
  bool isUnsigned = attr.getElementType().isUnsignedInteger();
  SmallVector<int32_t> values;
  for (const APInt &element : attr.getValues<APInt>())
    values.push_back(isUnsigned ? element.getZExtValue()
                                : element.getSExtValue());
  return values;
}

Value Rewriter::scalarZero(Value zero) {
  if (!zero)
    return {};
  if (auto values = integersOf(zero)) {
    if (llvm::all_of(*values, [](int32_t v) { return v == 0; }))
      return {};
    return constant(values->front(), {});
  }
  if (typeOf(zero).getRank() > 0)
    zero =
        ViewOp::create(b, loc, RankedTensorType::get({}, elementTypeOf(zero)),
                       zero, getDimsAttr(b.getContext(), {}));
  return elementTypeOf(zero).isInteger(32) ? zero : cast(zero, b.getI32Type());
}

Value Rewriter::columnZeros(Value zero) {
  if (!zero)
    return {};
  auto values = integersOf(zero);
  if (!values) {
    RankedTensorType type = typeOf(zero);
    if (type.getRank() > 1) {
      Dims dims = {DimExpr(type.getShape().back())};
      zero = ViewOp::create(b, loc, getTensorType(dims, type.getElementType()),
                            zero, getDimsAttr(b.getContext(), dims));
    }
    return type.getElementType().isInteger(32) ? zero
                                               : cast(zero, b.getI32Type());
  }
  if (llvm::all_of(*values, [](int32_t v) { return v == 0; }))
    return {};
  if (llvm::all_equal(*values))
    return constant(values->front(), {});
  return constant(*values, {int64_t(values->size())});
}

Value Rewriter::addTo(Value zero, int32_t amount) {
  if (!zero)
    return constant(amount, {});
  if (auto values = integersOf(zero))
    return scalarZero(constant(values->front() + amount, {}));
  return AddOp::create(b, loc, TypeRange(zero.getType()),
                       ValueRange{zero, constant(amount, {})})
      .getResult();
}

Bytes Rewriter::toUnsigned(Bytes bytes) {
  if (elementTypeOf(bytes.data).isUnsignedInteger())
    return bytes;
  Type u8 = b.getIntegerType(8, /*isSigned=*/false), i32 = b.getI32Type();
  Bytes result{{}, addTo(bytes.zero, 128)};
  auto quantize = bytes.data.getDefiningOp<QuantizeOp>();
  auto old = quantize ? integersOf(quantize.getZeroPoint())
                      : std::optional<SmallVector<int32_t>>();
  if (quantize && !quantize.getZeroPoint() && quantize.getBlock() == 0)
    old = SmallVector<int32_t>(typeOf(quantize.getScale()).getNumElements(), 0);
  if (old && quantize.getBlock() == 0) {
    SmallVector<uint8_t> raised;
    for (int32_t value : *old)
      raised.push_back(value + 128);
    auto type =
        RankedTensorType::get(typeOf(quantize.getScale()).getShape(), u8);
    Value zero = arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::getFromRawBuffer(
            type,
            ArrayRef(reinterpret_cast<char *>(raised.data()), raised.size())));
    result.data = QuantizeOp::create(
        b, quantize.getLoc(), like(bytes.data, u8), quantize.getInput(),
        quantize.getScale(), zero, quantize.getAxis(), quantize.getBlock(),
        quantize.getOverflows(), quantize.getPrecision());
    return result;
  }
  if (Operation *move = bytes.data.getDefiningOp();
      move && isa<ViewOp, TransposeOp>(move)) {
    Bytes before = toUnsigned({move->getOperand(0), bytes.zero});
    return {moveAgain(b, move, before.data), before.zero};
  }
  Value wide = cast(bytes.data, i32);
  wide = AddOp::create(b, loc, TypeRange(wide.getType()),
                       ValueRange{wide, constant(128, {})})
             .getResult();
  result.data = cast(wide, u8);
  return result;
}

static Value lookThroughCast(Value value) {
  auto cast = value.getDefiningOp<CastOp>();
  return cast ? cast.getInput() : value;
}

Value ferrite::asMatrix(PatternRewriter &b, Location loc, Value weight) {
  RankedTensorType type = typeOf(weight);
  if (type.getRank() == 2)
    return weight;
  Dims dims = {DimExpr(type.getDimSize(type.getRank() - 2)),
               DimExpr(type.getShape().back())};
  return ViewOp::create(b, loc, getTensorType(dims, type.getElementType()),
                        weight, getDimsAttr(b.getContext(), dims));
}

static LogicalResult checkMatrix(Value weight, Value input, Reject reject) {
  for (int64_t size : typeOf(weight).getShape().drop_back(2))
    if (size != 1)
      return reject("the weight is a batch of matrices");
  if (typeOf(weight).getRank() > typeOf(input).getRank())
    return reject("the weight has more dims than the input");
  return success();
}

//===--- of integers ------------------------------------------------------===//

namespace {
/// sum(left) * zw, of the product of `left`.
struct Excess {
  SubOp sub;
  Value zero;
};
} // namespace

static std::optional<Excess> findExcess(MatmulOp matmul) {
  if (!matmul->hasOneUse())
    return std::nullopt;
  auto sub = dyn_cast<SubOp>(*matmul->user_begin());
  if (!sub || sub.getLhs() != matmul.getResult())
    return std::nullopt;
  auto product = sub.getRhs().getDefiningOp<MulOp>();
  if (!product)
    return std::nullopt;
  for (Value side : {product.getLhs(), product.getRhs()}) {
    auto sum = side.getDefiningOp<ReduceOp>();
    if (!sum || sum.getKind() != ReduceKind::Sum)
      continue;
    int64_t last = typeOf(sum.getInput()).getRank() - 1;
    bool isOfRows = sum.getInput() == matmul.getLhs() ||
                    lookThroughCast(sum.getInput()) == matmul.getLhs();
    Value zero = otherOperand(product, side);
    Value inner = lookThroughCast(zero);
    RankedTensorType type = typeOf(zero);
    // One for each column, and no more.
    bool fits = type.hasStaticShape() &&
                (type.getNumElements() == 1 ||
                 (type.getNumElements() == typeOf(matmul).getShape().back() &&
                  type.getShape().back() == type.getNumElements()));
    if (isOfRows && fits && isWeightOrConstant(inner) &&
        sum.getAxes() == ArrayRef<int64_t>(last))
      return Excess{sub, zero};
  }
  return std::nullopt;
}

LogicalResult ferrite::matchByteProduct(MatmulOp matmul, Reject reject) {
  if (!isWeightOrConstant(matmul.getRhs()) || !isOfBytes(matmul.getRhs()))
    return reject("the right side is no weight of bytes");
  if (!elementTypeOf(matmul).isInteger(32))
    return reject("the sums are not of i32");
  Value left = matmul.getLhs();
  if (auto sub = left.getDefiningOp<SubOp>()) {
    if (!isOne(sub.getRhs()))
      return reject("the input has more than one zero point");
    if (!sub.getLhs().getDefiningOp<CastOp>())
      return reject("what is centred is not of bytes");
    left = sub.getLhs();
  }
  if (!isOfBytes(lookThroughCast(left)))
    return reject("the left side is not of bytes");
  return checkMatrix(matmul.getRhs(), matmul.getLhs(), reject);
}

/// Terminates: each application takes one matmul away.
struct ByteProductToLinear final : OpRewritePattern<MatmulOp> {
  ByteProductToLinear(MLIRContext *context)
      : OpRewritePattern(context, /*benefit=*/2) {}
  LogicalResult matchAndRewrite(MatmulOp matmul,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(matmul, reason);
    };
    if (LogicalResult fits = matchByteProduct(matmul, reject); failed(fits))
      return fits;
    std::optional<Excess> excess = findExcess(matmul);
    Operation *replaced = matmul;
    if (excess)
      replaced = excess->sub;
    rewriter.setInsertionPoint(replaced);
    Rewriter r(rewriter, matmul.getLoc());
    Value left = matmul.getLhs();
    Bytes bytes;
    if (auto sub = left.getDefiningOp<SubOp>()) {
      bytes.zero = r.scalarZero(sub.getRhs());
      left = sub.getLhs();
    }
    bytes.data = lookThroughCast(left);
    bytes = r.toUnsigned(bytes);
    Value zeros = excess ? r.columnZeros(excess->zero) : Value();
    Value weight = asMatrix(rewriter, matmul.getLoc(), matmul.getRhs());
    auto linear =
        LinearOp::create(rewriter, matmul.getLoc(),
                         replaced->getResult(0).getType(), bytes.data, weight);
    if (bytes.zero)
      linear.getInputZeroMutable().assign(bytes.zero);
    if (zeros)
      linear.getWeightZeroMutable().assign(zeros);
    Location loc = linear.getLoc();
    rewriter.replaceOp(replaced, linear);
    if (excess)
      rewriter.eraseOp(matmul);
    reportPassed(loc, "ferrite-fuse-linear",
                 "turned into ferrite.linear of bytes");
    return success();
  }
};

//===--- of numbers that were bytes ---------------------------------------===//

namespace {
/// A weight's bytes, scales and zero points; the latter of rank 0 or of the
/// columns.
struct ScaledWeight {
  Value data, scale, zero;
};
} // namespace

/// A scale or zero point of the recipe of `weight`, as a value.
static Value valueOf(PatternRewriter &b, WeightOp weight, Attribute side) {
  if (auto dense = dyn_cast<DenseElementsAttr>(side)) {
    RankedTensorType type = cast<RankedTensorType>(dense.getType());
    if (type.getRank() > 1 || (type.getRank() == 1 && type.getDimSize(0) == 1))
      dense = dense.reshape(RankedTensorType::get(
          type.getNumElements() == 1 ? ArrayRef<int64_t>()
                                     : ArrayRef<int64_t>(type.getNumElements()),
          type.getElementType()));
    return arith::ConstantOp::create(b, weight.getLoc(), dense);
  }
  auto source = cast<SourceAttr>(side);
  return WeightOp::create(
      b, weight.getLoc(),
      RankedTensorType::get(source.getShape(), source.getType()),
      weight.getName(), b.getArrayAttr(source), 0);
}

/// Whether one scale is for all, or one for each column of `weight`.
static LogicalResult matchWeight(Value rhs, Reject reject) {
  if (auto dequantize = rhs.getDefiningOp<DequantizeOp>()) {
    if (!isWeightOrConstant(dequantize.getInput()) ||
        !isOfBytes(dequantize.getInput()))
      return reject("the weight is not of bytes");
    int64_t last = typeOf(rhs).getRank() - 1;
    if (dequantize.getBlock() != 0 ||
        (typeOf(dequantize.getScale()).getRank() > 0 &&
         int64_t(dequantize.getAxis()) != last))
      return reject("the weight's scales are not one for each column");
    return success();
  }
  auto weight = rhs.getDefiningOp<WeightOp>();
  if (!weight || weight.getSources().size() != 1)
    return reject("the weight is in several pieces, or is a constant of "
                  "numbers");
  auto source = cast<SourceAttr>(weight.getSources()[0]);
  DequantAttr dequant = source.getDequant();
  if (!dequant || !isByte(source.getType()))
    return reject("the weight is not of bytes");
  int64_t rank = typeOf(rhs).getRank();
  if (static_cast<int64_t>(source.getShape().size()) != rank)
    return reject("the weight lies under other dims");
  int64_t column =
      source.getPerm().empty() ? rank - 1 : source.getPerm().back();
  bool isOne = countStored(dequant.getScale()) == 1;
  if (dequant.getBlock() != 0 || (!isOne && dequant.getAxis() != column))
    return reject("the weight's scales are not one for each column");
  return success();
}

static ScaledWeight splitWeight(PatternRewriter &b, Value rhs) {
  if (auto dequantize = rhs.getDefiningOp<DequantizeOp>())
    return {dequantize.getInput(), dequantize.getScale(),
            dequantize.getZeroPoint()};
  auto weight = rhs.getDefiningOp<WeightOp>();
  auto source = cast<SourceAttr>(weight.getSources()[0]);
  DequantAttr dequant = source.getDequant();
  auto plain =
      SourceAttr::get(b.getContext(), source.getFile(), source.getOffset(),
                      source.getShape(), source.getType(), source.getPerm());
  ScaledWeight result;
  result.data = WeightOp::create(
      b, weight.getLoc(),
      RankedTensorType::get(typeOf(rhs).getShape(), source.getType()),
      weight.getName(), b.getArrayAttr(plain), 0);
  result.scale = valueOf(b, weight, dequant.getScale());
  if (dequant.getZero())
    result.zero = valueOf(b, weight, dequant.getZero());
  return result;
}

/// Whether it was bytes with one scale.
static LogicalResult matchBytes(Value value, StringRef name, Reject reject) {
  auto input = value.getDefiningOp<DequantizeOp>();
  if (!input || !isOfBytes(input.getInput()))
    return reject("the " + name + " is not quantized");
  if (!isOne(input.getScale()) || input.getBlock() != 0)
    return reject("the " + name + " has more than one scale");
  return success();
}

LogicalResult ferrite::matchQuantizedProduct(MatmulOp matmul, Reject reject) {
  if (LogicalResult fits = matchBytes(matmul.getLhs(), "input", reject);
      failed(fits))
    return fits;
  if (!elementTypeOf(matmul).isF32())
    return reject("the product is not of f32");
  if (LogicalResult fits = matchWeight(matmul.getRhs(), reject); failed(fits))
    return fits;
  return checkMatrix(matmul.getRhs(), matmul.getLhs(), reject);
}

LogicalResult ferrite::matchQuantizedBatch(MatmulOp matmul, DimAnalysis &dims,
                                           Reject reject) {
  for (auto [side, name] : {std::pair(matmul.getLhs(), "left side"),
                            std::pair(matmul.getRhs(), "right side")})
    if (LogicalResult fits = matchBytes(side, name, reject); failed(fits))
      return fits;
  if (!elementTypeOf(matmul).isF32())
    return reject("the product is not of f32");
  ArrayRef<DimExpr> left = dims.getDims(matmul.getLhs()),
                    right = dims.getDims(matmul.getRhs());
  if (left.size() < 3 || left.size() != right.size() ||
      left.drop_back(2) != right.drop_back(2))
    return reject("the sides are not as many matrices");
  return success();
}

/// Terminates: each application takes one matmul away.
struct QuantizedProductToLinear : OpRewritePattern<MatmulOp> {
  QuantizedProductToLinear(MLIRContext *context)
      : OpRewritePattern(context, /*benefit=*/2) {}
  LogicalResult matchAndRewrite(MatmulOp matmul,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(matmul, reason);
    };
    if (LogicalResult fits = matchQuantizedProduct(matmul, reject);
        failed(fits))
      return fits;
    Location loc = matmul.getLoc();
    ScaledWeight weight = splitWeight(rewriter, matmul.getRhs());
    weight.data = asMatrix(rewriter, loc, weight.data);
    replace(rewriter, matmul, weight);
    return success();
  }

protected:
  static void replace(PatternRewriter &rewriter, MatmulOp matmul,
                      const ScaledWeight &weight) {
    Location loc = matmul.getLoc();
    auto input = matmul.getLhs().getDefiningOp<DequantizeOp>();
    Rewriter r(rewriter, loc);
    Bytes bytes =
        r.toUnsigned({input.getInput(), r.scalarZero(input.getZeroPoint())});
    RankedTensorType type = typeOf(matmul);
    Value zeros = r.columnZeros(weight.zero);
    auto linear = LinearOp::create(
        rewriter, loc,
        RankedTensorType::get(type.getShape(), rewriter.getI32Type()),
        bytes.data, weight.data);
    if (bytes.zero)
      linear.getInputZeroMutable().assign(bytes.zero);
    if (zeros)
      linear.getWeightZeroMutable().assign(zeros);
    Value number = CastOp::create(rewriter, loc, type, linear);
    for (Value scale : scalesOf(rewriter, input.getScale(), weight.scale))
      number = MulOp::create(rewriter, loc, TypeRange(type),
                             ValueRange{number, scale})
                   .getResult();
    rewriter.replaceOp(matmul, number);
    reportPassed(loc, "ferrite-fuse-linear",
                 "turned into ferrite.linear of bytes");
  }

private:
  /// The product of both in f32 where it is known, else the two.
  static SmallVector<Value> scalesOf(PatternRewriter &b, Value input,
                                     Value weight) {
    Location loc = weight.getLoc();
    SmallVector<Value> scales;
    for (Value scale : {input, weight}) {
      RankedTensorType type = typeOf(scale);
      scales.push_back(
          type.getElementType().isF32()
              ? scale
              : CastOp::create(
                    b, loc,
                    RankedTensorType::get(type.getShape(), b.getF32Type()),
                    scale)
                    .getResult());
    }
    DenseElementsAttr one, many;
    if (!matchPattern(scales[0], m_Constant(&one)) ||
        !matchPattern(scales[1], m_Constant(&many)))
      return scales;
    float factor = (*one.getValues<APFloat>().begin()).convertToFloat();
    SmallVector<float> products;
    for (const APFloat &value : many.getValues<APFloat>())
      products.push_back(factor * value.convertToFloat());
    return {arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::get(typeOf(scales[1]), ArrayRef<float>(products)))};
  }
};

/// The same of two activations.
struct QuantizedBatchToLinear final : QuantizedProductToLinear {
  QuantizedBatchToLinear(MLIRContext *context, DimAnalysis &dims)
      : QuantizedProductToLinear(context), dims(dims) {}
  LogicalResult matchAndRewrite(MatmulOp matmul,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(matmul, reason);
    };
    if (LogicalResult fits = matchQuantizedBatch(matmul, dims, reject);
        failed(fits))
      return fits;
    auto right = matmul.getRhs().getDefiningOp<DequantizeOp>();
    Rewriter r(rewriter, matmul.getLoc());
    replace(rewriter, matmul,
            {right.getInput(), right.getScale(),
             r.scalarZero(right.getZeroPoint())});
    return success();
  }

private:
  DimAnalysis &dims;
};

void ferrite::populateByteLinearPatterns(RewritePatternSet &patterns,
                                         DimAnalysis &dims) {
  patterns.add<ByteProductToLinear, QuantizedProductToLinear>(
      patterns.getContext());
  patterns.add<QuantizedBatchToLinear>(patterns.getContext(), dims);
}

bool ferrite::isOfQuantizedWeight(Value rhs) {
  if (rhs.getDefiningOp<DequantizeOp>())
    return true;
  auto weight = rhs.getDefiningOp<WeightOp>();
  return weight && llvm::any_of(weight.getSources(), [](Attribute source) {
           return !!cast<SourceAttr>(source).getDequant();
         });
}
