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

std::optional<DimExpr> ferrite::asNonNegative(const MaskNode *node) {
  if (node->kind != Kind::Compare || node->operands[0]->kind != Kind::Int ||
      node->operands[1]->kind != Kind::Int)
    return std::nullopt;
  const DimExpr &a = node->operands[0]->index, &b = node->operands[1]->index;
  switch (node->predicate) {
  case Predicate::Ge:
    return a - b;
  case Predicate::Gt:
    return a - b - DimExpr(1);
  case Predicate::Le:
    return b - a;
  case Predicate::Lt:
    return b - a - DimExpr(1);
  case Predicate::Eq:
  case Predicate::Ne:
    return std::nullopt;
  }
  llvm_unreachable("a predicate is one of six");
}

/// Of two comparisons one of which implies the other, joined by and or or.
const MaskNode *MaskExprs::foldImplied(Kind kind, const MaskNode *lhs,
                                       const MaskNode *rhs) {
  std::optional<DimExpr> a = asNonNegative(lhs), b = asNonNegative(rhs);
  if (!a || !b)
    return nullptr;
  if (space.isNonNegative(*a - *b)) // b >= 0 implies a >= 0
    return kind == Kind::And ? rhs : lhs;
  if (space.isNonNegative(*b - *a))
    return kind == Kind::And ? lhs : rhs;
  // Of two that exclude each other not both hold, and where one is the
  // opposite of the other, one does.
  if (kind == Kind::And && space.isNonNegative(DimExpr(-1) - *a - *b))
    return getBool(lhs->type.getContext(), false);
  if (kind == Kind::Or && space.isNonNegative(*a + *b + DimExpr(1)))
    return getBool(lhs->type.getContext(), true);
  return nullptr;
}

/// The comparison of a maximum or minimum of indices, as those of its operands:
/// |q - k| is the maximum of q - k and k - q.
const MaskNode *MaskExprs::compareExtreme(Predicate predicate,
                                          const MaskNode *extreme,
                                          const MaskNode *other) {
  if (!extreme->type.isInteger(32) && !extreme->type.isInteger(64))
    return nullptr;
  bool isMax = extreme->kind == Kind::Max;
  if (!isMax && extreme->kind != Kind::Min)
    return nullptr;
  bool isUpper = predicate == Predicate::Le || predicate == Predicate::Lt;
  if (!isUpper && predicate != Predicate::Ge && predicate != Predicate::Gt)
    return nullptr;
  return getBinary(isMax == isUpper ? Kind::And : Kind::Or,
                   getCompare(predicate, extreme->operands[0], other),
                   getCompare(predicate, extreme->operands[1], other));
}

static Predicate mirror(Predicate predicate) {
  switch (predicate) {
  case Predicate::Eq:
  case Predicate::Ne:
    return predicate;
  case Predicate::Lt:
    return Predicate::Gt;
  case Predicate::Le:
    return Predicate::Ge;
  case Predicate::Gt:
    return Predicate::Lt;
  case Predicate::Ge:
    return Predicate::Le;
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
  // (c ? 0 : fill) + x compared with a number: a mask that was added to another
  // to see where both are 0.
  if (lhs->kind == Kind::Add && b)
    for (unsigned i : {0, 1}) {
      const MaskNode *choice = lhs->operands[i], *x = lhs->operands[1 - i];
      if (choice->isConstantChoice() &&
          (choice->operands[1]->asNumber() == 0.0 ||
           choice->operands[2]->asNumber() == 0.0))
        return getWhere(
            choice->operands[0],
            getCompare(predicate, getBinary(Kind::Add, choice->operands[1], x),
                       rhs),
            getCompare(predicate, getBinary(Kind::Add, choice->operands[2], x),
                       rhs));
    }
  if (const MaskNode *parts = compareExtreme(predicate, lhs, rhs))
    return parts;
  if (const MaskNode *parts = compareExtreme(mirror(predicate), rhs, lhs))
    return parts;
  MaskNode node =
      makeNode(Kind::Compare, IntegerType::get(context, 1), {lhs, rhs});
  node.predicate = predicate;
  return unique(std::move(node));
}
