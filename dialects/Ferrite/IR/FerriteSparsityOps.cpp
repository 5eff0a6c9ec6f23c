//===- FerriteSparsityOps.cpp - Blocks chosen at run time -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "dialects/Ferrite/IR/KvPool.h"

using namespace mlir;
using namespace ferrite;

#define GET_OP_CLASSES
#include "dialects/Ferrite/IR/FerriteSparsityOps.cpp.inc"

/// Blocks of a list's row: more would be gigabytes of lists.
static constexpr int64_t kMostBlocks = 1 << 15;
static constexpr int64_t kPage = 64;
static constexpr int64_t kAny = ShapedType::kDynamic;

/// Whether a value has these sizes, where both are static.
static bool hasShape(Value value, ArrayRef<int64_t> shape) {
  return succeeded(verifyCompatibleShape(
      cast<RankedTensorType>(value.getType()).getShape(), shape));
}

/// Whether `value` is absent, [size] or [1].
static bool isRow(Value value, int64_t size) {
  return !value || hasShape(value, {size}) || hasShape(value, {1});
}

/// Whether a group of `stride` tokens is part of a block.
static bool divides(int64_t stride, int64_t block) {
  return stride >= 2 && llvm::isPowerOf2_64(stride) && block % stride == 0;
}

template <typename OpTy>
static LogicalResult verifyEstimate(OpTy op, int64_t block, int64_t count) {
  float softcap = op.getSoftcap().convertToFloat();
  if (!divides(op.getStride(), block) || count < 1 || count > kMostBlocks ||
      !std::isfinite(softcap) || softcap < 0)
    return op.emitOpError("expects groups of a power of two from 2 that "
                          "divides blocks of ")
           << block << ", 1 to " << kMostBlocks
           << " blocks, and a softcap of 0 or more, but got " << op.getStride()
           << ", " << count << " and " << softcap;
  return success();
}

template <typename OpTy>
static LogicalResult verifyRuns(OpTy op) {
  auto contexts = cast<RankedTensorType>(op.getContexts().getType());
  int64_t runs = contexts.getRank() == 1 ? contexts.getDimSize(0) : 0;
  if (runs == 0 ||
      !hasShape(op.getRunBegins(), {runs == kAny ? kAny : runs + 1}) ||
      !hasShape(op.getPageTables(), {runs, kAny}))
    return op.emitOpError(
               "expects the begins [runs + 1] and contexts [runs] of "
               "runs and page tables [runs, width], but got ")
           << op.getRunBegins().getType() << ", " << contexts << " and "
           << op.getPageTables().getType();
  return success();
}

/// Whether groups of heads of queries [1, tokens, heads, size] share the heads
/// of pages of rank 4.
static bool isHeadsOfPages(RankedTensorType query, RankedTensorType keys) {
  return query.getRank() == 4 && query.getDimSize(0) == 1 &&
         query.getDimSize(2) > 0 && query.getDimSize(3) > 0 &&
         keys.getRank() == 4 && keys.getDimSize(1) > 0 &&
         query.getDimSize(2) % keys.getDimSize(1) == 0;
}

LogicalResult SelectBlocksOp::verify() {
  auto query = cast<RankedTensorType>(getQuery().getType());
  auto key = cast<RankedTensorType>(getKey().getType());
  auto isHeads = [](RankedTensorType type) {
    return type.getRank() == 4 && type.getDimSize(2) > 0 &&
           type.getDimSize(3) > 0;
  };
  if (!isHeads(query) || !isHeads(key) ||
      query.getDimSize(3) != key.getDimSize(3) ||
      query.getDimSize(2) % key.getDimSize(2) != 0 ||
      !hasShape(getKey(), {query.getDimSize(0), kAny, kAny, kAny})) // C1
    return emitOpError("expects queries and keys of [batch, tokens, heads, "
                       "size], but got ")
           << query << " and " << key;
  int64_t batch = query.getDimSize(0), heads = query.getDimSize(2);
  if (!hasShape(getThresholds(), {heads})) // C2
    return emitOpError("expects a threshold for each of ")
           << heads << " heads, but got " << getThresholds().getType();
  int64_t block = getBlock();
  if (block < 16 || block > 512 || block % 16 != 0)
    return emitOpError("expects a block of a multiple of 16 up to 512, but "
                       "got ")
           << block;
  if (failed(verifyEstimate(*this, block, getBlocks()))) // C3, C4
    return failure();
  if (getLeft() < -1)
    return emitOpError("expects a window of -1 or more, but got ") << getLeft();
  if (!isRow(getOffsets(), batch) || !isRow(getLengths(), batch) ||
      (getMask() && !hasShape(getMask(), {batch, key.getDimSize(1)}))) // C5
    return emitOpError("expects a mask of [batch, keys], offsets and lengths "
                       "of [batch]");
  if (getOffset() && !DimExpr::parse(*getOffset())) // C6
    return emitOpError("expects an offset that is a dim expression, but got ")
           << *getOffset();
  if (!hasShape(getResult(), {batch, heads, kAny})) // C7
    return emitOpError("expects a list for each of ")
           << heads << " heads, but got " << getType();
  return success();
}

DimExpr SelectBlocksOp::getOffsetExpr() {
  std::optional<StringRef> text = getOffset();
  return text ? *DimExpr::parse(*text) : DimExpr(0); // verified to parse
}

DimExpr SelectBlocksOp::entriesOf(const DimExpr &keys, int64_t block,
                                  int64_t blocks) {
  // blocks * ceil(keys / block), as a polynomial says it.
  return keys * DimExpr(int64_t(llvm::divideCeil(blocks, block))) +
         DimExpr(blocks);
}

LogicalResult SelectBlocksOp::inferDims(ArrayRef<Dims> operands,
                                        SmallVectorImpl<Dims> &results) {
  int64_t blocks = getBlocks();
  results.push_back(
      {operands[0][0], operands[0][2],
       DimExpr(blocks + 1) + entriesOf(operands[1][1], getBlock(), blocks)});
  return success();
}

LogicalResult SelectRunPagesOp::verify() {
  auto query = cast<RankedTensorType>(getQuery().getType());
  auto keys = cast<RankedTensorType>(getKeys().getType());
  if (!isHeadsOfPages(query, keys) ||
      !hasShape(getKeys(), {kAny, kAny, query.getDimSize(3), kPage})) // C1
    return emitOpError("expects queries of [1, tokens, heads, size] and pages "
                       "of keys [pages, heads, size, 64], but got ")
           << query << " and " << keys;
  if (failed(verifyRuns(*this))) // C2
    return failure();
  int64_t heads = query.getDimSize(2);
  if (!hasShape(getThresholds(), {heads})) // C3
    return emitOpError("expects a threshold for each of ")
           << heads << " heads, but got " << getThresholds().getType();
  if (failed(verifyEstimate(*this, kPage, getPages()))) // C4
    return failure();
  if (!hasShape(getResult(), {heads, kAny})) // C5
    return emitOpError("expects lists for each of ")
           << heads << " heads, but got " << getType();
  return success();
}

LogicalResult SelectRunPagesOp::inferDims(ArrayRef<Dims> operands,
                                          SmallVectorImpl<Dims> &results) {
  // tokens / 64 + 2 * runs lists, as a polynomial says it.
  int64_t list = int64_t(getPages()) + 1;
  results.push_back(
      {operands[0][2],
       operands[0][1] * DimExpr(int64_t(llvm::divideCeil(list, kPage))) +
           operands[3][0] * DimExpr(2 * list)});
  return success();
}

LogicalResult WeighPagesOp::verify() {
  auto query = cast<RankedTensorType>(getQuery().getType());
  auto keys = cast<RankedTensorType>(getKeys().getType());
  if (!isHeadsOfPages(query, keys) || keys.getDimSize(2) <= 0 ||
      keys.getDimSize(3) != kPage ||
      kvPoolDepth(keys.getElementType(), keys.getDimSize(2)) !=
          query.getDimSize(3)) // C1
    return emitOpError("expects queries of [1, tokens, heads, size] and pages "
                       "of keys [pages, heads, size, 64], but got ")
           << query << " and " << keys;
  if (failed(verifyRuns(*this))) // C2
    return failure();
  auto chosen = cast<RankedTensorType>(getRuns().getType());
  if (chosen.getRank() != 1 ||
      !hasShape(getTokens(), {chosen.getDimSize(0)})) // C3
    return emitOpError("expects runs and their tokens, [weighed] both, but "
                       "got ")
           << chosen << " and " << getTokens().getType();
  float softcap = getSoftcap().convertToFloat();
  if (!std::isfinite(softcap) || softcap < 0) // C4
    return emitOpError("expects a softcap of 0 or more, but got ") << softcap;
  if (!hasShape(getResult(),
                {chosen.getDimSize(0), keys.getDimSize(1), kAny})) // C5
    return emitOpError("expects a result of [weighed, ")
           << keys.getDimSize(1) << ", 64 * width], but got " << getType();
  return success();
}

LogicalResult WeighPagesOp::inferDims(ArrayRef<Dims> operands,
                                      SmallVectorImpl<Dims> &results) {
  results.push_back(
      {operands[5][0], operands[1][1], operands[4][1] * DimExpr(kPage)});
  return success();
}
