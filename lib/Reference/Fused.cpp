//===- Fused.cpp - Scalar code at every point of a domain -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"
#include "lib/Reference/Scalar.h"

#include "mlir/IR/AffineMap.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
/// Joins points in order, floats in double.
class Combiner {
public:
  Combiner(CombineKind how, Kind kind, bool isUnsigned)
      : how(how), kind(kind), isUnsigned(isUnsigned) {}

  Scalar neutral() const {
    int64_t bits = bitsOf(kind);
    int64_t most =
        static_cast<int64_t>(~uint64_t(0) >> (64 - bits + !isUnsigned));
    switch (how) {
    case CombineKind::Prod:
      return {1, 1};
    case CombineKind::Max:
      return {-INFINITY, isUnsigned ? 0 : -most - 1};
    case CombineKind::Min:
      return {INFINITY, most};
    default:
      return {0, 0};
    }
  }

  Scalar join(Scalar a, Scalar b) const {
    bool isNaN = std::isnan(a.f) || std::isnan(b.f);
    switch (how) {
    case CombineKind::None:
      return b;
    case CombineKind::Sum:
      return {a.f + b.f, static_cast<int64_t>(uint64_t(a.i) + uint64_t(b.i))};
    case CombineKind::Prod:
      return {a.f * b.f, static_cast<int64_t>(uint64_t(a.i) * uint64_t(b.i))};
    case CombineKind::Max:
      return {isNaN ? NAN : std::max(a.f, b.f), less(a.i, b.i) ? b.i : a.i};
    case CombineKind::Min:
      return {isNaN ? NAN : std::min(a.f, b.f), less(b.i, a.i) ? b.i : a.i};
    }
    llvm_unreachable("every kind joins");
  }

  Scalar finish(Scalar a) const {
    return {roundTo(kind, a.f), wrapTo(kind, a.i)};
  }

private:
  bool less(int64_t a, int64_t b) const {
    if (!isUnsigned)
      return a < b;
    uint64_t mask = ~uint64_t(0) >> (64 - bitsOf(kind)); // bodies extend signs
    return (uint64_t(a) & mask) < (uint64_t(b) & mask);
  }

  CombineKind how;
  Kind kind;
  bool isUnsigned;
};
} // namespace

/// How far a step of each loop goes in a tensor that `map` reads or writes.
static FailureOr<Sizes> loopStrides(FusedOp op, AffineMap map,
                                    const Tensor &tensor,
                                    ArrayRef<int64_t> domain) {
  Sizes own = stridesOf(tensor.shape()), strides(domain.size(), 0);
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    auto loop = dyn_cast<AffineDimExpr>(expr);
    if (!loop)
      continue; // 0: the dim has one element, or the first is meant
    if (failed(
            expectSize(op, "a dim", tensor.dim(i), domain[loop.getPosition()])))
      return failure();
    strides[loop.getPosition()] += own[i];
  }
  return strides;
}

LogicalResult ferrite::reference::evaluateFused(FusedOp op, Frame &frame,
                                                Tensor &out) {
  FailureOr<Sizes> domain = frame.sizes(op, op.getDomain());
  FailureOr<Program> body =
      Program::compile(op.getBody(), op.getDomain().size());
  FailureOr<Program> finish = Program::compile(op.getFinish());
  if (failed(domain) || failed(body) || failed(finish))
    return failure();
  SmallVector<AffineMap> maps(op.getMaps().getAsValueRange<AffineMapAttr>());
  SmallVector<const Tensor *> in;
  SmallVector<Sizes> strides;
  for (auto [value, map] : llvm::zip(op.getInputs(), maps)) {
    in.push_back(&frame[value]);
    FailureOr<Sizes> steps = loopStrides(op, map, *in.back(), *domain);
    if (failed(steps))
      return failure();
    strides.push_back(*steps);
  }
  FailureOr<Sizes> target = loopStrides(op, maps.back(), out, *domain);
  if (failed(target))
    return failure();
  // Loops that the result names, and the others.
  size_t loops = domain->size(), inputs = in.size();
  SmallVector<unsigned> kept, reduced;
  for (unsigned d = 0; d < loops; ++d)
    (maps.back().isFunctionOfDim(d) ? kept : reduced).push_back(d);
  auto pick = [](const Sizes &from, ArrayRef<unsigned> dims) {
    Sizes result;
    for (unsigned d : dims)
      result.push_back(from[d]);
    return result;
  };
  // One walk over each part; a loop's own position is one more "tensor".
  SmallVector<Sizes> keptStrides, reducedStrides;
  for (const Sizes &steps : strides) {
    keptStrides.push_back(pick(steps, kept));
    reducedStrides.push_back(pick(steps, reduced));
  }
  for (unsigned d = 0; d < loops; ++d) {
    Sizes unit(loops, 0);
    unit[d] = 1;
    keptStrides.push_back(pick(unit, kept));
    reducedStrides.push_back(pick(unit, reduced));
  }
  keptStrides.push_back(pick(*target, kept));
  Sizes keptSizes = pick(*domain, kept), reducedSizes = pick(*domain, reduced);
  int64_t points = countOf(reducedSizes).value_or(-1);
  if (failed(expectSize(op, "the result", out.count(),
                        countOf(keptSizes).value_or(-1))) ||
      failed(expectSize(op, "the reduced points", std::max<int64_t>(points, 0),
                        points)))
    return failure();
  bool isUnsigned = isUnsignedElement(getElementTypeOrSelf(op.getType()));
  Combiner combiner(op.getCombine(), body->resultKind(), isUnsigned);
  parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
    std::vector<Scalar> registers(body->registers()), last(finish->registers());
    walkStrided(
        keptSizes, keptStrides, begin, end, [&](int64_t, const Sizes &first) {
          Scalar value = combiner.neutral();
          walkStrided(reducedSizes, reducedStrides, 0, points,
                      [&](int64_t, const Sizes &more) {
                        for (size_t i = 0; i < inputs; ++i)
                          registers[i] = readScalar(*in[i], first[i] + more[i]);
                        for (size_t d = 0; d < loops; ++d)
                          registers[body->loopRegister(d)].i =
                              first[inputs + d] + more[inputs + d];
                        value =
                            combiner.join(value, body->run(registers.data()));
                      });
          last[0] = combiner.finish(value);
          writeScalar(out, first.back(), finish->run(last.data()));
        });
  });
  return success();
}
