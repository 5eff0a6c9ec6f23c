//===- EmitFused.cpp - Kernels of elementwise and reducing bodies ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Order of a reduction. When the lanes are reduced, the point at position j of
// the vector loop goes to accumulator (j / lanes) % unroll, lane j % lanes;
// accumulators then meet in pairs, and lanes by halving. Otherwise each lane is
// a result of its own and adds its points one after the other. Neither depends
// on how many rows or columns there are beside it.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitFused.h"

#include "passes/Codegen/CPU/BodyEvaluator.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/FusedWork.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

namespace {
class FusedEmitter {
public:
  FusedEmitter(KernelBuilder &kb, const FusedSpec &spec)
      : kb(kb), spec(spec), loops(kb.layout(), spec, kb.lanes()),
        point(kb, spec, loops) {}

  LogicalResult emit();

private:
  using Span = FusedSpan;
  using Place = FusedPlace;
  using Work = FusedWork;
  void items();
  void item(const Work &work, ValueRange indices);

  void row(const Place &place, Value low, Value high);
  void registers(const Place &place, Value index, unsigned count, Value mask);
  void reducedRow(const Place &place);
  void strip(Place place, Value low, Value high, Value strip);
  void square(const Place &place, Value across, Value acrossCount, Value index,
              bool full);

  using Leaf =
      llvm::function_ref<SmallVector<Value>(const Place &, SmallVector<Value>)>;
  SmallVector<Value> reduceLoops(const Place &place, unsigned depth,
                                 SmallVector<Value> values, Leaf leaf);
  /// One register of points at `span`, combined into `accumulators`.
  void accumulate(const Place &place, const Span &span,
                  MutableArrayRef<Value> accumulators);
  SmallVector<Value> evaluate(const Place &place, const Span &span,
                              const GivenInputs &given = GivenInputs());
  Value limit() { return point.size(loops.vectorLoop); }

  KernelBuilder &kb;
  const FusedSpec &spec;
  FusedLoops loops;
  FusedPoint point;
  bool broken = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// Items and units
//===----------------------------------------------------------------------===//

void FusedEmitter::items() {
  Work work(kb, spec, loops, point);
  Value first = kb.mul(kb.begin(), work.perUnit);
  Value last = kb.min(kb.mul(kb.end(), work.perUnit), work.items);
  if (work.sizes.size() < 2) {
    kb.forLoop(first, last, kb.c(1), [&](Value i) {
      item(work, work.sizes.empty() ? ValueRange() : ValueRange(i));
    });
    return;
  }
  // Nothing is divided by a size of 0 where there is no work.
  kb.ifThen(kb.lt(first, last), [&] {
    kb.forLoop(first, last, kb.c(1), kb.delinearize(first, work.sizes),
               [&](Value, ValueRange indices) {
                 item(work, indices);
                 return work.next(kb, indices);
               });
  });
}

void FusedEmitter::item(const Work &work, ValueRange indices) {
  Place place = point.start();
  unsigned d = 0;
  for (unsigned l : loops.parallel)
    place = point.at(place, l, indices[d++]);
  if (loops.reducesLanes())
    return reducedRow(place);
  Value across = work.strips ? indices[d++] : Value();
  Value low = kb.c(0), high = limit();
  if (work.piece) {
    low = kb.mul(indices[d], work.piece);
    high = kb.min(kb.add(low, work.piece), high);
  }
  if (across)
    strip(place, low, high, across);
  else
    row(place, low, high);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

SmallVector<Value> FusedEmitter::evaluate(const Place &place, const Span &span,
                                          const GivenInputs &given) {
  FailureOr<SmallVector<Value>> values = point.evaluate(place, span, given);
  if (succeeded(values))
    return *values;
  // The error is out; what is built from here on is thrown away.
  broken = true;
  SmallVector<Value> none;
  for (Value yielded : spec.body->back().getOperands()) {
    Type type = withLanes(yielded.getType(), kb.lanes());
    none.push_back(arith::ConstantOp::create(kb, kb.getZeroAttr(type)));
  }
  return none;
}

/// Whole steps, then whole registers, then what is left, masked. Nothing is
/// emitted of what a known size does not have.
void FusedEmitter::row(const Place &place, Value low, Value high) {
  int64_t lanes = kb.lanes(), step = loops.step();
  int64_t known = loops.size(loops.vectorLoop);
  bool isKnown = !ShapedType::isDynamic(known);
  bool reduces = !spec.combines.empty();
  if (!reduces)
    point.hoist(place);
  Value count = kb.sub(high, low);
  Value steps = kb.add(low, kb.sub(count, kb.rem(count, step)));
  Value whole = kb.add(low, kb.sub(count, kb.rem(count, lanes)));
  if (!isKnown || known >= step)
    kb.forLoop(low, steps, kb.c(step),
               [&](Value index) { registers(place, index, loops.unroll, {}); });
  if (loops.unroll > 1 && (!isKnown || known % step >= lanes))
    kb.forLoop(steps, whole, kb.c(lanes),
               [&](Value index) { registers(place, index, 1, {}); });
  if (!isKnown || known % lanes)
    kb.ifThen(kb.lt(whole, high), [&] {
      registers(place, whole, 1, kb.tailMask(kb.sub(high, whole)));
    });
  point.dropHoisted();
}

void FusedEmitter::registers(const Place &place, Value index, unsigned count,
                             Value mask) {
  SmallVector<Span> spans;
  for (unsigned u = 0; u < count; ++u)
    spans.push_back({kb.add(index, int64_t(u) * kb.lanes()), mask, limit()});
  if (spec.combines.empty()) {
    for (const Span &span : spans)
      if (failed(point.finish(place, span, evaluate(place, span))))
        broken = true;
    return;
  }
  SmallVector<Value> values;
  for (unsigned u = 0; u < count; ++u)
    llvm::append_range(values, point.identities());
  unsigned each = spec.combines.size();
  values = reduceLoops(
      place, 0, values, [&](const Place &inner, SmallVector<Value> sums) {
        for (unsigned u = 0; u < count; ++u)
          accumulate(inner, spans[u],
                     MutableArrayRef(sums).slice(u * each, each));
        return sums;
      });
  for (unsigned u = 0; u < count; ++u)
    if (failed(point.finish(
            place, spans[u],
            llvm::to_vector(ArrayRef(values).slice(u * each, each)))))
      broken = true;
}

SmallVector<Value> FusedEmitter::reduceLoops(const Place &place, unsigned depth,
                                             SmallVector<Value> values,
                                             Leaf leaf) {
  if (depth == loops.reduced.size())
    return leaf(place, values);
  unsigned l = loops.reduced[depth];
  return kb.forLoop(kb.c(0), point.size(l), kb.c(1), values,
                    [&](Value index, ValueRange inner) {
                      return reduceLoops(point.at(place, l, index), depth + 1,
                                         llvm::to_vector(inner), leaf);
                    });
}

void FusedEmitter::accumulate(const Place &place, const Span &span,
                              MutableArrayRef<Value> accumulators) {
  SmallVector<Value> values = evaluate(place, span);
  for (auto [i, sum] : llvm::enumerate(accumulators)) {
    Value combined = point.combine(i, sum, point.widen(values[i]));
    // A lane behind the end would add the body of zeros.
    if (span.mask && loops.reducesLanes())
      combined = arith::SelectOp::create(kb, span.mask, combined, sum);
    sum = combined;
  }
}

/// One result, or one of each kind, from a reduction along the lanes.
void FusedEmitter::reducedRow(const Place &place) {
  int64_t lanes = kb.lanes(), step = loops.step();
  unsigned each = spec.combines.size();
  int64_t known = loops.size(loops.vectorLoop);
  bool isKnown = !ShapedType::isDynamic(known);
  Value size = limit();
  Value steps = kb.sub(size, kb.rem(size, step));
  SmallVector<Value> values;
  for (unsigned u = 0; u < loops.unroll; ++u)
    llvm::append_range(values, point.identities());

  auto add = [&](const Place &inner, Value index, SmallVector<Value> sums,
                 bool whole) {
    for (int64_t u = 0; u < loops.unroll; ++u) {
      if (!whole && isKnown && known % step <= u * lanes)
        break;
      Span span = {kb.add(index, u * lanes), {}, size};
      if (!whole && !(isKnown && known % step >= (u + 1) * lanes))
        span.mask = kb.tailMask(kb.sub(size, span.index));
      accumulate(inner, span, MutableArrayRef(sums).slice(u * each, each));
    }
    return sums;
  };
  values = reduceLoops(
      place, 0, values, [&](const Place &inner, SmallVector<Value> sums) {
        if (!isKnown || known >= step)
          sums = kb.forLoop(kb.c(0), steps, kb.c(step), sums,
                            [&](Value index, ValueRange carried) {
                              return add(inner, index, llvm::to_vector(carried),
                                         true);
                            });
        if (isKnown)
          return known % step ? add(inner, steps, sums, false) : sums;
        return kb.ifElse(
            kb.lt(steps, size), ValueRange(sums).getTypes(),
            [&] { return add(inner, steps, sums, false); },
            [&] { return sums; });
      });

  SmallVector<Value> results;
  for (unsigned i = 0; i < each; ++i) {
    SmallVector<Value> sums;
    for (unsigned u = 0; u < loops.unroll; ++u)
      sums.push_back(values[u * each + i]);
    while (sums.size() > 1) {
      SmallVector<Value> pairs;
      for (size_t p = 0; p + 1 < sums.size(); p += 2)
        pairs.push_back(point.combine(i, sums[p], sums[p + 1]));
      if (sums.size() % 2)
        pairs.push_back(sums.back());
      sums = pairs;
    }
    results.push_back(point.combineLanes(i, sums[0]));
  }
  if (failed(point.finish(place, {}, results)))
    broken = true;
}

//===----------------------------------------------------------------------===//
// Register transposes
//===----------------------------------------------------------------------===//

void FusedEmitter::strip(Place place, Value low, Value high, Value strip) {
  int64_t lanes = kb.lanes();
  unsigned tile = *loops.tileLoop;
  int64_t side = loops.size(tile), length = loops.size(loops.vectorLoop);
  Value across = kb.mul(strip, lanes);
  Value count = kb.min(kb.sub(point.size(tile), across), lanes);
  point.hoist(place);
  kb.forLoop(low, high, kb.c(lanes), [&](Value index) {
    auto full = [&] { square(place, across, count, index, true); };
    if (!ShapedType::isDynamic(side) && side % lanes == 0 &&
        !ShapedType::isDynamic(length) && length % lanes == 0)
      return full();
    Value fits = arith::AndIOp::create(kb, kb.eq(count, lanes),
                                       kb.le(kb.add(index, lanes), limit()));
    kb.ifElse(fits, full, [&] { square(place, across, count, index, false); });
  });
  point.dropHoisted();
}

/// Lanes x lanes points, of which `acrossCount` rows from `across` exist.
void FusedEmitter::square(const Place &place, Value across, Value acrossCount,
                          Value index, bool full) {
  unsigned lanes = kb.lanes(), tile = *loops.tileLoop;
  Value mask = full ? Value() : kb.tailMask(acrossCount);
  SmallVector<SmallVector<Value>> columns;
  for (unsigned input : loops.transposed) {
    Type memory = memoryType(kb.operand(input).elementType);
    SmallVector<Value> rows;
    for (unsigned j = 0; j < lanes; ++j) {
      Value at = kb.add(index, j);
      if (!full)
        at = kb.min(at, kb.sub(limit(), 1));
      Value offset = kb.add(kb.add(place.offsets[input], across),
                            kb.mul(at, point.stride(input, loops.vectorLoop)));
      rows.push_back(kb.loadMasked(
          kb.vec(memory), kb.gep(kb.ptr(input), memory, offset), mask));
    }
    columns.push_back(transposeRegisters(kb, rows));
  }
  Span span = {index, {}, limit()};
  if (!full)
    span.mask = kb.tailMask(kb.sub(limit(), index));
  for (unsigned k = 0; k < lanes; ++k) {
    auto write = [&] {
      Place at = point.at(place, tile, kb.add(across, k));
      GivenInputs given;
      for (auto [i, input] : llvm::enumerate(loops.transposed))
        given[input] = columns[i][k];
      if (failed(point.finish(at, span, evaluate(at, span, given))))
        broken = true;
    };
    if (full)
      write();
    else
      kb.ifThen(kb.lt(kb.c(k), acrossCount), write);
  }
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

LogicalResult FusedEmitter::emit() {
  kb.defineUnits([&] {
    Work work(kb, spec, loops, point);
    return kb.ceilDiv(work.items, work.perUnit);
  });
  kb.defineBody([&] { items(); });
  return failure(broken);
}

LogicalResult ferrite::cpu::emitFused(KernelBuilder &kb,
                                      const FusedSpec &spec) {
  if (failed(verifyFused(kb, spec)))
    return failure();
  return FusedEmitter(kb, spec).emit();
}
