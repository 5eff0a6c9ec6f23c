//===- Lifetimes.cpp - When the buffers of an entry live ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/Lifetimes.h"

using namespace mlir;
using namespace ferrite;

FailureOr<std::vector<std::pair<plan::BufferOp, ArenaBuffer>>>
ferrite::findLifetimes(plan::EntryOp entry) {
  std::vector<std::pair<plan::BufferOp, ArenaBuffer>> result;
  llvm::DenseMap<Operation *, int64_t> order;
  for (auto [i, launch] :
       llvm::enumerate(entry.getBody().getOps<plan::LaunchOp>()))
    order[launch] = i;
  for (auto op : entry.getBody().getOps<plan::BufferOp>()) {
    std::optional<DimExpr> bytes = DimExpr::parse(op.getBytes());
    if (!bytes)
      return op.emitOpError("expects a size, but got ") << op.getBytes();
    ArenaBuffer buffer;
    buffer.bytes = *bytes;
    buffer.first = op->use_empty() ? 0 : INT64_MAX;
    for (Operation *user : op->getUsers()) {
      buffer.first = std::min(buffer.first, order[user]);
      buffer.last = std::max(buffer.last, order[user]);
    }
    result.push_back({op, buffer});
  }
  return result;
}
