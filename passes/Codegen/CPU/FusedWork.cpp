//===- FusedWork.cpp - How a fused kernel is cut into units ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/FusedWork.h"

#include "passes/Codegen/CPU/BodyEvaluator.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kMostLanes = 16;

FusedWork::FusedWork(KernelBuilder &kb, const FusedSpec &spec,
                     const FusedLoops &loops, FusedPoint &point) {
  // Points of a unit: some microseconds, beside the half that a team needs to
  // pass one stage. Chosen, not measured.
  unsigned cost = bodyCost(*spec.body);
  int64_t target = cost <= 4 ? 16384 : cost <= 16 ? 8192 : 4096;
  for (unsigned l : loops.parallel)
    sizes.push_back(point.size(l));
  Value reduced = kb.c(1);
  for (unsigned l : loops.reduced)
    reduced = kb.mul(reduced, point.size(l));
  Value size = point.size(loops.vectorLoop), itemPoints = kb.mul(reduced, size);
  if (loops.tileLoop) {
    sizes.push_back(
        kb.ceilDiv(point.size(*loops.tileLoop), int64_t(kb.lanes())));
    // Not this level's lanes: the lowest level counts the units of all, and
    // narrow strips are as many at each.
    reduced = kb.mul(reduced, kMostLanes);
    strips = true;
  }
  if (!loops.reducesLanes()) {
    Value wanted = kb.div(kb.c(target), kb.max(reduced, 1));
    Value most = kb.mul(kb.ceilDiv(kb.max(wanted, 1), int64_t(loops.step())),
                        int64_t(loops.step()));
    Value pieces = kb.ceilDiv(size, most);
    if (KernelBuilder::constantOf(pieces) != 1) {
      piece = most;
      sizes.push_back(pieces);
    }
    itemPoints = kb.mul(reduced, kb.min(size, most));
  }
  items = kb.c(1);
  for (Value each : sizes)
    items = kb.mul(items, each);
  perUnit = kb.max(kb.div(kb.c(target), kb.max(itemPoints, 1)), 1);
}

SmallVector<Value> FusedWork::next(KernelBuilder &kb,
                                   ValueRange indices) const {
  SmallVector<Value> moved(indices.begin(), indices.end());
  Value carry;
  for (size_t d = moved.size(); d-- > 0;) {
    Value stepped = carry ? kb.select(carry, kb.add(moved[d], 1), moved[d])
                          : kb.add(moved[d], 1);
    if (d == 0) {
      moved[d] = stepped;
      break;
    }
    carry = kb.eq(stepped, sizes[d]);
    moved[d] = kb.select(carry, kb.c(0), stepped);
  }
  return moved;
}
