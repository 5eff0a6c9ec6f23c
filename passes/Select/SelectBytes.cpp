//===- SelectBytes.cpp - How products of bytes become launches ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The kernel multiplies unsigned bytes by signed ones and takes one zero point,
// of x. Weights that are unsigned are stored less 128, and then or with a zero
// point of their own
//
//   sum((x - zx) * (w - zw)) = sum((x - zx) * s) - (zw - shift) * (sum(x) -
//   K*zx)
//
// where s = w - shift is what is stored. The sums of rows are computed once for
// all products of x; the rest is the begin of the epilogue.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Select/FusedLayout.h"
#include "passes/Select/Selector.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

StridedView Selector::rowSums(Value input, const StridedView &matrix,
                              LinearOp op) {
  auto known = sumsOf.find(input);
  if (known != sumsOf.end())
    return known->second;
  Location loc = op.getLoc();
  OpBuilder b(op);
  MLIRContext *context = b.getContext();
  Type i32 = b.getI32Type();
  StridedView result = plan.makeBuffer(loc, i32, {matrix.dims[0]});
  AffineMap all = AffineMap::getMultiDimIdentityMap(2, context);
  AffineMap row = AffineMap::get(2, 0, {getAffineDimExpr(0, context)}, context);
  auto sum =
      FusedOp::create(b, loc, getTensorType(result.dims, i32),
                      ValueRange(input), getDimsAttr(context, matrix.dims),
                      b.getAffineMapArrayAttr({all, row}), CombineKind::Sum);
  Block &body = sum.getBody().emplaceBlock();
  OpBuilder inside = OpBuilder::atBlockEnd(&body);
  Value byte = body.addArgument(b.getI8Type(), loc);
  YieldOp::create(inside, loc, arith::ExtUIOp::create(inside, loc, i32, byte));
  Block &finish = sum.getFinish().emplaceBlock();
  inside = OpBuilder::atBlockEnd(&finish);
  YieldOp::create(inside, loc, finish.addArgument(i32, loc));
  FusedLayout::of(sum, {matrix}, result).launch(plan, loc, "row_sums", sum);
  sum.erase();
  return sumsOf[input] = result;
}

/// One value for each row, column or matrix: rows and columns that repeat have
/// stride 0.
static KernelOperand repeated(StridedView view, bool byRow, bool byColumn) {
  DimExpr one(1), none(0);
  DimExpr size = view.dims.empty() ? one : view.dims[0];
  view.dims = {byRow ? size : one, byColumn ? size : one};
  view.strides = {byRow ? one : none, byColumn ? one : none};
  KernelOperand operand(view, getTensorType(view.dims, view.element));
  operand.sized = {false, false};
  return operand;
}

void Selector::selectByteLinear(LinearOp op) {
  Location loc = op.getLoc();
  StridedView input = rows(op.getInput(), loc);
  StridedView weight = storedWeight(op, plan::WeightFormat::BytePanels);
  bool isUnsigned = weight.element.isUnsignedInteger();
  int64_t depth = *weight.dims[0].constant(), shift = isUnsigned ? 128 : 0;
  Value inputZero = op.getInputZero(), weightZero = op.getWeightZero();
  bool addsRows =
      weightZero ? getSplat(weightZero) != double(shift) : isUnsigned;

  // As they are stored.
  weight.element = IntegerType::get(op.getContext(), 8);
  std::vector<KernelOperand> operands = {input, weight};
  if (inputZero)
    operands.push_back(contiguous(inputZero, loc));
  size_t firstSide = operands.size();
  if (addsRows) {
    operands.push_back(
        repeated(rowSums(op.getInput(), input, op), true, false));
    if (inputZero)
      operands.push_back(repeated(contiguous(inputZero, loc), false, false));
    if (weightZero) {
      StridedView zeros = contiguous(weightZero, loc);
      operands.push_back(repeated(zeros, false, !zeros.dims.empty()));
    }
  }
  for (Value side : op.getSides())
    operands.push_back(sideOf(op, side));

  StridedView result = *makeResult(op).asRows();
  auto make = [&](OpBuilder &b, ValueRange args) -> Operation * {
    auto linear = LinearOp::create(
        b, loc, getTensorType(result.dims, result.element), args[0], args[1],
        inputZero ? args[2] : Value(), Value(), args.drop_front(firstSide));
    if (SparseAttr sparse = sparseOf(op))
      linear.setSparseAttr(sparse);
    IRMapping mapping;
    op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
    if (!addsRows)
      return linear;
    Block &block = linear.getEpilogue().front();
    OpBuilder body = OpBuilder::atBlockBegin(&block);
    Type i32 = body.getI32Type();
    auto constant = [&](int64_t value) -> Value {
      return arith::ConstantOp::create(body, loc,
                                       body.getI32IntegerAttr(value));
    };
    // The kernel's own sides come before those of the op.
    unsigned next = 1;
    auto argument = [&] { return block.insertArgument(next++, i32, loc); };
    Value sum = argument();
    if (inputZero)
      sum = arith::SubIOp::create(
          body, loc, sum,
          arith::MulIOp::create(body, loc, argument(), constant(depth)));
    Value zero = weightZero ? argument() : Value();
    if (!zero)
      zero = constant(-shift);
    else if (shift)
      zero = arith::SubIOp::create(body, loc, zero, constant(shift));
    Value all = block.getArgument(0);
    Value excess = arith::MulIOp::create(body, loc, zero, sum);
    auto centred = arith::SubIOp::create(body, loc, all, excess);
    all.replaceAllUsesExcept(centred, centred);
    return linear;
  };
  std::string name = std::string(sparseOf(op) ? "sparse_" : "") +
                     "byte_linear_" + weight.dims[0].str() + "x" +
                     weight.dims[1].str();
  plan.launch(loc, name, operands, KernelOperand(result), /*claimed=*/false,
              make);
}

void Selector::selectByteMatmul(LinearOp op) {
  Location loc = op.getLoc();
  StridedView result = makeResult(op);
  StridedView out = asBatch(result, result.dims, loc);
  StridedView left = unitInner(get(op.getInput()), loc);
  std::vector<KernelOperand> operands = {
      asBatch(left, result.dims, loc),
      asBatch(get(op.getWeight()), result.dims, loc)};
  for (Value zero : {op.getInputZero(), op.getWeightZero()})
    if (zero)
      operands.push_back(contiguous(zero, loc));
  size_t firstSide = operands.size();
  for (Value side : op.getSides()) {
    // Full dims first: a column of one value must not be read as a row of them.
    StridedView view = get(side).broadcast(result.dims);
    DimExpr inner = view.strides.back();
    if (!inner.isConstant(0) && !inner.isConstant(1))
      view = copied(view, loc, "a side of the epilogue has distant columns");
    view = asBatch(view, result.dims, loc);
    Dims shape = view.dims;
    for (auto [size, stride] : llvm::zip_equal(shape, view.strides))
      if (stride.isConstant(0))
        size = DimExpr(1);
    KernelOperand operand(view, getTensorType(shape, view.element));
    operand.sized.assign(shape.size(), false);
    operands.push_back(operand);
  }
  bool hasLeft = !!op.getInputZero(), hasRight = !!op.getWeightZero();
  auto make = [&](OpBuilder &b, ValueRange args) -> Operation * {
    auto linear = LinearOp::create(
        b, loc, getTensorType(out.dims, out.element), args[0], args[1],
        hasLeft ? args[2] : Value(), hasRight ? args[2 + hasLeft] : Value(),
        args.drop_front(firstSide));
    IRMapping mapping;
    op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
    return linear;
  };
  std::string name = "byte_matmul";
  for (auto [i, dim] :
       llvm::enumerate(ArrayRef<DimExpr>(out.dims).take_back(2)))
    name += (i == 0 ? "_" : "x") + (dim.constant() ? dim.str() : "n");
  plan.launch(loc, name, operands, KernelOperand(out), /*claimed=*/false, make);
}
