//===- ProductNames.cpp - What people call a product ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Quantization/ProductNames.h"

using namespace mlir;
using namespace ferrite;

SmallVector<StringRef> ferrite::productNames(Operation *op) {
  SmallVector<StringRef> names;
  auto add = [&](Location loc) {
    loc->walk([&](Location part) {
      if (auto name = dyn_cast<NameLoc>(part))
        names.push_back(name.getName());
      return WalkResult::advance();
    });
  };
  Value stored;
  if (auto linear = dyn_cast<LinearOp>(op))
    stored = linear.getWeight();
  if (auto experts = dyn_cast<ExpertLinearOp>(op))
    stored = experts.getWeight();
  if (stored) {
    if (auto weight = stored.getDefiningOp<WeightOp>())
      names.push_back(weight.getName());
    add(stored.getLoc());
  }
  add(op->getLoc());
  return names;
}
