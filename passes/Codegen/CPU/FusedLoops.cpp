//===- FusedLoops.cpp - Which loops a fused kernel has --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The weights of chooseVectorLoop() say one thing: a result written lane by
// lane and an input read lane by lane cost about as much, and ten times an
// access of adjacent elements. Reductions do not mind where the result lies,
// which is small beside the inputs.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/FusedLoops.h"

#include "passes/Codegen/CPU/BodyEvaluator.h"
#include "passes/Codegen/CPU/ElementAccess.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kDynamic = ShapedType::kDynamic;

SmallVector<FusedLoop> ferrite::cpu::inferFusedLoops(const KernelLayout &layout,
                                                     ArrayRef<bool> reduction) {
  SmallVector<FusedLoop> loops;
  for (auto [d, reduced] : llvm::enumerate(reduction)) {
    FusedLoop loop;
    loop.size = 1;
    loop.reduction = reduced;
    for (auto [i, operand] : llvm::enumerate(layout.operands)) {
      int64_t size = operand.shape[d];
      if (size == 1 || (loop.size != 1 && ShapedType::isDynamic(size)))
        continue;
      loop.size = size;
      loop.operand = i;
      loop.dim = d;
      if (!ShapedType::isDynamic(size))
        break;
    }
    loops.push_back(loop);
  }
  return loops;
}

FusedLoops::FusedLoops(const KernelLayout &layout, const FusedSpec &spec,
                       unsigned lanes)
    : layout(layout), spec(spec), lanes(lanes) {
  mergeDims();
  chooseVectorLoop();
  chooseTransposes();
  for (unsigned l = 0; l < loops.size(); ++l)
    if (l != vectorLoop && l != tileLoop)
      (loops[l].reduction ? reduced : parallel).push_back(l);
  chooseUnroll();
}

int64_t FusedLoops::dimSize(unsigned d) const {
  const FusedLoop &loop = spec.loops[d];
  return ShapedType::isDynamic(loop.size)
             ? layout.operands[loop.operand].shape[loop.dim]
             : loop.size;
}

int64_t FusedLoops::dimStride(unsigned operand, unsigned d) const {
  const OperandLayout &o = layout.operands[operand];
  return o.shape[d] == 1 ? 0 : o.strides[d];
}

int64_t FusedLoops::size(unsigned l) const {
  int64_t size = 1;
  for (unsigned d : loops[l].dims) {
    if (ShapedType::isDynamic(dimSize(d)))
      return kDynamic;
    size *= dimSize(d);
  }
  return size;
}

int64_t FusedLoops::stride(unsigned operand, unsigned l) const {
  return loops[l].dims.empty() ? 0 : dimStride(operand, loops[l].innermost());
}

/// Whether one loop can walk both dims: every operand steps from the end of a
/// row of `inner` to the next by the stride of `inner`.
bool FusedLoops::adjacent(unsigned outer, unsigned inner) const {
  if (spec.loops[outer].reduction != spec.loops[inner].reduction ||
      usesLoopIndex(*spec.body, outer) || usesLoopIndex(*spec.body, inner))
    return false;
  if (spec.finish && (usesLoopIndex(*spec.finish, outer) ||
                      usesLoopIndex(*spec.finish, inner)))
    return false;
  int64_t size = dimSize(inner);
  for (unsigned i = 0; i < layout.operands.size(); ++i) {
    int64_t near = dimStride(i, inner), far = dimStride(i, outer);
    if (near == 0 && far == 0)
      continue;
    if (ShapedType::isDynamic(near) || ShapedType::isDynamic(far) ||
        ShapedType::isDynamic(size) || far != near * size)
      return false;
  }
  return true;
}

void FusedLoops::mergeDims() {
  for (unsigned d = 0; d < spec.loops.size(); ++d) {
    if (dimSize(d) == 1)
      continue; // its index is 0
    if (!loops.empty() && adjacent(loops.back().innermost(), d))
      loops.back().dims.push_back(d);
    else
      loops.push_back({{d}, spec.loops[d].reduction});
  }
  // One point is a loop of size 1, so that there is always a vector loop.
  if (loops.empty())
    loops.push_back({});
}

void FusedLoops::chooseVectorLoop() {
  bool reduces = !spec.combines.empty();
  std::optional<int64_t> best;
  for (unsigned l = 0; l < loops.size(); ++l) {
    int64_t score = 0;
    for (unsigned i = 0; i < layout.operands.size(); ++i) {
      bool input = i < spec.numInputs;
      int64_t s = stride(i, l);
      if (s == 0)
        continue;
      if (input)
        score += s == 1 ? 10 : -10;
      else if (reduces)
        score += s == 1 ? 3 : -3;
      else
        score += s == 1 ? 12 : -12;
    }
    if (!best || score >= *best) {
      best = score;
      vectorLoop = l;
    }
  }
}

/// Inputs that are not adjacent along the lanes but along one other loop are
/// read there, a square of registers at a time.
bool FusedLoops::chooseTransposes() {
  // Each row of a square is one copy of the body.
  if (!spec.combines.empty() || bodyCost(*spec.body) > 12)
    return false;
  // The results decide what the lanes are, whatever the inputs preferred.
  std::optional<unsigned> along;
  for (unsigned l = 0; l < loops.size(); ++l) {
    bool all = true;
    for (unsigned i = spec.numInputs; i < layout.operands.size(); ++i)
      all &= stride(i, l) == 1;
    if (all)
      along = l;
  }
  if (!along)
    return false;
  std::optional<unsigned> across;
  SmallVector<unsigned> inputs;
  for (unsigned i = 0; i < spec.numInputs; ++i) {
    int64_t s = stride(i, *along);
    if (s == 0 || s == 1)
      continue;
    Type element = layout.operands[i].elementType;
    if (element.getIntOrFloatBitWidth() != 32)
      return false;
    inputs.push_back(i);
    for (unsigned l = 0; l < loops.size(); ++l)
      if (stride(i, l) == 1 && (!across || *across == l))
        across = l;
    if (!across || stride(i, *across) != 1)
      return false;
  }
  // A square of which most rows are empty is slower than single elements.
  auto isSmall = [&](unsigned l) {
    return !ShapedType::isDynamic(size(l)) && size(l) < lanes / 2;
  };
  if (inputs.empty() || inputs.size() > 2 || isSmall(*along) ||
      isSmall(*across))
    return false;
  vectorLoop = *along;
  tileLoop = across;
  transposed = inputs;
  return true;
}

void FusedLoops::chooseUnroll() {
  // Four registers hide the latency of an add; a long body hides it itself
  // and would only make the code larger.
  unroll = tileLoop ? 1 : bodyCost(*spec.body) > 24 ? 2 : 4;
  int64_t known = size(vectorLoop);
  if (!ShapedType::isDynamic(known))
    unroll = std::clamp<int64_t>(llvm::divideCeil(known, lanes), 1, unroll);
}

LogicalResult ferrite::cpu::verifyFused(KernelBuilder &kb,
                                        const FusedSpec &spec) {
  auto error = [&](const Twine &what) {
    return emitError(kb.getLoc(), "fused kernel: " + what);
  };
  ArrayRef<OperandLayout> operands = kb.layout().operands;
  if (spec.numInputs >= operands.size())
    return error("there is no result");
  for (const OperandLayout &operand : operands)
    if (operand.shape.size() != spec.loops.size() ||
        operand.strides.size() != spec.loops.size())
      return error("a layout is not in the space of the loops");
  if (failed(verifyBody(*spec.body)) ||
      (spec.finish && failed(verifyBody(*spec.finish))))
    return failure();
  if (spec.body->getNumArguments() != spec.numInputs)
    return error("the body has not one argument per input");
  auto accessible = [&](unsigned i, Type type) {
    return canAccessAs(operands[i].elementType, type);
  };
  for (unsigned i = 0; i < spec.numInputs; ++i)
    if (!accessible(i, spec.body->getArgument(i).getType()))
      return error("the body reads an input as another type");
  bool reduces = llvm::any_of(
      spec.loops, [](auto &l) { return l.reduction && l.size != 1; });
  auto points = spec.body->back().getOperands();
  if (spec.combines.empty() ? reduces : spec.combines.size() != points.size())
    return error("a reduction combines each value of the body");
  for (auto [kind, value] : llvm::zip(spec.combines, points))
    if (value.getType().isInteger(1) && kind != Combine::Max &&
        kind != Combine::Min)
      return error("bool is reduced by max and min alone");
  auto results = points;
  if (spec.finish) {
    results = spec.finish->back().getOperands();
    unsigned given = spec.finish->getNumArguments();
    if (given != points.size() && given != points.size() + spec.numInputs)
      return error("the finish takes the combined values, then all inputs");
    for (unsigned i = points.size(); i < given; ++i)
      if (!accessible(i - points.size(), spec.finish->getArgument(i).getType()))
        return error("the finish reads an input as another type");
  }
  if (results.size() != operands.size() - spec.numInputs)
    return error("there is not one value per result");
  for (auto [i, value] : llvm::enumerate(results))
    if (!accessible(spec.numInputs + i, value.getType()))
      return error("a result is written as another type");
  return success();
}
