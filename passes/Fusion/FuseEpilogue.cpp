//===- FuseEpilogue.cpp - Elementwise work on accumulators ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From a linear, looks for the nearest op through which all uses of its result
// pass: the bias, or the product of `x * sigmoid(x)`. All ops between the two
// move into the epilogue at once, and the search goes on from there.
//
// The new linear stands where the last of those ops stood, so that whatever
// else they read is computed by then.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/ScalarEmitter.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

#define DEBUG_TYPE "ferrite-fuse-epilogue"

namespace ferrite {
#define GEN_PASS_DEF_FUSEEPILOGUE
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// A gelu left as arithmetic has nine ops; twice that is arbitrary.
constexpr size_t kMostOps = 18;
/// Sides are pointers of a kernel; more than a few would spill its registers.
constexpr size_t kMostSides = 8;

/// Ops in block order; the last is the one through which all uses pass.
using Cone = SmallVector<Operation *>;

class EpilogueFuser {
public:
  EpilogueFuser(DimAnalysis &dims) : dims(dims) {}
  /// The linear with as much in its epilogue as possible.
  LinearOp fuse(LinearOp linear);
  /// Why the elementwise users of the linear are no part of it.
  void reportUsers(LinearOp linear);
  /// Why an activation that is no such user is part of no linear.
  void reportActivation(Operation *op);

private:
  LogicalResult check(LinearOp linear, Operation *op, Reject reject);
  LogicalResult findCone(LinearOp linear, Cone &cone, Reject reject);
  LinearOp absorb(LinearOp linear, ArrayRef<Operation *> cone);

  DimAnalysis &dims;
};
} // namespace

LogicalResult EpilogueFuser::check(LinearOp linear, Operation *op,
                                   Reject reject) {
  if (const char *reason = whyNotScalar(op))
    return reject(reason);
  if (op->getBlock() != linear->getBlock())
    return reject("the op is in another block");
  if (dims.getDims(op->getResult(0)) != dims.getDims(linear))
    return reject("the result of the op has other dims than the product");
  if (elementTypeOf(op->getResult(0)).isF64() ||
      llvm::any_of(op->getOperands(),
                   [](Value v) { return elementTypeOf(v).isF64(); }))
    return reject("an epilogue is computed in f32");
  return success();
}

LogicalResult EpilogueFuser::findCone(LinearOp linear, Cone &cone,
                                      Reject reject) {
  // Everything elementwise that follows, up to a limit.
  SetVector<Operation *> ahead;
  for (Operation *user : linear->getUsers()) {
    if (!user->hasTrait<OpTrait::ResultsBroadcastableShape>())
      return reject("the product is needed in memory" + whichNode(user));
    if (LogicalResult fits = check(linear, user, reject); failed(fits))
      return fits;
    ahead.insert(user);
  }
  auto ignore = [](const Twine &) -> LogicalResult { return failure(); };
  for (size_t i = 0; i < ahead.size() && ahead.size() <= kMostOps; ++i)
    for (Operation *user : ahead[i]->getUsers())
      if (succeeded(check(linear, user, ignore)))
        ahead.insert(user);
  Cone ordered(ahead.begin(), ahead.end());
  llvm::sort(ordered,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  for (Operation *last : ordered) {
    SetVector<Operation *> inside;
    inside.insert(last);
    for (size_t i = 0; i < inside.size(); ++i)
      for (Value operand : inside[i]->getOperands())
        if (Operation *op = operand.getDefiningOp(); op && ahead.contains(op))
          inside.insert(op);
    auto isInside = [&](Operation *user) { return inside.contains(user); };
    bool closed = llvm::all_of(linear->getUsers(), isInside);
    for (Operation *op : inside)
      closed &= op == last || llvm::all_of(op->getUsers(), isInside);
    // Of integers, what is quantized is a result; sums on the way are not.
    Type element = elementTypeOf(last->getResult(0));
    bool isResult =
        isa<FloatType>(element) ||
        (isa<IntegerType>(element) && element.getIntOrFloatBitWidth() == 8);
    if (!closed || !isResult)
      continue;
    cone = Cone(inside.begin(), inside.end());
    size_t sides = linear.getSides().size();
    for (Operation *op : cone)
      sides += op->getNumOperands() - 1;
    if (sides > kMostSides)
      return reject("the epilogue would have too many sides");
    llvm::sort(
        cone, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    return success();
  }
  return reject("the uses of the product do not come together in one op" +
                whichNode(linear.getOperation()));
}

/// The accumulator's value at the end of an epilogue, before its rounding.
static Value heldResult(YieldOp yield) {
  auto rounding = yield.getValue().getDefiningOp<arith::TruncFOp>();
  if (rounding && rounding.getIn().getType().isF32())
    return rounding.getIn();
  return yield.getValue();
}

LinearOp EpilogueFuser::absorb(LinearOp linear, ArrayRef<Operation *> cone) {
  Operation *last = cone.back();
  SetVector<Value> sides(linear.getSides().begin(), linear.getSides().end());
  auto isComputed = [&](Value value) {
    Operation *op = value.getDefiningOp();
    return op && (op == linear || llvm::is_contained(cone, op));
  };
  OpBuilder scratch(last);
  SmallVector<Location> locs = {linear.getLoc()};
  for (Operation *op : cone) {
    locs.push_back(op->getLoc());
    for (Value operand : op->getOperands())
      if (!isComputed(operand) && !isSplat(operand))
        sides.insert(operand);
  }
  auto fused =
      LinearOp::create(scratch, FusedLoc::get(last->getContext(), locs),
                       last->getResult(0).getType(), linear, linear.getInput(),
                       linear.getWeight(), sides.getArrayRef());
  // The block of before, with an argument for each new side.
  fused.getEpilogue().takeBody(linear.getEpilogue());
  Block &block = fused.getEpilogue().front();
  for (Value side : sides.getArrayRef().drop_front(block.getNumArguments() - 1))
    block.addArgument(getBodyType(elementTypeOf(side)), fused.getLoc());
  auto yield = cast<YieldOp>(block.getTerminator());
  OpBuilder builder(yield);
  DenseMap<Value, Value> held = {{linear.getResult(), heldResult(yield)}};
  for (Operation *op : cone) {
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      Value &value = held[operand];
      if (!value)
        value = emitSplat(builder, op->getLoc(), operand);
      if (!value) {
        size_t side = llvm::find(sides, operand) - sides.begin();
        value = emitLoad(builder, op->getLoc(), block.getArgument(side + 1),
                         elementTypeOf(operand));
      }
      operands.push_back(value);
    }
    Value result = emitScalar(builder, op, operands);
    held[op->getResult(0)] = result;
  }
  Operation *rounding = yield.getValue().getDefiningOp();
  yield.getValueMutable().assign(emitStore(builder, fused.getLoc(),
                                           held[last->getResult(0)],
                                           elementTypeOf(fused.getResult())));
  if (rounding && isOpTriviallyDead(rounding))
    rounding->erase();
  last->getResult(0).replaceAllUsesWith(fused);
  for (Operation *op : llvm::reverse(cone)) {
    dims.forget(op);
    op->erase();
  }
  dims.forget(linear);
  linear.erase();
  reportPassed(fused.getLoc(), DEBUG_TYPE,
               "moved into the epilogue of a linear");
  return fused;
}

LinearOp EpilogueFuser::fuse(LinearOp linear) {
  auto ignore = [](const Twine &) -> LogicalResult { return failure(); };
  Cone cone;
  while (!linear->use_empty() && succeeded(findCone(linear, cone, ignore)))
    linear = absorb(linear, cone);
  return linear;
}

void EpilogueFuser::reportUsers(LinearOp linear) {
  Cone cone;
  (void)findCone(linear, cone, [&](const Twine &reason) -> LogicalResult {
    for (Operation *user : linear->getUsers())
      if (user->hasTrait<OpTrait::ResultsBroadcastableShape>())
        reportMissed(user, DEBUG_TYPE, reason);
    return failure();
  });
}

/// The op that computes what `op` works on, behind other elementwise ones; null
/// for an input of the model.
static Operation *sourceOf(Operation *op) {
  for (int depth = 0; op && depth < 32; ++depth) {
    auto computed = llvm::find_if(op->getOperands(), [](Value operand) {
      return !isWeightOrConstant(operand);
    });
    if (computed == op->operand_end())
      return op;
    op = (*computed).getDefiningOp();
    if (op && !op->hasTrait<OpTrait::ResultsBroadcastableShape>())
      return op;
  }
  return op;
}

void EpilogueFuser::reportActivation(Operation *op) {
  bool isReported = llvm::any_of(op->getOperands(), [](Value operand) {
    return !!operand.getDefiningOp<LinearOp>();
  });
  if (isReported)
    return;
  Operation *source = sourceOf(op);
  Cone cone;
  auto linear = dyn_cast_if_present<LinearOp>(source);
  if (!source)
    return reportMissed(op, DEBUG_TYPE, "it is of an input of the model");
  if (!linear)
    return reportMissed(op, DEBUG_TYPE,
                        "it follows the " + nameForPeople(source) +
                            whichNode(source) + ", not a linear");
  std::string why = "what is between them takes no part in an epilogue";
  (void)findCone(linear, cone, [&](const Twine &reason) -> LogicalResult {
    why = reason.str();
    return failure();
  });
  reportMissed(op, DEBUG_TYPE,
               "the linear before it" + whichNode(source) +
                   " does not take it: " + why);
}

namespace {
struct FuseEpiloguePass final
    : ferrite::impl::FuseEpilogueBase<FuseEpiloguePass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    EpilogueFuser fuser(*dims);
    SmallVector<LinearOp> linears(getOperation().getOps<LinearOp>());
    for (LinearOp &linear : linears)
      linear = fuser.fuse(linear);
    // Not before: a residual may have gone into a later linear.
    for (LinearOp linear : linears)
      fuser.reportUsers(linear);
    for (Operation &op : getOperation().getOps())
      if (isa<GeluOp, SigmoidOp, TanhOp, ReluOp, ErfOp>(op))
        fuser.reportActivation(&op);
  }
};
} // namespace
