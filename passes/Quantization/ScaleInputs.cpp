//===- ScaleInputs.cpp - Change what a product is fed ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Quantization/ScaleInputs.h"

#include "mlir/IR/Matchers.h"
#include "passes/Analysis/Matchers.h"

using namespace mlir;
using namespace ferrite;

std::vector<float> ferrite::floatsOf(Value value, int64_t count) {
  DenseElementsAttr dense;
  std::vector<float> values;
  if (!value || !matchPattern(value, m_Constant(&dense)) ||
      !isa<FloatType>(dense.getElementType()) ||
      dense.getNumElements() != count)
    return values;
  for (APFloat each : dense.getValues<APFloat>()) {
    bool lossy;
    each.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &lossy);
    values.push_back(each.convertToFloat());
  }
  return values;
}

Value ferrite::makeFloats(OpBuilder &builder, Location loc,
                          ArrayRef<float> values) {
  auto type =
      RankedTensorType::get({int64_t(values.size())}, builder.getF32Type());
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(type, values));
}

const char *ferrite::whyNotScaled(Value value) {
  if (!elementTypeOf(value).isF32())
    return "its input is not of f32";
  int64_t depth = typeOf(value).getShape().back();
  Operation *op = value.getDefiningOp();
  if (auto norm = dyn_cast_or_null<NormOp>(op)) {
    if (norm.getAfter())
      return "the norm that makes its input adds a residual";
    if (floatsOf(norm.getWeight(), depth).empty() ||
        (norm.getBias() && floatsOf(norm.getBias(), depth).empty()))
      return "the norm that makes its input has no constant weight";
    return nullptr;
  }
  if (auto linear = dyn_cast_or_null<LinearOp>(op))
    return nullptr;
  return "what makes its input has neither a weight nor an epilogue";
}

void ferrite::divideBy(Value value, ArrayRef<float> factors) {
  Operation *op = value.getDefiningOp();
  OpBuilder b(op);
  int64_t depth = int64_t(factors.size());
  if (auto norm = dyn_cast<NormOp>(op)) {
    std::vector<float> weight = floatsOf(norm.getWeight(), depth),
                       bias = norm.getBias() ? floatsOf(norm.getBias(), depth)
                                             : std::vector<float>();
    for (int64_t k = 0; k < depth; ++k) {
      weight[k] /= factors[k];
      if (!bias.empty())
        bias[k] /= factors[k];
    }
    norm.getWeightMutable().assign(makeFloats(b, norm.getLoc(), weight));
    if (!bias.empty())
      norm.getBiasMutable().assign(makeFloats(b, norm.getLoc(), bias));
    return;
  }
  auto linear = cast<LinearOp>(op);
  std::vector<float> inverse;
  for (float factor : factors)
    inverse.push_back(1 / factor);
  Location loc = linear.getLoc();
  linear.getSidesMutable().append(makeFloats(b, loc, inverse));
  Block &block = linear.getEpilogue().front();
  Value scale = block.addArgument(b.getF32Type(), loc);
  Operation *end = block.getTerminator();
  OpBuilder inside(end);
  end->setOperand(
      0, arith::MulFOp::create(inside, loc, end->getOperand(0), scale));
}

Value ferrite::multiplyBlocks(OpBuilder &b, Value input, ArrayRef<float> matrix,
                              int64_t size, DimAnalysis &dims) {
  MLIRContext *context = b.getContext();
  Location loc = input.getLoc();
  Dims own(dims.getDims(input)), split(own);
  split.back() = DimExpr(*own.back().constant() / size);
  split.push_back(DimExpr(size));
  Type f32 = b.getF32Type();
  auto type = RankedTensorType::get({size, size}, f32);
  Value weight =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, matrix));
  Value viewed = ViewOp::create(b, loc, getTensorType(split, f32), input,
                                getDimsAttr(context, split));
  Value product =
      LinearOp::create(b, loc, getTensorType(split, f32), viewed, weight);
  return ViewOp::create(b, loc, getTensorType(own, f32), product,
                        getDimsAttr(context, own));
}
