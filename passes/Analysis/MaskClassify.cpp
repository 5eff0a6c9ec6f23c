//===- MaskClassify.cpp - The parts that a mask is made of ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What is added to the scores is split into summands, and what decides between
// 0 and a fill into conditions that are joined by and. A condition on key minus
// query is a window; the others stay conditions, with a name for the report.
// MaskCombine.cpp makes one mask of them.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

unsigned MaskAnalysis::dependencies(const MaskNode *node) {
  auto known = dependenciesOf.find(node);
  if (known != dependenciesOf.end())
    return known->second;
  const CoordSpace &space = exprs.getSpace();
  unsigned bits = 0;
  auto add = [&](const DimExpr &index) {
    for (auto [i, coord] : llvm::enumerate(scores.all()))
      if (space.dependsOn(index, coord))
        bits |= 1u << i;
  };
  add(node->index);
  for (const DimExpr &coord : node->coords)
    add(coord);
  for (const MaskNode *operand : node->operands)
    bits |= dependencies(operand);
  dependenciesOf[node] = bits;
  return bits;
}

//===--- windows ----------------------------------------------------------===//

std::optional<MaskWindow> MaskAnalysis::asWindow(const MaskNode *node) {
  const CoordSpace &space = exprs.getSpace();
  std::optional<DimExpr> expr = asNonNegative(node);
  if (!expr)
    return std::nullopt;
  // q + e - k >= 0 or k + e - q >= 0; a coordinate of extent 1 is 0.
  for (bool isRight : {true, false}) {
    DimExpr near = isRight ? scores.query : scores.key;
    DimExpr far = isRight ? scores.key : scores.query;
    DimExpr bound = *expr - near + far;
    if (llvm::none_of(scores.all(), [&](const DimExpr &coord) {
          return space.dependsOn(bound, coord);
        }))
      return MaskWindow{isRight, bound};
  }
  return std::nullopt;
}

//===--- names ------------------------------------------------------------===//

/// The divisor where `node` compares quotients by it, or 0.
static int64_t chunkOf(const MaskNode *node) {
  if (node->kind != Kind::Compare || node->predicate != Predicate::Eq)
    return 0;
  std::optional<double> sizes[2];
  for (unsigned i : {0, 1})
    if (node->operands[i]->kind == Kind::Div)
      sizes[i] = node->operands[i]->operands[1]->asNumber();
  return sizes[0] && sizes[0] == sizes[1] ? static_cast<int64_t>(*sizes[0]) : 0;
}

std::string MaskAnalysis::nameOf(const MaskNode *node) {
  constexpr unsigned query = 4, key = 8;
  unsigned on = dependencies(node);
  if (!(on & query))
    return on & key ? "padding" : "all or nothing";
  if (!(on & key))
    return "query padding";
  if (int64_t size = chunkOf(node))
    return "chunks of " + std::to_string(size);
  if (node->kind == Kind::Compare && node->predicate == Predicate::Eq)
    return "block diagonal";
  if (node->kind == Kind::Or)
    for (unsigned i : {0, 1})
      if (std::optional<MaskWindow> window = asWindow(node->operands[i]);
          window && !(dependencies(node->operands[1 - i]) & query))
        return window->isRight ? "prefix" : "sink + window";
  return "computed";
}

//===--- classification ---------------------------------------------------===//

void MaskAnalysis::addCondition(const MaskNode *node, MaskClass &mask) {
  if (node->kind == Kind::And) {
    for (const MaskNode *operand : node->operands)
      addCondition(operand, mask);
    return;
  }
  if (node->kind == Kind::Not && node->operands[0]->kind == Kind::Or) {
    for (const MaskNode *operand : node->operands[0]->operands)
      addCondition(exprs.getNot(operand), mask);
    return;
  }
  if (node->asBool() == true || llvm::is_contained(mask.keeps, node))
    return;
  if (std::optional<MaskWindow> window = asWindow(node)) {
    std::optional<DimExpr> &bound = window->isRight ? mask.right : mask.left;
    const CoordSpace &space = exprs.getSpace();
    if (!bound || space.isNonNegative(*bound - window->bound)) {
      bound = window->bound;
      return;
    }
    if (space.isNonNegative(window->bound - *bound))
      return; // the other is as narrow
  }
  mask.keeps.push_back(node);
}

/// Splits `node`, which is added to the scores.
void MaskAnalysis::addSummand(const MaskNode *node, Summands &all) {
  std::optional<double> number = node->asNumber();
  // The same constant on every score leaves the softmax as it is.
  if (number && std::isfinite(*number))
    return;
  if (node->kind == Kind::Add) {
    for (const MaskNode *operand : node->operands)
      addSummand(operand, all);
    return;
  }
  if (node->kind == Kind::Cast && isa<FloatType>(node->operands[0]->type) &&
      node->operands[0]->kind == Kind::Add) {
    for (const MaskNode *operand : node->operands[0]->operands)
      addSummand(exprs.getCast(node->type, operand), all);
    return;
  }
  if (node->kind == Kind::Where) {
    const MaskNode *keep = node->operands[0];
    const MaskNode *kept = node->operands[1], *fill = node->operands[2];
    std::optional<double> low = fill->asNumber(), other = kept->asNumber();
    if (!low || (other && !std::isnan(*other) && *other < *low)) {
      std::swap(kept, fill);
      std::swap(low, other);
      keep = exprs.getNot(keep);
    }
    bool isZero = other == 0.0;
    // What a dropped score would have been does not matter.
    if (low && !std::isnan(*low) && (isZero || *low <= kMaskDrops)) {
      all.choices.push_back({keep, *low});
      size_t inside = all.choices.size(), biases = all.biases.size();
      if (!isZero)
        addSummand(kept, all);
      for (const MaskChoice &choice : ArrayRef(all.choices).drop_front(inside))
        if (choice.fill <= *low)
          all.unfit = "what one mask dropped is replaced by another";
      for (const MaskNode *bias : ArrayRef(all.biases).drop_front(biases))
        if (!isBounded(bias))
          all.unfit = "a mask is chosen from a bias that may drop some";
      return;
    }
  }
  all.biases.push_back(node);
}

FailureOr<MaskClass> MaskAnalysis::classify(ArrayRef<MaskTerm> terms) {
  Summands all;
  for (const MaskTerm &term : terms) {
    switch (term.kind) {
    case MaskTerm::Sum:
      addSummand(term.node, all);
      break;
    case MaskTerm::Choice:
      replaceScores(term, all);
      break;
    case MaskTerm::Bound:
      boundScores(term.number, all);
      break;
    }
  }
  llvm::erase_if(all.choices,
                 [](const MaskChoice &c) { return c.keep->asBool() == true; });
  for (const MaskChoice &choice : all.choices)
    if (choice.keep->asBool() == false)
      return failure();
  MaskClass mask = combine(all);
  if (llvm::any_of(mask.biases, [](const MaskNode *node) {
        return node->asNumber().has_value();
      }))
    return failure(); // -inf or NaN on every score
  return mask;
}

std::string MaskAnalysis::describe(const MaskClass &mask) {
  SmallVector<std::string> names;
  auto add = [&](std::string name) {
    if (!llvm::is_contained(names, name))
      names.push_back(std::move(name));
  };
  // Causal to the end of the keys, whatever the offset is called.
  if (mask.right && !mask.left) {
    add(mask.right->isConstant(0) ? "causal"
                                  : "causal with offset " + mask.right->str());
  } else if (mask.left) {
    DimExpr right = mask.right.value_or(DimExpr(0));
    std::string left = "window of " + (*mask.left + right).str() + " before";
    add(!mask.right ? left
        : mask.right->constant().value_or(0) <= 0
            ? "causal " + left
            : left + ", " + mask.right->str() + " behind");
  }
  for (const MaskNode *keep : mask.keeps)
    add(nameOf(keep));
  if (!mask.biases.empty())
    add("bias");
  return names.empty() ? "none" : llvm::join(names, " + ");
}
