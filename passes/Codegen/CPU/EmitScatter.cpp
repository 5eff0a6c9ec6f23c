//===- EmitScatter.cpp - Kernels that write where indices say -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The work is cut along what no index chooses. Of tuples that is the slice: a
// unit takes a piece of the slice of every tuple. Of elements it is all dims
// but the axis.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitScatter.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Elements of a piece of a slice: a few KiB of each tuple.
static constexpr int64_t kPiece = 4096;

namespace {
class ScatterEmitter {
public:
  ScatterEmitter(KernelBuilder &kb, const ScatterSpec &spec)
      : kb(kb), spec(spec), storage(kb.operand(kResult).elementType),
        compute(wideType(storage)) {}
  LogicalResult emit();

private:
  enum { kData, kIndices, kUpdates, kResult };

  LogicalResult verify();
  LogicalResult error(const Twine &what) {
    return emitError(kb.getLoc(), "scatter kernel: " + what);
  }
  Value combine(Value old, Value update);
  /// Joins one element, or a register of them, of the updates to the result.
  void write(Value to, Value from, unsigned lanes);
  void writeRow(Value to, Value from, Value count);

  // Tuples.
  unsigned tuple() { return kb.operand(kIndices).shape[1]; }
  bool hasSlice() { return kb.rank(kUpdates) > 1; }
  Value rowSize();
  SmallVector<Value> rowDims();
  void scatterPiece(Value item);
  // Elements.
  SmallVector<Value> lineDims();
  void scatterLine(Value item);

  KernelBuilder &kb;
  const ScatterSpec &spec;
  Type storage, compute;
};
} // namespace

Value ferrite::cpu::positionAt(KernelBuilder &kb, unsigned indices,
                               Value offset, Value size) {
  Type type = valueType(kb.operand(indices).elementType);
  Value index = kb.load(type, kb.gep(kb.ptr(indices), type, offset));
  if (!type.isInteger(64))
    index = arith::ExtSIOp::create(kb, kb.i64(), index);
  return kb.checkedIndex(index, size);
}

LogicalResult ScatterEmitter::verify() {
  if (kb.layout().operands.size() != 4)
    return error("expects data, indices, updates and a result");
  if (kb.operand(kUpdates).elementType != storage)
    return error("expects updates of the result's type");
  Type index = valueType(kb.operand(kIndices).elementType);
  if (!index.isInteger(32) && !index.isInteger(64))
    return error("expects indices of 32 or 64 bits");
  if (storage.isInteger(1) && spec.combine != ScatterCombine::Replace)
    return error("bools are only replaced");
  unsigned rank = kb.rank(kResult);
  if (spec.kind == ScatterKind::Elements)
    return spec.axis < rank && kb.rank(kIndices) == rank &&
                   kb.rank(kUpdates) == rank
               ? success()
               : error("expects operands of one rank above the axis");
  if (kb.rank(kIndices) != 2 ||
      ShapedType::isDynamic(kb.operand(kIndices).shape[1]) || tuple() > rank ||
      kb.rank(kUpdates) != 1 + rank - tuple())
    return error("expects other ranks");
  return success();
}

Value ScatterEmitter::combine(Value old, Value update) {
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(old));
  switch (spec.combine) {
  case ScatterCombine::Replace:
    return update;
  case ScatterCombine::Sum:
    return isFloat ? Value(arith::AddFOp::create(kb, old, update))
                   : Value(arith::AddIOp::create(kb, old, update));
  case ScatterCombine::Prod:
    return isFloat ? Value(arith::MulFOp::create(kb, old, update))
                   : Value(arith::MulIOp::create(kb, old, update));
  case ScatterCombine::Max:
    return isFloat ? Value(arith::MaximumFOp::create(kb, old, update))
                   : Value(arith::MaxSIOp::create(kb, old, update));
  case ScatterCombine::Min:
    return isFloat ? Value(arith::MinimumFOp::create(kb, old, update))
                   : Value(arith::MinSIOp::create(kb, old, update));
  case ScatterCombine::MaxUnsigned:
    return arith::MaxUIOp::create(kb, old, update);
  case ScatterCombine::MinUnsigned:
    return arith::MinUIOp::create(kb, old, update);
  }
  llvm_unreachable("all kinds are covered");
}

void ScatterEmitter::write(Value to, Value from, unsigned lanes) {
  Type memory = memoryType(storage);
  if (spec.combine == ScatterCombine::Replace) {
    unsigned align = memory.getIntOrFloatBitWidth() / 8;
    kb.store(kb.load(withLanes(memory, lanes), from, align), to, align);
    return;
  }
  Value old = loadElements(kb, to, storage, compute, lanes);
  Value update = loadElements(kb, from, storage, compute, lanes);
  storeElements(kb, combine(old, update), to, storage);
}

/// `count` elements, of strides that the innermost dims have.
void ScatterEmitter::writeRow(Value to, Value from, Value count) {
  Type memory = memoryType(storage);
  Value toStride = kb.stride(kResult, kb.rank(kResult) - 1);
  Value fromStride = kb.stride(kUpdates, kb.rank(kUpdates) - 1);
  auto one = [&](Value at) {
    write(kb.gep(to, memory, kb.mul(at, toStride)),
          kb.gep(from, memory, kb.mul(at, fromStride)), 1);
  };
  if (KernelBuilder::constantOf(toStride) != 1 ||
      KernelBuilder::constantOf(fromStride) != 1)
    return kb.forLoop(kb.c(0), count, kb.c(1), one);
  int64_t lanes = kb.lanes();
  Value whole = kb.sub(count, kb.rem(count, lanes));
  kb.forLoop(kb.c(0), whole, kb.c(lanes), [&](Value at) {
    write(kb.gep(to, memory, at), kb.gep(from, memory, at), lanes);
  });
  kb.forLoop(whole, count, kb.c(1), one);
}

//===--- tuples -----------------------------------------------------------===//

Value ScatterEmitter::rowSize() {
  return hasSlice() ? kb.dim(kUpdates, kb.rank(kUpdates) - 1) : kb.c(1);
}

/// The dims of a slice before its rows.
SmallVector<Value> ScatterEmitter::rowDims() {
  SmallVector<Value> dims;
  for (unsigned d = 1; d + 1 < kb.rank(kUpdates); ++d)
    dims.push_back(kb.dim(kUpdates, d));
  return dims;
}

void ScatterEmitter::scatterPiece(Value item) {
  Type memory = memoryType(storage);
  Value size = rowSize(), pieces = kb.ceilDiv(size, kPiece);
  Value low = kb.mul(kb.rem(item, pieces), kPiece);
  Value count = kb.min(kb.sub(size, low), kPiece);
  SmallVector<Value> row = kb.delinearize(kb.div(item, pieces), rowDims());
  Value to = kb.c(0), from = kb.c(0);
  for (auto [d, at] : llvm::enumerate(row)) {
    to = kb.add(to, kb.mul(at, kb.stride(kResult, tuple() + d)));
    from = kb.add(from, kb.mul(at, kb.stride(kUpdates, 1 + d)));
  }
  if (hasSlice()) {
    to = kb.add(to, kb.mul(low, kb.stride(kResult, kb.rank(kResult) - 1)));
    from =
        kb.add(from, kb.mul(low, kb.stride(kUpdates, kb.rank(kUpdates) - 1)));
  }
  kb.forLoop(kb.c(0), kb.dim(kIndices, 0), kb.c(1), [&](Value j) {
    Value target = to;
    for (unsigned d = 0; d < tuple(); ++d) {
      Value offset = kb.add(kb.mul(j, kb.stride(kIndices, 0)),
                            kb.mul(kb.c(d), kb.stride(kIndices, 1)));
      target = kb.add(
          target, kb.mul(positionAt(kb, kIndices, offset, kb.dim(kResult, d)),
                         kb.stride(kResult, d)));
    }
    Value source = kb.add(from, kb.mul(j, kb.stride(kUpdates, 0)));
    target = kb.gep(kb.ptr(kResult), memory, target);
    source = kb.gep(kb.ptr(kUpdates), memory, source);
    if (hasSlice())
      writeRow(target, source, count);
    else
      write(target, source, 1);
  });
}

//===--- elements ---------------------------------------------------------===//

SmallVector<Value> ScatterEmitter::lineDims() {
  SmallVector<Value> dims;
  for (unsigned d = 0; d < kb.rank(kUpdates); ++d)
    if (d != spec.axis)
      dims.push_back(kb.dim(kUpdates, d));
  return dims;
}

void ScatterEmitter::scatterLine(Value item) {
  Type memory = memoryType(storage);
  SmallVector<Value> at = kb.delinearize(item, lineDims());
  Value start[4] = {};
  for (unsigned operand : {kIndices, kUpdates, kResult}) {
    start[operand] = kb.c(0);
    for (unsigned d = 0; d < at.size(); ++d)
      start[operand] =
          kb.add(start[operand],
                 kb.mul(at[d], kb.stride(operand, d + (d >= spec.axis))));
  }
  kb.forLoop(kb.c(0), kb.dim(kUpdates, spec.axis), kb.c(1), [&](Value i) {
    auto moved = [&](unsigned operand, Value by) {
      return kb.add(start[operand], kb.mul(by, kb.stride(operand, spec.axis)));
    };
    Value position = positionAt(kb, kIndices, moved(kIndices, i),
                                kb.dim(kResult, spec.axis));
    write(kb.gep(kb.ptr(kResult), memory, moved(kResult, position)),
          kb.gep(kb.ptr(kUpdates), memory, moved(kUpdates, i)), 1);
  });
}

//===--- both -------------------------------------------------------------===//

LogicalResult ScatterEmitter::emit() {
  if (failed(verify()))
    return failure();
  bool tuples = spec.kind == ScatterKind::Tuples;
  auto items = [&] {
    Value count = tuples ? kb.ceilDiv(rowSize(), kPiece) : kb.c(1);
    for (Value size : tuples ? rowDims() : lineDims())
      count = kb.mul(count, size);
    // Where the result is empty no position is inside.
    for (unsigned d = 0; d < kb.rank(kResult); ++d)
      count = kb.select(kb.eq(kb.dim(kResult, d), 0), kb.c(0), count);
    return count;
  };
  auto itemsPerUnit = [&] {
    Value work = tuples ? kb.mul(kb.dim(kIndices, 0), kb.min(rowSize(), kPiece))
                        : kb.dim(kUpdates, spec.axis);
    return kb.max(kb.div(kb.c(4096), kb.max(work, 1)), 1);
  };
  kb.defineUnits([&] { return kb.ceilDiv(items(), itemsPerUnit()); });
  kb.defineBody([&] {
    Value perUnit = itemsPerUnit();
    Value last = kb.min(kb.mul(kb.end(), perUnit), items());
    kb.forLoop(kb.mul(kb.begin(), perUnit), last, kb.c(1), [&](Value item) {
      tuples ? scatterPiece(item) : scatterLine(item);
    });
  });
  return success();
}

LogicalResult ferrite::cpu::emitScatter(KernelBuilder &kb,
                                        const ScatterSpec &spec) {
  return ScatterEmitter(kb, spec).emit();
}
