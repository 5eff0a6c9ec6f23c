//===- FerritePageOps.cpp - Which pages of a cache matter -----------------===//
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

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

static bool hasShape(Value value, ArrayRef<int64_t> shape) {
  return succeeded(verifyCompatibleShape(typeOf(value).getShape(), shape));
}

/// Whether all but the pages are these sizes.
static bool isPool(Value value, ArrayRef<int64_t> page) {
  return typeOf(value).getRank() == 4 &&
         typeOf(value).getShape().drop_front() == page;
}

/// The runs, if begins and tables are of so many; or nothing.
static std::optional<int64_t> runsOf(Value begins, Value contexts,
                                     Value tables) {
  int64_t runs =
      typeOf(contexts).getRank() == 1 ? typeOf(contexts).getDimSize(0) : 0;
  if (runs == 0 || !hasShape(begins, {runs == kAny ? kAny : runs + 1}) ||
      !hasShape(tables, {runs, kAny}))
    return std::nullopt;
  return runs;
}

static bool isTokens(RankedTensorType type) {
  return type.getRank() == 4 && type.getDimSize(0) == 1 &&
         type.getDimSize(2) > 0 && type.getDimSize(3) > 0;
}

LogicalResult SummarizePagesOp::verify() {
  RankedTensorType keys = typeOf(getKeys());
  int64_t depth = keys.getRank() == 4 && keys.getDimSize(2) > 0
                      ? kvPoolDepth(keys.getElementType(), keys.getDimSize(2))
                      : 0;
  if (depth <= 0 || keys.getDimSize(1) <= 0 ||
      keys.getDimSize(3) != kPage) // C1
    return emitOpError("expects keys of [pages, heads, size, 64], but got ")
           << keys;
  if (!isPool(getSummaries(),
              {keys.getDimSize(1), kPage, widthFor(depth)})) // C2
    return emitOpError("expects summaries of [pages, ")
           << keys.getDimSize(1) << ", 64, " << widthFor(depth) << "], but got "
           << getSummaries().getType();
  if (!runsOf(getRunBegins(), getContexts(), getPageTables())) // C3
    return emitOpError("expects begins [runs + 1], contexts [runs] and page "
                       "tables [runs, width]");
  return success();
}

LogicalResult SummarizePagesOp::inferDims(ArrayRef<Dims> operands,
                                          SmallVectorImpl<Dims> &results) {
  results.push_back(operands[4]);
  return success();
}

LogicalResult SelectPagesOp::verify() {
  RankedTensorType query = typeOf(getQuery());
  if (!isTokens(query)) // C1
    return emitOpError("expects queries of [1, tokens, heads, size], but got ")
           << query;
  RankedTensorType summaries = typeOf(getSummaries());
  int64_t heads = summaries.getRank() == 4 ? summaries.getDimSize(1) : 0;
  int64_t width = SummarizePagesOp::widthFor(query.getDimSize(3));
  if (heads <= 0 || query.getDimSize(2) % heads != 0 ||
      !isPool(getSummaries(), {heads, kPage, width})) // C2
    return emitOpError("expects summaries [pages, heads, 64, size] that fit ")
           << query << ", but got " << summaries;
  std::optional<int64_t> runs =
      runsOf(getRunBegins(), getContexts(), getPageTables());
  if (!runs || !hasShape(getVisible(), {query.getDimSize(1)})) // C3
    return emitOpError("expects begins [runs + 1], contexts [runs], bits "
                       "[tokens] and page tables [runs, width]");
  float share = getShare().convertToFloat();
  if (!(share >= 0 && share <= 1) || getTokens() < 0 ||
      (share > 0) == (getTokens() > 0) || getLeft() < -1) // C4
    return emitOpError("expects a share in (0, 1] or a number of tokens, and "
                       "a window of -1 or more, but got ")
           << share << ", " << getTokens() << " and " << getLeft();
  int64_t lists = *runs == kAny ? kAny : *runs * PagedAttentionOp::kSelecting;
  if (!hasShape(getResult(), {lists, heads, kAny})) // C5
    return emitOpError(
               "expects a result of [16 * runs, heads, 8 * width + 16], "
               "but got ")
           << getType();
  return success();
}

LogicalResult SelectPagesOp::inferDims(ArrayRef<Dims> operands,
                                       SmallVectorImpl<Dims> &results) {
  results.push_back({operands[3][0] * DimExpr(PagedAttentionOp::kSelecting),
                     operands[1][1],
                     operands[5][1] * DimExpr(2 * SummarizePagesOp::kParts) +
                         DimExpr(PagedAttentionOp::kSelectedBegin)});
  return success();
}
