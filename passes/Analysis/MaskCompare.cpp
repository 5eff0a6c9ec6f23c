//===- MaskCompare.cpp - Comparisons of elements --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A comparison of positions is decided wherever the ranges of its coordinates
// decide it: that makes `k >= 0` vanish from the masks of encoders.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskExpr.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

Predicate ferrite::negate(Predicate predicate) {
  switch (predicate) {
  case Predicate::Eq:
    return Predicate::Ne;
  case Predicate::Ne:
    return Predicate::Eq;
  case Predicate::Lt:
    return Predicate::Ge;
  case Predicate::Le:
    return Predicate::Gt;
  case Predicate::Gt:
    return Predicate::Le;
  case Predicate::Ge:
    return Predicate::Lt;
  }
  llvm_unreachable("a predicate is one of six");
}

static bool holdsFor(Predicate predicate, double a, double b) {
  switch (predicate) {
  case Predicate::Eq:
    return a == b;
  case Predicate::Ne:
    return a != b;
  case Predicate::Lt:
    return a < b;
  case Predicate::Le:
    return a <= b;
  case Predicate::Gt:
    return a > b;
  case Predicate::Ge:
    return a >= b;
  }
  llvm_unreachable("a predicate is one of six");
}

/// What comparing two indices gives everywhere, when it is the same everywhere.
static std::optional<bool> compareIndices(const CoordSpace &space,
                                          Predicate predicate, const DimExpr &a,
                                          const DimExpr &b) {
  DimExpr one(1);
  switch (predicate) {
  case Predicate::Ge:
    if (space.isNonNegative(a - b))
      return true;
    if (space.isNonNegative(b - a - one))
      return false;
    return std::nullopt;
  case Predicate::Gt:
    return compareIndices(space, Predicate::Ge, a, b + one);
  case Predicate::Le:
    return compareIndices(space, Predicate::Ge, b, a);
  case Predicate::Lt:
    return compareIndices(space, Predicate::Ge, b, a + one);
  case Predicate::Eq:
    if (a == b)
      return true;
    if (space.isNonNegative(a - b - one) || space.isNonNegative(b - a - one))
      return false;
    return std::nullopt;
  case Predicate::Ne:
    if (std::optional<bool> equal = compareIndices(space, Predicate::Eq, a, b))
      return !*equal;
    return std::nullopt;
  }
  llvm_unreachable("a predicate is one of six");
}

const MaskNode *MaskExprs::getCompare(Predicate predicate, const MaskNode *lhs,
                                      const MaskNode *rhs) {
  MLIRContext *context = lhs->type.getContext();
  if (lhs->kind == Kind::Int && rhs->kind == Kind::Int)
    if (std::optional<bool> value =
            compareIndices(space, predicate, lhs->index, rhs->index))
      return getBool(context, *value);
  std::optional<double> a = lhs->asNumber(), b = rhs->asNumber();
  if (a && b)
    return getBool(context, holdsFor(predicate, *a, *b));
  if (lhs->isConstantChoice() && b)
    return getWhere(lhs->operands[0],
                    getCompare(predicate, lhs->operands[1], rhs),
                    getCompare(predicate, lhs->operands[2], rhs));
  if (rhs->isConstantChoice() && a)
    return getWhere(rhs->operands[0],
                    getCompare(predicate, lhs, rhs->operands[1]),
                    getCompare(predicate, lhs, rhs->operands[2]));
  if (lhs->type.isInteger(1) && b &&
      (predicate == Predicate::Eq || predicate == Predicate::Ne))
    return (*b != 0) == (predicate == Predicate::Eq) ? lhs : getNot(lhs);
  MaskNode node =
      makeNode(Kind::Compare, IntegerType::get(context, 1), {lhs, rhs});
  node.predicate = predicate;
  return unique(std::move(node));
}
