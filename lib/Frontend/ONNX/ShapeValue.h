//===- ShapeValue.h - Small integer tensors known at import -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters compute shapes with ordinary ops on small integer tensors. The
// importer evaluates those ops on the spot: such a tensor is a list of
// DimExprs, and no op is made for it unless it is used as data.
//
// What a polynomial cannot say (min, max, comparisons) is decided by what is
// known of the symbols. Where a model only makes sense below a size, such as
// the slice of a table of 512 positions, that size becomes the symbol's bound.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_SHAPEVALUE_H
#define FERRITE_LIB_FRONTEND_ONNX_SHAPEVALUE_H

#include "dialects/Ferrite/IR/DimExpr.h"
#include "llvm/ADT/StringMap.h"
#include <string>
#include <vector>

namespace ferrite::frontend {

/// The symbols of an entry and the sizes they may have.
class SymbolBounds {
public:
  /// What no model exceeds; stands for "unbounded".
  static constexpr int64_t kUnbounded = INT32_MAX;
  struct Bounds {
    int64_t min = 1;
    int64_t max = kUnbounded;
  };

  /// What a symbol is, for nodes demand it: an expression of the other symbols.
  struct Equality {
    std::string symbol;
    DimExpr value;
  };

  /// The symbol for a dim that ONNX calls `name`: the same for the same name,
  /// and its value where an equality gives one.
  DimExpr declare(llvm::StringRef name, Bounds bounds);
  /// A size that data decides, between 0 and `most`. No requirement moves its
  /// bounds and no equality gives it a value: nothing but the run can.
  DimExpr declareDecided(llvm::StringRef stem, const DimExpr &most);
  /// What to say behind a message that names a size that data decides; nothing
  /// behind others.
  std::string explainDecided(llvm::StringRef message) const;
  /// To be known before any dim is declared.
  void setEqualities(std::vector<Equality> known);
  /// The symbol that a = b gives a value, if it gives one to any. A sum is
  /// preferred: total = past + sequence, not past = total - sequence.
  std::optional<Equality> solve(const DimExpr &a, const DimExpr &b) const;
  /// Each symbol of inputs with its bounds, in order of declaration.
  llvm::ArrayRef<std::pair<std::string, Bounds>> all() const { return bounds; }

  std::optional<int64_t> lower(const DimExpr &expr) const;
  std::optional<int64_t> upper(const DimExpr &expr) const;

  /// Whether a <= b always, b < a always, or neither.
  std::optional<bool> lessEqual(const DimExpr &a, const DimExpr &b) const;
  std::optional<bool> equal(const DimExpr &a, const DimExpr &b) const;

  /// As lessEqual, but where it depends on one symbol the symbol's bound is
  /// moved until a <= b holds. False when that is impossible.
  bool requireLessEqual(const DimExpr &a, const DimExpr &b);
  /// Moves both bounds of the one symbol of `expr` until it equals `value`.
  bool requireEqual(const DimExpr &expr, int64_t value);

  /// What relates two symbols is taken for granted when set. An import in which
  /// that happens only looks for equalities; its module is not used.
  bool isTentative = false;
  /// Whether something was, or would have been.
  bool wasOpen = false;

private:
  std::optional<int64_t> extreme(const DimExpr &expr, bool upper) const;
  const Bounds *find(llvm::StringRef symbol) const;
  bool isTaken(llvm::StringRef symbol) const;

  std::vector<std::pair<std::string, Bounds>> bounds; // a handful
  llvm::StringMap<Bounds> decided;                    // what data decides
  unsigned nextDecided = 0;
  llvm::StringMap<std::string> symbolOf; // ONNX name -> symbol
  std::vector<Equality> equalities;
};

/// `all` and one more, which was found among the symbols that `all` leaves.
std::vector<SymbolBounds::Equality>
addEquality(std::vector<SymbolBounds::Equality> all,
            const SymbolBounds::Equality &added);

/// An operation on integers, one point of an ONNX op.
enum class IntOp {
  Add,
  Sub,
  Mul,
  Div,
  Mod,
  Max,
  Min,
  Pow,
  And,
  Or,
  Xor,
  Eq,
  Lt,
  Le,
  Gt,
  Ge
};

/// Nothing where the result is no polynomial of the symbols.
std::optional<DimExpr> evaluate(IntOp op, const DimExpr &a, const DimExpr &b,
                                const SymbolBounds &symbols);

/// What Slice means along one dim: where it begins, and how many it takes.
struct SliceRange {
  DimExpr offset;
  DimExpr size;
};
/// ONNX's rules for negative and clamped bounds. Nothing when the range cannot
/// be said; may move bounds of symbols.
std::optional<SliceRange> resolveSlice(DimExpr start, DimExpr end, int64_t step,
                                       const DimExpr &dim,
                                       SymbolBounds &symbols);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_SHAPEVALUE_H
