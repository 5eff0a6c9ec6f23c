//===- DynamicLists.cpp - Blocks that are chosen at run time --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/DynamicLists.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ferrite;

/// Above what all shares sum to: keeps all.
static constexpr float kAll = 2;

std::string ferrite::whyNotDynamic(AttentionOp op) {
  if (op.getBias() || op.getChunk() > 0 || op.getAnchors() > 0 ||
      op.getPrefix() || op.getQuerySegments() || op.getRight() > 0)
    return "an estimate knows no bias, chunks, sinks, prefixes, segments and "
           "windows behind the query";
  if (op.getMask() &&
      cast<RankedTensorType>(op.getMask().getType()).getRank() != 2)
    return "an estimate knows masks of keys alone, not of scores";
  return "";
}

std::string ferrite::whyNotDynamic(PagedAttentionOp op,
                                   const SparsityItem &item) {
  if (item.block != KvAppendOp::kPageTokens)
    return "blocks of a step are its pages, of 64 tokens";
  auto keys = cast<RankedTensorType>(op.getKeys().getType());
  if (op.getKept())
    return "its pages are chosen";
  if (!isa<FloatType>(keys.getElementType()))
    return "its pages are of bytes, and an estimate reads floats";
  if (op.getFrom() || op.getUntil() || op.getGap())
    return "its tokens are of two types (--kv=..,f16-recent=)";
  if (op.getLeft() >= 0 || op.getCross() || op.getSlopes() || op.getBias())
    return "an estimate of pages knows no windows, slopes, biases and other "
           "sequences";
  return "";
}

std::vector<float> ferrite::thresholdsOf(const SparsityItem &item,
                                         int64_t heads,
                                         DenseF32ArrayAttr found) {
  std::vector<float> thresholds(heads, float(item.threshold));
  if (found)
    thresholds.assign(found.asArrayRef().begin(), found.asArrayRef().end());
  for (int64_t h = 0; h < heads; ++h)
    if (!item.heads.has(h))
      thresholds[h] = kAll;
  return thresholds;
}

static Value makeThresholds(OpBuilder &builder, Location loc,
                            ArrayRef<float> thresholds) {
  auto type =
      RankedTensorType::get({int64_t(thresholds.size())}, builder.getF32Type());
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(type, thresholds));
}

static FloatAttr scaleOf(OpBuilder &builder, const SparsityItem &item,
                         const APFloat &scale) {
  return builder.getF32FloatAttr(scale.convertToFloat() / float(item.norm));
}

/// A part of the innermost dim, [from, from + dims[2]).
static Value slice(OpBuilder &builder, Location loc, Value lists,
                   const DimExpr &from, const Dims &dims) {
  MLIRContext *context = builder.getContext();
  return SliceOp::create(
      builder, loc, getTensorType(dims, builder.getI32Type()), lists,
      getDimsAttr(context, {DimExpr(0), DimExpr(0), from}),
      ArrayRef<int64_t>{1, 1, 1}, getDimsAttr(context, dims));
}

void ferrite::setDynamicLists(AttentionOp op, const SparsityItem &item,
                              int64_t tokens, ArrayRef<float> thresholds,
                              DimAnalysis &dims) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  int64_t blocks = llvm::divideCeil(tokens, item.block);
  ArrayRef<DimExpr> query = dims.getDims(op.getQuery()),
                    key = dims.getDims(op.getKey());
  DimExpr begins(blocks + 1),
      entries = SelectBlocksOp::entriesOf(key[1], item.block, blocks);
  auto lists = SelectBlocksOp::create(
      builder, loc,
      getTensorType({query[0], query[2], begins + entries},
                    builder.getI32Type()),
      op.getQuery(), op.getKey(), makeThresholds(builder, loc, thresholds),
      op.getMask(), op.getOffsets(), op.getLengths(),
      scaleOf(builder, item, op.getScale()), op.getSoftcapAttr(), item.block,
      item.stride, blocks, op.getLeft(), op.getOffsetAttr(), op.getRight() == 0,
      item.kind == SparsityItem::Kind::Pooled);
  op.getBlockRowsMutable().assign(
      slice(builder, loc, lists, DimExpr(0), {query[0], query[2], begins}));
  op.getBlockColumnsMutable().assign(
      slice(builder, loc, lists, begins, {query[0], query[2], entries}));
  op.setBlock(item.block);
}

void ferrite::setDynamicLists(PagedAttentionOp op, const SparsityItem &item,
                              int64_t tokens, ArrayRef<float> thresholds) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  int64_t pages = llvm::divideCeil(tokens, KvAppendOp::kPageTokens);
  int64_t heads = thresholds.size();
  auto type = RankedTensorType::get({heads, ShapedType::kDynamic},
                                    builder.getI32Type());
  op.getKeptMutable().assign(SelectRunPagesOp::create(
      builder, loc, type, op.getQuery(), op.getKeys(), op.getRunBegins(),
      op.getContexts(), op.getPageTables(),
      makeThresholds(builder, loc, thresholds),
      scaleOf(builder, item, op.getScale()), op.getSoftcapAttr(), item.stride,
      pages, item.kind == SparsityItem::Kind::Pooled));
  op.setKeptPages(pages);
}

SelectBlocksOp ferrite::selectionOf(AttentionOp op) {
  if (!op.hasBlocks())
    return {};
  auto part = op.getBlockRows().getDefiningOp<SliceOp>();
  return part ? part.getInput().getDefiningOp<SelectBlocksOp>()
              : SelectBlocksOp();
}
