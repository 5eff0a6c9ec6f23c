//===- EmitEmbedding.cpp - Sums of table rows, normalized or not ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitEmbedding.h"

#include "passes/Codegen/CPU/RowKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// The row of `table` that token (b, s) adds.
static Value tableRow(KernelBuilder &kb, const EmbeddingSource &source,
                      unsigned table, Value b, Value s) {
  Value rows = kb.dim(table, 0), row;
  if (source.ids < 0) {
    row = kb.add(s, source.offset);
  } else {
    unsigned i = source.ids;
    auto index = [&](unsigned d, Value v) {
      return kb.operand(i).shape[d] == 1 ? kb.c(0) : v;
    };
    Type type = kb.operand(i).elementType;
    row = kb.load(type, kb.address(i, {index(0, b), index(1, s)}));
    if (!type.isInteger(64))
      row = arith::ExtSIOp::create(kb, kb.i64(), row);
  }
  return kb.address(table, {kb.checkedIndex(row, rows)});
}

static LogicalResult verifyLayout(KernelBuilder &kb,
                                  const EmbeddingSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "embedding kernel: " << why;
  };
  unsigned tables = spec.sources.size();
  unsigned count = spec.idsCount + tables + (spec.hasNorm ? 2 : 0) + 1;
  if (tables == 0 || kb.layout().operands.size() != count)
    return fail("expects ids, tables, weight and bias as announced, result");
  for (const EmbeddingSource &source : spec.sources)
    if (source.ids >= int64_t(spec.idsCount))
      return fail("expects sources that name an operand of ids");
  for (unsigned i = 0; i < count; ++i) {
    const OperandLayout &operand = kb.operand(i);
    if (i < spec.idsCount) {
      if (operand.shape.size() != 2 || (!operand.elementType.isInteger(64) &&
                                        !operand.elementType.isInteger(32)))
        return fail("expects ids of rank 2 and type i64 or i32");
      continue;
    }
    unsigned rank = i < spec.idsCount + tables ? 2 : i + 1 < count ? 1 : 3;
    if (operand.shape.size() != rank || operand.strides.back() != 1 ||
        !isFloatStorage(operand.elementType))
      return fail("expects tables of rank 2, weight and bias of rank 1 and a "
                  "result of rank 3, of floats and innermost stride 1");
  }
  return success();
}

LogicalResult ferrite::cpu::emitEmbedding(KernelBuilder &kb,
                                          const EmbeddingSpec &spec) {
  if (failed(verifyLayout(kb, spec)))
    return failure();
  unsigned firstTable = spec.idsCount;
  unsigned weight = firstTable + spec.sources.size();
  unsigned result = weight + (spec.hasNorm ? 2 : 0);
  int64_t width = kb.operand(result).shape[2];
  // The sum of a static width waits in scratch for the norm.
  bool buffered = spec.hasNorm && !ShapedType::isDynamic(width);
  if (buffered)
    kb.requireScratch(llvm::alignTo(width, kb.lanes()) * 4);

  defineRows(kb, result, [&](ValueRange at) {
    auto type = [&](unsigned i) { return kb.operand(i).elementType; };
    SmallVector<Value> rows;
    for (auto [t, source] : llvm::enumerate(spec.sources))
      rows.push_back(tableRow(kb, source, firstTable + t, at[0], at[1]));
    auto load = [&](Value offset, Value mask) {
      Value sum;
      for (auto [t, row] : llvm::enumerate(rows)) {
        Type storage = type(firstTable + t);
        Value x = kb.loadF32(kb.gep(row, storage, offset), storage, mask);
        sum = sum ? kb.addF(sum, x) : x;
      }
      return sum;
    };
    Value count = kb.dim(result, 2), to = rowPointer(kb, result, at);
    if (!spec.hasNorm) {
      kb.forVectors(count, [&](Value offset, Value mask) {
        kb.storeF32(load(offset, mask), kb.gep(to, type(result), offset),
                    type(result), mask);
      });
      return;
    }
    NormRow norm{NormRow::Kind::Layer,
                 spec.epsilon,
                 count,
                 load,
                 buffered ? kb.scratch() : Value(),
                 kb.ptr(weight),
                 kb.ptr(weight + 1),
                 type(weight),
                 type(weight + 1),
                 to,
                 type(result)};
    emitNormRow(kb, norm);
  });
  return success();
}
