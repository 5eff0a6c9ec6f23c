//===- SinkSlices.cpp - Compute only the token that is used ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From the last op to the first: when all users of a result are slices of one
// and the same position along one dim, the op is made again of operands that
// are cut there. Equal slices of one value are one op, so that the residual
// stream, which both a norm and an addition read, is cut once and the way goes
// on above it, up to the attention, whose keys need every token.
//
// It never pays to go on through an op of which more is needed, so none is
// computed twice.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"

#include "mlir/IR/IRMapping.h"

#define DEBUG_TYPE "ferrite-sink-slices"

namespace ferrite {
#define GEN_PASS_DEF_SINKSLICES
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// Position `offset` of dim `axis`, and the location of who wanted it.
struct Cut {
  int64_t axis;
  DimExpr offset;
  Location loc;
};

class SliceSinker {
public:
  SliceSinker(DimAnalysis &dims, MLIRContext *context)
      : dims(dims), builder(context) {}
  /// Moves the slices of `op` above it; null where they stay.
  Operation *sink(Operation *op);

private:
  std::optional<Cut> commonCut(Operation *op);
  /// The dim of operand `i` that `cut` of the result cuts, nothing where the op
  /// is not one that works on each position by itself; -1 where the operand is
  /// the same for all positions.
  std::optional<int64_t> axisOf(Operation *op, unsigned i, const Cut &cut);
  std::optional<int64_t> broadcastAxis(Operation *op, unsigned i,
                                       const Cut &cut);
  Value slice(Value value, int64_t axis, const Cut &cut);
  Dims cutDims(Value value, int64_t axis);

  DimAnalysis &dims;
  OpBuilder builder;
};
} // namespace

std::optional<Cut> SliceSinker::commonCut(Operation *op) {
  if (op->getNumResults() != 1 || op->use_empty())
    return std::nullopt;
  auto first = dyn_cast<SliceOp>(*op->user_begin());
  if (!first)
    return std::nullopt;
  for (Operation *user : op->getUsers()) {
    auto other = dyn_cast<SliceOp>(user);
    if (!other || other.getOffsets() != first.getOffsets() ||
        other.getSteps() != first.getSteps() ||
        other.getDims() != first.getDims())
      return std::nullopt;
  }
  ArrayRef<DimExpr> whole = dims.getDims(op->getResult(0));
  Dims offsets = *parseDims(first.getOffsets()),
       part = *parseDims(first.getDims());
  std::optional<Cut> cut;
  for (auto [d, size] : llvm::enumerate(whole)) {
    if (part[d] == size)
      continue;
    // A part of the innermost dim is a part of each token.
    if (cut || !part[d].isConstant(1) || d + 1 == whole.size())
      return std::nullopt;
    cut = Cut{static_cast<int64_t>(d), offsets[d], first.getLoc()};
  }
  return cut;
}

std::optional<int64_t> SliceSinker::broadcastAxis(Operation *op, unsigned i,
                                                  const Cut &cut) {
  ArrayRef<DimExpr> result = dims.getDims(op->getResult(0));
  ArrayRef<DimExpr> operand = dims.getDims(op->getOperand(i));
  int64_t axis = cut.axis - static_cast<int64_t>(result.size()) +
                 static_cast<int64_t>(operand.size());
  if (axis < 0 || operand[axis].isConstant(1))
    return -1;
  if (operand[axis] != result[cut.axis])
    return std::nullopt;
  return axis;
}

std::optional<int64_t> SliceSinker::axisOf(Operation *op, unsigned i,
                                           const Cut &cut) {
  ArrayRef<DimExpr> result = dims.getDims(op->getResult(0));
  if (op->hasTrait<OpTrait::ResultsBroadcastableShape>())
    return broadcastAxis(op, i, cut);
  if (auto linear = dyn_cast<LinearOp>(op);
      linear && typeOf(linear.getWeight()).getRank() > 2)
    return std::nullopt;
  if (isa<LinearOp>(op))
    return i == 1 ? std::optional<int64_t>(-1) : broadcastAxis(op, i, cut);
  if (auto norm = dyn_cast<NormOp>(op)) { // weight and bias are a row
    Value operand = op->getOperand(i);
    bool isRow = operand == norm.getWeight() || operand == norm.getBias();
    return isRow ? -1 : cut.axis;
  }
  if (auto transpose = dyn_cast<TransposeOp>(op))
    return transpose.getPerm()[cut.axis];
  if (isa<ViewOp>(op)) {
    ArrayRef<DimExpr> from = dims.getDims(op->getOperand(0));
    auto lead = static_cast<size_t>(cut.axis) + 1;
    if (from.size() >= lead && from.take_front(lead) == result.take_front(lead))
      return cut.axis;
  }
  return std::nullopt;
}

Dims SliceSinker::cutDims(Value value, int64_t axis) {
  Dims result(dims.getDims(value));
  result[axis] = DimExpr(1);
  return result;
}

Value SliceSinker::slice(Value value, int64_t axis, const Cut &cut) {
  Dims part = cutDims(value, axis), offsets(part.size());
  offsets[axis] = cut.offset;
  ArrayAttr offsetsAttr = getDimsAttr(builder.getContext(), offsets),
            dimsAttr = getDimsAttr(builder.getContext(), part);
  SmallVector<int64_t> steps(part.size(), 1);
  // Right behind the value, where every user can read it.
  builder.setInsertionPointAfterValue(value);
  for (Operation *user : value.getUsers())
    if (auto known = dyn_cast<SliceOp>(user);
        known && known.getOffsets() == offsetsAttr &&
        known.getSteps() == ArrayRef<int64_t>(steps) &&
        known.getDims() == dimsAttr) {
      known->moveBefore(builder.getInsertionBlock(),
                        builder.getInsertionPoint());
      return known;
    }
  return SliceOp::create(builder, cut.loc,
                         getTensorType(part, elementTypeOf(value)), value,
                         offsetsAttr, steps, dimsAttr);
}

Operation *SliceSinker::sink(Operation *op) {
  std::optional<Cut> cut = commonCut(op);
  if (!cut)
    return nullptr;
  SmallVector<int64_t> axes;
  for (unsigned i = 0; i < op->getNumOperands(); ++i) {
    std::optional<int64_t> axis = axisOf(op, i, *cut);
    if (!axis)
      return nullptr;
    axes.push_back(*axis);
  }
  if (llvm::all_of(axes, [](int64_t axis) { return axis < 0; }))
    return nullptr; // nothing that differs between positions is read
  IRMapping mapping;
  for (auto [i, axis] : llvm::enumerate(axes))
    if (axis >= 0 && !mapping.contains(op->getOperand(i)))
      mapping.map(op->getOperand(i), slice(op->getOperand(i), axis, *cut));
  Dims part = cutDims(op->getResult(0), cut->axis);
  builder.setInsertionPoint(op);
  Operation *made = builder.clone(*op, mapping);
  made->getResult(0).setType(
      getTensorType(part, elementTypeOf(op->getResult(0))));
  if (auto view = dyn_cast<ViewOp>(made))
    view.setDimsAttr(getDimsAttr(builder.getContext(), part));
  for (Operation *user : llvm::make_early_inc_range(op->getUsers())) {
    user->getResult(0).replaceAllUsesWith(made->getResult(0));
    dims.forget(user);
    user->erase();
  }
  dims.forget(op);
  op->erase();
  if (isa<LinearOp>(made))
    reportPassed(made->getLoc(), DEBUG_TYPE,
                 "computes the one position that is used");
  return made;
}

namespace {
struct SinkSlicesPass final : ferrite::impl::SinkSlicesBase<SinkSlicesPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    SliceSinker sinker(*dims, &getContext());
    // Operands come before their op: one way up sees every op after its users.
    Block &block = getOperation().getBody().front();
    for (Operation *op = &block.back(); op;) {
      Operation *made = sinker.sink(op);
      op = (made ? made : op)->getPrevNode();
    }
  }
};
} // namespace
