//===- ShapeValue.cpp - Small integer tensors known at import -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ShapeValue.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <numeric>

namespace ferrite::frontend {

//===----------------------------------------------------------------------===//
// SymbolBounds
//===----------------------------------------------------------------------===//

DimExpr SymbolBounds::declare(llvm::StringRef name, Bounds wanted) {
  auto found = symbolOf.find(name);
  if (found == symbolOf.end()) {
    std::string symbol;
    for (char c : name.take_front(100))
      symbol.push_back(llvm::isAlnum(c) || c == '_' || c == '.' ? c : '_');
    if (symbol.empty() || !llvm::isAlpha(symbol.front()))
      symbol.insert(0, "d_");
    while (isTaken(symbol))
      symbol += "_";
    found = symbolOf.try_emplace(name, symbol).first;
    if (llvm::none_of(equalities, [&](const Equality &known) {
          return known.symbol == symbol;
        }))
      bounds.emplace_back(symbol, wanted);
  }
  for (const Equality &known : equalities)
    if (known.symbol == found->second)
      return known.value;
  return DimExpr::symbol(found->second);
}

bool SymbolBounds::isTaken(llvm::StringRef symbol) const {
  return decided.contains(symbol) ||
         llvm::any_of(symbolOf, [&](const auto &entry) {
           return entry.getValue() == symbol;
         });
}

DimExpr SymbolBounds::declareDecided(llvm::StringRef stem,
                                     const DimExpr &most) {
  std::string symbol;
  do
    symbol = (stem + "." + llvm::Twine(nextDecided++)).str();
  while (isTaken(symbol));
  decided[symbol] = {0, upper(most).value_or(kUnbounded)};
  return DimExpr::symbol(symbol);
}

std::string SymbolBounds::explainDecided(llvm::StringRef message) const {
  for (size_t at = 0; at < message.size();) {
    size_t end = message.find_first_of(" *[](),:;'", at);
    llvm::StringRef word = message.slice(at, end);
    if (decided.contains(word))
      return "; data decides " + word.str() +
             ", how many elements are not zero";
    at = end == llvm::StringRef::npos ? end : end + 1;
  }
  return {};
}

void SymbolBounds::setEqualities(std::vector<Equality> known) {
  equalities = std::move(known);
}

static DimExpr substitute(const DimExpr &expr, llvm::StringRef symbol,
                          const DimExpr &value) {
  DimExpr result(0);
  for (const auto &[monomial, coefficient] : expr.terms()) {
    DimExpr term(coefficient);
    for (const std::string &name : monomial)
      term = term * (name == symbol ? value : DimExpr::symbol(name));
    result = result + term;
  }
  return result;
}

/// `expr` without the factors that all of its terms have: as symbols are sizes,
/// it is 0 where that is.
static DimExpr withoutCommonFactors(const DimExpr &expr) {
  DimExpr::Monomial common;
  int64_t factor = 0;
  bool isFirst = true;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    if (coefficient == INT64_MIN)
      return expr;
    factor = std::gcd(factor, coefficient);
    DimExpr::Monomial both;
    std::set_intersection(common.begin(), common.end(), monomial.begin(),
                          monomial.end(), std::back_inserter(both));
    common = isFirst ? monomial : both;
    isFirst = false;
  }
  DimExpr divisor(std::max<int64_t>(factor, 1));
  for (const std::string &name : common)
    divisor = divisor * DimExpr::symbol(name);
  return expr.dividedBy(divisor).value_or(expr);
}

std::optional<SymbolBounds::Equality>
SymbolBounds::solve(const DimExpr &a, const DimExpr &b) const {
  DimExpr difference = a - b;
  if (!difference.isValid() || difference == DimExpr(0))
    return std::nullopt;
  difference = withoutCommonFactors(difference);
  std::optional<Equality> best;
  int bestRank = 0;
  // The symbol declared last gives way: the names of the first inputs stay.
  for (const auto &[name, bound] : bounds) {
    auto own = difference.terms().find({name});
    if (own == difference.terms().end() ||
        (own->second != 1 && own->second != -1))
      continue;
    DimExpr value =
        (DimExpr::symbol(name) * DimExpr(own->second) - difference) *
        DimExpr(own->second);
    auto isDecided = [&](const std::string &symbol) {
      return decided.contains(symbol);
    };
    if (llvm::is_contained(value.symbols(), name) || !value.isValid() ||
        llvm::any_of(value.symbols(), isDecided))
      continue;
    std::optional<int64_t> low = lower(value), high = upper(value);
    bool isSum = llvm::all_of(value.terms(),
                              [](const auto &term) { return term.second > 0; });
    // A limit that a user gave is kept: nothing else would check it.
    bool isKept = (bound.max == kUnbounded || (high && *high <= bound.max)) &&
                  low && (isSum || *low >= 0) &&
                  (!high || *high >= bound.min) && value.terms().size() <= 8;
    int rank = value.constant() ? 3 : isSum ? 2 : 1;
    if (isKept && rank >= bestRank) {
      best = Equality{name, value};
      bestRank = rank;
    }
  }
  return best;
}

std::vector<SymbolBounds::Equality>
addEquality(std::vector<SymbolBounds::Equality> all,
            const SymbolBounds::Equality &added) {
  for (SymbolBounds::Equality &known : all)
    known.value = substitute(known.value, added.symbol, added.value);
  all.push_back(added);
  return all;
}

const SymbolBounds::Bounds *SymbolBounds::find(llvm::StringRef symbol) const {
  for (const auto &[name, known] : bounds)
    if (name == symbol)
      return &known;
  auto found = decided.find(symbol);
  return found == decided.end() ? nullptr : &found->second;
}

std::optional<int64_t> SymbolBounds::extreme(const DimExpr &expr,
                                             bool upper) const {
  // Symbols are not negative, so a monomial is extreme where its symbols are.
  int64_t sum = 0;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    bool useMax = upper == (coefficient > 0);
    int64_t value = coefficient;
    for (const std::string &name : monomial) {
      const Bounds *found = find(name);
      if (!found)
        return std::nullopt;
      int64_t size = useMax ? found->max : found->min;
      if ((useMax && size == kUnbounded) ||
          llvm::MulOverflow(value, size, value))
        return std::nullopt;
    }
    if (llvm::AddOverflow(sum, value, sum))
      return std::nullopt;
  }
  return expr.isValid() ? std::optional(sum) : std::nullopt;
}

std::optional<int64_t> SymbolBounds::lower(const DimExpr &expr) const {
  return extreme(expr, /*upper=*/false);
}
std::optional<int64_t> SymbolBounds::upper(const DimExpr &expr) const {
  return extreme(expr, /*upper=*/true);
}

std::optional<bool> SymbolBounds::lessEqual(const DimExpr &a,
                                            const DimExpr &b) const {
  if (a.constant() && b.constant()) // their difference may overflow
    return *a.constant() <= *b.constant();
  DimExpr difference = b - a;
  if (std::optional<int64_t> low = lower(difference); low && *low >= 0)
    return true;
  if (std::optional<int64_t> high = upper(difference); high && *high < 0)
    return false;
  return std::nullopt;
}

std::optional<bool> SymbolBounds::equal(const DimExpr &a,
                                        const DimExpr &b) const {
  if (a.isValid() && a == b)
    return true;
  if (lessEqual(a, b) == false || lessEqual(b, a) == false)
    return false;
  return std::nullopt;
}

/// The one symbol of `expr` = factor * symbol + constant, if it is that.
static bool isLinear(const DimExpr &expr, std::string &symbol, int64_t &factor,
                     int64_t &constant) {
  factor = constant = 0;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    if (monomial.empty())
      constant = coefficient;
    else if (monomial.size() == 1 && factor == 0)
      symbol = monomial.front(), factor = coefficient;
    else
      return false;
  }
  return factor != 0;
}

bool SymbolBounds::requireLessEqual(const DimExpr &a, const DimExpr &b) {
  if (std::optional<bool> known = lessEqual(a, b))
    return *known;
  std::string symbol;
  int64_t factor, constant;
  if (!isLinear(b - a, symbol, factor, constant) || !find(symbol) ||
      decided.contains(symbol)) {
    wasOpen = true;
    return isTentative && (b - a).isValid();
  }
  // factor * symbol + constant >= 0
  Bounds &bound = const_cast<Bounds &>(*find(symbol));
  if (factor > 0)
    bound.min = std::max(bound.min, llvm::divideCeilSigned(-constant, factor));
  else
    bound.max = std::min(bound.max, llvm::divideFloorSigned(constant, -factor));
  return bound.min <= bound.max;
}

bool SymbolBounds::requireEqual(const DimExpr &expr, int64_t value) {
  return requireLessEqual(expr, value) && requireLessEqual(value, expr);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

static std::optional<int64_t> power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  if (exponent < 0 || exponent > 63)
    return std::nullopt;
  for (int64_t i = 0; i < exponent; ++i)
    if (llvm::MulOverflow(result, base, result))
      return std::nullopt;
  return result;
}

static std::optional<DimExpr> fromBool(std::optional<bool> value) {
  return value ? std::optional(DimExpr(*value)) : std::nullopt;
}

std::optional<DimExpr> evaluate(IntOp op, const DimExpr &a, const DimExpr &b,
                                const SymbolBounds &symbols) {
  auto valid = [](DimExpr expr) {
    return expr.isValid() ? std::optional(expr) : std::nullopt;
  };
  std::optional<int64_t> x = a.constant(), y = b.constant();
  switch (op) {
  case IntOp::Add:
    return valid(a + b);
  case IntOp::Sub:
    return valid(a - b);
  case IntOp::Mul:
    return valid(a * b);
  case IntOp::Div: // toward zero, as C++ does
    if (x && y)
      return *y == 0 || (*x == INT64_MIN && *y == -1)
                 ? std::nullopt
                 : std::optional(DimExpr(*x / *y));
    return a.dividedBy(b);
  case IntOp::Mod: // the sign of the divisor
    if (x && y) {
      if (*y == 0 || *y == -1)
        return *y == 0 ? std::nullopt : std::optional(DimExpr(0));
      int64_t rest = *x % *y;
      return DimExpr(rest != 0 && (rest < 0) != (*y < 0) ? rest + *y : rest);
    }
    return a.dividedBy(b) ? std::optional(DimExpr(0)) : std::nullopt;
  case IntOp::Max:
    if (symbols.lessEqual(a, b) == true)
      return b;
    return symbols.lessEqual(b, a) == true ? std::optional(a) : std::nullopt;
  case IntOp::Min:
    if (symbols.lessEqual(a, b) == true)
      return a;
    return symbols.lessEqual(b, a) == true ? std::optional(b) : std::nullopt;
  case IntOp::Pow:
    if (x && y)
      if (std::optional<int64_t> result = power(*x, *y))
        return DimExpr(*result);
    return std::nullopt;
  case IntOp::And:
    return x && y ? std::optional(DimExpr(*x && *y)) : std::nullopt;
  case IntOp::Or:
    return x && y ? std::optional(DimExpr(*x || *y)) : std::nullopt;
  case IntOp::Xor:
    return x && y ? std::optional(DimExpr((*x != 0) != (*y != 0)))
                  : std::nullopt;
  case IntOp::Eq:
    return fromBool(symbols.equal(a, b));
  case IntOp::Le:
    return fromBool(symbols.lessEqual(a, b));
  case IntOp::Ge:
    return fromBool(symbols.lessEqual(b, a));
  case IntOp::Lt:
    if (std::optional<bool> known = symbols.lessEqual(b, a))
      return DimExpr(!*known);
    return std::nullopt;
  case IntOp::Gt:
    if (std::optional<bool> known = symbols.lessEqual(a, b))
      return DimExpr(!*known);
    return std::nullopt;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Slice
//===----------------------------------------------------------------------===//

/// A bound of a slice with its sign resolved and clamped to [low, dim + above].
/// A bound beyond a dim whose size is not known demands that the dim reach it.
static std::optional<DimExpr> clampBound(DimExpr bound, const DimExpr &dim,
                                         int64_t low, int64_t above,
                                         SymbolBounds &symbols) {
  if (std::optional<int64_t> value = bound.constant()) {
    // Beyond any size: no symbol needs to be asked.
    if (*value >= INT32_MAX)
      return dim + above;
    if (*value <= -int64_t(INT32_MAX))
      return DimExpr(low);
  }
  std::optional<bool> negative = symbols.lessEqual(bound, -1);
  if (!negative)
    return std::nullopt;
  if (*negative) {
    bound = bound + dim;
    std::optional<bool> below = symbols.lessEqual(bound, low - 1);
    if (below && *below)
      return DimExpr(low);
    if (!below && !symbols.requireLessEqual(low, bound))
      return std::nullopt;
    return bound;
  }
  DimExpr high = dim + above;
  if (symbols.lessEqual(high, bound) == true)
    return high;
  return symbols.requireLessEqual(bound, high) ? std::optional(bound)
                                               : std::nullopt;
}

std::optional<SliceRange> resolveSlice(DimExpr start, DimExpr end, int64_t step,
                                       const DimExpr &dim,
                                       SymbolBounds &symbols) {
  bool forward = step > 0;
  std::optional<DimExpr> from =
      clampBound(start, dim, 0, forward ? 0 : -1, symbols);
  std::optional<DimExpr> to =
      clampBound(end, dim, forward ? 0 : -1, forward ? 0 : -1, symbols);
  if (!from || !to)
    return std::nullopt;
  DimExpr distance = forward ? *to - *from : *from - *to;
  std::optional<bool> empty = symbols.lessEqual(distance, 0);
  if (empty && *empty)
    return SliceRange{DimExpr(0), DimExpr(0)};
  // As when a mask keeps [s : s]: empty or not, the difference is the size.
  if (!empty && !symbols.requireLessEqual(0, distance))
    return std::nullopt;
  int64_t stride = forward ? step : -step;
  if (std::optional<int64_t> length = distance.constant())
    return SliceRange{*from, DimExpr(llvm::divideCeilSigned(*length, stride))};
  std::optional<DimExpr> size =
      stride == 1 ? std::optional(distance) : distance.dividedBy(stride);
  if (!size)
    return std::nullopt;
  return SliceRange{*from, *size};
}

} // namespace ferrite::frontend
