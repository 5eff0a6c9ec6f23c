//===- AttentionEntry.cpp - What operands the attention kernel takes ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"

using namespace mlir;
using namespace ferrite::cpu;

static LogicalResult verifyLayout(KernelBuilder &kb,
                                  const AttentionSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "attention kernel: " << why;
  };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  unsigned addends = spec.addends.size(), last = spec.operands() - 1;
  if (kb.layout().operands.size() != spec.operands())
    return fail("expects q, k, v, one operand per addend, what else is "
                "specified, and the result");
  for (unsigned i : {0u, 1u, 2u, last}) {
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
  unsigned vectors = spec.block > 0 ? spec.blockRowsOperand() : last;
  if (spec.block > 0) {
    auto isList = [&](unsigned i) {
      const OperandLayout &list = kb.operand(i);
      return kb.rank(i) == 3 && list.elementType.isInteger(32) &&
             list.strides[2] == 1 && !ShapedType::isDynamic(list.shape[1]);
    };
    const OperandLayout &panels = kb.operand(spec.panelsOperand());
    int64_t lanes = kb.lanes(), width = kb.level().columns * lanes;
    if (!isList(spec.blockRowsOperand()) ||
        !isList(spec.blockColumnsOperand()) || panels.shape.size() != 4 ||
        !panels.elementType.isF32() || panels.strides[3] != 1 ||
        spec.block % 16 != 0 || spec.block > kBlock ||
        kb.operand(0).elementType != kb.operand(1).elementType ||
        kb.operand(0).elementType != kb.operand(2).elementType ||
        kPackedRows % width != 0 || 16 % lanes != 0 || spec.byteScores)
      return fail("expects block lists of rank 3, [.., layouts, ..], as 32 bit "
                  "integers, panels of f32, q, k and v of one type, scores "
                  "of floats, and blocks of a multiple of 16 up to 512");
  }
  for (unsigned i = 3 + addends; i < vectors; ++i) {
    if (spec.hasSegments && i >= spec.querySegmentsOperand()) {
      Type type = kb.operand(i).elementType;
      if (kb.rank(i) != 2 || (!type.isInteger(32) && !type.isInteger(64)) ||
          kb.operand(i).strides[1] != 1 ||
          type != kb.operand(vectors - 1).elementType)
        return fail("expects segments of rank 2 and innermost stride 1, as 32 "
                    "or 64 bit integers alike");
      continue;
    }
    bool sinks = spec.hasSinks && i == spec.sinksOperand();
    Type type = kb.operand(i).elementType;
    if (kb.rank(i) != 1 ||
        (sinks ? !isFloat(type) : !type.isInteger(32) && !type.isInteger(64)))
      return fail(
          "expects offsets, lengths and a prefix as 32 or 64 bit integers of "
          "rank 1, sinks as floats of rank 1");
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
