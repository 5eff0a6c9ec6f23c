//===- FuseElementwise.cpp - Gather what is left into ferrite.fused -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// First every op becomes a `fused` of its own, which is always possible and
// always right; then pairs join, consumers in program order, each with its
// producers until none fits. A producer that others need too stays, unless it
// is cheap enough to be repeated.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MergeFused.h"
#include "passes/Fusion/Passes.h"

#define DEBUG_TYPE "ferrite-fuse-elementwise"

namespace ferrite {
#define GEN_PASS_DEF_FUSEELEMENTWISE
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// Who reads a producer, through views and the like.
struct Readers {
  SmallVector<Operation *> fused;
  bool others = false; // somebody needs the tensor itself
};

class Merger {
public:
  Merger(DimAnalysis &dims) : dims(dims) {}
  /// Joins `consumer` with its producers; the op that it has become.
  FusedOp merge(FusedOp consumer);
  void reportApart(FusedOp consumer);

private:
  LogicalResult check(FusedOp producer, Reject reject);
  DimAnalysis &dims;
};

struct FuseElementwisePass final
    : ferrite::impl::FuseElementwiseBase<FuseElementwisePass> {
  void runOnOperation() override;
  void eraseDeadOps(DimAnalysis &dims);
};
} // namespace

static void collectReaders(Value value, Readers &readers, DimAnalysis &dims) {
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<ViewOp, TransposeOp, BroadcastOp>(user))
      collectReaders(user->getResult(0), readers, dims);
    else if (auto fused = dyn_cast<FusedOp>(user);
             fused && lookThrough(readOf(fused, use.getOperandNumber()), dims)
                          .value.getDefiningOp<FusedOp>())
      readers.fused.push_back(user);
    else
      readers.others = true;
  }
}

/// Whether the producer may vanish into its readers.
LogicalResult Merger::check(FusedOp producer, Reject reject) {
  Readers readers;
  collectReaders(producer.getResult(), readers, dims);
  bool one = llvm::all_of(
      readers.fused, [&](Operation *op) { return op == readers.fused[0]; });
  if (producer.getInputs().empty() && isCheap(producer))
    return success(); // a sequence: it has nothing to read
  if (readers.others)
    return reject("the result of the producer is needed in memory");
  if (!one && !isCheap(producer))
    return reject("the producer has several consumers");
  return success();
}

FusedOp Merger::merge(FusedOp consumer) {
  auto ignore = [](const Twine &) -> LogicalResult { return failure(); };
  Location own = consumer.getLoc();
  simplifyInputs(consumer, dims);
  for (unsigned i = 0; i < consumer.getInputs().size();) {
    Value read = lookThrough(readOf(consumer, i), dims).value;
    auto producer = read.getDefiningOp<FusedOp>();
    FusedOp merged;
    if (producer && succeeded(check(producer, ignore)))
      merged = mergeProducer(consumer, i, dims, ignore, Merge::Replace);
    if (!merged) {
      ++i;
      continue;
    }
    consumer.replaceAllUsesWith(merged.getResult());
    dims.forget(consumer);
    consumer.erase();
    consumer = merged;
    simplifyInputs(consumer, dims);
    reportPassed(own, DEBUG_TYPE, "joined with its producer");
    if (producer.use_empty()) {
      dims.forget(producer);
      producer.erase();
    }
    i = 0;
  }
  return consumer;
}

void Merger::reportApart(FusedOp consumer) {
  auto report = [&](const Twine &reason) -> LogicalResult {
    reportMissed(consumer, DEBUG_TYPE, reason);
    return failure();
  };
  for (unsigned i = 0; i < consumer.getInputs().size(); ++i) {
    auto producer =
        lookThrough(readOf(consumer, i), dims).value.getDefiningOp<FusedOp>();
    if (!producer || failed(check(producer, report)))
      continue;
    // Made for its reason alone.
    if (FusedOp merged = mergeProducer(consumer, i, dims, report, Merge::Try))
      merged.erase();
  }
}

void FuseElementwisePass::eraseDeadOps(DimAnalysis &dims) {
  for (Block &block : getOperation().getBody())
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op)) {
        dims.forget(&op);
        op.erase();
      }
}

void FuseElementwisePass::runOnOperation() {
  for (Block &block : getOperation().getBody())
    expandWide(block);
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
  if (failed(dims))
    return signalPassFailure();
  eraseDeadOps(*dims);
  for (Block &block : getOperation().getBody())
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (!isa_and_present<FerriteDialect>(op.getDialect()) ||
          op.getNumResults() != 1)
        continue;
      const char *reason = nullptr;
      Value fused = buildFused(&op, *dims, reason);
      if (!fused) {
        // Ops of other families are not ours; an elementwise one is reported.
        if (op.hasTrait<OpTrait::ResultsBroadcastableShape>() ||
            isa<ReduceOp>(op))
          reportMissed(&op, DEBUG_TYPE, reason);
        continue;
      }
      op.getResult(0).replaceAllUsesWith(fused);
      dims->forget(&op);
      op.erase();
    }
  Merger merger(*dims);
  SmallVector<FusedOp> consumers(getOperation().getOps<FusedOp>());
  // A producer can be merged and erased before its turn comes: only later ops
  // are consumers of it, so each is alive when it is visited as a consumer.
  for (FusedOp consumer : consumers)
    merger.merge(consumer);
  eraseDeadOps(*dims);
  for (FusedOp consumer :
       SmallVector<FusedOp>(getOperation().getOps<FusedOp>()))
    merger.reportApart(consumer);
}
