//===- EmitGather.cpp - Kernels that move elements by index ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A row is what is adjacent for one index. Rows are copied without masks: the
// last register of a row overlaps the one before, which writes the same bytes
// twice and works at every width on every level.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitGather.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

// Elements of a unit, and of a piece of a long row: some microseconds of
// copying.
static constexpr int64_t kUnitElements = 16384;

namespace {
class GatherEmitter {
public:
  GatherEmitter(KernelBuilder &kb, const GatherSpec &spec)
      : kb(kb), spec(spec), element(memoryType(kb.operand(kData).elementType)) {
  }
  LogicalResult emit();

private:
  enum { kData, kIndices, kResult };

  LogicalResult verify();
  LogicalResult error(const Twine &what) {
    return emitError(kb.getLoc(), "gather kernel: " + what);
  }
  /// Elements of a row, and how many rows there are.
  Value rowSize() { return kb.dim(kResult, kb.rank(kResult) - 1); }
  Value rowCount();
  /// Items of a row: itself, or its pieces.
  Value pieces() { return kb.ceilDiv(rowSize(), kUnitElements); }
  Value itemsPerUnit();
  bool isCutUp();

  /// The index at `offset` of the indices, made good for `size`.
  Value indexAt(Value offset, Value size);
  void copyRow(Value row, Value low, Value high);
  void gatherElements(Value row);
  void copy(Value to, Value from, Value count);

  KernelBuilder &kb;
  const GatherSpec &spec;
  Type element;
};
} // namespace

LogicalResult GatherEmitter::verify() {
  ArrayRef<OperandLayout> operands = kb.layout().operands;
  if (operands.size() != 3)
    return error("expects data, indices and a result");
  if (memoryType(operands[kResult].elementType) != element ||
      element.getIntOrFloatBitWidth() > 64)
    return error("expects one element type of at most 64 bits");
  Type index = valueType(operands[kIndices].elementType);
  if (!index.isInteger(32) && !index.isInteger(64))
    return error("expects indices of 32 or 64 bits");
  unsigned data = kb.rank(kData), indices = kb.rank(kIndices),
           result = kb.rank(kResult);
  bool ranks = false;
  switch (spec.kind) {
  case GatherKind::Slices:
    ranks = data == 3 && indices == 1 && result == 3;
    break;
  case GatherKind::Elements:
    return data && data == indices && data == result && spec.axis < data
               ? success()
               : error("expects operands of one rank above the axis");
  case GatherKind::Tuples:
    ranks = data > 1 && indices == 2 && result == 2 &&
            operands[kIndices].shape[1] == data - 1;
    break;
  }
  if (!ranks)
    return error("expects other ranks");
  for (unsigned i : {unsigned(kData), unsigned(kResult)})
    if (operands[i].strides.back() != 1 && operands[i].shape.back() != 1)
      return error("expects the elements of a row side by side");
  return success();
}

Value GatherEmitter::rowCount() {
  Value count = kb.c(1);
  for (unsigned d = 0; d + 1 < kb.rank(kResult); ++d)
    count = kb.mul(count, kb.dim(kResult, d));
  return count;
}

/// Rows of elements are never cut: each of theirs has an index of its own.
bool GatherEmitter::isCutUp() {
  int64_t size = kb.operand(kResult).shape.back();
  return spec.kind != GatherKind::Elements &&
         (ShapedType::isDynamic(size) || size > kUnitElements);
}

Value GatherEmitter::itemsPerUnit() {
  Value size = kb.max(kb.min(rowSize(), kUnitElements), 1);
  return kb.max(kb.div(kb.c(kUnitElements), size), 1);
}

Value GatherEmitter::indexAt(Value offset, Value size) {
  Type type = valueType(kb.operand(kIndices).elementType);
  Value index = kb.load(type, kb.gep(kb.ptr(kIndices), type, offset));
  if (!type.isInteger(64))
    index = arith::ExtSIOp::create(kb, kb.i64(), index);
  return kb.checkedIndex(index, size);
}

void GatherEmitter::copy(Value to, Value from, Value count) {
  int64_t lanes = kb.level().vectorBits() / element.getIntOrFloatBitWidth();
  auto move = [&](Value at, int64_t width) {
    Type type = withLanes(element, width);
    unsigned bytes = element.getIntOrFloatBitWidth() / 8;
    kb.store(kb.load(type, kb.gep(from, element, at), bytes),
             kb.gep(to, element, at), bytes);
  };
  std::optional<int64_t> known = KernelBuilder::constantOf(count);
  if (known && *known < lanes) {
    int64_t at = 0;
    for (int64_t width = lanes; width; width /= 2)
      for (; at + width <= *known; at += width)
        move(kb.c(at), width);
    return;
  }
  auto overlapping = [&] {
    Value four = kb.sub(count, kb.rem(count, 4 * lanes));
    Value whole = kb.sub(count, kb.rem(count, lanes));
    kb.forLoop(kb.c(0), four, kb.c(4 * lanes), [&](Value at) {
      for (int64_t u = 0; u < 4; ++u)
        move(kb.add(at, u * lanes), lanes);
    });
    if (!known || *known % (4 * lanes) >= lanes)
      kb.forLoop(four, whole, kb.c(lanes), [&](Value at) { move(at, lanes); });
    if (!known || *known % lanes)
      kb.ifThen(kb.lt(whole, count),
                [&] { move(kb.sub(count, lanes), lanes); });
  };
  if (known)
    return overlapping();
  kb.ifElse(kb.le(kb.c(lanes), count), overlapping, [&] {
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value at) { move(at, 1); });
  });
}

/// Elements [low, high) of a row of the result.
void GatherEmitter::copyRow(Value row, Value low, Value high) {
  Value from, to;
  if (spec.kind == GatherKind::Slices) {
    SmallVector<Value> at =
        kb.delinearize(row, {kb.dim(kResult, 0), kb.dim(kResult, 1)});
    Value index =
        indexAt(kb.mul(at[1], kb.stride(kIndices, 0)), kb.dim(kData, 1));
    from = kb.add(kb.mul(at[0], kb.stride(kData, 0)),
                  kb.mul(index, kb.stride(kData, 1)));
    to = kb.add(kb.mul(at[0], kb.stride(kResult, 0)),
                kb.mul(at[1], kb.stride(kResult, 1)));
  } else {
    from = kb.c(0);
    Value tuple = kb.mul(row, kb.stride(kIndices, 0));
    for (unsigned d = 0; d + 1 < kb.rank(kData); ++d) {
      Value offset = kb.add(tuple, kb.mul(kb.c(d), kb.stride(kIndices, 1)));
      from = kb.add(
          from, kb.mul(indexAt(offset, kb.dim(kData, d)), kb.stride(kData, d)));
    }
    to = kb.mul(row, kb.stride(kResult, 0));
  }
  copy(kb.gep(kb.ptr(kResult), element, kb.add(to, low)),
       kb.gep(kb.ptr(kData), element, kb.add(from, low)), kb.sub(high, low));
}

void GatherEmitter::gatherElements(Value row) {
  unsigned last = kb.rank(kResult) - 1;
  SmallVector<Value> sizes;
  for (unsigned d = 0; d < last; ++d)
    sizes.push_back(kb.dim(kResult, d));
  SmallVector<Value> at = kb.delinearize(row, sizes);
  auto start = [&](unsigned operand, bool skipAxis) {
    Value offset = kb.c(0);
    for (unsigned d = 0; d < last; ++d)
      if (!skipAxis || d != spec.axis)
        offset = kb.add(offset, kb.mul(at[d], kb.stride(operand, d)));
    return offset;
  };
  Value data = start(kData, true), indices = start(kIndices, false),
        result = start(kResult, false);
  kb.forLoop(kb.c(0), rowSize(), kb.c(1), [&](Value i) {
    auto move = [&](Value offset, unsigned operand) {
      return kb.add(offset, kb.mul(i, kb.stride(operand, last)));
    };
    Value index = indexAt(move(indices, kIndices), kb.dim(kData, spec.axis));
    Value from = spec.axis == last ? data : move(data, kData);
    from = kb.add(from, kb.mul(index, kb.stride(kData, spec.axis)));
    kb.store(kb.load(element, kb.gep(kb.ptr(kData), element, from)),
             kb.gep(kb.ptr(kResult), element, move(result, kResult)));
  });
}

LogicalResult GatherEmitter::emit() {
  if (failed(verify()))
    return failure();
  auto items = [&] {
    return isCutUp() ? kb.mul(rowCount(), pieces()) : rowCount();
  };
  kb.defineUnits([&] { return kb.ceilDiv(items(), itemsPerUnit()); });
  kb.defineBody([&] {
    Value perUnit = itemsPerUnit();
    Value last = kb.min(kb.mul(kb.end(), perUnit), items());
    kb.forLoop(kb.mul(kb.begin(), perUnit), last, kb.c(1), [&](Value item) {
      if (spec.kind == GatherKind::Elements)
        return gatherElements(item);
      if (!isCutUp())
        return copyRow(item, kb.c(0), rowSize());
      Value low = kb.mul(kb.rem(item, pieces()), kUnitElements);
      copyRow(kb.div(item, pieces()), low,
              kb.min(kb.add(low, kUnitElements), rowSize()));
    });
  });
  return success();
}

LogicalResult ferrite::cpu::emitGather(KernelBuilder &kb,
                                       const GatherSpec &spec) {
  return GatherEmitter(kb, spec).emit();
}
