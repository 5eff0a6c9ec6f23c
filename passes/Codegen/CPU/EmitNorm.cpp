//===- EmitNorm.cpp - Layer and rms normalization of rows -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitNorm.h"

using namespace mlir;
using namespace ferrite::cpu;

LogicalResult ferrite::cpu::emitNorm(KernelBuilder &kb, const NormSpec &spec) {
  unsigned bias = 2, residual = 2 + spec.hasBias;
  unsigned after = residual + spec.hasResidual, result = after + spec.hasAfter;
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "norm kernel: " << why;
  };
  if (kb.layout().operands.size() != result + 1)
    return fail("expects x, weight, bias and residuals as announced, result");
  for (const OperandLayout &operand : kb.layout().operands)
    if (operand.shape.empty() || operand.strides.back() != 1 ||
        !isFloatStorage(operand.elementType))
      return fail("expects floats of rank 1 or more and innermost stride 1");

  // A row that takes work to load waits in scratch for the later passes.
  int64_t width = kb.operand(0).shape.back();
  bool buffered = !ShapedType::isDynamic(width) &&
                  (spec.hasResidual || !kb.operand(0).elementType.isF32());
  if (buffered)
    kb.requireScratch(llvm::alignTo(width, kb.lanes()) * 4);

  defineRows(kb, result, [&](ValueRange indices) {
    auto type = [&](unsigned i) { return kb.operand(i).elementType; };
    Value x = rowPointer(kb, 0, indices);
    Value added =
        spec.hasResidual ? rowPointer(kb, residual, indices) : Value();
    auto load = [&](Value at, Value mask) {
      Value row = kb.loadF32(kb.gep(x, type(0), at), type(0), mask);
      if (!added)
        return row;
      Type storage = type(residual);
      return kb.addF(row,
                     kb.loadF32(kb.gep(added, storage, at), storage, mask));
    };
    NormRow norm{spec.kind,
                 spec.epsilon,
                 kb.dim(0, kb.rank(0) - 1),
                 load,
                 buffered ? kb.scratch() : Value(),
                 kb.ptr(1),
                 spec.hasBias ? kb.ptr(bias) : Value(),
                 type(1),
                 spec.hasBias ? type(bias) : Type(),
                 rowPointer(kb, result, indices),
                 type(result),
                 spec.hasAfter ? rowPointer(kb, after, indices) : Value(),
                 spec.hasAfter ? type(after) : Type()};
    emitNormRow(kb, norm);
  });
  return success();
}
