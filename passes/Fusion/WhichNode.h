//===- WhichNode.h - Names of nodes in reasons ------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A reason for a missed match is told at the candidate's node; where another
// node is the obstacle, the reason names it.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_WHICHNODE_H
#define FERRITE_PASSES_FUSION_WHICHNODE_H

#include "mlir/IR/Operation.h"
#include <string>

namespace ferrite {

/// " (node 'X')" of the last node that `op` is made of; empty without a name or
/// op.
std::string whichNode(mlir::Operation *op);
/// Of the op that computes `value`; " (an input of the model)" without one.
std::string whichNode(mlir::Value value);
/// The op's name for people: "slice", "grouped linear".
std::string nameForPeople(mlir::Operation *op);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_WHICHNODE_H
