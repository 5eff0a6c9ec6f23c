//===- CoordSpace.cpp - Elements of tensors as coordinates ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/CoordSpace.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

/// The product `coefficient * symbols` as an expression.
static DimExpr term(const DimExpr::Monomial &symbols,
                    const DimExpr &coefficient) {
  DimExpr result = coefficient;
  for (const std::string &name : symbols)
    result = result * DimExpr::symbol(name);
  return result;
}

/// The one symbol that `expr` is, or an empty name.
static std::string soleSymbol(const DimExpr &expr) {
  if (expr.terms().size() != 1)
    return {};
  const auto &[monomial, coefficient] = *expr.terms().begin();
  return monomial.size() == 1 && coefficient == 1 ? monomial[0] : std::string();
}

CoordSpace::CoordSpace(DimsLookup dims, ArrayAttr symbols)
    : dims(std::move(dims)) {
  if (symbols)
    for (auto symbol : symbols.getAsRange<SymbolAttr>())
      minimums[symbol.getName().str()] = std::max<int64_t>(symbol.getMin(), 0);
}

DimExpr CoordSpace::coordinate(StringRef name, const DimExpr &extent) {
  if (extent.isConstant(1))
    return DimExpr(0);
  std::string spaced = " " + name.str();
  extents[spaced] = extent;
  bases[spaced] = {spaced};
  return DimExpr::symbol(spaced);
}

std::map<DimExpr::Monomial, DimExpr>
CoordSpace::byCoordinate(const DimExpr &expr) const {
  std::map<DimExpr::Monomial, DimExpr> parts;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    DimExpr::Monomial coords, symbols;
    for (const std::string &name : monomial)
      (extents.count(name) ? coords : symbols).push_back(name);
    DimExpr &part = parts[coords];
    part = part + term(symbols, DimExpr(coefficient));
  }
  return parts;
}

bool CoordSpace::isNonNegative(const DimExpr &expr) const {
  // The least value over the coordinates: 0 in terms that add, the greatest in
  // those that subtract. A coordinate exists, so its extent is at least 1.
  DimExpr least;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    DimExpr value(coefficient);
    for (const std::string &name : monomial) {
      auto extent = extents.find(name);
      if (extent == extents.end())
        value = value * DimExpr::symbol(name);
      else
        value = coefficient > 0 ? DimExpr(0) : value * (extent->second - 1);
    }
    least = least + value;
  }
  // The least value over the symbols: with each written as minimum + rest, rest
  // >= 0, no coefficient may be negative.
  DimExpr shifted;
  for (const auto &[monomial, coefficient] : least.terms()) {
    DimExpr value(coefficient);
    for (const std::string &name : monomial) {
      auto minimum = minimums.find(name);
      value =
          value * (DimExpr::symbol(name) +
                   DimExpr(minimum == minimums.end() ? 1 : minimum->second));
    }
    shifted = shifted + value;
  }
  return shifted.isValid() &&
         llvm::all_of(shifted.terms(),
                      [](const auto &part) { return part.second >= 0; });
}

bool CoordSpace::isWithin(const DimExpr &expr, const DimExpr &bound) const {
  return isNonNegative(expr) && isNonNegative(bound - 1 - expr);
}

bool CoordSpace::dependsOn(const DimExpr &expr,
                           const DimExpr &coordinate) const {
  std::string base = soleSymbol(coordinate);
  for (const std::string &name : expr.symbols()) {
    auto found = bases.find(name);
    if (found != bases.end() && found->second.count(base))
      return true;
  }
  return false;
}

std::optional<std::pair<DimExpr, DimExpr>>
CoordSpace::divide(const DimExpr &expr, const DimExpr &divisor) {
  if (divisor.isConstant(1))
    return std::make_pair(expr, DimExpr(0));
  DimExpr quotient, rest;
  for (const auto &[coords, coefficient] : byCoordinate(expr)) {
    if (std::optional<DimExpr> exact = coefficient.dividedBy(divisor))
      quotient = quotient + term(coords, *exact);
    else
      rest = rest + term(coords, coefficient);
  }
  if (isWithin(rest, divisor))
    return std::make_pair(quotient, rest);
  std::string name = soleSymbol(rest);
  auto extent = extents.find(name);
  if (extent == extents.end())
    return std::nullopt;
  std::string upper = name + "/" + divisor.str(),
              lower = name + "%" + divisor.str();
  if (!extents.count(upper)) {
    // Where the extent is no multiple, it still bounds its quotient.
    DimExpr bound = extent->second.dividedBy(divisor).value_or(extent->second);
    extents[upper] = bound;
    extents[lower] = divisor;
    bases[upper] = bases[lower] = bases[name];
    splitList.push_back({DimExpr::symbol(name), divisor, DimExpr::symbol(upper),
                         DimExpr::symbol(lower)});
  }
  return std::make_pair(quotient + DimExpr::symbol(upper),
                        DimExpr::symbol(lower));
}

DimExpr CoordSpace::join(DimExpr expr) const {
  for (const Split &split : llvm::reverse(splitList)) {
    auto parts = byCoordinate(expr);
    const DimExpr &high = parts[{soleSymbol(split.quotient)}];
    const DimExpr &low = parts[{soleSymbol(split.remainder)}];
    if (low != DimExpr(0) && high == low * split.divisor)
      expr =
          expr - high * split.quotient - low * split.remainder + low * split.of;
  }
  return expr;
}

bool CoordSpace::unflatten(DimExpr linear, ArrayRef<size_t> targets,
                           ArrayRef<DimExpr> sizes, Coords &result) {
  for (size_t i = targets.size(); i-- > 1;) {
    auto parts = divide(linear, sizes[targets[i]]);
    if (!parts)
      return false;
    linear = parts->first;
    result[targets[i]] = parts->second;
  }
  result[targets[0]] = linear;
  return true;
}

std::optional<Coords> CoordSpace::throughView(ViewOp op,
                                              ArrayRef<DimExpr> coords) {
  std::optional<Dims> from = dims(op.getInput()), to = dims(op.getResult());
  if (!from || !to)
    return std::nullopt;
  SmallVector<size_t> ins, outs; // dims of size 1 hold no information
  for (size_t i = 0; i < from->size(); ++i)
    if (!(*from)[i].isConstant(1))
      ins.push_back(i);
  for (size_t i = 0; i < to->size(); ++i)
    if (!(*to)[i].isConstant(1))
      outs.push_back(i);
  Coords result(from->size(), DimExpr(0));
  // Shortest runs of equal products on both sides, each solved by itself: [B,
  // S, H*D] to [B, S, H, D] never asks what b and s are.
  size_t i = 0, j = 0;
  while (i < ins.size() && j < outs.size()) {
    size_t firstIn = i, firstOut = j;
    DimExpr in = (*from)[ins[i++]], out = (*to)[outs[j++]];
    while (in != out) {
      if (j < outs.size() && in.dividedBy(out)) {
        out = out * (*to)[outs[j++]];
      } else if (i < ins.size() && out.dividedBy(in)) {
        in = in * (*from)[ins[i++]];
      } else { // no common run: all the rest is one
        while (i < ins.size())
          in = in * (*from)[ins[i++]];
        while (j < outs.size())
          out = out * (*to)[outs[j++]];
        if (in != out)
          return std::nullopt;
      }
    }
    DimExpr linear;
    for (size_t dim : ArrayRef(outs).slice(firstOut, j - firstOut))
      linear = linear * (*to)[dim] + coords[dim];
    if (!unflatten(join(linear), ArrayRef(ins).slice(firstIn, i - firstIn),
                   *from, result))
      return std::nullopt;
  }
  if (i != ins.size() || j != outs.size())
    return std::nullopt;
  return result;
}

std::optional<Coords>
CoordSpace::throughBroadcast(Value value, ArrayRef<DimExpr> coords) const {
  std::optional<Dims> sizes = dims(value);
  if (!sizes || sizes->size() > coords.size())
    return std::nullopt;
  Coords result(coords.take_back(sizes->size()));
  for (size_t i = 0; i < sizes->size(); ++i)
    if ((*sizes)[i].isConstant(1))
      result[i] = DimExpr(0);
  return result;
}

std::optional<Coords> CoordSpace::throughLayout(Operation *op,
                                                ArrayRef<DimExpr> coords) {
  return llvm::TypeSwitch<Operation *, std::optional<Coords>>(op)
      .Case([&](ViewOp view) { return throughView(view, coords); })
      .Case([&](TransposeOp transpose) {
        Coords result(coords.size());
        for (auto [i, from] : llvm::enumerate(transpose.getPerm()))
          result[from] = coords[i];
        return std::optional(result);
      })
      .Case([&](BroadcastOp broadcast) {
        return throughBroadcast(broadcast.getInput(), coords);
      })
      .Case([&](SliceOp slice) -> std::optional<Coords> {
        std::optional<Dims> offsets = parseDims(slice.getOffsets());
        if (!offsets)
          return std::nullopt;
        Coords result;
        for (size_t i = 0; i < coords.size(); ++i)
          result.push_back((*offsets)[i] +
                           coords[i] * DimExpr(slice.getSteps()[i]));
        return result;
      })
      .Default([](Operation *) { return std::nullopt; });
}
