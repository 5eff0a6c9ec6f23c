//===- FerriteStateOps.cpp - Keys and values kept in pages ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"
#include "dialects/Ferrite/IR/KvPool.h"

using namespace mlir;
using namespace ferrite;

static constexpr int64_t kPage = KvAppendOp::kPageTokens;
static constexpr int64_t kAny = ShapedType::kDynamic;

/// Whether a value has these sizes, where both are static.
static bool hasShape(Value value, ArrayRef<int64_t> shape) {
  return succeeded(verifyCompatibleShape(
      cast<RankedTensorType>(value.getType()).getShape(), shape));
}

/// Whether `type` is [1, tokens, heads, size] with heads and a size.
static bool isTokens(RankedTensorType type) {
  return type.getRank() == 4 && type.getDimSize(0) == 1 &&
         type.getDimSize(2) > 0 && type.getDimSize(3) > 0;
}

/// Of a pool, all but the pages.
static bool isPool(Value value, ArrayRef<int64_t> page) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 4 && type.getShape().drop_front() == page;
}

//===----------------------------------------------------------------------===//
// KvAppendOp
//===----------------------------------------------------------------------===//

/// Numbers of a token's head in a pool.
static int64_t depthOf(Value pool, unsigned d) {
  auto type = cast<RankedTensorType>(pool.getType());
  return type.getRank() == 4 && type.getDimSize(d) > 0
             ? kvPoolDepth(type.getElementType(), type.getDimSize(d))
             : 0;
}

LogicalResult KvAppendOp::verify() {
  auto rows = cast<RankedTensorType>(getRows().getType());
  if (!isTokens(rows)) // C1
    return emitOpError("expects rows of [1, tokens, heads, size], but got ")
           << rows;
  if (!hasShape(getSlots(), {rows.getDimSize(1)})) // C2
    return emitOpError("expects a slot for each token of ")
           << rows << ", but got " << getSlots().getType();
  int64_t heads = rows.getDimSize(2);
  Type element = cast<RankedTensorType>(getPool().getType()).getElementType();
  int64_t size = kvPoolWidth(element, rows.getDimSize(3));
  if (size == 0)
    return emitOpError("expects sizes that are multiples of 32 for a pool of "
                       "4 bits, but got ")
           << rows;
  int64_t page[] = {heads, getKeys() ? size : kPage, getKeys() ? kPage : size};
  if (!isPool(getPool(), page)) // C3
    return emitOpError("expects a pool of pages of ")
           << page[0] << "x" << page[1] << "x" << page[2] << ", but got "
           << getPool().getType();
  return success();
}

LogicalResult KvAppendOp::inferDims(ArrayRef<Dims> operands,
                                    SmallVectorImpl<Dims> &results) {
  results.push_back(operands[2]);
  return success();
}

//===----------------------------------------------------------------------===//
// PagedAttentionOp and PagedPartialsOp
//===----------------------------------------------------------------------===//

/// C1 to C5 of both, `valueDepth` from the one's result or the other's pool.
template <typename OpTy>
static LogicalResult verifyPaged(OpTy op) {
  auto query = cast<RankedTensorType>(op.getQuery().getType());
  auto keys = cast<RankedTensorType>(op.getKeys().getType());
  auto values = cast<RankedTensorType>(op.getValues().getType());
  if (!isTokens(query)) // C1
    return op.emitOpError("expects queries of [1, tokens, heads, size], but "
                          "got ")
           << query;
  int64_t tokens = query.getDimSize(1), heads = query.getDimSize(2);
  int64_t keyHeads = keys.getRank() == 4 ? keys.getDimSize(1) : 0;
  int64_t width = values.getRank() == 4 ? values.getDimSize(3) : 0;
  int64_t keyWidth = kvPoolWidth(keys.getElementType(), query.getDimSize(3));
  if (keyHeads <= 0 || depthOf(op.getValues(), 3) <= 0 ||
      heads % keyHeads != 0 ||
      !isPool(op.getKeys(), {keyHeads, keyWidth, kPage}) ||
      !isPool(op.getValues(), {keyHeads, kPage, width}) ||
      keys.getElementType() != values.getElementType()) // C2
    return op.emitOpError("expects pools of keys [pages, heads, size, 64] and "
                          "of values [pages, heads, 64, size] that fit ")
           << query << ", but got " << keys << " and " << values;
  auto contexts = cast<RankedTensorType>(op.getContexts().getType());
  int64_t runs = contexts.getRank() == 1 ? contexts.getDimSize(0) : 0;
  if (runs == 0 ||
      !hasShape(op.getRunBegins(), {runs == kAny ? kAny : runs + 1}) ||
      !hasShape(op.getVisible(), {tokens}) ||
      !hasShape(op.getPageTables(), {runs, kAny})) // C3
    return op.emitOpError("expects the begins [runs + 1] and contexts [runs] "
                          "of runs, bits [tokens] and page tables [runs, "
                          "width], but got ")
           << op.getRunBegins().getType() << ", " << contexts << ", "
           << op.getVisible().getType() << " and "
           << op.getPageTables().getType();
  if ((op.getSlopes() && !hasShape(op.getSlopes(), {heads})) ||
      (op.getBias() &&
       (!hasShape(op.getBias(), {heads, kAny}) ||
        cast<RankedTensorType>(op.getBias().getType()).getDimSize(1) < 1)))
    return op.emitOpError("expects a slope, and a row of biases, for each of ")
           << heads << " heads"; // C4
  float softcap = op.getSoftcap().convertToFloat();
  if (op.getLeft() < -1 || !std::isfinite(softcap) || softcap < 0) // C5
    return op.emitOpError("expects a window of -1 or more and a softcap of 0 "
                          "or more, but got ")
           << op.getLeft() << " and " << softcap;
  bool isPart = op.getFrom() != 0 || op.getUntil() != 0 || op.getGap() != 0;
  if (op.getFrom() < 0 || op.getUntil() < 0 || op.getGap() < 0 ||
      (op.getGap() > 0 && op.getGap() < kPage) ||
      (isPart && (op.getCross() || op.getSelected())))
    return op.emitOpError("expects the part of a sequence that it sees from 0 "
                          "or more, until 0 or more and behind a gap of 0 or "
                          "at least 64, beside neither another sequence nor "
                          "selected parts, but got ")
           << op.getFrom() << ", " << op.getUntil() << " and " << op.getGap();
  constexpr int64_t most = PagedAttentionOp::kSelecting;
  int64_t lists = runs == kAny ? kAny : runs * most;
  if (op.getSelected() &&
      (!hasShape(op.getSelected(), {lists, keyHeads, kAny}) || op.getSlopes() ||
       op.getBias() || op.getCross())) // C7
    return op.emitOpError(
               "expects selected parts of [16 * runs, heads, 8 * "
               "width + 16], and nothing that goes by distances with "
               "them, but got ")
           << op.getSelected().getType();
  return success();
}

/// Whether `value` can hold what a run's token has of `width` pages.
static bool holdsPartials(Value value, int64_t heads, int64_t runs) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getElementType().isF32() && hasShape(value, {runs, heads, kAny});
}

static int64_t runsOf(Value contexts) {
  return cast<RankedTensorType>(contexts.getType()).getDimSize(0);
}

void PagedAttentionOp::build(OpBuilder &builder, OperationState &state,
                             Type result, ValueRange operands, float scale) {
  build(builder, state, result, operands[0], operands[1], operands[2],
        operands[3], operands[4], operands[5], operands[6], Value(), Value(),
        Value(), Value(), Value(), Value(), builder.getF32FloatAttr(scale),
        builder.getF32FloatAttr(0), -1, 0, 0, 0, false, 0);
}

LogicalResult PagedAttentionOp::verify() {
  if (failed(verifyPaged(*this)))
    return failure();
  auto query = cast<RankedTensorType>(getQuery().getType());
  int64_t heads = query.getDimSize(2);
  int64_t valueDepth = depthOf(getValues(), 3);
  auto result = cast<RankedTensorType>(getType());
  int64_t tokens = query.getDimSize(1);
  if (!isTokens(result) ||
      (!hasShape(getResult(), {1, tokens, heads, valueDepth}) &&
       !hasShape(getResult(), {1, tokens, heads, valueDepth + 1})))
    return emitOpError("expects a result of [1, tokens, heads, size] that "
                       "fits, but got ")
           << result;                               // C1
  if (getSinks() && !hasShape(getSinks(), {heads})) // C4
    return emitOpError("expects a sink for each of ")
           << heads << " heads, but got " << getSinks().getType();
  if (getPartials() &&
      !holdsPartials(getPartials(), heads, runsOf(getContexts()))) // C6
    return emitOpError("expects f32 partials of [runs, heads, size], but got ")
           << getPartials().getType();
  int64_t pages = getKeptPages();
  if (static_cast<bool>(getKept()) != (pages > 0) || pages < 0) // C8
    return emitOpError("expects kept pages and how many there may be, or "
                       "none, but got ")
           << pages;
  if (getKept() &&
      (!hasShape(getKept(), {heads, kAny}) || getLeft() >= 0 || getFrom() ||
       getUntil() || getGap() || getCross() || getSlopes() || getBias()))
    return emitOpError("expects kept pages of [heads, size] beside neither a "
                       "window, another sequence, slopes nor a bias, but got ")
           << getKept().getType();
  return success();
}

LogicalResult PagedAttentionOp::inferDims(ArrayRef<Dims> operands,
                                          SmallVectorImpl<Dims> &results) {
  Dims dims = operands[0];
  // With or without the logarithm of the sum.
  dims.back() = DimExpr(cast<RankedTensorType>(getType()).getDimSize(3));
  results.push_back(dims);
  return success();
}

LogicalResult PagedPartialsOp::verify() {
  if (failed(verifyPaged(*this)))
    return failure();
  auto query = cast<RankedTensorType>(getQuery().getType());
  if (!holdsPartials(getResult(), query.getDimSize(2), runsOf(getContexts())))
    return emitOpError("expects an f32 result of [runs, heads, size], but "
                       "got ")
           << getType(); // C6
  return success();
}

LogicalResult PagedPartialsOp::inferDims(ArrayRef<Dims> operands,
                                         SmallVectorImpl<Dims> &results) {
  int64_t row = PagedAttentionOp::partialWidth(depthOf(getValues(), 3));
  // ceil(width / 8) rows, as a polynomial says it.
  constexpr int64_t pages = PagedAttentionOp::kBlockKeys / kPage;
  results.push_back({operands[4][0], operands[0][2],
                     operands[6][1] * DimExpr(row / pages) + DimExpr(row)});
  return success();
}
