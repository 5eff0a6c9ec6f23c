//===- VerifySelect.cpp - The contract after selection --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Plan/IR/Plan.h"
#include "passes/Verify/Passes.h"

#include "llvm/ADT/StringSet.h"

namespace ferrite {
#define GEN_PASS_DEF_VERIFYSELECT
#include "passes/Verify/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// How many sizes and strides the layouts of a kernel leave open.
static size_t openValues(plan::KernelOp kernel) {
  size_t count = 0;
  for (Attribute attr : kernel.getLayouts()) {
    auto layout = cast<plan::LayoutAttr>(attr);
    count += llvm::count_if(layout.getShape(), ShapedType::isDynamic);
    count += llvm::count_if(layout.getStrides(), ShapedType::isDynamic);
  }
  return count;
}

static llvm::StringSet<> symbolsOf(plan::EntryOp entry) {
  llvm::StringSet<> names;
  for (Attribute symbol : entry.getSymbols())
    names.insert(cast<SymbolAttr>(symbol).getName());
  for (auto input : entry.getBody().getOps<plan::InputOp>()) {
    std::optional<Dims> dims = parseDims(input.getDims());
    for (const DimExpr &dim : dims.value_or(Dims()))
      for (const std::string &name : dim.symbols())
        names.insert(name);
  }
  return names;
}

static LogicalResult verifyLaunch(plan::LaunchOp launch, SymbolTable &table,
                                  const llvm::StringSet<> &symbols) {
  auto kernel = table.lookup<plan::KernelOp>(launch.getKernel());
  if (!kernel)
    return launch.emitError("launches '")
           << launch.getKernel() << "', which is no kernel";
  if (launch.getMemory().size() != kernel.getLayouts().size())
    return launch.emitError("gives ")
           << launch.getMemory().size() << " operands to '"
           << launch.getKernel() << "', which takes "
           << kernel.getLayouts().size();
  if (launch.getValues().size() != openValues(kernel))
    return launch.emitError("gives ")
           << launch.getValues().size() << " values to '" << launch.getKernel()
           << "', which takes " << openValues(kernel);
  Dims values = *parseDims(launch.getValues()); // its own verifier parsed them
  values.append(*parseDims(launch.getOffsets()));
  for (const DimExpr &value : values)
    for (const std::string &name : value.symbols())
      if (!symbols.contains(name))
        return launch.emitError("computes with '")
               << name << "', which no input has";
  return success();
}

namespace {
struct VerifySelectPass final
    : ferrite::impl::VerifySelectBase<VerifySelectPass> {
  void runOnOperation() override {
    SymbolTable table(getOperation());
    auto fail = [&](InFlightDiagnostic error, Location loc) {
      error.attachNote(loc)
          << "after phase select; --ferrite-select-kernels left it";
      signalPassFailure();
    };
    for (auto func : getOperation().getOps<func::FuncOp>())
      fail(func.emitError("function '")
               << func.getSymName() << "' was not planned",
           func.getLoc());
    for (auto entry : getOperation().getOps<plan::EntryOp>()) {
      llvm::StringSet<> symbols = symbolsOf(entry);
      for (auto use : entry.getBody().getOps<plan::UseOp>())
        if (!table.lookup<plan::WeightOp>(use.getWeight()))
          fail(use.emitError("uses '")
                   << use.getWeight() << "', which is no weight",
               use.getLoc());
      for (auto launch : entry.getBody().getOps<plan::LaunchOp>())
        if (failed(verifyLaunch(launch, table, symbols)))
          return signalPassFailure();
    }
    markAllAnalysesPreserved();
  }
};
} // namespace
