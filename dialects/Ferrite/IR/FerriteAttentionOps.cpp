//===- FerriteAttentionOps.cpp - Attention --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

static bool agree(int64_t a, int64_t b) {
  return a == b || ShapedType::isDynamic(a) || ShapedType::isDynamic(b);
}

/// Whether `value` is absent or [size], or [1] where `one` allows that.
static bool isRow(Value value, int64_t size, bool one) {
  if (!value)
    return true;
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 1 &&
         (agree(type.getDimSize(0), size) || (one && type.getDimSize(0) == 1));
}

void AttentionOp::build(OpBuilder &builder, OperationState &state, Type result,
                        Value query, Value key, Value value, float scale) {
  build(builder, state, result, query, key, value, Value(), Value(), Value(),
        Value(), Value(), Value(), Value(), Value(),
        builder.getF32FloatAttr(scale),
        builder.getF32FloatAttr(-std::numeric_limits<float>::infinity()),
        builder.getF32FloatAttr(0), -1, -1, 0, 0, StringAttr(),
        builder.getF32FloatAttr(-std::numeric_limits<float>::infinity()), false,
        false);
}

DimExpr AttentionOp::getOffsetExpr() {
  std::optional<StringRef> text = getOffset();
  return text ? *DimExpr::parse(*text) : DimExpr(0); // verified to parse
}

LogicalResult AttentionOp::verify() {
  auto q = cast<RankedTensorType>(getQuery().getType());
  auto k = cast<RankedTensorType>(getKey().getType());
  auto v = cast<RankedTensorType>(getValue().getType());
  auto type = cast<RankedTensorType>(getType());
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4 ||
      type.getRank() != 4 || !agree(q.getDimSize(3), k.getDimSize(3)) ||
      !agree(k.getDimSize(1), v.getDimSize(1)) ||
      !agree(k.getDimSize(2), v.getDimSize(2)) ||
      !agree(type.getDimSize(3), v.getDimSize(3)) ||
      !agree(type.getDimSize(1), q.getDimSize(1)) ||
      !agree(type.getDimSize(2), q.getDimSize(2)) ||
      !agree(q.getDimSize(0), k.getDimSize(0))) // C1
    return emitOpError(
               "expects [batch, tokens, heads, size] that agree, but got ")
           << q << ", " << k << ", " << v << " and " << type;
  if (q.isDynamicDim(2) || k.isDynamicDim(2) || k.getDimSize(2) == 0 ||
      q.getDimSize(2) % k.getDimSize(2) != 0) // C2
    return emitOpError(
               "expects key heads that divide the query heads, but got ")
           << k.getDimSize(2) << " and " << q.getDimSize(2);
  int64_t scores[] = {q.getDimSize(0), q.getDimSize(2), q.getDimSize(1),
                      k.getDimSize(1)};
  auto fits = [&](RankedTensorType mask) {
    if (mask.getRank() != 4)
      return false;
    for (int i = 0; i < 4; ++i)
      if (mask.getDimSize(i) != 1 && !agree(mask.getDimSize(i), scores[i]))
        return false;
    return true;
  };
  if (Value value = getMask()) { // C3
    auto mask = cast<RankedTensorType>(value.getType());
    bool isRows = mask.getRank() == 2 && agree(mask.getDimSize(0), scores[0]) &&
                  agree(mask.getDimSize(1), scores[3]);
    if (!isRows && !fits(mask))
      return emitOpError("expects a mask of [batch, keys] or one that "
                         "broadcasts to the scores, but got ")
             << mask;
  }
  if (getBias() && !fits(cast<RankedTensorType>(getBias().getType()))) // C4
    return emitOpError("expects a bias that broadcasts to the scores, but got ")
           << getBias().getType();
  if (!isRow(getOffsets(), scores[0], true) ||
      !isRow(getLengths(), scores[0], true) ||
      !isRow(getPrefix(), scores[0], true) ||
      !isRow(getSinks(), scores[1], false)) // C5
    return emitOpError("expects offsets, lengths and a prefix of [batch] or "
                       "[1] and sinks of [heads]");
  if (getOffset() && !DimExpr::parse(*getOffset())) // C6
    return emitOpError("expects a dim expression, but got '")
           << *getOffset() << "'";
  float softcap = getSoftcap().convertToFloat();
  if (getLeft() < -1 || getRight() < -1 || !std::isfinite(softcap) ||
      softcap < 0) // C7
    return emitOpError("expects a window of -1 or more and a softcap of 0 or "
                       "more, but got ")
           << getLeft() << ", " << getRight() << " and " << softcap;
  if (getChunk() < 0 || getAnchors() < 0) // C7
    return emitOpError("expects a chunk and anchors of 0 or more, but got ")
           << getChunk() << " and " << getAnchors();
  float windowFill = getWindowFill().convertToFloat();
  if (!(windowFill <= -1e4f) || (getWindowFill().isFinite() && !hasWindow()) ||
      (getJoined() && (!getMask() || !hasWindow() ||
                       getFill().convertToFloat() != windowFill))) // C8
    return emitOpError(
               "expects a window fill of at most -10000, a window for a "
               "finite one, and a mask of the same fill to join it "
               "with, but got ")
           << windowFill;
  auto areSegments = [&](Value segments, int64_t tokens) {
    auto type = cast<RankedTensorType>(segments.getType());
    return type.getRank() == 2 && agree(type.getDimSize(0), scores[0]) &&
           agree(type.getDimSize(1), tokens);
  };
  Value querySegments = getQuerySegments(), keySegments = getKeySegments();
  if (!querySegments != !keySegments ||
      (querySegments && (!areSegments(querySegments, scores[2]) ||
                         !areSegments(keySegments, scores[3]) ||
                         getElementTypeOrSelf(querySegments) !=
                             getElementTypeOrSelf(keySegments)))) // C9
    return emitOpError("expects segments of [batch, queries] and [batch, keys] "
                       "of one type, or none");
  if ((getAnchors() > 0 && getLeft() < 0 && getChunk() == 0) ||
      (getPrefix() && getRight() < 0 && getChunk() == 0)) // C10
    return emitOpError("expects anchors only with `left` or `chunk`, and a "
                       "prefix only with `right` or `chunk`");
  return success();
}

LogicalResult AttentionOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  dims.back() = operands[2].back();
  results.push_back(dims);
  return success();
}
