//===- MergeFollow.cpp - Ops behind tokens that merged --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// An op that computes each token by itself takes fewer of them; one that does
// not, or is not known to, gets them back.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/AttentionScores.h"
#include "passes/Sparsity/MergeTokens.h"
#include "passes/Sparsity/TokenMerger.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

/// Why tokens may not merge by what this attention sees, or nothing.
std::string TokenMerger::whyNotMerged(AttentionOp op) {
  if (op.hasWindow() || op.getAnchors() > 0)
    return "what it sees goes by position, which tokens that merge lose";
  if (op->getNumOperands() != 3)
    return "it has a mask, a bias, lengths, segments, sinks or lists: tokens "
           "that merge would need theirs merged";
  if (op->hasAttr(kScoresAttr))
    return "its scores are of bytes, and sizes of tokens are added to floats";
  if (dimsOf(op.getQuery())[1] != dimsOf(op.getKey())[1])
    return "its queries and keys are not the same tokens";
  return "";
}

Dims TokenMerger::dimsAt(Value value, unsigned generation) {
  Dims sizes(dimsOf(value));
  sizes[1] = steps[generation].tokens;
  return sizes;
}

Value TokenMerger::view(Value value, const Dims &to, Location loc) {
  auto type = cast<RankedTensorType>(value.getType());
  return ViewOp::create(builder, loc, getTensorType(to, type.getElementType()),
                        value, getDimsAttr(func.getContext(), to));
}

/// Whether the tokens of an operand that broadcasts are the result's, or none.
bool TokenMerger::isAligned(Value operand, Value result, unsigned generation) {
  ArrayRef<DimExpr> from = dimsOf(operand), to = dimsOf(result);
  int64_t axis = 1 - (int64_t(to.size()) - int64_t(from.size()));
  if (generationOf(operand) == generation)
    return axis == 1;
  return generationOf(operand) == 0 && (axis < 0 || from[axis].isConstant(1));
}

std::string TokenMerger::whyNotFused(FusedOp op, unsigned generation,
                                     int64_t &loop) {
  SmallVector<AffineMap> maps(op.getMaps().getAsValueRange<AffineMapAttr>());
  loop = -1;
  if (maps.back().getNumResults() > 1)
    if (auto dim = dyn_cast<AffineDimExpr>(maps.back().getResult(1)))
      loop = dim.getPosition();
  std::optional<Dims> domain = parseDims(op.getDomain());
  if (loop < 0 || !domain || (*domain)[loop] != tokens)
    return "it does not keep tokens where they are";
  for (auto [input, map] : llvm::zip(op.getInputs(), maps)) {
    bool isOurs = generationOf(input) == generation;
    for (auto [at, result] : llvm::enumerate(map.getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(result);
      bool isLoop = dim && int64_t(dim.getPosition()) == loop;
      if (isLoop != (isOurs && at == 1))
        return "it joins tokens with what goes by their position";
    }
  }
  bool counts = false;
  op->walk(
      [&](LoopIndexOp index) { counts |= int64_t(index.getDim()) == loop; });
  return counts ? "it counts tokens" : "";
}

/// Why `op`, some operands of which are tokens of that generation, cannot take
/// them instead of the graph's.
std::string TokenMerger::whyNotFollowed(Operation *op, unsigned generation) {
  for (Value operand : op->getOperands())
    if (unsigned other = generationOf(operand); other && other != generation)
      return "it joins tokens of before and after a merge";
  auto isOurs = [&](Value value) { return generationOf(value) == generation; };
  auto slice = dyn_cast<SliceOp>(op);
  if (op->getNumResults() != 1 || (!slice && !isCounted(op->getResult(0))))
    return "its result has no dim of tokens";
  Value result = op->getResult(0);
  using Why = std::string;
  return llvm::TypeSwitch<Operation *, Why>(op)
      .Case([&](LinearOp linear) -> Why {
        bool rows = isOurs(linear.getInput()) &&
                    dimsOf(linear.getWeight()).size() == 2 &&
                    llvm::all_of(linear.getSides(), [&](Value side) {
                      return isAligned(side, result, generation);
                    });
        return rows ? "" : "it joins tokens with others";
      })
      .Case([&](NormOp norm) -> Why {
        for (Value row : {norm.getInput(), norm.getResidual(), norm.getAfter()})
          if (row && !isOurs(row))
            return "it joins tokens with others";
        return "";
      })
      .Case([&](ViewOp view) -> Why {
        return dimsOf(view.getInput())[0] == dimsOf(result)[0]
                   ? ""
                   : "it moves tokens";
      })
      .Case([&](SliceOp part) -> Why {
        std::optional<Dims> from = parseDims(part.getOffsets());
        if (!from || !(*from)[1].isConstant(0) || part.getSteps()[1] != 1)
          return "it takes tokens by their position";
        if (isCounted(result))
          return "";
        // The first token is at its place where it may not merge.
        bool isFirst = dimsOf(result)[1].isConstant(1);
        for (const Merge &merge : merges)
          isFirst &= merge.item->fixed > 0;
        return isFirst ? "" : "it takes tokens by their position";
      })
      .Case([&](FusedOp fused) -> Why {
        int64_t loop = -1;
        return whyNotFused(fused, generation, loop);
      })
      .Case([&](AttentionOp attention) -> Why {
        std::string why = whyNotMerged(attention);
        if (!why.empty())
          return why;
        return llvm::all_of(attention->getOperands(), isOurs)
                   ? ""
                   : "it joins tokens with others";
      })
      .Default([](Operation *) -> Why {
        return "it is not known to keep tokens apart";
      });
}

/// Gives `op` the tokens of a generation.
void TokenMerger::follow(Operation *op, unsigned generation) {
  Value result = op->getResult(0);
  if (!isCounted(result))
    return; // the first token, which is where it was
  Dims sizes = dimsAt(result, generation);
  MLIRContext *context = func.getContext();
  if (auto view = dyn_cast<ViewOp>(op))
    view.setDimsAttr(getDimsAttr(context, sizes));
  if (auto slice = dyn_cast<SliceOp>(op))
    slice.setDimsAttr(getDimsAttr(context, sizes));
  if (auto fused = dyn_cast<FusedOp>(op)) {
    int64_t loop = -1;
    (void)whyNotFused(fused, generation, loop);
    Dims domain = *parseDims(fused.getDomain());
    domain[loop] = steps[generation].tokens;
    fused.setDomainAttr(getDimsAttr(context, domain));
  }
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    builder.setInsertionPoint(op);
    attention.getBiasMutable().assign(weightsOf(generation, op->getLoc()));
    attention->setAttr(kMergedAttr, builder.getStringAttr(tokens.str()));
  }
  result.setType(getTensorType(sizes, getElementTypeOrSelf(result)));
  generations[result] = generation;
}

Value TokenMerger::weightsOf(unsigned generation, Location loc) {
  Generation &step = steps[generation];
  if (step.weights)
    return step.weights;
  Value log = LogOp::create(builder, loc, step.sizes.getType(), step.sizes);
  return step.weights =
             view(log, {step.batch, DimExpr(1), DimExpr(1), step.tokens}, loc);
}

Value TokenMerger::totalOf(unsigned generation, Location loc) {
  Generation &step = steps[generation];
  if (step.total)
    return step.total;
  if (generation == 1)
    return step.total = step.to;
  Value before = totalOf(generation - 1, loc);
  DimExpr batch = step.batch;
  Value numbers =
      view(step.to, {batch, steps[generation - 1].tokens, DimExpr(1)}, loc);
  Dims all = {batch, tokens, DimExpr(1)};
  Value found = UnmergeTokensOp::create(
      builder, loc, getTensorType(all, builder.getI32Type()), numbers, before);
  return step.total = view(found, {batch, tokens}, loc);
}

/// Gives `op` each token back, as what it became part of.
void TokenMerger::restore(Operation *op) {
  builder.setInsertionPoint(op);
  Location loc = op->getLoc();
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operand.get();
    unsigned generation = generationOf(value);
    if (generation == 0)
      continue;
    Value &full = restored[value];
    if (!full) {
      // dims knows the graph's own values as they were.
      Dims sizes(dimsOf(value)), now = sizes;
      now[1] = steps[generation].tokens;
      sizes[1] = tokens;
      auto inner = product(ArrayRef(sizes).drop_front(2));
      Value rows = value;
      if (sizes.size() != 3)
        rows = view(value, {now[0], now[1], inner}, loc);
      Dims all = {sizes[0], tokens, inner};
      full = UnmergeTokensOp::create(
          builder, loc, getTensorType(all, getElementTypeOrSelf(value)), rows,
          totalOf(generation, loc));
      if (sizes.size() != 3)
        full = view(full, sizes, loc);
      made[full.getAsOpaquePointer()] = sizes;
    }
    operand.set(full);
  }
}
