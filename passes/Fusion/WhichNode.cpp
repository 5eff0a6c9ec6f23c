//===- WhichNode.cpp - Names of nodes in reasons --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/WhichNode.h"

#include "mlir/IR/Location.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

std::string ferrite::whichNode(Operation *op) {
  StringRef last;
  if (!op)
    return "";
  op->getLoc()->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      last = name.getName().getValue();
    return WalkResult::advance();
  });
  return last.empty() ? "" : " (node '" + last.str() + "')";
}

std::string ferrite::whichNode(Value value) {
  Operation *op = value.getDefiningOp();
  return op ? whichNode(op) : " (an input of the model)";
}

std::string ferrite::nameForPeople(Operation *op) {
  std::string name = op->getName().stripDialect().str();
  llvm::replace(name, '_', ' ');
  return name;
}
