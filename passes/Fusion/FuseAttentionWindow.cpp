//===- FuseAttentionWindow.cpp - The window of a matched attention --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Numbers become attributes, and what data says tensors of a batch, or of a
// batch's queries or keys. What the op cannot be told that way is a condition
// of the mask again: exact, and nothing is skipped by position.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMaskBuilder.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Makes a part of the window a condition of the mask again.
void MaskBuilder::giveUp(MaskClass &found, const MaskNode *keep) {
  if (found.keeps.empty()) {
    found.fill = found.windowFill;
    found.joined = std::isfinite(found.windowFill);
  } else if (!found.joined && found.fill != found.windowFill) {
    Type f32 = builder.getF32Type();
    found.biases.push_back(exprs.getWhere(
        keep, exprs.getNumber(f32, 0), exprs.getNumber(f32, found.windowFill)));
    return;
  }
  found.keeps.push_back(keep);
}

/// at = query + offset; at - left <= key <= at + right, of the same chunk. The
/// constant part of a bound is the window, and the rest, a number of past keys,
/// the offset.
void MaskBuilder::setDistances(MaskClass &found, AttentionMask &mask) {
  KeyWindow &window = found.window;
  auto constantOf = [](const DimExpr &expr) {
    auto term = expr.terms().find({});
    return term == expr.terms().end() ? int64_t(0) : term->second;
  };
  if (window.right) {
    mask.right = std::max<int64_t>(constantOf(*window.right), 0);
    mask.offset = *window.right - DimExpr(mask.right);
  } else if (window.left) {
    mask.left = std::max<int64_t>(constantOf(*window.left), 0);
    mask.offset = DimExpr(mask.left) - *window.left;
  } else {
    mask.offset = window.chunkOffset;
  }
  if (window.right && window.left) {
    std::optional<int64_t> left = (*window.left + mask.offset).constant();
    if (left && *left >= 0) {
      mask.left = *left;
    } else {
      Type i64 = builder.getI64Type();
      const MaskNode *limit =
          exprs.getCompare(Predicate::Ge, exprs.getInt(i64, scores.key),
                           exprs.getInt(i64, scores.query - *window.left));
      giveUp(found, window.anchorNode ? window.anchorNode : limit);
      window.anchors = 0;
    }
  }
  mask.anchors = window.anchors;
  if (window.chunk > 0 && window.chunkOffset == mask.offset)
    mask.chunk = window.chunk;
  else if (window.chunk > 0)
    giveUp(found, window.chunkNode);
}

void MaskBuilder::setSegments(MaskClass &found, AttentionMask &mask) {
  KeyWindow &window = found.window;
  if (!ofQuery.whyNot(window.querySegments).empty() ||
      !narrow.whyNot(window.keySegments).empty())
    return giveUp(found, window.segmentNode);
  mask.querySegments = toFull(ofQuery, context.builtQuery, window.querySegments,
                              {scores.batches, scores.queries});
  mask.keySegments = toFull(narrow, context.built, window.keySegments,
                            {scores.batches, scores.keys});
}

/// What cannot be told to the op as a window becomes a condition.
void MaskBuilder::setWindow(MaskClass &found, AttentionMask &mask) {
  KeyWindow &window = found.window;
  if (window.prefix && !ofBatch.whyNot(window.prefix).empty()) {
    giveUp(found, window.prefixNode);
    window.prefix = nullptr;
    window.right.reset();
  }
  if (window.left || window.right || window.chunk > 0)
    setDistances(found, mask);
  if (window.prefix)
    mask.prefix = ofBatch.buildRanked(window.prefix);
  if (window.querySegments)
    setSegments(found, mask);
}
