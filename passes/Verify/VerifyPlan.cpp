//===- VerifyPlan.cpp - The contract after planning -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Plan/IR/Plan.h"
#include "passes/Planning/ArenaPlan.h"
#include "passes/Verify/Passes.h"

namespace ferrite {
#define GEN_PASS_DEF_VERIFYPLAN
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// A buffer at one size of the symbols.
struct Extent {
  plan::BufferOp op;
  int64_t begin, end;  ///< bytes of the arena
  int64_t first, last; ///< launches
};
} // namespace

/// Sizes that tell expressions apart: no two symbols alike, small and large.
static std::optional<int64_t> sampleSize(StringRef name, int64_t scale) {
  return scale + static_cast<int64_t>(name.size() % 7) * (scale + 1);
}

static LogicalResult verifyArena(plan::EntryOp entry, int64_t scale) {
  auto evaluate = [&](StringRef text) -> std::optional<int64_t> {
    std::optional<DimExpr> expr = DimExpr::parse(text);
    return expr ? expr->evaluate(
                      [&](StringRef name) { return sampleSize(name, scale); })
                : std::nullopt;
  };
  llvm::DenseMap<Operation *, int64_t> order;
  for (auto [i, launch] :
       llvm::enumerate(entry.getBody().getOps<plan::LaunchOp>()))
    order[launch] = i;
  std::optional<int64_t> arena = evaluate(entry.getArena().value_or(""));
  std::vector<Extent> extents;
  for (auto op : entry.getBody().getOps<plan::BufferOp>()) {
    std::optional<int64_t> offset = evaluate(op.getOffset().value_or(""));
    std::optional<int64_t> bytes = evaluate(op.getBytes());
    if (!arena || !offset || !bytes)
      return op.emitError("has no place in the arena");
    if (*offset < 0 || *offset + *bytes > *arena)
      return op.emitError("lies at ")
             << *offset << " of an arena of " << *arena << " bytes";
    Extent extent{op, *offset, *offset + *bytes, INT64_MAX, -1};
    for (Operation *user : op->getUsers()) {
      extent.first = std::min(extent.first, order[user]);
      extent.last = std::max(extent.last, order[user]);
    }
    for (const Extent &other : extents)
      if (extent.begin < other.end && other.begin < extent.end &&
          extent.first <= other.last && other.first <= extent.last)
        return op.emitError("overlaps a buffer that lives at the same launch: "
                            "both hold byte ")
               << std::max(extent.begin, other.begin) << " of the arena";
    extents.push_back(extent);
  }
  return success();
}

/// Every operand in the arena begins at a multiple of its element's size.
static LogicalResult verifyAlignment(plan::LaunchOp launch,
                                     plan::KernelOp kernel, int64_t scale) {
  std::optional<Dims> offsets = parseDims(launch.getOffsets());
  auto sizeOf = [&](StringRef name) { return sampleSize(name, scale); };
  for (auto [i, ref] : llvm::enumerate(launch.getMemory())) {
    auto buffer = ref.getDefiningOp<plan::BufferOp>();
    if (!buffer || !offsets || i >= kernel.getLayouts().size())
      continue;
    std::optional<DimExpr> at = DimExpr::parse(buffer.getOffset().value_or(""));
    std::optional<int64_t> byte =
        at ? (*at + (*offsets)[i]).evaluate(sizeOf) : std::nullopt;
    auto layout = cast<plan::LayoutAttr>(kernel.getLayouts()[i]);
    int64_t size = elementBytes(layout.getType());
    if (byte && *byte % size != 0)
      return launch.emitError("operand ")
             << i << " lies at byte " << *byte << ", but its elements have "
             << size << " bytes";
  }
  return success();
}

/// A result shares memory with an operand only where the kernel reads each
/// element before it writes it.
static LogicalResult verifyInPlace(plan::LaunchOp launch,
                                   plan::KernelOp kernel) {
  size_t operands = kernel.getBody().getNumArguments();
  for (size_t r = operands; r < launch.getMemory().size(); ++r)
    for (size_t i = 0; i < operands; ++i) {
      auto layout = [&](size_t k) {
        return cast<plan::LayoutAttr>(kernel.getLayouts()[k]);
      };
      if (launch.getMemory()[i] == launch.getMemory()[r] &&
          launch.getMemory()[r].getDefiningOp<plan::BufferOp>() &&
          launch.getOffsets()[i] == launch.getOffsets()[r] &&
          !(layout(i).getAlias() && layout(r).getAlias()))
        return launch.emitError("writes over operand ")
               << i << ", which the kernel's layouts do not allow";
    }
  return success();
}

static LogicalResult verifyLaunches(plan::EntryOp entry) {
  SymbolTable symbols(entry->getParentOfType<ModuleOp>());
  for (auto launch : entry.getBody().getOps<plan::LaunchOp>()) {
    auto kernel = symbols.lookup<plan::KernelOp>(launch.getKernel());
    if (!kernel || launch.getMemory().size() != kernel.getLayouts().size())
      return launch.emitError("launches no kernel of so many operands");
    if (failed(verifyInPlace(launch, kernel)))
      return failure();
    for (int64_t scale : {1, 3, 129})
      if (failed(verifyAlignment(launch, kernel, scale)))
        return failure();
  }
  return success();
}

static LogicalResult verifyWeights(ModuleOp module) {
  int64_t end = 0;
  for (auto weight : module.getOps<plan::WeightOp>()) {
    if (weight.getOffset() < end || weight.getOffset() % kArenaAlignment != 0)
      return weight.emitError("weight '")
             << weight.getSymName() << "' lies at " << weight.getOffset()
             << ", but those before it end at " << end;
    end = weight.getOffset() + weight.getBytes();
  }
  return success();
}

namespace {
struct VerifyPlanPass final : ferrite::impl::VerifyPlanBase<VerifyPlanPass> {
  void runOnOperation() override {
    auto check = [&](LogicalResult result) {
      if (failed(result)) {
        emitRemark(getOperation().getLoc())
            << "after phase plan; --ferrite-plan-memory left it";
        signalPassFailure();
      }
    };
    check(verifyWeights(getOperation()));
    for (auto entry : getOperation().getOps<plan::EntryOp>()) {
      check(verifyLaunches(entry));
      for (int64_t scale : {1, 3, 129})
        check(verifyArena(entry, scale));
    }
    markAllAnalysesPreserved();
  }
};
} // namespace
