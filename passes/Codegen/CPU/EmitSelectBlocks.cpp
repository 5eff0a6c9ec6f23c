//===- EmitSelectBlocks.cpp - Which blocks of keys are kept ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Units, and what they are of.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/BlockSelector.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Shares that the work of runs is dealt out in.
static constexpr int64_t kMostUnits = 128;

//===----------------------------------------------------------------------===//
// Units
//===----------------------------------------------------------------------===//

void BlockSelector::emitBatches() {
  int64_t tokens = unitGroups * spec.stride;
  // One more, because they begin at absolute positions.
  auto perHead = [&] { return kb.add(kb.ceilDiv(kb.dim(0, 1), tokens), 1); };
  kb.defineUnits(
      [&] { return kb.mul(kb.mul(kb.dim(0, 0), kb.dim(0, 2)), perHead()); });
  kb.defineBody([&] {
    Value count = perHead();
    kb.forUnits([&](Value unit) {
      SmallVector<Value> at =
          kb.delinearize(unit, {kb.dim(0, 0), kb.dim(0, 2), count});
      batch = at[0];
      head = at[1];
      keyHead = kb.div(head, kb.div(kb.dim(0, 2), kb.dim(1, 2)));
      origin = kb.c(std::max(std::min(spec.offset.constant, kMostPosition),
                             -kMostPosition));
      origin = kb.add(origin, kb.mul(kb.dim(0, 1), spec.offset.queries));
      origin = kb.add(origin, kb.mul(kb.dim(1, 1), spec.offset.keys));
      if (spec.hasOffsets)
        origin = kb.add(origin, loadOfBatch(spec.offsetsOperand()));
      firstToken = kb.c(0);
      begin = kb.max(origin, 0);
      end = kb.add(origin, kb.dim(0, 1));
      keyCount = keyEnd = kb.dim(1, 1);
      if (spec.hasLengths)
        keyEnd = clamp(loadOfBatch(spec.lengthsOperand()), kb.c(0), keyEnd);
      firstGroup = kb.mul(kb.add(kb.div(begin, tokens), at[2]), unitGroups);
      kb.ifThen(kb.lt(begin, end), [&] { emitUnit(); });
    });
  });
}

/// The units of runs, shares of which are those of the launch: how many there
/// are is in memory.
void BlockSelector::emitRuns() {
  int64_t tokens = unitGroups * spec.stride;
  auto all = [&] {
    // No run of so many tokens, nothing to do: a step that decodes.
    Value most =
        kb.mul(kb.mul(kb.div(kb.dim(0, 1), kLeastTokens), 3), kb.dim(0, 2));
    return kb.min(most, kMostUnits);
  };
  kb.defineUnits([&] { return all(); });
  kb.defineBody([&] {
    batch = kb.c(0);
    Value runs = kb.dim(3, 0), shareCount = all();
    auto enter = [&](Value r) {
      run = r;
      firstToken = loadInteger(2, {r});
      Value length = kb.sub(loadInteger(2, {kb.add(r, 1)}), firstToken);
      begin = origin = loadInteger(3, {r});
      end = kb.add(begin, length);
      table = kb.address(4, {r});
      Value spans = kb.sub(kb.ceilDiv(end, tokens), kb.div(begin, tokens));
      return kb.select(kb.lt(length, kLeastTokens), kb.c(0),
                       kb.mul(spans, kb.dim(0, 2)));
    };
    Value items =
        kb.forLoop(kb.c(0), runs, kb.c(1), ValueRange{kb.c(0)},
                   [&](Value r, ValueRange carried) {
                     return SmallVector<Value>{kb.add(carried[0], enter(r))};
                   })[0];
    kb.forUnits([&](Value unit) {
      Value from = kb.div(kb.mul(unit, items), shareCount);
      Value to = kb.div(kb.mul(kb.add(unit, 1), items), shareCount);
      kb.forLoop(kb.c(0), runs, kb.c(1), ValueRange{kb.c(0)},
                 [&](Value r, ValueRange carried) {
                   Value count = enter(r);
                   Value first =
                       clamp(kb.sub(from, carried[0]), kb.c(0), count);
                   Value last = clamp(kb.sub(to, carried[0]), kb.c(0), count);
                   kb.forLoop(first, last, kb.c(1), [&](Value item) {
                     head = kb.rem(item, kb.dim(0, 2));
                     keyHead = kb.div(head, kb.div(kb.dim(0, 2), kb.dim(1, 1)));
                     firstGroup = kb.mul(kb.add(kb.div(begin, tokens),
                                                kb.div(item, kb.dim(0, 2))),
                                         unitGroups);
                     keyCount = keyEnd = end;
                     emitUnit();
                   });
                   return SmallVector<Value>{kb.add(carried[0], count)};
                 });
    });
  });
}

void BlockSelector::emitUnit() {
  auto lane = [&](Value position) {
    return clamp(kb.sub(kb.div(position, spec.stride), firstGroup), kb.c(0),
                 kb.c(unitGroups));
  };
  low = lane(begin);
  high = lane(kb.add(end, spec.stride - 1));
  allBlocks = kb.ceilDiv(keyCount, spec.block);
  blocks = kb.min(allBlocks, spec.blocks);
  threshold = kb.load(kb.f32(), kb.address(spec.thresholdsOperand(), {head}));
  Value isOne = arith::CmpFOp::create(kb, arith::CmpFPredicate::OGE, threshold,
                                      number(1));
  if (!spec.causal)
    isOne =
        arith::OrIOp::create(kb, isOne, kb.lt(kb.c(spec.blocks), allBlocks));
  keepsAll = isOne;
  kb.ifThen(isBoth(kb.lt(low, high), kb.lt(kb.c(0), allBlocks)), [&] {
    kb.ifElse(keepsAll, [] {}, [&] { emitShares(); });
    kb.forLoop(kb.div(low, groups), kb.ceilDiv(high, groups), kb.c(1),
               [&](Value row) { emitRow(row); });
  });
}

//===----------------------------------------------------------------------===//
// Entry
//===----------------------------------------------------------------------===//

static LogicalResult verifyLayout(KernelBuilder &kb,
                                  const SelectBlocksSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "block selection kernel: " << why;
  };
  if (kb.layout().operands.size() != spec.resultOperand() + 1)
    return fail("expects queries, keys, thresholds, what else is specified, "
                "and lists");
  for (unsigned i : {0u, 1u}) {
    const OperandLayout &operand = kb.operand(i);
    Type type = operand.elementType;
    bool isPool = i == 1 && spec.isPaged;
    if (operand.shape.size() != 4 || operand.strides[3] != 1 ||
        !(type.isF32() || type.isF16() || type.isBF16()) ||
        ShapedType::isDynamic(operand.shape[isPool ? 1 : 2]) ||
        operand.shape[isPool ? 2 : 3] != kb.operand(0).shape[3] ||
        ShapedType::isDynamic(kb.operand(0).shape[3]) ||
        (isPool && (operand.shape[3] != kListedPage ||
                    operand.strides[2] != kListedPage)))
      return fail("expects queries and keys of floats with static heads and "
                  "size");
  }
  const OperandLayout &lists = kb.operand(spec.resultOperand());
  if (!lists.elementType.isInteger(32) || lists.strides.back() != 1 ||
      !kb.operand(spec.thresholdsOperand()).elementType.isF32())
    return fail("expects thresholds of f32 and adjacent lists of i32");
  if (spec.isPaged)
    for (unsigned i : {2u, 3u, 4u})
      if (!kb.operand(i).elementType.isInteger(32) ||
          kb.operand(i).strides.back() != 1)
        return fail("expects runs, contexts and page tables as adjacent i32");
  if (spec.isPaged && (spec.block != kListedPage || !spec.causal))
    return fail("expects blocks that are pages, and causal runs");
  if (spec.hasMask &&
      !kb.operand(spec.maskOperand()).elementType.isInteger(1) &&
      !kb.operand(spec.maskOperand()).elementType.isInteger(8))
    return fail("expects a mask of bools");
  return success();
}

LogicalResult ferrite::cpu::emitSelectBlocks(KernelBuilder &kb,
                                             const SelectBlocksSpec &spec) {
  if (failed(verifyLayout(kb, spec)))
    return failure();
  BlockSelector selector(kb, spec);
  if (!selector.fits())
    return mlir::emitError(kb.getLoc())
           << "block selection kernel: no panels of this level divide a unit";
  selector.emit();
  return success();
}
