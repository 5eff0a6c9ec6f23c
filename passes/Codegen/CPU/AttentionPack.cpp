//===- AttentionPack.cpp - Operands of attention into scratch -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Whatever stride and type the operands have, the products see f32 in scratch:
// K transposed, because a register of scores is a register of keys.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionPack.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Within each 128-bit quarter q of a and b, the element that `pick` names:
/// a's as 0..3 and b's as 4..7.
static Value shuffleQuarters(KernelBuilder &kb, Value a, Value b,
                             ArrayRef<int32_t> pick) {
  SmallVector<int32_t> mask;
  for (int32_t base = 0, lanes = kb.lanes(); base < lanes; base += 4)
    for (int32_t p : pick)
      mask.push_back(p < 4 ? base + p : lanes + base + p - 4);
  return LLVM::ShuffleVectorOp::create(kb, a, b, mask);
}

/// Whole quarters, a's first.
static Value shuffleWhole(KernelBuilder &kb, Value a, Value b,
                          ArrayRef<int32_t> quarters) {
  SmallVector<int32_t> mask;
  for (int32_t quarter : quarters)
    for (int32_t i = 0; i < 4; ++i)
      mask.push_back(quarter * 4 + i);
  return LLVM::ShuffleVectorOp::create(kb, a, b, mask);
}

SmallVector<Value> ferrite::cpu::emitTranspose(KernelBuilder &kb,
                                               ValueRange rows) {
  unsigned lanes = kb.lanes(), groups = lanes / 4;
  // Four rows at a time become 4x4 blocks, transposed: u[g][c] has in quarter q
  // the column 4q + c of rows 4g .. 4g+3. Each line is one instruction.
  SmallVector<SmallVector<Value, 4>, 4> u(groups);
  for (unsigned g = 0; g < groups; ++g) {
    Value r0 = rows[4 * g], r1 = rows[4 * g + 1], r2 = rows[4 * g + 2],
          r3 = rows[4 * g + 3];
    Value low01 = shuffleQuarters(kb, r0, r1, {0, 4, 1, 5});
    Value high01 = shuffleQuarters(kb, r0, r1, {2, 6, 3, 7});
    Value low23 = shuffleQuarters(kb, r2, r3, {0, 4, 1, 5});
    Value high23 = shuffleQuarters(kb, r2, r3, {2, 6, 3, 7});
    u[g] = {shuffleQuarters(kb, low01, low23, {0, 1, 4, 5}),
            shuffleQuarters(kb, low01, low23, {2, 3, 6, 7}),
            shuffleQuarters(kb, high01, high23, {0, 1, 4, 5}),
            shuffleQuarters(kb, high01, high23, {2, 3, 6, 7})};
  }
  SmallVector<Value> columns(lanes);
  for (unsigned c = 0; c < 4; ++c) {
    if (groups == 2) {
      columns[c] = shuffleWhole(kb, u[0][c], u[1][c], {0, 2});
      columns[4 + c] = shuffleWhole(kb, u[0][c], u[1][c], {1, 3});
      continue;
    }
    for (int32_t odd = 0; odd < 2; ++odd) {
      SmallVector<int32_t> pick = {odd, odd + 2, odd + 4, odd + 6};
      Value low = shuffleWhole(kb, u[0][c], u[1][c], pick);
      Value high = shuffleWhole(kb, u[2][c], u[3][c], pick);
      columns[4 * odd + c] = shuffleWhole(kb, low, high, {0, 2, 4, 6});
      columns[4 * (odd + 2) + c] = shuffleWhole(kb, low, high, {1, 3, 5, 7});
    }
  }
  return columns;
}

void ferrite::cpu::emitCopyRow(KernelBuilder &kb, Value to, Value from,
                               Type storage, int64_t count) {
  kb.forVectors(kb.c(count), [&](Value at, Value mask) {
    kb.store(kb.loadF32(kb.gep(from, storage, at), storage, mask),
             kb.gep(to, kb.f32(), at), 4);
  });
}

void ferrite::cpu::emitPackKeys(KernelBuilder &kb, const KeyPanels &panels,
                                Value source, Type storage, Value rowStride,
                                Value keys) {
  int64_t lanes = kb.lanes();
  int64_t width = panels.width, depth = panels.depth;
  kb.forLoop(kb.c(0), keys, kb.c(lanes), [&](Value key) {
    // Keys behind the last one repeat it: their scores are -inf whatever they
    // hold, as long as they are no NaN that the last key is not.
    SmallVector<Value> rows;
    for (int64_t i = 0; i < lanes; ++i) {
      Value row = kb.min(kb.add(key, i), kb.sub(keys, 1));
      rows.push_back(kb.gep(source, storage, kb.mul(row, rowStride)));
    }
    Value panel = kb.mul(kb.div(key, width), width * panels.paddedDepth());
    Value to = kb.gep(panels.base, kb.f32(), kb.add(panel, kb.rem(key, width)));
    // `count` of the depth from `d` on; lanes behind it are loaded as 0.
    auto block = [&](Value d, int64_t count) {
      Value mask = count < lanes ? kb.tailMask(kb.c(count)) : Value();
      SmallVector<Value> loaded;
      for (Value row : rows)
        loaded.push_back(kb.loadF32(kb.gep(row, storage, d), storage, mask));
      SmallVector<Value> columns = emitTranspose(kb, loaded);
      Value first = kb.gep(to, kb.f32(), kb.mul(d, width));
      int64_t stored = llvm::alignTo(count, panels.kDepthUnit);
      for (int64_t i = 0; i < stored; ++i)
        kb.store(columns[i], kb.gep(first, kb.f32(), i * width), 4);
    };
    int64_t whole = depth / lanes * lanes;
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes),
               [&](Value d) { block(d, lanes); });
    if (whole < depth)
      block(kb.c(whole), depth - whole);
  });
}
