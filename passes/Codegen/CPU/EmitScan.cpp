//===- EmitScan.cpp - Kernels of running sums and products ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One element after the other along the axis, so that a sum does not depend on
// what follows it; registers lie across, along the dims behind the axis, where
// there are any. The sums that matter (positions out of a mask) are short.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitGather.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kMostLanes = 16;

namespace {
class ScanEmitter {
public:
  ScanEmitter(KernelBuilder &kb, const ScanSpec &spec) : kb(kb), spec(spec) {}
  LogicalResult emit();

private:
  enum { kInput, kResult };
  Value size(unsigned d) { return kb.dim(kInput, d); }
  unsigned width() { return vectors ? kb.lanes() : 1; }
  Value groups() { return kb.ceilDiv(size(2), int64_t(width())); }
  Value items() { return kb.mul(size(0), groups()); }
  Value itemsPerUnit();
  void scan(Value item);
  void column(Value outer, Value inner, Value mask);

  KernelBuilder &kb;
  const ScanSpec &spec;
  Type storage, sumType;
  bool vectors = false;
};
} // namespace

Value ScanEmitter::itemsPerUnit() {
  // Four cycles an element: 4096 are some microseconds. The widest register
  // counts at each level, because the lowest counts the units of all.
  Value points = kb.max(kb.mul(size(1), vectors ? kMostLanes : 1), 1);
  return kb.max(kb.div(kb.c(4096), points), 1);
}

void ScanEmitter::scan(Value item) {
  Value outer = kb.div(item, groups());
  Value inner = kb.mul(kb.rem(item, groups()), int64_t(width()));
  if (!vectors)
    return column(outer, inner, {});
  int64_t known = kb.operand(kInput).shape[2];
  if (!ShapedType::isDynamic(known) && known % width() == 0)
    return column(outer, inner, {});
  Value rest = kb.sub(size(2), inner);
  kb.ifElse(
      kb.le(kb.c(width()), rest), [&] { column(outer, inner, {}); },
      [&] { column(outer, inner, kb.tailMask(rest)); });
}

void ScanEmitter::column(Value outer, Value inner, Value mask) {
  Type memory = memoryType(storage);
  auto address = [&](unsigned operand, Value a) {
    Value offset = kb.add(kb.mul(outer, kb.stride(operand, 0)),
                          kb.mul(inner, kb.stride(operand, 2)));
    return kb.gep(kb.ptr(operand), memory,
                  kb.add(offset, kb.mul(a, kb.stride(operand, 1))));
  };
  TypedAttr neutral = spec.product
                          ? kb.getOneAttr(withLanes(sumType, width()))
                          : kb.getZeroAttr(withLanes(sumType, width()));
  Value first = arith::ConstantOp::create(kb, neutral);
  kb.forLoop(kb.c(0), size(1), kb.c(1), first, [&](Value i, ValueRange sums) {
    Value a = spec.reverse ? kb.sub(kb.sub(size(1), 1), i) : i;
    Value element =
        loadElements(kb, address(kInput, a), storage, sumType, width(), mask);
    bool isFloat = isa<FloatType>(sumType);
    Value sum;
    if (spec.product)
      sum = isFloat ? Value(arith::MulFOp::create(kb, sums[0], element))
                    : Value(arith::MulIOp::create(kb, sums[0], element));
    else
      sum = isFloat ? Value(arith::AddFOp::create(kb, sums[0], element))
                    : Value(arith::AddIOp::create(kb, sums[0], element));
    storeElements(kb, spec.exclusive ? Value(sums[0]) : sum,
                  address(kResult, a), storage, mask);
    return SmallVector<Value>{sum};
  });
}

LogicalResult ScanEmitter::emit() {
  ArrayRef<OperandLayout> operands = kb.layout().operands;
  if (operands.size() != 2 || kb.rank(kInput) != 3 || kb.rank(kResult) != 3 ||
      operands[0].elementType != operands[1].elementType ||
      operands[0].elementType.isInteger(1))
    return emitError(kb.getLoc(),
                     "scan kernel: expects an input and a result of rank 3 and "
                     "of one numeric type");
  storage = operands[0].elementType;
  sumType = wideType(storage);
  vectors = operands[0].shape[2] != 1 && operands[0].strides[2] == 1 &&
            operands[1].strides[2] == 1;
  kb.defineUnits([&] { return kb.ceilDiv(items(), itemsPerUnit()); });
  kb.defineBody([&] {
    Value perUnit = itemsPerUnit();
    Value last = kb.min(kb.mul(kb.end(), perUnit), items());
    kb.forLoop(kb.mul(kb.begin(), perUnit), last, kb.c(1),
               [&](Value item) { scan(item); });
  });
  return success();
}

LogicalResult ferrite::cpu::emitScan(KernelBuilder &kb, const ScanSpec &spec) {
  return ScanEmitter(kb, spec).emit();
}
