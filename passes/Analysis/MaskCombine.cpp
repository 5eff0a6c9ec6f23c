//===- MaskCombine.cpp - One mask of all that drops scores ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// In a row with a key to see, all spellings of a mask are alike: what is
// dropped has a weight of 0. In a row without one they are not. Of two masks of
// the lowest float, joined by `and`, every key gets that float, and the result
// is the mean of all values; added, keys that both drop get -inf, and it is the
// mean of the others. With -inf there is none. So the fill of a window is kept
// unless each row is known to see a key, and choices that neither window nor
// mask can say exactly become biases, which are added as the graph adds them.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

// A score that is added to this fill, or a lower one, is lost: it is below 32,
// half of what f32 tells apart there.
static constexpr double kAbsorbs = -1e9;
// And a fill above -1e30 that is added to one below -1e37.
static constexpr double kFar = 1e7;
static constexpr double kLowest = std::numeric_limits<float>::lowest();

//===--- replacements -----------------------------------------------------===//

/// One choice instead of all there are: their conditions joined by and.
void MaskAnalysis::join(Summands &all, const MaskChoice &with) {
  MaskChoice joined = with;
  for (const MaskChoice &choice : all.choices)
    joined.keep = joined.keep
                      ? exprs.getBinary(Kind::And, choice.keep, joined.keep)
                      : choice.keep;
  all.choices = {joined};
}

/// A choice drops what was added before, fills included.
void MaskAnalysis::replaceScores(const MaskTerm &term, Summands &all) {
  MaskChoice choice{term.node, term.number, /*replaces=*/true};
  if (!llvm::all_of(all.biases, [&](auto *b) { return isBounded(b); }))
    all.unfit = "scores are chosen after a bias that may drop some";
  auto isSame = [&](const MaskChoice &c) { return c.fill == choice.fill; };
  auto isHigher = [&](const MaskChoice &c) {
    return c.fill * kFar > choice.fill;
  };
  if (choice.fill <= kAbsorbs && llvm::all_of(all.choices, isSame) &&
      !all.choices.empty())
    return join(all, choice);
  if (!llvm::all_of(all.choices, isHigher))
    all.unfit = "scores that one mask dropped are replaced by another";
  all.choices.push_back(choice);
}

/// max(score, bound): sums of fills that fell below are the bound.
void MaskAnalysis::boundScores(double bound, Summands &all) {
  if (!llvm::all_of(all.biases, [&](auto *b) { return isBounded(b); }))
    all.unfit = "scores are bounded after a bias that may drop some";
  auto isBelow = [&](const MaskChoice &c) { return c.fill <= bound; };
  if (llvm::none_of(all.choices, isBelow) && bound <= kLowest / kFar)
    return;
  if (bound > kAbsorbs || !llvm::all_of(all.choices, isBelow))
    all.unfit = "scores are bounded between the fills of their masks";
  else if (all.choices.size() > 1 || all.choices[0].fill < bound)
    join(all, {nullptr, bound});
}

//===--- what is always there ---------------------------------------------===//

/// Whether no element of `node` can be a mask in disguise: it is computed from
/// constants and integers.
bool MaskAnalysis::isBounded(const MaskNode *node) {
  if (node->kind == Kind::Load)
    return !isa<FloatType>(node->type) || !isa<BlockArgument>(node->value);
  if (std::optional<double> number = node->asNumber())
    return *number > kMaskDrops;
  if (node->kind == Kind::Where)
    return isBounded(node->operands[1]) && isBounded(node->operands[2]);
  return llvm::all_of(node->operands, [&](const MaskNode *operand) {
    return isBounded(operand);
  });
}

/// Whether each row has a key in the window, and nothing else drops it.
bool MaskAnalysis::alwaysKeepsOne(const MaskClass &mask) {
  const KeyWindow &window = mask.window;
  if (!mask.keeps.empty() ||
      !llvm::all_of(mask.biases, [&](auto *b) { return isBounded(b); }))
    return false;
  // The last key to see, the first, or any of the ends.
  SmallVector<DimExpr> candidates = {DimExpr(0), scores.keys - DimExpr(1)};
  if (window.right)
    candidates.push_back(scores.query + *window.right);
  if (window.left)
    candidates.push_back(scores.query - *window.left);
  if (window.chunk > 0)
    candidates.push_back(scores.query + window.chunkOffset);
  if (window.querySegments)
    candidates.push_back(scores.query);
  return llvm::any_of(candidates, [&](const DimExpr &key) {
    return isAlwaysInside(key, window);
  });
}

//===--- combination ------------------------------------------------------===//

namespace {
/// A choice of a finite fill, and its conditions.
struct FinitePart {
  MaskChoice choice;
  MaskClass conditions;
  /// 0: window and mask, 1: a window, 2: a mask.
  int kind() const {
    return !conditions.hasWindow() ? 2 : conditions.keeps.empty() ? 1 : 0;
  }
};
} // namespace

MaskClass MaskAnalysis::combine(const Summands &all) {
  MaskClass mask, any;
  mask.biases = all.biases;
  mask.unfit = all.unfit;
  auto addBias = [&](const MaskChoice &choice) {
    Type f32 = Float32Type::get(choice.keep->type.getContext());
    mask.biases.push_back(exprs.getWhere(choice.keep, exprs.getNumber(f32, 0),
                                         exprs.getNumber(f32, choice.fill)));
  };
  if (all.choices.size() == 1 && all.choices[0].fill > kMaskDrops) {
    mask.keeps = {all.choices[0].keep};
    mask.fill = all.choices[0].fill;
    return mask;
  }
  SmallVector<FinitePart, 2> parts;
  for (MaskChoice choice : all.choices) {
    if (choice.fill > kMaskDrops) {
      addBias(choice);
      continue;
    }
    addCondition(choice.keep, any);
    if (std::isinf(choice.fill)) {
      addCondition(choice.keep, mask);
      mask.fill = choice.fill;
      continue;
    }
    // Replaced scores are lost; added to a fill near 0 they would show.
    if (choice.replaces && all.choices.size() == 1)
      choice.fill = kLowest;
    else if (choice.replaces && choice.fill > kAbsorbs)
      mask.unfit = "scores are replaced by a number that is not low enough";
    FinitePart &part = parts.emplace_back();
    part.choice = choice;
    addCondition(choice.keep, part.conditions);
  }
  any.biases = mask.biases;
  if (any.hasWindow() && alwaysKeepsOne(any)) {
    any.unfit = mask.unfit;
    for (const MaskChoice &choice : all.choices)
      any.fill = std::min(any.fill, choice.fill);
    return any;
  }
  // Windows first: what becomes a mask or a bias is read for each score.
  llvm::stable_sort(parts, [](const FinitePart &a, const FinitePart &b) {
    return a.kind() < b.kind();
  });
  bool windowFree = !mask.hasWindow(), maskFree = mask.keeps.empty();
  for (const FinitePart &part : parts) {
    bool needsWindow = part.kind() < 2, needsMask = part.kind() != 1;
    if ((!needsWindow || windowFree) && (!needsMask || maskFree)) {
      if (needsWindow) {
        mask.window = part.conditions.window;
        mask.windowFill = part.choice.fill;
        windowFree = false;
      }
      mask.joined |= needsWindow && needsMask;
      if (needsMask) {
        mask.keeps = part.conditions.keeps;
        mask.fill = part.choice.fill;
        maskFree = false;
      }
    } else if (maskFree) {
      mask.keeps = {part.choice.keep};
      mask.fill = part.choice.fill;
      maskFree = false;
    } else {
      addBias(part.choice);
    }
  }
  return mask;
}
