//===- AttentionPack.cpp - Operands of attention into scratch -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Whatever stride and type the operands have, the products see f32 in scratch:
// K transposed, because a register of scores is a register of keys. For bf16
// dots the same happens to pairs: along the depth they are neighbours already,
// and 32 bits take the place of an f32; along the keys two rows of V are
// merged.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionPack.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// A register of pairs of bf16 as f32; of the first `count`, unless 0.
static Value loadPairs(KernelBuilder &kb, Value from, int64_t count) {
  unsigned lanes = 2 * kb.lanes();
  auto type = VectorType::get({int64_t(lanes)}, kb.getI16Type());
  Value mask = count ? kb.tailMask(kb.c(count), lanes) : Value();
  Value pairs = kb.loadMasked(type, from, mask, {}, 2);
  return kb.bitcast(pairs, kb.vec());
}

void ferrite::cpu::emitCopyShortRow(KernelBuilder &kb, Value to, Value from,
                                    int64_t count) {
  kb.forVectors(kb.c(count), [&](Value at, Value mask) {
    Type i16 = kb.getI16Type();
    kb.store(kb.loadMasked(kb.vec(i16), kb.gep(from, i16, at), mask),
             kb.gep(to, i16, at));
  });
}

void ferrite::cpu::emitPairRows(KernelBuilder &kb, Value to, Value low,
                                Value high, Value isHigh, int64_t count) {
  Type i16 = kb.getI16Type(), i32 = kb.getI32Type();
  kb.forVectors(kb.c(count), [&](Value at, Value mask) {
    auto load = [&](Value row) -> Value {
      return arith::ExtUIOp::create(
          kb, kb.vec(i32),
          kb.loadMasked(kb.vec(i16), kb.gep(row, i16, at), mask));
    };
    Value sixteen = arith::ConstantOp::create(kb, kb.getI32IntegerAttr(16));
    Value upper = arith::ShLIOp::create(kb, load(high), kb.broadcast(sixteen));
    Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(upper.getType()));
    upper = kb.select(isHigh, upper, zero);
    kb.store(arith::OrIOp::create(kb, load(low), upper), kb.gep(to, i32, at),
             4);
  });
}

void ferrite::cpu::emitCopyRow(KernelBuilder &kb, Value to, Value from,
                               Type storage, int64_t count) {
  kb.forVectors(kb.c(count), [&](Value at, Value mask) {
    kb.store(kb.loadF32(kb.gep(from, storage, at), storage, mask),
             kb.gep(to, kb.f32(), at), 4);
  });
}

void ferrite::cpu::emitPrefetchRow(KernelBuilder &kb, Value row, Type storage,
                                   int64_t count) {
  int64_t bytes = count * storage.getIntOrFloatBitWidth() / 8;
  for (int64_t line = 0; line < bytes; line += 64)
    kb.prefetch(kb.gep(row, kb.getI8Type(), line));
}

void ferrite::cpu::emitPackKeys(KernelBuilder &kb, const KeyPanels &panels,
                                Value source, Type storage, Value rowStride,
                                int64_t sourceDepth, Value keys) {
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
    kb.forLoop(kb.c(0), kb.c(lanes), kb.c(1), [&](Value i) {
      Value ahead = kb.add(kb.add(key, i), kRowsAhead);
      emitPrefetchRow(kb, kb.gep(source, storage, kb.mul(ahead, rowStride)),
                      storage, depth);
    });
    Value panel = kb.mul(kb.div(key, width), width * panels.paddedDepth());
    Value to = kb.gep(panels.base, kb.f32(), kb.add(panel, kb.rem(key, width)));
    // `count` of the depth from `d` on; lanes behind it are loaded as 0.
    auto block = [&](Value d, int64_t count, bool isRest) {
      Value mask = isRest ? kb.tailMask(kb.c(count)) : Value();
      SmallVector<Value> loaded;
      for (Value row : rows)
        loaded.push_back(
            panels.pairs ? loadPairs(kb, kb.gep(row, storage, kb.mul(d, 2)),
                                     isRest ? sourceDepth % (2 * lanes) : 0)
                         : kb.loadF32(kb.gep(row, storage, d), storage, mask));
      SmallVector<Value> columns = transposeRegisters(kb, loaded);
      Value first = kb.gep(to, kb.f32(), kb.mul(d, width));
      int64_t stored = llvm::alignTo(count, panels.kDepthUnit);
      for (int64_t i = 0; i < stored; ++i)
        kb.store(columns[i], kb.gep(first, kb.f32(), i * width), 4);
    };
    // A last odd value has no partner, so its block is a rest.
    int64_t whole = (panels.pairs ? sourceDepth / 2 : depth) / lanes * lanes;
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes),
               [&](Value d) { block(d, lanes, /*isRest=*/false); });
    if (whole < depth)
      block(kb.c(whole), depth - whole, /*isRest=*/true);
  });
}
