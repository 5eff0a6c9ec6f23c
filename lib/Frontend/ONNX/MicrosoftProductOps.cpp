//===- MicrosoftProductOps.cpp - Matrix products of com.microsoft ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Products with a transposition in front and a factor, a bias or an activation
// behind: said with what the standard has, so that the fusions see no other.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/KnownOps.h"
#include "lib/Frontend/ONNX/MicrosoftOps.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// The order of the dims of a factor, its rows and columns last: `transBatch`
/// finds its rows in dim 0, before the batch.
SmallVector<int64_t> factorOrder(size_t rank, bool transposed,
                                 bool transBatch) {
  SmallVector<int64_t> perm;
  for (size_t d = 0; d < rank; ++d)
    perm.push_back(d);
  if (transBatch && rank > 2)
    std::rotate(perm.begin(), perm.begin() + 1, perm.end() - 1);
  if (transposed)
    std::swap(perm[rank - 1], perm[rank - 2]);
  return perm;
}

FailureOr<KnownTensor> importFactor(OpBinder &b, unsigned i) {
  const char *side = i == 0 ? "A" : "B";
  bool transposed = b.intAttr(("trans" + Twine(side)).str(), 0) != 0,
       transBatch = b.intAttr(("transBatch" + Twine(side)).str(), 0) != 0;
  KnownOps ops(b);
  FailureOr<KnownTensor> factor = ops.input(i);
  if (failed(factor))
    return failure();
  size_t rank = factor->dims.size();
  if (rank == 0 || !isa<FloatType>(factor->element))
    return b.unsupported("a factor that is no matrix of floats is not "
                         "supported");
  // A vector is a row on the left and a column on the right, as it is.
  if (rank == 1)
    return ops.view(*factor, i == 0 ? Dims{DimExpr(1), factor->dims[0]}
                                    : Dims{factor->dims[0], DimExpr(1)});
  return ops.transpose(*factor, factorOrder(rank, transposed, transBatch));
}

/// alpha * op(A) * op(B)
LogicalResult importFusedMatMul(OpBinder &b) {
  float alpha = b.floatAttr("alpha", 1.0f);
  if (failed(expectOneType(b, 0, 2)))
    return failure();
  FailureOr<KnownTensor> lhs = importFactor(b, 0), rhs = importFactor(b, 1);
  if (failed(lhs) || failed(rhs))
    return failure();
  const DimExpr &columns = lhs->dims.back(),
                &rows = rhs->dims[rhs->dims.size() - 2];
  if (columns != rows &&
      !(columns.constant() &&
        b.symbols().requireEqual(rows, *columns.constant())) &&
      !(rows.constant() && b.symbols().requireEqual(columns, *rows.constant())))
    return b.errorUnlessEqual(columns, rows,
                              "it multiplies " + columns.str() +
                                  " columns by " + rows.str() + " rows");
  FailureOr<Dims> dims = b.broadcast(ArrayRef(lhs->dims).drop_back(2),
                                     ArrayRef(rhs->dims).drop_back(2));
  if (failed(dims))
    return failure();
  dims->append({lhs->dims[lhs->dims.size() - 2], rhs->dims.back()});
  KnownOps ops(b);
  KnownTensor result{
      b.create<MatmulOp>(*dims, lhs->element, lhs->value, rhs->value), *dims,
      lhs->element};
  if (alpha != 1.0f)
    result = ops.binary<MulOp>(result, ops.number(alpha, result.element));
  Dims left = *dims;
  if (b.input(1).rank() == 1)
    left.pop_back();
  if (b.input(0).rank() == 1)
    left.erase(left.end() - (b.input(1).rank() == 1 ? 1 : 2));
  return b.setData(ops.view(result, left).value, left);
}

/// An activation by its ONNX name, with that op's attributes under the prefix
/// "activation_".
FailureOr<KnownTensor> activate(OpBinder &b, const KnownTensor &x,
                                StringRef name) {
  KnownOps ops(b);
  auto number = [&](double value) { return ops.number(value, x.element); };
  auto alpha = [&](float value) {
    return number(b.floatAttr("activation_alpha", value));
  };
  auto isNegative = [&] { return ops.compare(x, number(0), Predicate::Lt); };
  auto growth = [&](const KnownTensor &factor) {
    return ops.binary<MulOp>(ops.unary<Expm1Op>(x), factor);
  };
  if (name == "Relu")
    return ops.unary<ReluOp>(x);
  if (name == "Tanh")
    return ops.unary<TanhOp>(x);
  if (name == "Sigmoid")
    return ops.unary<SigmoidOp>(x);
  if (name == "LeakyRelu")
    return ops.where(isNegative(), ops.binary<MulOp>(x, alpha(0.01f)), x);
  if (name == "Elu")
    return ops.where(isNegative(), growth(alpha(1)), x);
  if (name == "ThresholdedRelu")
    return ops.where(ops.compare(x, alpha(1), Predicate::Gt), x, number(0));
  if (name == "Softsign")
    return ops.binary<DivOp>(x,
                             ops.binary<AddOp>(ops.unary<AbsOp>(x), number(1)));
  if (name == "Softplus") {
    // Without an overflow: max(x, 0) + log(1 + exp(-|x|)).
    KnownTensor tail = ops.unary<ExpOp>(ops.unary<NegOp>(ops.unary<AbsOp>(x)));
    return ops.binary<AddOp>(ops.unary<ReluOp>(x), ops.unary<Log1pOp>(tail));
  }
  if (name == "HardSigmoid") {
    KnownTensor beta = number(b.floatAttr("activation_beta", 0.5f));
    KnownTensor line =
        ops.binary<AddOp>(ops.binary<MulOp>(x, alpha(0.2f)), beta);
    return ops.binary<MinOp>(ops.binary<MaxOp>(line, number(0)), number(1));
  }
  if (name == "Selu") {
    KnownTensor gamma = number(b.floatAttr("activation_gamma", 1.05070098f));
    return ops.binary<MulOp>(
        ops.where(isNegative(), growth(alpha(1.67326319f)), x), gamma);
  }
  return b.unsupported("attribute 'activation' = '" + name +
                       "' is not supported");
}

/// The result of `product`, then the activation of the node.
LogicalResult importActivated(OpBinder &b, OpHandler product, bool isNeeded) {
  std::string name = b.stringAttr("activation", "");
  if (name.empty() && isNeeded)
    return b.error("it has no attribute 'activation'");
  if (failed(product(b)))
    return failure();
  TensorValue *result = b.importer.find(b.node.output(0));
  if (name.empty() || !result)
    return success();
  FailureOr<KnownTensor> active =
      activate(b, {result->data, result->dims, result->element}, name);
  // Exporters write all parameters, whatever the activation reads of them.
  for (const char *parameter :
       {"activation_alpha", "activation_beta", "activation_gamma"})
    b.floatAttr(parameter, 0);
  return failed(active) ? failure() : b.setData(active->value, active->dims);
}

LogicalResult importFusedGemm(OpBinder &b) {
  return importActivated(b, importGemm, /*isNeeded=*/false);
}
LogicalResult importFusedMatMulActivation(OpBinder &b) {
  return importActivated(b, importFusedMatMul, /*isNeeded=*/true);
}

/// gelu(X * W + bias), by its tanh form.
LogicalResult importGemmFastGelu(OpBinder &b) {
  if (failed(importFusedMatMul(b)))
    return failure();
  KnownOps ops(b);
  TensorValue *result = b.importer.find(b.node.output(0));
  if (!result)
    return success();
  KnownTensor sum{result->data, result->dims, result->element};
  if (b.hasInput(2)) {
    FailureOr<KnownTensor> bias = ops.input(2, {sum.dims.back()}, sum.element);
    if (failed(bias))
      return failure();
    sum = ops.binary<AddOp>(sum, *bias);
  }
  return b.setData(
      b.create<GeluOp>(sum.dims, sum.element, sum.value, Approximate::Tanh),
      sum.dims);
}

} // namespace

void registerMicrosoftProductOps(OpTable &table) {
  table.add("com.microsoft::FusedMatMul", importFusedMatMul, 2, 2);
  table.add("com.microsoft::TransposeMatMul", importFusedMatMul, 2, 2);
  table.add("com.microsoft::FusedMatMulActivation", importFusedMatMulActivation,
            2, 2);
  table.add("com.microsoft::FusedGemm", importFusedGemm, 2, 3);
  table.add("com.microsoft::GemmFastGelu", importGemmFastGelu, 2, 3);
}

} // namespace ferrite::frontend
