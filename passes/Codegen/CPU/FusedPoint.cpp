//===- FusedPoint.cpp - One register of points of a fused kernel ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Operands that step by one along the lanes are vector accesses; those that do
// not move are broadcast; the others are read and written lane by lane. A lane
// outside of the mask never touches memory of its own: it reads the last
// element once more.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/FusedPoint.h"

#include "passes/Codegen/CPU/BodyEvaluator.h"
#include "passes/Codegen/CPU/ElementAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

Value FusedPoint::dimSize(unsigned d) {
  const FusedLoop &loop = spec.loops[d];
  return ShapedType::isDynamic(loop.size) ? kb.dim(loop.operand, loop.dim)
                                          : kb.c(loop.size);
}

Value FusedPoint::size(unsigned loop) {
  Value size = kb.c(1);
  for (unsigned d : loops.loop(loop).dims)
    size = kb.mul(size, dimSize(d));
  return size;
}

Value FusedPoint::stride(unsigned operand, unsigned loop) {
  int64_t known = loops.stride(operand, loop);
  return ShapedType::isDynamic(known)
             ? kb.stride(operand, loops.loop(loop).innermost())
             : kb.c(known);
}

FusedPlace FusedPoint::start() {
  FusedPlace place;
  place.indices.resize(loops.numLoops());
  place.offsets.assign(numOperands(), kb.c(0));
  return place;
}

FusedPlace FusedPoint::at(const FusedPlace &place, unsigned loop, Value index) {
  FusedPlace moved = place;
  moved.indices[loop] = index;
  for (unsigned i = 0; i < numOperands(); ++i)
    moved.offsets[i] = kb.add(place.offsets[i], kb.mul(index, stride(i, loop)));
  return moved;
}

Value FusedPoint::load(unsigned operand, const FusedPlace &place,
                       const FusedSpan &span, Type type, unsigned lanes) {
  Type storage = kb.operand(operand).elementType, memory = memoryType(storage);
  unsigned along = loops.vectorLoop;
  int64_t step = loops.stride(operand, along);
  auto pointer = [&](Value index) {
    Value offset = place.offsets[operand];
    if (index)
      offset = kb.add(offset, kb.mul(index, stride(operand, along)));
    return kb.gep(kb.ptr(operand), memory, offset);
  };
  if (lanes == 1 || step == 0) {
    Value one = loadElements(kb, pointer(lanes == 1 ? span.index : Value()),
                             storage, type, 1);
    return toLanes(kb, one, lanes);
  }
  if (step == 1)
    return loadElements(kb, pointer(span.index), storage, type, lanes,
                        span.mask);
  SmallVector<Value> elements;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    Value index = kb.add(span.index, lane);
    if (span.mask)
      index = kb.min(index, kb.sub(span.limit, 1));
    elements.push_back(kb.load(memory, pointer(index)));
  }
  Value raw = vector::FromElementsOp::create(
      kb, cast<VectorType>(withLanes(memory, lanes)), elements);
  return fromMemory(kb, raw, storage, type);
}

void FusedPoint::store(unsigned operand, const FusedPlace &place,
                       const FusedSpan &span, Value value) {
  Type storage = kb.operand(operand).elementType, memory = memoryType(storage);
  unsigned along = loops.vectorLoop;
  int64_t step = loops.stride(operand, along);
  auto pointer = [&](Value index) {
    Value offset = place.offsets[operand];
    if (index)
      offset = kb.add(offset, kb.mul(index, stride(operand, along)));
    return kb.gep(kb.ptr(operand), memory, offset);
  };
  auto extract = [&](Value v, int64_t lane) -> Value {
    return vector::ExtractOp::create(kb, v, ArrayRef<int64_t>{lane});
  };
  if (!KernelBuilder::isVector(value))
    return storeElements(kb, value, pointer(span.index), storage);
  if (step == 1)
    return storeElements(kb, value, pointer(span.index), storage, span.mask);
  Value raw = toMemory(kb, value, storage);
  if (step == 0) // the loop has one point
    return kb.store(extract(raw, 0), pointer(Value()));
  for (unsigned lane = 0; lane < kb.lanes(); ++lane) {
    Value index = kb.add(span.index, lane);
    auto write = [&] { kb.store(extract(raw, lane), pointer(index)); };
    if (span.mask)
      kb.ifThen(kb.lt(index, span.limit), write);
    else
      write();
  }
}

FailureOr<SmallVector<Value>>
FusedPoint::run(Block &block, ArrayRef<Value> args, const FusedPlace &place,
                const FusedSpan &span, unsigned lanes) {
  BodyContext context;
  context.lanes = lanes;
  context.loopIndex = [&](int64_t d) -> Value {
    if (d < 0 || d >= int64_t(spec.loops.size()))
      return {};
    for (unsigned l = 0; l < loops.numLoops(); ++l) {
      // Dims whose index is asked for are never merged with others.
      if (!llvm::is_contained(loops.loop(l).dims, d))
        continue;
      if (l != loops.vectorLoop || !span.index)
        return place.indices[l] ? place.indices[l] : kb.c(0);
      return arith::AddIOp::create(kb, kb.broadcast(span.index, lanes),
                                   laneNumbers(kb, lanes));
    }
    return kb.c(0); // a loop of size 1
  };
  return emitBody(kb, block, args, context);
}

void FusedPoint::hoist(const FusedPlace &place) {
  std::optional<unsigned> tile = loops.tileLoop;
  for (unsigned i = 0; i < numInputs(); ++i)
    if (loops.stride(i, loops.vectorLoop) == 0 &&
        (!tile || loops.stride(i, *tile) == 0))
      hoisted[i] =
          load(i, place, {}, spec.body->getArgument(i).getType(), kb.lanes());
}

FailureOr<SmallVector<Value>> FusedPoint::evaluate(const FusedPlace &place,
                                                   const FusedSpan &span,
                                                   const GivenInputs &given) {
  SmallVector<Value> args;
  for (unsigned i = 0; i < numInputs(); ++i) {
    Type type = spec.body->getArgument(i).getType();
    if (Value raw = given.lookup(i))
      args.push_back(fromMemory(kb, raw, kb.operand(i).elementType, type));
    else if (Value once = hoisted.lookup(i))
      args.push_back(once);
    else
      args.push_back(load(i, place, span, type, kb.lanes()));
  }
  return run(*spec.body, args, place, span, kb.lanes());
}

LogicalResult FusedPoint::finish(const FusedPlace &place, const FusedSpan &span,
                                 SmallVector<Value> combined) {
  unsigned lanes = span.index ? kb.lanes() : 1;
  if (spec.finish) {
    Block &block = *spec.finish;
    unsigned given = combined.size();
    for (unsigned i = 0; i < given; ++i)
      if (isa<FloatType>(block.getArgument(i).getType()))
        combined[i] =
            convertFloat(kb, combined[i], block.getArgument(i).getType());
    for (unsigned i = given; i < block.getNumArguments(); ++i)
      combined.push_back(
          load(i - given, place, span, block.getArgument(i).getType(), lanes));
    FailureOr<SmallVector<Value>> finished =
        run(block, combined, place, span, lanes);
    if (failed(finished))
      return failure();
    combined = *finished;
  }
  for (auto [i, value] : llvm::enumerate(combined))
    store(numInputs() + i, place, span, value);
  return success();
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value FusedPoint::widen(Value v) {
  Type element = getElementTypeOrSelf(v.getType());
  return element.isF16() || element.isBF16() ? kb.extendToF32(v) : v;
}

static TypedAttr identityOf(OpBuilder &b, Combine kind, Type type) {
  if (auto floating = dyn_cast<FloatType>(type)) {
    const llvm::fltSemantics &semantics = floating.getFloatSemantics();
    switch (kind) {
    case Combine::Sum:
      return b.getFloatAttr(type, llvm::APFloat::getZero(semantics));
    case Combine::Prod:
      return b.getFloatAttr(type, llvm::APFloat::getOne(semantics));
    case Combine::Max:
    case Combine::MaxUnsigned:
      return b.getFloatAttr(
          type, llvm::APFloat::getInf(semantics, /*Negative=*/true));
    case Combine::Min:
    case Combine::MinUnsigned:
      return b.getFloatAttr(type, llvm::APFloat::getInf(semantics));
    }
  }
  unsigned width = type.getIntOrFloatBitWidth();
  bool isBool = width == 1; // where "true" is the larger
  auto integer = [&](const llvm::APInt &v) {
    return b.getIntegerAttr(type, v);
  };
  switch (kind) {
  case Combine::Sum:
    break;
  case Combine::Prod:
    return integer(llvm::APInt(width, 1));
  case Combine::Max:
    return integer(isBool ? llvm::APInt::getZero(width)
                          : llvm::APInt::getSignedMinValue(width));
  case Combine::Min:
    return integer(isBool ? llvm::APInt::getAllOnes(width)
                          : llvm::APInt::getSignedMaxValue(width));
  case Combine::MaxUnsigned:
    break;
  case Combine::MinUnsigned:
    return integer(llvm::APInt::getAllOnes(width));
  }
  return integer(llvm::APInt::getZero(width));
}

SmallVector<Value> FusedPoint::identities() {
  SmallVector<Value> values;
  for (auto [kind, yielded] :
       llvm::zip_equal(spec.combines, spec.body->back().getOperands())) {
    Type type = yielded.getType();
    if (type.isF16() || type.isBF16())
      type = kb.f32();
    Value one = arith::ConstantOp::create(kb, identityOf(kb, kind, type));
    values.push_back(toLanes(kb, one, kb.lanes()));
  }
  return values;
}

/// NaN where either is; the zeros are not ordered, a reduction need not. One
/// instruction of x86 gives its second operand when either is NaN, and another
/// one adds the NaN of the first: that must not be the running extreme, or it
/// waits for the comparison too.
template <typename Op>
static Value extreme(KernelBuilder &kb, Value running, Value next) {
  return Op::create(kb, next, running, arith::FastMathFlags::nsz);
}

Value FusedPoint::combine(unsigned i, Value a, Value b) {
  Type type = getElementTypeOrSelf(a.getType());
  Combine kind = spec.combines[i];
  if (isa<FloatType>(type)) {
    switch (kind) {
    case Combine::Sum:
      return arith::AddFOp::create(kb, a, b);
    case Combine::Prod:
      return arith::MulFOp::create(kb, a, b);
    case Combine::Max:
    case Combine::MaxUnsigned:
      return extreme<arith::MaximumFOp>(kb, a, b);
    case Combine::Min:
    case Combine::MinUnsigned:
      return extreme<arith::MinimumFOp>(kb, a, b);
    }
  }
  // i1 is signed to arith: its "true" is -1.
  bool isUnsigned = type.isInteger(1);
  switch (kind) {
  case Combine::Sum:
    return arith::AddIOp::create(kb, a, b);
  case Combine::Prod:
    return arith::MulIOp::create(kb, a, b);
  case Combine::Max:
    if (!isUnsigned)
      return arith::MaxSIOp::create(kb, a, b);
    return arith::OrIOp::create(kb, a, b);
  case Combine::Min:
    if (!isUnsigned)
      return arith::MinSIOp::create(kb, a, b);
    return arith::AndIOp::create(kb, a, b);
  case Combine::MaxUnsigned:
    return arith::MaxUIOp::create(kb, a, b);
  case Combine::MinUnsigned:
    return arith::MinUIOp::create(kb, a, b);
  }
  llvm_unreachable("all kinds are above");
}

Value FusedPoint::combineLanes(unsigned i, Value v) {
  for (int64_t n = kb.lanes(); n > 1; n /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < n / 2; ++lane) {
      low.push_back(lane);
      high.push_back(lane + n / 2);
    }
    v = combine(i, shuffle(kb, v, v, low), shuffle(kb, v, v, high));
  }
  return vector::ExtractOp::create(kb, v, ArrayRef<int64_t>{0});
}
