//===- FuseAttentionMask.cpp - The mask of a matched attention ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What lies between product and softmax is read as expressions of one score,
// and MaskAnalysis says which parts they are made of: windows become
// attributes, the other conditions one mask, over [batch, keys] alone where
// they can be, and what is added one bias. All are built once for all layers.
// An expression that cannot be written as a tensor leaves the mask as the graph
// has it: a bias.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMaskBuilder.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

static constexpr double kLowest = std::numeric_limits<float>::lowest();

//===--- what is known of the mask ----------------------------------------===//

/// What a summand adds, or the condition under which a choice keeps.
const MaskNode *MaskBuilder::evaluateStep(const ScoreStep &step) {
  if (step.kind == MaskTerm::Bound)
    return nullptr;
  const MaskNode *node = masks.evaluate(step.mask, step.coords);
  if (step.kind == MaskTerm::Choice)
    return step.keepsWhenTrue ? node : exprs.getNot(node);
  Type f32 = builder.getF32Type();
  node = exprs.getCast(f32, node);
  return step.scale == 1 ? node
                         : exprs.getBinary(Kind::Mul, node,
                                           exprs.getNumber(f32, step.scale));
}

/// Empty when all parts can be written as tensors.
std::string MaskBuilder::whyNot(const MaskClass &found) {
  if (!found.unfit.empty())
    return found.unfit;
  for (ArrayRef<const MaskNode *> part :
       {ArrayRef(found.keeps), ArrayRef(found.biases)})
    for (const MaskNode *node : part)
      if (std::string reason = wide.whyNot(node); !reason.empty())
        return reason;
  return {};
}

//===--- parts as tensors -------------------------------------------------===//

Value MaskBuilder::buildKeep(ArrayRef<const MaskNode *> keeps) {
  const MaskNode *all = exprs.getBool(builder.getContext(), true);
  bool perKey = true;
  for (const MaskNode *keep : keeps) {
    constexpr unsigned headOrQuery = 2 | 4;
    perKey &= !(masks.dependencies(keep) & headOrQuery);
    all = exprs.getBinary(Kind::And, all, keep);
  }
  if (!perKey || !narrow.whyNot(all).empty())
    return wide.buildRanked(all);
  return toFull(narrow, context.built, all, {scores.batches, scores.keys});
}

/// A tensor of the builder's axes that has all of them in full.
Value MaskBuilder::toFull(NodeBuilder &nodes, BuiltNodes &built,
                          const MaskNode *node, const Dims &full) {
  Value value = nodes.build(node);
  if (dims.getDims(value) == ArrayRef<DimExpr>(full))
    return value;
  value = BroadcastOp::create(builder, value.getLoc(),
                              getTensorType(full, elementTypeOf(value)), value,
                              getDimsAttr(builder.getContext(), full));
  built[node] = value;
  return value;
}

/// The op takes f16, bf16 and f32.
Value MaskBuilder::toSmallFloat(Value bias) {
  Type element = elementTypeOf(bias);
  return isShortFloat(element) || element.isF32()
             ? bias
             : wide.broadcasting<CastOp>(builder.getF32Type(), bias);
}

Value MaskBuilder::buildBias(ArrayRef<const MaskNode *> biases) {
  // In one order, so that equal sums are one node.
  const MaskNode *sum = nullptr;
  Type f32 = builder.getF32Type();
  for (const MaskNode *bias : biases)
    sum = sum ? exprs.getBinary(Kind::Add, sum, exprs.getCast(f32, bias))
              : exprs.getCast(f32, bias);
  return toSmallFloat(wide.buildRanked(sum));
}

//===--- as the graph has it ----------------------------------------------===//

/// The step's mask with a dim for each of batch, head, query and key, or null.
Value MaskBuilder::toRank4(const ScoreStep &step) {
  Dims from(dims.getDims(step.mask)), to(4, DimExpr(1));
  Coords all = scores.all();
  Dims extents = {scores.batches, scores.heads, scores.queries, scores.keys};
  size_t next = 0; // views keep the order of the dims
  for (size_t i = 0; i < from.size(); ++i) {
    const DimExpr &coord = step.coords[i];
    if (from[i].isConstant(1))
      continue;
    if (next == 0 && from[i] == scores.batches * scores.heads &&
        coord == scores.batch * scores.heads + scores.head) {
      to[0] = scores.batches;
      to[1] = scores.heads;
      next = 2;
      continue;
    }
    while (next < 4 && (coord != all[next] || from[i] != extents[next]))
      ++next;
    if (next == 4)
      return {};
    to[next] = extents[next];
    ++next;
  }
  return wide.view(step.mask, to);
}

FailureOr<Value> MaskBuilder::takeGraphs() {
  Value sum;
  for (const ScoreStep &step : llvm::reverse(steps)) {
    if (step.kind == MaskTerm::Bound) {
      if (step.fill > -1e9) {
        (void)reject("the scores have a lower bound of " +
                     Twine(std::to_string(step.fill)));
        return failure();
      }
      if (sum)
        sum = wide.broadcasting<MaxOp>(
            elementTypeOf(sum),
            {sum, wide.constant(elementTypeOf(sum), step.fill)});
      continue;
    }
    bool isChoice = step.kind == MaskTerm::Choice;
    const MaskNode *node = evaluateStep(step);
    std::optional<double> number = node->asNumber();
    // Always true, or the same for all: not there.
    if (isChoice ? node->asBool() == true : number && std::isfinite(*number))
      continue;
    Value mask = toRank4(step);
    if (!mask) {
      (void)reject("the mask has its dims in another order than the scores");
      return failure();
    }
    Type element = elementTypeOf(sum ? sum : mask);
    if (isChoice) {
      Type type = sum ? element : builder.getF32Type();
      Value kept = sum ? sum : wide.constant(type, 0),
            fill = wide.constant(type, step.fill);
      if (!step.keepsWhenTrue)
        std::swap(kept, fill);
      sum = wide.broadcasting<WhereOp>(type, {mask, kept, fill});
      continue;
    }
    if (step.scale != 1)
      mask = wide.broadcasting<MulOp>(
          elementTypeOf(mask),
          {mask, wide.constant(elementTypeOf(mask), step.scale)});
    if (sum && elementTypeOf(mask) != element)
      mask = wide.broadcasting<CastOp>(element, mask);
    sum = sum ? wide.broadcasting<AddOp>(element, {sum, mask}) : mask;
  }
  // What all scores share alike can be anything but a finite constant here.
  if (!sum) {
    (void)reject("every score is dropped");
    return failure();
  }
  Dims sizes(dims.getDims(sum));
  while (sizes.size() < 4)
    sizes.insert(sizes.begin(), DimExpr(1));
  return toSmallFloat(wide.view(sum, sizes));
}

/// What a dropped score gets. f64 models have masks below the lowest f32. And
/// an f16 sum of score and fill shows nothing of the score, which the op's f32
/// sum would show in a row without keys: with the lowest fill that row is the
/// mean of the values again.
double MaskBuilder::roundFill(double fill, bool inShortFloats) {
  if (std::isinf(fill))
    return fill;
  return fill <= -1e4 && inShortFloats ? kLowest : std::max(fill, kLowest);
}

FailureOr<AttentionMask> MaskBuilder::run() {
  SmallVector<MaskTerm> terms;
  for (const ScoreStep &step : llvm::reverse(steps)) // the product's first
    terms.push_back({step.kind, evaluateStep(step), step.fill});
  bool sumsShort = llvm::any_of(steps, [](const ScoreStep &step) {
    return isShortFloat(elementTypeOf(step.op->getResult(0)));
  });
  std::string reason;
  FailureOr<AttentionMask> mask = build(terms, sumsShort, reason);
  if (succeeded(mask) || reason.empty())
    return mask;
  FailureOr<Value> bias = takeGraphs();
  if (failed(bias))
    return failure();
  AttentionMask taken;
  taken.bias = *bias;
  taken.name = "bias (" + reason + ")";
  return taken;
}

FailureOr<AttentionMask> MaskBuilder::ofTerms(ArrayRef<MaskTerm> terms,
                                              bool inShortFloats) {
  std::string reason;
  FailureOr<AttentionMask> mask = build(terms, inShortFloats, reason);
  if (failed(mask) && !reason.empty())
    (void)reject(reason);
  return mask;
}

/// Fails with a reason when the parts cannot be written, without one when the
/// rejection is final.
FailureOr<AttentionMask> MaskBuilder::build(ArrayRef<MaskTerm> terms,
                                            bool inShortFloats,
                                            std::string &reason) {
  FailureOr<MaskClass> found = masks.classify(terms);
  if (failed(found)) {
    (void)reject("every score is dropped");
    return failure();
  }
  AttentionMask mask;
  mask.name = masks.describe(*found);
  setWindow(*found, mask);
  reason = whyNot(*found);
  if (!reason.empty())
    return failure();
  if (!found->keeps.empty()) {
    mask.keep = buildKeep(found->keeps);
    mask.fill = roundFill(found->fill, inShortFloats);
    mask.joined = found->joined;
  }
  if (mask.hasWindow())
    mask.windowFill = roundFill(found->windowFill, inShortFloats);
  if (!found->biases.empty())
    mask.bias = buildBias(found->biases);
  return mask;
}

FailureOr<AttentionMask> ferrite::buildMask(OpBuilder &builder, Location loc,
                                            DimAnalysis &dims,
                                            ScoreSpace &context,
                                            ArrayRef<ScoreStep> steps,
                                            Reject reject) {
  return MaskBuilder(builder, loc, dims, context, steps, reject).run();
}

FailureOr<AttentionMask>
ferrite::buildMask(OpBuilder &builder, Location loc, DimAnalysis &dims,
                   ScoreSpace &context, ArrayRef<MaskTerm> terms,
                   bool inShortFloats, std::string &reason) {
  auto reject = [&](const Twine &why) -> LogicalResult {
    reason = why.str();
    return failure();
  };
  return MaskBuilder(builder, loc, dims, context, {}, reject)
      .ofTerms(terms, inShortFloats);
}
