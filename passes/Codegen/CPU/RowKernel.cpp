//===- RowKernel.cpp - Kernels that work row by row -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/RowKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Enough independent chains that additions of latency 4 do not wait.
static constexpr int64_t kChains = 4;

void ferrite::cpu::defineRows(KernelBuilder &kb, unsigned shaped,
                              function_ref<void(ValueRange)> row) {
  auto sizes = [&] {
    SmallVector<Value> leading;
    for (unsigned d = 0; d + 1 < kb.rank(shaped); ++d)
      leading.push_back(kb.dim(shaped, d));
    return leading;
  };
  auto rowCount = [&](ValueRange leading) {
    Value count = kb.c(1);
    for (Value size : leading)
      count = kb.mul(count, size);
    return count;
  };
  kb.defineUnits([&] { return kb.ceilDiv(rowCount(sizes()), kRowsPerUnit); });
  kb.defineBody([&] {
    SmallVector<Value> leading = sizes();
    Value first = kb.mul(kb.begin(), kRowsPerUnit);
    Value last = kb.min(kb.mul(kb.end(), kRowsPerUnit), rowCount(leading));
    kb.forLoop(first, last, kb.c(1),
               [&](Value r) { row(kb.delinearize(r, leading)); });
  });
}

Value ferrite::cpu::rowPointer(KernelBuilder &kb, unsigned i,
                               ValueRange indices) {
  int64_t leading = int64_t(kb.rank(i)) - 1;
  SmallVector<Value> own;
  for (int64_t d = 0; d < leading; ++d) {
    bool broadcast = kb.operand(i).shape[d] == 1;
    own.push_back(broadcast ? kb.c(0) : indices[indices.size() - leading + d]);
  }
  return kb.address(i, own);
}

Value ferrite::cpu::reduceRow(KernelBuilder &kb, Value count, Value start,
                              LoadRow load,
                              function_ref<Value(Value, Value)> combine,
                              function_ref<Value(Value, Value)> join) {
  int64_t lanes = kb.lanes(), wide = kChains * lanes;
  SmallVector<Value> chains(kChains, start);
  Value inWide = kb.sub(count, kb.rem(count, wide));
  chains = kb.forLoop(
      kb.c(0), inWide, kb.c(wide), chains, [&](Value at, ValueRange carried) {
        SmallVector<Value> next(carried);
        for (int64_t i = 0; i < kChains; ++i)
          next[i] = combine(next[i], load(kb.add(at, i * lanes), Value()));
        return next;
      });
  Value inWhole = kb.sub(count, kb.rem(count, lanes));
  chains[0] = kb.forLoop(inWide, inWhole, kb.c(lanes), ValueRange{chains[0]},
                         [&](Value at, ValueRange carried) {
                           return SmallVector<Value>{
                               combine(carried[0], load(at, Value()))};
                         })[0];
  auto rest = [&] {
    Value mask = kb.tailMask(kb.sub(count, inWhole));
    return kb.select(mask, combine(chains[1], load(inWhole, mask)), chains[1]);
  };
  Value hasRest = kb.lt(inWhole, count);
  if (std::optional<int64_t> known = KernelBuilder::constantOf(count)) {
    if (*known % lanes != 0)
      chains[1] = rest();
  } else {
    chains[1] = kb.ifElse(
        hasRest, TypeRange{chains[1].getType()},
        [&] { return SmallVector<Value>{rest()}; },
        [&] { return SmallVector<Value>{chains[1]}; })[0];
  }
  return join(join(chains[0], chains[1]), join(chains[2], chains[3]));
}

Value ferrite::cpu::sumRow(KernelBuilder &kb, Value count, LoadRow load) {
  auto add = [&](Value a, Value b) { return kb.addF(a, b); };
  return kb.reduceAdd(reduceRow(kb, count, kb.splat(0), load, add, add));
}

void ferrite::cpu::emitNormRow(KernelBuilder &kb, const NormRow &norm) {
  bool centred = norm.kind == NormRow::Kind::Layer;
  Value size = arith::SIToFPOp::create(kb, kb.f32(), norm.count);
  // The first pass over the row, whichever it is, fills the buffer.
  bool filled = false;
  auto source = [&](Value at, Value mask) -> Value {
    if (norm.buffer && filled)
      return kb.load(kb.vec(), kb.gep(norm.buffer, kb.f32(), at), 4);
    Value x = norm.load(at, mask);
    if (norm.buffer)
      kb.store(x, kb.gep(norm.buffer, kb.f32(), at), 4);
    return x;
  };
  Value mean;
  if (centred) {
    mean = kb.broadcast(kb.divF(sumRow(kb, norm.count, source), size));
    filled = true;
  }
  auto centre = [&](Value at, Value mask) {
    Value x = source(at, mask);
    return centred ? kb.subF(x, mean) : x;
  };
  Value squares = kb.reduceAdd(reduceRow(
      kb, norm.count, kb.splat(0), centre,
      [&](Value sum, Value x) { return kb.fma(x, x, sum); },
      [&](Value a, Value b) { return kb.addF(a, b); }));
  filled = true;
  Value variance = kb.addF(kb.divF(squares, size), kb.cf(norm.epsilon));
  Value scale =
      kb.broadcast(kb.divF(kb.cf(1), math::SqrtOp::create(kb, variance)));
  kb.forVectors(norm.count, [&](Value at, Value mask) {
    Value y = kb.mulF(centre(at, mask), scale);
    Value w = kb.loadF32(kb.gep(norm.weight, norm.weightType, at),
                         norm.weightType, mask);
    y = norm.bias ? kb.fma(y, w,
                           kb.loadF32(kb.gep(norm.bias, norm.biasType, at),
                                      norm.biasType, mask))
                  : kb.mulF(y, w);
    if (norm.after)
      y = kb.addF(y, kb.loadF32(kb.gep(norm.after, norm.afterType, at),
                                norm.afterType, mask));
    kb.storeF32(y, kb.gep(norm.result, norm.resultType, at), norm.resultType,
                mask);
  });
}
