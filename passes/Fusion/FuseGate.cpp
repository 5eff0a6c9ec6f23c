//===- FuseGate.cpp - Halves of a packed projection, multiplied -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A slice of columns of `x W + b` is `x` times columns of `W`, plus elements of
// `b`. Slices that rope or attention read are left: those read them where they
// lie, and one product is less work to begin than three. Only where elementwise
// work brings two halves together is there something to gain, a tensor of both
// that is written and read again.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Analysis/StoredWeights.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

#include "llvm/ADT/SetVector.h"

#define DEBUG_TYPE "ferrite-fuse-gate"

namespace ferrite {
#define GEN_PASS_DEF_FUSEGATE
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// Elementwise ops that follow a half; an activation has nine at most.
constexpr size_t kMostOps = 32;

/// A projection, its bias if it has one, and the slices of the result.
struct Packed {
  LinearOp linear;
  AddOp biased;
  Value bias;
  SmallVector<SliceOp, 2> halves;

  Value whole() { return biased ? biased.getResult() : linear.getResult(); }
};
} // namespace

/// The elementwise ops that read `value`, at whatever remove.
static llvm::SetVector<Operation *> elementwiseAfter(Value value) {
  llvm::SetVector<Operation *> ahead;
  auto add = [&](Value from) {
    for (Operation *user : from.getUsers())
      if (user->hasTrait<OpTrait::ResultsBroadcastableShape>() &&
          ahead.size() < kMostOps)
        ahead.insert(user);
  };
  add(value);
  for (size_t i = 0; i < ahead.size(); ++i)
    add(ahead[i]->getResult(0));
  return ahead;
}

/// The product in which two slices come together, or null.
static MulOp findProduct(MutableArrayRef<SliceOp> halves) {
  if (halves.size() != 2)
    return {};
  llvm::SetVector<Operation *> left = elementwiseAfter(halves[0].getResult()),
                               right = elementwiseAfter(halves[1].getResult());
  Operation *first = nullptr;
  for (Operation *op : left)
    if (right.contains(op) && (!first || op->isBeforeInBlock(first)))
      first = op;
  return dyn_cast_if_present<MulOp>(first);
}

/// The column that the slice begins at, where it cuts nothing else.
static std::optional<int64_t> firstColumn(SliceOp slice, DimAnalysis &dims) {
  Dims offsets = *parseDims(slice.getOffsets()), // verified
      from(dims.getDims(slice.getInput())), to(dims.getDims(slice));
  for (auto [i, offset] : llvm::enumerate(offsets))
    if (i + 1 != offsets.size() &&
        (!offset.isConstant(0) || from[i] != to[i] || slice.getSteps()[i] != 1))
      return std::nullopt;
  return slice.getSteps().back() == 1 ? offsets.back().constant()
                                      : std::nullopt;
}

/// What of the linear could be split; the halves are empty where nothing is.
static Packed findPacked(LinearOp linear) {
  Packed packed{linear, {}, {}, {}};
  if (linear->hasOneUse())
    if (auto add = dyn_cast<AddOp>(*linear->getUsers().begin())) {
      Value bias = otherOperand(add, linear.getResult());
      if (add.getType() == linear.getType() && isWeightOrConstant(bias)) {
        packed.biased = add;
        packed.bias = bias;
      }
    }
  for (Operation *user : packed.whole().getUsers())
    if (auto slice = dyn_cast<SliceOp>(user))
      packed.halves.push_back(slice);
  return packed;
}

static LogicalResult split(Packed &packed, DimAnalysis &dims,
                           OpBuilder &builder, Reject reject) {
  LinearOp linear = packed.linear;
  int64_t columns = typeOf(linear).getShape().back();
  for (Operation *user : packed.whole().getUsers())
    if (!isa<SliceOp>(user))
      return reject("the projection is read whole as well" + whichNode(user));
  SmallVector<int64_t, 2> firsts;
  for (SliceOp half : packed.halves) {
    std::optional<int64_t> first = firstColumn(half, dims);
    if (!first || typeOf(half).getShape().back() * 2 != columns ||
        *first % (columns / 2) != 0)
      return reject("a slice is no half of the columns" +
                    whichNode(half.getOperation()));
    firsts.push_back(*first);
  }
  if (packed.bias && typeOf(packed.bias).getRank() != 1)
    return reject("the bias is no row" + whichNode(packed.whole()));
  if (!linear.getSides().empty())
    return reject("the projection has an epilogue already");
  builder.setInsertionPoint(packed.whole().getDefiningOp());
  SmallVector<Value, 2> weights, biases;
  for (int64_t first : firsts) {
    weights.push_back(sliceStored(builder, linear.getWeight().getLoc(),
                                  linear.getWeight(), 1, first, columns / 2));
    if (packed.bias)
      biases.push_back(typeOf(packed.bias).getDimSize(0) == 1
                           ? packed.bias
                           : sliceStored(builder, packed.bias.getLoc(),
                                         packed.bias, 0, first, columns / 2));
  }
  if (llvm::is_contained(weights, Value()) ||
      llvm::is_contained(biases, Value())) {
    for (Value part : llvm::concat<Value>(weights, biases))
      if (part && part != packed.bias)
        part.getDefiningOp()->erase();
    return reject("columns of the weight or the bias cannot be read alone");
  }
  for (auto [i, half] : llvm::enumerate(packed.halves)) {
    builder.setInsertionPoint(half);
    auto product =
        LinearOp::create(builder, linear.getLoc(), Type(half.getType()),
                         linear.getInput(), weights[i]);
    product.setInputBlock(linear.getInputBlock());
    Value part = product;
    if (packed.bias)
      part = AddOp::create(builder, packed.biased.getLoc(),
                           Type(half.getType()), part, biases[i]);
    half.getResult().replaceAllUsesWith(part);
    dims.forget(half);
    half.erase();
  }
  if (packed.biased) {
    dims.forget(packed.biased);
    packed.biased.erase();
  }
  reportPassed(linear.getLoc(), DEBUG_TYPE,
               "split into the halves that are multiplied");
  dims.forget(linear);
  linear.erase();
  return success();
}

namespace {
struct FuseGatePass final : ferrite::impl::FuseGateBase<FuseGatePass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    OpBuilder builder(&getContext());
    for (LinearOp linear : llvm::to_vector(getOperation().getOps<LinearOp>())) {
      Packed packed = findPacked(linear);
      MulOp product = findProduct(packed.halves);
      if (!product)
        continue;
      (void)split(packed, *dims, builder,
                  [&](const Twine &reason) -> LogicalResult {
                    reportMissed(product, DEBUG_TYPE, reason);
                    return failure();
                  });
    }
  }
};
} // namespace
