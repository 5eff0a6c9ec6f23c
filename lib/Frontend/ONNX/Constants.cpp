//===- Constants.cpp - Values as data -------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// An initializer of at most 64 KiB becomes an attribute, which folders see; a
// larger one stays a reference to the bytes of its file.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"
#include "lib/Frontend/ONNX/Importer.h"
#include "lib/Frontend/ONNX/WireScanner.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/APFloat.h"
#include <cstring>

using namespace mlir;
using onnx::TensorProto;

namespace ferrite::frontend {

Type Importer::getElementType(int32_t type) {
  auto integer = [&](unsigned width,
                     IntegerType::SignednessSemantics sign) -> Type {
    return IntegerType::get(builder.getContext(), width, sign);
  };
  switch (type) {
  case TensorProto::FLOAT:
    return builder.getF32Type();
  case TensorProto::DOUBLE:
    return builder.getF64Type();
  case TensorProto::FLOAT16:
    return builder.getF16Type();
  case TensorProto::BFLOAT16:
    return builder.getBF16Type();
  case TensorProto::BOOL:
    return builder.getI1Type();
  case TensorProto::INT8:
    return integer(8, IntegerType::Signless);
  case TensorProto::INT16:
    return integer(16, IntegerType::Signless);
  case TensorProto::INT32:
    return integer(32, IntegerType::Signless);
  case TensorProto::INT64:
    return integer(64, IntegerType::Signless);
  case TensorProto::UINT8:
    return integer(8, IntegerType::Unsigned);
  case TensorProto::UINT16:
    return integer(16, IntegerType::Unsigned);
  case TensorProto::UINT32:
    return integer(32, IntegerType::Unsigned);
  case TensorProto::UINT64:
    return integer(64, IntegerType::Unsigned);
  case TensorProto::INT4:
    return integer(4, IntegerType::Signless);
  case TensorProto::UINT4:
    return integer(4, IntegerType::Unsigned);
  case TensorProto::INT2:
    return integer(2, IntegerType::Signless);
  case TensorProto::UINT2:
    return integer(2, IntegerType::Unsigned);
  case TensorProto::FLOAT8E4M3FN:
    return Float8E4M3FNType::get(builder.getContext());
  case TensorProto::FLOAT8E4M3FNUZ:
    return Float8E4M3FNUZType::get(builder.getContext());
  case TensorProto::FLOAT8E5M2:
    return Float8E5M2Type::get(builder.getContext());
  case TensorProto::FLOAT8E5M2FNUZ:
    return Float8E5M2FNUZType::get(builder.getContext());
  case TensorProto::FLOAT8E8M0:
    return Float8E8M0FNUType::get(builder.getContext());
  case TensorProto::FLOAT4E2M1:
    return Float4E2M1FNType::get(builder.getContext());
  default:
    return nullptr;
  }
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

/// Elements of less than a byte are packed, low bits first: one byte for each.
static StringRef unpacked(StringRef bytes, Type element, int64_t count,
                          std::string &storage) {
  unsigned bits = element.getIntOrFloatBitWidth();
  if (bits >= 8 || bits == 1)
    return bytes;
  std::string result(count, 0);
  bool extends = element.isSignlessInteger();
  unsigned perByte = 8 / bits;
  for (int64_t i = 0; i < count; ++i) {
    auto byte = static_cast<uint8_t>(bytes[i / perByte]);
    auto high = static_cast<uint8_t>(byte << (8 - bits - i % perByte * bits));
    result[i] = extends
                    ? static_cast<char>(static_cast<int8_t>(high) >> (8 - bits))
                    : static_cast<char>(high >> (8 - bits));
  }
  storage = std::move(result);
  return storage;
}

FailureOr<TensorValue> Importer::importConstant(const TensorProto &tensor,
                                                StringRef name, Location loc) {
  auto reject = [&](const Twine &message, Fault fault = Fault::Model) {
    // The value of a Constant node has no name of its own.
    std::string prefix =
        tensor.name().empty() ? "constant '" + name.str() + "': " : "";
    report(nullptr, prefix + message.str(), fault);
    return failure();
  };
  TensorValue value(loc);
  value.constant = &tensor;
  value.element = getElementType(tensor.data_type());
  if (!value.element)
    return reject("tensor '" + name + "' has elements of " +
                      getTypeName(tensor.data_type()) +
                      ", which Ferrite does not support",
                  isStandardType(tensor.data_type()) ? Fault::Limitation
                                                     : Fault::Model);
  llvm::Expected<int64_t> count = countElements(tensor);
  if (!count)
    return reject(llvm::toString(count.takeError()));
  for (int64_t dim : tensor.dims())
    value.dims.push_back(DimExpr(dim));
  if (*count > kMaxContents)
    return value;

  std::string storage;
  llvm::Expected<StringRef> bytes = file.getElements(tensor, storage);
  if (!bytes)
    return reject(llvm::toString(bytes.takeError()));
  StringRef elements = unpacked(*bytes, value.element, *count, storage);
  Kind kind = *kindOf(value.element);
  if (isa<IntegerType>(value.element)) {
    value.contents.emplace();
    for (int64_t i = 0; i < *count; ++i)
      value.contents->push_back(DimExpr(readInteger(kind, elements.data(), i)));
    // What a DimExpr would print as negative is not one.
    if (tensor.data_type() == TensorProto::UINT64)
      value.contents.reset();
  } else {
    value.floats.emplace();
    for (int64_t i = 0; i < *count; ++i)
      value.floats->push_back(readFloat(kind, elements.data(), i));
  }
  return value;
}

//===----------------------------------------------------------------------===//
// Materializing
//===----------------------------------------------------------------------===//

static DenseElementsAttr makeDense(RankedTensorType type, StringRef bytes) {
  if (type.getNumElements() == 0)
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());
  if (type.getElementType().isInteger(1)) {
    SmallVector<bool> bits;
    for (char byte : bytes)
      bits.push_back(byte != 0);
    return DenseElementsAttr::get(type, bits);
  }
  // One value for all is stored once, and folders recognize it.
  size_t size = std::max(type.getElementTypeBitWidth() / 8, 1u);
  bool isSplat =
      std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) == 0;
  return DenseElementsAttr::getFromRawBuffer(
      type, ArrayRef(bytes.data(), isSplat ? size : bytes.size()));
}

Value Importer::createWeight(const TensorValue &value,
                             const TensorSource &source) {
  RankedTensorType type = getTensorType(value.dims, value.element);
  auto attr = SourceAttr::get(
      builder.getContext(), file.getFiles()[source.file].location,
      static_cast<int64_t>(source.offset), type.getShape(), value.element, {});
  StringRef name = value.constant->name();
  if (auto named = dyn_cast<NameLoc>(value.loc); named && name.empty())
    name = named.getName();
  return WeightOp::create(builder, value.loc, type, builder.getStringAttr(name),
                          builder.getArrayAttr(attr), /*axis=*/0)
      .getResult();
}

FailureOr<Value> Importer::materializeConstant(TensorValue &value) {
  const TensorSource *source = file.getSource(*value.constant);
  if (source && source->bytes > kSmallTensorBytes)
    return createWeight(value, *source);
  std::string storage;
  llvm::Expected<StringRef> bytes = file.getElements(*value.constant, storage);
  if (!bytes) {
    report(nullptr, llvm::toString(bytes.takeError()));
    return failure();
  }
  RankedTensorType type = getTensorType(value.dims, value.element);
  StringRef elements =
      unpacked(*bytes, value.element, type.getNumElements(), storage);
  return arith::ConstantOp::create(builder, value.loc,
                                   makeDense(type, elements))
      .getResult();
}

Value Importer::materializeContents(TensorValue &value) {
  RankedTensorType type = getTensorType(value.dims, value.element);
  auto element = cast<IntegerType>(value.element);
  SmallVector<APInt> numbers;
  for (const DimExpr &expr : *value.contents)
    if (std::optional<int64_t> number = expr.constant())
      numbers.push_back(
          APInt(64, *number, /*isSigned=*/true).trunc(element.getWidth()));
  if (numbers.size() == value.contents->size())
    return arith::ConstantOp::create(builder, value.loc,
                                     DenseElementsAttr::get(type, numbers))
        .getResult();

  bool isIndex = element.isSignless() && element.getWidth() >= 32;
  Type dataElement = isIndex ? Type(element) : Type(builder.getI64Type());
  SmallVector<int64_t> flat;
  if (value.rank() != 0)
    flat.push_back(value.contents->size());
  ArrayAttr exprs = getDimsAttr(builder.getContext(), *value.contents);
  Value data = DimValuesOp::create(
      builder, value.loc, RankedTensorType::get(flat, dataElement), exprs);
  if (value.rank() > 1)
    data = ViewOp::create(builder, value.loc, type.clone(dataElement), data,
                          getDimsAttr(builder.getContext(), value.dims));
  if (!isIndex)
    data = CastOp::create(builder, value.loc, type, data);
  return data;
}

FailureOr<Value> Importer::materialize(TensorValue &value) {
  if (value.data)
    return value.data;
  if (value.constant) {
    FailureOr<Value> data = materializeConstant(value);
    if (failed(data))
      return failure();
    value.data = *data;
  } else if (value.contents) {
    value.data = materializeContents(value);
  } else {
    RankedTensorType type = getTensorType(value.dims, value.element);
    SmallVector<Attribute> numbers;
    for (double number : *value.floats) {
      APFloat exact(number);
      bool lost;
      exact.convert(cast<FloatType>(value.element).getFloatSemantics(),
                    APFloat::rmNearestTiesToEven, &lost);
      numbers.push_back(FloatAttr::get(value.element, exact));
    }
    value.data = arith::ConstantOp::create(
        builder, value.loc, DenseElementsAttr::get(type, numbers));
  }
  return value.data;
}

} // namespace ferrite::frontend
