//===- MergeFused.cpp - Join a producer and its consumer ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A consumer over loops c reads the producer's result at some of them. That
// fixes the producer's loops p in terms of c:
//
//   producer  p = (p0, p1)  writes (p0, p1)       reads x at (p1)
//   consumer  c = (c0, c1, c2)                    reads the result at (c0, c2)
//   merged    p0 = c0, p1 = c2                    reads x at (c2)
//
// so all maps stay projections. Consumer loops that the read does not name
// repeat the producer's work: only a cheap producer is merged then.
//
// A reduction is merged the other way round: an elementwise consumer that reads
// nothing else is done at its end, in `finish`.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MergeFused.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

static FusedOp none(LogicalResult) { return {}; }

/// A kernel's body has its values in registers; 64 is arbitrary.
static constexpr size_t kMostOps = 64;
static constexpr size_t kMostInputs = 8;
/// Casts, comparisons, a choice: what costs less than reading it from memory.
static constexpr unsigned kCheap = 4;

static unsigned costOf(Block &block) {
  unsigned cost = 0;
  for (Operation &op : block.without_terminator()) {
    if (isa<arith::ConstantOp, LoopIndexOp, arith::ExtFOp, arith::TruncFOp>(op))
      continue;
    bool isSlow =
        isa<arith::DivFOp, arith::DivSIOp>(op) ||
        (op.getDialect()->getNamespace() == "math" && !isa<math::AbsFOp>(op));
    cost += isSlow ? 2 * kCheap : 1;
  }
  return cost;
}

bool ferrite::isCheap(FusedOp fused) {
  return fused.getCombine() == CombineKind::None &&
         costOf(fused.getBody().front()) + costOf(fused.getFinish().front()) <=
             kCheap;
}

/// Copies a block but for its terminator; returns what it yields. `loops` gives
/// each loop index (null: as it is).
static Value inlineBlock(OpBuilder &b, Block &block, ValueRange arguments,
                         ArrayRef<AffineExpr> loops) {
  IRMapping map;
  map.map(block.getArguments(), arguments);
  for (Operation &op : block.without_terminator()) {
    auto index = dyn_cast<LoopIndexOp>(op);
    // A narrow value that was only rounded for memory is read as it was before.
    if (auto load = dyn_cast<arith::ExtFOp>(op)) {
      auto store = map.lookup(load.getIn()).getDefiningOp<arith::TruncFOp>();
      if (store && store.getIn().getType() == load.getType()) {
        map.map(load.getResult(), store.getIn());
        continue;
      }
    }
    if (!index || loops.empty()) {
      b.clone(op, map);
      continue;
    }
    Value value;
    if (auto loop = dyn_cast<AffineDimExpr>(loops[index.getDim()]))
      value = LoopIndexOp::create(b, op.getLoc(), b.getI64Type(),
                                  loop.getPosition());
    else
      value = arith::ConstantOp::create(b, op.getLoc(), b.getI64IntegerAttr(0));
    map.map(index.getResult(), value);
  }
  return map.lookup(cast<YieldOp>(block.getTerminator()).getValue());
}

/// The same, of a block whose op is erased next: its ops move. So a chain of
/// ops joins in time that grows with its length alone.
static Value moveBlock(OpBuilder &b, Block &block, ValueRange arguments,
                       ArrayRef<AffineExpr> loops) {
  Operation *end = block.getTerminator();
  // Null for what nothing uses.
  for (auto [old, value] : llvm::zip_equal(block.getArguments(), arguments))
    if (value)
      old.replaceAllUsesWith(value);
  for (Operation &op : llvm::make_early_inc_range(block.without_terminator())) {
    if (auto load = dyn_cast<arith::ExtFOp>(op)) {
      auto store = load.getIn().getDefiningOp<arith::TruncFOp>();
      if (store && store.getIn().getType() == load.getType()) {
        load.replaceAllUsesWith(store.getIn());
        load.erase();
      }
      continue;
    }
    auto index = dyn_cast<LoopIndexOp>(op);
    if (!index || loops.empty())
      continue;
    if (auto loop = dyn_cast<AffineDimExpr>(loops[index.getDim()])) {
      index.setDim(loop.getPosition());
      continue;
    }
    OpBuilder builder(index);
    index.replaceAllUsesWith(
        arith::ConstantOp::create(builder, index.getLoc(),
                                  builder.getI64IntegerAttr(0))
            .getResult());
    index.erase();
  }
  b.getInsertionBlock()->getOperations().splice(
      b.getInsertionPoint(), block.getOperations(), block.begin(),
      end->getIterator());
  Value result = cast<YieldOp>(end).getValue();
  end->erase();
  return result;
}

/// Roundings that nothing reads any more.
static void eraseDead(FusedOp fused) {
  for (Region *region : {&fused.getBody(), &fused.getFinish()})
    for (Operation &op :
         llvm::make_early_inc_range(llvm::reverse(region->front())))
      if (isOpTriviallyDead(&op))
        op.erase();
}

/// The producer's loops in terms of the consumer's, which reads it at `at`.
static SmallVector<AffineExpr> loopsOf(FusedOp producer,
                                       ArrayRef<AffineExpr> at) {
  MLIRContext *context = producer.getContext();
  SmallVector<AffineExpr> loops(producer.getDomain().size(),
                                getAffineConstantExpr(0, context));
  for (auto [expr, where] :
       llvm::zip_equal(resultMap(producer).getResults(), at))
    if (auto loop = dyn_cast<AffineDimExpr>(expr))
      loops[loop.getPosition()] = where;
  return loops;
}

static Read substitute(Read read, ArrayRef<AffineExpr> loops) {
  for (AffineExpr &expr : read.at)
    if (auto loop = dyn_cast<AffineDimExpr>(expr))
      expr = loops[loop.getPosition()];
  return read;
}

static unsigned addRead(SmallVector<Read> &reads, const Read &read) {
  auto found = llvm::find(reads, read);
  unsigned position = found - reads.begin();
  if (found == reads.end())
    reads.push_back(read);
  return position;
}

static Location locOfBoth(FusedOp producer, FusedOp consumer) {
  return FusedLoc::get(consumer.getContext(),
                       {producer.getLoc(), consumer.getLoc()});
}

/// Does the producer's work where the consumer reads it.
static FusedOp mergeIntoBody(FusedOp producer, FusedOp consumer,
                             DimAnalysis &dims, Reject reject, Merge merge) {
  Dims domain = *parseDims(consumer.getDomain());
  FusedParts parts;
  parts.type = typeOf(consumer);
  parts.domain = domain;
  parts.writes.assign(resultMap(consumer).getResults().begin(),
                      resultMap(consumer).getResults().end());
  parts.combine = consumer.getCombine();
  // Each read of the consumer: of the producer at some loops, or of an input.
  struct Input {
    bool isProducer;
    SmallVector<AffineExpr> loops;
    SmallVector<unsigned> arguments; // into parts.reads
  };
  SmallVector<Input> inputs;
  unsigned repeats = 0;
  for (unsigned i = 0; i < consumer.getInputs().size(); ++i) {
    Read read = lookThrough(readOf(consumer, i), dims);
    Input input{read.value == producer.getResult(), {}, {}};
    if (!input.isProducer) {
      input.arguments.push_back(addRead(parts.reads, read));
      inputs.push_back(input);
      continue;
    }
    ++repeats;
    input.loops = loopsOf(producer, read.at);
    for (auto [loop, size] : llvm::enumerate(domain))
      if (!size.isConstant(1) && !isCheap(producer) &&
          !llvm::is_contained(read.at,
                              getAffineDimExpr(loop, consumer.getContext())))
        return none(
            reject("the consumer would compute the producer repeatedly"));
    for (unsigned k = 0; k < producer.getInputs().size(); ++k)
      input.arguments.push_back(
          addRead(parts.reads, substitute(readOf(producer, k), input.loops)));
    inputs.push_back(input);
  }
  if (repeats > 1 && !isCheap(producer))
    return none(reject("the consumer reads the producer at several places"));
  if (parts.reads.size() > kMostInputs)
    return none(reject("the body would have too many inputs"));
  if (consumer.getBody().front().getOperations().size() +
          repeats * producer.getBody().front().getOperations().size() >
      kMostOps)
    return none(reject("the body would be too large"));
  bool replaces = merge == Merge::Replace;
  bool isLast = replaces && repeats == 1 &&
                llvm::all_of(producer->getUsers(),
                             [&](Operation *user) { return user == consumer; });
  OpBuilder builder(consumer);
  auto body = [&](OpBuilder &b, ValueRange arguments) {
    SmallVector<Value> values;
    for (const Input &input : inputs) {
      SmallVector<Value> own;
      for (unsigned argument : input.arguments)
        own.push_back(arguments[argument]);
      if (!input.isProducer) {
        values.push_back(own[0]);
        continue;
      }
      auto put = isLast ? moveBlock : inlineBlock;
      Value point = put(b, producer.getBody().front(), own, input.loops);
      values.push_back(put(b, producer.getFinish().front(), point, {}));
    }
    auto put = replaces ? moveBlock : inlineBlock;
    return put(b, consumer.getBody().front(), values, {});
  };
  auto finish = [&](OpBuilder &b, ValueRange arguments) {
    return inlineBlock(b, consumer.getFinish().front(), arguments, {});
  };
  FusedOp merged =
      makeFused(builder, locOfBoth(producer, consumer), parts, body, finish);
  eraseDead(merged);
  return merged;
}

/// Does the consumer's work on the result of the producer's reduction.
static FusedOp mergeIntoFinish(FusedOp producer, FusedOp consumer,
                               DimAnalysis &dims, Reject reject) {
  if (consumer.getCombine() != CombineKind::None ||
      consumer.getInputs().size() != 1)
    return none(reject("the producer is a reduction, and the consumer reads "
                       "more than its result"));
  size_t ops = 0;
  for (Region *region : {&producer.getBody(), &producer.getFinish(),
                         &consumer.getBody(), &consumer.getFinish()})
    ops += region->front().getOperations().size();
  if (ops > kMostOps)
    return none(reject("the body would be too large"));
  Read read = lookThrough(readOf(consumer, 0), dims);
  Dims domain = *parseDims(consumer.getDomain());
  for (Operation &op : consumer.getBody().front())
    if (isa<LoopIndexOp>(op))
      return none(reject("the consumer of a reduction asks for its position"));
  for (auto [loop, size] : llvm::enumerate(domain))
    if (!size.isConstant(1) &&
        !llvm::is_contained(read.at,
                            getAffineDimExpr(loop, consumer.getContext())))
      return none(reject("the consumer repeats the result of a reduction"));
  FusedParts parts;
  parts.type = typeOf(consumer);
  parts.domain = *parseDims(producer.getDomain());
  parts.combine = producer.getCombine();
  for (unsigned k = 0; k < producer.getInputs().size(); ++k)
    parts.reads.push_back(readOf(producer, k));
  // Where the consumer writes c_k, and reads dim i of the reduction at c_k, the
  // merged op writes what the reduction writes its dim i at.
  for (AffineExpr expr : resultMap(consumer).getResults()) {
    auto found = llvm::find(read.at, expr);
    bool isLoop = isa<AffineDimExpr>(expr) && found != read.at.end();
    parts.writes.push_back(
        isLoop ? resultMap(producer).getResult(found - read.at.begin())
               : getAffineConstantExpr(0, consumer.getContext()));
  }
  OpBuilder builder(consumer);
  FusedOp merged = makeFused(
      builder, locOfBoth(producer, consumer), parts,
      [&](OpBuilder &b, ValueRange arguments) {
        return inlineBlock(b, producer.getBody().front(), arguments, {});
      },
      [&](OpBuilder &b, ValueRange arguments) {
        Value value =
            inlineBlock(b, producer.getFinish().front(), arguments, {});
        value = inlineBlock(b, consumer.getBody().front(), value, {});
        return inlineBlock(b, consumer.getFinish().front(), value, {});
      });
  eraseDead(merged);
  return merged;
}

FusedOp ferrite::mergeProducer(FusedOp consumer, unsigned input,
                               DimAnalysis &dims, Reject reject, Merge merge) {
  auto producer =
      lookThrough(readOf(consumer, input), dims).value.getDefiningOp<FusedOp>();
  if (!producer)
    return {};
  if (producer.getCombine() == CombineKind::None)
    return mergeIntoBody(producer, consumer, dims, reject, merge);
  return mergeIntoFinish(producer, consumer, dims, reject);
}

bool ferrite::simplifyInputs(FusedOp &fused, DimAnalysis &dims) {
  FusedParts parts;
  Block &body = fused.getBody().front();
  SmallVector<int> argument; // of each input; -1: unused
  bool changed = false;
  for (unsigned i = 0; i < fused.getInputs().size(); ++i) {
    if (body.getArgument(i).use_empty()) {
      argument.push_back(-1);
      changed = true;
      continue;
    }
    Read read = lookThrough(readOf(fused, i), dims);
    changed |= read.value != fused.getInputs()[i];
    size_t before = parts.reads.size();
    argument.push_back(addRead(parts.reads, read));
    changed |= parts.reads.size() == before;
  }
  if (!changed)
    return false;
  parts.type = typeOf(fused);
  parts.domain = *parseDims(fused.getDomain());
  parts.writes.assign(resultMap(fused).getResults().begin(),
                      resultMap(fused).getResults().end());
  parts.combine = fused.getCombine();
  OpBuilder builder(fused);
  FusedOp simple = makeFused(
      builder, fused.getLoc(), parts,
      [&](OpBuilder &b, ValueRange arguments) {
        SmallVector<Value> values;
        for (int i : argument)
          values.push_back(i < 0 ? Value() : arguments[i]);
        return moveBlock(b, body, values, {});
      },
      [&](OpBuilder &b, ValueRange arguments) {
        return inlineBlock(b, fused.getFinish().front(), arguments, {});
      });
  fused.replaceAllUsesWith(simple.getResult());
  dims.forget(fused);
  fused.erase();
  fused = simple;
  return true;
}
