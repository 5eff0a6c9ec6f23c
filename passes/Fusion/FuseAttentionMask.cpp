//===- FuseAttentionMask.cpp - The mask of a matched attention ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// All steps between product and softmax are added up as one expression, which
// MaskAnalysis classifies. A `keep` is then built from the expression, over
// [batch, keys] alone; a `bias` from the values that the graph has, since no
// expression is simpler than they are. Both are built once for all layers.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionMask.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

namespace {
class MaskBuilder {
public:
  MaskBuilder(OpBuilder &builder, DimAnalysis &dims,
              const AttentionMatch &match, Reject reject)
      : builder(builder), dims(dims), match(match), context(*match.context),
        scores(context.scores), exprs(context.masks.getExprs()), reject(reject),
        loc(match.softmax.getLoc()) {}

  FailureOr<AttentionMask> run();

private:
  const MaskNode *sumUp();
  const MaskNode *evaluateStep(const ScoreStep &step);
  Value buildKeep(const MaskNode *node);
  Value buildNode(const MaskNode *node);
  Value buildLoad(const MaskNode *node);
  Value buildOp(const MaskNode *node, ValueRange in);
  FailureOr<Value> buildBias();
  Value toRank4(const ScoreStep &step);
  bool sumsShort() const;

  Value constant(Type element, double number);
  Value view(Value value, const Dims &to);
  template <typename Op, typename... Args>
  Value broadcasting(Type element, ValueRange in, Args &&...args);

  OpBuilder &builder;
  DimAnalysis &dims;
  const AttentionMatch &match;
  ScoreSpace &context;
  const ScoreCoords &scores;
  MaskExprs &exprs;
  Reject reject;
  Location loc;
};
} // namespace

Value MaskBuilder::constant(Type element, double number) {
  auto type = RankedTensorType::get({}, element);
  Attribute value;
  if (auto real = dyn_cast<FloatType>(element)) {
    APFloat rounded(number);
    bool lost;
    rounded.convert(real.getFloatSemantics(), APFloat::rmNearestTiesToEven,
                    &lost);
    value = FloatAttr::get(element, rounded);
  } else {
    value = IntegerAttr::get(element, static_cast<int64_t>(number));
  }
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(type, value));
}

Value MaskBuilder::view(Value value, const Dims &to) {
  if (dims.getDims(value) == ArrayRef<DimExpr>(to))
    return value;
  return ViewOp::create(builder, loc, getTensorType(to, elementTypeOf(value)),
                        value, getDimsAttr(builder.getContext(), to));
}

/// An elementwise op whose result type follows by broadcasting.
template <typename Op, typename... Args>
Value MaskBuilder::broadcasting(Type element, ValueRange in, Args &&...args) {
  Dims sizes;
  for (Value operand : in)
    sizes = broadcastDims(sizes, dims.getDims(operand)).value_or(sizes);
  SmallVector<Value> operands(in);
  RankedTensorType type = getTensorType(sizes, element);
  if constexpr (std::is_same_v<Op, WhereOp>)
    return WhereOp::create(builder, loc, type, operands[0], operands[1],
                           operands[2]);
  else if constexpr (std::is_same_v<Op, CastOp> || std::is_same_v<Op, NotOp>)
    return Op::create(builder, loc, type, operands[0]);
  else
    return Op::create(builder, loc, type, operands[0], operands[1],
                      std::forward<Args>(args)...);
}

//===--- the expression ---------------------------------------------------===//

/// What a summand adds, or the condition of a choice.
const MaskNode *MaskBuilder::evaluateStep(const ScoreStep &step) {
  const MaskNode *node = context.masks.evaluate(step.mask, step.coords);
  if (step.isChoice)
    return node;
  Type f32 = builder.getF32Type();
  node = exprs.getCast(f32, node);
  return step.scale == 1 ? node
                         : exprs.getBinary(Kind::Mul, node,
                                           exprs.getNumber(f32, step.scale));
}

const MaskNode *MaskBuilder::sumUp() {
  Type f32 = builder.getF32Type();
  const MaskNode *sum = exprs.getNumber(f32, 0);
  for (const ScoreStep &step :
       llvm::reverse(match.steps)) { // the product's first
    const MaskNode *node = evaluateStep(step);
    if (step.isChoice) {
      const MaskNode *fill = exprs.getNumber(f32, step.fill);
      sum = exprs.getWhere(node, step.keepsWhenTrue ? sum : fill,
                           step.keepsWhenTrue ? fill : sum);
    } else {
      sum = exprs.getBinary(Kind::Add, sum, node);
    }
  }
  return sum;
}

//===--- keep -------------------------------------------------------------===//

/// The tensor, as [batch or 1, keys or 1].
Value MaskBuilder::buildLoad(const MaskNode *node) {
  Dims to = {DimExpr(1), DimExpr(1)};
  for (const DimExpr &coord : node->coords) {
    if (coord == scores.batch && !coord.isConstant(0))
      to[0] = scores.batches;
    if (coord == scores.key && !coord.isConstant(0))
      to[1] = scores.keys;
  }
  return view(node->value, to);
}

Value MaskBuilder::buildOp(const MaskNode *node, ValueRange in) {
  switch (node->kind) {
  case Kind::Cast:
    return broadcasting<CastOp>(node->type, in);
  case Kind::Not:
    return broadcasting<NotOp>(node->type, in);
  case Kind::And:
    return broadcasting<AndOp>(node->type, in);
  case Kind::Or:
    return broadcasting<OrOp>(node->type, in);
  case Kind::Xor:
    return broadcasting<XorOp>(node->type, in);
  case Kind::Add:
    return broadcasting<AddOp>(node->type, in);
  case Kind::Sub:
    return broadcasting<SubOp>(node->type, in);
  case Kind::Mul:
    return broadcasting<MulOp>(node->type, in);
  case Kind::Min:
    return broadcasting<MinOp>(node->type, in);
  case Kind::Max:
    return broadcasting<MaxOp>(node->type, in);
  case Kind::Compare:
    return broadcasting<CompareOp>(node->type, in, node->predicate);
  case Kind::Where:
    return broadcasting<WhereOp>(node->type, in);
  case Kind::Int:
  case Kind::Float:
  case Kind::Load:
    break;
  }
  llvm_unreachable("leaves are built by buildNode");
}

/// A value that broadcasts to [batch, keys] and has `node` at (batch, key).
Value MaskBuilder::buildNode(const MaskNode *node) {
  if (Value value = context.masks.findValue(node))
    return value;
  Value &built = context.built[node];
  if (built)
    return built;
  Value value;
  if (std::optional<double> number = node->asNumber()) {
    value = constant(node->type, *number);
  } else if (node->kind == Kind::Int) {
    bool perKey = node->index == scores.key;
    Dims size = {perKey ? scores.keys : scores.batches};
    value = IotaOp::create(builder, loc, getTensorType(size, node->type), 0, 1,
                           getDimsAttr(builder.getContext(), size));
    if (!perKey)
      value = view(value, {size[0], DimExpr(1)});
  } else if (node->kind == Kind::Load) {
    value = buildLoad(node);
  } else {
    SmallVector<Value> in;
    for (const MaskNode *operand : node->operands)
      in.push_back(buildNode(operand));
    value = buildOp(node, in);
  }
  context.built[node] = value;
  return value;
}

Value MaskBuilder::buildKeep(const MaskNode *node) {
  Value value = buildNode(node);
  Dims full = {scores.batches, scores.keys};
  if (dims.getDims(value) == ArrayRef<DimExpr>(full))
    return value;
  value = BroadcastOp::create(builder, loc,
                              getTensorType(full, builder.getI1Type()), value,
                              getDimsAttr(builder.getContext(), full));
  context.built[node] = value;
  return value;
}

//===--- bias -------------------------------------------------------------===//

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
  return view(step.mask, to);
}

FailureOr<Value> MaskBuilder::buildBias() {
  Value sum;
  for (const ScoreStep &step : llvm::reverse(match.steps)) {
    const MaskNode *node = evaluateStep(step);
    std::optional<double> number = node->asNumber();
    // Always true, or the same for all: not there.
    if (step.isChoice ? node->asBool() == step.keepsWhenTrue
                      : number && std::isfinite(*number))
      continue;
    Value mask = toRank4(step);
    if (!mask) {
      (void)reject("the mask has its dims in another order than the scores");
      return failure();
    }
    Type element = elementTypeOf(sum ? sum : mask);
    if (step.isChoice) {
      Type type = sum ? element : builder.getF32Type();
      Value kept = sum ? sum : constant(type, 0),
            fill = constant(type, step.fill);
      if (!step.keepsWhenTrue)
        std::swap(kept, fill);
      sum = broadcasting<WhereOp>(type, {mask, kept, fill});
      continue;
    }
    if (step.scale != 1)
      mask = broadcasting<MulOp>(
          elementTypeOf(mask),
          {mask, constant(elementTypeOf(mask), step.scale)});
    if (sum && elementTypeOf(mask) != element)
      mask = broadcasting<CastOp>(element, mask);
    sum = sum ? broadcasting<AddOp>(element, {sum, mask}) : mask;
  }
  // What all scores share alike can be anything but a finite constant here.
  if (!sum) {
    (void)reject("every score is dropped");
    return failure();
  }
  Dims sizes(dims.getDims(sum));
  while (sizes.size() < 4)
    sizes.insert(sizes.begin(), DimExpr(1));
  return view(sum, sizes);
}

/// Whether the graph adds the mask in f16 or bf16.
bool MaskBuilder::sumsShort() const {
  return llvm::any_of(match.steps, [](const ScoreStep &step) {
    return isShortFloat(elementTypeOf(step.op->getResult(0)));
  });
}

FailureOr<AttentionMask> MaskBuilder::run() {
  AttentionMask mask;
  const MaskNode *sum = sumUp();
  MaskClass found = context.masks.classify(sum);
  mask.kind = found.kind;
  mask.reason = found.reason;
  // f64 models have masks below the lowest f32. And an f16 sum of score and
  // fill shows nothing of the score, which the op's f32 sum would show in a row
  // without keys: with the lowest fill that row is the mean of the values
  // again.
  double lowest = std::numeric_limits<float>::lowest();
  if (std::isfinite(found.fill) && found.fill <= -1e4 && sumsShort())
    found.fill = lowest;
  mask.fill =
      std::isinf(found.fill) ? found.fill : std::max(found.fill, lowest);
  if (found.kind == MaskKind::Keep)
    mask.value = buildKeep(found.keep);
  if (found.kind != MaskKind::Bias)
    return mask;
  Value &built = context.built[sum];
  if (!built) {
    FailureOr<Value> bias = buildBias();
    if (failed(bias))
      return failure();
    context.built[sum] = *bias;
  }
  mask.value = context.built[sum];
  return mask;
}

FailureOr<AttentionMask> ferrite::buildMask(OpBuilder &builder,
                                            DimAnalysis &dims,
                                            const AttentionMatch &match,
                                            Reject reject) {
  return MaskBuilder(builder, dims, match, reject).run();
}
