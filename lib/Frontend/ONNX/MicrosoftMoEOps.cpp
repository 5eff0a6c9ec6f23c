//===- MicrosoftMoEOps.cpp - Mixtures of experts of com.microsoft ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Routing, products of experts, the activation between and the weighted sum,
// each an op of its own: what exporters' graphs become too.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ExpertMatrices.h"
#include "lib/Frontend/ONNX/MicrosoftOps.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// A mixture of experts: attributes, and where its inputs are.
class MixtureImporter {
public:
  MixtureImporter(OpBinder &b, bool isQuantized)
      : b(b), ops(b), matrices(b), isQuantized(isQuantized) {}
  LogicalResult import();

private:
  LogicalResult readAttributes();
  LogicalResult readTokens();
  /// Chooses experts [T, K] and their weights [T, K, 1] in the routing.
  LogicalResult route();
  KnownTensor chooseSparsely(const KnownTensor &logits, KnownTensor &experts);
  KnownTensor activate(const KnownTensor &x);
  KnownTensor gate(KnownTensor glu, KnownTensor linear);
  FailureOr<KnownTensor> hidden(const KnownTensor &rows);

  OpBinder &b;
  KnownOps ops;
  ExpertMatrices matrices;
  bool isQuantized;
  MatrixInputs first, second, third;
  unsigned routerWeights = 0;

  std::string activation;
  int64_t choices = 1, fusion = 0;
  bool normalizes = false, isSparse = false;
  float alpha = 1, beta = 0;
  std::optional<float> limit;

  Dims tokens; ///< dims of the input before the last
  int64_t depth = 0, inner = 0;
  KnownTensor input, experts, weights;
};
} // namespace

LogicalResult MixtureImporter::readAttributes() {
  choices = b.intAttr("k", 1);
  activation = b.stringAttr("activation_type", "relu");
  normalizes = b.intAttr("normalize_routing_weights", 0) != 0;
  isSparse = b.intAttr("use_sparse_mixer", 0) != 0;
  alpha = b.floatAttr("activation_alpha", 1);
  beta = b.floatAttr("activation_beta", 0);
  fusion = b.intAttr("swiglu_fusion", 0);
  if (b.hasAttr("swiglu_limit"))
    limit = b.floatAttr("swiglu_limit", 0);
  if (isQuantized) {
    matrices.bits = b.intAttr("expert_weight_bits", 4);
    matrices.blockSize = b.intAttr("block_size", 0);
    std::string type = b.stringAttr("quant_type", "int");
    int64_t prepacked = b.intAttr("weights_prepacked", -1);
    // How inexact an implementation may be. Ours is exact.
    (void)b.intAttr("accuracy_level", 0);
    if (type != "int")
      return b.unsupported("quant_type '" + type +
                           "' is not supported, only "
                           "'int' is");
    if (prepacked == 1)
      return b.unsupported("weights that another runtime has packed "
                           "(weights_prepacked) are not supported");
    for (unsigned i : {15, 16, 17, 18, 19, 20})
      if (b.hasInput(i))
        return b.unsupported("its input " + Twine(i) +
                             ", a scale of floating-point weights, is not "
                             "supported");
  }
  static constexpr StringRef known[] = {"relu", "gelu", "silu", "swiglu",
                                        "identity"};
  if (!llvm::is_contained(known, activation))
    return b.error("its activation_type '" + activation +
                   "' is none of relu, gelu, silu, swiglu and identity");
  if (activation != "swiglu" && fusion != 0)
    return b.error("it has swiglu_fusion without activation_type 'swiglu'");
  if (fusion < 0 || fusion > 2)
    return b.error("its swiglu_fusion is " + Twine(fusion) +
                   ", which is none of 0, 1 and 2");
  bool hasThird = b.hasInput(third.weight);
  if (hasThird && fusion != 0)
    return b.error("it has a third matrix besides a fused swiglu");
  if (!hasThird && activation == "swiglu" && fusion == 0)
    return b.error("its swiglu has neither a third matrix nor is it fused");
  if (!hasThird && third.bias && b.hasInput(third.bias))
    return b.error("it has the bias of a third matrix without the matrix");
  if (isSparse && choices != 2)
    return b.error("its sparse mixer chooses 2 experts, but k is " +
                   Twine(choices));
  return success();
}

LogicalResult MixtureImporter::readTokens() {
  FailureOr<KnownTensor> data = ops.input(0);
  if (failed(data))
    return failure();
  size_t rank = data->dims.size();
  auto isShort = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  if ((rank != 2 && rank != 3) || !isShort(data->element))
    return b.error("its input is no 2-D or 3-D tensor of f32, f16 or bf16");
  if (!data->dims.back().constant())
    return b.unsupported("its hidden size is not known: " +
                         data->dims.back().str());
  depth = *data->dims.back().constant();
  tokens.assign(data->dims.begin(), data->dims.end() - 1);
  input =
      ops.view(*data, {ferrite::product(tokens), DimExpr(1), DimExpr(depth)});
  auto shape = b.input(first.weight).dims, last = b.input(second.weight).dims;
  if (shape.size() != 3 || last.size() != 3 || !shape[0].constant() ||
      !shape[1].constant() || last[1] != DimExpr(depth))
    return b.error("the matrices of its experts are " + printDims(shape) +
                   " and " + printDims(last) + ", which do not lead from " +
                   Twine(depth) + " to " + Twine(depth));
  matrices.groups = *shape[0].constant();
  inner = *shape[1].constant();
  if (fusion != 0) {
    if (inner % 2 != 0)
      return b.error("its fused swiglu has " + Twine(inner) +
                     " columns, which are no two halves");
    inner /= 2;
  }
  if (choices < 1 || choices > matrices.groups)
    return b.error("its k is " + Twine(choices) + " of " +
                   Twine(matrices.groups) + " experts");
  return success();
}

//===--- routing ----------------------------------------------------------===//

/// Phi-MoE's: the best expert, weighted among those nearly as good; then the
/// best of the others in the same way.
KnownTensor MixtureImporter::chooseSparsely(const KnownTensor &logits,
                                            KnownTensor &chosen) {
  constexpr double jitter = 0.01;
  Type f32 = logits.element;
  KnownTensor lowest = ops.number(-std::numeric_limits<float>::infinity(), f32);
  KnownTensor numbers =
      ops.iota(DimExpr(matrices.groups), 1, 2, b.builder().getI64Type());
  Dims one = {logits.dims[0], DimExpr(1)};
  SmallVector<KnownTensor> experts, weights;
  KnownTensor left = logits;
  for (int i = 0; i < 2; ++i) {
    KnownTensor best{b.create<TopKOp>(one, b.builder().getI64Type(), left.value,
                                      1, b.dimsAttr({DimExpr(1)}), false),
                     one, b.builder().getI64Type()};
    KnownTensor most = ops.reduce(left, ReduceKind::Max, 1);
    KnownTensor size = ops.binary<MaxOp>(ops.unary<AbsOp>(logits), most);
    KnownTensor distance =
        ops.binary<DivOp>(ops.binary<SubOp>(most, logits), size);
    KnownTensor far =
        ops.compare(distance, ops.number(2 * jitter, f32), Predicate::Gt);
    KnownTensor near = ops.where(far, lowest, left);
    near.value = b.create<SoftmaxOp>(near.dims, f32, near.value);
    weights.push_back(
        {b.create<GatherElementsOp>(one, f32, near.value, best.value, 1), one,
         f32});
    experts.push_back(best);
    left = ops.where(ops.compare(numbers, best, Predicate::Eq), lowest, left);
  }
  chosen = ops.concat(experts, 1);
  return ops.concat(weights, 1);
}

LogicalResult MixtureImporter::route() {
  FailureOr<KnownTensor> logits = ops.input(
      1, {ferrite::product(tokens), DimExpr(matrices.groups)}, input.element);
  if (failed(logits))
    return failure();
  Type f32 = b.builder().getF32Type(), i64 = b.builder().getI64Type();
  KnownTensor scores = ops.cast(*logits, f32);
  Dims chosen = {scores.dims[0], DimExpr(choices)};
  if (isSparse) {
    if (routerWeights && b.hasInput(routerWeights))
      return b.unsupported("router weights besides a sparse mixer are not "
                           "supported");
    weights = chooseSparsely(scores, experts);
  } else {
    KnownTensor from = scores;
    from.value = b.create<SoftmaxOp>(scores.dims, f32, scores.value);
    experts = {b.create<TopKOp>(chosen, i64, from.value, 1,
                                b.dimsAttr({DimExpr(choices)}), false),
               chosen, i64};
    if (routerWeights && b.hasInput(routerWeights)) {
      FailureOr<KnownTensor> given =
          ops.input(routerWeights, scores.dims, input.element);
      if (failed(given))
        return failure();
      from = ops.cast(*given, f32);
    } else if (isQuantized) {
      // ONNX Runtime's kernel for CPUs takes the softmax of the chosen alone,
      // whatever normalize_routing_weights says.
      normalizes = true;
    }
    weights = {
        b.create<GatherElementsOp>(chosen, f32, from.value, experts.value, 1),
        chosen, f32};
    if (normalizes)
      weights =
          ops.binary<DivOp>(weights, ops.reduce(weights, ReduceKind::Sum, 1));
  }
  weights = ops.view(weights, {chosen[0], chosen[1], DimExpr(1)});
  return success();
}

//===--- between the products ---------------------------------------------===//

KnownTensor MixtureImporter::activate(const KnownTensor &x) {
  if (activation == "relu")
    return ops.unary<ReluOp>(x);
  if (activation == "gelu")
    return {b.create<GeluOp>(x.dims, x.element, x.value, Approximate::Tanh),
            x.dims, x.element};
  if (activation == "silu")
    return ops.binary<MulOp>(x, ops.unary<SigmoidOp>(x));
  return x;
}

/// g * sigmoid(alpha * g) * (l + beta), clamped before.
KnownTensor MixtureImporter::gate(KnownTensor glu, KnownTensor linear) {
  auto number = [&](double value) { return ops.number(value, glu.element); };
  if (limit) {
    glu = ops.binary<MinOp>(glu, number(*limit));
    linear = ops.binary<MinOp>(ops.binary<MaxOp>(linear, number(-*limit)),
                               number(*limit));
  }
  KnownTensor scaled = alpha == 1 ? glu : ops.binary<MulOp>(glu, number(alpha));
  glu = ops.binary<MulOp>(glu, ops.unary<SigmoidOp>(scaled));
  if (beta != 0)
    linear = ops.binary<AddOp>(linear, number(beta));
  return ops.binary<MulOp>(glu, linear);
}

FailureOr<KnownTensor> MixtureImporter::hidden(const KnownTensor &rows) {
  FailureOr<KnownTensor> up =
      matrices.product(rows, experts, first, fusion == 0 ? inner : 2 * inner);
  if (failed(up))
    return failure();
  if (fusion == 1)
    return gate(ops.slice(*up, 2, DimExpr(0), DimExpr(inner), 2),
                ops.slice(*up, 2, DimExpr(1), DimExpr(inner), 2));
  if (fusion == 2)
    return gate(ops.slice(*up, 2, DimExpr(0), DimExpr(inner)),
                ops.slice(*up, 2, DimExpr(inner), DimExpr(inner)));
  if (!b.hasInput(third.weight))
    return activate(*up);
  FailureOr<KnownTensor> linear = matrices.product(rows, experts, third, inner);
  if (failed(linear))
    return failure();
  return activation == "swiglu" ? gate(*up, *linear)
                                : ops.binary<MulOp>(activate(*up), *linear);
}

LogicalResult MixtureImporter::import() {
  if (isQuantized) {
    first = {2, 4, 3, 11, "fc1_expert_weight_bits"};
    second = {5, 7, 6, 12, "fc2_expert_weight_bits"};
    third = {8, 10, 9, 13, "fc3_expert_weight_bits"};
    routerWeights = 14;
  } else {
    first = {2, 3};
    second = {4, 5};
    third = {6, 7};
  }
  if (failed(requireInputs(b, {0, 1, first.weight, second.weight})) ||
      failed(readAttributes()) || failed(readTokens()) || failed(route()))
    return failure();
  FailureOr<KnownTensor> between = hidden(input);
  if (failed(between))
    return failure();
  FailureOr<KnownTensor> each =
      matrices.product(*between, experts, second, depth);
  if (failed(each))
    return failure();
  if (isQuantized && !b.hasInput(third.weight))
    (void)b.intAttr(third.bitsName, matrices.bits);
  // In f32, as the weights of routing are; rounded once.
  Type f32 = b.builder().getF32Type();
  KnownTensor sum = ops.reduce(ops.binary<MulOp>(ops.cast(*each, f32), weights),
                               ReduceKind::Sum, 1);
  Dims dims = tokens;
  dims.push_back(DimExpr(depth));
  sum = ops.view(ops.cast(sum, input.element), dims);
  return b.setData(sum.value, dims);
}

static LogicalResult importMoE(OpBinder &b) {
  return MixtureImporter(b, false).import();
}

static LogicalResult importQMoE(OpBinder &b) {
  return MixtureImporter(b, true).import();
}

void registerMicrosoftMoEOps(OpTable &table) {
  table.add("com.microsoft::MoE", importMoE, 2, 8);
  table.add("com.microsoft::QMoE", importQMoE, 2, 21);
}

} // namespace ferrite::frontend
