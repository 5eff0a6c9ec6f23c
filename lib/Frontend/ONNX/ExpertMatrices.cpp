//===- ExpertMatrices.cpp - Inputs that are matrices of experts -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Low-bit weights keep their bits; a product of theirs is exact, with
// activations as they are.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ExpertMatrices.h"
#include "passes/Analysis/StoredWeights.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace ferrite::frontend {

FailureOr<Value> ExpertMatrices::stored(unsigned i, StringRef what) {
  FailureOr<Value> value = b.data(i);
  if (failed(value))
    return failure();
  if (!value->getDefiningOp<WeightOp>() && !matchPattern(*value, m_Constant()))
    return b.unsupported("its " + what + " (input " + Twine(i) +
                         ") are computed; Ferrite needs them in the model");
  return *value;
}

/// Zero points of columns, which lie packed along columns, a byte for each.
FailureOr<Value> ExpertMatrices::columnZeroPoints(unsigned i, int64_t columns,
                                                  int64_t own) {
  int64_t perByte = 8 / own, bytes = (columns + perByte - 1) / perByte;
  FailureOr<Value> value = stored(i, "zero points");
  if (failed(value))
    return failure();
  if (printDims(b.input(i).dims) !=
      printDims({DimExpr(groups), DimExpr(bytes)}))
    return b.error("its zero points are " + printDims(b.input(i).dims) +
                   ", expected [" + Twine(groups) + ", " + Twine(bytes) + "]");
  Type element = b.input(i).element;
  auto type = RankedTensorType::get({groups, columns, 1}, element);
  DenseElementsAttr packed;
  if (perByte == 1) {
    Value viewed = viewStored(b.builder(), b.loc, *value, type.getShape());
    if (viewed)
      return viewed;
  }
  if (!matchPattern(*value, m_Constant(&packed)))
    return b.unsupported("packed zero points of columns that are larger than "
                         "64 KiB are not supported");
  std::vector<char> each;
  ArrayRef<char> raw = packed.getRawData();
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t n = 0; n < columns; ++n) {
      int64_t at = packed.isSplat() ? 0 : group * bytes + n / perByte;
      each.push_back(static_cast<uint8_t>(raw[at]) >> (n % perByte * own) &
                     ((1 << own) - 1));
    }
  return arith::ConstantOp::create(
             b.builder(), b.loc,
             DenseElementsAttr::getFromRawBuffer(type, each))
      .getResult();
}

LogicalResult ExpertMatrices::quantized(const MatrixInputs &inputs,
                                        int64_t columns, int64_t own,
                                        int64_t block, Value &scales,
                                        Value &zeroPoints) {
  if (!b.hasInput(inputs.scales))
    return b.error("its input " + Twine(inputs.scales) +
                   ", scales, is missing");
  int64_t rows = *b.input(inputs.weight).dims[2].constant() * 8 / own,
          blocks = rows / block;
  FailureOr<Value> value = stored(inputs.scales, "scales");
  if (failed(value))
    return failure();
  TensorValue &given = b.input(inputs.scales);
  Dims each = {DimExpr(groups), DimExpr(columns), DimExpr(blocks)};
  bool isFlat = given.dims.size() == 2 && blocks == 1 &&
                given.dims[0] == each[0] && given.dims[1] == each[1];
  if (given.dims != each && !isFlat)
    return b.error("its scales are " + printDims(given.dims) + ", expected " +
                   printDims(each));
  if (!given.element.isF32() && !given.element.isF16() &&
      !given.element.isBF16())
    return b.error("its scales are not of f32, f16 or bf16");
  scales = viewStored(b.builder(), b.loc, *value, {groups, columns, blocks});
  if (!scales)
    return b.unsupported("its scales are no tensor of the model as it lies");
  if (!b.hasInput(inputs.zeroPoints))
    return success();
  TensorValue &zeros = b.input(inputs.zeroPoints);
  if (zeros.element != b.input(inputs.weight).element)
    return b.error("its zero points are not of the type of its weights");
  if (zeros.dims.size() == 2) {
    if (blocks != 1)
      return b.error("its zero points are " + printDims(zeros.dims) +
                     ", which are of columns and not of blocks");
    value = columnZeroPoints(inputs.zeroPoints, columns, own);
  } else {
    value = stored(inputs.zeroPoints, "zero points");
    Dims packed = {DimExpr(groups), DimExpr(columns),
                   DimExpr((blocks * own + 7) / 8)};
    if (zeros.dims != packed)
      return b.error("its zero points are " + printDims(zeros.dims) +
                     ", expected " + printDims(packed));
  }
  if (failed(value))
    return failure();
  zeroPoints = *value;
  return success();
}

FailureOr<KnownTensor> ExpertMatrices::product(const KnownTensor &rows,
                                               const KnownTensor &experts,
                                               const MatrixInputs &inputs,
                                               int64_t columns) {
  int64_t size = *rows.dims.back().constant(), own = bits, block = 0;
  if (bits != 0) {
    own = b.intAttr(inputs.bitsName, bits);
    if (own != 4 && own != 8)
      return b.unsupported(Twine(own) + "-bit weights of experts are not "
                                        "supported, only 4 and 8 bits are");
    block = blockSize > 0 ? blockSize : size;
    if (size % block != 0 || block * own % 8 != 0)
      return b.error("its blocks of " + Twine(block) + " do not divide " +
                     Twine(size) + " rows of whole bytes");
  }
  TensorValue &given = b.input(inputs.weight);
  Dims expected = {DimExpr(groups), DimExpr(columns),
                   DimExpr(own ? size * own / 8 : size)};
  if (given.dims != expected)
    return b.error("its input " + Twine(inputs.weight) + " is " +
                   printDims(given.dims) + ", expected " + printDims(expected));
  FailureOr<Value> weight = stored(inputs.weight, "matrices");
  if (failed(weight))
    return failure();
  Value scales, zeroPoints, bias;
  if (bits != 0) {
    if (!given.element.isInteger(8))
      return b.error("the weights of its experts are not of bytes");
    if (failed(quantized(inputs, columns, own, block, scales, zeroPoints)))
      return failure();
  } else {
    if (given.element != rows.element)
      return b.error("the weights of its experts are not of its input's type");
    weight = transposeStored(b.builder(), b.loc, *weight, {0, 2, 1});
    if (!*weight)
      return b.unsupported("its matrices are no tensor of the model");
  }
  if (b.hasInput(inputs.bias)) {
    FailureOr<KnownTensor> row = ops.input(
        inputs.bias, {DimExpr(groups), DimExpr(columns)}, rows.element);
    if (failed(row))
      return failure();
    bias = row->value;
  }
  Dims dims = {experts.dims[0], experts.dims[1], DimExpr(columns)};
  return KnownTensor{b.create<ExpertLinearOp>(dims, rows.element, rows.value,
                                              *weight, experts.value, bias,
                                              scales, zeroPoints, own, block),
                     dims, rows.element};
}

} // namespace ferrite::frontend
