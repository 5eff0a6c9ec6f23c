//===- EmitSoftmax.cpp - Softmax of rows ----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Three passes over a row: maximum, weights and their sum, division. The
// weights wait in the result when it holds f32; otherwise they are computed
// again, because a row has any length and a second rounding is not allowed.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitSoftmax.h"

#include "passes/Codegen/CPU/RowKernel.h"
#include "passes/Codegen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kLog2e = 1.4426950408889634;
static constexpr double kInf = std::numeric_limits<double>::infinity();

static bool isBroadcastInside(const OperandLayout &operand) {
  return operand.strides.back() == 0 || operand.shape.back() == 1;
}

static void emitSoftmaxRow(KernelBuilder &kb, const SoftmaxSpec &spec,
                           ValueRange indices) {
  unsigned result = 1 + spec.hasAddend;
  auto type = [&](unsigned i) { return kb.operand(i).elementType; };
  Value count = kb.dim(0, kb.rank(0) - 1);
  Value x = rowPointer(kb, 0, indices);
  Value to = rowPointer(kb, result, indices);
  Value added, addedToAll;
  if (spec.hasAddend) {
    added = rowPointer(kb, 1, indices);
    if (isBroadcastInside(kb.operand(1)))
      addedToAll = kb.broadcast(kb.loadScalarF32(added, type(1)));
  }
  auto score = [&](Value at, Value mask) {
    Value s = kb.loadF32(kb.gep(x, type(0), at), type(0), mask);
    if (!spec.hasAddend)
      return spec.scale == 1 ? s : kb.mulF(s, kb.splat(spec.scale));
    Value addend = addedToAll
                       ? addedToAll
                       : kb.loadF32(kb.gep(added, type(1), at), type(1), mask);
    return spec.scale == 1 ? kb.addF(s, addend)
                           : kb.fma(s, kb.splat(spec.scale), addend);
  };

  auto larger = [&](Value a, Value b) { return kb.maxF(b, a); };
  Value highest = kb.broadcast(kb.reduceMax(
      reduceRow(kb, count, kb.splat(-kInf), score, larger, larger)));
  if (spec.zeroFullyMasked) {
    // Against 0 a row of -inf has weights 0 instead of NaN.
    Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, highest,
                                       kb.splat(-kInf));
    highest = kb.select(none, kb.splat(0), highest);
  }
  auto weight = [&](Value at, Value mask) {
    // Subtracted before it is scaled: a fill near -3.4e38 would overflow.
    Value t = kb.mulF(kb.subF(score(at, mask), highest), kb.splat(kLog2e));
    return emitSoftmaxExp2(kb, kb.getLoc(), t, kb.level().isAvx512());
  };
  bool keep = type(result).isF32();
  Value sum = sumRow(kb, count, [&](Value at, Value mask) {
    Value w = weight(at, mask);
    if (keep)
      kb.storeMasked(w, kb.gep(to, kb.f32(), at), mask);
    return w;
  });
  Value inverse = kb.divF(kb.cf(1), sum);
  if (spec.zeroFullyMasked) {
    Value none =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, sum, kb.cf(0));
    inverse = kb.select(none, kb.cf(0), inverse);
  }
  inverse = kb.broadcast(inverse);
  kb.forVectors(count, [&](Value at, Value mask) {
    Value place = kb.gep(to, type(result), at);
    Value w = keep ? kb.loadMasked(kb.vec(), place, mask) : weight(at, mask);
    kb.storeF32(kb.mulF(w, inverse), place, type(result), mask);
  });
}

LogicalResult ferrite::cpu::emitSoftmax(KernelBuilder &kb,
                                        const SoftmaxSpec &spec) {
  unsigned result = 1 + spec.hasAddend;
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "softmax kernel: " << why;
  };
  if (kb.layout().operands.size() != result + 1)
    return fail("expects x, the addend if announced, result");
  for (unsigned i = 0; i <= result; ++i) {
    const OperandLayout &operand = kb.operand(i);
    bool addend = i != 0 && i != result;
    if (operand.shape.empty() || !isFloatStorage(operand.elementType))
      return fail("expects floats of rank 1 or more");
    if (operand.strides.back() != 1 && !(addend && isBroadcastInside(operand)))
      return fail("expects innermost strides of 1");
    if (operand.shape.size() > kb.rank(result))
      return fail("expects no rank above the result's");
  }
  defineRows(kb, result,
             [&](ValueRange indices) { emitSoftmaxRow(kb, spec, indices); });
  return success();
}
