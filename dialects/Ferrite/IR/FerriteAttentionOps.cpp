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
        Value(), Value(), Value(), Value(), Value(), Value(), Value(), Value(),
        builder.getF32FloatAttr(scale),
        builder.getF32FloatAttr(-std::numeric_limits<float>::infinity()),
        builder.getF32FloatAttr(0), -1, -1, 0, 0, StringAttr(),
        builder.getF32FloatAttr(-std::numeric_limits<float>::infinity()), 0,
        false, false);
}

DimExpr AttentionOp::getOffsetExpr() {
  std::optional<StringRef> text = getOffset();
  return text ? *DimExpr::parse(*text) : DimExpr(0); // verified to parse
}

/// C12, of one list.
static LogicalResult verifyList(AttentionOp op, ArrayRef<int32_t> rows,
                                ArrayRef<int32_t> columns, int64_t layout) {
  auto fail = [&](int64_t row) {
    return op.emitOpError("expects block lists whose rows keep ascending "
                          "columns, at least one, but got another in row ")
           << row << " of layout " << layout;
  };
  if (rows[0] != 0)
    return fail(0);
  for (size_t row = 0; row + 1 < rows.size(); ++row) {
    int64_t begin = rows[row], end = rows[row + 1];
    if (begin >= end || end > static_cast<int64_t>(columns.size()))
      return fail(row);
    for (int64_t at = begin, last = -1; at < end; last = columns[at], ++at)
      if (columns[at] <= last)
        return fail(row);
  }
  return success();
}

/// C11 and C12.
static LogicalResult verifyBlocks(AttentionOp op, int64_t batch,
                                  int64_t heads) {
  Value rows = op.getBlockRows(), columns = op.getBlockColumns();
  int64_t block = op.getBlock();
  if (!rows && !columns && block == 0)
    return success();
  if (!rows || !columns || block <= 0 || block > 512 || block % 16 != 0)
    return op.emitOpError("expects block lists and a block of a multiple of "
                          "16 up to 512, or none of them, but got ")
           << block;
  auto rowType = cast<RankedTensorType>(rows.getType());
  auto columnType = cast<RankedTensorType>(columns.getType());
  auto isList = [&](RankedTensorType type) {
    return type.getRank() == 3 && type.getElementType().isInteger(32) &&
           (type.getDimSize(0) == 1 || agree(type.getDimSize(0), batch));
  };
  if (!isList(rowType) || !isList(columnType) || rowType.isDynamicDim(1) ||
      rowType.getDimSize(1) != columnType.getDimSize(1) ||
      rowType.getDimSize(1) == 0 || heads % rowType.getDimSize(1) != 0 ||
      (!rowType.isDynamicDim(2) && rowType.getDimSize(2) < 2))
    return op.emitOpError("expects block lists of [batch, layouts, rows + 1] "
                          "and [batch, layouts, entries] as i32 whose layouts "
                          "divide the heads, but got ")
           << rowType << " and " << columnType;
  Type element = getElementTypeOrSelf(op.getQuery());
  if (element != getElementTypeOrSelf(op.getKey()) ||
      element != getElementTypeOrSelf(op.getValue()))
    return op.emitOpError("expects one element type of query, key and value "
                          "with block lists");
  DenseElementsAttr rowData, columnData;
  if (!matchPattern(rows, m_Constant(&rowData)) ||
      !matchPattern(columns, m_Constant(&columnData)))
    return success();
  auto rowEnds = llvm::to_vector(rowData.getValues<int32_t>());
  auto entries = llvm::to_vector(columnData.getValues<int32_t>());
  int64_t ends = rowType.getDimSize(2), count = columnType.getDimSize(2);
  int64_t lists = std::max(rowType.getDimSize(0), columnType.getDimSize(0)) *
                  rowType.getDimSize(1);
  auto listOf = [&](ArrayRef<int32_t> all, int64_t at, int64_t size) {
    return all.slice(at * size % all.size(), size);
  };
  for (int64_t at = 0; at < lists; ++at)
    if (failed(verifyList(op, listOf(rowEnds, at, ends),
                          count == 0 ? ArrayRef<int32_t>()
                                     : listOf(entries, at, count),
                          at % rowType.getDimSize(1))))
      return failure();
  return success();
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
  if (failed(verifyBlocks(*this, scores[0], scores[1]))) // C11, C12
    return failure();
  if (getPanels() && !hasBlocks()) // C13
    return emitOpError("expects panels only with block lists");
  return success();
}

LogicalResult AttentionOp::inferDims(ArrayRef<Dims> operands,
                                     SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  dims.back() = operands[2].back();
  results.push_back(dims);
  return success();
}

LogicalResult PackKeysOp::verify() {
  auto key = cast<RankedTensorType>(getKey().getType());
  auto value = cast<RankedTensorType>(getValue().getType());
  auto type = cast<RankedTensorType>(getType());
  if (key.getRank() != 4 || value.getRank() != 4 ||
      !agree(key.getDimSize(0), value.getDimSize(0)) ||
      !agree(key.getDimSize(1), value.getDimSize(1)) ||
      !agree(key.getDimSize(2), value.getDimSize(2)) || key.isDynamicDim(3) ||
      value.isDynamicDim(3) ||
      key.getElementType() != value.getElementType()) // C1
    return emitOpError("expects keys and values of [batch, tokens, heads, "
                       "size] that agree, but got ")
           << key << " and " << value;
  if (type.getRank() != 4 || !agree(type.getDimSize(0), key.getDimSize(0)) ||
      !agree(type.getDimSize(1), key.getDimSize(2)) ||
      type.getDimSize(3) != widthOf(key.getDimSize(3), value.getDimSize(3)) ||
      (!key.isDynamicDim(1) &&
       !agree(type.getDimSize(2), key.getDimSize(1) + kSpareRows))) // C2
    return emitOpError("expects a result of [batch, heads, tokens + 64, "
                       "width], but got ")
           << type;
  return success();
}

LogicalResult PackKeysOp::inferDims(ArrayRef<Dims> operands,
                                    SmallVectorImpl<Dims> &results) {
  const Dims &key = operands[0];
  results.push_back(
      {key[0], key[2], key[1] + DimExpr(kSpareRows),
       DimExpr(widthOf(
           cast<RankedTensorType>(getKey().getType()).getDimSize(3),
           cast<RankedTensorType>(getValue().getType()).getDimSize(3)))});
  return success();
}
