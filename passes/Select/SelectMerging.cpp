//===- SelectMerging.cpp - How tokens that merge become launches ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "passes/Select/Selector.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

void Selector::selectMerging(Operation *op) {
  Location loc = op->getLoc();
  std::vector<KernelOperand> operands;
  for (Value value : op->getOperands()) {
    // Rows of tokens may lie apart; numbers and sizes are read as one.
    bool isRows = value == op->getOperand(0) && !isa<MatchTokensOp>(op);
    operands.push_back(isRows ? unitInner(get(value), loc)
                              : contiguous(value, loc));
  }
  StridedView result = makeResult(op);
  StringRef name = op->getName().stripDialect();
  plan.launch(loc, (name + "_" + result.dims.back().str()).str(), operands,
              KernelOperand(result), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                IRMapping mapping;
                mapping.map(op->getOperands(), args);
                Operation *made = b.clone(*op, mapping);
                made->getResult(0).setType(
                    getTensorType(result.dims, result.element));
                return made;
              });
}
