//===- MaskClassify.cpp - The parts that a mask is made of ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What is added to the scores is split into summands, and what decides between
// 0 and a fill into conditions that are joined by and. One on the places of key
// and query is part of a window (MaskWindow.cpp); the others stay conditions,
// with a name for the report. MaskCombine.cpp makes one mask of them.
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

//===--- names ------------------------------------------------------------===//

std::string MaskAnalysis::nameOf(const MaskNode *node) {
  constexpr unsigned query = 4, key = 8;
  unsigned on = dependencies(node);
  if (!(on & query))
    return on & key ? "padding" : "all or nothing";
  if (!(on & key))
    return "query padding";
  if (asSegments(node))
    return "block diagonal";
  if (node->kind == Kind::Or)
    for (unsigned i : {0, 1})
      if (std::optional<MaskBound> bound = asBound(node->operands[i]);
          bound && !(dependencies(node->operands[1 - i]) & query))
        return bound->isRight ? "prefix" : "sink + window";
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
  if (!addToWindow(node, mask))
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
  describeWindow(mask.window, add);
  for (const MaskNode *keep : mask.keeps)
    add(nameOf(keep));
  if (!mask.biases.empty())
    add("bias");
  return names.empty() ? "none" : llvm::join(names, " + ");
}
