//===- FuseMoEDense.cpp - Mixtures that compute every expert --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Some exports take every token through every expert and weight what comes out
// with mostly zeros:
//
//   sum over e of f(x[t], e) * R[e, t],   R = transpose(scatter(0, experts, w))
//
// f is read backwards from the product: elementwise ops, slices of columns and
// batched products with the experts' matrices. If that is all there is, only
// the chosen experts are computed: sum over k of f(x[t], experts[t, k]) * w[t,
// k]. An infinity of an expert that was not chosen, which times 0 would be a
// NaN, is then not seen; that is the one difference.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/StoredWeights.h"
#include "passes/Fusion/FuseMoE.h"

#include "mlir/IR/IRMapping.h"

#define DEBUG_TYPE "ferrite-fuse-moe"

using namespace mlir;
using namespace ferrite;

bool ferrite::isElementwise(Operation *op) {
  return isa<AddOp, SubOp, MulOp, DivOp, MaxOp, MinOp, PowOp, NegOp, AbsOp,
             SigmoidOp, TanhOp, ExpOp, ErfOp, ReluOp, GeluOp, CastOp, CompareOp,
             WhereOp, ReciprocalOp>(op);
}

/// A weight or constant behind views and transposes.
static bool isStorable(Value value) {
  while (isa_and_nonnull<ViewOp, TransposeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return isWeightOrConstant(value);
}

namespace {
/// One attempt at a reduction over experts.
class DenseMixture {
public:
  DenseMixture(ReduceOp root, DimAnalysis &dims) : root(root), dims(dims) {}
  LogicalResult match(Reject reject);
  Value build(PatternRewriter &rewriter);

private:
  /// Whether a value of dims [experts, tokens.., columns] is a function of
  /// each token and expert alone.
  LogicalResult check(Value value, Reject reject);
  LogicalResult checkOperand(Value operand, Reject reject);
  /// [tokens, 1, columns] of rows that are the same for all experts, or null.
  Value commonRows(Value rows, PatternRewriter *rewriter);
  bool isOfSlots(Value value);
  bool isRowOfExperts(Value value);

  Value buildChosen(Value value, PatternRewriter &rewriter);
  Value buildOperand(Value operand, PatternRewriter &rewriter);
  Value view(PatternRewriter &rewriter, Value value, const Dims &to) {
    return ViewOp::create(rewriter, value.getLoc(),
                          getTensorType(to, elementTypeOf(value)), value,
                          getDimsAttr(rewriter.getContext(), to));
  }

  ReduceOp root;
  DimAnalysis &dims;
  ScatterElementsOp scatter;
  Value weighted, experts;
  DimExpr count = 0, tokens = 0;
  Dims slots; ///< [tokens, choices]
  llvm::DenseSet<Value> checked;
  llvm::DenseMap<Value, Value> built;
};
} // namespace

bool DenseMixture::isOfSlots(Value value) {
  ArrayRef<DimExpr> shape = dims.getDims(value);
  return shape.size() >= 3 && shape[0] == count &&
         product(shape.drop_front().drop_back()) == tokens;
}

bool DenseMixture::isRowOfExperts(Value value) {
  ArrayRef<DimExpr> shape = dims.getDims(value);
  return shape.size() >= 3 && shape[0] == count && isStorable(value) &&
         product(shape.drop_front().drop_back()).isConstant(1) &&
         shape.back().constant();
}

Value DenseMixture::commonRows(Value rows, PatternRewriter *rewriter) {
  auto isCommon = [&](Value value) {
    ArrayRef<DimExpr> shape = dims.getDims(value);
    if (shape.size() >= 3 && shape[0].isConstant(1))
      shape = shape.drop_front();
    else if (shape.size() != 2)
      return false;
    return product(shape.drop_back()) == tokens && shape.back().constant();
  };
  if (!isCommon(rows)) {
    auto broadcast = skipViews(rows).getDefiningOp<BroadcastOp>();
    if (!broadcast || !isCommon(broadcast.getInput()) ||
        !isOfSlots(broadcast) || !isOfSlots(rows) ||
        dims.getDims(broadcast).back() != dims.getDims(rows).back())
      return {};
    rows = broadcast.getInput();
  }
  if (!rewriter)
    return rows;
  return view(*rewriter, rows, {tokens, DimExpr(1), dims.getDims(rows).back()});
}

LogicalResult DenseMixture::checkOperand(Value operand, Reject reject) {
  ArrayRef<DimExpr> shape = dims.getDims(operand);
  bool isScalar = product(shape).isConstant(1);
  if (isScalar || (shape.size() == 1 && isStorable(operand)) ||
      isRowOfExperts(operand))
    return success();
  return check(operand, reject);
}

LogicalResult DenseMixture::check(Value value, Reject reject) {
  if (!checked.insert(value).second)
    return success();
  Operation *op = value.getDefiningOp();
  if (!op || !isOfSlots(value))
    return reject("an operand is not of experts and tokens");
  if (isElementwise(op)) {
    for (Value operand : op->getOperands())
      if (LogicalResult found = checkOperand(operand, reject); failed(found))
        return found;
    return success();
  }
  if (auto to = dyn_cast<ViewOp>(op)) {
    if (dims.getDims(value).back() != dims.getDims(to.getInput()).back())
      return reject("a view moves columns between tokens");
    return check(to.getInput(), reject);
  }
  if (auto slice = dyn_cast<SliceOp>(op)) {
    if (dims.getDims(value).drop_back() !=
        dims.getDims(slice.getInput()).drop_back())
      return reject("a slice chooses experts or tokens");
    return check(slice.getInput(), reject);
  }
  auto matmul = dyn_cast<MatmulOp>(op);
  if (!matmul)
    return reject("an op on experts and tokens is no elementwise op, slice or "
                  "product");
  ArrayRef<DimExpr> matrices = dims.getDims(matmul.getRhs());
  Type element = elementTypeOf(value);
  if (matrices.size() != 3 || matrices[0] != count ||
      dims.getDims(value).size() != 3 || !isStorable(matmul.getRhs()))
    return reject("a product is not with one matrix of the model each expert");
  if (element.isF64() || !isa<FloatType>(element))
    return reject("experts accumulate in f32, which this product does not");
  return commonRows(matmul.getLhs(), nullptr) ? success()
                                              : check(matmul.getLhs(), reject);
}

LogicalResult DenseMixture::match(Reject reject) {
  auto mul = root.getInput().getDefiningOp<MulOp>();
  if (root.getKind() != ReduceKind::Sum ||
      root.getAxes() != ArrayRef<int64_t>{0} || !mul)
    return reject("no sum of products over the first dim");
  for (Value side : mul->getOperands()) {
    auto transpose = skipViews(side).getDefiningOp<TransposeOp>();
    if (!transpose || transpose.getPerm() != ArrayRef<int64_t>{1, 0})
      continue;
    scatter = transpose.getInput().getDefiningOp<ScatterElementsOp>();
    if (!scatter)
      continue;
    weighted = otherOperand(mul, side);
    ArrayRef<DimExpr> all = dims.getDims(scatter);
    tokens = all[0];
    count = all[1];
    experts = scatter.getIndices();
    slots.assign(dims.getDims(experts).begin(), dims.getDims(experts).end());
    if (scatter.getCombine() != CombineKind::None || scatter.getAxis() != 1 ||
        getSplat(scatter.getData()) != 0.0)
      return reject("weights are not scattered into zeros of tokens x experts");
    if (!skipViews(experts).getDefiningOp<TopKOp>() || !slots[1].constant() ||
        slots[0] != tokens || !count.constant())
      return reject(
          "the experts of a token are not the best of a known number");
    if (!isOfSlots(side) || !dims.getDims(side).back().isConstant(1))
      return reject("the weights are not of experts and tokens");
    return check(weighted, reject);
  }
  return reject("no factor is a scatter of weights");
}

Value DenseMixture::buildOperand(Value operand, PatternRewriter &rewriter) {
  ArrayRef<DimExpr> shape = dims.getDims(operand);
  if (product(shape).isConstant(1))
    return shape.empty() ? operand : view(rewriter, operand, {});
  if (shape.size() == 1)
    return operand;
  if (!isRowOfExperts(operand))
    return buildChosen(operand, rewriter);
  int64_t columns = *shape.back().constant();
  Value rows = view(rewriter, operand, {count, DimExpr(columns)});
  Dims chosen = slots;
  chosen.push_back(DimExpr(columns));
  return GatherOp::create(rewriter, operand.getLoc(),
                          getTensorType(chosen, elementTypeOf(operand)), rows,
                          experts, 0);
}

Value DenseMixture::buildChosen(Value value, PatternRewriter &rewriter) {
  Value &known = built[value];
  if (known)
    return known;
  Operation *op = value.getDefiningOp();
  Location loc = op->getLoc();
  Dims shape = slots;
  shape.push_back(dims.getDims(value).back());
  Type type = getTensorType(shape, elementTypeOf(value));
  Value result;
  if (isElementwise(op)) {
    IRMapping mapping;
    for (Value operand : op->getOperands())
      mapping.map(operand, buildOperand(operand, rewriter));
    Operation *clone = rewriter.clone(*op, mapping);
    clone->getResult(0).setType(type);
    result = clone->getResult(0);
  } else if (auto to = dyn_cast<ViewOp>(op)) {
    result = buildChosen(to.getInput(), rewriter);
  } else if (auto slice = dyn_cast<SliceOp>(op)) {
    Dims offsets = {DimExpr(0), DimExpr(0),
                    parseDims(slice.getOffsets())->back()};
    SmallVector<int64_t> steps = {1, 1, slice.getSteps().back()};
    MLIRContext *context = rewriter.getContext();
    result = SliceOp::create(
        rewriter, loc, type, buildChosen(slice.getInput(), rewriter),
        getDimsAttr(context, offsets), steps, getDimsAttr(context, shape));
  } else {
    auto matmul = cast<MatmulOp>(op);
    Value rows = commonRows(matmul.getLhs(), &rewriter);
    if (!rows)
      rows = buildChosen(matmul.getLhs(), rewriter);
    Value weight = storedValue(rewriter, matmul.getRhs());
    if (rows && weight)
      result = ExpertLinearOp::create(rewriter, loc, type, rows, weight,
                                      experts, Value(), Value(), Value(), 0, 0);
  }
  return built[value] = result;
}

Value DenseMixture::build(PatternRewriter &rewriter) {
  Location loc = root.getLoc();
  rewriter.setInsertionPoint(root);
  Value chosen = buildChosen(weighted, rewriter);
  if (!chosen)
    return {};
  Dims each = slots;
  each.push_back(DimExpr(1));
  Value weights = view(rewriter, scatter.getUpdates(), each);
  Value product =
      MulOp::create(rewriter, loc, Type(chosen.getType()), chosen, weights);
  Dims sum = {tokens, dims.getDims(weighted).back()};
  Value result = ReduceOp::create(
      rewriter, loc, getTensorType(sum, elementTypeOf(root.getResult())),
      product, ReduceKind::Sum, ArrayRef<int64_t>{1}, false);
  return view(rewriter, result, Dims(dims.getDims(root)));
}

namespace {
/// Terminates: takes a reduction over a scatter's experts away.
struct ChooseExperts final : OpRewritePattern<ReduceOp> {
  ChooseExperts(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}
  LogicalResult matchAndRewrite(ReduceOp root,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(root, reason);
    };
    DenseMixture mixture(root, dims);
    if (LogicalResult matched = mixture.match(reject); failed(matched))
      return matched;
    Value result = mixture.build(rewriter);
    if (!result)
      return reject("the matrices of the experts are in several pieces");
    reportPassed(root.getLoc(), DEBUG_TYPE,
                 "computes the chosen experts alone");
    rewriter.replaceOp(root, result);
    return success();
  }
  DimAnalysis &dims;
};
} // namespace

void ferrite::populateDenseMixturePatterns(RewritePatternSet &patterns,
                                           DimAnalysis &dims) {
  patterns.add<ChooseExperts>(patterns.getContext(), dims);
}

void ferrite::reportDenseMixture(ReduceOp root, DimAnalysis &dims) {
  auto mul = root.getInput().getDefiningOp<MulOp>();
  auto isScatter = [](Value side) {
    auto transpose = skipViews(side).getDefiningOp<TransposeOp>();
    return transpose && transpose.getInput().getDefiningOp<ScatterElementsOp>();
  };
  if (mul && llvm::any_of(mul->getOperands(), isScatter))
    (void)DenseMixture(root, dims)
        .match([&](const Twine &reason) -> LogicalResult {
          reportMissed(root, DEBUG_TYPE, reason);
          return failure();
        });
}
