//===- ContractionOps.cpp - Matrix products and patch convolutions --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/MicrosoftOps.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Fails unless the sizes that are summed over agree.
LogicalResult expectSameK(OpBinder &b, const DimExpr &left,
                          const DimExpr &right) {
  if (left == right)
    return success();
  if ((left.constant() && b.symbols().requireEqual(right, *left.constant())) ||
      (right.constant() && b.symbols().requireEqual(left, *right.constant())))
    return success();
  return b.errorUnlessEqual(left, right,
                            "it multiplies " + left.str() + " columns by " +
                                right.str() + " rows");
}

/// The types that ONNX's products have, of which i32 and up have kernels.
LogicalResult expectFactors(OpBinder &b) {
  Type element = b.input(0).element;
  if (isa<IntegerType>(element) && element.getIntOrFloatBitWidth() < 32)
    return b.unsupported("of narrow integers is not supported");
  return expectOneType(b, 0, 2);
}

/// x * factor; of integers by way of f64, whose result is truncated.
Value scaled(OpBinder &b, Value x, ArrayRef<DimExpr> dims, float factor) {
  Type element = OpBinder::elementOf(x);
  Type held =
      isa<FloatType>(element) ? element : Type(b.builder().getF64Type());
  Value product = b.create<MulOp>(dims, held, b.cast(x, dims, held),
                                  b.scalar(factor, held));
  return b.cast(product, dims, element);
}

LogicalResult importMatMul(OpBinder &b) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  if (failed(expectFactors(b)))
    return failure();
  if (lhs.rank() == 0 || rhs.rank() == 0)
    return b.error("one of its operands is a scalar");
  FailureOr<Value> left = b.data(0), right = b.data(1);
  if (failed(left) || failed(right))
    return failure();
  // A vector is a row on the left, a column on the right, and leaves no dim.
  Dims a = lhs.dims, c = rhs.dims;
  if (lhs.rank() == 1)
    a.insert(a.begin(), DimExpr(1));
  if (rhs.rank() == 1)
    c.push_back(DimExpr(1));
  if (failed(expectSameK(b, a.back(), c[c.size() - 2])))
    return failure();
  FailureOr<Dims> lead =
      b.broadcast(ArrayRef(a).drop_back(2), ArrayRef(c).drop_back(2));
  if (failed(lead))
    return failure();
  Dims dims = *lead;
  dims.append({a[a.size() - 2], c.back()});
  Value result =
      b.create<MatmulOp>(dims, lhs.element, b.view(*left, lhs.dims, a),
                         b.view(*right, rhs.dims, c));
  Dims full = dims;
  if (rhs.rank() == 1)
    dims.pop_back();
  if (lhs.rank() == 1)
    dims.erase(dims.end() - (rhs.rank() == 1 ? 1 : 2));
  return b.setData(b.view(result, full, dims), dims);
}

} // namespace

LogicalResult importGemm(OpBinder &b) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  float alpha = b.floatAttr("alpha", 1.0f), beta = b.floatAttr("beta", 1.0f);
  bool transA = b.intAttr("transA", 0) != 0,
       transB = b.intAttr("transB", 0) != 0;
  if (failed(expectFactors(b)))
    return failure();
  if (lhs.rank() != 2 || rhs.rank() != 2)
    return b.error("its operands have ranks " + Twine(lhs.rank()) + " and " +
                   Twine(rhs.rank()) + ", where ONNX wants 2");
  FailureOr<Value> left = b.data(0), right = b.data(1);
  if (failed(left) || failed(right))
    return failure();
  Dims a = lhs.dims, c = rhs.dims;
  if (transA) {
    *left = b.transpose(*left, a, {1, 0});
    std::swap(a[0], a[1]);
  }
  if (transB) {
    *right = b.transpose(*right, c, {1, 0});
    std::swap(c[0], c[1]);
  }
  if (failed(expectSameK(b, a[1], c[0])))
    return failure();
  Dims dims = {a[0], c[1]};
  Value result = b.create<MatmulOp>(dims, lhs.element, *left, *right);
  if (alpha != 1.0f)
    result = scaled(b, result, dims, alpha);
  if (b.hasInput(2) && beta != 0.0f) {
    FailureOr<Dims> both = b.broadcast(dims, b.input(2).dims);
    FailureOr<Value> bias = b.data(2);
    if (failed(both) || failed(bias))
      return failure();
    if (*both != dims || b.input(2).element != lhs.element)
      return b.error("its C does not broadcast to its result");
    if (beta != 1.0f)
      *bias = scaled(b, *bias, b.input(2).dims, beta);
    result = b.create<AddOp>(dims, lhs.element, result, *bias);
  }
  return b.setData(result, dims);
}

void registerContractionOps(OpTable &table) {
  table.add("MatMul", importMatMul);
  table.add("Gemm", importGemm);
}

} // namespace ferrite::frontend
