//===- PagedEntry.cpp - What operands attention to pages takes ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PagedEmitter.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

static LogicalResult verifyLayout(KernelBuilder &kb, const PagedSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "paged attention kernel: " << why;
  };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  constexpr int64_t page = PagedEmitter::kPage;
  unsigned result = spec.resultOperand();
  if (kb.layout().operands.size() != result + 1)
    return fail("expects queries, keys, values, runs, contexts, bits, page "
                "tables, what the spec has, and the result");
  auto isTokens = [&](unsigned i) {
    const OperandLayout &o = kb.operand(i);
    return o.shape.size() == 4 && isFloat(o.elementType) &&
           !ShapedType::isDynamic(o.shape[2]) &&
           !ShapedType::isDynamic(o.shape[3]) && o.strides[3] == 1;
  };
  if (!isTokens(PagedSpec::kQuery) || (!spec.isPartials && !isTokens(result)))
    return fail("expects queries and a result of floats of [1, tokens, heads, "
                "size] with static heads and size of stride 1");
  const OperandLayout &q = kb.operand(PagedSpec::kQuery);
  for (unsigned i : {PagedSpec::kKeys, PagedSpec::kValues}) {
    const OperandLayout &pool = kb.operand(i);
    bool isKeys = i == PagedSpec::kKeys, isFloats = isFloat(pool.elementType);
    if (pool.shape.size() != 4 ||
        (!isFloats && !pool.elementType.isInteger(8)) ||
        ShapedType::isDynamic(pool.shape[1]) ||
        ShapedType::isDynamic(pool.shape[isKeys ? 2 : 3]) ||
        q.shape[2] % pool.shape[1] != 0 || pool.strides[3] != 1 ||
        pool.shape[isKeys ? 3 : 2] != page || pool.strides[2] != pool.shape[3])
      return fail("expects pools of pages [heads, size, 64] of keys and "
                  "[heads, 64, size] of values");
    std::optional<KvRecord> record =
        KvRecord::of(pool.elementType, pool.shape[isKeys ? 2 : 3]);
    int64_t depth = record ? record->depth : pool.shape[isKeys ? 2 : 3];
    if (depth == 0 || (isKeys && depth != q.shape[3]) ||
        pool.elementType != kb.operand(PagedSpec::kKeys).elementType)
      return fail("expects keys as deep as queries, and values of their type");
  }
  int64_t group = q.shape[2] / kb.operand(PagedSpec::kKeys).shape[1];
  if (group > PagedEmitter::kMostGroup)
    return fail("at most 256 heads may share a key head, but " + Twine(group) +
                " do");
  for (unsigned i :
       {PagedSpec::kBegins, PagedSpec::kContexts, PagedSpec::kTables})
    if (!kb.operand(i).elementType.isInteger(32) ||
        kb.operand(i).strides.back() != 1)
      return fail("expects runs, contexts and page tables as adjacent i32");
  if (!kb.operand(PagedSpec::kVisible).elementType.isInteger(64))
    return fail("expects the bits of tokens as i64");
  if (spec.hasPartials &&
      !kb.operand(spec.partialsOperand()).elementType.isF32())
    return fail("expects partials of f32");
  if ((spec.from != 0 || spec.until != 0 || spec.gap != 0) &&
      (spec.from < 0 || spec.until < 0 || spec.gap < 0 ||
       (spec.gap > 0 && spec.gap < page) || spec.cross || spec.hasSelected ||
       spec.keptPages > 0))
    return fail("expects a part of a sequence behind a gap of at least 64 "
                "tokens, of the run's own and without lists of pages");
  if (spec.keptPages > 0 &&
      (!kb.operand(spec.keptOperand()).elementType.isInteger(32) ||
       kb.operand(spec.keptOperand()).strides.back() != 1 || spec.left >= 0 ||
       spec.cross || spec.hasSlopes || spec.hasBias || spec.isPartials))
    return fail("expects lists of kept pages as adjacent i32, without a "
                "window, another sequence, slopes and a bias");
  if (spec.hasSelected &&
      (spec.hasSlopes || spec.hasBias || spec.cross ||
       !kb.operand(spec.selectedOperand()).elementType.isInteger(32) ||
       kb.operand(spec.selectedOperand()).strides.back() != 1))
    return fail("expects lists of pages as adjacent i32, and nothing that goes "
                "by distances beside them");
  if (spec.hasBias && (!kb.operand(spec.biasOperand()).elementType.isF32() ||
                       kb.operand(spec.biasOperand()).strides.back() != 1))
    return fail("expects a bias of adjacent f32");
  return success();
}

LogicalResult ferrite::cpu::emitPagedAttention(KernelBuilder &kb,
                                               const PagedSpec &spec) {
  if (failed(verifyLayout(kb, spec)))
    return failure();
  PagedEmitter(kb, spec).emit();
  return success();
}
