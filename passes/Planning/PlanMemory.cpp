//===- PlanMemory.cpp - Place buffers and weights -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/InPlace.h"
#include "passes/Planning/Lifetimes.h"
#include "passes/Planning/Passes.h"

#include "mlir/IR/Remarks.h"
#include "llvm/Support/MathExtras.h"

#define DEBUG_TYPE "ferrite-plan-memory"

namespace ferrite {
#define GEN_PASS_DEF_PLANMEMORY
#include "passes/Planning/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// The size of a symbol at which the plan is measured: 1 for a batch, 128 for
/// anything else, as benchmarks are run; within the symbol's limits.
static int64_t typicalSize(plan::EntryOp entry, StringRef name) {
  int64_t size = name.contains_insensitive("batch") ? 1 : 128;
  for (Attribute attr : entry.getSymbols()) {
    auto symbol = cast<SymbolAttr>(attr);
    if (symbol.getName() == name)
      size = std::clamp(size, symbol.getMin(), symbol.getMax());
  }
  return size;
}

static LogicalResult placeBuffers(plan::EntryOp entry) {
  writeInPlace(entry);
  auto lifetimes = findLifetimes(entry);
  if (failed(lifetimes))
    return failure();
  SmallVector<plan::BufferOp> ops;
  SmallVector<ArenaBuffer> buffers;
  for (const auto &[op, buffer] : *lifetimes) {
    ops.push_back(op);
    buffers.push_back(buffer);
  }
  DimExpr total = planArena(buffers);
  OpBuilder builder(entry);
  for (auto [op, buffer] : llvm::zip(ops, buffers))
    op.setOffsetAttr(builder.getStringAttr(buffer.offset.str()));
  entry.setArenaAttr(builder.getStringAttr(total.str()));
  auto symbols = [&](StringRef name) {
    return std::optional(typicalSize(entry, name));
  };
  if (std::optional<ArenaBytes> bytes = measureArena(buffers, total, symbols))
    remark::analysis(entry.getLoc(),
                     remark::RemarkOpts::name("memory").category(DEBUG_TYPE))
        << remark::metric("naive", bytes->naive)
        << remark::metric("planned", bytes->planned)
        << remark::metric("lower-bound", bytes->lowerBound);
  return success();
}

namespace {
struct PlanMemoryPass final : ferrite::impl::PlanMemoryBase<PlanMemoryPass> {
  void runOnOperation() override {
    int64_t offset = 0;
    for (auto weight : getOperation().getOps<plan::WeightOp>()) {
      weight.setOffset(offset);
      offset += llvm::alignTo(weight.getBytes(), kArenaAlignment);
    }
    for (auto entry : getOperation().getOps<plan::EntryOp>())
      if (failed(placeBuffers(entry)))
        return signalPassFailure();
  }
};
} // namespace
