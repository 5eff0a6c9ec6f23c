//===- Lifetimes.cpp - When the buffers of an entry live ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/Lifetimes.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace ferrite;

static llvm::SmallSetVector<plan::LaunchOp, 4> uniqueUsers(plan::BufferOp op) {
  llvm::SmallSetVector<plan::LaunchOp, 4> users;
  for (Operation *user : op->getUsers())
    users.insert(cast<plan::LaunchOp>(user));
  return users;
}

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
    for (auto launch : uniqueUsers(op)) {
      buffer.first = std::min(buffer.first, order[launch]);
      buffer.last = std::max(buffer.last, order[launch]);
      buffer.values += llvm::count(launch.getMemory(), op.getRef()) > 1 &&
                       launch.getMemory().back() == op.getRef();
    }
    result.push_back({op, buffer});
  }
  return result;
}
