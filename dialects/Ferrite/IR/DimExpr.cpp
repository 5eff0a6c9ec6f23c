//===- DimExpr.cpp - Sizes as polynomials of the entry's symbols ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/DimExpr.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <set>

using namespace ferrite;

DimExpr::DimExpr(int64_t value) {
  if (value != 0)
    coefficients[{}] = value;
}

DimExpr DimExpr::symbol(llvm::StringRef name) {
  DimExpr result;
  result.coefficients[{name.str()}] = 1;
  return result;
}

std::optional<int64_t> DimExpr::constant() const {
  if (!valid)
    return std::nullopt;
  if (coefficients.empty())
    return 0;
  if (coefficients.size() == 1 && coefficients.begin()->first.empty())
    return coefficients.begin()->second;
  return std::nullopt;
}

void DimExpr::add(const Monomial &monomial, int64_t coefficient) {
  int64_t &slot = coefficients[monomial];
  if (llvm::AddOverflow(slot, coefficient, slot))
    valid = false;
  if (slot == 0)
    coefficients.erase(monomial);
}

DimExpr DimExpr::operator+(const DimExpr &other) const {
  DimExpr result = *this;
  result.valid &= other.valid;
  for (const auto &[monomial, coefficient] : other.coefficients)
    result.add(monomial, coefficient);
  return result;
}

DimExpr DimExpr::operator-(const DimExpr &other) const {
  return *this + other * DimExpr(-1);
}

DimExpr DimExpr::operator*(const DimExpr &other) const {
  DimExpr result;
  result.valid = valid && other.valid;
  for (const auto &[m, a] : coefficients)
    for (const auto &[n, b] : other.coefficients) {
      Monomial both = m;
      both.insert(both.end(), n.begin(), n.end());
      llvm::sort(both);
      int64_t coefficient;
      if (llvm::MulOverflow(a, b, coefficient))
        result.valid = false;
      result.add(both, coefficient);
    }
  return result;
}

std::optional<DimExpr> DimExpr::dividedBy(const DimExpr &divisor) const {
  if (!valid || !divisor.valid || divisor.coefficients.empty())
    return std::nullopt;
  if (*this == divisor)
    return DimExpr(1);
  // Long division by the leading monomial. By degree first: the map's order
  // alone is none that products keep (a < a*a, but a*a*b < a*b), and (b + 1)*s
  // / (b + 1) would fail.
  auto leading = [](const DimExpr &expr) {
    return *std::max_element(expr.coefficients.begin(), expr.coefficients.end(),
                             [](const auto &a, const auto &b) {
                               size_t degreeOfA = a.first.size(),
                                      degreeOfB = b.first.size();
                               return degreeOfA != degreeOfB
                                          ? degreeOfA < degreeOfB
                                          : a.first < b.first;
                             });
  };
  const auto [lead, factor] = leading(divisor);
  DimExpr rest = *this, quotient;
  for (unsigned step = 0; !rest.coefficients.empty(); ++step) {
    const auto [monomial, coefficient] = leading(rest);
    // INT64_MIN / -1 traps.
    bool traps = factor == -1 && coefficient == INT64_MIN;
    if (step > 64 || traps || coefficient % factor != 0 ||
        !std::includes(monomial.begin(), monomial.end(), lead.begin(),
                       lead.end()))
      return std::nullopt;
    Monomial left;
    std::set_difference(monomial.begin(), monomial.end(), lead.begin(),
                        lead.end(), std::back_inserter(left));
    DimExpr term;
    term.add(left, coefficient / factor);
    quotient = quotient + term;
    rest = rest - term * divisor;
    if (!rest.valid)
      return std::nullopt;
  }
  return quotient;
}

std::optional<int64_t> DimExpr::evaluate(
    llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> symbols) const {
  if (!valid)
    return std::nullopt;
  int64_t sum = 0;
  for (const auto &[monomial, coefficient] : coefficients) {
    int64_t value = coefficient;
    for (const std::string &name : monomial) {
      std::optional<int64_t> size = symbols(name);
      if (!size || llvm::MulOverflow(value, *size, value))
        return std::nullopt;
    }
    if (llvm::AddOverflow(sum, value, sum))
      return std::nullopt;
  }
  return sum;
}

DimExpr DimExpr::replaced(
    llvm::function_ref<std::optional<DimExpr>(llvm::StringRef)> symbols) const {
  DimExpr sum;
  sum.valid = valid;
  for (const auto &[monomial, coefficient] : coefficients) {
    DimExpr term(coefficient);
    for (const std::string &name : monomial)
      term = term * symbols(name).value_or(DimExpr::symbol(name));
    sum = sum + term;
  }
  return sum;
}

std::vector<std::string> DimExpr::symbols() const {
  std::set<std::string> names;
  for (const auto &[monomial, coefficient] : coefficients)
    names.insert(monomial.begin(), monomial.end());
  return {names.begin(), names.end()};
}

std::string DimExpr::str() const {
  if (coefficients.empty())
    return "0";
  std::string text;
  for (const auto &[monomial, coefficient] : llvm::reverse(coefficients)) {
    // INT64_MIN has no negation: unsigned arithmetic prints it right.
    uint64_t magnitude =
        coefficient < 0 ? -static_cast<uint64_t>(coefficient) : coefficient;
    if (text.empty())
      text += coefficient < 0 ? "-" : "";
    else
      text += coefficient < 0 ? " - " : " + ";
    text += llvm::join(monomial, "*");
    if (monomial.empty() || magnitude != 1)
      text += (monomial.empty() ? "" : "*") + std::to_string(magnitude);
  }
  return text;
}

std::optional<DimExpr> DimExpr::parse(llvm::StringRef text) {
  DimExpr result;
  bool negative = text.consume_front("-");
  while (true) {
    size_t end = text.find(' ');
    llvm::SmallVector<llvm::StringRef> factors;
    text.take_front(end).split(factors, '*');
    DimExpr term(1);
    bool isSigned = !negative;
    for (llvm::StringRef factor : factors) {
      uint64_t magnitude;
      if (factor.empty() || factor.find_first_of("+-") != llvm::StringRef::npos)
        return std::nullopt;
      if (!llvm::isDigit(factor.front())) {
        term = term * symbol(factor);
        continue;
      }
      // The sign goes with the number: INT64_MIN is no negation of another.
      uint64_t most = static_cast<uint64_t>(INT64_MAX) + !isSigned;
      if (factor.getAsInteger(10, magnitude) || magnitude > most)
        return std::nullopt;
      term = term *
             DimExpr(static_cast<int64_t>(isSigned ? magnitude : -magnitude));
      isSigned = true;
    }
    result = result + (isSigned ? term : term * DimExpr(-1));
    if (end == llvm::StringRef::npos)
      return result.valid ? std::optional(result) : std::nullopt;
    text = text.drop_front(end);
    negative = text.starts_with(" - ");
    if (!text.consume_front(" + ") && !text.consume_front(" - "))
      return std::nullopt;
  }
}

DimExpr ferrite::product(llvm::ArrayRef<DimExpr> dims) {
  DimExpr result(1);
  for (const DimExpr &dim : dims)
    result = result * dim;
  return result;
}

mlir::RankedTensorType ferrite::getTensorType(llvm::ArrayRef<DimExpr> dims,
                                              mlir::Type element) {
  llvm::SmallVector<int64_t> shape;
  for (const DimExpr &dim : dims)
    shape.push_back(dim.constant().value_or(mlir::ShapedType::kDynamic));
  return mlir::RankedTensorType::get(shape, element);
}

mlir::ArrayAttr ferrite::getDimsAttr(mlir::MLIRContext *context,
                                     llvm::ArrayRef<DimExpr> dims) {
  llvm::SmallVector<mlir::Attribute> texts;
  for (const DimExpr &dim : dims)
    texts.push_back(mlir::StringAttr::get(context, dim.str()));
  return mlir::ArrayAttr::get(context, texts);
}

std::optional<Dims> ferrite::parseDims(mlir::ArrayAttr attr) {
  Dims dims;
  for (mlir::Attribute text : attr) {
    auto string = llvm::dyn_cast<mlir::StringAttr>(text);
    std::optional<DimExpr> dim =
        string ? DimExpr::parse(string.getValue()) : std::nullopt;
    if (!dim)
      return std::nullopt;
    dims.push_back(*dim);
  }
  return dims;
}

std::optional<DimExpr> ferrite::broadcastDim(const DimExpr &a,
                                             const DimExpr &b) {
  if (a == b || b.isConstant(1))
    return a;
  if (a.isConstant(1))
    return b;
  if (a.constant() && b.constant())
    return std::nullopt;
  if (a.constant())
    return a;
  if (b.constant())
    return b;
  return std::nullopt;
}

std::optional<Dims> ferrite::broadcastDims(llvm::ArrayRef<DimExpr> a,
                                           llvm::ArrayRef<DimExpr> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  Dims result(a.begin(), a.end());
  size_t lead = a.size() - b.size();
  for (size_t i = 0; i < b.size(); ++i) {
    std::optional<DimExpr> dim = broadcastDim(a[lead + i], b[i]);
    if (!dim)
      return std::nullopt;
    result[lead + i] = *dim;
  }
  return result;
}
