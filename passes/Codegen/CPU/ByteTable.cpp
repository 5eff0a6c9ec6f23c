//===- ByteTable.cpp - Bodies that are functions of one byte --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ByteTable.h"

#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>

using namespace mlir;
using namespace ferrite::cpu;

/// So many ops cost as much as a table: found with a GELU (16) and with a scale
/// between two roundings (8) to be worth it, on Zen 5.
static constexpr size_t kLeastOps = 6;

/// The ends of a whole number that `value` is: clamp(round(x) + constant).
static std::optional<std::pair<int64_t, int64_t>> wholeRange(Value value) {
  APFloat most(0.0f), least(0.0f), shift(0.0f);
  auto upper = value.getDefiningOp<arith::MinNumFOp>();
  if (!upper || !upper.getType().isF32() ||
      !matchPattern(upper.getRhs(), m_ConstantFloat(&most)))
    return std::nullopt;
  auto lower = upper.getLhs().getDefiningOp<arith::MaxNumFOp>();
  if (!lower || !matchPattern(lower.getRhs(), m_ConstantFloat(&least)))
    return std::nullopt;
  Value whole = lower.getLhs();
  if (auto add = whole.getDefiningOp<arith::AddFOp>()) {
    if (!matchPattern(add.getRhs(), m_ConstantFloat(&shift)) ||
        !shift.isInteger())
      return std::nullopt;
    whole = add.getLhs();
  }
  if (!whole.getDefiningOp<math::RoundEvenOp>() || !most.isInteger() ||
      !least.isInteger())
    return std::nullopt;
  double from = least.convertToDouble(), to = most.convertToDouble();
  // A sum of a whole number and the shift is whole where the clamp keeps it.
  if (from > to || to - from > 255 || std::abs(from) > 1024 ||
      std::abs(shift.convertToDouble()) > 1024)
    return std::nullopt;
  return std::pair(int64_t(from), int64_t(to));
}

/// The ops between `source` and `result`, in order; none if anything else but
/// constants goes in.
static std::optional<SmallVector<Operation *>> opsBetween(Value source,
                                                          Value result) {
  llvm::SetVector<Operation *> found;
  SmallVector<Value> open{result};
  while (!open.empty()) {
    Value value = open.pop_back_val();
    if (value == source || matchPattern(value, m_Constant()))
      continue;
    Operation *op = value.getDefiningOp();
    if (!op || op->getNumRegions() || op->getNumResults() != 1 ||
        op->getNumOperands() == 0)
      return std::nullopt;
    if (found.insert(op))
      llvm::append_range(open, op->getOperands());
  }
  SmallVector<Operation *> ops(found.begin(), found.end());
  llvm::sort(ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  return ops;
}

/// What one op makes of numbers: f32, or whole numbers of 32 bits and fewer,
/// both exact as f64. None for an op that is not here.
static std::optional<double> compute(Operation *op, ArrayRef<double> in) {
  auto rounded = [](double value) { return double(float(value)); };
  auto wrapped = [&](int64_t value) {
    unsigned width = op->getResult(0).getType().getIntOrFloatBitWidth();
    return double(llvm::SignExtend64(uint64_t(value), width));
  };
  auto unsignedOf = [&](double value) {
    unsigned width = op->getOperand(0).getType().getIntOrFloatBitWidth();
    return double(uint64_t(int64_t(value)) &
                  llvm::maskTrailingOnes<uint64_t>(width));
  };
  using Result = std::optional<double>;
  // Of f32 there is one rounding: sums, products and quotients of two f32 are
  // rounded alike by way of f64.
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case([&](arith::AddFOp) { return rounded(in[0] + in[1]); })
      .Case([&](arith::SubFOp) { return rounded(in[0] - in[1]); })
      .Case([&](arith::MulFOp) { return rounded(in[0] * in[1]); })
      .Case([&](arith::DivFOp) { return rounded(in[0] / in[1]); })
      .Case<arith::MaxNumFOp, arith::MaximumFOp>(
          [&](auto) { return std::fmax(in[0], in[1]); })
      .Case<arith::MinNumFOp, arith::MinimumFOp>(
          [&](auto) { return std::fmin(in[0], in[1]); })
      .Case([&](arith::NegFOp) { return -in[0]; })
      .Case([&](math::AbsFOp) { return std::fabs(in[0]); })
      .Case([&](math::RoundEvenOp) { return std::nearbyint(in[0]); })
      .Case([&](math::SqrtOp) { return rounded(std::sqrt(in[0])); })
      .Case([&](math::ErfOp) { return rounded(std::erf(in[0])); })
      .Case([&](math::ExpOp) { return rounded(std::exp(in[0])); })
      .Case([&](math::TanhOp) { return rounded(std::tanh(in[0])); })
      .Case([&](arith::SIToFPOp) { return rounded(in[0]); })
      .Case([&](arith::UIToFPOp) { return rounded(unsignedOf(in[0])); })
      .Case([&](arith::ExtSIOp) { return in[0]; })
      .Case([&](arith::ExtUIOp) { return unsignedOf(in[0]); })
      .Case([&](arith::TruncIOp) { return wrapped(int64_t(in[0])); })
      .Case([&](arith::FPToSIOp) -> Result {
        // Beyond its type the result is anything.
        return std::fabs(in[0]) < 0x1p31 ? Result(wrapped(int64_t(in[0])))
                                         : std::nullopt;
      })
      .Default(std::nullopt);
}

static std::optional<double> constantOf(Value value) {
  APFloat number(0.0f);
  APInt integer;
  if (value.getType().isF32() && matchPattern(value, m_ConstantFloat(&number)))
    return number.convertToDouble();
  if (value.getType().isInteger() &&
      matchPattern(value, m_ConstantInt(&integer)) &&
      integer.getBitWidth() <= 32)
    return double(integer.getSExtValue());
  return std::nullopt;
}

static bool isSmall(Type type) {
  return type.isF32() ||
         (type.isInteger() && type.getIntOrFloatBitWidth() <= 32);
}

/// What the ops make of each number.
static std::optional<ByteTable> tabulate(ArrayRef<Operation *> ops,
                                         Value source, int64_t least,
                                         int64_t most, Value result) {
  ByteTable table{source, least, {}, true};
  for (int64_t i = 0; i < 256; ++i) {
    // Behind the end is the last one, which nothing reads.
    int64_t number = std::min(least + i, most);
    llvm::SmallDenseMap<Value, double, 32> known;
    known[source] = double(number);
    for (Operation *op : ops) {
      SmallVector<double, 2> operands;
      for (Value operand : op->getOperands()) {
        auto place = known.find(operand);
        std::optional<double> value =
            place != known.end() ? place->second : constantOf(operand);
        if (!value)
          return std::nullopt;
        operands.push_back(*value);
      }
      std::optional<double> value;
      if (isSmall(op->getResult(0).getType()))
        value = compute(op, operands);
      if (!value)
        return std::nullopt;
      known[op->getResult(0)] = *value;
    }
    table.codes[i] = uint8_t(int64_t(known[result]));
    table.isIdentity &= table.codes[i] == uint8_t(number);
  }
  return table;
}

std::optional<ByteTable> ferrite::cpu::findByteTable(Block &body) {
  Operation *end = body.getTerminator();
  if (end->getNumOperands() != 1 || !end->getOperand(0).getType().isInteger(8))
    return std::nullopt;
  Value result = end->getOperand(0);
  for (Operation &op : body) {
    if (op.getNumResults() != 1)
      continue;
    Value source = op.getResult(0);
    auto range = wholeRange(source);
    if (!range)
      continue;
    auto ops = opsBetween(source, result);
    // One that is rounded later has fewer ops behind it.
    if (!ops)
      continue;
    if (ops->size() < kLeastOps)
      return std::nullopt;
    return tabulate(*ops, source, range->first, range->second, result);
  }
  return std::nullopt;
}

Value ferrite::cpu::emitByteTable(KernelBuilder &kb, const ByteTable &table,
                                  Value numbers) {
  auto type = cast<VectorType>(numbers.getType());
  int64_t lanes = type.getNumElements();
  Type i32 = kb.getI32Type();
  auto ints = VectorType::get({lanes}, i32);
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(ints, kb.getI32IntegerAttr(value)));
  };
  Value index = arith::FPToSIOp::create(kb, ints, numbers);
  auto bytes = VectorType::get({lanes}, kb.getI8Type());
  if (table.isIdentity)
    return arith::TruncIOp::create(kb, bytes, index);
  if (table.least)
    index = arith::SubIOp::create(kb, index, constant(table.least));
  // Words of two codes: each permutation takes one of 64 by six bits of the
  // index, and looks at the low word of a lane alone.
  auto words = VectorType::get({2 * lanes}, kb.getI16Type());
  auto quarter = [&](unsigned q) -> Value {
    SmallVector<int16_t> values;
    for (int64_t i = 0; i < 2 * lanes; ++i) {
      const uint8_t *pair = &table.codes[(q * 2 * lanes + i) * 2];
      values.push_back(int16_t(pair[0] | pair[1] << 8));
    }
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(words, llvm::ArrayRef(values)));
  };
  Value word = arith::ShRUIOp::create(kb, index, constant(1));
  Value place = vector::BitCastOp::create(kb, words, word);
  auto half = [&](unsigned h) -> Value {
    Value found =
        LLVM::CallIntrinsicOp::create(
            kb, words, kb.getStringAttr("llvm.x86.avx512.vpermi2var.hi.512"),
            ValueRange{quarter(2 * h), place, quarter(2 * h + 1)})
            .getResult(0);
    return vector::BitCastOp::create(kb, ints, found);
  };
  Value isHigh =
      arith::CmpIOp::create(kb, arith::CmpIPredicate::uge, word, constant(64));
  Value pair = arith::SelectOp::create(kb, isHigh, half(1), half(0));
  Value shift = arith::ShLIOp::create(
      kb, arith::AndIOp::create(kb, index, constant(1)), constant(3));
  return arith::TruncIOp::create(kb, bytes,
                                 arith::ShRUIOp::create(kb, pair, shift));
}
