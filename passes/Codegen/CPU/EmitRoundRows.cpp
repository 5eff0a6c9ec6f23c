//===- EmitRoundRows.cpp - Rows as bytes with scales of groups ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A group is read twice: for the largest of its magnitudes, and to be rounded.
// Magnitudes are compared as integers, which have the same order and put a NaN
// above all: then the scale is a NaN, and what is computed with it.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitPackedLinear.h"
#include "passes/Codegen/CPU/RowKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

namespace {
class RoundEmitter {
public:
  RoundEmitter(KernelBuilder &kb, RoundedRows rows)
      : kb(kb), rows(rows), xType(kb.operand(0).elementType),
        toBytes(!kb.operand(1).elementType.isF32()) {}
  void emitRow(Value x, Value out);

private:
  Value ints(int64_t value) {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(kb.vec(kb.getI32Type()),
                                   llvm::APInt(32, value)));
  }
  Value scalarInt(int64_t value) {
    return arith::ConstantOp::create(kb, kb.getI32IntegerAttr(value));
  }
  /// Sum or maximum of the lanes of integers, which no order changes.
  Value reduce(Value vector, vector::CombiningKind kind) {
    return vector::ReductionOp::create(kb, kind, vector);
  }
  Value load(Value x, Value k, Value mask) {
    return kb.loadF32(kb.gep(x, xType, k), xType, mask);
  }
  Value mostOf(Value x, Value first, Value depth);
  void emitGroup(Value x, Value out, Value group, Value first, int64_t depth,
                 Value factor, Value scale);
  void emitSum(Value x, Value out, Value first, int64_t depth, Value factor,
               Value scale);

  KernelBuilder &kb;
  RoundedRows rows;
  Type xType;
  bool toBytes;
};
} // namespace

/// The bits of the largest magnitude of [first, first + depth).
Value RoundEmitter::mostOf(Value x, Value first, Value depth) {
  Type i32 = kb.getI32Type();
  Value none = ints(0), magnitude = ints(0x7fffffff);
  auto combine = [&](Value at, Value mask, Value most) -> Value {
    Value bits = kb.bitcast(load(x, kb.add(first, at), mask), kb.vec(i32));
    return arith::MaxSIOp::create(kb, most,
                                  arith::AndIOp::create(kb, bits, magnitude));
  };
  Value whole = kb.sub(depth, kb.rem(depth, int64_t(kb.lanes())));
  Value most =
      kb.forLoop(kb.c(0), whole, kb.c(kb.lanes()), ValueRange{none},
                 [&](Value at, ValueRange carried) {
                   return SmallVector<Value>{combine(at, Value(), carried[0])};
                 })[0];
  Value rest = kb.sub(depth, whole);
  if (KernelBuilder::constantOf(rest) != 0)
    most = combine(whole, kb.tailMask(rest), most);
  return reduce(most, vector::CombiningKind::MAXSI);
}

/// [first, first + depth), which have one sum, of a group.
void RoundEmitter::emitSum(Value x, Value out, Value first, int64_t depth,
                           Value factor, Value scale) {
  // Adding 1.5 * 2^23 rounds to a whole number, to even, in the low bits.
  constexpr int64_t kMagicBits = 0x4b400000;
  Type i32 = kb.getI32Type(), i8 = kb.getI8Type();
  Value magic = kb.splat(12582912.0), least = kb.splat(-127.0),
        most = kb.splat(127.0);
  auto round = [&](Value at, Value mask, Value sum) -> Value {
    Value k = kb.add(first, at);
    Value quotient = kb.mulF(load(x, k, mask), factor);
    // A NaN becomes the least.
    quotient = kb.minF(kb.maxF(quotient, least), most);
    Value shifted = kb.addF(quotient, magic);
    if (!toBytes) {
      Value number = kb.mulF(kb.subF(shifted, magic), scale);
      kb.storeMasked(number, kb.gep(out, kb.f32(), k), mask);
      return sum;
    }
    Value q = arith::SubIOp::create(kb, kb.bitcast(shifted, kb.vec(i32)),
                                    ints(kMagicBits));
    kb.storeMasked(arith::TruncIOp::create(kb, kb.vec(i8), q),
                   kb.gep(out, i8, k), mask, 1);
    if (mask)
      q = arith::SelectOp::create(kb, mask, q, ints(0));
    return arith::AddIOp::create(kb, sum, q);
  };
  int64_t lanes = kb.lanes(), whole = depth / lanes * lanes;
  Value sum =
      kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes), ValueRange{ints(0)},
                 [&](Value at, ValueRange carried) {
                   return SmallVector<Value>{round(at, Value(), carried[0])};
                 })[0];
  if (whole < depth)
    sum = round(kb.c(whole), kb.tailMask(kb.c(depth - whole)), sum);
  if (!toBytes)
    return;
  Value place = kb.gep(kb.gep(out, i8, rows.sumsOffset()), i32,
                       kb.div(first, rows.sumDepth()));
  Value all = reduce(sum, vector::CombiningKind::ADD);
  // A group of several sums begins each; a sum of several groups adds up.
  if (rows.sumDepth() > rows.blockDepth()) {
    Value begins = kb.eq(kb.rem(first, rows.sumDepth()), int64_t(0));
    Value before = kb.select(begins, scalarInt(0), kb.load(i32, place));
    all = arith::AddIOp::create(kb, all, before);
  }
  kb.store(all, place);
}

void RoundEmitter::emitGroup(Value x, Value out, Value group, Value first,
                             int64_t depth, Value factor, Value scale) {
  if (toBytes)
    kb.store(scale, kb.gep(kb.gep(out, kb.getI8Type(), rows.scalesOffset()),
                           kb.f32(), group));
  int64_t each = std::min(rows.sumDepth(), depth), whole = depth / each * each;
  Value wide = kb.broadcast(scale);
  kb.forLoop(kb.c(0), kb.c(whole), kb.c(each), [&](Value at) {
    emitSum(x, out, kb.add(first, at), each, factor, wide);
  });
  if (whole < depth)
    emitSum(x, out, kb.add(first, whole), depth - whole, factor, wide);
}

void RoundEmitter::emitRow(Value x, Value out) {
  auto one = [&](Value group, int64_t depth) {
    Value first = kb.mul(group, rows.blockDepth());
    Value bits = mostOf(x, first, kb.c(depth));
    Value most = kb.bitcast(bits, kb.f32());
    Value none =
        arith::CmpIOp::create(kb, arith::CmpIPredicate::eq, bits, scalarInt(0));
    Value factor = kb.select(none, kb.cf(0), kb.divF(kb.cf(127.0), most));
    emitGroup(x, out, group, first, depth, kb.broadcast(factor),
              kb.divF(most, kb.cf(127.0)));
  };
  int64_t whole = rows.columns / rows.blockDepth();
  kb.forLoop(kb.c(0), kb.c(whole), kb.c(1),
             [&](Value group) { one(group, rows.blockDepth()); });
  if (int64_t rest = rows.columns - whole * rows.blockDepth())
    one(kb.c(whole), rest);
  if (!toBytes)
    return;
  // What lies between the bytes and the scales is read as bytes.
  Type i8 = kb.getI8Type();
  for (int64_t k = rows.columns; k < rows.scalesOffset(); ++k)
    kb.store(arith::ConstantOp::create(kb, kb.getI8IntegerAttr(0)),
             kb.gep(out, i8, k));
}

LogicalResult ferrite::cpu::emitRoundRows(KernelBuilder &kb, int64_t block,
                                          int64_t sumBlock) {
  auto error = [&] { return emitError(kb.getLoc(), "rounding kernel: "); };
  if (kb.layout().operands.size() != 2 || kb.rank(0) != 2 || kb.rank(1) != 2)
    return error() << "expects rows and a result";
  int64_t columns = kb.operand(0).shape[1];
  if (ShapedType::isDynamic(columns) || columns < 1 || block < 1 ||
      sumBlock < 0)
    return error() << "expects static columns and blocks of 1 or more";
  RoundedRows rows{columns, block, sumBlock};
  Type to = kb.operand(1).elementType;
  if (!isFloatStorage(kb.operand(0).elementType) ||
      (!to.isF32() && !to.isUnsignedInteger(8)) ||
      kb.operand(0).strides[1] != 1 || kb.operand(1).strides[1] != 1)
    return error() << "expects rows of floats and a result of f32 or ui8, but "
                      "got "
                   << kb.operand(0).elementType << " and " << to;
  RoundEmitter emitter(kb, rows);
  defineRows(kb, 0, [&](ValueRange indices) {
    emitter.emitRow(rowPointer(kb, 0, indices), rowPointer(kb, 1, indices));
  });
  return success();
}
