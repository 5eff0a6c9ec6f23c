//===- FusedBuilder.cpp - Make ferrite.fused ops --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FusedBuilder.h"

#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/ScalarEmitter.h"

using namespace mlir;
using namespace ferrite;

//===--- reads ------------------------------------------------------------===//

/// Dims of size 1 aside, a view that leaves the others as they are.
static std::optional<Read> throughView(const Read &read, ViewOp view,
                                       DimAnalysis &dims) {
  ArrayRef<DimExpr> from = dims.getDims(view.getInput()),
                    to = dims.getDims(view);
  Read result{view.getInput(), {}};
  AffineExpr zero = getAffineConstantExpr(0, view.getContext());
  size_t j = 0;
  for (const DimExpr &dim : from) {
    if (dim.isConstant(1)) {
      result.at.push_back(zero);
      continue;
    }
    while (j < to.size() && to[j].isConstant(1))
      ++j;
    if (j == to.size() || to[j] != dim)
      return std::nullopt;
    result.at.push_back(read.at[j++]);
  }
  for (; j < to.size(); ++j)
    if (!to[j].isConstant(1))
      return std::nullopt;
  return result;
}

static Read throughTranspose(const Read &read, TransposeOp transpose) {
  Read result{transpose.getInput(), {}};
  result.at.resize(read.at.size());
  for (auto [i, dim] : llvm::enumerate(transpose.getPerm()))
    result.at[dim] = read.at[i];
  return result;
}

static std::optional<Read>
throughBroadcast(const Read &read, BroadcastOp broadcast, DimAnalysis &dims) {
  ArrayRef<DimExpr> from = dims.getDims(broadcast.getInput()),
                    to = dims.getDims(broadcast);
  Read result{broadcast.getInput(), {}};
  size_t lead = to.size() - from.size();
  for (auto [i, dim] : llvm::enumerate(from)) {
    if (dim == to[lead + i])
      result.at.push_back(read.at[lead + i]);
    else if (dim.isConstant(1))
      result.at.push_back(getAffineConstantExpr(0, broadcast.getContext()));
    else
      return std::nullopt;
  }
  return result;
}

Read ferrite::lookThrough(Read read, DimAnalysis &dims) {
  while (Operation *op = read.value.getDefiningOp()) {
    std::optional<Read> next;
    if (auto view = dyn_cast<ViewOp>(op))
      next = throughView(read, view, dims);
    else if (auto transpose = dyn_cast<TransposeOp>(op))
      next = throughTranspose(read, transpose);
    else if (auto broadcast = dyn_cast<BroadcastOp>(op))
      next = throughBroadcast(read, broadcast, dims);
    if (!next)
      break;
    read = *next;
  }
  return read;
}

Read ferrite::readOf(FusedOp fused, unsigned i) {
  AffineMap map = cast<AffineMapAttr>(fused.getMaps()[i]).getValue();
  return {fused.getInputs()[i],
          llvm::SmallVector<AffineExpr, 4>(map.getResults())};
}

AffineMap ferrite::resultMap(FusedOp fused) {
  return cast<AffineMapAttr>(fused.getMaps().getValue().back()).getValue();
}

//===--- making -----------------------------------------------------------===//

FusedOp ferrite::makeFused(OpBuilder &builder, Location loc,
                           const FusedParts &parts, BodyFn body,
                           BodyFn finish) {
  MLIRContext *context = builder.getContext();
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  auto addMap = [&](ArrayRef<AffineExpr> at) {
    maps.push_back(AffineMap::get(parts.domain.size(), 0, at, context));
  };
  for (const Read &read : parts.reads) {
    inputs.push_back(read.value);
    addMap(read.at);
  }
  addMap(parts.writes);
  auto fused = FusedOp::create(
      builder, loc, parts.type, inputs, getDimsAttr(context, parts.domain),
      builder.getAffineMapArrayAttr(maps), parts.combine);
  OpBuilder::InsertionGuard guard(builder);
  SmallVector<Type> elements;
  for (Value input : inputs)
    elements.push_back(getBodyType(elementTypeOf(input)));
  Block *block =
      builder.createBlock(&fused.getBody(), {}, elements,
                          SmallVector<Location>(elements.size(), loc));
  Value point = body(builder, block->getArguments());
  YieldOp::create(builder, loc, point);
  block = builder.createBlock(&fused.getFinish(), {}, {point.getType()}, {loc});
  Value result =
      finish ? finish(builder, block->getArguments()) : block->getArgument(0);
  YieldOp::create(builder, loc, result);
  return fused;
}

static llvm::SmallVector<AffineExpr, 4> identity(size_t rank,
                                                 MLIRContext *context) {
  llvm::SmallVector<AffineExpr, 4> at;
  for (size_t i = 0; i < rank; ++i)
    at.push_back(getAffineDimExpr(i, context));
  return at;
}

/// How an elementwise op over `domain` reads an operand: NumPy's rule.
static Read broadcastRead(Value operand, ArrayRef<DimExpr> domain,
                          DimAnalysis &dims) {
  ArrayRef<DimExpr> shape = dims.getDims(operand);
  size_t lead = domain.size() - shape.size();
  Read read{operand, {}};
  for (auto [i, dim] : llvm::enumerate(shape)) {
    bool repeats = dim.isConstant(1) && !domain[lead + i].isConstant(1);
    MLIRContext *context = operand.getContext();
    read.at.push_back(repeats ? getAffineConstantExpr(0, context)
                              : getAffineDimExpr(lead + i, context));
  }
  return lookThrough(read, dims);
}

static Value buildElementwise(Operation *op, DimAnalysis &dims) {
  OpBuilder builder(op);
  FusedParts parts;
  parts.type = typeOf(op->getResult(0));
  parts.domain = Dims(dims.getDims(op->getResult(0)));
  parts.writes = identity(parts.domain.size(), op->getContext());
  SmallVector<int> argument; // of each operand; -1: a constant of the body
  for (Value operand : op->getOperands()) {
    if (isSplat(operand)) {
      argument.push_back(-1);
      continue;
    }
    Read read = broadcastRead(operand, parts.domain, dims);
    auto found = llvm::find(parts.reads, read);
    argument.push_back(found - parts.reads.begin());
    if (found == parts.reads.end())
      parts.reads.push_back(read);
  }
  return makeFused(
      builder, op->getLoc(), parts,
      [&](OpBuilder &b, ValueRange arguments) {
        SmallVector<Value> operands;
        for (auto [operand, i] : llvm::zip_equal(op->getOperands(), argument))
          operands.push_back(i < 0 ? emitSplat(b, op->getLoc(), operand)
                                   : emitLoad(b, op->getLoc(), arguments[i],
                                              elementTypeOf(operand)));
        return emitStore(b, op->getLoc(), emitScalar(b, op, operands),
                         parts.type.getElementType());
      },
      nullptr);
}

/// Between body types, none of which is held: NaNs keep their bits.
static Value buildBitcast(BitcastOp op, DimAnalysis &dims) {
  OpBuilder builder(op);
  FusedParts parts;
  parts.type = typeOf(op);
  parts.domain = Dims(dims.getDims(op));
  parts.writes = identity(parts.domain.size(), op.getContext());
  parts.reads = {lookThrough({op.getInput(), parts.writes}, dims)};
  Type type = getBodyType(parts.type.getElementType());
  return makeFused(
      builder, op.getLoc(), parts,
      [&](OpBuilder &b, ValueRange arguments) -> Value {
        if (arguments[0].getType() == type)
          return arguments[0];
        return arith::BitcastOp::create(b, op.getLoc(), type, arguments[0]);
      },
      nullptr);
}

static CombineKind combineOf(ReduceKind kind) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean:
  case ReduceKind::L2:
    return CombineKind::Sum;
  case ReduceKind::Max:
    return CombineKind::Max;
  case ReduceKind::Min:
    return CombineKind::Min;
  case ReduceKind::Prod:
    return CombineKind::Prod;
  }
  llvm_unreachable("every kind has a combine");
}

/// x / count, in the held type of both.
static Value divide(OpBuilder &b, Location loc, Value x, Value count,
                    Type element) {
  if (isa<FloatType>(x.getType()))
    return arith::DivFOp::create(b, loc, x, count);
  if (element.isUnsignedInteger())
    return arith::DivUIOp::create(b, loc, x, count);
  return arith::DivSIOp::create(b, loc, x, count);
}

/// `sum` over a count that is known when the sizes are.
static Value divideBySymbolicCount(OpBuilder &builder, Location loc, Value sum,
                                   const DimExpr &count, DimAnalysis &dims) {
  MLIRContext *context = builder.getContext();
  Value number = DimValuesOp::create(
      builder, loc, RankedTensorType::get({}, builder.getI64Type()),
      getDimsAttr(context, {count}));
  FusedParts parts;
  parts.type = typeOf(sum);
  parts.domain = Dims(dims.getDims(sum));
  parts.writes = identity(parts.domain.size(), context);
  parts.reads = {{sum, parts.writes}, {number, {}}};
  Type element = parts.type.getElementType();
  return makeFused(
      builder, loc, parts,
      [&](OpBuilder &b, ValueRange arguments) {
        Value x = emitLoad(b, loc, arguments[0], element), n = arguments[1];
        if (isa<FloatType>(x.getType()))
          n = arith::SIToFPOp::create(b, loc, x.getType(), n);
        else if (x.getType() != n.getType())
          n = arith::TruncIOp::create(b, loc, x.getType(), n);
        return emitStore(b, loc, divide(b, loc, x, n, element), element);
      },
      nullptr);
}

static Value buildReduce(ReduceOp op, DimAnalysis &dims) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  MLIRContext *context = op.getContext();
  FusedParts parts;
  parts.type = typeOf(op);
  parts.domain = Dims(dims.getDims(op.getInput()));
  size_t rank = parts.domain.size();
  parts.reads = {lookThrough({op.getInput(), identity(rank, context)}, dims)};
  DimExpr count(1);
  bool reduces = false;
  for (size_t i = 0; i < rank; ++i) {
    if (!llvm::is_contained(op.getAxes(), static_cast<int64_t>(i))) {
      parts.writes.push_back(getAffineDimExpr(i, context));
      continue;
    }
    count = count * parts.domain[i];
    reduces |= !parts.domain[i].isConstant(1);
    if (op.getKeepDims())
      parts.writes.push_back(getAffineConstantExpr(0, context));
  }
  ReduceKind kind = op.getKind();
  parts.combine = reduces ? combineOf(kind) : CombineKind::None;
  bool isMean = kind == ReduceKind::Mean;
  Type element = parts.type.getElementType();
  Value result = makeFused(
      builder, loc, parts,
      [&](OpBuilder &b, ValueRange arguments) -> Value {
        Value x = emitLoad(b, loc, arguments[0], element);
        if (kind == ReduceKind::L2)
          x = arith::MulFOp::create(b, loc, x, x);
        return x;
      },
      [&](OpBuilder &b, ValueRange arguments) -> Value {
        Value x = arguments[0];
        if (kind == ReduceKind::L2)
          x = math::SqrtOp::create(b, loc, x);
        if (isMean && count.constant())
          x = divide(b, loc, x,
                     emitConstant(b, loc, x.getType(), *count.constant()),
                     element);
        return emitStore(b, loc, x, element);
      });
  if (isMean && !count.constant())
    result = divideBySymbolicCount(builder, loc, result, count, dims);
  return result;
}

static Value buildIota(IotaOp op, DimAnalysis &dims) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  FusedParts parts;
  parts.type = typeOf(op);
  parts.domain = Dims(dims.getDims(op));
  parts.writes = identity(1, op.getContext());
  auto body = [&](OpBuilder &b, ValueRange) -> Value {
    auto number = [&](int64_t value) {
      return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
    };
    Value i = LoopIndexOp::create(b, loc, b.getI64Type(), 0);
    if (op.getStep() != 1)
      i = arith::MulIOp::create(b, loc, i, number(op.getStep()));
    if (op.getStart() != 0)
      i = arith::AddIOp::create(b, loc, i, number(op.getStart()));
    if (parts.type.getElementType() != i.getType())
      i = arith::TruncIOp::create(b, loc, parts.type.getElementType(), i);
    return i;
  };
  return makeFused(builder, loc, parts, body, nullptr);
}

Value ferrite::buildFused(Operation *op, DimAnalysis &dims,
                          const char *&reason) {
  reason = nullptr;
  if (auto iota = dyn_cast<IotaOp>(op))
    return buildIota(iota, dims);
  if (auto reduce = dyn_cast<ReduceOp>(op)) {
    Type element = elementTypeOf(reduce.getInput());
    bool isFloat = isa<FloatType>(element);
    bool isExtreme = reduce.getKind() == ReduceKind::Max ||
                     reduce.getKind() == ReduceKind::Min;
    if (isTinyFloat(element) || isTinyInteger(element) ||
        (element.isInteger(1) && !isExtreme) ||
        (!isFloat && reduce.getKind() == ReduceKind::L2))
      reason = "the reduction has no meaning for this element type";
    return reason ? Value() : buildReduce(reduce, dims);
  }
  if (auto matmul = dyn_cast<MatmulOp>(op)) {
    // Products of bytes are the quantized kernels'.
    Type element = elementTypeOf(matmul.getLhs());
    bool isOurs = element.isF64() || (isa<IntegerType>(element) &&
                                      element.getIntOrFloatBitWidth() > 8);
    reason = isOurs ? nullptr : "the op is not elementwise";
    return isOurs ? buildProduct(matmul, dims) : Value();
  }
  if (auto bitcast = dyn_cast<BitcastOp>(op))
    return buildBitcast(bitcast, dims);
  reason = whyNotScalar(op);
  return reason ? Value() : buildElementwise(op, dims);
}
