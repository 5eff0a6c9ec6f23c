//===- CoordSpace.h - Elements of tensors as coordinates -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Which element of its input does element (b, h, q, k) of a reshape of a
// transpose of a slice read? Asked symbolically, the spelling of a chain stops
// to matter: a key transposed by [0, 2, 3, 1], and one reshaped to three dims,
// transposed and reshaped back, both answer "(b, k, h, d) of the projection".
//
// An index is a DimExpr whose symbols are the entry's or coordinates, each
// known to lie in [0, extent). Worked example: b*S + k of a flattened [B, S]
// reads (b, k), since b*S is divisible by S and 0 <= k < S. Where a coordinate
// itself must be split (h into 4 groups of 3), its quotient and remainder
// become two coordinates of their own, and linear() puts them together again.
//
// What it cannot do: an index that depends on data. Those stop the walk.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_COORDSPACE_H
#define FERRITE_PASSES_ANALYSIS_COORDSPACE_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include <functional>
#include <map>
#include <set>

namespace ferrite {

/// The index of an element, one expression a dim.
using Coords = llvm::SmallVector<DimExpr, 4>;
/// The dims of a value, or nothing where they are not known.
using DimsLookup = std::function<std::optional<Dims>(mlir::Value)>;

class CoordSpace {
public:
  /// `symbols` is the entry's `ferrite.symbols`, or null: then each is 1 or
  /// more.
  CoordSpace(DimsLookup dims, mlir::ArrayAttr symbols);

  /// A coordinate in [0, extent), which is 0 where the extent is 1. Its name
  /// gets a space in front, which no symbol of an entry has.
  DimExpr coordinate(llvm::StringRef name, const DimExpr &extent);
  /// Whether `expr` is 0 or more wherever its coordinates and symbols may be.
  /// False: not provable.
  bool isNonNegative(const DimExpr &expr) const;
  /// Whether 0 <= expr < bound, provably.
  bool isWithin(const DimExpr &expr, const DimExpr &bound) const;
  /// Whether the value depends on this coordinate, split or not.
  bool dependsOn(const DimExpr &expr, const DimExpr &coordinate) const;
  /// {expr / divisor, expr % divisor} for an expression that is 0 or more.
  std::optional<std::pair<DimExpr, DimExpr>> divide(const DimExpr &expr,
                                                    const DimExpr &divisor);

  /// What element of the input of a view, transpose, broadcast or slice an
  /// element of its result is.
  std::optional<Coords> throughLayout(mlir::Operation *op,
                                      llvm::ArrayRef<DimExpr> coords);
  /// The element that operand `value` of an elementwise op contributes to
  /// element `coords` of a result: NumPy broadcasting.
  std::optional<Coords> throughBroadcast(mlir::Value value,
                                         llvm::ArrayRef<DimExpr> coords) const;
  std::optional<Dims> dimsOf(mlir::Value value) const { return dims(value); }

  /// A coordinate that was split: of = quotient * divisor + remainder.
  struct Split {
    DimExpr of, divisor, quotient, remainder;
  };
  llvm::ArrayRef<Split> splits() const { return splitList; }

private:
  std::optional<Coords> throughView(ViewOp op, llvm::ArrayRef<DimExpr> coords);
  bool unflatten(DimExpr linear, llvm::ArrayRef<size_t> targets,
                 llvm::ArrayRef<DimExpr> sizes, Coords &result);
  DimExpr join(DimExpr expr) const;
  /// `expr` as coefficient per product of coordinates.
  std::map<DimExpr::Monomial, DimExpr> byCoordinate(const DimExpr &expr) const;

  DimsLookup dims;
  std::map<std::string, DimExpr> extents;
  std::map<std::string, std::set<std::string>> bases;
  std::map<std::string, int64_t> minimums;
  std::vector<Split> splitList;
};

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_COORDSPACE_H
