//===- ContractionOps.cpp - Matrix products and patch convolutions --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"

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
  return b.error("it multiplies " + left.str() + " columns by " + right.str() +
                 " rows");
}

LogicalResult expectFloat(OpBinder &b) {
  if (!isa<FloatType>(b.input(0).element))
    return b.unsupported("of integers is not supported");
  return expectOneType(b, 0, 2);
}

LogicalResult importMatMul(OpBinder &b) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  if (failed(expectFloat(b)))
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

LogicalResult importGemm(OpBinder &b) {
  TensorValue &lhs = b.input(0), &rhs = b.input(1);
  float alpha = b.floatAttr("alpha", 1.0f), beta = b.floatAttr("beta", 1.0f);
  bool transA = b.intAttr("transA", 0) != 0,
       transB = b.intAttr("transB", 0) != 0;
  if (failed(expectFloat(b)))
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
    result = b.create<MulOp>(dims, lhs.element, result,
                             b.scalar(alpha, lhs.element));
  if (b.hasInput(2) && beta != 0.0f) {
    FailureOr<Dims> both = b.broadcast(dims, b.input(2).dims);
    FailureOr<Value> bias = b.data(2);
    if (failed(both) || failed(bias))
      return failure();
    if (*both != dims || b.input(2).element != lhs.element)
      return b.error("its C does not broadcast to its result");
    if (beta != 1.0f)
      *bias = b.create<MulOp>(b.input(2).dims, lhs.element, *bias,
                              b.scalar(beta, lhs.element));
    result = b.create<AddOp>(dims, lhs.element, result, *bias);
  }
  return b.setData(result, dims);
}

//===----------------------------------------------------------------------===//
// Conv
//===----------------------------------------------------------------------===//

/// Fails unless each element of an ints attribute is `value`.
LogicalResult expectAll(OpBinder &b, StringRef name, int64_t value) {
  for (int64_t found : b.intsAttr(name).value_or(std::vector<int64_t>()))
    if (found != value)
      return b.unsupported(
          "attribute '" + name + "' with " + Twine(found) +
          " is not supported: Ferrite knows convolutions of disjoint patches");
  return success();
}

/// A convolution whose patches do not overlap is a matrix product: the patches
/// become rows of [batch * patches, channels * kernel].
LogicalResult importConv(OpBinder &b) {
  TensorValue &input = b.input(0), &weight = b.input(1);
  std::string autoPad = b.stringAttr("auto_pad", "NOTSET");
  if (autoPad != "NOTSET" && autoPad != "VALID")
    return b.unsupported("attribute 'auto_pad' = '" + autoPad +
                         "' is not supported");
  if (failed(expectFloat(b)) || failed(b.expectInt("group", 1, 1)) ||
      failed(expectAll(b, "dilations", 1)) || failed(expectAll(b, "pads", 0)))
    return failure();
  if (input.rank() < 3 || weight.rank() != input.rank())
    return b.error("its input and weight have ranks " + Twine(input.rank()) +
                   " and " + Twine(weight.rank()));
  size_t spatial = input.rank() - 2;
  std::vector<int64_t> kernel;
  for (const DimExpr &dim : ArrayRef(weight.dims).drop_front(2)) {
    if (!dim.constant())
      return b.error("its kernel has no static size");
    kernel.push_back(*dim.constant());
  }
  if (auto shape = b.intsAttr("kernel_shape"); shape && *shape != kernel)
    return b.error("attribute 'kernel_shape' differs from its weight's");
  std::vector<int64_t> strides =
      b.intsAttr("strides").value_or(std::vector<int64_t>(spatial, 1));
  if (strides != kernel)
    return b.unsupported(
        "its patches overlap or leave gaps (strides differ from the kernel), "
        "which is not supported");
  if (failed(expectSameK(b, input.dims[1], weight.dims[1])))
    return failure();

  // [N, C, H, W] -> [N, C, H', kh, W', kw] -> [N, H', W', C, kh, kw]
  FailureOr<Value> data = b.data(0), filter = b.data(1);
  if (failed(data) || failed(filter))
    return failure();
  Dims patches, split = {input.dims[0], input.dims[1]}, whole = split;
  SmallVector<int64_t> perm = {0};
  for (size_t i = 0; i < spatial; ++i) {
    const DimExpr &size = input.dims[2 + i];
    std::optional<DimExpr> count = size.constant()
                                       ? DimExpr(*size.constant() / kernel[i])
                                       : size.dividedBy(kernel[i]);
    if (!count)
      return b.error("dim " + size.str() +
                     " of its input is no multiple of its kernel");
    patches.push_back(*count);
    split.append({*count, DimExpr(kernel[i])});
    whole.push_back(*count * DimExpr(kernel[i]));
    perm.push_back(2 + 2 * i);
  }
  perm.push_back(1);
  for (size_t i = 0; i < spatial; ++i)
    perm.push_back(3 + 2 * i);
  if (whole != input.dims) { // what is left over at the edges is not read
    Dims offsets(input.rank());
    data = b.create<SliceOp>(whole, input.element, *data, b.dimsAttr(offsets),
                             SmallVector<int64_t>(input.rank(), 1),
                             b.dimsAttr(whole));
  }
  DimExpr depth = product(ArrayRef(weight.dims).drop_front()),
          channels = weight.dims[0];
  Dims rows = {input.dims[0], product(patches), depth};
  Value columns = b.view(b.transpose(b.view(*data, split), split, perm), rows);
  Dims flat = {channels, depth};
  Value matrix = b.transpose(b.view(*filter, flat), flat, {1, 0});
  Dims dims = {rows[0], rows[1], channels};
  Value result = b.create<MatmulOp>(dims, input.element, columns, matrix);
  if (b.hasInput(2)) {
    FailureOr<Value> bias = b.data(2);
    if (failed(bias))
      return failure();
    if (b.input(2).element != input.element || b.input(2).rank() != 1 ||
        b.input(2).dims[0] != channels)
      return b.error("its bias is not one number for each channel");
    result = b.create<AddOp>(dims, input.element, result, *bias);
  }
  // [N, patches, M] -> [N, M, patches] -> [N, M, H', W']
  result = b.transpose(result, dims, {0, 2, 1});
  Dims last = {dims[0], channels};
  last.append(patches);
  return b.setData(b.view(result, last), last);
}

} // namespace

void registerContractionOps(OpTable &table) {
  table.add("MatMul", importMatMul);
  table.add("Gemm", importGemm);
  table.add("Conv", importConv);
}

} // namespace ferrite::frontend
