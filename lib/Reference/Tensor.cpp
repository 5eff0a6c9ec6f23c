//===- Tensor.cpp - Values of the reference evaluator ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Tensor.h"

#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace ferrite::reference;

std::optional<Kind> ferrite::reference::kindOf(Type element) {
  if (element.isF16())
    return Kind::F16;
  if (element.isBF16())
    return Kind::BF16;
  if (element.isF32())
    return Kind::F32;
  if (element.isF64())
    return Kind::F64;
  auto integer = dyn_cast<IntegerType>(element);
  if (!integer)
    return std::nullopt;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return Kind::Bool;
  case 8:
    return isUnsigned ? Kind::U8 : Kind::I8;
  case 16:
    return isUnsigned ? Kind::U16 : Kind::I16;
  case 32:
    return isUnsigned ? Kind::U32 : Kind::I32;
  case 64:
    return isUnsigned ? Kind::U64 : Kind::I64;
  }
  return std::nullopt;
}

int64_t ferrite::reference::bytesOf(Kind kind) {
  static constexpr int64_t bytes[] = {2, 2, 4, 8, 1, 1, 2, 4, 8, 1, 2, 4, 8};
  return bytes[static_cast<int>(kind)];
}

//===--- floats of 16 bits ------------------------------------------------===//

/// To `digits` significant bits with exponents from `least`, ties to even.
static double roundDigits(double value, int digits, int least, double most) {
  if (value == 0 || !std::isfinite(value))
    return value;
  int exponent;
  std::frexp(value, &exponent); // in [2^(exponent-1), 2^exponent)
  int shift = digits - std::max(exponent, least);
  double rounded = std::ldexp(std::nearbyint(std::ldexp(value, shift)), -shift);
  return std::abs(rounded) > most ? std::copysign(INFINITY, value) : rounded;
}

double ferrite::reference::roundTo(Kind kind, double value) {
  switch (kind) {
  case Kind::F16:
    return roundDigits(value, 11, -13, 65504);
  case Kind::BF16:
    return roundDigits(value, 8, -125, 0x1.FEp127);
  case Kind::F32:
    return static_cast<float>(value);
  default:
    return value;
  }
}

static double fromHalf(uint16_t bits) {
  int exponent = bits >> 10 & 31;
  double digits = bits & 1023;
  double value = exponent == 31  ? (digits == 0 ? INFINITY : NAN)
                 : exponent == 0 ? std::ldexp(digits, -24)
                                 : std::ldexp(digits + 1024, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

/// Of a value that f16 has.
static uint16_t toHalf(double value) {
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  double size = std::abs(value);
  if (std::isnan(value))
    return sign | 0x7E00;
  if (std::isinf(value))
    return sign | 0x7C00;
  if (size < 0x1p-14)
    return sign | static_cast<uint16_t>(std::ldexp(size, 24));
  int exponent = std::ilogb(size);
  auto digits = static_cast<uint16_t>(std::ldexp(size, 10 - exponent) - 1024);
  return sign | static_cast<uint16_t>((exponent + 15) << 10) | digits;
}

//===--- elements ---------------------------------------------------------===//

template <typename T>
static T load(const char *data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
static void store(char *data, int64_t i, T value) {
  std::memcpy(data + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

double ferrite::reference::readFloat(Kind kind, const char *data, int64_t i) {
  switch (kind) {
  case Kind::F32:
    return load<float>(data, i);
  case Kind::F64:
    return load<double>(data, i);
  case Kind::F16:
    return fromHalf(load<uint16_t>(data, i));
  default:
    break;
  }
  uint32_t bits = static_cast<uint32_t>(load<uint16_t>(data, i)) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void ferrite::reference::writeFloat(Kind kind, char *data, int64_t i,
                                    double value) {
  switch (kind) {
  case Kind::F32:
    return store<float>(data, i, static_cast<float>(value));
  case Kind::F64:
    return store<double>(data, i, value);
  case Kind::F16:
    return store<uint16_t>(data, i, toHalf(roundTo(kind, value)));
  default:
    break;
  }
  float rounded = static_cast<float>(roundTo(kind, value));
  uint32_t bits;
  std::memcpy(&bits, &rounded, 4);
  if (std::isnan(value))
    bits = 0x7FC00000; // the payload must not be cut to an infinity
  store<uint16_t>(data, i, static_cast<uint16_t>(bits >> 16));
}

int64_t ferrite::reference::readInteger(Kind kind, const char *data,
                                        int64_t i) {
  switch (kind) {
  case Kind::Bool:
    return load<uint8_t>(data, i) != 0;
  case Kind::I8:
    return load<int8_t>(data, i);
  case Kind::I16:
    return load<int16_t>(data, i);
  case Kind::I32:
    return load<int32_t>(data, i);
  case Kind::U8:
    return load<uint8_t>(data, i);
  case Kind::U16:
    return load<uint16_t>(data, i);
  case Kind::U32:
    return load<uint32_t>(data, i);
  default:
    return load<int64_t>(data, i);
  }
}

void ferrite::reference::writeInteger(Kind kind, char *data, int64_t i,
                                      int64_t value) {
  switch (bytesOf(kind)) {
  case 1:
    return store<uint8_t>(data, i, kind == Kind::Bool ? value != 0 : value);
  case 2:
    return store<uint16_t>(data, i, value);
  case 4:
    return store<uint32_t>(data, i, value);
  default:
    return store<int64_t>(data, i, value);
  }
}

int64_t ferrite::reference::wrapTo(Kind kind, int64_t value) {
  char bytes[8];
  writeInteger(kind, bytes, 0, value);
  return readInteger(kind, bytes, 0);
}

//===--- tensors ----------------------------------------------------------===//

std::optional<int64_t> ferrite::reference::countOf(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  bool isEmpty = llvm::is_contained(shape, 0);
  for (int64_t size : shape)
    if (size < 0 || (!isEmpty && llvm::MulOverflow(count, size, count)))
      return std::nullopt;
  if (isEmpty)
    return 0;
  return count > (int64_t(1) << 50) ? std::nullopt : std::optional(count);
}

Sizes ferrite::reference::stridesOf(ArrayRef<int64_t> shape) {
  Sizes strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::optional<Tensor> Tensor::make(Kind kind, ArrayRef<int64_t> shape) {
  std::optional<int64_t> count = countOf(shape);
  if (!count)
    return std::nullopt;
  Tensor tensor;
  tensor.type = kind;
  tensor.sizes.assign(shape.begin(), shape.end());
  tensor.total = *count;
  auto *memory = static_cast<char *>(std::calloc(*count + 1, bytesOf(kind)));
  if (!memory)
    return std::nullopt;
  tensor.owned.reset(memory, std::free);
  tensor.elements = memory;
  return tensor;
}

Tensor Tensor::borrow(Kind kind, ArrayRef<int64_t> shape, const void *data) {
  Tensor tensor;
  tensor.type = kind;
  tensor.sizes.assign(shape.begin(), shape.end());
  tensor.total = countOf(shape).value_or(0);
  tensor.elements = static_cast<const char *>(data ? data : "");
  return tensor;
}

Tensor Tensor::viewed(ArrayRef<int64_t> shape) const {
  Tensor tensor = *this;
  tensor.sizes.assign(shape.begin(), shape.end());
  return tensor;
}

double Tensor::asDouble(int64_t i) const {
  if (isFloat(type))
    return number(i);
  int64_t value = integer(i);
  return type == Kind::U64 ? static_cast<double>(static_cast<uint64_t>(value))
                           : static_cast<double>(value);
}

void Tensor::readAll(int64_t begin, int64_t size, double *to) const {
  if (type == Kind::F32) { // the common case, as a loop that vectorizes
    for (int64_t i = 0; i < size; ++i)
      to[i] = load<float>(elements, begin + i);
    return;
  }
  for (int64_t i = 0; i < size; ++i)
    to[i] = asDouble(begin + i);
}
