//===- EmitAttention.cpp - Attention without a score matrix ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Units, blocks of keys and addends; the header of AttentionEmitter.h has the
// whole picture.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitAttention.h"

#include "passes/Codegen/CPU/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kInf = std::numeric_limits<double>::infinity();

/// The number of chunks and the queries of each, as even as may be. Each chunk
/// packs all keys once more, which long sequences would do too often; short
/// ones give more units of half the size.
static std::pair<Value, Value> chunks(KernelBuilder &kb) {
  Value queries = kb.dim(0, 1);
  Value most =
      kb.select(kb.le(queries, kFewQueries), kb.c(kChunk / 2), kb.c(kChunk));
  Value count = kb.max(kb.ceilDiv(queries, most), 1);
  Value size = kb.mul(kb.ceilDiv(kb.ceilDiv(queries, count), 8), 8);
  return {count, size};
}

void AttentionEmitter::emit() {
  kb.requireScratch(plan.floats * 4);
  kb.defineUnits([&] {
    return kb.mul(kb.mul(kb.dim(0, 0), kb.dim(0, 2)), chunks(kb).first);
  });
  kb.defineBody([&] { kb.forUnits([&](Value unit) { emitUnit(unit); }); });
}

void AttentionEmitter::emitUnit(Value unit) {
  auto [count, size] = chunks(kb);
  SmallVector<Value> at =
      kb.delinearize(unit, {kb.dim(0, 0), kb.dim(0, 2), count});
  batch = at[0];
  head = at[1];
  keyHead = kb.div(head, kb.div(kb.dim(0, 2), kb.dim(1, 2)));
  firstQuery = kb.mul(at[2], size);
  // Rounding of the chunks may leave none for the last.
  queryCount = kb.max(kb.min(size, kb.sub(kb.dim(0, 1), firstQuery)), 0);
  keyCount = kb.dim(1, 1);

  Type storage = kb.operand(0).elementType;
  Value source = kb.address(0, {batch, firstQuery, head});
  kb.forLoop(kb.c(0), queryCount, kb.c(1), [&](Value row) {
    emitCopyRow(kb, place(plan.queries, row, plan.queryStride),
                kb.gep(source, storage, kb.mul(row, kb.stride(0, 1))), storage,
                depth);
    storeVec(kb.splat(-kInf), place(plan.maxima, row, lanes));
  });
  // The row that makes their number even.
  kb.forLoop(kb.c(0), kb.c(plan.queryStride), kb.c(lanes), [&](Value i) {
    storeVec(
        kb.splat(0),
        kb.gep(place(plan.queries, queryCount, plan.queryStride), kb.f32(), i));
  });
  kb.forLoop(kb.c(0), keyCount, kb.c(kBlock),
             [&](Value key) { emitBlock(key); });
}

void AttentionEmitter::emitBlock(Value first) {
  firstKey = first;
  blockKeys = kb.min(kb.sub(keyCount, first), kBlock);
  isFirst = kb.eq(first, 0);
  isLast = kb.le(keyCount, kb.add(first, kBlock));

  KeyPanels panels{place(plan.keys), int64_t(kb.level().columns) * lanes,
                   depth};
  emitPackKeys(kb, panels, kb.address(1, {batch, firstKey, keyHead}),
               kb.operand(1).elementType, kb.stride(1, 1), blockKeys);
  emitPackValues();
  emitKeyAddends();
  kb.forLoop(kb.c(0), queryCount, kb.c(kGroup), [&](Value group) {
    Value rows = kb.min(kb.sub(queryCount, group), kGroup);
    emitScores(group, rows);
    emitWeights(group, rows);
    emitOutput(group, rows);
  });
}

// Even rows that could be read in place: a row of a packed projection is a page
// of its own, and few of them fit the sets of L1.
void AttentionEmitter::emitPackValues() {
  Value source = kb.address(2, {batch, firstKey, keyHead});
  Type storage = kb.operand(2).elementType;
  kb.forLoop(kb.c(0), blockKeys, kb.c(1), [&](Value key) {
    emitCopyRow(kb, place(plan.values, key, plan.valueStride),
                kb.gep(source, storage, kb.mul(key, kb.stride(2, 1))), storage,
                valueDepth);
  });
}

void AttentionEmitter::forRows(Value rows, unsigned full,
                               function_ref<void(Value, unsigned)> tile) {
  Value whole = kb.sub(rows, kb.rem(rows, full));
  kb.forLoop(kb.c(0), whole, kb.c(full), [&](Value row) { tile(row, full); });
  kb.forLoop(whole, rows, kb.c(kTailRows),
             [&](Value row) { tile(row, kTailRows); });
}

//===----------------------------------------------------------------------===//
// Addends
//===----------------------------------------------------------------------===//

bool AttentionEmitter::sameForAllQueries(unsigned addend) {
  const OperandLayout &operand = kb.operand(3 + addend);
  return operand.shape.size() == 2 || isBroadcast(operand, 2);
}

Value AttentionEmitter::addendIndex(unsigned addend, unsigned d, Value index) {
  return isBroadcast(kb.operand(3 + addend), d) ? kb.c(0) : index;
}

Value AttentionEmitter::loadAddend(unsigned addend, Value query, Value key,
                                   Value mask) {
  unsigned i = 3 + addend;
  const OperandLayout &operand = kb.operand(i);
  SmallVector<Value> indices = {addendIndex(addend, 0, batch)};
  if (operand.shape.size() == 4) {
    indices.push_back(addendIndex(addend, 1, head));
    indices.push_back(addendIndex(addend, 2, query));
  }
  bool one = isBroadcast(operand, indices.size());
  indices.push_back(one ? kb.c(0) : kb.add(firstKey, key));
  Value pointer = kb.address(i, indices);
  if (spec.addends[addend].kind == AttentionAddend::Kind::Bias)
    return one ? kb.broadcast(kb.loadScalarF32(pointer, operand.elementType))
               : kb.loadF32(pointer, operand.elementType, mask);
  Type byte = kb.getI8Type();
  Value kept = one ? kb.broadcast(kb.load(byte, pointer))
                   : kb.loadMasked(kb.vec(byte), pointer, mask);
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(kb.vec(byte)));
  Value keeps = arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, kept, zero);
  return kb.select(keeps, kb.splat(0), kb.splat(spec.addends[addend].fill));
}

/// One row for the block: what does not depend on the query, and -inf behind
/// the last key.
void AttentionEmitter::emitKeyAddends() {
  kb.forLoop(kb.c(0), kb.c(kBlock), kb.c(lanes), [&](Value key) {
    Value mask = kb.tailMask(kb.max(kb.sub(blockKeys, key), 0));
    Value sum = kb.splat(0);
    for (unsigned i = 0; i < spec.addends.size(); ++i)
      if (sameForAllQueries(i))
        sum = kb.addF(sum, loadAddend(i, kb.c(0), key, mask));
    storeVec(kb.select(mask, sum, kb.splat(-kInf)),
             place(plan.keyAddends, key, 1));
  });
}

//===----------------------------------------------------------------------===//
// Entry
//===----------------------------------------------------------------------===//

int64_t ferrite::cpu::attentionScratchBytes(const KernelLayout &layout,
                                            const CpuLevel &level) {
  return 4 * ScratchPlan(layout.operands[0].shape[3],
                         layout.operands[2].shape[3], level.lanes)
                 .floats;
}

static LogicalResult verifyLayout(KernelBuilder &kb,
                                  const AttentionSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "attention kernel: " << why;
  };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  if (spec.left >= 0 || spec.right >= 0 || spec.softcap != 0 ||
      spec.hasOffsets || spec.hasLengths || spec.hasSinks)
    return fail("windows, softcap, lengths and sinks are not there yet");
  unsigned addends = spec.addends.size();
  if (kb.layout().operands.size() != 4 + addends)
    return fail("expects q, k, v, one operand per addend and the result");
  for (unsigned i : {0u, 1u, 2u, 3 + addends}) {
    const OperandLayout &operand = kb.operand(i);
    if (operand.shape.size() != 4 || !isFloat(operand.elementType) ||
        ShapedType::isDynamic(operand.shape[3]) || operand.strides[3] != 1)
      return fail("expects q, k, v and the result as floats of rank 4 with a "
                  "static innermost size of stride 1");
  }
  for (unsigned i = 0; i < addends; ++i) {
    const OperandLayout &operand = kb.operand(3 + i);
    unsigned rank = operand.shape.size();
    if (rank != 2 && rank != 4)
      return fail("expects addends of rank 2 or 4");
    if (operand.strides.back() != 1 && !isBroadcast(operand, rank - 1))
      return fail("expects addends of innermost stride 1 or 0");
    bool bias = spec.addends[i].kind == AttentionAddend::Kind::Bias;
    if (bias ? !isFloat(operand.elementType)
             : !operand.elementType.isInteger(8) &&
                   !operand.elementType.isInteger(1))
      return fail("expects a bias of floats, a mask of bools or bytes");
  }
  return success();
}

LogicalResult ferrite::cpu::emitAttention(KernelBuilder &kb,
                                          const AttentionSpec &spec) {
  if (failed(verifyLayout(kb, spec)))
    return failure();
  AttentionEmitter(kb, spec).emit();
  return success();
}
