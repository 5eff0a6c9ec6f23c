//===- Elements.cpp - Elements of every type, one at a time ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Elements.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ferrite;

namespace {
struct KindRow {
  int8_t bytes, bits;
  /// Floats: significant digits, the least exponent of a normal value (of 2^e
  /// in [0.5, 1) form), the largest value, and what is beyond it.
  int8_t digits = 0;
  int16_t least = 0;
  double most = 0, beyond = 0;
};
} // namespace

static constexpr double kInf = std::numeric_limits<double>::infinity();
static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

static const KindRow &rowOf(Kind kind) {
  static const KindRow rows[] = {
      {2, 16, 11, -13, 65504, kInf},                    // F16
      {2, 16, 8, -125, 0x1.FEp127, kInf},               // BF16
      {4, 32, 24, -125, 0x1.FFFFFEp127, kInf},          // F32
      {8, 64, 53, -1021, 0x1.FFFFFFFFFFFFFp1023, kInf}, // F64
      {1, 8, 4, -5, 448, kNaN},                         // F8E4M3FN
      {1, 8, 4, -6, 240, kNaN},                         // F8E4M3FNUZ
      {1, 8, 3, -13, 57344, kInf},                      // F8E5M2
      {1, 8, 3, -14, 57344, kNaN},                      // F8E5M2FNUZ
      {1, 8, 1, -126, 0x1p127, kNaN},                   // F8E8M0FNU
      {1, 4, 2, 1, 6, 6},                               // F4E2M1FN
      {1, 1},
      {1, 2},
      {1, 4},
      {1, 8}, // Bool I2 I4 I8
      {2, 16},
      {4, 32},
      {8, 64},
      {1, 2}, // I16 I32 I64 U2
      {1, 4},
      {1, 8},
      {2, 16},
      {4, 32},  // U4 U8 U16 U32
      {8, 64}}; // U64
  return rows[static_cast<int>(kind)];
}

std::optional<Kind> ferrite::kindOf(Type element) {
  if (isa<FloatType>(element))
    return llvm::TypeSwitch<Type, std::optional<Kind>>(element)
        .Case([](Float16Type) { return Kind::F16; })
        .Case([](BFloat16Type) { return Kind::BF16; })
        .Case([](Float32Type) { return Kind::F32; })
        .Case([](Float64Type) { return Kind::F64; })
        .Case([](Float8E4M3FNType) { return Kind::F8E4M3FN; })
        .Case([](Float8E4M3FNUZType) { return Kind::F8E4M3FNUZ; })
        .Case([](Float8E5M2Type) { return Kind::F8E5M2; })
        .Case([](Float8E5M2FNUZType) { return Kind::F8E5M2FNUZ; })
        .Case([](Float8E8M0FNUType) { return Kind::F8E8M0FNU; })
        .Case([](Float4E2M1FNType) { return Kind::F4E2M1FN; })
        .Default([](Type) { return std::nullopt; });
  auto integer = dyn_cast<IntegerType>(element);
  if (!integer)
    return std::nullopt;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return Kind::Bool;
  case 2:
    return isUnsigned ? Kind::U2 : Kind::I2;
  case 4:
    return isUnsigned ? Kind::U4 : Kind::I4;
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

int64_t ferrite::bytesOf(Kind kind) { return rowOf(kind).bytes; }
int64_t ferrite::bitsOf(Kind kind) { return rowOf(kind).bits; }

//===--- floats -----------------------------------------------------------===//

static bool isUnsignedZero(Kind kind) {
  return kind == Kind::F8E4M3FNUZ || kind == Kind::F8E5M2FNUZ;
}

double ferrite::roundTo(Kind kind, double value) {
  if (kind == Kind::F32)
    return static_cast<float>(value);
  if (kind == Kind::F64)
    return value;
  const KindRow &row = rowOf(kind);
  if (std::isnan(value))
    return kind == Kind::F4E2M1FN ? -0.0 : value;
  if (kind == Kind::F8E8M0FNU) {
    double rounded = std::exp2(std::round(std::log2(std::abs(value))));
    return rounded < 0x1p-127   ? 0x1p-127
           : rounded > row.most ? row.beyond
                                : rounded;
  }
  double rounded = value;
  if (value != 0 && std::isfinite(value)) {
    int exponent;
    std::frexp(value, &exponent); // in [2^(exponent-1), 2^exponent)
    int shift = row.digits - std::max<int>(exponent, row.least);
    rounded = std::ldexp(std::nearbyint(std::ldexp(value, shift)), -shift);
  }
  if (std::abs(rounded) > row.most)
    return std::copysign(row.beyond, value);
  return rounded == 0 && isUnsignedZero(kind) ? 0 : rounded;
}

/// The values of the codes of a type without a sign, up to and with the
/// largest.
static std::vector<double> tinyValues(Kind kind) {
  const KindRow &row = rowOf(kind);
  std::vector<double> values;
  if (kind == Kind::F8E8M0FNU) {
    for (int code = 0; code < 255; ++code)
      values.push_back(std::ldexp(1.0, code - 127));
    return values;
  }
  // Codes count up through the fractions of each power of two.
  int fractions = 1 << (row.digits - 1);
  for (int code = 0; values.empty() || values.back() < row.most; ++code) {
    int power = std::max(code / fractions, 1);
    int digits = code < fractions ? code : fractions + code % fractions;
    values.push_back(std::ldexp(digits, power - 1 + row.least - row.digits));
  }
  return values;
}

static const std::vector<double> &tinyTable(Kind kind) {
  static const std::vector<double> tables[] = {
      tinyValues(Kind::F8E4M3FN),  tinyValues(Kind::F8E4M3FNUZ),
      tinyValues(Kind::F8E5M2),    tinyValues(Kind::F8E5M2FNUZ),
      tinyValues(Kind::F8E8M0FNU), tinyValues(Kind::F4E2M1FN)};
  return tables[static_cast<int>(kind) - static_cast<int>(Kind::F8E4M3FN)];
}

static double fromTiny(Kind kind, uint8_t bits) {
  const std::vector<double> &values = tinyTable(kind);
  if (kind == Kind::F8E8M0FNU)
    return bits == 255 ? kNaN : values[bits];
  uint8_t sign = kind == Kind::F4E2M1FN ? 8 : 0x80;
  uint8_t code = bits & (sign - 1), minus = bits & sign;
  double value = kNaN;
  if (code < values.size())
    value = values[code];
  else if (kind == Kind::F8E5M2 && code == 0x7C)
    value = std::numeric_limits<double>::infinity();
  if (minus && code == 0 && isUnsignedZero(kind))
    return kNaN;
  return minus ? -value : value;
}

/// Of a value that the type has.
static uint8_t toTiny(Kind kind, double value) {
  const std::vector<double> &values = tinyTable(kind);
  if (kind == Kind::F8E8M0FNU && std::isnan(value))
    return 255;
  bool isUZ = isUnsignedZero(kind);
  uint8_t minus = !std::signbit(value)      ? 0
                  : kind == Kind::F4E2M1FN  ? 8
                  : kind == Kind::F8E8M0FNU ? 0
                                            : 0x80;
  if (std::isnan(value))
    return isUZ ? 0x80 : minus | (kind == Kind::F8E5M2 ? 0x7E : 0x7F);
  if (std::isinf(value))
    return minus | 0x7C; // of F8E5M2 alone
  auto found = llvm::lower_bound(values, std::abs(value));
  auto code = static_cast<uint8_t>(found - values.begin());
  return isUZ && code == 0 ? 0 : minus | code;
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

//===--- memory -----------------------------------------------------------===//

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

double ferrite::readFloat(Kind kind, const char *data, int64_t i) {
  switch (kind) {
  case Kind::F32:
    return load<float>(data, i);
  case Kind::F64:
    return load<double>(data, i);
  case Kind::F16:
    return fromHalf(load<uint16_t>(data, i));
  case Kind::BF16:
    break;
  default:
    return fromTiny(kind, load<uint8_t>(data, i));
  }
  uint32_t bits = static_cast<uint32_t>(load<uint16_t>(data, i)) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void ferrite::writeFloat(Kind kind, char *data, int64_t i, double value) {
  switch (kind) {
  case Kind::F32:
    return store<float>(data, i, static_cast<float>(value));
  case Kind::F64:
    return store<double>(data, i, value);
  case Kind::F16:
    return store<uint16_t>(data, i, toHalf(roundTo(kind, value)));
  case Kind::BF16:
    break;
  default:
    return store<uint8_t>(data, i, toTiny(kind, roundTo(kind, value)));
  }
  float rounded = static_cast<float>(roundTo(kind, value));
  uint32_t bits;
  std::memcpy(&bits, &rounded, 4);
  if (std::isnan(value))
    bits = 0x7FC00000; // the payload must not be cut to an infinity
  store<uint16_t>(data, i, static_cast<uint16_t>(bits >> 16));
}

int64_t ferrite::readInteger(Kind kind, const char *data, int64_t i) {
  switch (kind) {
  case Kind::Bool:
    return load<uint8_t>(data, i) != 0;
  case Kind::I2:
  case Kind::I4:
  case Kind::I8:
    return wrapTo(kind, load<int8_t>(data, i));
  case Kind::I16:
    return load<int16_t>(data, i);
  case Kind::I32:
    return load<int32_t>(data, i);
  case Kind::U2:
  case Kind::U4:
  case Kind::U8:
    return wrapTo(kind, load<uint8_t>(data, i));
  case Kind::U16:
    return load<uint16_t>(data, i);
  case Kind::U32:
    return load<uint32_t>(data, i);
  default:
    return load<int64_t>(data, i);
  }
}

void ferrite::writeInteger(Kind kind, char *data, int64_t i, int64_t value) {
  switch (bytesOf(kind)) {
  case 1:
    return store<uint8_t>(data, i, wrapTo(kind, value));
  case 2:
    return store<uint16_t>(data, i, value);
  case 4:
    return store<uint32_t>(data, i, value);
  default:
    return store<int64_t>(data, i, value);
  }
}

int64_t ferrite::wrapTo(Kind kind, int64_t value) {
  if (kind == Kind::Bool)
    return value != 0;
  int64_t shift = 64 - bitsOf(kind);
  uint64_t high = static_cast<uint64_t>(value) << shift;
  return isUnsignedKind(kind) ? static_cast<int64_t>(high >> shift)
                              : static_cast<int64_t>(high) >> shift;
}

Element ferrite::readElement(Kind kind, const char *data, int64_t i) {
  return isFloat(kind) ? Element{readFloat(kind, data, i), 0}
                       : Element{0, readInteger(kind, data, i)};
}

void ferrite::writeElement(Kind kind, char *data, int64_t i, Element element) {
  if (isFloat(kind))
    writeFloat(kind, data, i, element.f);
  else
    writeInteger(kind, data, i, element.i);
}

//===--- conversions ------------------------------------------------------===//

double ferrite::toDouble(Kind kind, Element element) {
  if (isFloat(kind))
    return element.f;
  return kind == Kind::U64
             ? static_cast<double>(static_cast<uint64_t>(element.i))
             : static_cast<double>(element.i);
}

/// Toward zero; what the type cannot hold becomes its end, a NaN 0.
static int64_t truncated(double value, Kind kind) {
  if (std::isnan(value))
    return 0;
  value = std::trunc(value);
  if (kind == Kind::U64)
    return value >= 0x1p64 ? -1
           : value <= 0    ? 0
                           : static_cast<int64_t>(uint64_t(value));
  int64_t bits = bitsOf(kind);
  double least = isUnsignedKind(kind) ? 0 : -std::ldexp(1.0, bits - 1);
  double most = std::ldexp(1.0, isUnsignedKind(kind) ? bits : bits - 1);
  if (value >= most) // the first too large
    return bits == 64 ? INT64_MAX : static_cast<int64_t>(most) - 1;
  return static_cast<int64_t>(std::max(value, least));
}

/// A power of two for the magnitude of `value`.
static double toPower(double value, bool overflows, Rounding rounding) {
  double size = std::abs(value), most = 0x1p127, least = 0x1p-127;
  if (std::isnan(value))
    return kNaN;
  if (size == 0 || std::isinf(size))
    return overflows ? kNaN : size == 0 ? least : most;
  int exponent;
  double digits = std::frexp(size, &exponent); // [0.5, 1)
  bool up = rounding == Rounding::Up     ? digits > 0.5
            : rounding == Rounding::Down ? false
                                         : digits >= 0.75;
  double power = std::ldexp(up ? 1.0 : 0.5, exponent);
  if (power > most || power < least)
    return overflows ? kNaN : power > most ? most : least;
  return power;
}

Element ferrite::castElement(Kind from, Element element, Kind to,
                             bool overflows, Rounding rounding) {
  if (isFloat(to)) {
    double value = toDouble(from, element);
    if (isTinyFloat(to)) // by way of f32, as kernels do
      value = static_cast<float>(value);
    if (to == Kind::F8E8M0FNU)
      return {toPower(value, overflows, rounding), 0};
    double rounded = roundTo(to, value);
    if (isTinyFloat(to) && !overflows && !std::isnan(value) &&
        !std::isfinite(rounded))
      rounded = std::copysign(rowOf(to).most, value);
    return {rounded, 0};
  }
  if (!isFloat(from))
    return {0, wrapTo(to, element.i)};
  if (to == Kind::Bool)
    return {0, element.f != 0};
  Kind via = bitsOf(to) < 8 ? Kind::I32 : to;
  return {0, wrapTo(to, truncated(element.f, via))};
}

Element ferrite::bitcastElement(Kind from, Element element, Kind to) {
  char bytes[8] = {};
  writeElement(from, bytes, 0, element);
  return readElement(to, bytes, 0);
}
