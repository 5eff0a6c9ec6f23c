//===- FuseMoE.cpp - Raise products with chosen matrices ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters write an expert as a gather of its matrices, one copy for each
// token and expert, and a product with a column or a row. Product by product
// that is an expert_linear, which copies nothing; routing, activation and
// weighted sum are ordinary ops around it and stay as they are. Exports that
// compute all experts for all tokens are FuseMoEDense.cpp's, loops over experts
// FuseMoELoops.cpp's.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseMoE.h"
#include "passes/Analysis/StoredWeights.h"
#include "passes/Fusion/Passes.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "ferrite-fuse-moe"

namespace ferrite {
#define GEN_PASS_DEF_FUSEMOE
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

Value ferrite::storedValue(OpBuilder &builder, Value value) {
  if (isWeightOrConstant(value))
    return value;
  if (auto transpose = value.getDefiningOp<TransposeOp>()) {
    Value from = storedValue(builder, transpose.getInput());
    return from ? transposeStored(builder, value.getLoc(), from,
                                  transpose.getPerm())
                : Value();
  }
  auto view = value.getDefiningOp<ViewOp>();
  if (!view || !typeOf(view).hasStaticShape())
    return {};
  Value from = storedValue(builder, view.getInput());
  return from ? viewStored(builder, value.getLoc(), from,
                           typeOf(view).getShape())
              : Value();
}

Value ferrite::skipViews(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getInput();
  return value;
}

namespace {
/// table[ids]: slices along the first dim, one for each of `ids`.
struct Chosen {
  Value table, ids;
};

std::optional<Chosen> chosenSlices(Value value) {
  if (auto gather = value.getDefiningOp<GatherOp>();
      gather && gather.getAxis() == 0)
    return Chosen{gather.getData(), gather.getIndices()};
  auto tuples = value.getDefiningOp<GatherNDOp>();
  if (tuples && typeOf(tuples.getIndices()).getShape().back() == 1)
    return Chosen{tuples.getData(), tuples.getIndices()};
  return std::nullopt;
}

/// A product of one vector a slot with the matrix of the slot's expert.
struct Product {
  Chosen matrices;
  Value vectors;     ///< [slots.., H] or with a dim of 1 behind or before H
  bool isTransposed; ///< matrices are [E, N, H]
  int64_t depth, columns;
  /// [T, K] where vectors are of [T, 1]; else empty.
  Dims shared;
};

LogicalResult matchProduct(MatmulOp matmul, DimAnalysis &dims, Product &product,
                           Reject reject) {
  for (bool isLeft : {true, false}) {
    Value side = isLeft ? matmul.getLhs() : matmul.getRhs();
    bool flipped = false;
    if (auto transpose = side.getDefiningOp<TransposeOp>()) {
      ArrayRef<int64_t> perm = transpose.getPerm();
      int64_t rank = perm.size();
      flipped = rank >= 2 && perm[rank - 1] == rank - 2 &&
                perm[rank - 2] == rank - 1 &&
                llvm::equal(perm.drop_back(2), llvm::seq<int64_t>(0, rank - 2));
      if (flipped)
        side = transpose.getInput();
    }
    std::optional<Chosen> chosen = chosenSlices(side);
    if (!chosen || typeOf(chosen->table).getRank() != 3)
      continue;
    product.matrices = *chosen;
    product.vectors = isLeft ? matmul.getRhs() : matmul.getLhs();
    // The one dim of the vectors that is no depth and no slot.
    int64_t last = typeOf(product.vectors).getRank() - 1;
    RankedTensorType table = typeOf(chosen->table);
    product.isTransposed = isLeft != flipped;
    product.depth = table.getDimSize(product.isTransposed ? 2 : 1);
    product.columns = table.getDimSize(product.isTransposed ? 1 : 2);
    if (last < 1 ||
        typeOf(product.vectors).getDimSize(isLeft ? last : last - 1) != 1)
      return reject(
          "more than one row is multiplied with each gathered matrix");
    ArrayRef<DimExpr> rows = dims.getDims(product.vectors).drop_back(2);
    ArrayRef<DimExpr> slots =
        dims.getDims(isLeft ? matmul.getLhs() : matmul.getRhs()).drop_back(2);
    if (rows.size() == 2 && slots.size() == 2 && rows[0] == slots[0] &&
        rows[1].isConstant(1) && slots[1].constant())
      product.shared.assign(slots.begin(), slots.end());
    else if (rows != slots)
      return reject("rows and gathered matrices do not have the same slots");
    Type element = elementTypeOf(matmul.getResult());
    if (element.isF64() || !isa<FloatType>(element) ||
        !isa<FloatType>(elementTypeOf(chosen->table)))
      return reject("experts accumulate in f32, which this product does not");
    return success();
  }
  return reject("no side is a gather of matrices");
}

/// The experts of a product as [T, K], and its rows as [T, 1 or K, H].
struct Slots {
  Value experts, rows;
};

class ProductToExperts final : public OpRewritePattern<MatmulOp> {
public:
  ProductToExperts(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}

  /// Terminates: each application takes one matmul away.
  LogicalResult matchAndRewrite(MatmulOp matmul,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(matmul, reason);
    };
    Product product;
    if (LogicalResult matched = matchProduct(matmul, dims, product, reject);
        failed(matched))
      return matched;
    Location loc = matmul.getLoc();
    Value weight = storedValue(rewriter, product.matrices.table);
    if (weight && product.isTransposed)
      weight = transposeStored(rewriter, loc, weight, {0, 2, 1});
    if (!weight)
      return reject("the matrices of the experts are computed");
    Slots slots = slotsOf(rewriter, loc, product);
    Dims result(dims.getDims(slots.experts));
    result.push_back(DimExpr(product.columns));
    auto linear = ExpertLinearOp::create(
        rewriter, loc, getTensorType(result, elementTypeOf(matmul.getResult())),
        slots.rows, weight, slots.experts, Value(), Value(), Value(), 0, 0);
    rewriter.replaceOpWithNewOp<ViewOp>(
        matmul, matmul.getType(), linear,
        getDimsAttr(rewriter.getContext(), dims.getDims(matmul)));
    reportPassed(loc, DEBUG_TYPE, "turned into ferrite.expert_linear");
    return success();
  }

private:
  Value view(PatternRewriter &rewriter, Location loc, Value value,
             const Dims &to) const {
    if (ArrayRef<DimExpr>(to) == dims.getDims(value))
      return value;
    return ViewOp::create(rewriter, loc,
                          getTensorType(to, elementTypeOf(value)), value,
                          getDimsAttr(rewriter.getContext(), to));
  }

  /// As what chose the experts has them, so that both products of a mixture
  /// have the same; and rows that a broadcast repeats for the choices of a
  /// token are read from before it.
  Slots slotsOf(PatternRewriter &rewriter, Location loc,
                const Product &product) const {
    Value root = skipViews(product.matrices.ids);
    if (!product.shared.empty()) {
      Dims once = {product.shared[0], DimExpr(1), DimExpr(product.depth)};
      return {view(rewriter, loc, root, product.shared),
              view(rewriter, loc, product.vectors, once)};
    }
    Dims experts(dims.getDims(root));
    DimExpr count = ferrite::product(experts);
    if (experts.size() != 2 || !experts[1].constant()) {
      root = product.matrices.ids;
      experts = {count, DimExpr(1)};
    }
    Dims rows = experts;
    rows.push_back(DimExpr(product.depth));
    Value vectors = skipViews(product.vectors);
    if (auto broadcast = vectors.getDefiningOp<BroadcastOp>()) {
      Dims once = rows;
      once[1] = DimExpr(1);
      if (dims.getDims(broadcast) == ArrayRef<DimExpr>(rows) &&
          dims.getDims(broadcast.getInput()) == ArrayRef<DimExpr>(once))
        return {view(rewriter, loc, root, experts), broadcast.getInput()};
    }
    return {view(rewriter, loc, root, experts),
            view(rewriter, loc, product.vectors, rows)};
  }

  DimAnalysis &dims;
};

/// expert_linear + bias[experts] to expert_linear with the bias. Terminates:
/// takes one add away.
class ChosenBiasIntoExperts final : public OpRewritePattern<AddOp> {
public:
  ChosenBiasIntoExperts(MLIRContext *context, DimAnalysis &dims)
      : OpRewritePattern(context), dims(dims) {}
  LogicalResult matchAndRewrite(AddOp add,
                                PatternRewriter &rewriter) const override {
    for (Value side : add->getOperands()) {
      auto linear = skipViews(side).getDefiningOp<ExpertLinearOp>();
      Value other = otherOperand(add, side);
      std::optional<Chosen> chosen = chosenSlices(skipViews(other));
      if (!linear || !chosen || linear.getBias())
        continue;
      RankedTensorType table = typeOf(chosen->table);
      if (table.getRank() != 2 ||
          table.getShape() !=
              ArrayRef<int64_t>({typeOf(linear.getWeight()).getDimSize(0),
                                 typeOf(linear).getDimSize(2)}) ||
          skipViews(chosen->ids) != skipViews(linear.getExperts()))
        return rewriter.notifyMatchFailure(add, "the bias is of others");
      if (!dims.haveSameDims(side, other) || !dims.haveSameDims(side, add))
        return rewriter.notifyMatchFailure(add, "the bias is broadcast");
      Value bias = storedValue(rewriter, chosen->table);
      if (!bias)
        return rewriter.notifyMatchFailure(add, "the bias is computed");
      auto biased = ExpertLinearOp::create(
          rewriter, rewriter.getFusedLoc({linear.getLoc(), add.getLoc()}),
          linear.getType(), linear.getInput(), linear.getWeight(),
          linear.getExperts(), bias, linear.getScales(), linear.getZeroPoints(),
          linear.getBits(), linear.getBlock());
      rewriter.replaceOpWithNewOp<ViewOp>(
          add, add.getType(), biased,
          getDimsAttr(rewriter.getContext(), dims.getDims(add)));
      return success();
    }
    return rewriter.notifyMatchFailure(add, "no product of experts is added");
  }

private:
  DimAnalysis &dims;
};

struct FuseMoEPass final : ferrite::impl::FuseMoEBase<FuseMoEPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    DimListener listener(*dims);
    // Before the patterns: they erase what is not used any more, and fold the
    // biases of the experts into the products.
    IRRewriter rewriter(&getContext(), &listener);
    computeLoopsBySlot(getOperation(), *dims, rewriter);
    RewritePatternSet patterns(&getContext());
    patterns.add<ProductToExperts, ChosenBiasIntoExperts>(&getContext(), *dims);
    populateDenseMixturePatterns(patterns, *dims);
    GreedyRewriteConfig config;
    config.setListener(&listener);
    if (failed(
            applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      return signalPassFailure();
    getOperation().walk(
        [&](ReduceOp reduce) { reportDenseMixture(reduce, *dims); });
    getOperation().walk([&](MatmulOp matmul) {
      auto report = [&](const Twine &reason) -> LogicalResult {
        reportMissed(matmul, DEBUG_TYPE, reason);
        return failure();
      };
      bool isChosen = llvm::any_of(matmul->getOperands(), [](Value side) {
        std::optional<Chosen> chosen = chosenSlices(side);
        return chosen && typeOf(chosen->table).getRank() == 3;
      });
      Product product;
      if (isChosen && succeeded(matchProduct(matmul, *dims, product, report)))
        (void)report("the matrices of the experts are computed");
    });
  }
};
} // namespace
