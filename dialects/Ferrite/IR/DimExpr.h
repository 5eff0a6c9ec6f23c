//===- DimExpr.h - Sizes as polynomials of the entry's symbols --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A symbolic size: an integer polynomial over named symbols, always in one
// canonical form, so that two sizes are provably equal exactly when they
// compare equal. `batch*sequence*12 + 4` is {batch*sequence: 12, 1: 4}.
//
// Polynomials, and not affine expressions, because a view from [b, s, h*d] to
// [b*s, h*d] multiplies symbols. What they cannot say: division that leaves a
// rest, min and max. An importer that meets those either knows the symbol's
// bounds or refuses the node.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_FERRITE_IR_DIMEXPR_H
#define FERRITE_DIALECTS_FERRITE_IR_DIMEXPR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ferrite {

class DimExpr {
public:
  /// The product of these symbols, sorted, repeated for powers. Empty: 1.
  using Monomial = std::vector<std::string>;

  DimExpr(int64_t value = 0);
  static DimExpr symbol(llvm::StringRef name);
  /// Reads what str() wrote: terms of `int` and `name` factors joined by `*`,
  /// joined by ` + ` or ` - `. A name holds no space and none of `*+-`; a
  /// symbol whose ONNX name has some is renamed at import.
  static std::optional<DimExpr> parse(llvm::StringRef text);

  /// The value, when no symbol occurs.
  std::optional<int64_t> constant() const;
  bool isConstant(int64_t value) const { return constant() == value; }
  /// False after a coefficient overflowed 64 bits; such a size is no size.
  bool isValid() const { return valid; }
  const std::map<Monomial, int64_t> &terms() const { return coefficients; }

  DimExpr operator+(const DimExpr &other) const;
  DimExpr operator-(const DimExpr &other) const;
  DimExpr operator*(const DimExpr &other) const;
  /// this / divisor, when that is a polynomial with integer coefficients.
  std::optional<DimExpr> dividedBy(const DimExpr &divisor) const;
  bool operator==(const DimExpr &other) const {
    return valid == other.valid && coefficients == other.coefficients;
  }
  bool operator!=(const DimExpr &other) const { return !(*this == other); }
  bool operator<(const DimExpr &other) const {
    return coefficients < other.coefficients;
  }

  /// The value at `symbols`, or nothing on overflow or an unknown symbol.
  std::optional<int64_t>
  evaluate(llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> symbols)
      const;
  /// With expressions in place of the symbols for which there is one.
  DimExpr replaced(llvm::function_ref<std::optional<DimExpr>(llvm::StringRef)>
                       symbols) const;
  /// The symbols that occur, each once.
  std::vector<std::string> symbols() const;
  std::string str() const;

private:
  void add(const Monomial &monomial, int64_t coefficient);
  std::map<Monomial, int64_t> coefficients; // no zero coefficient is stored
  bool valid = true;
};

using Dims = llvm::SmallVector<DimExpr, 4>;

/// The number of elements.
DimExpr product(llvm::ArrayRef<DimExpr> dims);
/// The tensor type with these dims, `?` where a symbol occurs.
mlir::RankedTensorType getTensorType(llvm::ArrayRef<DimExpr> dims,
                                     mlir::Type element);
/// As attributes print them, and back. Attributes that are verified parse.
mlir::ArrayAttr getDimsAttr(mlir::MLIRContext *context,
                            llvm::ArrayRef<DimExpr> dims);
std::optional<Dims> parseDims(mlir::ArrayAttr attr);
/// NumPy's rule for two dims: equal, or one of them 1. A symbol beside a
/// constant above 1 takes the constant (a call where they differ is refused
/// when the symbol is bound). Nothing when it cannot be known.
std::optional<DimExpr> broadcastDim(const DimExpr &a, const DimExpr &b);
std::optional<Dims> broadcastDims(llvm::ArrayRef<DimExpr> a,
                                  llvm::ArrayRef<DimExpr> b);

} // namespace ferrite

#endif // FERRITE_DIALECTS_FERRITE_IR_DIMEXPR_H
