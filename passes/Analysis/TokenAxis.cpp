//===- TokenAxis.cpp - Which dim of a value counts tokens -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/TokenAxis.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

bool TokenAxis::mentions(const DimExpr &dim) const {
  return llvm::any_of(dim.symbols(), [&](const std::string &name) {
    return llvm::is_contained(symbols, name);
  });
}

std::optional<TokenDim> TokenAxis::find(Value value) const {
  TokenDim found;
  for (auto [axis, dim] : llvm::enumerate(dims(value))) {
    if (!mentions(dim))
      continue;
    std::vector<std::string> names = dim.symbols();
    if (found.exists() || names.size() != 1)
      return std::nullopt;
    std::optional<DimExpr> inner = dim.dividedBy(DimExpr::symbol(names[0]));
    if (!inner || !inner->constant() || *inner->constant() < 1)
      return std::nullopt;
    found = {static_cast<int64_t>(axis), *inner->constant()};
  }
  return found;
}

/// Whether the operand has its tokens where the result of a broadcast has them.
bool TokenAxis::isAligned(Value operand, Value result) const {
  TokenDim in = *find(operand), out = *find(result);
  if (!in.exists())
    return true;
  int64_t shift = static_cast<int64_t>(dims(result).size()) -
                  static_cast<int64_t>(dims(operand).size());
  return out.exists() && in.axis + shift == out.axis && in.inner == out.inner;
}

static const char *kMixes = "mixes tokens";

std::string TokenAxis::whyNotLayout(Operation *op, TokenDim in,
                                    TokenDim out) const {
  Value input = op->getOperand(0), result = op->getResult(0);
  if (isa<BroadcastOp>(op))
    return isAligned(input, result) ? "" : kMixes;
  if (!in.exists() && !out.exists())
    return "";
  if (!in.exists() || !out.exists())
    return "takes tokens by their place in the call";
  return llvm::TypeSwitch<Operation *, std::string>(op)
      .Case([&](ViewOp) -> std::string {
        // As many elements from a token to the next as before.
        auto step = [&](Value value, TokenDim dim) {
          return DimExpr(dim.inner) *
                 product(dims(value).drop_front(dim.axis + 1));
        };
        return step(input, in) == step(result, out) ? "" : kMixes;
      })
      .Case([&](TransposeOp transpose) -> std::string {
        return transpose.getPerm()[out.axis] == in.axis ? "" : kMixes;
      })
      .Case([&](SliceOp slice) -> std::string {
        std::optional<Dims> offsets = parseDims(slice.getOffsets());
        bool whole = offsets && in == out && slice.getSteps()[in.axis] == 1 &&
                     (*offsets)[in.axis].isConstant(0);
        return whole ? "" : "takes tokens by their place in the call";
      })
      .Default([](Operation *) { return kMixes; });
}

std::string TokenAxis::whyNotIndexing(Operation *op, TokenDim out) const {
  auto along = [&](int64_t axis, Value value) {
    return find(value)->axis == axis;
  };
  auto rank = [&](Value value) {
    return static_cast<int64_t>(dims(value).size());
  };
  return llvm::TypeSwitch<Operation *, std::string>(op)
      .Case([&](GatherOp gather) -> std::string {
        TokenDim data = *find(gather.getData()),
                 index = *find(gather.getIndices());
        int64_t axis = gather.getAxis(), more = rank(gather.getIndices()) - 1;
        if (!data.exists())
          return index.axis + axis == out.axis && index.inner == out.inner
                     ? ""
                     : kMixes;
        if (index.exists() || data.axis == axis)
          return kMixes;
        return data.axis + (data.axis > axis ? more : 0) == out.axis ? ""
                                                                     : kMixes;
      })
      .Case([&](GatherNDOp gather) -> std::string {
        TokenDim data = *find(gather.getData()),
                 index = *find(gather.getIndices());
        int64_t lead = rank(gather.getIndices()) - 1;
        if (!data.exists())
          return index == out && index.axis < lead ? "" : kMixes;
        // The same place for all: what is behind it keeps its tokens.
        int64_t tuple = cast<RankedTensorType>(gather.getIndices().getType())
                            .getShape()
                            .back();
        return !index.exists() && data.axis >= tuple &&
                       data.axis - tuple + lead == out.axis
                   ? ""
                   : kMixes;
      })
      .Case<GatherElementsOp, ScatterElementsOp>([&](auto each) -> std::string {
        // Along the dim of tokens of the indices: rows of a table.
        if (isa<GatherElementsOp>(op) && !find(op->getOperand(0))->exists() &&
            *find(op->getOperand(1)) == out &&
            along(each.getAxis(), op->getResult(0)))
          return "";
        // Every operand has the token's dim, and an element goes along another.
        for (Value operand : op->getOperands())
          if (*find(operand) != out)
            return kMixes;
        return along(each.getAxis(), op->getResult(0)) ? kMixes : "";
      })
      .Default([](Operation *) { return kMixes; });
}

std::string TokenAxis::whyNotProduct(MatmulOp op, TokenDim out) const {
  TokenDim lhs = *find(op.getLhs()), rhs = *find(op.getRhs());
  auto last = [&](Value value, int64_t back) {
    return static_cast<int64_t>(dims(value).size()) - back;
  };
  if (!rhs.exists()) // rows, or batches of them
    return lhs.axis < last(op.getLhs(), 1) &&
                   isAligned(op.getLhs(), op.getResult())
               ? ""
               : kMixes;
  bool batched = rhs.axis < last(op.getRhs(), 2) &&
                 (!lhs.exists() || lhs.axis < last(op.getLhs(), 2));
  return batched && out.exists() && isAligned(op.getLhs(), op.getResult()) &&
                 isAligned(op.getRhs(), op.getResult())
             ? ""
             : kMixes;
}

std::string TokenAxis::whyNot(Operation *op) const {
  for (Value value : op->getOperands())
    if (!find(value))
      return "has tokens in more than one dim";
  if (op->getNumResults() != 1 || !find(op->getResult(0)))
    return "has tokens in more than one dim";
  Value result = op->getResult(0);
  TokenDim out = *find(result);
  bool fromTokens = llvm::any_of(
      op->getOperands(), [&](Value value) { return find(value)->exists(); });
  if (!fromTokens && !out.exists())
    return "";
  auto aligned = [&](auto operands) {
    return llvm::all_of(
        operands, [&](Value operand) { return isAligned(operand, result); });
  };
  int64_t rank = dims(result).size();
  using Why = std::string;
  if (op->hasTrait<OpTrait::ResultsBroadcastableShape>())
    return aligned(op->getOperands()) ? "" : kMixes;
  return llvm::TypeSwitch<Operation *, Why>(op)
      .Case<ViewOp, TransposeOp, BroadcastOp, SliceOp>(
          [&](auto) { return whyNotLayout(op, *find(op->getOperand(0)), out); })
      .Case<GatherOp, GatherNDOp, GatherElementsOp, ScatterElementsOp>(
          [&](auto) { return whyNotIndexing(op, out); })
      .Case([&](ConcatOp concat) -> Why {
        for (Value input : concat.getInputs())
          if (*find(input) != out)
            return kMixes;
        return concat.getAxis() == out.axis ? kMixes : "";
      })
      .Case<CumSumOp, CumProdOp, TopKOp, ArgReduceOp>([&](auto each) -> Why {
        TokenDim in = *find(op->getOperand(0));
        return in.exists() && static_cast<int64_t>(each.getAxis()) != in.axis
                   ? ""
                   : kMixes;
      })
      .Case([&](ReduceOp reduce) -> Why {
        TokenDim in = *find(reduce.getInput());
        return llvm::is_contained(reduce.getAxes(), in.axis) || !out.exists()
                   ? kMixes
                   : "";
      })
      .Case<SoftmaxOp>(
          [&](auto) -> Why { return out.axis + 1 < rank ? "" : kMixes; })
      .Case([&](NormOp norm) -> Why {
        // Weight and bias are a row.
        bool rows =
            !find(norm.getWeight())->exists() &&
            (!norm.getBias() || !find(norm.getBias())->exists()) &&
            (!norm.getResidual() || isAligned(norm.getResidual(), result));
        return rows && out.axis + 1 < rank && isAligned(norm.getInput(), result)
                   ? ""
                   : kMixes;
      })
      .Case([&](LinearOp linear) -> Why {
        return out.axis + 1 < rank && aligned(linear.getSides()) &&
                       isAligned(linear.getInput(), result) &&
                       !find(linear.getWeight())->exists()
                   ? ""
                   : kMixes;
      })
      .Case([&](MatmulOp matmul) { return whyNotProduct(matmul, out); })
      .Case([&](RopeOp rope) -> Why {
        // Tables have no dim of heads.
        return out.axis <= 1 && *find(rope.getInput()) == out &&
                       (!find(rope.getCos())->exists() ||
                        *find(rope.getCos()) == out) &&
                       *find(rope.getCos()) == *find(rope.getSin())
                   ? ""
                   : kMixes;
      })
      .Case([&](ExpertLinearOp expert) -> Why {
        for (Value operand : op->getOperands())
          if (operand != expert.getInput() && operand != expert.getExperts() &&
              find(operand)->exists())
            return kMixes;
        return out.axis == 0 && *find(expert.getInput()) == out &&
                       *find(expert.getExperts()) == out
                   ? ""
                   : kMixes;
      })
      .Case<IotaOp, DimValuesOp>(
          [](auto) -> Why { return "counts the tokens of the call"; })
      .Default([](Operation *) -> Why {
        return "is not known to keep tokens apart";
      });
}
