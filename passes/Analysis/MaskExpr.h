//===- MaskExpr.h - The value of one element as an expression --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What an element of a mask is, as a tree over the coordinates of the score it
// belongs to: constants, index arithmetic, elements loaded from other tensors,
// and the operations between them. Nodes are made only by MaskExprs, which
// simplifies while it builds and keeps one node per expression: two spellings
// of one mask are one pointer, and a mask shared by all layers is read once.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_MASKEXPR_H
#define FERRITE_PASSES_ANALYSIS_MASKEXPR_H

#include "passes/Analysis/CoordSpace.h"
#include <memory>
#include <unordered_map>

namespace ferrite {

enum class MaskNodeKind {
  Int,   ///< `index`, exact; i1 is 0 or 1
  Float, ///< `number`, a value of the type
  Load,  ///< element `coords` of `value`
  Cast,
  Not,
  And,
  Or,
  Xor,
  Add,
  Sub,
  Mul,
  Div, ///< of integers toward zero
  Min,
  Max,
  Cos,
  Sin,
  Compare,
  Where,
};

struct MaskNode {
  MaskNodeKind kind;
  mlir::Type type; ///< of the element
  unsigned id;
  DimExpr index;
  double number = 0;
  mlir::Value value;
  Coords coords;
  Predicate predicate = Predicate::Eq;
  llvm::SmallVector<const MaskNode *, 3> operands;

  std::optional<bool> asBool() const;
  /// The value of a constant, as a number.
  std::optional<double> asNumber() const;
  /// A choice between two constants.
  bool isConstantChoice() const;
  /// As a formula, for tests and logs: its length is exponential in the worst
  /// case, so no report prints it.
  std::string str() const;
};

class MaskExprs {
public:
  explicit MaskExprs(CoordSpace &space) : space(space) {}

  const MaskNode *getInt(mlir::Type type, const DimExpr &index);
  const MaskNode *getBool(mlir::MLIRContext *context, bool value);
  /// Rounds to `type`; an integer type truncates.
  const MaskNode *getNumber(mlir::Type type, double number);
  const MaskNode *getLoad(mlir::Value value, llvm::ArrayRef<DimExpr> coords);
  const MaskNode *getCast(mlir::Type type, const MaskNode *input);
  const MaskNode *getNot(const MaskNode *input);
  /// Cos, Sin.
  const MaskNode *getUnary(MaskNodeKind kind, const MaskNode *input);
  /// And, Or, Xor, Add, Sub, Mul, Div, Min, Max.
  const MaskNode *getBinary(MaskNodeKind kind, const MaskNode *lhs,
                            const MaskNode *rhs);
  const MaskNode *getCompare(Predicate predicate, const MaskNode *lhs,
                             const MaskNode *rhs);
  const MaskNode *getWhere(const MaskNode *condition, const MaskNode *lhs,
                           const MaskNode *rhs);
  size_t size() const { return nodes.size(); }
  CoordSpace &getSpace() { return space; }

private:
  static MaskNode
  makeNode(MaskNodeKind kind, mlir::Type type,
           std::initializer_list<const MaskNode *> operands = {});
  const MaskNode *unique(MaskNode node);
  const MaskNode *foldChoices(MaskNodeKind kind, const MaskNode *lhs,
                              const MaskNode *rhs);
  const MaskNode *foldLogic(MaskNodeKind kind, const MaskNode *lhs,
                            const MaskNode *rhs);
  const MaskNode *foldImplied(MaskNodeKind kind, const MaskNode *lhs,
                              const MaskNode *rhs);
  const MaskNode *compareExtreme(Predicate predicate, const MaskNode *extreme,
                                 const MaskNode *other);
  const MaskNode *foldArithmetic(MaskNodeKind kind, const MaskNode *lhs,
                                 const MaskNode *rhs);

  CoordSpace &space;
  std::vector<std::unique_ptr<MaskNode>> nodes;
  std::unordered_map<std::string, const MaskNode *> known;
};

/// A comparison of indices as `expr >= 0`.
std::optional<DimExpr> asNonNegative(const MaskNode *node);
/// The predicate that holds exactly where `predicate` does not, NaN aside.
Predicate negate(Predicate predicate);

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_MASKEXPR_H
