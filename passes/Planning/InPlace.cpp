//===- InPlace.cpp - Results that take the memory of operands -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   %2 = plan.buffer "batch*1024"              (gone)
//   plan.launch @linear(%1, %w, %0, %2)        plan.launch @linear(%1, %w, %0,
//   %0)
//
// when %0, the residual, is read by no later launch.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/InPlace.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

bool ferrite::canOverwrite(plan::KernelOp kernel, unsigned operand) {
  return llvm::TypeSwitch<Operation *, bool>(kernel.getComputation())
      // A reduction reads more than it writes.
      .Case([](FusedOp op) { return op.getCombine() == CombineKind::None; })
      // The epilogue reads the sides of an element and writes it; x and the
      // weights are read by other units too.
      .Case<LinearOp, PackedLinearOp>([&](auto) { return operand >= 2; })
      .Case([&](NormOp op) {
        Value value = kernel.getBody().getArgument(operand);
        return value == op.getInput() || value == op.getResidual() ||
               value == op.getAfter();
      })
      .Case<SoftmaxOp, RopeOp>([&](auto) { return operand == 0; })
      .Default(false);
}

namespace {
/// The first and the last launch that names a piece of memory.
struct Uses {
  plan::LaunchOp first, last;
};
using UseMap = llvm::DenseMap<Value, Uses>;
} // namespace

static UseMap findUses(plan::EntryOp entry) {
  UseMap uses;
  for (auto launch : entry.getBody().getOps<plan::LaunchOp>())
    for (Value ref : launch.getMemory())
      uses.try_emplace(ref, Uses{launch, launch}).first->second.last = launch;
  return uses;
}

/// The operand whose buffer the result of `launch` may take.
static std::optional<unsigned> findOverwritten(plan::LaunchOp launch,
                                               plan::KernelOp kernel,
                                               const UseMap &uses) {
  auto shapes = plan::getPassedShapes(launch, kernel);
  std::optional<Dims> offsets = parseDims(launch.getOffsets());
  size_t count = launch.getMemory().size();
  if (failed(shapes) || !offsets || shapes->size() != count ||
      kernel.getComputation()->getNumResults() != 1)
    return std::nullopt;
  unsigned last = count - 1;
  Value result = launch.getMemory()[last];
  auto layout = [&](unsigned i) {
    return cast<plan::LayoutAttr>(kernel.getLayouts()[i]);
  };
  auto buffer = result.getDefiningOp<plan::BufferOp>();
  if (!buffer || (*offsets)[last] != DimExpr(0) ||
      uses.lookup(result).first != launch)
    return std::nullopt;
  for (unsigned i = 0; i < last; ++i) {
    Value ref = launch.getMemory()[i];
    auto operand = ref.getDefiningOp<plan::BufferOp>();
    if (operand && operand != buffer &&
        llvm::count(launch.getMemory(), ref) == 1 &&
        operand.getBytes() == buffer.getBytes() &&
        (*offsets)[i] == DimExpr(0) &&
        // Sizes that a kernel does not ask for are 1 in its layout, so they are
        // not compared: a broadcast operand has fewer bytes than the result.
        (*shapes)[i].strides == (*shapes)[last].strides &&
        layout(i).getType() == layout(last).getType() &&
        canOverwrite(kernel, i) && uses.lookup(ref).last == launch)
      return i;
  }
  return std::nullopt;
}

/// Marks the layouts of an operand and of the result.
static void allowAlias(plan::KernelOp kernel, unsigned operand) {
  SmallVector<Attribute> layouts(kernel.getLayouts().getValue());
  for (size_t i : {size_t(operand), layouts.size() - 1}) {
    auto layout = cast<plan::LayoutAttr>(layouts[i]);
    layouts[i] =
        plan::LayoutAttr::get(layout.getContext(), layout.getType(),
                              layout.getShape(), layout.getStrides(), true);
  }
  kernel.setLayoutsAttr(ArrayAttr::get(kernel.getContext(), layouts));
}

void ferrite::writeInPlace(plan::EntryOp entry) {
  SymbolTable symbols(entry->getParentOfType<ModuleOp>());
  UseMap uses = findUses(entry);
  for (auto launch : entry.getBody().getOps<plan::LaunchOp>()) {
    auto kernel = symbols.lookup<plan::KernelOp>(launch.getKernel());
    if (!kernel)
      continue;
    if (std::optional<unsigned> operand =
            findOverwritten(launch, kernel, uses)) {
      Value result = launch.getMemory().back();
      Value memory = launch.getMemory()[*operand];
      uses[memory].last = uses.lookup(result).last;
      uses.erase(result);
      result.replaceAllUsesWith(memory);
      result.getDefiningOp()->erase();
      allowAlias(kernel, *operand);
    }
  }
}
