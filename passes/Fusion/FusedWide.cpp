//===- FusedWide.cpp - What no kernel computes in f64 or integers ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Products, norms and softmax have kernels for the floats that models are made
// of. The others are rare and need to be right: a product becomes a reduction
// over the products of its factors, norms and softmax what they are defined as.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FusedBuilder.h"

#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/ScalarCasts.h"
#include "passes/Fusion/ScalarEmitter.h"

using namespace mlir;
using namespace ferrite;

Value ferrite::buildProduct(MatmulOp op, DimAnalysis &dims) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  FusedParts parts;
  parts.type = typeOf(op);
  parts.domain = Dims(dims.getDims(op));
  size_t rank = parts.domain.size();
  for (size_t i = 0; i < rank; ++i)
    parts.writes.push_back(getAffineDimExpr(i, op.getContext()));
  DimExpr inner = dims.getDims(op.getLhs()).back();
  parts.domain.push_back(inner);
  parts.combine = inner.isConstant(1) ? CombineKind::None : CombineKind::Sum;
  AffineExpr row = parts.writes[rank - 2], column = parts.writes[rank - 1],
             depth = getAffineDimExpr(rank, op.getContext());
  auto read = [&](Value operand, AffineExpr first, AffineExpr second) {
    ArrayRef<DimExpr> shape = dims.getDims(operand);
    Read result{operand, {}};
    for (size_t i = 0; i + 2 < shape.size(); ++i) {
      size_t loop = rank - shape.size() + i;
      bool repeats =
          shape[i].isConstant(1) && !parts.domain[loop].isConstant(1);
      result.at.push_back(repeats ? getAffineConstantExpr(0, op.getContext())
                                  : parts.writes[loop]);
    }
    result.at.append({first, second});
    return lookThrough(result, dims);
  };
  parts.reads = {read(op.getLhs(), row, depth),
                 read(op.getRhs(), depth, column)};
  Type element = parts.type.getElementType();
  Type from[] = {elementTypeOf(op.getLhs()), elementTypeOf(op.getRhs())};
  bool isFloat = isa<FloatType>(element);
  return makeFused(
      builder, loc, parts,
      [&](OpBuilder &b, ValueRange arguments) -> Value {
        Value factors[2];
        for (unsigned i : {0, 1})
          factors[i] =
              emitCast(b, loc, emitLoad(b, loc, arguments[i], from[i]), from[i],
                       element, /*overflows=*/false, Rounding::Up);
        if (isFloat)
          return arith::MulFOp::create(b, loc, factors[0], factors[1]);
        return arith::MulIOp::create(b, loc, factors[0], factors[1]);
      },
      [&](OpBuilder &b, ValueRange arguments) {
        return emitStore(b, loc, arguments[0], element);
      });
}

namespace {
/// Makes ops on tensors of one element type, whose rows are their last dim.
struct Rows {
  OpBuilder &b;
  Location loc;
  RankedTensorType type;

  RankedTensorType one() {
    SmallVector<int64_t> shape(type.getShape());
    shape.back() = 1;
    return type.clone(shape);
  }
  template <typename OpTy>
  Value make(Value x, Value y) {
    auto both = cast<RankedTensorType>(x.getType());
    return OpTy::create(b, loc, both, x, y);
  }
  Value reduce(Value x, ReduceKind kind) {
    return ReduceOp::create(b, loc, one(), x, kind,
                            ArrayRef<int64_t>{type.getRank() - 1},
                            /*keepDims=*/true);
  }
};
} // namespace

static Value expandSoftmax(SoftmaxOp op) {
  OpBuilder b(op);
  Rows rows{b, op.getLoc(), op.getType()};
  Value x = op.getInput();
  Value below = rows.make<SubOp>(x, rows.reduce(x, ReduceKind::Max));
  Value weights = ExpOp::create(b, op.getLoc(), rows.type, below);
  return rows.make<DivOp>(weights, rows.reduce(weights, ReduceKind::Sum));
}

static Value expandNorm(NormOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  Rows rows{b, loc, cast<RankedTensorType>(op.getType())};
  Value x = op.getInput();
  if (op.getResidual())
    x = rows.make<AddOp>(x, op.getResidual());
  if (op.getKind() == NormKind::Layer)
    x = rows.make<SubOp>(x, rows.reduce(x, ReduceKind::Mean));
  Value variance = rows.reduce(rows.make<MulOp>(x, x), ReduceKind::Mean);
  Type element = rows.type.getElementType();
  Value epsilon = arith::ConstantOp::create(
      b, loc,
      DenseElementsAttr::get(
          RankedTensorType::get({}, element),
          b.getFloatAttr(element, op.getEpsilon().convertToDouble())));
  Value deviation =
      SqrtOp::create(b, loc, rows.one(), rows.make<AddOp>(variance, epsilon));
  x = rows.make<MulOp>(rows.make<DivOp>(x, deviation), op.getWeight());
  for (Value added : {op.getBias(), op.getAfter()})
    if (added)
      x = rows.make<AddOp>(x, added);
  return x;
}

void ferrite::expandWide(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (!isa<SoftmaxOp, NormOp>(op) || !elementTypeOf(op.getResult(0)).isF64())
      continue;
    auto softmax = dyn_cast<SoftmaxOp>(op);
    Value expanded =
        softmax ? expandSoftmax(softmax) : expandNorm(cast<NormOp>(op));
    op.getResult(0).replaceAllUsesWith(expanded);
    op.erase();
  }
}
