//===- SelectExperts.cpp - How products of experts become launches --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The two products of a mixture are given the same experts: their slots are
// sorted once, for both.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/StoredWeights.h"
#include "passes/Select/Selector.h"

using namespace mlir;
using namespace ferrite;

/// Rows that one unit takes through a panel; EmitLinear.cpp says why.
static constexpr int64_t kChunk = 48;

StridedView Selector::routeOf(Value experts, int64_t groups, Location loc) {
  auto known = routes.find({experts, groups});
  if (known != routes.end())
    return known->second;
  StridedView chosen = contiguous(experts, loc);
  StridedView slots = *chosen.viewed({product(chosen.dims)});
  limitIds(experts, groups);
  StridedView result =
      plan.makeBuffer(loc, IntegerType::get(loc.getContext(), 64),
                      {slots.dims[0] * DimExpr(4)});
  plan.launch(loc, "route_" + std::to_string(groups), KernelOperand(slots),
              KernelOperand(result), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return RouteOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    groups, kChunk);
              });
  return routes[{experts, groups}] = result;
}

LogicalResult Selector::selectExpertLinear(ExpertLinearOp op) {
  Location loc = op.getLoc();
  auto weightType = cast<RankedTensorType>(op.getWeight().getType());
  int64_t groups = weightType.getDimSize(0);
  int64_t columns = cast<RankedTensorType>(op.getType()).getDimSize(2);
  if (op.getBits() && op.getBlock() * op.getBits() % 8 != 0)
    return op.emitError("expects blocks of whole bytes, but got blocks of ")
           << op.getBlock() << " at " << op.getBits() << " bits";
  // What is quantised lies by columns; products read rows of them.
  SmallVector<Operation *> made;
  auto panels = [&](Value value) -> FailureOr<StridedView> {
    OpBuilder builder(op);
    if (!isa_and_nonnull<WeightOp, arith::ConstantOp>(value.getDefiningOp()))
      return op.emitError("expects weights of the model, but got ")
             << value.getType() << " that is computed";
    if (op.getBits()) {
      value = transposeStored(builder, loc, value, {0, 2, 1});
      if (!value)
        return op.emitError("expects weights in one piece");
      made.push_back(value.getDefiningOp());
    }
    return stored(value,
                  value == op.getWeight()
                      ? productFormat(getElementTypeOrSelf(value.getType()))
                      : plan::WeightFormat::Panels);
  };
  FailureOr<StridedView> weight = panels(op.getWeight());
  if (failed(weight))
    return failure();

  StridedView experts = get(op.getExperts()), input = get(op.getInput());
  StridedView route = routeOf(op.getExperts(), groups, loc);
  int64_t share = 1;
  if (input.dims[1].isConstant(1) && experts.dims[1].constant()) {
    share = *experts.dims[1].constant();
    input = rows(op.getInput(), loc);
  } else {
    StridedView each =
        input.broadcast({experts.dims[0], experts.dims[1], input.dims[2]});
    std::optional<StridedView> matrix = each.asRows();
    input = matrix && matrix->hasUnitInnerStride()
                ? *matrix
                : *copied(each, loc, "the rows of slots do not lie evenly")
                       .asRows();
  }
  std::vector<KernelOperand> operands = {input, *weight, route};
  if (op.getBias())
    operands.push_back(contiguous(op.getBias(), loc));
  for (Value value : {op.getScales(), op.getZeroPoints()})
    if (value) {
      FailureOr<StridedView> view = panels(value);
      if (failed(view))
        return failure();
      operands.push_back(*view);
    }
  StridedView result =
      *makeResult(op).viewed({product(experts.dims), DimExpr(columns)});
  std::string name = "experts_" + std::to_string(groups) + "x" +
                     input.dims[1].str() + "x" + std::to_string(columns);
  plan.launch(loc, name, operands, KernelOperand(result), /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto next = args.begin() + 3;
                auto take = [&](Value present) {
                  return present ? *next++ : Value();
                };
                Value bias = take(op.getBias()), scales = take(op.getScales()),
                      zeros = take(op.getZeroPoints());
                return GroupedLinearOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args[2], bias, scales, zeros, share, kChunk,
                    op.getBits(), op.getBlock());
              });
  for (Operation *transposed : made)
    transposed->erase();
  return success();
}
