//===- QuantizeOps.cpp - Between numbers and few bits ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Quantize.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// The axis and block of the node, for a tensor of `rank`.
FailureOr<std::pair<int64_t, int64_t>> bindBlocks(OpBinder &b, size_t rank,
                                                  bool isOne) {
  int64_t axis = b.intAttr("axis", 1), block = b.intAttr("block_size", 0);
  if (block < 0)
    return b.error("its block_size is negative");
  // One scale for all: the axis means nothing, and may be none.
  if (isOne && block == 0)
    return std::pair<int64_t, int64_t>(0, 0);
  FailureOr<int64_t> normal = b.normalizeAxis(axis, rank);
  if (failed(normal))
    return failure();
  return std::pair<int64_t, int64_t>(*normal, block);
}

/// The type that an attribute of the node names, or null.
FailureOr<Type> bindType(OpBinder &b, StringRef name) {
  int64_t type = b.intAttr(name, 0);
  if (type == 0)
    return Type();
  Type element = type > 0 && type < 64
                     ? b.importer.getElementType(static_cast<int32_t>(type))
                     : Type();
  if (!element)
    return b.unsupported("its " + name + " " + Twine(type) +
                         " is not supported");
  return element;
}

bool isNumber(Type type) { return isa<FloatType>(type) && !isTinyFloat(type); }

LogicalResult importQuantizeLinear(OpBinder &b) {
  TensorValue &input = b.input(0);
  bool isOne = product(b.input(1).dims).isConstant(1);
  auto blocks = bindBlocks(b, input.rank(), isOne);
  FailureOr<Type> given = bindType(b, "output_dtype"),
                  precision = bindType(b, "precision");
  bool overflows = b.intAttr("saturate", 1) == 0;
  if (failed(blocks) || failed(given) || failed(precision))
    return failure();
  FailureOr<Scaling> scaling =
      bindScaling(b, 1, 2, input.dims, blocks->first, blocks->second);
  FailureOr<Value> data = b.data(0);
  if (failed(scaling) || failed(data))
    return failure();
  Type element = *given;
  if (scaling->zero) {
    if (element && element != scaling->zeroType)
      return b.error("its output_dtype is not the type of its zero point");
    element = scaling->zeroType;
  }
  if (!element)
    element =
        IntegerType::get(b.builder().getContext(), 8, IntegerType::Unsigned);
  bool isNarrow =
      isa<FloatType>(element)
          ? isTinyFloat(element)
          : element.getIntOrFloatBitWidth() <= 16 && !element.isInteger(1);
  if (!isNarrow)
    return b.error("its result is of no type to quantize to");
  if (!isNumber(input.element) && !input.element.isInteger(32))
    return b.error("its input is neither of floats nor of int32");
  Type divide = *precision;
  if (!divide)
    divide = isNumber(scaling->scaleType) ? scaling->scaleType
             : isNumber(input.element)    ? input.element
                                          : Type(b.builder().getF32Type());
  if (!isNumber(divide))
    return b.error("its precision is no float type");
  return b.setData(
      quantize(b, *data, input.dims, element, *scaling, divide, overflows),
      input.dims);
}

LogicalResult importDequantizeLinear(OpBinder &b) {
  TensorValue &input = b.input(0);
  bool isOne = product(b.input(1).dims).isConstant(1);
  auto blocks = bindBlocks(b, input.rank(), isOne);
  FailureOr<Type> given = bindType(b, "output_dtype");
  if (failed(blocks) || failed(given))
    return failure();
  FailureOr<Scaling> scaling =
      bindScaling(b, 1, 2, input.dims, blocks->first, blocks->second);
  FailureOr<Value> data = b.data(0);
  if (failed(scaling) || failed(data))
    return failure();
  Type element = *given ? *given : scaling->scaleType;
  if (!isNumber(element) || element.isF64())
    return b.unsupported("with a result of this type is not supported");
  if (scaling->zero && scaling->zeroType != input.element)
    return b.error("its zero point is not of its input's type");
  bool isBits =
      isa<FloatType>(input.element)
          ? isTinyFloat(input.element)
          : !input.element.isInteger(1) && !input.element.isInteger(64);
  if (!isBits)
    return b.error("its input is not of a quantized type");
  return b.setData(dequantize(b, *data, input.dims, element, *scaling),
                   input.dims);
}

LogicalResult importDynamicQuantizeLinear(OpBinder &b) {
  TensorValue &input = b.input(0);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  if (!input.element.isF32())
    return b.error("its input is not of float32");
  Dims dims = input.dims;
  Dynamic result = quantizeDynamically(b, *data, dims);
  if (failed(b.setData(result.bits, dims)))
    return failure();
  if (b.hasOutput(1) && failed(b.setData(result.scale, {}, 1)))
    return failure();
  return b.hasOutput(2) ? b.setData(result.zero, {}, 2) : success();
}

} // namespace

void registerQuantizeOps(OpTable &table) {
  // The same ops of com.microsoft are those of the standard before it had all
  // types.
  for (StringRef domain : {"", "com.microsoft::"}) {
    table.add((domain + "QuantizeLinear").str(), importQuantizeLinear, 2);
    table.add((domain + "DequantizeLinear").str(), importDequantizeLinear, 2);
  }
  table.add("DynamicQuantizeLinear", importDynamicQuantizeLinear);
}

} // namespace ferrite::frontend
