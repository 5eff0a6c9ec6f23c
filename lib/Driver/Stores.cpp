//===- Stores.cpp - Which launch stores which value -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Stores.h"

#include "dialects/Plan/IR/Plan.h"
#include "lib/Pipelines/Pipelines.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace ferrite;

bool ferrite::findStores(ModuleOp fused, const FerriteAbiModel &model,
                         size_t entryIndex,
                         llvm::DenseMap<Value, StoredValue> &stored) {
  MLIRContext &context = *fused.getContext();
  // Launches are found again by a location of their own. What is said about
  // this second compilation was said about the first.
  ScopedDiagnosticHandler silent(&context,
                                 [](Diagnostic &) { return success(); });
  OwningOpRef<ModuleOp> plan = fused.clone();
  auto func = *fused.getOps<func::FuncOp>().begin();
  SmallVector<Operation *> ops;
  for (Operation &op : func.getBody().front())
    ops.push_back(&op);
  unsigned number = 0;
  for (Operation &op :
       (*plan->getOps<func::FuncOp>().begin()).getBody().front())
    op.setLoc(FileLineColLoc::get(&context, "op", number++, 0));
  PassManager pm(&context);
  buildPipeline(Phase::Select, pm);
  buildPipeline(Phase::Plan, pm);
  if (failed(pm.run(*plan)))
    return false;
  auto entry = *plan->getOps<plan::EntryOp>().begin();
  const FerriteAbiEntry &abi = model.entries[entryIndex];
  size_t launch = 0;
  for (auto op : entry.getBody().getOps<plan::LaunchOp>()) {
    if (launch >= abi.launch_count ||
        op.getKernel() != model.kernels[abi.launches[launch].kernel].name) {
      stored.clear();
      return false;
    }
    auto kernel = cast<plan::KernelOp>(
        SymbolTable::lookupSymbolIn(*plan, op.getKernelAttr()));
    auto at = dyn_cast<FileLineColLoc>(op.getLoc());
    if (at && at.getFilename() == "op" &&
        !isa<func::ReturnOp>(ops[at.getLine()])) {
      // Of several launches of an op the last is the op itself, but for a
      // concat, which is stored in parts.
      Operation *source = ops[at.getLine()];
      StoredValue &store = stored[source->getResult(0)];
      store = {launch, static_cast<unsigned>(op.getMemory().size() - 1), {}};
      auto shapes = plan::getPassedShapes(op, kernel);
      if (failed(shapes))
        return false;
      for (const Dims *list : {&shapes->back().sizes, &shapes->back().strides})
        for (const DimExpr &dim : *list)
          store.layout.push_back(dim.str());
    }
    ++launch;
  }
  return launch == abi.launch_count;
}
