//===- BodyEvaluator.cpp - A scalar body on registers ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Most ops mean on registers what they mean on scalars and are cloned with
// other types. The rest is here: libm's functions, arithmetic on the short
// floats, and integer division, which traps on lanes that are masked off (they
// hold zeros) unless its divisor is guarded.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/BodyEvaluator.h"

#include "passes/Codegen/CPU/BodyFunctions.h"
#include "passes/Codegen/CPU/ByteTable.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/QuotientSteps.h"
#include "passes/Codegen/CPU/VectorMath.h"
#include "passes/Codegen/CPU/VectorMath64.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite::cpu;
using llvm::ArrayRef;
using llvm::SmallVector;

/// Ops that LLVM has an instruction or a short expansion for at any width.
static bool isCloned(Operation *op) {
  return isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp,
             arith::NegFOp, arith::MaximumFOp, arith::MinimumFOp,
             arith::MaxNumFOp, arith::MinNumFOp, arith::CmpFOp, arith::CmpIOp,
             arith::SelectOp, arith::AddIOp, arith::SubIOp, arith::MulIOp,
             arith::MaxSIOp, arith::MinSIOp, arith::MaxUIOp, arith::MinUIOp,
             arith::AndIOp, arith::OrIOp, arith::XOrIOp, arith::ShLIOp,
             arith::ShRSIOp, arith::ShRUIOp, arith::ExtSIOp, arith::ExtUIOp,
             arith::TruncIOp, arith::BitcastOp, arith::SIToFPOp,
             arith::UIToFPOp, arith::FPToSIOp, arith::FPToUIOp, math::SqrtOp,
             math::RsqrtOp, math::FloorOp, math::CeilOp, math::RoundEvenOp,
             math::RoundOp, math::TruncOp, math::AbsFOp, math::AbsIOp,
             math::CopySignOp, math::FmaOp>(op);
}

/// Of those, the ones that only move bits: exact on f16 as they are.
static bool movesBits(Operation *op) {
  return isa<arith::SelectOp, arith::BitcastOp>(op);
}

/// Tests of a float that have no lowering to LLVM for registers.
static bool isClassification(Operation *op) {
  return isa<math::IsNaNOp, math::IsInfOp, math::IsFiniteOp>(op);
}

static bool isDivision(Operation *op) {
  return isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp,
             arith::FloorDivSIOp, arith::CeilDivSIOp>(op);
}

static bool isPolynomial(Operation *op) {
  return wideFunctionOf(op) || isa<math::PowFOp, arith::RemFOp>(op);
}

/// The loop that a ferrite.loop_index names; none for other ops.
static std::optional<int64_t> loopOf(Operation *op) {
  if (op->getName().getStringRef() != kLoopIndexOp || op->getNumResults() != 1)
    return std::nullopt;
  auto properties =
      llvm::dyn_cast_or_null<DictionaryAttr>(op->getPropertiesAsAttribute());
  auto dim = properties ? properties.getAs<IntegerAttr>("dim") : IntegerAttr();
  return dim ? std::optional<int64_t>(dim.getInt()) : std::nullopt;
}

static bool isShortFloat(Type type) { return type.isF16() || type.isBF16(); }

static LogicalResult verifyOp(Operation &op) {
  if (op.getNumRegions())
    return op.emitError("a fused body cannot hold the op '")
           << op.getName() << "', which has a region";
  if (isPolynomial(&op) || isCloned(&op) || isClassification(&op) ||
      isDivision(&op) || loopOf(&op) ||
      isa<arith::ConstantOp, arith::ExtFOp, arith::TruncFOp>(op))
    return success();
  return op.emitError("a fused body cannot hold the op '")
         << op.getName() << "'";
}

/// All but the last op, whatever dialect's terminator that is.
static llvm::iterator_range<Block::iterator> operationsOf(Block &body) {
  return {body.begin(), std::prev(body.end())};
}

LogicalResult ferrite::cpu::verifyBody(Block &body) {
  for (Operation &op : operationsOf(body))
    if (failed(verifyOp(op)))
      return failure();
  for (Operation &op : body)
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != &body &&
          !matchPattern(operand, m_Constant()))
        return op.emitError("a fused body uses a value from outside that is "
                            "not a constant");
  return success();
}

unsigned ferrite::cpu::bodyCost(Block &body) {
  unsigned cost = 0;
  for (Operation &op : operationsOf(body))
    if (!isa<arith::ConstantOp>(op))
      cost += isPolynomial(&op) ? 10 : 1;
  return cost;
}

bool ferrite::cpu::usesLoopIndex(Block &body, int64_t dim) {
  return llvm::any_of(body, [&](Operation &op) { return loopOf(&op) == dim; });
}

namespace {
/// One evaluation: the values of the body so far, on registers.
class Evaluator {
public:
  Evaluator(KernelBuilder &kb, const BodyContext &context)
      : kb(kb), context(context) {}

  void set(Value scalar, Value lanes) { values.map(scalar, lanes); }
  Value get(Value scalar);
  LogicalResult evaluate(Operation &op);

private:
  Type lanesOf(Type type) { return withLanes(type, context.lanes); }
  Value constant(arith::ConstantOp op);
  Value splatInteger(Type type, const llvm::APInt &value);
  Value polynomial(Operation &op);
  Value power(Value base, Value exponent);
  void clone(Operation &op);
  void divide(Operation &op);
  Value classify(Operation &op);

  KernelBuilder &kb;
  const BodyContext &context;
  IRMapping values;
};
} // namespace

Value Evaluator::get(Value scalar) {
  if (Value found = values.lookupOrNull(scalar))
    return found;
  // verifyBody() lets nothing else in from outside.
  Value made = constant(scalar.getDefiningOp<arith::ConstantOp>());
  set(scalar, made);
  return made;
}

Value Evaluator::constant(arith::ConstantOp op) {
  TypedAttr value = op.getValue();
  if (isa<IndexType>(value.getType()))
    value = kb.getI64IntegerAttr(cast<IntegerAttr>(value).getInt());
  if (context.lanes == 1)
    return arith::ConstantOp::create(kb, value);
  auto type = cast<ShapedType>(lanesOf(value.getType()));
  return arith::ConstantOp::create(
      kb, DenseElementsAttr::get(type, ArrayRef<Attribute>(value)));
}

Value Evaluator::splatInteger(Type type, const llvm::APInt &value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(kb, DenseElementsAttr::get(vector, value));
  return arith::ConstantOp::create(kb, kb.getIntegerAttr(type, value));
}

/// Polynomials are f32 or f64. A scalar goes through a register too: one code
/// for both, so that both give the same bits.
Value Evaluator::polynomial(Operation &op) {
  Type type = op.getResult(0).getType();
  BodyFunction narrow = narrowFunctionOf(&op);
  bool isPower = isa<math::PowFOp>(op);
  bool isWide = type.isF64() || !(narrow || isPower);
  SmallVector<Value> in;
  for (Value operand : op.getOperands()) {
    Value x =
        convertFloat(kb, get(operand), isWide ? kb.getF64Type() : kb.f32());
    in.push_back(context.lanes == 1 ? kb.broadcast(x) : x);
  }
  Value y = isPower ? power(in[0], in[1])
            : isa<arith::RemFOp>(op)
                ? wide::emitRemainder(kb, kb.getLoc(), in[0], in[1])
            : isWide ? wideFunctionOf(&op)(kb, in[0])
                     : narrow(kb, in[0]);
  if (context.lanes == 1)
    y = vector::ExtractOp::create(kb, y, ArrayRef<int64_t>{0});
  return convertFloat(kb, y, type);
}

/// Models write squares, cubes and roots as powers, and those are exact.
Value Evaluator::power(Value base, Value exponent) {
  auto constant = [&](double v) -> Value {
    auto type = cast<VectorType>(base.getType());
    Attribute value = kb.getFloatAttr(type.getElementType(), v);
    return arith::ConstantOp::create(kb, DenseElementsAttr::get(type, value));
  };
  DenseElementsAttr known;
  if (matchPattern(exponent, m_Constant(&known)) && known.isSplat()) {
    double e = known.getSplatValue<llvm::APFloat>().convertToDouble();
    if (e == 0)
      return constant(1);
    if (e == 1)
      return base;
    if (e == 2)
      return kb.mulF(base, base);
    if (e == 3)
      return kb.mulF(kb.mulF(base, base), base);
    if (e == 0.5)
      return math::SqrtOp::create(kb, base);
    if (e == -1)
      return kb.divF(constant(1), base);
    if (e == -0.5)
      return kb.divF(constant(1), math::SqrtOp::create(kb, base));
  }
  if (getElementTypeOrSelf(base).isF64())
    return wide::emitPow(kb, kb.getLoc(), base, exponent);
  return emitPow(kb, kb.getLoc(), base, exponent, kb.level().isAvx512());
}

void Evaluator::clone(Operation &op) {
  IRMapping operands;
  for (Value operand : op.getOperands()) {
    Value value = get(operand);
    if (isShortFloat(operand.getType()) && !movesBits(&op))
      value = kb.extendToF32(value);
    operands.map(operand, value);
  }
  Operation *made = kb.clone(op, operands);
  for (auto [scalar, result] :
       llvm::zip_equal(op.getResults(), made->getResults())) {
    Type type = scalar.getType();
    bool isShort = isShortFloat(type) && !movesBits(&op);
    // i64 to f16 has no instruction; through f32 the only doubly rounded
    // values are integers beyond 2^24.
    result.setType(lanesOf(isShort ? Type(kb.f32()) : type));
    set(scalar, isShort ? kb.truncateFromF32(result, type) : result);
  }
}

void Evaluator::divide(Operation &op) {
  Value left = get(op.getOperand(0)), right = get(op.getOperand(1));
  Type type = right.getType();
  unsigned width = getElementTypeOrSelf(type).getIntOrFloatBitWidth();
  bool isSigned = !isa<arith::DivUIOp, arith::RemUIOp>(op);
  llvm::APInt known;
  bool safe = matchPattern(right, m_ConstantInt(&known)) && !known.isZero() &&
              !(isSigned && known.isAllOnes());
  Value one = splatInteger(type, llvm::APInt(width, 1));
  auto guard = [&](Value when) {
    right = arith::SelectOp::create(kb, when, one, right);
  };
  auto equals = [&](Value v, const llvm::APInt &value) -> Value {
    return arith::CmpIOp::create(kb, arith::CmpIPredicate::eq, v,
                                 splatInteger(type, value));
  };
  if (!safe) {
    guard(equals(right, llvm::APInt::getZero(width)));
    if (isSigned) // the least integer has no negative
      guard(arith::AndIOp::create(
          kb, equals(left, llvm::APInt::getSignedMinValue(width)),
          equals(right, llvm::APInt::getAllOnes(width))));
  }
  Value result;
  if (isa<arith::FloorDivSIOp, arith::CeilDivSIOp>(op)) {
    // The quotient truncates; step away from zero where there is a rest and
    // the signs differ (floor) or agree (ceil).
    bool floor = isa<arith::FloorDivSIOp>(op);
    Value zero = splatInteger(type, llvm::APInt::getZero(width));
    Value quotient = arith::DivSIOp::create(kb, left, right);
    Value rest = arith::SubIOp::create(
        kb, left, arith::MulIOp::create(kb, quotient, right));
    Value inexact =
        arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, rest, zero);
    Value sign = arith::XOrIOp::create(kb, left, right);
    Value steps = arith::CmpIOp::create(
        kb, floor ? arith::CmpIPredicate::slt : arith::CmpIPredicate::sge, sign,
        zero);
    steps = arith::AndIOp::create(kb, steps, inexact);
    Value stepped = floor ? Value(arith::SubIOp::create(kb, quotient, one))
                          : Value(arith::AddIOp::create(kb, quotient, one));
    result = arith::SelectOp::create(kb, steps, stepped, quotient);
  } else {
    // Not by clone: in x / x one value maps to two, as the divisor is guarded.
    OperationState state(kb.getLoc(), op.getName(), ValueRange{left, right},
                         TypeRange{type});
    result = kb.create(state)->getResult(0);
  }
  set(op.getResult(0), result);
}

Value Evaluator::classify(Operation &op) {
  Value x = get(op.getOperand(0));
  if (isShortFloat(op.getOperand(0).getType()))
    x = kb.extendToF32(x);
  if (isa<math::IsNaNOp>(op))
    return arith::CmpFOp::create(kb, arith::CmpFPredicate::UNO, x, x);
  auto element = cast<FloatType>(getElementTypeOrSelf(x.getType()));
  Value infinity = arith::ConstantOp::create(
      kb, kb.getFloatAttr(element,
                          llvm::APFloat::getInf(element.getFloatSemantics())));
  auto predicate = isa<math::IsInfOp>(op) ? arith::CmpFPredicate::OEQ
                                          : arith::CmpFPredicate::OLT;
  return arith::CmpFOp::create(kb, predicate, math::AbsFOp::create(kb, x),
                               toLanes(kb, infinity, context.lanes));
}

LogicalResult Evaluator::evaluate(Operation &op) {
  if (failed(verifyOp(op)))
    return failure();
  Value result = op.getResult(0);
  if (auto constantOp = dyn_cast<arith::ConstantOp>(op)) {
    set(result, constant(constantOp));
  } else if (isPolynomial(&op)) {
    set(result, polynomial(op));
  } else if (isa<arith::ExtFOp, arith::TruncFOp>(op)) {
    set(result, convertFloat(kb, get(op.getOperand(0)), result.getType()));
  } else if (isDivision(&op)) {
    divide(op);
  } else if (isSteppedQuotient(&op)) {
    llvm::APFloat divisor(0.0f);
    matchPattern(op.getOperand(1), m_ConstantFloat(&divisor));
    set(result,
        emitQuotient(kb, get(op.getOperand(0)), divisor.convertToFloat()));
  } else if (isClassification(&op)) {
    set(result, classify(op));
  } else if (std::optional<int64_t> dim = loopOf(&op)) {
    Value value = context.loopIndex ? context.loopIndex(*dim) : Value();
    if (!value)
      return op.emitError("a fused body asks for loop ")
             << *dim << ", which does not exist here";
    set(result, toLanes(kb, value, context.lanes));
  } else {
    clone(op);
  }
  return success();
}

FailureOr<SmallVector<Value>>
ferrite::cpu::emitBody(KernelBuilder &kb, Block &body, ArrayRef<Value> args,
                       const BodyContext &context) {
  assert(args.size() == body.getNumArguments() &&
         "a body has one value for each argument");
  if (failed(verifyBody(body)))
    return failure();
  Evaluator evaluator(kb, context);
  for (auto [argument, value] : llvm::zip_equal(body.getArguments(), args))
    evaluator.set(argument, toLanes(kb, value, context.lanes));
  std::optional<ByteTable> table;
  if (kb.level().isAvx512() && context.lanes == kb.lanes())
    table = findByteTable(body);
  for (Operation &op : operationsOf(body)) {
    if (failed(evaluator.evaluate(op)))
      return failure();
    if (table && table->source == op.getResult(0))
      return SmallVector<Value>{
          emitByteTable(kb, *table, evaluator.get(table->source))};
  }
  SmallVector<Value> results;
  for (Value yielded : body.back().getOperands())
    results.push_back(evaluator.get(yielded));
  return results;
}

FailureOr<SmallVector<Value>>
ferrite::cpu::emitBody(KernelBuilder &kb, Block &body, ArrayRef<Value> args) {
  BodyContext context;
  for (Value arg : args)
    if (auto vector = dyn_cast<VectorType>(arg.getType()))
      context.lanes = vector.getNumElements();
  return emitBody(kb, body, args, context);
}
