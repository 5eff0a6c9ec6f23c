//===- AttentionAddends.cpp - Which keys a row sees, and what is added ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kInf = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Positions
//===----------------------------------------------------------------------===//

Value AttentionEmitter::loadPosition(unsigned operand) {
  Value loaded = kb.load(
      kb.operand(operand).elementType,
      kb.address(operand,
                 {isBroadcast(kb.operand(operand), 0) ? kb.c(0) : batch}));
  if (loaded.getType() != kb.i64())
    loaded = arith::ExtSIOp::create(kb, kb.i64(), loaded);
  return clamp(loaded, kb.c(-kFar), kb.c(kFar));
}

Value AttentionEmitter::queryOf(Value row) {
  return kb.add(firstQuery, kb.div(row, rowHeads));
}

Value AttentionEmitter::headOf(Value row) {
  return kb.add(firstHead, kb.rem(row, rowHeads));
}

Value AttentionEmitter::chunkBegin(Value position) {
  Value size = kb.c(std::min(spec.chunk, kFar));
  Value rest = arith::RemSIOp::create(kb, position, size);
  rest = kb.select(kb.lt(rest, 0), kb.add(rest, size), rest);
  return kb.sub(position, rest);
}

Value AttentionEmitter::windowBegin(Value query, Value origin) {
  Value position = kb.add(start, query), begin;
  if (spec.left >= 0)
    begin = kb.sub(position, std::min(spec.left, kFar));
  if (spec.chunk > 0) {
    Value chunk = chunkBegin(position);
    begin = begin ? kb.max(begin, chunk) : chunk;
  }
  return kb.sub(begin, origin);
}

Value AttentionEmitter::windowEnd(Value query, Value origin) {
  Value position = kb.add(start, query), end;
  if (spec.right >= 0)
    end = kb.add(position, std::min(spec.right, kFar) + 1);
  if (spec.chunk > 0) {
    Value chunk = kb.add(chunkBegin(position), std::min(spec.chunk, kFar));
    end = end ? kb.min(end, chunk) : chunk;
  }
  if (spec.hasPrefix)
    end = kb.max(end, prefixEnd);
  return kb.sub(end, origin);
}

Value AttentionEmitter::windowMask(Value row, Value key, Value exists) {
  if (!hasWindow())
    return {};
  // Positions within the block fit 32 bits once they are cut to it.
  Type i32 = kb.getI32Type();
  auto bound = [&](Value position) {
    Value cut = clamp(position, kb.c(0), kb.c(kBlock));
    return kb.broadcast(arith::TruncIOp::create(kb, i32, cut));
  };
  Value query = queryOf(row), mask;
  SmallVector<int32_t> counting;
  for (int32_t i = 0; i < lanes; ++i)
    counting.push_back(i);
  Value lane = arith::ConstantOp::create(kb, kb.getI32VectorAttr(counting));
  Value base = kb.broadcast(arith::TruncIOp::create(kb, i32, key));
  Value position = arith::AddIOp::create(kb, lane, base);
  auto isBefore = [&](Value end) -> Value {
    return arith::CmpIOp::create(kb, arith::CmpIPredicate::slt, position,
                                 bound(end));
  };
  auto both = [&](Value also) {
    mask = mask ? Value(arith::AndIOp::create(kb, mask, also)) : also;
  };
  if (spec.left >= 0 || spec.chunk > 0) {
    mask = arith::CmpIOp::create(kb, arith::CmpIPredicate::sge, position,
                                 bound(windowBegin(query, firstKey)));
    if (spec.anchors > 0) {
      Value anchors = kb.sub(kb.c(std::min(spec.anchors, kFar)), firstKey);
      mask = arith::OrIOp::create(kb, mask, isBefore(anchors));
    }
  }
  if (spec.right >= 0 || spec.chunk > 0)
    both(isBefore(windowEnd(query, firstKey)));
  if (spec.hasSegments)
    both(arith::CmpIOp::create(kb, arith::CmpIPredicate::eq,
                               keySegments(key, exists),
                               kb.broadcast(querySegment(query))));
  return mask;
}

//===----------------------------------------------------------------------===//
// Addends
//===----------------------------------------------------------------------===//

bool AttentionEmitter::sameForAllRows(unsigned addend) {
  const OperandLayout &operand = kb.operand(3 + addend);
  if (opened && spec.joined &&
      spec.addends[addend].kind == AttentionAddend::Kind::Keep)
    return false; // and the window's, of each row
  return operand.shape.size() == 2 ||
         (isBroadcast(operand, 2) &&
          (rowHeads == 1 || isBroadcast(operand, 1)));
}

Value AttentionEmitter::addendIndex(unsigned addend, unsigned d, Value index) {
  return isBroadcast(kb.operand(3 + addend), d) ? kb.c(0) : index;
}

Value AttentionEmitter::loadAddend(unsigned addend, Value query, Value head,
                                   Value key, Value mask, Value seen) {
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
  if (opened && spec.joined)
    keeps = arith::AndIOp::create(kb, keeps, seen);
  return kb.select(keeps, kb.splat(0), kb.splat(spec.addends[addend].fill));
}

/// One row for the block: what does not depend on the query, and -inf behind
/// the last key.
void AttentionEmitter::emitKeyAddends(Value from, Value to) {
  kb.forLoop(from, to, kb.c(lanes), [&](Value key) {
    Value mask = kb.tailMask(kb.max(kb.sub(blockKeys, key), 0));
    Value sum = kb.splat(0);
    for (unsigned i = 0; i < spec.addends.size(); ++i)
      if (sameForAllRows(i))
        sum =
            kb.addF(sum, loadAddend(i, kb.c(0), firstHead, key, mask, Value()));
    storeVec(kb.select(mask, sum, kb.splat(-kInf)),
             place(plan.keyAddends, key, 1));
  });
}
