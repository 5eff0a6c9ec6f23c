//===- Elements.h - Elements of every type, one at a time -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What an element's bits mean, and what one type makes of a value of another.
// Slow and obvious: the evaluators of constants and of whole models share it,
// kernels are tested against it.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_FERRITE_IR_ELEMENTS_H
#define FERRITE_DIALECTS_FERRITE_IR_ELEMENTS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include <optional>

namespace ferrite {

/// An element type as memory has it: bools and all that is smaller are bytes.
enum class Kind : uint8_t {
  F16,
  BF16,
  F32,
  F64,
  F8E4M3FN,
  F8E4M3FNUZ,
  F8E5M2,
  F8E5M2FNUZ,
  F8E8M0FNU,
  F4E2M1FN,
  Bool,
  I2,
  I4,
  I8,
  I16,
  I32,
  I64,
  U2,
  U4,
  U8,
  U16,
  U32,
  U64
};

std::optional<Kind> kindOf(mlir::Type element);
int64_t bytesOf(Kind kind);
int64_t bitsOf(Kind kind);
inline bool isFloat(Kind kind) { return kind <= Kind::F4E2M1FN; }
inline bool isTinyFloat(Kind kind) {
  return kind >= Kind::F8E4M3FN && kind <= Kind::F4E2M1FN;
}
inline bool isUnsignedKind(Kind kind) {
  return kind == Kind::Bool || kind >= Kind::U2;
}

/// The value of a float type that is nearest, ties to even. What is too large
/// is the type's infinity, or NaN, or largest value: the first that it has.
double roundTo(Kind kind, double value);
/// The value that an integer type keeps of 64 bits.
int64_t wrapTo(Kind kind, int64_t value);

/// Element `i` of memory of any alignment. An element is read as what it is:
/// floats by the first two, integers (unsigned ones as their bits) by the last.
double readFloat(Kind kind, const char *data, int64_t i);
void writeFloat(Kind kind, char *data, int64_t i, double value);
int64_t readInteger(Kind kind, const char *data, int64_t i);
void writeInteger(Kind kind, char *data, int64_t i, int64_t value);

/// A float in `f`, an integer in `i`: i1 as 0 and 1, others with their sign,
/// and u64 as its bits.
struct Element {
  double f = 0;
  int64_t i = 0;
};

Element readElement(Kind kind, const char *data, int64_t i);
void writeElement(Kind kind, char *data, int64_t i, Element element);
/// Its value, whatever its type.
double toDouble(Kind kind, Element element);
/// ferrite.cast of one element.
Element castElement(Kind from, Element element, Kind to, bool overflows = false,
                    Rounding rounding = Rounding::Up);
/// ferrite.dequantize of one element, before it is rounded to the result.
float dequantizeElement(Kind from, Element bits, Kind zeroKind, Element zero,
                        double scale);
/// The same with a table of codes, of which there are a power of two.
float dequantizeCode(llvm::ArrayRef<float> codes, Element bits, double scale);
/// ferrite.quantize of one element.
Element quantizeElement(Kind from, Element number, Kind scaleKind,
                        Element scale, Kind to, Element zero, Kind precision,
                        bool overflows);
/// The element of `to` with the same bits.
Element bitcastElement(Kind from, Element element, Kind to);

/// What an elementwise op makes of one element of each operand, rounded to the
/// type of its result.
class ElementFunction {
public:
  /// Null when the op has none.
  static ElementFunction of(mlir::Operation *op);

  explicit operator bool() const { return floating || integer || special; }
  Element operator()(const Element *operands) const;
  Kind kind() const { return result; }

private:
  using Special = Element (*)(const ElementFunction &, const Element *);

  double (*floating)(double, double) = nullptr;
  int64_t (*integer)(int64_t, int64_t) = nullptr;
  Special special = nullptr;
  Kind operand = Kind::F32, result = Kind::F32;
  Predicate predicate = Predicate::Eq;
  Rounding rounding = Rounding::Up;
  bool overflows = false;

  friend struct ElementFunctions;
};

} // namespace ferrite

#endif // FERRITE_DIALECTS_FERRITE_IR_ELEMENTS_H
