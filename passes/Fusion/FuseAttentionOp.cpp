//===- FuseAttentionOp.cpp - The op with its mask, and in words -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMask.h"

#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;

std::string ferrite::describeAttention(const AttentionMask &mask,
                                       AttentionOp attention) {
  std::string text;
  llvm::raw_string_ostream out(text);
  int64_t heads = attention.getQuery().getType().getDimSize(2);
  int64_t keyHeads = attention.getKey().getType().getDimSize(2);
  out << "attention: " << heads << " heads";
  if (heads != keyHeads)
    out << " over " << keyHeads;
  out << ", scale "
      << llvm::format("%g", attention.getScale().convertToFloat());
  if (!attention.getSoftcap().isZero())
    out << ", softcap "
        << llvm::format("%g", attention.getSoftcap().convertToFloat());
  if (attention.getSinks())
    out << ", sinks";
  out << ", mask " << mask.name;
  if (mask.keep)
    out << " with fill " << llvm::format("%g", static_cast<double>(mask.fill));
  if (attention.getGuarded())
    out << ", guarded";
  return text;
}

void ferrite::setAttentionMask(OpBuilder &builder, AttentionOp attention,
                               const AttentionMask &mask) {
  if (mask.keep) {
    attention.getMaskMutable().assign(mask.keep);
    attention.setFillAttr(builder.getF32FloatAttr(mask.fill));
  }
  if (mask.bias)
    attention.getBiasMutable().assign(mask.bias);
  if (mask.hasWindow()) {
    attention.setWindowFillAttr(builder.getF32FloatAttr(mask.windowFill));
    attention.setJoined(mask.joined);
  }
  attention.setLeft(mask.left);
  attention.setRight(mask.right);
  attention.setChunk(mask.chunk);
  attention.setAnchors(mask.anchors);
  if (mask.prefix)
    attention.getPrefixMutable().assign(mask.prefix);
  if (mask.querySegments) {
    attention.getQuerySegmentsMutable().assign(mask.querySegments);
    attention.getKeySegmentsMutable().assign(mask.keySegments);
  }
  if (mask.offset != DimExpr(0))
    attention.setOffset(mask.offset.str());
}
