//===- QuantizePatterns.cpp - Constants of few bits -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What is dequantized from a weight is a weight: its recipe applies scales and
// zero points as the bytes are read, so that products see numbers and fuse.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Normalize/Patterns.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite;

namespace {
/// A dense constant's elements, read one by one.
struct DenseReader {
  explicit DenseReader(DenseElementsAttr attr)
      : data(attr.getRawData().data()), kind(*kindOf(attr.getElementType())),
        isSplat(attr.isSplat()) {}
  Element operator[](int64_t i) const {
    return readElement(kind, data, isSplat ? 0 : i);
  }
  const char *data;
  Kind kind;
  bool isSplat;
};

DenseElementsAttr constantOf(Value value) {
  DenseElementsAttr attr;
  if (!value || !matchPattern(value, m_Constant(&attr)) ||
      attr.getElementType().isInteger(1) || !kindOf(attr.getElementType()))
    return {};
  return attr;
}

/// Terminates: a constant takes the place of an op. There is no limit of size:
/// the bits are in memory already, and there are few of them.
struct FoldDequantizeOfConstant final : OpRewritePattern<DequantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(DequantizeOp op,
                                PatternRewriter &rewriter) const override {
    // A product of bytes takes it (--ferrite-fuse-linear).
    if (llvm::all_of(op->getUses(), [](OpOperand &use) {
          auto matmul = dyn_cast<MatmulOp>(use.getOwner());
          return matmul && use.getOperandNumber() == 1 &&
                 matmul.getLhs().getDefiningOp<DequantizeOp>();
        }))
      return rewriter.notifyMatchFailure(op, "a product takes the bits");
    DenseElementsAttr bits = constantOf(op.getInput()),
                      scales = constantOf(op.getScale()),
                      zeros = constantOf(op.getZeroPoint());
    if (!bits || !scales || (op.getZeroPoint() && !zeros))
      return rewriter.notifyMatchFailure(op, "an operand is no constant");
    RankedTensorType type = typeOf(op);
    Type element = type.getElementType();
    int64_t axisSize = 1, inner = 1, blocks = 1, block = op.getBlock();
    if (type.getRank() > 0) {
      axisSize = std::max<int64_t>(type.getDimSize(op.getAxis()), 1);
      for (int64_t size : type.getShape().drop_front(op.getAxis() + 1))
        inner *= std::max<int64_t>(size, 1);
    }
    if (block > 0)
      blocks = scales.getType().getShape()[op.getAxis()];
    bool isOne = scales.getType().getShape().empty();
    DenseReader bit(bits), scale(scales);
    Kind zeroKind = zeros ? *kindOf(zeros.getElementType()) : bit.kind;
    Kind kind = *kindOf(element);
    int64_t bytes = bytesOf(kind);
    std::vector<char> data(type.getNumElements() * bytes);
    for (int64_t i = 0; i < type.getNumElements(); ++i) {
      int64_t row = i / inner, along = row % axisSize, at = along;
      if (isOne)
        at = 0;
      else if (block > 0)
        at = (row / axisSize * blocks + along / block) * inner + i % inner;
      Element zero = zeros ? DenseReader(zeros)[at] : Element();
      double factor = toDouble(scale.kind, scale[at]);
      float number =
          op.getCodes()
              ? dequantizeCode(*op.getCodes(), bit[i], factor)
              : dequantizeElement(bit.kind, bit[i], zeroKind, zero, factor);
      writeFloat(kind, data.data(), i, roundTo(kind, number));
    }
    DenseElementsAttr folded =
        data.empty()
            ? DenseElementsAttr::get(type, ArrayRef<Attribute>())
            : DenseElementsAttr::getFromRawBuffer(type, ArrayRef(data));
    rewriter.replaceOpWithNewOp<arith::ConstantOp>(op, folded);
    return success();
  }
};

/// The attribute that a recipe has for a scale or zero point; null if none.
Attribute sideOf(Value value) {
  if (DenseElementsAttr attr = constantOf(value))
    return attr;
  auto weight = value.getDefiningOp<WeightOp>();
  if (!weight || weight.getSources().size() != 1)
    return {};
  auto source = cast<SourceAttr>(weight.getSources()[0]);
  if (!source.getPerm().empty() || source.getDequant() ||
      source.getPitch() != 0 ||
      source.getShape() != typeOf(weight).getShape() ||
      source.getType() != elementTypeOf(weight))
    return {};
  return source;
}

/// Terminates: takes a dequantize away.
struct FoldDequantizeIntoWeight final : OpRewritePattern<DequantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(DequantizeOp op,
                                PatternRewriter &rewriter) const override {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    if (!weight || weight.getSources().size() != 1)
      return rewriter.notifyMatchFailure(op, "the input is no weight");
    auto source = cast<SourceAttr>(weight.getSources()[0]);
    if (source.getDequant() || source.getPitch() != 0 ||
        source.getType() != elementTypeOf(weight))
      return rewriter.notifyMatchFailure(op, "the weight is converted already");
    Attribute scale = sideOf(op.getScale()),
              zero =
                  op.getZeroPoint() ? sideOf(op.getZeroPoint()) : Attribute();
    if (!scale || (op.getZeroPoint() && !zero))
      return rewriter.notifyMatchFailure(op, "a scale is computed");
    int64_t axis = op.getAxis();
    bool isOne = typeOf(op.getScale()).getRank() == 0;
    bool isViewed =
        static_cast<int64_t>(source.getShape().size()) != typeOf(op).getRank();
    if ((isViewed && !isOne) || (!source.getPerm().empty() && op.getBlock()))
      return rewriter.notifyMatchFailure(op, "the weight's dims are moved");
    if (isOne)
      axis = 0;
    else if (!source.getPerm().empty())
      axis = source.getPerm()[axis];
    MLIRContext *context = op.getContext();
    auto dequant = DequantAttr::get(context, scale, zero, axis, op.getBlock(),
                                    op.getCodesAttr(), op.getBits());
    auto scaled = SourceAttr::get(context, source.getFile(), source.getOffset(),
                                  source.getShape(), source.getType(),
                                  source.getPerm(), dequant);
    Location loc = rewriter.getFusedLoc({weight.getLoc(), op.getLoc()});
    auto folded =
        WeightOp::create(rewriter, loc, op.getType(), weight.getName(),
                         rewriter.getArrayAttr({scaled}), 0);
    rewriter.replaceOp(op, folded);
    return success();
  }
};
} // namespace

void ferrite::populateQuantizePatterns(RewritePatternSet &patterns) {
  patterns.add<FoldDequantizeOfConstant, FoldDequantizeIntoWeight>(
      patterns.getContext());
}
