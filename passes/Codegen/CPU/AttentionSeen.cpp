//===- AttentionSeen.cpp - Which keys of a block a group of rows sees -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Distances, chunks and anchors are arithmetic on positions. Segments and masks
// are data: one look at them, a byte or an integer for each key, finds the
// panels at both ends of a block that no row of the group sees, where each
// would take two products as deep as a head. What lies between the ends is
// computed.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

// Of masks: e^-10000 is 0, as the op's text says.
static constexpr float kDrops = -1e4f;

//===----------------------------------------------------------------------===//
// What may be left out
//===----------------------------------------------------------------------===//

bool AttentionEmitter::cutsMask(unsigned addend) {
  const AttentionAddend &a = spec.addends[addend];
  unsigned i = 3 + addend;
  return a.kind == AttentionAddend::Kind::Keep && a.fill <= kDrops &&
         !(opened && std::isfinite(a.fill)) &&
         !isBroadcast(kb.operand(i), kb.rank(i) - 1);
}

bool AttentionEmitter::cutsSegments() const {
  return spec.hasSegments && cutsWindow();
}

bool AttentionEmitter::cutsAny() {
  bool any = cutsLeft() || cutsRight() || cutsSegments();
  for (unsigned i = 0; i < spec.addends.size(); ++i)
    any |= cutsMask(i);
  return any;
}

/// A mask of a finite fill that is the same for all rows of a unit, and nothing
/// else that drops keys: either it keeps one for all rows, or none.
bool AttentionEmitter::keepsOneForAll() {
  return !hasWindow() && spec.addends.size() == 1 && sameForAllRows(0);
}

std::optional<float> AttentionEmitter::redoneBelow() {
  std::optional<float> highest;
  auto add = [&](float fill) {
    if (std::isfinite(fill))
      highest = std::max(fill, highest.value_or(fill));
  };
  if (hasWindow())
    add(spec.windowFill);
  for (unsigned i = 0; i < spec.addends.size(); ++i)
    if (cutsMask(i) && !keepsOneForAll())
      add(spec.addends[i].fill);
  return highest ? std::optional<float>(*highest / 2) : std::nullopt;
}

void AttentionEmitter::emitAllDropped() {
  allDropped = {};
  if (spec.addends.empty() || !cutsMask(0) || !keepsOneForAll() ||
      !std::isfinite(spec.addends[0].fill))
    return;
  Value row = maskRow(0, kb.c(0), firstHead);
  Type byte = kb.getI8Type();
  Value whole = kb.sub(keyEnd, kb.rem(keyEnd, lanes));
  auto any = [&](Value key, Value before, Type type) {
    Value kept = kb.load(type, kb.gep(row, byte, key));
    return SmallVector<Value>{arith::OrIOp::create(kb, before, isAnySet(kept))};
  };
  Value none = kb.eq(kb.c(0), kb.c(1));
  Value found = kb.forLoop(kb.c(0), whole, kb.c(lanes), ValueRange{none},
                           [&](Value key, ValueRange carried) {
                             return any(key, carried[0], kb.vec(byte));
                           })[0];
  found = kb.forLoop(whole, keyEnd, kb.c(1), ValueRange{found},
                     [&](Value key, ValueRange carried) {
                       return any(key, carried[0], byte);
                     })[0];
  allDropped = kb.select(found, none, kb.eq(kb.c(0), kb.c(0)));
}

//===----------------------------------------------------------------------===//
// Masks and segments
//===----------------------------------------------------------------------===//

/// Whether a byte, or one of a register of bytes, is not 0.
Value AttentionEmitter::isAnySet(Value bytes) {
  Type type = bytes.getType();
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(type));
  Value set = arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, bytes, zero);
  return isAnyLane(set);
}

Value AttentionEmitter::isAnyLane(Value lanesSet) {
  auto vector = dyn_cast<VectorType>(lanesSet.getType());
  if (!vector)
    return lanesSet;
  Type bits = kb.getIntegerType(vector.getNumElements());
  Value packed = LLVM::BitcastOp::create(kb, bits, lanesSet);
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(bits));
  return arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, packed, zero);
}

/// Where the mask's row of a query and head begins.
Value AttentionEmitter::maskRow(unsigned addend, Value query, Value head) {
  SmallVector<Value> indices = {addendIndex(addend, 0, batch)};
  if (kb.rank(3 + addend) == 4) {
    indices.push_back(addendIndex(addend, 1, head));
    indices.push_back(addendIndex(addend, 2, query));
  }
  indices.push_back(kb.c(0));
  return kb.address(3 + addend, indices);
}

/// Whether the mask keeps one of `count` keys of the block from `key` on for a
/// query and a head of the group.
Value AttentionEmitter::isKept(unsigned addend, const Group &group, Value key,
                               int64_t count) {
  unsigned i = 3 + addend;
  bool full = kb.rank(i) == 4;
  Type byte = kb.getI8Type(), type = kb.vec(byte);
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(type));
  auto kept = [&](Value query, Value head, Value before) {
    Value row =
        kb.gep(maskRow(addend, query, head), byte, kb.add(firstKey, key));
    for (int64_t at = 0; at < count; at += lanes)
      before = arith::OrIOp::create(kb, before,
                                    kb.load(type, kb.gep(row, byte, at)));
    return before;
  };
  int64_t heads = full && !isBroadcast(kb.operand(i), 1) ? rowHeads : 1;
  if (!full || isBroadcast(kb.operand(i), 2)) {
    Value all = zero;
    for (int64_t head = 0; head < heads; ++head)
      all = kept(kb.c(0), kb.add(firstHead, head), all);
    return isAnySet(all);
  }
  Value last = queryOf(kb.add(group.first, kb.sub(group.count, 1)));
  Value all =
      kb.forLoop(queryOf(group.first), kb.add(last, 1), kb.c(1),
                 ValueRange{zero}, [&](Value query, ValueRange carried) {
                   Value any = carried[0];
                   for (int64_t head = 0; head < heads; ++head)
                     any = kept(query, kb.add(firstHead, head), any);
                   return SmallVector<Value>{any};
                 })[0];
  return isAnySet(all);
}

/// The segment of a query, or those of a register of keys.
Value AttentionEmitter::querySegment(Value query) {
  unsigned i = spec.querySegmentsOperand();
  return kb.load(kb.operand(i).elementType, kb.address(i, {batch, query}));
}

Value AttentionEmitter::keySegments(Value key, Value mask) {
  unsigned i = spec.keySegmentsOperand();
  return kb.loadMasked(kb.vec(kb.operand(i).elementType),
                       kb.address(i, {batch, kb.add(firstKey, key)}), mask);
}

/// The lowest and the highest segment of the group's queries.
std::pair<Value, Value> AttentionEmitter::segmentsOf(const Group &group) {
  Value first = queryOf(group.first),
        last = queryOf(kb.add(group.first, kb.sub(group.count, 1)));
  Value segment = querySegment(first);
  SmallVector<Value> ends = kb.forLoop(
      kb.add(first, 1), kb.add(last, 1), kb.c(1), ValueRange{segment, segment},
      [&](Value query, ValueRange carried) {
        Value next = querySegment(query);
        return SmallVector<Value>{arith::MinSIOp::create(kb, carried[0], next),
                                  arith::MaxSIOp::create(kb, carried[1], next)};
      });
  return {ends[0], ends[1]};
}

//===----------------------------------------------------------------------===//
// The keys of a group
//===----------------------------------------------------------------------===//

/// By position.
void AttentionEmitter::cutToWindow(Group &group) {
  group.lower = kb.c(0);
  group.upper = blockKeys;
  Value last = queryOf(kb.add(group.first, kb.sub(group.count, 1)));
  if (cutsLeft())
    group.lower =
        clamp(windowBegin(queryOf(group.first), firstKey), kb.c(0), blockKeys);
  if (cutsRight())
    group.upper = clamp(windowEnd(last, firstKey), kb.c(0), blockKeys);
  if (cutsLeft() && spec.anchors > 0) {
    Value anchors = kb.sub(kb.c(std::min(spec.anchors, kFar)), firstKey);
    anchors = clamp(anchors, kb.c(0), group.upper);
    Value some = kb.lt(kb.c(0), anchors);
    Value near = kb.lt(group.lower, group.upper);
    group.upper = kb.select(near, group.upper, anchors);
    group.lower = kb.select(some, kb.c(0), group.lower);
  }
}

/// By what is read, in panels of `width` keys.
void AttentionEmitter::cutToData(Group &group, int64_t width) {
  SmallVector<unsigned> masks;
  for (unsigned i = 0; i < spec.addends.size(); ++i)
    if (cutsMask(i))
      masks.push_back(i);
  if (masks.empty() && !cutsSegments())
    return;
  std::pair<Value, Value> segments;
  if (cutsSegments())
    segments = segmentsOf(group);
  auto isSeen = [&](Value key) {
    Value seen;
    auto both = [&](Value also) {
      seen = seen ? Value(arith::AndIOp::create(kb, seen, also)) : also;
    };
    for (unsigned mask : masks)
      both(isKept(mask, group, key, width));
    if (allDropped)
      seen = arith::OrIOp::create(kb, seen, allDropped);
    if (cutsSegments()) {
      Value any;
      for (int64_t at = 0; at < width; at += lanes) {
        Value of = keySegments(kb.add(key, at), Value());
        auto holds = [&](arith::CmpIPredicate predicate, Value bound) {
          return arith::CmpIOp::create(kb, predicate, of, kb.broadcast(bound));
        };
        Value in = arith::AndIOp::create(
            kb, holds(arith::CmpIPredicate::sge, segments.first),
            holds(arith::CmpIPredicate::sle, segments.second));
        any = any ? Value(arith::OrIOp::create(kb, any, in)) : in;
      }
      both(isAnyLane(any));
    }
    return seen;
  };
  auto scan = [&] {
    Value begin = kb.mul(kb.div(group.lower, width), width);
    return kb.forLoop(
        begin, group.upper, kb.c(width), ValueRange{group.upper, kb.c(0)},
        [&](Value key, ValueRange carried) {
          // The last panel may not be whole: a look at keys before it as well
          // finds too much at worst.
          Value at = kb.min(key, kb.sub(blockKeys, width));
          Value seen = isSeen(at);
          Value lower = kb.min(carried[0], kb.max(key, group.lower));
          Value upper = kb.min(kb.add(key, width), group.upper);
          return SmallVector<Value>{kb.select(seen, lower, carried[0]),
                                    kb.select(seen, upper, carried[1])};
        });
  };
  // A panel or less is not worth a look.
  SmallVector<Value> ends = kb.ifElse(
      kb.lt(kb.c(width), blockKeys), TypeRange{kb.i64(), kb.i64()}, scan,
      [&] { return SmallVector<Value>{group.lower, group.upper}; });
  group.lower = ends[0];
  group.upper = ends[1];
}

void AttentionEmitter::cutGroup(Group &group, int64_t width) {
  cutToWindow(group);
  cutToData(group, width);
  group.lower = kb.mul(kb.div(group.lower, width), width);
}
