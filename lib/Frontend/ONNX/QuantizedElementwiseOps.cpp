//===- QuantizedElementwiseOps.cpp - What QOperator models put between ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// com.microsoft ops that are defined as an op of numbers between dequantization
// and quantization, with one scale for each tensor.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Quantize.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

template <typename OpTy>
LogicalResult importBinary(OpBinder &b) {
  FailureOr<Value> lhs = dequantizeInput(b, 0), rhs = dequantizeInput(b, 3);
  if (failed(lhs) || failed(rhs))
    return failure();
  FailureOr<Dims> dims = b.broadcast(b.input(0).dims, b.input(3).dims);
  if (failed(dims))
    return failure();
  Value result = b.create<OpTy>(*dims, b.builder().getF32Type(), *lhs, *rhs);
  return setQuantized(b, result, *dims, 6, b.input(0).element);
}

LogicalResult importSigmoid(OpBinder &b) {
  FailureOr<Value> input = dequantizeInput(b, 0);
  if (failed(input))
    return failure();
  Dims dims = b.input(0).dims;
  Value result = b.create<SigmoidOp>(dims, b.builder().getF32Type(), *input);
  return setQuantized(b, result, dims, 3, b.input(0).element);
}

LogicalResult importLeakyRelu(OpBinder &b) {
  float alpha = b.floatAttr("alpha", 0.01f);
  FailureOr<Value> input = dequantizeInput(b, 0);
  if (failed(input))
    return failure();
  Type f32 = b.builder().getF32Type();
  Dims dims = b.input(0).dims;
  Value low = b.create<MulOp>(dims, f32, *input, b.scalar(alpha, f32));
  Value isLow = b.create<CompareOp>(dims, b.builder().getI1Type(), *input,
                                    b.scalar(0, f32), Predicate::Lt);
  Value result = b.create<WhereOp>(dims, f32, isLow, low, *input);
  return setQuantized(b, result, dims, 3, b.input(0).element);
}

LogicalResult importSoftmax(OpBinder &b) {
  int64_t axis = b.intAttr("axis", -1), opset = b.intAttr("opset", 13);
  FailureOr<Value> input = dequantizeInput(b, 0);
  FailureOr<int64_t> normal = b.normalizeAxis(axis, b.input(0).rank());
  if (failed(input) || failed(normal))
    return failure();
  Dims dims = b.input(0).dims;
  if (*normal + 1 != static_cast<int64_t>(dims.size()))
    return b.unsupported(opset < 13 ? "over several dims is not supported"
                                    : "over another dim than the last is not "
                                      "supported");
  Value result = b.create<SoftmaxOp>(dims, b.builder().getF32Type(), *input);
  return setQuantized(b, result, dims, 3, b.input(0).element);
}

LogicalResult importWhere(OpBinder &b) {
  FailureOr<Value> condition = b.data(0), lhs = dequantizeInput(b, 1),
                   rhs = dequantizeInput(b, 4);
  if (failed(condition) || failed(lhs) || failed(rhs))
    return failure();
  if (!b.input(0).element.isInteger(1))
    return b.error("its condition is not of bool");
  FailureOr<Dims> dims = b.broadcast(b.input(1).dims, b.input(4).dims);
  if (succeeded(dims))
    dims = b.broadcast(*dims, b.input(0).dims);
  if (failed(dims))
    return failure();
  Value result = b.create<WhereOp>(*dims, b.builder().getF32Type(), *condition,
                                   *lhs, *rhs);
  return setQuantized(b, result, *dims, 7, b.input(1).element);
}

/// Scale and zero point of the result, then three inputs for each part.
LogicalResult importConcat(OpBinder &b) {
  if (b.numInputs() < 5 || (b.numInputs() - 2) % 3 != 0)
    return b.error("it has " + Twine(b.numInputs()) +
                   " inputs, which are not 2 and 3 for each part");
  for (unsigned i = 2; i < b.numInputs(); ++i)
    if (!b.hasInput(i) && (i - 2) % 3 != 2) // zero points may be missing
      return b.error("its input " + Twine(i) + " is missing");
  FailureOr<int64_t> axis =
      b.normalizeAxis(b.intAttr("axis", 0), b.input(2).rank());
  if (failed(axis))
    return failure();
  Dims dims = b.input(2).dims;
  dims[*axis] = DimExpr(0);
  SmallVector<Value> parts;
  for (unsigned i = 2; i < b.numInputs(); i += 3) {
    FailureOr<Value> part = dequantizeInput(b, i);
    if (failed(part))
      return failure();
    Dims expected = dims, own = b.input(i).dims;
    if (own.size() != dims.size())
      return b.error("its parts have different ranks");
    expected[*axis] = own[*axis];
    if (own != expected)
      return b.error("its parts do not fit beside each other");
    dims[*axis] = dims[*axis] + own[*axis];
    parts.push_back(*part);
  }
  Value result = b.create<ConcatOp>(dims, b.builder().getF32Type(), parts,
                                    static_cast<uint64_t>(*axis));
  return setQuantized(b, result, dims, 0, b.input(2).element);
}

} // namespace

void registerQuantizedElementwiseOps(OpTable &table) {
  table.add("com.microsoft::QLinearAdd", importBinary<AddOp>, 7, 8);
  table.add("com.microsoft::QLinearMul", importBinary<MulOp>, 7, 8);
  table.add("com.microsoft::QLinearSigmoid", importSigmoid, 4, 5);
  table.add("com.microsoft::QLinearLeakyRelu", importLeakyRelu, 4, 5);
  table.add("com.microsoft::QLinearSoftmax", importSoftmax, 4, 5);
  table.add("com.microsoft::QLinearWhere", importWhere, 8, 9);
  table.add("com.microsoft::QLinearConcat", importConcat, 5);
}

} // namespace ferrite::frontend
