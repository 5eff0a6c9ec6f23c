//===- EmitIntegerMatmul.cpp - A matrix product of integers ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one matrix of the batch, one chunk of rows and one panel of
// columns. Rows of b are read where they lie and extended in registers; tiles
// share what they read. Sums of integers have no order, so nothing depends on
// how the work is cut.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitIntegerMatmul.h"

#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/ProductFrame.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Columns and rows of a unit: of bytes, K * 64 of b stay in the first-level
/// cache up to K = 512, in the second for any model.
static constexpr int64_t kPanel = 64, kChunk = 48;
/// A tile has so many rows and registers of columns: with 16 registers, 8 sums,
/// 2 of b, one broadcast and some to extend in.
static constexpr unsigned kTileRows = 4, kTileColumns = 2;

namespace {
class IntegerMatmulEmitter {
public:
  IntegerMatmulEmitter(KernelBuilder &kb, const IntegerMatmulSpec &spec)
      : kb(kb), spec(spec) {}
  LogicalResult emit();

private:
  enum { kA, kB, kResult };
  LogicalResult check();
  void emitUnit(ArrayRef<Value> index);
  void emitTile(Value a, Value b, Value out, unsigned rows,
                ArrayRef<Value> masks);
  /// Elements of operand i as lanes of the result type.
  Value read(unsigned i, Value pointer, unsigned lanes, Value mask = {});

  KernelBuilder &kb;
  const IntegerMatmulSpec &spec;
  unsigned rank = 0;
  Type sumType;
};
} // namespace

LogicalResult IntegerMatmulEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "integer product: "); };
  if (kb.layout().operands.size() != 3)
    return error() << "expects a, b and a result";
  rank = kb.rank(kResult);
  for (unsigned i : {kA, kB, kResult}) {
    if (rank < 2 || kb.rank(i) != rank)
      return error() << "operand " << i << " has rank " << kb.rank(i);
    if (!isa<IntegerType>(kb.operand(i).elementType) ||
        kb.operand(i).elementType.isInteger(1))
      return error() << "expects integers, but got "
                     << kb.operand(i).elementType;
    if (i != kA && kb.operand(i).strides[rank - 1] != 1)
      return error() << "operand " << i << " has columns that are not adjacent";
  }
  sumType = valueType(kb.operand(kResult).elementType);
  for (unsigned i : {kA, kB})
    if (valueType(kb.operand(i).elementType).getIntOrFloatBitWidth() >
        sumType.getIntOrFloatBitWidth())
      return error() << "expects a result as wide as its operands";
  return success();
}

Value IntegerMatmulEmitter::read(unsigned i, Value pointer, unsigned lanes,
                                 Value mask) {
  Type storage = kb.operand(i).elementType, type = valueType(storage);
  Value bits = loadElements(kb, pointer, storage, type, lanes, mask);
  if (type == sumType)
    return bits;
  Type wide = withLanes(sumType, lanes);
  bool isUnsigned = i == kA ? spec.unsignedA : spec.unsignedB;
  if (isUnsigned)
    return arith::ExtUIOp::create(kb, wide, bits);
  return arith::ExtSIOp::create(kb, wide, bits);
}

void IntegerMatmulEmitter::emitTile(Value a, Value b, Value out, unsigned rows,
                                    ArrayRef<Value> masks) {
  Type aType = memoryType(kb.operand(kA).elementType),
       bType = memoryType(kb.operand(kB).elementType),
       outType = memoryType(kb.operand(kResult).elementType);
  unsigned lanes = kb.lanes();
  Type vector = withLanes(sumType, lanes);
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(vector));
  SmallVector<Value> sums(rows * masks.size(), zero);
  Value depth = kb.dim(kA, rank - 1);
  sums = kb.forLoop(
      kb.c(0), depth, kb.c(1), sums, [&](Value k, ValueRange carried) {
        SmallVector<Value> next(carried.begin(), carried.end()), loaded;
        Value row = kb.gep(b, bType, kb.mul(k, kb.stride(kB, rank - 2)));
        for (auto [c, mask] : llvm::enumerate(masks))
          loaded.push_back(
              read(kB, kb.gep(row, bType, int64_t(c) * lanes), lanes, mask));
        Value column = kb.gep(a, aType, kb.mul(k, kb.stride(kA, rank - 1)));
        for (unsigned r = 0; r < rows; ++r) {
          Value at = kb.gep(column, aType, kb.mul(kb.stride(kA, rank - 2), r));
          Value left = toLanes(kb, read(kA, at, 1), lanes);
          for (size_t c = 0; c < masks.size(); ++c) {
            Value &sum = next[r * masks.size() + c];
            Value product = arith::MulIOp::create(kb, left, loaded[c]);
            sum = arith::AddIOp::create(kb, sum, product);
          }
        }
        return next;
      });
  for (unsigned r = 0; r < rows; ++r) {
    Value row = kb.gep(out, outType, kb.mul(kb.stride(kResult, rank - 2), r));
    for (auto [c, mask] : llvm::enumerate(masks))
      storeElements(kb, sums[r * masks.size() + c],
                    kb.gep(row, outType, int64_t(c) * lanes),
                    kb.operand(kResult).elementType, mask);
  }
}

void IntegerMatmulEmitter::emitUnit(ArrayRef<Value> index) {
  ArrayRef<Value> batch = index.drop_back(2);
  Value row = kb.mul(index[rank - 2], kChunk);
  Value column = kb.mul(index[rank - 1], kPanel);
  Value rows = kb.min(kb.c(kChunk), kb.sub(kb.dim(kResult, rank - 2), row));
  Value columns =
      kb.min(kb.c(kPanel), kb.sub(kb.dim(kResult, rank - 1), column));
  auto element = [&](unsigned i) {
    return memoryType(kb.operand(i).elementType);
  };
  Value a = kb.gep(kb.address(kA, batch), element(kA),
                   kb.mul(row, kb.stride(kA, rank - 2)));
  Value b = kb.gep(kb.address(kB, batch), element(kB), column);
  Value out = kb.gep(kb.address(kResult, batch), element(kResult),
                     kb.add(kb.mul(row, kb.stride(kResult, rank - 2)), column));
  int64_t lanes = kb.lanes(), width = lanes * kTileColumns;
  auto cover = [&](Value at, ArrayRef<Value> masks) {
    forRowTiles(kb, rows, kTileRows, [&](Value tile, unsigned count) {
      Value left =
          kb.gep(a, element(kA), kb.mul(tile, kb.stride(kA, rank - 2)));
      Value target =
          kb.gep(out, element(kResult),
                 kb.add(kb.mul(tile, kb.stride(kResult, rank - 2)), at));
      emitTile(left, kb.gep(b, element(kB), at), target, count, masks);
    });
  };
  Value full = kb.sub(columns, kb.rem(columns, width));
  kb.forLoop(kb.c(0), full, kb.c(width),
             [&](Value at) { cover(at, SmallVector<Value>(kTileColumns)); });
  if (KernelBuilder::constantOf(kb.rem(kb.dim(kResult, rank - 1), width)) == 0)
    return;
  // At most one rest: its loop has one iteration or none.
  kb.forLoop(full, columns, kb.c(width), [&](Value at) {
    Value rest = kb.sub(columns, at);
    SmallVector<Value> masks;
    for (unsigned c = 0; c < kTileColumns; ++c)
      masks.push_back(kb.tailMask(kb.max(kb.sub(rest, c * lanes), int64_t(0))));
    cover(at, masks);
  });
}

LogicalResult IntegerMatmulEmitter::emit() {
  if (failed(check()))
    return failure();
  emitMatrixUnits(
      kb, kResult, kChunk, kPanel, [] {},
      [&](ArrayRef<Value> index) { emitUnit(index); });
  return success();
}

LogicalResult ferrite::cpu::emitIntegerMatmul(KernelBuilder &kb,
                                              const IntegerMatmulSpec &spec) {
  return IntegerMatmulEmitter(kb, spec).emit();
}
