//===- BlockQuantOps.cpp - Weights of few bits with scales for blocks -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Bytes that hold two or four elements become a constant of such elements; the
// rest is dequantize and an op of numbers. Activations are never rounded, so
// `accuracy_level` asks for nothing: every level may be more exact than it
// says.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Quantize.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// `columns` unsigned elements of `bits` bits in each of `rows` rows.
struct Packing {
  int64_t rows, columns;
  unsigned bits;
  int64_t rowBytes() const {
    return static_cast<int64_t>(
        llvm::divideCeil(static_cast<uint64_t>(columns) * bits, 8));
  }
};

/// The bytes of constant input `i` as such elements; rows begin at a byte.
FailureOr<Value> bindPacked(OpBinder &b, unsigned i, const Packing &packing) {
  TensorValue &input = b.input(i);
  Type element = IntegerType::get(b.builder().getContext(), packing.bits,
                                  IntegerType::Unsigned);
  if (!input.constant)
    return b.unsupported("with an input " + Twine(i) +
                         " that is no constant is not supported");
  if (!input.element.isUnsignedInteger(8))
    return b.error("its input " + Twine(i) + " is not of uint8");
  if (!product(input.dims).isConstant(packing.rows * packing.rowBytes()))
    return b.error("its input " + Twine(i) + " of " + printDims(input.dims) +
                   " has not " + Twine(packing.rows) + " rows of " +
                   Twine(packing.rowBytes()) + " bytes");
  auto type = RankedTensorType::get({packing.rows, packing.columns}, element);
  ModelFile &file = b.importer.file;
  MLIRContext *context = b.builder().getContext();
  bool isDense = packing.columns * packing.bits % 8 == 0;
  if (const TensorSource *source = file.getSource(*input.constant);
      source && isDense) {
    auto attr = SourceAttr::get(context, file.getFiles()[source->file].location,
                                static_cast<int64_t>(source->offset),
                                type.getShape(), element, {});
    return WeightOp::create(b.builder(), input.loc, type,
                            b.builder().getStringAttr(input.constant->name()),
                            b.builder().getArrayAttr(attr), /*axis=*/0)
        .getResult();
  }
  std::string storage;
  llvm::Expected<StringRef> bytes = file.getElements(*input.constant, storage);
  if (!bytes)
    return b.error(llvm::toString(bytes.takeError()));
  std::vector<char> elements;
  elements.reserve(packing.rows * packing.columns);
  unsigned perByte = 8 / packing.bits;
  for (int64_t row = 0; row < packing.rows; ++row)
    for (int64_t column = 0; column < packing.columns; ++column) {
      auto byte = static_cast<uint8_t>(
          (*bytes)[row * packing.rowBytes() + column / perByte]);
      unsigned value = byte >> (column % perByte * packing.bits);
      elements.push_back(static_cast<char>(value & ((1u << packing.bits) - 1)));
    }
  if (elements.empty())
    return b.unsupported("without elements is not supported");
  return arith::ConstantOp::create(
             b.builder(), input.loc,
             DenseElementsAttr::getFromRawBuffer(type, ArrayRef(elements)))
      .getResult();
}

/// The zero point of all blocks where none is given.
Value middle(OpBinder &b, ArrayRef<int64_t> shape, unsigned bits) {
  Type element =
      IntegerType::get(b.builder().getContext(), bits, IntegerType::Unsigned);
  auto type = RankedTensorType::get(shape, element);
  return arith::ConstantOp::create(
      b.builder(), b.loc,
      DenseElementsAttr::get(type, APInt(bits, uint64_t(1) << (bits - 1))));
}

/// Scales, and zero points if they are given, of `rows` rows of `blocks`.
FailureOr<Scaling> bindRows(OpBinder &b, unsigned scale, unsigned zero,
                            int64_t rows, int64_t blocks, unsigned bits) {
  TensorValue &given = b.input(scale);
  FailureOr<Value> data = b.data(scale);
  if (failed(data))
    return failure();
  Scaling result;
  result.axis = 1;
  result.dims = {DimExpr(rows), DimExpr(blocks)};
  result.scaleType = given.element;
  if (!isa<FloatType>(given.element) ||
      !product(given.dims).isConstant(rows * blocks))
    return b.error("its scales of " + printDims(given.dims) + " are not " +
                   Twine(rows) + " times " + Twine(blocks) + " floats");
  result.scale = b.view(*data, given.dims, result.dims);
  if (!b.hasInput(zero)) {
    result.zero = middle(b, {rows, blocks}, bits);
    return result;
  }
  TensorValue &point = b.input(zero);
  if (!isa<FloatType>(point.element)) {
    data = bindPacked(b, zero, {rows, blocks, bits});
    if (failed(data))
      return failure();
    result.zero = *data;
    return result;
  }
  data = b.data(zero);
  if (failed(data))
    return failure();
  if (!product(point.dims).isConstant(rows * blocks))
    return b.error("its zero points of " + printDims(point.dims) +
                   " do not fit its scales");
  result.zero = b.view(*data, point.dims, result.dims);
  return result;
}

/// Whether element k is of block k / block, for all of them.
bool isInOrder(const TensorValue &groups, int64_t size, int64_t block) {
  if (!groups.contents || static_cast<int64_t>(groups.contents->size()) < size)
    return false;
  for (int64_t k = 0; k < size; ++k)
    if (!(*groups.contents)[k].isConstant(k / block))
      return false;
  return true;
}

LogicalResult importMatMulNBits(OpBinder &b) {
  int64_t depth = b.intAttr("K", 0), columns = b.intAttr("N", 0),
          bits = b.intAttr("bits", 4), block = b.intAttr("block_size", 0);
  (void)b.intAttr("accuracy_level", 0);
  if (b.intAttr("weight_prepacked", 0) != 0)
    return b.unsupported("with weights that are packed for one GPU is not "
                         "supported: export with weight_prepacked = 0");
  if (bits != 2 && bits != 4 && bits != 8)
    return b.unsupported("with " + Twine(bits) + " bits is not supported");
  constexpr int64_t most = int64_t(1) << 40;
  if (depth < 1 || columns < 1 || depth > most || columns > most ||
      depth > most / columns || block < 16 || block > most ||
      !llvm::isPowerOf2_64(block))
    return b.error("its K, N and block_size are " + Twine(depth) + ", " +
                   Twine(columns) + " and " + Twine(block));
  TensorValue &input = b.input(0);
  if (!isa<FloatType>(input.element) || input.rank() == 0)
    return b.error("its input is no matrix of floats");
  if (input.dims.back() != DimExpr(depth))
    return b.errorUnlessEqual(input.dims.back(), DimExpr(depth),
                              "its input has " + input.dims.back().str() +
                                  " columns, and K is " + Twine(depth));
  if (b.hasInput(4) && !isInOrder(b.input(4), depth, block))
    return b.unsupported("with a g_idx that reorders is not supported");
  int64_t blocks = (depth + block - 1) / block, padded = blocks * block;
  unsigned width = static_cast<unsigned>(bits);
  FailureOr<Value> weight = bindPacked(b, 1, {columns, padded, width});
  FailureOr<Scaling> scaling = bindRows(b, 2, 3, columns, blocks, width);
  FailureOr<Value> data = b.data(0);
  if (failed(weight) || failed(scaling) || failed(data))
    return failure();
  scaling->block = block;
  // In f32 whatever the types: a weight is not rounded, nor is a sum.
  Type f32 = b.builder().getF32Type();
  Dims dims = {DimExpr(columns), DimExpr(padded)};
  Value numbers = dequantize(b, *weight, dims, f32, *scaling);
  if (padded != depth) {
    Dims kept = {DimExpr(columns), DimExpr(depth)};
    numbers = b.create<SliceOp>(kept, f32, numbers,
                                b.dimsAttr({DimExpr(0), DimExpr(0)}),
                                ArrayRef<int64_t>{1, 1}, b.dimsAttr(kept));
  }
  numbers = b.transpose(numbers, {DimExpr(columns), DimExpr(depth)}, {1, 0});
  Dims inputDims = input.dims, resultDims = input.dims;
  if (inputDims.size() == 1)
    inputDims.insert(inputDims.begin(), DimExpr(1));
  resultDims.back() = DimExpr(columns);
  Dims productDims = inputDims;
  productDims.back() = DimExpr(columns);
  Value left = b.view(b.cast(*data, input.dims, f32), input.dims, inputDims);
  Value result = b.create<MatmulOp>(productDims, f32, left, numbers);
  result = b.view(result, productDims, resultDims);
  Type element = input.element;
  if (b.hasInput(5)) {
    TensorValue &bias = b.input(5);
    FailureOr<Value> addend = b.data(5);
    if (failed(addend))
      return failure();
    if (bias.element != element || bias.rank() != 1 ||
        !bias.dims[0].isConstant(columns))
      return b.error("its bias of " + printDims(bias.dims) +
                     " is not one number for each of N");
    result = b.create<AddOp>(resultDims, f32, result,
                             b.cast(*addend, bias.dims, f32));
  }
  return b.setData(b.cast(result, resultDims, element), resultDims);
}

/// Rows of a table whose last dim has a scale for each block.
LogicalResult importGatherBlockQuantized(OpBinder &b) {
  TensorValue &table = b.input(0), &indices = b.input(1);
  int64_t bits = b.intAttr("bits", 4), block = b.intAttr("block_size", 128);
  FailureOr<int64_t> gatherAxis = b.normalizeAxis(b.intAttr("gather_axis", 0),
                                                  table.rank()),
                     axis = b.normalizeAxis(b.intAttr("quantize_axis", 1),
                                            table.rank());
  if (failed(gatherAxis) || failed(axis))
    return failure();
  if (bits != 2 && bits != 4 && bits != 8)
    return b.unsupported("with " + Twine(bits) + " bits is not supported");
  if (block < 16 || !llvm::isPowerOf2_64(block))
    return b.error("its block_size is " + Twine(block));
  bool isPacked = table.element.isUnsignedInteger(8);
  Dims dims = table.dims;
  Scaling scaling;
  FailureOr<Value> elements = failure();
  if (!isPacked) {
    FailureOr<Scaling> given = bindScaling(b, 2, 3, dims, *axis, block);
    elements = b.data(0);
    if (failed(given) || failed(elements))
      return failure();
    if (given->zero && given->zeroType != table.element)
      return b.error("its zero points are not of its table's type");
    scaling = *given;
  } else {
    // Bytes are packed along the last dim, which has the blocks.
    size_t last = dims.size() - 1;
    std::optional<int64_t> bytes = dims[last].constant(),
                           rows =
                               product(ArrayRef(dims).drop_back()).constant();
    if (static_cast<size_t>(*axis) != last || !bytes || !rows)
      return b.unsupported("of bytes whose blocks are not in the last dim is "
                           "not supported");
    int64_t columns = *bytes * 8 / bits;
    int64_t blocks = (columns + block - 1) / block;
    unsigned width = static_cast<unsigned>(bits);
    elements = bindPacked(b, 0, {*rows, columns, width});
    FailureOr<Scaling> given = bindRows(b, 2, 3, *rows, blocks, width);
    if (failed(elements) || failed(given))
      return failure();
    dims[last] = DimExpr(columns);
    scaling = *given;
    scaling.block = block;
  }
  Type type = scaling.scaleType;
  Dims flat = dims;
  if (isPacked)
    flat = {product(ArrayRef(dims).drop_back()), dims.back()};
  Value numbers = dequantize(b, *elements, flat, type, scaling);
  numbers = b.view(numbers, flat, dims);
  FailureOr<Value> which = b.data(1);
  if (failed(which))
    return failure();
  Dims result(dims.begin(), dims.begin() + *gatherAxis);
  result.append(indices.dims);
  result.append(dims.begin() + *gatherAxis + 1, dims.end());
  return b.setData(b.create<GatherOp>(result, type, numbers, *which,
                                      static_cast<uint64_t>(*gatherAxis)),
                   result);
}

} // namespace

void registerBlockQuantOps(OpTable &table) {
  table.add("com.microsoft::MatMulNBits", importMatMulNBits, 3, 6);
  table.add("com.microsoft::GatherBlockQuantized", importGatherBlockQuantized,
            3, 4);
}

} // namespace ferrite::frontend
