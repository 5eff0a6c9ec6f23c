//===- EmitPackKeys.cpp - Keys and values where block lists find them -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Of each head the panels of all keys, then all rows of values, as the
// attention kernel keeps 512 of them in scratch:
//
//   [keys + 64][alignTo(D, 16)]      panels, which need less
//   [keys + 64][alignTo(Dv, 16)]     rows (pairs of rows with bf16 dots)
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionPack.h"
#include "passes/Codegen/CPU/EmitAttention.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
class Packer {
public:
  explicit Packer(KernelBuilder &kb)
      : kb(kb), storage(kb.operand(0).elementType),
        depth(kb.operand(0).shape[3]), valueDepth(kb.operand(1).shape[3]),
        lanes(kb.lanes()),
        dots(storage.isBF16() && kb.use(Instruction::DotBF16)) {}

  void emitUnit(Value unit, Value groups) {
    // Head by head of the same tokens: those lie side by side.
    SmallVector<Value> at =
        kb.delinearize(unit, {kb.dim(0, 0), groups, kb.dim(0, 2)});
    Value first = kb.mul(at[1], kPackedRows);
    Value keys = kb.min(kb.sub(kb.dim(0, 1), first), kPackedRows);
    Value base = kb.address(2, {at[0], at[2]});
    packKeys(base, kb.address(0, {at[0], first, at[2]}), first, keys);
    Value values = kb.gep(base, kb.f32(),
                          kb.mul(kb.add(kb.dim(0, 1), kPackedRows),
                                 int64_t(llvm::alignTo(depth, 16))));
    packValues(values, kb.address(1, {at[0], first, at[2]}), first, keys);
  }

private:
  void packKeys(Value base, Value source, Value first, Value keys) {
    int64_t steps = dots ? llvm::divideCeil(depth, 2) : depth;
    KeyPanels panels{base, int64_t(kb.level().columns) * lanes, steps, dots};
    int64_t padded = panels.paddedDepth(), width = panels.width;
    panels.base = kb.gep(base, kb.f32(), kb.mul(first, padded));
    emitPackKeys(kb, panels, source, storage, kb.stride(0, 1), depth, keys);
    // Columns behind the last key: a score of NaN is not dropped by -inf.
    Value behind = kb.mul(kb.ceilDiv(keys, lanes), lanes);
    kb.forLoop(behind, kb.c(kPackedRows), kb.c(lanes), [&](Value key) {
      Value to = kb.gep(panels.base, kb.f32(),
                        kb.add(kb.mul(kb.div(key, width), width * padded),
                               kb.rem(key, width)));
      kb.forLoop(kb.c(0), kb.c(padded), kb.c(1), [&](Value step) {
        kb.store(kb.splat(0), kb.gep(to, kb.f32(), kb.mul(step, width)), 4);
      });
    });
  }

  void packValues(Value base, Value source, Value first, Value keys) {
    int64_t stride = llvm::alignTo(valueDepth, lanes);
    auto row = [&](Value key) {
      return kb.gep(source, storage, kb.mul(key, kb.stride(1, 1)));
    };
    auto ahead = [&](Value key) {
      emitPrefetchRow(kb, row(kb.add(key, kRowsAhead)), storage, valueDepth);
    };
    auto place = [&](Value at) {
      return kb.gep(base, kb.f32(), kb.mul(at, stride));
    };
    if (dots)
      kb.forLoop(kb.c(0), keys, kb.c(2), [&](Value key) {
        Value next = kb.add(key, 1);
        ahead(key);
        ahead(next);
        emitPairRows(kb, place(kb.div(kb.add(first, key), 2)), row(key),
                     row(kb.min(next, kb.sub(keys, 1))), kb.lt(next, keys),
                     valueDepth);
      });
    else
      kb.forLoop(kb.c(0), keys, kb.c(1), [&](Value key) {
        ahead(key);
        emitCopyRow(kb, place(kb.add(first, key)), row(key), storage,
                    valueDepth);
      });
  }

  KernelBuilder &kb;
  Type storage;
  int64_t depth, valueDepth, lanes;
  bool dots;
};
} // namespace

LogicalResult ferrite::cpu::emitPackKeysKernel(KernelBuilder &kb) {
  auto fail = [&] {
    return mlir::emitError(kb.getLoc())
           << "packing kernel: expects keys and values of one type of floats, "
              "of rank 4 with a static innermost size of stride 1, and panels "
              "of f32";
  };
  if (kb.layout().operands.size() != 3)
    return fail();
  for (unsigned i : {0u, 1u, 2u}) {
    const OperandLayout &operand = kb.operand(i);
    Type type = operand.elementType;
    if (operand.shape.size() != 4 || ShapedType::isDynamic(operand.shape[3]) ||
        operand.strides[3] != 1 ||
        (i == 2 ? !type.isF32()
                : type != kb.operand(0).elementType ||
                      !(type.isF32() || type.isF16() || type.isBF16())))
      return fail();
  }
  Packer packer(kb);
  auto groups = [&] { return kb.ceilDiv(kb.dim(0, 1), kPackedRows); };
  kb.defineUnits(
      [&] { return kb.mul(kb.mul(kb.dim(0, 0), kb.dim(0, 2)), groups()); });
  kb.defineBody([&] {
    Value count = groups();
    kb.forUnits([&](Value unit) { packer.emitUnit(unit, count); });
  });
  return success();
}
